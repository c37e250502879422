"""The computer: memory, cores, packages, the time that is given, disks, and MPI."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from .._version import __version__
from ..constants import DAY
from ..errors import SettingsError
from ..files import atomic_write, file_system
from ..lightcurve.tasoc import COLUMNS
from ..processes import THREAD_VARIABLES
from ..scheduler.limits import end_of_run

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, how it stands, and a message with the way out."""

    name: str
    state: str  # ok; warn: a run works, but not well; fail: a run would end, or bring nothing
    message: str


def size(n_bytes):
    """1.5 GB"""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n_bytes) < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


# Measured: 200,000 targets need 1.07 times their file, and 394 bytes each when they are done
MEMORY_SHARE, MEMORY_ROW, PROGRAM = 1.1, 400, 250e6  # the last: bytes of a master without targets


def check_memory(todo_file, settings, work):
    """Whether the TODO-file fits into memory, where it is to be there.

    Parameters
    ----------
    todo_file : Path
    settings : Settings of the run
    work : Work, or None where the TODO-file cannot be read
    """
    free = available_memory()
    if not settings.run.in_memory:
        return Check("memory", OK, f"{size(free)} available; the TODO-file is worked on on disk")
    if work is None:
        return Check("memory", OK, f"{size(free)} available")
    needed = PROGRAM + MEMORY_SHARE * todo_file.stat().st_size + MEMORY_ROW * work.total
    message = f"{size(free)} available, the master needs about {size(needed)}"
    return (
        Check("memory", FAIL, f"{message}; run with --no-in-memory")
        if free < needed
        else Check("memory", OK, message)
    )


def available_memory(root=Path("/")):
    """Bytes that this process may still use: of the machine, or of a control group, as batch
    systems make them for a job.
    """
    free = psutil.virtual_memory().available
    for folder, limit, used in _control_groups(root):
        try:
            free = min(free, int((folder / limit).read_text()) - int((folder / used).read_text()))
        except (OSError, ValueError):  # no limit here, or "max"
            continue
    return free


def _control_groups(root):
    """(folder, file of the limit, file of the use) of the control groups of this process and those
    above, versions 1 and 2.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top, names = (
                root / "sys/fs/cgroup/memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            )
        else:
            continue
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:depth]), *names


def check_threads(environ=None, cores=None):
    """One thread per worker is best; more than there are cores is slow."""
    environ = os.environ if environ is None else environ
    cores = cores or _cores()
    given = {name: environ[name] for name in THREAD_VARIABLES if environ.get(name, "1") != "1"}
    if not given:
        return Check("threads", OK, f"{cores} cores; one thread per worker")
    said = ", ".join(f"{name}={value}" for name, value in given.items())
    return Check(
        "threads",
        WARN,
        f"{cores} cores, but {said}: each worker starts so many; unset it, or start fewer workers",
    )


def _cores():
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def check_packages():
    """Whether what photometry needs is installed, and new enough."""
    from packaging.requirements import Requirement

    wrong, versions = [], []
    for text in importlib.metadata.requires("photometry") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        versions.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return Check(
            "packages", FAIL, f"{', '.join(wrong)}; run 'pip install --upgrade photometry'"
        )
    return Check(
        "packages",
        OK,
        f"photometry {__version__}, Python {platform.python_version()}, {', '.join(versions)}",
    )


def check_time_limit(settings, environ=None):
    """Whether the end of the job is known, and heeded."""
    environ = os.environ if environ is None else environ
    try:
        end = end_of_run("auto", environ=environ)
        own = settings.run.time_limit and end_of_run(settings.run.time_limit, environ=environ)
    except SettingsError as error:
        return Check("time limit", FAIL, str(error))
    if end is None:
        return _unknown_end(own, environ)
    remaining = f"the job ends in {max(end - time.time(), 0) / 3600:.1f} h"
    if own is None or own > end + 1:
        return Check("time limit", WARN, f"{remaining}; run with --time-limit auto to stop in time")
    return Check("time limit", OK, f"{remaining}, the run stops in time")


def _unknown_end(own, environ):
    if own is not None:
        return Check("time limit", OK, f"the run stops after {(own - time.time()) / 3600:.1f} h")
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        if name in environ:
            return Check(
                "time limit",
                WARN,
                f"{name} is set, but not when the job ends; run with --time-limit HH:MM:SS",
            )
    return Check("time limit", OK, "none: not in a batch job")


# Light curves of real target pixel files of Kepler, K2 and TESS, gzipped at level 1: 0.52 to 0.58
# of the table, and 8 kB
COMPRESSED, HEADERS = 0.6, 8_000  # fraction; bytes
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
    """Yield the checks of room on the disks, and of what disks they are.

    Parameters
    ----------
    todo_file : Path
    output : Path, the folder for the light curves
    settings : Settings of the run
    work : Work, or None where the TODO-file cannot be read
    n_times : dict of (kind, cadence [s]) to the number of exposures
    """
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
            f"{folder} ({what}) cannot be written to: {error.strerror}; the run needs to, say "
            f"another "
            "one with --output or mend that",
        )
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return Check("writable", OK, f"{folder} ({what})")


def check_space(todo_file, folder, work, n_times):
    """Free space against an estimate of what the run will write.

    Parameters
    ----------
    todo_file : Path
    folder : Path, of the light curves
    work : Work
    n_times : dict of (kind, cadence [s]) to the number of exposures
    """
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
    """How many files more can be made; some file systems have no limit and say 0."""
    stats, needed = os.statvfs(folder), work.total + work.n_folders + 100
    if stats.f_files == 0:
        return Check("inodes", OK, f"{folder}: no limit on the number of files")
    message = f"{folder}: {stats.f_favail} files more can be made, about {needed} needed"
    return _compare(
        "inodes", message, stats.f_favail, needed, "remove files, or write elsewhere with --output"
    )


def lightcurve_size(source, cadence, n_times):
    """Bytes of a light-curve file, about; ``n_times`` as `inputs.check_sample` fills it.

    Parameters
    ----------
    source : str, 'ffi' or 'tpf'
    cadence : int, s
    n_times : dict of (kind, cadence [s]) to the number of exposures
    """
    times = n_times.get((source, cadence)) or SECTOR / (cadence or 1800)
    return HEADERS + COMPRESSED * ROW * times


def check_file_system(what, folder, settings):
    """What kind of file system a folder is on, and what that means.

    Parameters
    ----------
    what : str, name of the check
    folder : Path
    settings : Settings of the run
    """
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


_HELLO = """
from mpi4py import MPI
ranks = MPI.COMM_WORLD.allreduce(1)
if MPI.COMM_WORLD.rank == 0:
    print(ranks, MPI.Get_library_version().splitlines()[0])
