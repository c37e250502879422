"""The work of one task, in this process or in a child of it. Here an exception becomes a result,
here alone.

A handler is ``handler(task) -> result``. It may run in this process, or in a forked child that can
crash, hang or eat all memory without taking anything else along.
"""

import contextlib
import errno
import math
import multiprocessing
import os
import pickle
import resource
import select
import signal
import socket
import sys
import time
import traceback
from typing import NamedTuple

from ..errors import NothingToDoError, PhotometryError, TargetTimeoutError, TryAgainError
from ..processes import StopNow, describe_exit, die_with_parent, keep_memory
from ..status import STATUS
from .protocol import ODD_TEXT, Failure, Limits, failed_result
from .reporting import collector

HOST = socket.gethostname()
# s; quicker tasks matter to no time limit, and their peak memory is that of the process
SLOW = 1e-3
LISTEN_SECONDS = 0.1  # between looks whether the task of a child is still wanted
STOP_PATIENCE = 2.0  # s that a child gets to clean up behind a task that is not
STOP_SIGNAL = signal.SIGUSR2  # asks a child to end at once
PEAK_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss

_STATUSES = frozenset(STATUS)
_NO_LIMITS = Limits(seconds=None)


class Crashed(NamedTuple):
    """In place of a result: the task took its child process down."""

    why: str
    attempt: dict


class Hindered(NamedTuple):
    """In place of a result: the task met with something outside that may pass, as a full disk;
    others would, too.
    """

    why: str


class Withdrawn(NamedTuple):
    """In place of a result: it is not wanted any more, and the child process was ended."""


# One task


class SoftLimit:
    """Raises `TargetTimeoutError` in the main thread, in Python code, when a task takes too long.

    The kernel's timer is set when it has to ring earlier than it would, not for every task: quick
    tasks cost no system call.
    """

    def __init__(self):
        self._limit = None  # s, of the running task; None: none is running, or without limit
        self._deadline = 0.0
        self._rings = math.inf  # when the timer will ring

    def set(self, seconds):
        """A task begins that may take ``seconds``; None: without limit, or none is running."""
        self._limit = seconds
        if seconds is not None:
            self._deadline = time.monotonic() + seconds
            if self._deadline < self._rings:
                if signal.getsignal(signal.SIGALRM) != self._ring:
                    signal.signal(signal.SIGALRM, self._ring)
                self._rings = self._deadline
                signal.setitimer(signal.ITIMER_REAL, seconds)

    def close(self):
        """No task will begin any more: the timer would end a process that waits for others."""
        if self._rings < math.inf:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._rings = math.inf

    def _ring(self, number, frame):
        self._rings = math.inf
        if self._limit is None:
            return
        early = self._deadline - time.monotonic()
        if early > 0:
            self._rings = self._deadline
            signal.setitimer(signal.ITIMER_REAL, early)
        else:
            limit, self._limit = self._limit, None
            raise TargetTimeoutError(f"took longer than its time limit of {limit:g} s")


_soft_limit = SoftLimit()  # one per process, as there is one timer


