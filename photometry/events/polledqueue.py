"""What the shared queues have in common: waiting for an event by looking again, ever less often."""

import threading
import time
from queue import Empty

SHORTEST_POLL, LONGEST_POLL = 0.005, 0.1  # s between looks while there is nothing to take


class PolledQueue:
    """Blocking `get` and `wait`, for subclasses that define `take` and `head`."""

    shared = True

    def __init__(self):
        self._interrupted = False
        self._put_here = threading.Event()  # this process has added something: look at once

    def get(self, block=True, timeout=0):
        """Take the first event; see `SimpleEventQueue.get`."""
        deadline = None if timeout is None else time.monotonic() + (timeout if block else 0)
        pause = SHORTEST_POLL
        while True:
            self._put_here.clear()
            event = self.take()
            if event is not None:
                return event
            left = LONGEST_POLL if deadline is None else deadline - time.monotonic()
            if left <= 0 or self._interrupted:
                raise Empty
            self._put_here.wait(min(pause, left))
            pause = min(2 * pause, LONGEST_POLL)

    def wait(self, timeout):
        """Wait until there is an event to take, at most ``timeout`` s. Returns whether there is one."""
        deadline = time.monotonic() + timeout
        while not self._interrupted:
            self._put_here.clear()
            if self.head() is not None:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._put_here.wait(min(LONGEST_POLL, left))
        return False

    def interrupt(self):
        """End all waiting, now and from now on. May be called from a signal handler."""
        self._interrupted = True
