"""`Syncer`: flushes a growing file to the disk once a second, for durability 'second'."""

import contextlib
import threading

from ..files import sync

_INTERVAL = 1.0  # s


class Syncer:
    """A thread that flushes until `stop`, and once more then.

    Parameters
    ----------
    path : callable, returns the Path of the file to flush

    Attributes
    ----------
    error : OSError that ended it, or None
    """

    def __init__(self, path):
        self.error = None
        self._path = path
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="todo-file sync", daemon=True)
        self._thread.start()

    def stop(self):
        self._stopped.set()
        self._thread.join()

    def _run(self):
        is_last = False
        while not is_last and self.error is None:
            is_last = self._stopped.wait(_INTERVAL)
            try:
                with contextlib.suppress(FileNotFoundError):  # between two journals
                    sync(self._path())
            except OSError as error:
                self.error = error