"""
# What launchers set for their ranks: two ranks of our own must not take it for theirs, where this
# is one itself.
LAUNCHED = ("PMI_", "PMIX_", "PALS_", "OMPI_", "MV2_COMM_WORLD_", "HYDI_", "MPI_LOCAL")
_LOCAL = "without MPI 'photometry run' uses local processes of one computer"


def check_mpi(timeout=20.0):
    """Start two ranks that say how many they are, and by which library."""
    alone = _run([sys.executable, "-c", _HELLO], timeout)
    if alone is None:
        return Check(
            "MPI",
            FAIL,
            f"mpi4py did not start within {timeout:.0f} s; on a login node MPI may be forbidden",
        )
    if alone.returncode != 0:
        why = (alone.stderr.strip().splitlines() or ["no message"])[-1]
        return Check(
            "MPI", WARN, f"mpi4py cannot be used ({why}): {_LOCAL}; pip install 'photometry[mpi]'"
        )
    library = " ".join(alone.stdout.split()[1:])
    launcher = find_launcher()
    if launcher is None:
        return Check(
            "MPI",
            WARN,
            f"{library}, but no mpiexec or srun in PATH: {_LOCAL}; load your site's MPI module",
        )
    return check_two_ranks(launcher, library, timeout)


def check_two_ranks(launcher, library, timeout):
    """Start two ranks with a launcher, with the MPI library that mpi4py is for.

    Parameters
    ----------
    launcher : path of mpiexec
    library : str, the MPI that mpi4py uses
    timeout : float, s
    """
    done = _run([launcher, "-n", "2", sys.executable, "-c", _HELLO], timeout)
    if done is None:
        return Check(
            "MPI", FAIL, f"{launcher} -n 2 did not end within {timeout:.0f} s; try it by hand"
        )
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Check("MPI", FAIL, f"{launcher} -n 2 ended with exit code {done.returncode}: {why}")
    if not done.stdout.startswith("2 "):
        way_out = (
            "use the mpiexec of that MPI, or install mpi4py against this one: pip install "
            "--no-binary mpi4py mpi4py"
        )
        return Check(
            "MPI",
            FAIL,
            f"each rank believes to be alone: mpi4py is for {library}, {launcher} is of another "
            f"MPI; {way_out}",
        )
    return Check("MPI", OK, f"{library}; {launcher} starts two ranks that find each other")


def find_launcher():
    """Path of mpiexec, beside this Python or in PATH; of srun in a SLURM job without mpiexec; else
    None.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    in_slurm = shutil.which("srun") if "SLURM_JOB_ID" in os.environ else None
    return shutil.which("mpiexec", path=path) or in_slurm


def _run(words, timeout):
    """A finished process, or None where it took too long; all that it started is ended then."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHED)}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, **pipes, text=True, env=env, start_new_session=True)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    return subprocess.CompletedProcess(words, process.returncode, out, err)
