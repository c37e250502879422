"""The one way to write a file: beside its place, flushed to disk, then renamed over it.

A reader sees the old file or the new one, never half of one, also after a crash and on network file systems, where a
rename within a folder is the one operation that can be relied on.
"""

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path, *, durable=True):
    """Yield the path of a part file beside ``path``; on success it replaces ``path``, on an exception it is removed.

    Parameters
    ----------
    path : path to write. If it exists, the new file gets its mode and, where permitted, its group.
    durable : bool
        Flush the file, and the folder's entry for it, to the disk before returning, so that it survives the machine.

    Yields
    ------
    part : pathlib.Path, with the same name ending as ``path`` so that writers which look at it (astropy: ``.fits.gz``)
        behave the same
    """
    path = Path(path)
    handle, part = tempfile.mkstemp(
        prefix=f".{path.name.split('.')[0]}-", suffix=".part" + "".join(path.suffixes[-2:]), dir=path.parent
    )
    os.close(handle)
    part = Path(part)
    try:
        yield part
        _take_over_mode(path, part)
        if durable:
            _fsync(part)
        os.replace(part, path)
        if durable:
            _fsync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_json(path, content, *, durable=False):
    """Write ``content`` as JSON, atomically. Values that are not a number (NaN) are refused: JSON has none."""
    with atomic_write(path, durable=durable) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _take_over_mode(path, part):
    """Give ``part`` the mode and group of ``path``, or those that a new file of this process would have."""
    try:
        old = path.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        return
    with contextlib.suppress(PermissionError):  # not a member of the group: the mode is what matters then
        os.chown(part, -1, old.st_gid)
    part.chmod(stat.S_IMODE(old.st_mode))


def _fsync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
