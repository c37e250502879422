"""The worker's loop: take messages, do tasks, send results. The same for local processes and MPI ranks."""

import logging
import os
import socket
import time
from collections import deque

from ..processes import StopRequests
from .protocol import BYE, FINISH, READY, RESULTS, SIGNAL, TASKS

log = logging.getLogger(__name__)

# results of one message's tasks travel together, but wait no longer for the next than this
FLUSH_SECONDS = 1.0
LISTEN_SECONDS = 0.002  # between quick tasks, messages are looked for no more often than this


class Worker:
    """Does the tasks that arrive through a channel until it is told to finish.

    Parameters
    ----------
    channel : object with ``send(message)``, which does not wait for an answer, and ``receive(wait) -> list of messages``
    runner : `work.TaskRunner`
    begun : writable sequence or None; ``begun[0]`` is kept at the id of the task that is being done, else 0
    """

    def __init__(self, channel, runner, *, begun=None):
        self._channel = channel
        self._runner = runner
        self._begun = [0] if begun is None else begun
        self._queue = deque()  # (task, isolated, whether it is the last of its message)
        self._outbox = []
        self._finishing = False
        self._flushed = self._listened = self._idle_since = time.perf_counter()
        self._signals = StopRequests(on_signal=self._tell_signal)
        self._untold = []  # signals that came in the midst of sending
        self._sending = False

    def run(self):
        """Work until told to finish."""
        with self._signals.active():
            self._send((READY, socket.gethostname(), os.getpid()))
            while not self._finishing:
                if not self._queue or self._idle_since - self._listened > LISTEN_SECONDS:
                    self._receive(wait=not self._queue)
                if self._queue and not self._finishing:
                    self._do(*self._queue.popleft())
            self._flush(returned=[task["priority"] for task, *_ in self._queue])
            self._runner.close()
            self._send((BYE, "finished"))

    def _receive(self, wait):
        if wait:
            self._flush()
        self._listened = self._idle_since
        for message in self._channel.receive(wait):
            if message[0] == TASKS:
                *tasks, last = message[1]
                self._queue.extend((task, message[2], False) for task in tasks)
                self._queue.append((last, message[2], True))
            elif message[0] == FINISH:
                self._finishing = True

    def _do(self, task, isolated, is_last):
        waited = time.perf_counter() - self._idle_since
        self._begun[0] = task["priority"]
        self._outbox.append(self._runner.run(task, isolated=isolated, waited=waited))
        self._idle_since = time.perf_counter()
        if is_last or self._idle_since - self._flushed >= FLUSH_SECONDS:
            self._flush()
        self._begun[0] = 0

    def _flush(self, returned=()):
        if self._outbox or returned:
            outbox, self._outbox = self._outbox, []
            self._send((RESULTS, outbox, list(returned)))
        self._flushed = time.perf_counter()

    def _send(self, message):
        self._sending = True
        self._channel.send(message)
        self._sending = False
        while self._untold:
            self._channel.send((SIGNAL, self._untold.pop()))

    def _tell_signal(self, name):
        """Runs in the signal handler: tells the master at once, unless a message is just being sent."""
        if self._sending:
            self._untold.append(name)
        else:
            self._channel.send((SIGNAL, name))
