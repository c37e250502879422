"""The worker: take messages, do tasks, send reports. The same for local processes and MPI ranks."""

import gc
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..processes import StopRequests
from ..status import STATUS
from .protocol import (
    BEGIN,
    BYE,
    FINISH,
    READY,
    RESULTS,
    SIGNAL,
    TASKS,
    WITHDRAW,
    Failure,
    Report,
    pickled,
)
from .work import HOST, SLOW, Crashed, Hindered, Withdrawn, log_line, odd_result

# results of one message's tasks travel together, but wait no longer for the next than this
FLUSH_SECONDS = 1.0
LISTEN_SECONDS = 0.002  # between quick tasks, messages are looked for no more often than this

_NOT_WELL = frozenset((STATUS.ERROR, STATUS.WARNING))


# Reports


@dataclass
class Outbox:
    """Outcomes of tasks that were not reported to the master yet."""

    packer: Callable | None = None  # see `protocol.TaskSource.result_packer`
    _done: list = field(default_factory=list)  # (ticket, task, result)
    _log: list = field(default_factory=list)
    _crashed: list = field(default_factory=list)
    _hindered: list = field(default_factory=list)
    _returned: list = field(default_factory=list)

    def add(self, ticket, task, result, lines):
        """Take the outcome of a task.

        Parameters
        ----------
        ticket : int
        task : dict
        result, lines : as `work.TaskRunner.run` returns them
        """
        if type(result) is Crashed:
            self._crashed.append((ticket, *result))
        elif type(result) is Hindered:
            self._hindered.append((ticket, result.why))
        elif type(result) is Withdrawn:
            self._returned.append(ticket)
        else:
            self._done.append((ticket, task, result))
            if lines:
                self._log.append((ticket, lines))

    def report(self, returned=()):
        """A `protocol.Report` of all that was added, which is forgotten; None where there is
        nothing to report.
        """
        returned = [*self._returned, *returned]
        if not (self._done or self._crashed or self._hindered or returned):
            return None
        tickets, results = [done[0] for done in self._done], [done[2] for done in self._done]
        packed, pack = None, self.packer or pickled
        try:
            packed = pack(results) if results else None
        except Exception:  # noqa: BLE001 - runs code of what the handler returned
            packed = self._pack_each(pack, results)
        slow, failures, warnings, total = [], [], [], 0.0
        for ticket, result in zip(tickets, results, strict=True):
            seconds = result["time"]
            total += seconds
            if seconds >= SLOW:
                slow.append((ticket, seconds))
            if result["status"] in _NOT_WELL:
                reasons = failures if result["status"] == STATUS.ERROR else warnings
                reasons.append((ticket, _reason(result)))
        report = Report(
            tickets, packed, total, slow, failures, warnings, self._log, self._crashed,
            self._hindered, returned,
        )  # fmt: skip
        self._done, self._log = [], []
        self._crashed, self._hindered, self._returned = [], [], []
        return report

    def _pack_each(self, pack, results):
        """All results packed, where some cannot be: those become an ERROR."""
        for number, (ticket, task, result) in enumerate(self._done):
            try:
                pack([result])
            except Exception as error:  # noqa: BLE001
                results[number] = odd = odd_result(task, result, error)
                self._log.append((ticket, [log_line(odd["details"]["errors"][0])]))
        return pack(results)


def _reason(result):
    """Why a result is an ERROR or WARNING: an exception, or what the work itself has said."""
    attempt = result["attempt"]
    if "error_class" in attempt:
        return Failure(attempt["error_class"], attempt["error_text"], attempt.get("where", ""))
    details = result.get("details")
    errors = details.get("errors") if isinstance(details, dict) else None
    if isinstance(errors, (list, tuple)):
        errors = errors[-1] if errors else ""
    return Failure("", str(errors or ""))


# The loop