@contextlib.contextmanager
def memory_limit(n_bytes):
    """Within this block, data of this process may grow by ``n_bytes``; an allocation beyond raises
    MemoryError (Linux).
    """
    if n_bytes is None or not os.path.exists("/proc/self/statm"):
        yield
        return
    with open("/proc/self/statm") as file:  # proc(5): the sixth field is data and stack, in pages
        used = int(file.read().split()[5]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + n_bytes if hard == resource.RLIM_INFINITY else min(used + n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


_known_peak = 0  # bytes that this process had at most, asked anew after tasks that took some time


def run_task(handler, task, *, limits=_NO_LIMITS, waited=0.0, rank=0):
    """Do one task in this process, whatever happens short of a crash of the process.

    Parameters
    ----------
    handler : callable(task) -> dict with ``status``
    task : dict
    limits : `protocol.Limits`
    waited : s that the worker waited for this task
    rank : int, recorded with the attempt

    Returns
    -------
    result : dict, see `protocol.TaskSource`; or `Hindered`
    lines : list of what was logged meanwhile: (time, level, logger, message)
    """
    global _known_peak
    forks, start, tick = _forks, time.time(), time.perf_counter()
    attempt = {"host": HOST, "rank": rank, "start": start}
    lines = collector.lines = []
    try:
        _soft_limit.set(limits.seconds)
        try:
            if limits.memory is None:
                result = _checked(handler(task), task)
            else:
                with memory_limit(limits.memory):
                    result = _checked(handler(task), task)
        finally:
            _soft_limit.set(None)
            if _forks != forks:
                _end_stray_process()
    except StopNow:
        raise
    except TryAgainError as error:
        return Hindered(Failure.of(error).text), lines
    except BaseException as error:  # noqa: BLE001 - the worker's edge: a failure is a result
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Hindered(f"{error.strerror}: {error.filename or 'while writing'}"), lines
        result = _failure(task, attempt, error)
        lines.append(log_line("; ".join(result["details"]["errors"])))
    seconds = time.perf_counter() - tick
    if seconds >= SLOW or not _known_peak:
        _known_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_MEMORY_UNIT
    attempt |= {"end": start + seconds, "seconds": seconds, "peak_memory": _known_peak}
    result |= {"time": seconds, "worker_wait_time": waited, "attempt": attempt}
    return result, lines


def _checked(returned, task):
    """The result made of what a handler returned, which may be anything."""
    if type(returned) is not dict and isinstance(returned, dict):
        returned = dict(returned)
    if type(returned) is not dict or returned.get("status") not in _STATUSES:
        raise TypeError(
            f"the work returned {returned!r:.200}, expected a dict with a status of STATUS"
        )
    if task.items() <= returned.items():  # it holds the task as it was
        return returned
    for key in task.keys() & returned.keys():
        if task[key] is not returned[key] and task[key] != returned[key]:
            raise TypeError(
                f"the work returned {key}={returned[key]!r:.200} for the task with "
                f"{key}={task[key]!r:.200}"
            )
    return {**task, **returned}


# how many forks lie between the start of the program and this process; cheaper than os.getpid()
_forks = 0


def _count_fork():
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


def _end_stray_process():
    """The work has forked, and its child came back from it too: it would go on as a second worker,
    for ever.
    """
    os.write(
        2, b"a process that was forked by the work on a task has returned from it; it is ended\n"
    )
    os._exit(1)


def _failure(task, attempt, error):
    """The result after an exception."""
    failure = Failure.of(error, _deepest_line_of_ours(error))
    attempt.update(error_class=failure.error_class, error_text=failure.text, where=failure.where)
    if isinstance(error, NothingToDoError):
        return failed_result(task, STATUS.SKIPPED, failure.text)
    # one message for what was raised on purpose, the whole traceback for what was not expected
    if isinstance(error, (PhotometryError, MemoryError)):
        return failed_result(task, STATUS.ERROR, failure.message)
    trace = "".join(traceback.format_exception(error)).rstrip()
    return failed_result(task, STATUS.ERROR, trace)


def _deepest_line_of_ours(error):
    """``'methods/aperture.py:112 in aperture_flux'``: where in this package the exception passed
    through last.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "photometry" in frame.filename.split(os.sep)]
    for frame in (ours or frames)[-1:]:
        file = frame.filename.rpartition("photometry" + os.sep)[2]
        return f"{file}:{frame.lineno} in {frame.name}"
    return ""


def log_line(message):
    return round(time.time(), 3), "ERROR", __name__, message


def odd_result(task, result, error):
    """The result of a task instead of one that cannot be sent or stored.

    Parameters
    ----------
    task : dict
    result : dict, the one that cannot be stored
    error : the exception that says so
    """
    failure = Failure.of(error)
    attempt = {**result["attempt"], "error_class": failure.error_class, "error_text": failure.text}
    failed = failed_result(task, STATUS.ERROR, ODD_TEXT + failure.message)
    return failed | {
        "time": result["time"],
        "worker_wait_time": result["worker_wait_time"],
        "attempt": attempt,
    }


# Child processes


class Child:
    """A forked process that does tasks one at a time, so that a crash costs one task and memory
    comes back.

    Fork, not spawn: the child starts with everything loaded, in a millisecond. It must not use MPI.

    Parameters
    ----------
    handler : callable(task) -> result
    n_tasks : int, tasks after which it is replaced
    rank : int, recorded with each attempt
    """

    def __init__(self, handler, n_tasks, *, rank=0):
        self.n_tasks, self.n_done, self._rank = n_tasks, 0, rank
        self._ours, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._ours.close()
            die_with_parent()
            _serve(theirs, handler, rank)
        theirs.close()
        # a fifth of the time of Connection.poll, which would be half of the time of a quick task
        self._answers = select.poll()
        self._answers.register(self._ours.fileno(), select.POLLIN)

    def run(self, task, *, limits=_NO_LIMITS, waited=0.0, is_withdrawn=None):
        """As `run_task`; where the child crashes or has to be killed, `Crashed` in place of the
        result, and `Withdrawn` where it is not wanted any more.

        Parameters
        ----------
        task : dict
        limits : `protocol.Limits`
        waited : s that the worker waited for this task
        is_withdrawn : callable() -> bool, or None: it is always wanted
        """
        start, end = time.time(), time.monotonic() + limits.hard
        self._ours.send((task, limits, waited))
        self.n_done += 1
        why, hard = None, limits.hard
        with contextlib.suppress(EOFError, ConnectionResetError):
            while (left := end - time.monotonic()) > 0:
                if self._answers.poll(1000 * min(left, LISTEN_SECONDS)):
                    return self._ours.recv()
                if is_withdrawn is not None and is_withdrawn():
                    self._stop()
                    return Withdrawn(), []
            os.kill(self.pid, signal.SIGKILL)
            why = (
                f"killed after {hard:.0f} s: it did not heed its time limit of {limits.seconds:g} s"
            )
        how, end = self._reap(), time.time()
        attempt = {"host": HOST, "rank": self._rank, "start": start, "end": end}
        attempt |= {"seconds": end - start, "error_class": "Crash"}
        return Crashed(why or how, attempt), []

    def _stop(self):
        """End the child in the midst of a task: what it made is cleaned up, if it does so soon."""
        os.kill(self.pid, STOP_SIGNAL)
        self._ours.poll(STOP_PATIENCE)
        os.kill(self.pid, signal.SIGKILL)
        self._reap()

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


def _leave_task(number, frame):
    raise StopNow


def _serve(pipe, handler, rank):
    """The child's life: one task after the other until the pipe closes. Leaves without running the
    parent's exit hooks.
    """
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # the parent decides when this child ends
        signal.signal(STOP_SIGNAL, _leave_task)
        while True:
            task, limits, waited = pipe.recv()
            result, lines = run_task(handler, task, limits=limits, waited=waited, rank=rank)
            try:
                data = pickle.dumps((result, lines))
                pickle.loads(data)
            except Exception as error:  # noqa: BLE001 - runs code of what the handler returned
                data = pickle.dumps((odd_result(task, result, error), lines))
            pipe.send_bytes(data)
    except (EOFError, BrokenPipeError, StopNow):
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class TaskRunner:
    """Does tasks, in this process or in a child of it.

    Parameters
    ----------
    handler : callable(task) -> result
    rank : int, recorded with each attempt
    recycle : int or None, tasks after which the child that does them is replaced; None: no child
        unless asked for
    """

    def __init__(self, handler, *, rank=0, recycle=None):
        self._handler, self._rank, self._recycle = handler, rank, recycle
        self._child = None
        keep_memory()

    def run(self, task, *, limits=_NO_LIMITS, per_child=None, waited=0.0, is_withdrawn=None):
        """The result of ``task`` and its log, as `run_task`.

        Parameters
        ----------
        task : dict
        limits : `protocol.Limits`
        per_child : int or None, tasks for each child process; None: as ``recycle`` says
        waited : s that the worker waited for this task
        is_withdrawn : callable() -> bool, asked now and then while a child process does the task;
            None: it is always wanted
        """
        n_tasks = per_child or self._recycle
        if n_tasks is None:
            return run_task(self._handler, task, limits=limits, waited=waited, rank=self._rank)
        if self._child is not None and self._child.n_tasks != n_tasks:
            self._close_child()
        if self._child is None:
            self._child = Child(self._handler, n_tasks, rank=self._rank)
        outcome = self._child.run(task, limits=limits, waited=waited, is_withdrawn=is_withdrawn)
        if self._child.pid is None or self._child.n_done >= n_tasks:
            self._close_child()
        return outcome

    def close(self):
        """No task will be done any more."""
        if self._child is not None:
            self._close_child()
        _soft_limit.close()

    def _close_child(self):
        self._child.close()
        self._child = None
