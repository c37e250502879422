"""`SoftLimit`: raises an exception inside work that takes too long.

The kernel's timer is set when it has to ring earlier than it would, not for every task: quick tasks cost no system call.
"""

import signal
import time

from ..errors import TargetTimeoutError


class SoftLimit:
    """Raises `TargetTimeoutError` in the main thread, in Python code, between `begin` and `end`."""

    def __init__(self):
        self._limit = None  # s, of the running task; None: none is running, or without limit
        self._deadline = 0.0
        self._rings = float("inf")  # when the timer will ring
        self._is_installed = False

    def begin(self, seconds):
        """A task begins that may take ``seconds``."""
        self._limit = seconds
        if seconds is not None:
            self._deadline = time.monotonic() + seconds
            if self._deadline < self._rings:
                self._set(seconds)

    def end(self):
        """The task has ended."""
        self._limit = None

    def _set(self, seconds):
        if not self._is_installed:
            signal.signal(signal.SIGALRM, self._ring)
            self._is_installed = True
        self._rings = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _ring(self, number, frame):
        self._rings = float("inf")
        if self._limit is None:
            return
        left = self._deadline - time.monotonic()
        if left > 0:
            self._set(left)
        else:
            limit, self._limit = self._limit, None
            raise TargetTimeoutError(f"took longer than its time limit of {limit:g} s")
