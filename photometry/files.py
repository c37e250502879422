"""Files: the one way to write one, to read and write gzip, to flush one to its disk, and what disk
it is on.

A file is written beside its position, flushed, then renamed over it: a reader sees the old file or
the new one, never half of one, also after a crash and on network file systems, where a rename
within a folder is the one operation to rely on. gzip is several times as fast where the package
``isal`` is installed (Intel's library, for ARM as well).
"""

import contextlib
import gzip
import json
import os
import re
import stat
import tempfile
import zlib
from pathlib import Path

try:
    from isal import igzip, isal_zlib
except ImportError:
    igzip = None
    GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
else:
    GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error, isal_zlib.error)
# GZIP_ERRORS is what reading a damaged file raises

GZIP_MAGIC = b"\x1f\x8b"
"""How a gzipped file begins."""

# The levels that isal has; its 1 compresses as well as zlib's 1, in an eighth of the time.
_ISAL_LEVELS = (1, 2, 3)

NETWORK_DISKS = tuple(
    [
        "nfs",
        "cifs",
        "smb",
        "sshfs",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "gluster",
        "afs",
        "9p",
        "vboxsf",
        "fuse",
        "panfs",
        "wekafs",
    ]
)
"""How the names of file systems begin that other hosts write to as well."""


@contextlib.contextmanager
def atomic_write(path, *, durable=True):
    """Yield the path of a part file beside ``path``; on success it replaces ``path``, on an
    exception it is removed.

    Parameters
    ----------
    path : path to write. If it exists, the new file gets its mode and, where permitted, its group.
    durable : bool
        Flush the file, and the folder's entry for it, to the disk before returning, so that it
        survives the machine.

    Yields
    ------
    part : pathlib.Path, with the same name ending as ``path`` so that writers which look at it
        (astropy: ``.fits.gz``) behave the same

    Raises
    ------
    OSError : naming ``path``, where the folder cannot be written to, or its disk is full
    """
    path = Path(path)
    try:
        prefix, suffix = _part_name(path)
        handle, part = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    os.close(handle)
    part = Path(part)
    try:
        yield part
        _copy_mode(path, part)
        if durable:
            sync(part)
        os.replace(part, path)
        if durable:
            sync(path.parent)
    except OSError as error:
        if error.filename is None:  # a full disk is found out by a write, which knows no name
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to report
            part.unlink(missing_ok=True)


def abandoned_parts(path):
    """Part files that a killed process left of this very path, not those of ``todo-1.sqlite`` for
    ``todo.sqlite``.

    Returns
    -------
    list of pathlib.Path
    """
    path = Path(path)
    random = r"[a-z0-9_]{8}"  # what tempfile puts between
    pattern = re.compile(random.join(map(re.escape, _part_name(path))))
    with contextlib.suppress(OSError):
        return [other for other in path.parent.iterdir() if pattern.fullmatch(other.name)]
    return []


def _part_name(path):
    """What the name of a part file begins and ends with."""
    return f".{path.name.split('.')[0]}-", ".part" + "".join(path.suffixes[-2:])


def write_json(path, content, *, durable=False):
    """Write ``content`` as JSON, atomically. Values that are not a number (NaN) are refused: JSON
    has none.

    Parameters
    ----------
    path : path
    content : dicts, lists, texts and finite numbers
    durable : bool, on the disk before this returns
    """
    with atomic_write(path, durable=durable) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _copy_mode(path, part):
    """Give ``part`` the mode and group of ``path``, or those that a new file of this process would
    have.
    """
    try:
        old = path.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        return
    with contextlib.suppress(PermissionError):  # not a member of the group: the mode matters then
        os.chown(part, -1, old.st_gid)
    part.chmod(stat.S_IMODE(old.st_mode))


def sync(path):
    """Flush a file, or a folder's list of files, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def gzip_reader(file):
    """A file-like object with what is in an opened gzipped file; a context manager. See
    `GZIP_ERRORS`.
    """
    return igzip.IGzipFile(fileobj=file, mode="rb") if igzip else gzip.GzipFile(fileobj=file)


def gzip_compress(content, level):
    """Content gzipped, without the time of writing: the same content gives the same bytes.

    Parameters
    ----------
    content : bytes-like
    level : int, 0 (not compressed) to 9 (smallest)
    """
    library = igzip if igzip and level in _ISAL_LEVELS else gzip
    return library.compress(content, level, mtime=0)


def file_system(path):
    """Type and mount point of the file system that a path is on, or would be made on.

    Returns
    -------
    kind : str, for example 'ext4', 'nfs4'; '' where it is unknown
    mount_point : str; '' where it is unknown
    """
    import psutil  # here, as most uses of this module need none of it

    real = os.path.realpath(path)
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if f"{real}/".startswith(f"{mount.mountpoint.rstrip('/')}/")
    ]
    if not mounts:
        return "", ""
    # of two that are mounted on one point, the later one is seen
    deepest = max(range(len(mounts)), key=lambda i: (len(mounts[i].mountpoint), i))
    return mounts[deepest].fstype, mounts[deepest].mountpoint


def is_network_disk(path):
    """Whether a path lies on a file system that other hosts write to."""
    return file_system(path)[0].lower().startswith(NETWORK_DISKS)
