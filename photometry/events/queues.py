"""`SimpleEventQueue`: a queue in memory, and the contract that every queue of events fulfils.
`PolledQueue`: a shared one.

An event is *pending* until it is taken, then *in progress* until it is finished, discarded or put
back. Nothing leaves the table of events in progress by itself."""

import heapq
import itertools
import threading
import time
from collections import deque
from queue import Empty

from .event import OUTCOME

SLICE = 0.25
"""s; longest uninterrupted wait, so that a signal is obeyed soon."""

SHORTEST_POLL, LONGEST_POLL = 0.005, 0.1
"""s between looks at a shared queue while there is nothing to take."""


class SimpleEventQueue:
    """First in, first out, plus a table of the events taken but not finished. Safe between
    threads."""

    shared = False  # whether other processes see it, so that arguments must be JSON-like

    def __init__(self):
        self._pending = deque()
        # heap of (time, number, event): put back, not to be taken before that time
        self._later = []
        self._in_progress = {}
        self._changed = threading.Condition()
        self._number = itertools.count()
        self._interrupted = False
        self.stopping = False

    def put(self, event):
        """Add an event at the end. Returns True; a queue on disk returns False if it knows the
        event's key already."""
        with self._changed:
            self._pending.append(event)
            self._changed.notify()
        return True

    def get(self, block=True, timeout=0):
        """Take the first event; it is in progress from now on.

        Parameters
        ----------
        block : bool, wait for one if there is none
        timeout : s to wait at most; None: for ever, or until `interrupt`

        Raises
        ------
        queue.Empty : there is none
        """
        with self._changed:
            if block and timeout != 0:
                self._wait(timeout)
            self._ripen()
            if not self._pending:
                raise Empty
            event = self._pending.popleft()
            event.queue = self
            event.attempt += 1
            self._in_progress[event.id] = event
        return event

    def wait(self, timeout):
        """Wait until there is an event to take, at most ``timeout`` s. Returns whether there is
        one."""
        with self._changed:
            return self._wait(timeout)

    def interrupt(self):
        """End all waiting, now and from now on. May be called from a signal handler: it takes no
        lock."""
        self._interrupted = True

    def head(self):
        """The first event without taking it, or None."""
        with self._changed:
            self._ripen()
            return self._pending[0] if self._pending else None

    def qsize(self):
        """How many events are pending."""
        return len(self._pending) + len(self._later)

    def get_pending(self):
        """The pending events, as a list."""
        with self._changed:
            return [
                *self._pending,
                *(event for _, _, event in sorted(self._later, key=lambda entry: entry[:2])),
            ]

    def get_in_progress(self):
        """The events in progress, as a dict: id -> event."""
        with self._changed:
            return dict(self._in_progress)

    def is_over(self):
        """Whether there is nothing left to wait for."""
        return self.qsize() == 0

    def discard(self, event_id):
        """Take an event out of those in progress. Returns it; None if it is not among them."""
        with self._changed:
            return self._in_progress.pop(event_id, None)

    def finish(self, event_id, outcome=OUTCOME.DONE, error=None, successor=None):
        """Discard an event for good, with what became of it, and add its ``successor`` if there is
        one.

        Parameters
        ----------
        event_id : str
        outcome : OUTCOME
        error : str, the reason of a failure
        successor : Event, the next occurrence of a recurrent one
        """
        event = self.discard(event_id)
        if event is not None:
            event.error = error
            if successor is not None:
                self.put(successor)
        return event

    def re_append(self, event_id, delay=0, error=None, worker=None):
        """Move an event in progress to the end of the queue, not to be taken for ``delay`` s.
        Returns it, or None.

        Parameters
        ----------
        event_id : str
        delay : float, s
        error : str, why it is tried again
        worker : of no meaning in memory
        """
        with self._changed:
            event = self._in_progress.pop(event_id, None)
            if event is not None:
                event.error = error
                heapq.heappush(self._later, (time.monotonic() + delay, next(self._number), event))
                self._changed.notify()
            return event

    def release(self, event_id, worker=None):
        """Put an event in progress back to the front, as if it had never been taken. Returns it, or
        None."""
        with self._changed:
            event = self._in_progress.pop(event_id, None)
            if event is not None:
                event.attempt -= 1
                self._pending.appendleft(event)
                self._changed.notify()
            return event

    def forget(self, key):
        """Forget that a file was worked on; a queue in memory does not remember it anyway."""
        return False

    def clear(self):
        """Drop all pending events. Returns how many there were."""
        with self._changed:
            dropped = self.qsize()
            self._pending.clear()
            self._later.clear()
            return dropped

    def terminate(self):
        """Ask everybody who takes events from this queue to end after the present item."""
        self.stopping = True
        self.interrupt()

    def close(self):
        """Give the queue back; nothing to do in memory."""

    def waiting_for(self):
        """What the queue waits for, in a few words."""
        return (
            f"{len(self._pending)} events to run, {len(self._later)} to try again later"
            if self.qsize()
            else "the next event"
        )

    def _wait(self, timeout):
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ripen() and not self._interrupted:
            remaining = SLICE if deadline is None else deadline - time.monotonic()
            if remaining <= 0:
                break
            ripe = self._later[0][0] - time.monotonic() if self._later else SLICE
            self._changed.wait(max(0, min(remaining, ripe, SLICE)))
        return bool(self._pending)

    def _ripen(self):
        """Move the events whose delay is over to the queue. Returns whether there is an event to
        take."""
        while self._later and self._later[0][0] <= time.monotonic():
            self._pending.append(heapq.heappop(self._later)[2])
        return bool(self._pending)


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
            remaining = LONGEST_POLL if deadline is None else deadline - time.monotonic()
            if remaining <= 0 or self._interrupted:
                raise Empty
            self._put_here.wait(min(pause, remaining))
            pause = min(2 * pause, LONGEST_POLL)

    def wait(self, timeout):
        """Wait until there is an event to take, at most ``timeout`` s. Returns whether there is
        one."""
        deadline = time.monotonic() + timeout
        while not self._interrupted:
            self._put_here.clear()
            if self.head() is not None:
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._put_here.wait(min(LONGEST_POLL, remaining))
        return False

    def interrupt(self):
        """End all waiting, now and from now on. May be called from a signal handler."""
        self._interrupted = True
