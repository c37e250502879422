"""The engine without workers: everything in this process, one task after the other. For debugging and small lists."""

import os
import signal
import socket
from collections import deque

from ..processes import StopNow
from .protocol import BYE, FINISH, READY, RESULTS, TASKS


class SerialEngine:
    """One worker that is this process itself. `receive` does the next task.

    Parameters
    ----------
    runner : `work.TaskRunner`
    """

    def __init__(self, runner):
        self._runner = runner
        self._queue = deque()
        self._running = False
        self._finished = False
        self._events = deque([(0, (READY, socket.gethostname(), os.getpid()))])

    def send(self, worker, message):
        """Take a message for the one worker."""
        if message[0] == TASKS:
            self._queue.extend((task, message[2]) for task in message[1])
        elif message[0] == FINISH:
            returned = [task["priority"] for task, _ in self._queue]
            self._queue.clear()
            self._events.extend([(0, (RESULTS, [], returned)), (0, (BYE, "finished"))])
            self._finished = True

    def receive(self, timeout):
        """Do one task; return the events that came of it. Never waits, as there is nobody to wait for."""
        if not self._events and self._queue:
            task, isolated = self._queue.popleft()
            self._running = True
            result = self._runner.run(task, isolated=isolated)
            self._running = False
            self._events.append((0, (RESULTS, [result], [])))
        events = list(self._events)
        self._events.clear()
        return events

    def stop_within(self, seconds):
        """Called in the signal handler: interrupt the running task after ``seconds``, at once where that is 0."""

        def interrupt(number, frame):
            if self._running:
                raise StopNow

        if seconds <= 0:
            interrupt(None, None)
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    @property
    def alive(self):
        """1 until the one worker has ended and its last words were read."""
        return int(bool(self._events) or not self._finished)

    def kill(self, worker, why):
        """Nothing to kill: a task that hangs here is interrupted by its soft time limit or by the user."""

    def close(self):
        """End the child process of isolated tasks, if there is one."""
        self._runner.close()
