"""The engine of local processes: one computer, no MPI.

Workers are started afresh (spawn), not forked, so that they inherit neither the TODO-file's connection nor the master's
threads. A worker that dies is replaced; the kernel ends workers whose master was killed.
"""

import contextlib
import multiprocessing
from multiprocessing.connection import wait

from ..processes import describe_exit, die_with_parent, threads_limited
from .handlers import load_handler
from .protocol import BYE, FINISH, LOST
from .tasklog import collect_from_here
from .work import TaskRunner
from .worker import Worker

UNBORN = 3  # workers that may die one after the other before they are ready; then starting them is given up


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
            except EOFError:  # the master is gone: nobody would hear of more work
                return [*messages, (FINISH,)]
        return messages


def _work(pipe, begun, handler, limits, rank):
    """What a worker process runs."""
    die_with_parent()
    collect_from_here(only=True)
    runner = TaskRunner(load_handler(handler), rank=rank, **limits)
    with contextlib.suppress(BrokenPipeError):  # the master is gone; what it had saved is safe
        Worker(_PipeChannel(pipe), runner, begun=begun).run()


class ProcessEngine:
    """Starts ``n`` worker processes and moves messages to and from them.

    Parameters
    ----------
    n : number of workers
    handler : `handlers.Handler`
    limits : dict of arguments of `work.TaskRunner`: task_limits, recycle
    """

    def __init__(self, n, handler, limits):
        self._handler = handler
        self._limits = limits
        self._context = multiprocessing.get_context("spawn")
        self._workers = {}  # number -> (process, pipe, begun)
        self._killed = {}  # number -> why, of those that we ended
        self._unborn = 0
        self._closing = False
        self._number = 0
        for _ in range(n):
            self._start()

    def _start(self):
        self._number += 1
        ours, theirs = self._context.Pipe()
        begun = self._context.RawArray("q", 1)
        process = self._context.Process(
            target=_work,
            args=(theirs, begun, self._handler, self._limits, self._number),
            name=f"worker {self._number}",
        )
        with threads_limited():
            process.start()
        theirs.close()
        self._workers[self._number] = (process, ours, begun)

    def send(self, worker, message):
        """Give a message to a worker. One that has just died is reported as lost by `receive`."""
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
                self._unborn = 0
                if message[0] == BYE:
                    self._bury(number)
                    break
        except (EOFError, ConnectionResetError):
            events.append((number, self._death(number)))
        return events

    def _death(self, number):
        """The message about a worker that died; starts another in its place."""
        begun = self._workers[number][2][0]
        code = self._bury(number)
        why = self._killed.pop(number, None) or describe_exit(code)
        self._unborn += 1
        if not self._closing and self._unborn <= UNBORN:
            self._start()
        return LOST, why, begun or None

    def _bury(self, number):
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
        """End all workers that are left, by force."""
        self._closing = True
        for process, _, _ in self._workers.values():
            process.kill()
        for number in list(self._workers):
            self._bury(number)
