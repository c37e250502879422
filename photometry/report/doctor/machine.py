"""Memory, cores and threads, packages, and the time that the batch system gives."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

import psutil

from ..._version import __version__
from ...errors import SettingsError
from ...processes import THREAD_VARIABLES
from ...scheduler.limits import end_of_run
from .check import FAIL, OK, WARN, Check, size

# Measured: 200,000 targets need 1.07 times their file, and 394 bytes each when they are done
MEMORY_SHARE, MEMORY_ROW, PROGRAM = 1.1, 400, 250e6  # the last: bytes of a master without targets


def check_memory(todo_file, settings, work):
    """Whether the TODO-file fits into memory, where it is to be there."""
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

    wrong, found = [], []
    for text in importlib.metadata.requires("photometry") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return Check(
            "packages", FAIL, f"{', '.join(wrong)}; run 'pip install --upgrade photometry'"
        )
    return Check(
        "packages",
        OK,
        f"photometry {__version__}, Python {platform.python_version()}, {', '.join(found)}",
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
    left = f"the job ends in {max(end - time.time(), 0) / 3600:.1f} h"
    if own is None or own > end + 1:
        return Check("time limit", WARN, f"{left}; run with --time-limit auto to stop in time")
    return Check("time limit", OK, f"{left}, the run stops in time")


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
