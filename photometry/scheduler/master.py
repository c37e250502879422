"""The master's loop: moves messages between an engine and the dispatch until there is nothing more
to do.
"""

import logging
import math
import time
from collections import Counter

from ..processes import StopNow, StopRequests
from .dispatch import Finish, Kill, Send, Withdraw
from .protocol import BEGIN, BYE, FINISH, LOST, READY, RESULTS, SIGNAL, TASKS, WITHDRAW

log = logging.getLogger(__name__)

TICK_SECONDS = 0.05  # the loop turns at least this often
PROGRESS_SECONDS = 0.2  # and reports the progress this often


class Master:
    """Runs a dispatch on an engine.

    Parameters
    ----------
    dispatch : `dispatch.Dispatch`
    engine : `engines.SerialEngine`, `engines.ProcessEngine` or `mpi.MpiEngine`
    grace : s that running tasks get to end after a request to stop
    last_call : time of the monotonic clock by which the loop ends whatever is running, or None
    task_log : `tasklog.TaskLog` or None
    progress : `progress.Progress` or None
    """

    def __init__(
        self, dispatch, engine, *, grace=60.0, last_call=None, task_log=None, progress=None
    ):
        self._dispatch = dispatch
        self._engine = engine
        self._grace = grace
        self._last_call = last_call
        self._task_log = task_log
        self._progress = progress
        self._signals = StopRequests(on_signal=self._interrupt)
        self._from_workers = Counter()  # signals by worker: mpiexec sends each signal to all ranks
        self._give_up_at = None
        self._reported = -math.inf

    def run(self):
        """Work until all is done, or until asked to stop. Nothing that was saved is lost by any way
        out of here.
        """
        self._engine.call_meanwhile(
            lambda: self._perform(self._dispatch.withdraw(time.monotonic()))
        )
        with self._signals.active():
            try:
                while self._engine.alive:
                    events, now = self._engine.receive(TICK_SECONDS), time.monotonic()
                    for worker, message in events:
                        self._perform(self._handle(worker, message, now))
                    if self._signals.names:
                        self._perform(
                            self._dispatch.stop(f"received {self._signals.names[0]}", now)
                        )
                    self._perform(self._dispatch.tick(now))
                    if self._progress and now - self._reported > PROGRESS_SECONDS:
                        self._reported = now
                        self._progress.update(self._dispatch, now)
                    if self._dispatch.stopping is not None and self._grace_is_over():
                        break
            except StopNow:
                self._dispatch.stop(f"received {self._signals.names[0]}", time.monotonic())
                log.warning("the running task is interrupted")
            finally:
                self._dispatch.give_up("the run ended before it was done")

    def _handle(self, worker, message, now):
        kind = message[0]
        if kind == RESULTS:
            actions = self._dispatch.results(worker, message[1], now=now)
            if logged := self._dispatch.logged:
                self._dispatch.logged = []
                if self._task_log:
                    self._task_log.write(logged, self._dispatch.source)
            return actions
        if kind == READY:
            self._engine.send(worker, (BEGIN, self._dispatch.packer))
            return self._dispatch.joined(worker, now, host=message[1], pid=message[2])
        if kind == LOST:
            return self._dispatch.lost(worker, now, message[1], running=message[2])
        if kind == BYE:
            return self._dispatch.ended(worker, now)
        if kind == SIGNAL:
            self._from_workers[worker] += 1
            return self._dispatch.stop(f"worker {worker} received {message[1]}", now)
        raise AssertionError(f"message {kind!r} from worker {worker}")

    def _perform(self, actions):
        for action in actions:
            if isinstance(action, Send):
                message = TASKS, action.ticket, action.tasks, action.limits, action.per_child
                self._engine.send(action.worker, message)
            elif isinstance(action, Withdraw):
                self._engine.send(action.worker, (WITHDRAW, action.tickets))
            elif isinstance(action, Finish):
                self._engine.send(action.worker, (FINISH,))
            elif isinstance(action, Kill):
                self._engine.kill(action.worker, action.why)

    def _interrupt(self, name):
        """In the signal handler: a task that runs in this very process gets its grace, or none the
        second time.
        """
        self._engine.stop_within(self._grace if len(self._signals.names) == 1 else 0)

    def _grace_is_over(self):
        """True when the running tasks have had their grace."""
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = min(now + self._grace, self._last_call or float("inf"))
        if max([len(self._signals.names), *self._from_workers.values()]) > 1:
            log.warning("received a second signal: stopping at once")
            return True
        if now > self._give_up_at:
            log.warning(
                "tasks still running after a grace of %g s are given back: %d",
                self._grace,
                self._dispatch.running,
            )
            return True
        return False