class Worker:
    """Does the tasks that arrive through a channel until it is asked to finish.

    Parameters
    ----------
    channel : object with ``send(message)``, which does not wait for an answer, and ``receive(wait)
        -> list of messages``
    runner : `TaskRunner`
    begun : writable sequence or None; ``begun[0]`` is kept at the ticket of the task that is being
        done, else 0
    """

    def __init__(self, channel, runner, *, begun=None):
        self._channel = channel
        self._runner = runner
        self._begun = [0] if begun is None else begun
        self._queue = (
            deque()
        )  # (ticket, task, limits, per_child, whether it is the last of its message)
        self._outbox = Outbox()
        self._finishing = False
        self._withdrawn = set()  # tickets of tasks that are not wanted any more
        self._flushed = self._listened = self._idle_since = time.perf_counter()
        self._signals = StopRequests(on_signal=self._report_signal)
        self._unreported = []  # signals that came in the midst of sending
        self._sending = False

    def run(self):
        """Work until asked to finish."""
        # what was imported stays; looking through it for cycles would be a sixth of quick work
        gc.freeze()
        with self._signals.active():
            self._send((READY, HOST, os.getpid()))
            while not self._finishing:
                if not self._queue or self._idle_since - self._listened > LISTEN_SECONDS:
                    self._receive(wait=not self._queue)
                if self._queue and not self._finishing:
                    self._do(*self._queue.popleft())
            self._flush(returned=[ticket for ticket, *_ in self._queue])
            self._runner.close()
            self._send((BYE, "finished"))

    def _receive(self, wait):
        if wait:
            self._flush()
        self._listened = self._idle_since
        for message in self._channel.receive(wait):
            if message[0] == TASKS:
                self._queue.extend(queued(message))
            elif message[0] == BEGIN:
                self._outbox.packer = message[1]
            elif message[0] == WITHDRAW:
                self._withdrawn.update(message[1])
                self._queue, returned = without(self._queue, self._withdrawn)
                self._flush(returned)
            elif message[0] == FINISH:
                self._finishing = True

    def _is_withdrawn(self, ticket):
        """Whether the running task is not wanted any more; asked while a child process does it."""
        self._receive(wait=False)
        return ticket in self._withdrawn

    def _do(self, ticket, task, limits, per_child, is_last):
        waited = time.perf_counter() - self._idle_since
        self._begun[0] = ticket
        outcome = self._runner.run(
            task,
            limits=limits,
            per_child=per_child,
            waited=waited,
            is_withdrawn=lambda: self._is_withdrawn(ticket),
        )
        self._outbox.add(ticket, task, *outcome)
        self._idle_since = time.perf_counter()
        if is_last or self._idle_since - self._flushed >= FLUSH_SECONDS:
            self._flush()
        self._begun[0] = 0

    def _flush(self, returned=()):
        if (report := self._outbox.report(returned)) is not None:
            self._send((RESULTS, report))
        self._flushed = time.perf_counter()

    def _send(self, message):
        self._sending = True
        self._channel.send(message)
        self._sending = False
        while self._unreported:
            self._channel.send((SIGNAL, self._unreported.pop()))

    def _report_signal(self, name):
        """Runs in the signal handler: reports to the master at once, unless a message is just being
        sent.
        """
        if self._sending:
            self._unreported.append(name)
        else:
            self._channel.send((SIGNAL, name))


def queued(message):
    """(ticket, task, limits, per_child, whether it is the last) for each task of a message."""
    _, first, tasks, limits, per_child = message
    last = first + len(tasks) - 1
    return [
        (ticket, task, limit, per_child, ticket == last)
        for ticket, (task, limit) in enumerate(zip(tasks, limits, strict=True), first)
    ]


def without(queue, tickets):
    """A queue without these tickets, and list of those that were in it."""
    kept = deque(item for item in queue if item[0] not in tickets)
    return kept, [ticket for ticket, *_ in queue if ticket in tickets]
