"""Handlers that go wrong in every way that work can; chosen by the task's method."""

import ctypes
import logging
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from photometry.errors import BadInputError, NothingToDoError
from photometry.files import atomic_write
from photometry.status import STATUS

FULL = Path(tempfile.gettempdir()) / "lc.fits.gz"

log = logging.getLogger("photometry.faulty")


def work(task):
    """Succeeds, unless the task's method names a fault. FAULTY_WORK_SECONDS is how long a task
    takes.
    """
    time.sleep(float(os.environ.get("FAULTY_WORK_SECONDS", "0")))
    fault = task.get("method")
    if fault in FAULTS:
        FAULTS[fault]()
    if fault in ODD_RESULTS:
        return ODD_RESULTS[fault](task)
    number = task["starid"] if "starid" in task else task["number"]
    log.info("flux of star %d measured", number)
    return {
        **task,
        "status": STATUS.OK,
        "method_used": "faulty",
        "details": {"mean_flux": float(number)},
    }


def segfault():
    ctypes.string_at(0)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    if marker := os.environ.get("FAULTY_WORK_HANGS"):
        Path(marker).touch()
    while True:
        time.sleep(0.01)


def hang_holding_the_gil():
    libc = ctypes.PyDLL(None)  # PyDLL: keeps the GIL during the call
    mutex = (ctypes.c_byte * 64)()
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # deadlock; signals do not interrupt it


def eats_memory():
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return bytearray(8 << 30)


def eats_a_gigabyte():
    return bytearray(1 << 30)


def truncated():
    raise BadInputError("star.fits: truncated after 5760 bytes")


def bug():
    return {}["flux"]


def secondary():
    raise NothingToDoError("belongs to star 7")


def leaves():
    raise SystemExit(0)


class Unreadable(Exception):
    """An exception that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("no text")


def unreadable_exception():
    raise Unreadable


class Outlandish(BaseException):
    """No Exception: passes by everything that catches those."""


def no_exception():
    raise Outlandish("passes by")


def forks():
    os.fork()  # and both processes return


class Unloadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def disk_full():
    with atomic_write(FULL) as part:
        part.unlink()
        part.symlink_to("/dev/full")  # says what a full disk says, in a write, which knows no name
        part.write_bytes(b"0" * 10_000)


def ok(task, details):
    return {**task, "status": STATUS.OK, "method_used": "odd", "details": details}


FAULTS = {
    function.__name__: function
    for function in (
        segfault,
        killed,
        hang,
        hang_holding_the_gil,
        eats_memory,
        eats_a_gigabyte,
        truncated,
        bug,
        secondary,
        unreadable_exception,
        no_exception,
        forks,
        leaves,
        disk_full,
    )
}
ODD_RESULTS = {
    "doubtful": lambda task: (
        ok(task, {"errors": ["minimum mask of 9 pixels"]}) | {"status": STATUS.WARNING}
    ),
    "returns nothing": lambda task: None,
    "returns no status": lambda task: {**task},
    "returns another task": lambda task: {
        **task,
        **{key: task[key] + 1 for key in ("priority", "number") if key in task},
        "status": STATUS.OK,
    },
    "returns odd details": lambda task: ok(task, {"mean_flux": "bright"}),
    "returns details that are text": lambda task: ok(task, "fine"),
    "returns details that are a list": lambda task: ok(task, [1, 2]),
    "returns details that are a number": lambda task: ok(task, 7),
    "returns a flux beyond floats": lambda task: ok(task, {"mean_flux": 10**400}),
    "returns a mask size beyond 64 bits": lambda task: ok(task, {"mask_size": 2**70}),
    "returns a number for a list": lambda task: ok(task, {"skip_targets": 5}),
    "returns a star beyond 64 bits": lambda task: ok(task, {"skip_targets": [2**70]}),
    "returns what cannot be pickled": lambda task: ok(task, {"lock": threading.Lock()}),
    "returns what cannot be unpickled": lambda task: ok(task, {"x": Unloadable()}),
    "returns a status that is a list": lambda task: {**task, "status": []},
}
