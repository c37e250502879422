"""Processes: is one alive, die with the parent, how did one end, signals that ask to stop, threads,
what they log, a pool.
"""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from .errors import TryAgainError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PR_SET_PDEATHSIG = 1  # prctl(2)
# of the libraries of linear algebra: threads cost more than they save on the small matrices of a
# star, and on a busy machine they wait for each other
ALGEBRA_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    *ALGEBRA_VARIABLES,
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


# Who a process is


@dataclass(frozen=True)
class ProcessId:
    """One process of this host, kept apart from a later one that has the same number.

    Attributes
    ----------
    pid : int
    started : clock ticks from the boot to its start (Linux), else s since 1970; a step of the clock
        does not change ticks
    boot : str, changes whenever this machine is started anew
    """

    pid: int
    started: float
    boot: str

    @classmethod
    def of(cls, pid=None):
        """The process of a number (default: this one); None where there is none that runs."""
        pid = os.getpid() if pid is None else pid
        try:
            # proc(5): after the name in brackets, the state is the first field and the start time
            # the twentieth
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            # a killed process holds its files until the last of its threads is gone
            is_dead = fields[0] == b"X" or (fields[0] == b"Z" and int(fields[17]) <= 1)
            return None if is_dead else cls(pid, float(fields[19]), boot_id())
        except (FileNotFoundError, ProcessLookupError):
            if sys.platform == "linux":
                return None
        import psutil

        try:
            process = psutil.Process(pid)
            is_dead = process.status() == psutil.STATUS_ZOMBIE
            return None if is_dead else cls(pid, process.create_time(), boot_id())
        except psutil.NoSuchProcess:
            return None

    def is_alive(self):
        """Whether it still runs. A process that has ended and waits for its parent (zombie) does
        not.
        """
        return ProcessId.of(self.pid) == self


def is_alive(pid, started, boot):
    """Whether the process runs that `ProcessId` describes by the same three values, as read from a
    file.

    Parameters
    ----------
    pid : int
    started : float or int, as in `ProcessId`
    boot : str, as `boot_id` gives it
    """
    return ProcessId(pid, started, boot).is_alive()


def boot_id():
    """Changes whenever this machine is started anew; process numbers mean nothing across that."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    import psutil

    return str(int(psutil.boot_time()))


# How a process ends


def die_with_parent():
    """Have the kernel end this process when its parent dies, even in the midst of compiled code;
    elsewhere a thread looks.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()


def _leave_with(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def describe_exit(code):
    """``'killed by SIGSEGV'`` or ``'exited with code 7'``, for an exit code as `multiprocessing`
    and `subprocess` give it.
    """
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"killed by {name}" + (", perhaps for want of memory" * (name == "SIGKILL"))
    return f"exited with code {code}"


# Signals that ask to stop: the first one drains, the second one stops at once


class StopNow(BaseException):
    """A second signal, or the end of the grace period: leave the running task as it is.

    Not an Exception, so that no ``except Exception`` of the work can swallow it.
    """


@dataclass
class StopRequests:
    """Counts the stop signals that arrive while it is active.

    Attributes
    ----------
    on_signal : callable(name) or None, called within the signal handler at each of them
    names : list of str, of the signals received, in order
    """

    on_signal: Callable | None = None
    names: list = field(default_factory=list)

    @contextlib.contextmanager
    def active(self):
        """Handle the stop signals within this block, and give them back to their old handlers after
        it.

        Only the main thread can receive signals: in another one, this block changes nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        old = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _receive(self, number, frame):
        self.names.append(signal.Signals(number).name)
        if self.on_signal:
            self.on_signal(self.names[-1])


@contextlib.contextmanager
def draining(on_first):
    """Within this block call ``on_first(name)`` at the first signal to stop, and raise
    KeyboardInterrupt at the second.

    ``on_first`` runs within the signal handler and must take no lock.
    """
    received = []

    def on_signal(name):
        received.append(name)
        if len(received) > 1:
            raise KeyboardInterrupt(name)
        on_first(name)

    with StopRequests(on_signal).active():
        yield


# One thread per worker unless the user sets it otherwise: libraries that start one per core slow
# each other down


def limit_threads(environ=None, names=THREAD_VARIABLES):
    """Set the thread variables that are not set to 1. Has an effect on libraries that are loaded
    afterwards.
    """
    environ = os.environ if environ is None else environ
    for name in names:
        environ.setdefault(name, "1")


@contextlib.contextmanager
def threads_limited():
    """Limit the threads of the processes that are started in this block, not those of this one."""
    added = [name for name in THREAD_VARIABLES if name not in os.environ]
    limit_threads()
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


# mallopt(3): which arrays come from the kernel anew each time, and how much free memory goes back
# to it
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_ARRAY, KEPT_MEMORY = 32 * 2**20, 256 * 2**20  # bytes; glibc accepts no larger array


def stderr_handler():
    """A handler that logs to standard error, with times in UTC as everywhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    )
    handler.formatter.converter = time.gmtime
    return handler


