"""The edge around the work of one task: here an exception becomes a result, here alone.

A handler is ``handler(task) -> result``. It may run in this process, or in a forked child that can crash, hang or eat
all memory without taking anything else along.
"""

import contextlib
import errno
import logging
import math
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback

from ..errors import NothingToDoError, PhotometryError, TryAgainError
from ..processes import describe_exit, die_with_parent
from ..status import STATUS
from .limits import TaskLimits
from .protocol import DIED, TRY_AGAIN
from .softlimit import SoftLimit
from .tasklog import collected

log = logging.getLogger(__name__)

_STATUSES = frozenset(STATUS)
_soft_limit = SoftLimit()  # one per process, as there is one timer

PEAK_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss


def run_task(handler, task, *, timeout=None, waited=0.0, rank=0):
    """Do one task in this process and return its result, whatever happens short of the death of the process.

    Parameters
    ----------
    handler : callable(task) -> result dict
    task : dict
    timeout : s, soft time limit: raises inside the work; None: none
    waited : s that the worker waited for this task
    rank : int, recorded with the attempt

    Returns
    -------
    result : the handler's result with ``time``, ``worker_wait_time`` and ``attempt`` filled in. After an exception:
        status ERROR, or SKIPPED after a `NothingToDoError`, with the reason in ``details['errors']``.
    """
    start, tick = time.time(), time.perf_counter()
    attempt = {"rank": rank, "start": start}
    lines = collected()
    try:
        _soft_limit.begin(timeout)
        try:
            result = _checked(handler(task), task)
        finally:
            _soft_limit.end()
    except TryAgainError as error:
        return {"priority": task["priority"], TRY_AGAIN: str(error)}
    except NothingToDoError as error:
        result = _failure(task, STATUS.SKIPPED, str(error), attempt, error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the worker's edge: a failure is a result
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return {
                "priority": task["priority"],
                TRY_AGAIN: f"{error.strerror}: {error.filename or 'while writing'}",
            }
        result = _failure(task, STATUS.ERROR, _describe(error), attempt, error)
    if "error_text" in attempt:
        lines.append(
            (round(time.time(), 3), "ERROR", __name__, "; ".join(result["details"]["errors"]))
        )
    seconds = time.perf_counter() - tick
    result["time"] = seconds
    result["worker_wait_time"] = waited
    attempt["end"] = start + seconds
    attempt["seconds"] = seconds
    attempt["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_MEMORY_UNIT
    result["attempt"] = attempt
    if lines:
        result["log"] = lines
    return result


def _checked(result, task):
    """What a handler returned, if it is a result of this task; methods of other packages may return anything."""
    if (
        not isinstance(result, dict)
        or result.get("priority") != task["priority"]
        or result.get("status") not in _STATUSES
    ):
        raise TypeError(
            f"the work returned {result!r:.200}, expected the task as a dict with a status of STATUS"
        )
    return result


def _failure(task, status, text, attempt, error):
    attempt["error_class"] = type(error).__name__
    attempt["error_text"] = str(error)
    attempt["where"] = _deepest_line_of_ours(error)
    return {
        **task,
        "status": status,
        "method_used": task.get("method") or "none",
        "details": {"errors": [text]},
    }


def _describe(error):
    """One sentence for what we raised on purpose, the whole traceback for what nobody expected."""
    if isinstance(error, PhotometryError):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error)).rstrip()


def _deepest_line_of_ours(error):
    """``'methods/aperture.py:112 in aperture_flux'``: where in this package the exception passed through last."""
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "photometry" in frame.filename.split(os.sep)
    ]
    frame = (ours or traceback.extract_tb(error.__traceback__) or [None])[-1]
    if frame is None:
        return ""
    return f"{frame.filename.rpartition('photometry' + os.sep)[2]}:{frame.lineno} in {frame.name}"


class Child:
    """A forked process that does tasks one at a time, so that a crash costs one task and memory comes back.

    Fork, not spawn: the child starts with everything loaded, in a millisecond. It must not use MPI.
    """

    def __init__(self, handler, *, rank=0):
        self._ours, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._ours.close()
            die_with_parent()
            _serve(theirs, handler, rank)
        theirs.close()
        self.tasks = 0

    def run(self, task, *, soft=None, hard=math.inf, waited=0.0):
        """As `run_task`; where the child dies or has to be killed, a result with the key ``died``, saying how."""
        start = time.time()
        self._ours.send((task, soft, waited))
        self.tasks += 1
        attempt = {"start": start}
        with contextlib.suppress(EOFError, ConnectionResetError):
            if self._ours.poll(None if math.isinf(hard) else hard):
                return self._ours.recv()
            os.kill(self.pid, signal.SIGKILL)
            why = f"killed after {hard:.0f} s: it did not heed its time limit of {soft:g} s"
            self._reap()
            return _death(task, why, attempt)
        return _death(task, self._reap(), attempt)

    def close(self):
        """Let the child end."""
        self._ours.close()
        self._reap()

    def _reap(self):
        """Wait for the child's end and say how it ended."""
        if self.pid is None:
            return "it had ended"
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        return describe_exit(os.waitstatus_to_exitcode(status))


class TaskRunner:
    """Does tasks, in this process or in a child of it.

    Parameters
    ----------
    handler : callable(task) -> result
    rank : int, recorded with each attempt
    task_limits : `limits.TaskLimits`
    recycle : int or None, tasks after which the child that does them is replaced; None: no child, but for isolated tasks
    """

    def __init__(self, handler, *, rank=0, task_limits=None, recycle=None):
        self._handler = handler
        self._rank = rank
        self._limits = task_limits or TaskLimits()
        self._recycle = recycle
        self._child = None

    def run(self, task, *, isolated=False, waited=0.0):
        """The result of ``task``; ``isolated``: in a child process that does nothing else."""
        if not isolated and not self._recycle:
            return run_task(
                self._handler, task, timeout=self._limits.soft(task), waited=waited, rank=self._rank
            )
        if self._child is None:
            self._child = Child(self._handler, rank=self._rank)
        limits = {"soft": self._limits.soft(task), "hard": self._limits.hard(task)}
        result = self._child.run(task, **limits, waited=waited)
        if isolated or self._child.pid is None or self._child.tasks >= self._recycle:
            self.close()
        return result

    def close(self):
        """End the child, if there is one."""
        if self._child is not None:
            self._child.close()
            self._child = None


def _death(task, why, attempt):
    end = time.time()
    attempt.update(
        end=end, seconds=end - attempt["start"], error_class="ProcessDied", error_text=why
    )
    return {"priority": task["priority"], DIED: why, "attempt": attempt}


def _serve(pipe, handler, rank):
    """The child's life: one task after the other until the pipe closes. Leaves without running the parent's exit hooks."""
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # the parent decides when this child ends
        while True:
            task, soft, waited = pipe.recv()
            pipe.send(run_task(handler, task, timeout=soft, waited=waited, rank=rank))
    except (EOFError, BrokenPipeError):
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
