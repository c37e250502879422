"""The engines of one computer: all in this process, or in local worker processes.

An engine carries messages (see `protocol`) between the master and its workers, and notices when a
worker has crashed. The engine of MPI is in `mpi`.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from multiprocessing.connection import wait

from ..processes import StopNow, describe_exit, die_with_parent, threads_limited
from .protocol import (
    BEGIN,
    BYE,
    FINISH,
    LOST,
    READY,
    RESULTS,
    TASKS,
    WITHDRAW,
    Report,
    load_handler,
)
from .reporting import collect_from_here
from .work import HOST, TaskRunner
from .worker import Outbox, Worker, queued, without

# workers that may end one after the other before they are ready; then starting them is given up
MAX_FAILED_STARTS = 3


class SerialEngine:
    """One worker that is this process itself, for debugging: `receive` does the next task.

    Parameters
    ----------
    runner : `work.TaskRunner`

    Attributes
    ----------
    meanwhile : callable() or None, called now and then while `receive` does a task in a child
        process
    alive : bool, until the one worker has ended and its last message was read
    """

    def __init__(self, runner):
        self._runner = runner
        self.close = runner.close  # ends the child process, if there is one
        self._queue = deque()
        self._outbox = Outbox()
        self._running = False
        self._finished, self.alive = False, True
        self._withdrawn = set()  # tickets of tasks that are not wanted any more
        self.meanwhile = None
        self._events = deque([(0, (READY, HOST, os.getpid()))])

    def send(self, worker, message):
        """Take a message for the one worker."""
        if message[0] == TASKS:
            self._queue.extend(queued(message))
        elif message[0] == BEGIN:
            self._outbox.packer = message[1]
        elif message[0] == WITHDRAW:
            self._withdrawn.update(message[1])
            self._queue, returned = without(self._queue, self._withdrawn)
            self._events.append((0, (RESULTS, Report(returned=returned))))
        elif message[0] == FINISH:
            returned = [ticket for ticket, *_ in self._queue]
            self._queue.clear()
            self._events += [(0, (RESULTS, Report(returned=returned))), (0, (BYE, "finished"))]
            self._finished = True

    def receive(self, timeout):
        """Do one task; return the events that came of it. Waits only with nothing to do."""
        if not self._events and self._queue:
            ticket, task, limits, per_child, _ = self._queue.popleft()
            self._running = True
            outcome = self._runner.run(
                task,
                limits=limits,
                per_child=per_child,
                is_withdrawn=lambda: self._is_withdrawn(ticket),
            )
            self._running = False
            self._outbox.add(ticket, task, *outcome)
            self._events.append((0, (RESULTS, self._outbox.report())))
        elif not self._events:
            time.sleep(timeout)
        events = list(self._events)
        self._events.clear()
        self.alive = not self._finished
        return events

    def _is_withdrawn(self, ticket):
        if self.meanwhile is not None:
            self.meanwhile()
        return ticket in self._withdrawn

    def stop_within(self, seconds):
        """Called in the signal handler: interrupt the running task after ``seconds``, at once where
        that is 0.
        """

        def interrupt(number, frame):
            if self._running:
                raise StopNow

        if seconds <= 0:
            interrupt(None, None)
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def kill(self, worker, why):
        """Nothing to kill: a task that hangs here is interrupted by its soft time limit or by the
        user.
        """


class _PipeChannel:
    def __init__(self, pipe):
        self._pipe = pipe
        self.send = pipe.send

    def receive(self, wait):
        """What has arrived; with ``wait``, at least one message."""
        messages = []
        while self._pipe.poll(None if wait and not messages else 0):
            try:
                messages.append(self._pipe.recv())
            except EOFError:  # the master is gone: no one would receive more results
                return [*messages, (FINISH,)]
        return messages


def _work(pipe, begun, handler, recycle, rank):
    """What a worker process runs."""
    die_with_parent()
    collect_from_here(only=True)
    runner = TaskRunner(load_handler(handler), rank=rank, recycle=recycle)
    with contextlib.suppress(BrokenPipeError):  # the master is gone; what it had saved is safe
        Worker(_PipeChannel(pipe), runner, begun=begun).run()


class ProcessEngine:
    """Starts worker processes and moves messages to and from them.

    Workers are started afresh (spawn), not forked, so that they inherit neither the source's files
    nor the master's threads. A worker that crashes is replaced; the kernel ends workers whose
    master was killed.

    Parameters
    ----------
    n : number of workers
    handler : `protocol.Handler`
    recycle : int or None, see `work.TaskRunner`
    """

    def __init__(self, n, handler, recycle=None):
        self._handler = handler
        self._recycle = recycle
        self._context = multiprocessing.get_context("spawn")
        self._workers = {}  # number -> (process, pipe, begun)
        self._killed = {}  # number -> why, of those that we ended
        self._failed_starts = 0
        self._closing = False
        self._number = 0
        try:
            for _ in range(n):
                self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        self._number += 1
        ours, theirs = self._context.Pipe()
        begun = self._context.RawArray("q", 1)
        process = self._context.Process(
            target=_work,
            args=(theirs, begun, self._handler, self._recycle, self._number),
            name=f"worker {self._number}",
        )
        with threads_limited():
            process.start()
        theirs.close()
        self._workers[self._number] = (process, ours, begun)

    def send(self, worker, message):
        """Give a message to a worker. If it has just crashed, `receive` reports it as lost."""
        self._closing = self._closing or message[0] == FINISH
        if worker in self._workers:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._workers[worker][1].send(message)

    def receive(self, timeout):
        """Wait up to ``timeout`` seconds; return (worker, message) for all that has arrived."""
        pipes = {pipe: number for number, (_, pipe, _) in self._workers.items()}
        events = []
        for pipe in wait(list(pipes), timeout):
            events += self._read(pipes[pipe], pipe)
        return events

    def _read(self, number, pipe):
        events = []
        try:
            while pipe.poll():
                message = pipe.recv()
                events.append((number, message))
                self._failed_starts = 0
                if message[0] == BYE:
                    self._reap(number)
                    break
        except (EOFError, ConnectionResetError):
            events.append((number, self._crash(number)))
        return events

    def _crash(self, number):
        """The message about a worker that crashed; starts another in its place."""
        begun = self._workers[number][2][0]
        code = self._reap(number)
        why = self._killed.pop(number, None) or describe_exit(code)
        self._failed_starts += 1
        if not self._closing and self._failed_starts <= MAX_FAILED_STARTS:
            self._start()
        return LOST, why, begun or None

    def _reap(self, number):
        process, pipe, _ = self._workers.pop(number)
        process.join()
        pipe.close()
        return process.exitcode

    def kill(self, worker, why):
        """End a worker by force; `receive` then reports it as lost."""
        if worker in self._workers:
            self._killed[worker] = why
            self._workers[worker][0].kill()

    def stop_within(self, seconds):
        """Called in the signal handler; workers are separate, the master's loop sees to it."""

    @property
    def alive(self):
        """Number of worker processes."""
        return len(self._workers)

    def close(self):
        """End all workers that still run, by force."""
        self._closing = True
        for process, _, _ in self._workers.values():
            process.kill()
        for number in list(self._workers):
            self._reap(number)