def keep_memory():
    """Keep the memory of freed arrays in this process, for the next target.

    glibc gives arrays of 10 MB back to the kernel when they are freed, and gets them zeroed anew,
    page by page: a third of the time of a target pixel file. Does nothing where the C library has
    no ``mallopt``, or where MALLOC_ variables of the environment say what to do.

    Returns
    -------
    bool, whether it could be done
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no such library, or another one than glibc
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT_ARRAY) and mallopt(_M_TRIM_THRESHOLD, KEPT_MEMORY))


# A pool

MAX_CRASHES = 3
"""An item during which the pool's processes died this often is given up."""


class Pool:
    """Run ``function(shared, item)`` for many items in processes; a context manager. One or none:
    in this process.

    Items are assigned a few at a time, so that leaving the context, also by an exception, waits for
    little. Where a process dies (killed for want of memory, say), the pool is made anew and the
    items that were under way are done again.

    Parameters
    ----------
    n : int, processes
    function : function of a module
    shared : anything that can be pickled; each process gets it once
    start : str, optional
        'fork' or 'spawn'; by default 'fork' where that is possible. Threads of numba do not survive
        a fork.
    """

    def __init__(self, n, function, shared, *, start=None):
        self._n, self._function, self._shared, self._start_method = n, function, shared, start
        self._pool = None

    def __enter__(self):
        if self._n > 1:
            self._start()
        return self

    def __exit__(self, *_):
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self):
        possible = multiprocessing.get_all_start_methods()
        method = self._start_method or ("fork" if "fork" in possible else "spawn")
        self._pool = ProcessPoolExecutor(
            self._n,
            mp_context=multiprocessing.get_context(method),
            initializer=_start_process,
            initargs=(self._function, self._shared),
        )

    def as_done(self, items):
        """Yield the results in any order.

        Parameters
        ----------
        items : iterable

        Raises
        ------
        TryAgainError : the processes died `MAX_CRASHES` times during one item
        """
        for _, result in self._completed(items):
            yield result

    def in_order(self, items):
        """Yield the results in the order of the items; raises as `as_done`.

        Parameters
        ----------
        items : iterable
        """
        early, due = {}, 0
        for number, result in self._completed(items):
            early[number] = result
            while due in early:
                yield early.pop(due)
                due += 1

    def _completed(self, items):
        """Yield (number of the item, result) as they come."""
        waiting = enumerate(list(items))
        if self._pool is None:
            for number, item in waiting:
                yield number, self._function(self._shared, item)
            return
        again, crashes, running = [], {}, {}
        while True:
            while len(running) < 2 * self._n and (
                job := again.pop() if again else next(waiting, None)
            ):
                running[self._pool.submit(_run, job[1])] = job
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                lost = list(running.values())
                running.clear()
                for number, _ in lost:
                    crashes[number] = crashes.get(number, 0) + 1
                if worst := [number for number, _ in lost if crashes[number] >= MAX_CRASHES]:
                    raise TryAgainError(
                        f"worker processes died {MAX_CRASHES} times at item {min(worst) + 1}, "
                        "perhaps for "
                        "want of memory; try fewer workers"
                    )
                again += reversed(lost)
                self._pool.shutdown(wait=True, cancel_futures=True)
                self._start()
                continue
            for future in done:
                number, _ = running.pop(future)
                yield number, future.result()


_shared = None
_function = None


def _start_process(function, shared):
    """Set up a process of the pool: Ctrl-C is the business of the parent, and without it there is
    nothing to do.
    """
    global _function, _shared
    _function, _shared = function, shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()


def _run(item):
    return _function(_shared, item)
