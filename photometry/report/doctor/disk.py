"""Folders: can they be written to, is there room, and what kind of file system are they on?"""

import contextlib
import os
import uuid
from pathlib import Path

import numpy as np
import psutil

from ...constants import DAY
from ...files import atomic_write, file_system
from ...lightcurve.tasoc import COLUMNS
from .check import FAIL, OK, WARN, Check, size

# Light curves of real target pixel files of Kepler, K2 and TESS, gzipped at level 1: 0.52 to 0.58
# of the table, and 8 kB
COMPRESSED, HEADERS = 0.6, 8_000  # share; bytes
ROW = np.dtype([(name, kind) for name, kind, _, _ in COLUMNS]).itemsize  # bytes per exposure
SECTOR = 27.4 * DAY  # s, where the number of exposures is not known
# Measured with 200,000 finished targets: 340 bytes each in the TODO-file, 263 in the journal; and
# some lines of log
TODO_ROW, LOG_ROW = 600, 500  # bytes
COMFORT = 1.5  # times the estimate

VOLATILE = {"tmpfs", "ramfs"}
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "fuse.sshfs"}
PARALLEL = {"lustre", "gpfs", "beegfs", "ceph", "panfs", "wekafs"}


def check_disk(todo_file, output, settings, work, n_times):
    """Yield the checks of room on the disks, and of what disks they are."""
    if output.exists() and not output.is_dir():
        return
    folders = {"TODO-file": todo_file.parent, "light curves": _existing(output)}
    if work is not None and work.total:
        yield check_space(todo_file, folders["light curves"], work, n_times)
        yield check_inodes(folders["light curves"], work)
    yield from (check_file_system(what, folder, settings) for what, folder in folders.items())


def check_folders(todo_file, output):
    """Yield whether the folder of the TODO-file and that of the light curves can be written to."""
    yield check_writable("TODO-file", todo_file.parent)
    if files := [path for path in (output, *output.parents) if path.exists() and not path.is_dir()]:
        yield Check("writable", FAIL, f"{files[0]} is no folder; say another one with --output")
    else:
        yield check_writable("light curves", _existing(output))


def check_writable(what, folder):
    """Really write a file, rename it, and remove it."""
    path = folder / f".photometry-doctor-{uuid.uuid4().hex}"
    try:
        with atomic_write(path) as part:
            part.write_bytes(b"photometry doctor\n")
        path.unlink()
    except OSError as error:
        return Check(
            "writable",
            FAIL,
            f"{folder} ({what}) cannot be written to: {error.strerror}; the run needs to, say another "
            "one with --output or mend that",
        )
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return Check("writable", OK, f"{folder} ({what})")


def check_space(todo_file, folder, work, n_times):
    """Free space against an estimate of what the run will write."""
    curves = sum(
        number * lightcurve_size(source, cadence, n_times) for source, cadence, number in work.kinds
    )
    rest = 2 * todo_file.stat().st_size + work.total * (TODO_ROW + LOG_ROW)
    free, needed = psutil.disk_usage(folder).free, curves + rest
    message = (
        f"{folder}: {size(free)} free, about {size(needed)} needed for {work.total} light curves"
    )
    return _compare("space", message, free, needed, "make room, or write elsewhere with --output")


def check_inodes(folder, work):
    """Free places for files; some file systems have no limit and say 0."""
    stats, needed = os.statvfs(folder), work.total + work.n_folders + 100
    if stats.f_files == 0:
        return Check("inodes", OK, f"{folder}: no limit on the number of files")
    message = f"{folder}: {stats.f_favail} files more can be made, about {needed} needed"
    return _compare(
        "inodes", message, stats.f_favail, needed, "remove files, or write elsewhere with --output"
    )


def lightcurve_size(source, cadence, n_times):
    """Bytes of a light-curve file, about; ``n_times`` as `inputs.check_sample` fills it."""
    times = n_times.get((source, cadence)) or SECTOR / (cadence or 1800)
    return HEADERS + COMPRESSED * ROW * times


def check_file_system(what, folder, settings):
    """What kind of file system a folder is on, and what that means."""
    kind, mount = file_system(folder)
    name = f"{what} on {kind or 'an unknown file system'} ({mount or '?'})"
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if kind in VOLATILE:
        return Check(
            "file system",
            WARN,
            f"{name}: in memory, gone after a restart; copy it away when the run ends",
        )
    if kind in NETWORK:
        if what == "TODO-file" and not settings.run.in_memory:
            return Check(
                "file system",
                WARN,
                f"{name}: a network disk; leave out --no-in-memory, it is slow there",
            )
        return Check("file system", OK, f"{name}: a network disk, safe with one run per TODO-file")
    if kind in PARALLEL:
        hint = (
            ": many small files; on Lustre 'lfs setstripe -c 1' suits them"
            if what != "TODO-file"
            else ""
        )
        return Check("file system", OK, f"{name}{hint}")
    if nodes > 1:
        return Check(
            "file system",
            WARN,
            f"{name}: a disk of this node, but the job has {nodes}; use a shared one",
        )
    return Check("file system", OK, f"{name}: a local disk")


def _existing(folder):
    """The folder, or where it would be made."""
    folder = Path(os.path.abspath(folder))
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _compare(name, message, free, needed, way_out):
    if free < needed:
        return Check(name, FAIL, f"{message}; {way_out}")
    return Check(name, OK if free > COMFORT * needed else WARN, message)
