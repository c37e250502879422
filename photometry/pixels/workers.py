"""A pool of processes that share something large, for jobs that only return something small."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

_shared = None
_function = None


class Workers:
    """Run ``function(shared, item)`` for many items; a context manager. One worker or none: in this process.

    Jobs are handed out a few at a time, so that leaving the context, also by an exception, waits for little.

    Parameters
    ----------
    n : int, processes
    function : function of a module
    shared : anything that can be pickled; each process gets it once
    """

    def __init__(self, n, function, shared):
        self._n, self._function, self._shared = n, function, shared
        self._pool = None

    def __enter__(self):
        if self._n > 1:
            method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
            self._pool = ProcessPoolExecutor(
                self._n,
                mp_context=multiprocessing.get_context(method),
                initializer=_start,
                initargs=(self._function, self._shared, os.getpid()),
            )
        return self

    def __exit__(self, *_):
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def as_done(self, items):
        """Yield the results in any order."""
        if self._pool is None:
            for item in list(items):
                yield self._function(self._shared, item)
            return
        waiting, running = iter(list(items)), set()
        while True:
            for item in waiting:
                running.add(self._pool.submit(_run, item))
                if len(running) >= 2 * self._n:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for job in done:
                yield job.result()

    def in_order(self, items):
        """Yield the results in the order of the items."""
        if self._pool is None:
            for item in items:
                yield self._function(self._shared, item)
        else:
            yield from self._pool.map(_run, items, chunksize=16)


def _start(function, shared, parent):
    """Set up a worker: Ctrl-C is the business of the parent, and without it there is nothing to do."""
    global _function, _shared
    _function, _shared = function, shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run(item):
    return _function(_shared, item)
