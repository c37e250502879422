"""`Dispatch`: which worker gets which tasks, how many at once, who is silent, when to stop.

A state machine in plain Python between a task source and an engine. It knows neither MPI nor
processes nor a clock: the engine tells it what happened and when (``now``, seconds of any steady
clock), and carries out the actions it returns.

How many tasks go into one message is chosen by their measured time, so that a message carries about
`MESSAGE_SECONDS` of work, or more where there are more workers than the master could answer in that
time: that hides the latency of messages for quick tasks, and holds back nothing for slow ones. A
worker has one message in hand besides the one it works on, so that it finds work when it has done
the first, and a lost worker costs little.
"""

import logging
import math
import pickle
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from ..status import STATUS
from .limits import Durations
from .protocol import ODD_TEXT, Failure, Finish, Kill, Send, Withdraw, failed_result
from .reporting import FailureGroups

log = logging.getLogger(__name__)

# work in one message: 1000 times the latency of MPI between nodes (~50 us), unnoticed by people
MESSAGE_SECONDS = 0.05
# work in one message for each worker there is: twice what the master needs to answer a message
ANSWER_SECONDS = 1e-4
# tasks in one message: one keeps the master busy for 10 ms at most, and a kill interrupts few tasks
LARGEST_BATCH = 1000
# s; longer tasks are assigned one at a time, as waiting for one costs nothing to speak of
AHEAD_BELOW = 1.0
MEMORY = 0.9  # of the running mean of task times, per task
COMMIT_SECONDS = 0.1  # results are saved together when the oldest has waited this long
WITHDRAW_SECONDS = 1.0  # between two questions to a source what is not wanted any more
# or so many wait; one worker has work for longer than the master needs to save them
COMMIT_RESULTS = 1000
SHORTEST_WAIT = 0.05  # s between two questions to a source that has nothing eligible
# tasks that share a child process while it is unknown whether one of them crashes
QUARANTINE_SIZE = 500

ODD_RESULT = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What a source raises where a result is not what it has to be."""


@dataclass
class _Worker:
    name: str
    host: str | None
    heard: float  # when it last said something
    tasks: dict = field(default_factory=dict)  # ticket -> task that it holds, in the order sent
    patience: float = 0.0  # s; the longest hard limit among those
    alone: bool = False  # whether those run in child processes
    finishing: bool = False
    withdrawn: set = field(default_factory=set)  # tickets of which it was asked to give them back


class Dispatch:
    """The state machine. Its methods take ``now`` and return a list of actions for the engine.

    Parameters
    ----------
    source : `protocol.TaskSource`
    constraints : dict, handed through to the source: only these tasks are done
    randomly : bool, assign any task instead of the first one
    limit : int or None, assign at most this many tasks
    isolate : bool, have every task run in a child process of its own
    deadline : float or None, time of the same clock as ``now``: no task is assigned that would not
        be done by then
    """

    def __init__(
        self, source, *, constraints=None, randomly=False, limit=None, isolate=False, deadline=None
    ):
        self.source = source
        self.packer = source.result_packer()
        self.durations = Durations()
        self.failures, self.warnings = FailureGroups(), FailureGroups()
        self.stopping = None  # why no more tasks are assigned
        self.last_loss = None  # how the last worker that was lost ended
        self.hindrance = None  # what outside kept tasks from being done (disk full)
        self.out_of_time = False  # there were tasks that would not have been done by the deadline
        self.counts = Counter()  # results saved; tasks failed, set aside, released; workers lost
        self.logged = []  # (task, lines) of what tasks logged, for the master to write
        self._constraints = dict(constraints or {})
        self._fetch = (
            source.get_random_tasks if randomly else partial(source.get_tasks, crashed_last=True)
        )
        self._remaining = math.inf if limit is None else limit  # how many more may be assigned
        self._isolate = isolate
        self._deadline = deadline
        self.workers = {}  # number -> what is known of each that is alive
        self._candidates = set(source.crash_candidates())
        self._idle = {}  # workers that could take more than there was, in order of their asking
        self.running = 0  # tasks that workers hold
        self._next_ticket = 1
        self._drained = False  # the source had nothing when last asked, and nothing has changed
        self._ask_again = math.inf  # when a drained source is asked again although nothing changed
        self._unsaved = []  # (result as the source takes it, its tasks)
        self._unsaved_since = math.inf
        self._n_unsaved = 0
        self._mean_time = None
        self._looked = -math.inf  # when silent workers were last looked for
        self._withdrawn = getattr(source, "withdrawn", None)
        self._asked = -math.inf  # when the source was last asked what is withdrawn

    # What the engine reports

    def joined(self, worker, now, host=None, pid=None):
        """A worker has started and can take tasks.

        Parameters
        ----------
        worker : int
        now : s
        host, pid : str and int, where it runs; None: not known
        """
        name = f"worker {worker} on {host}, process {pid}" if host else f"worker {worker}"
        self.workers[worker] = _Worker(name, host, now)
        return self._assign(now, worker)

    def results(self, worker, report, *, now):
        """A worker has finished tasks, or gives some back.

        Parameters
        ----------
        worker : int
        report : `protocol.Report`
        now : s
        """
        state = self.workers.get(worker)
        if state is None:
            log.warning(
                "worker %s was given up but answers: %d results are dropped, their tasks are done "
                "anew",
                worker,
                len(report.tickets),
            )
            return []
        state.heard = now
        self._take(state, report, now)
        if report.returned:
            self._give_back(state, report.returned, f"given back by {state.name}")
        if self.hindrance and self.stopping is None:
            return self.stop(self.hindrance, now)
        actions = self._assign(now, worker)
        if not self.running:
            self.commit()
        return actions  # carried out before the next `tick` commits: workers do not wait for that

    def lost(self, worker, now, why, *, running=None):
        """A worker has crashed. Its tasks go back; the running one has used up an attempt.

        Parameters
        ----------
        worker : int
        now : s
        why : how it ended
        running : ticket of the task that it was working on; None: not known, then all that it held
            are crash candidates: none has used up an attempt, but they are done in child processes,
            which will show
        """
        state = self.workers.pop(worker, None)
        self.counts["lost"] += 1
        self.last_loss = why
        if state is None:
            log.error("worker %s ended before it was ready: %s", worker, why)
            return []
        self._idle.pop(worker, None)
        log.error("%s is lost: %s; tasks that go back: %d", state.name, why, len(state.tasks))
        if running is None and len(state.tasks) == 1:
            (running,) = state.tasks
        if running is None:
            self._candidates.update(map(self.source.id, state.tasks.values()))
        if (task := state.tasks.pop(running, None)) is not None:
            self.running -= 1
            self._crashed(task, why, host=state.host, rank=worker, error_class="Crash")
        self._give_back(state, list(state.tasks), f"{state.name} was lost")
        return self._assign(now)

    def ended(self, worker, now):
        """A worker has ended as it was asked to."""
        state = self.workers.pop(worker, None)
        if state is None:
            return []
        self._idle.pop(worker, None)
        if state.tasks:
            self._give_back(state, list(state.tasks), f"{state.name} has ended")
        return self._assign(now)

    def stop(self, why, now):
        """Assign nothing more. Workers end their running task and give back the others."""
        if self.stopping is None:
            self.stopping = why
            log.warning("stopping: %s; tasks assigned: %d", why, self.running)
        return self._finish_all()

    def tick(self, now):
        """Time has passed: save what waits, ask the source again, look for silent workers."""
        if now - self._unsaved_since >= COMMIT_SECONDS or self._n_unsaved >= COMMIT_RESULTS:
            self.commit()
        actions = [] if self._withdrawn is None else self.withdraw(now)
        if now >= self._ask_again and self.stopping is None:
            self._drained, self._ask_again = False, math.inf
            actions += self._assign(now)
        if now - self._looked >= 1.0:
            self._looked = now
            # to workers that have been silent for longer than any of their tasks may take
            actions += [
                Kill(worker, f"silent for {now - state.heard:.0f} s, longer than its task may take")
                for worker, state in self.workers.items()
                if state.tasks and now - state.heard > state.patience
            ]
        if self._deadline is not None and now >= self._deadline and self.stopping is None:
            actions += self.stop("the time limit of the run is reached", now)
        return actions

    def withdraw(self, now):
        """Once a second: ask workers to give back what the source does not want any more."""
        if self._withdrawn is None or not self.running or now - self._asked < WITHDRAW_SECONDS:
            return []
        self._asked = now
        actions = []
        if unwanted := self._withdrawn():
            for worker, state in self.workers.items():
                tickets = [
                    ticket
                    for ticket, task in state.tasks.items()
                    if ticket not in state.withdrawn and self.source.id(task) in unwanted
                ]
                if tickets:
                    state.withdrawn.update(tickets)
                    actions.append(Withdraw(worker, tickets))
        return actions

    def give_up(self, why):
        """Take back all tasks that are out, as the run ends now. Not counted as attempts."""
        for state in self.workers.values():
            if state.tasks:
                self._give_back(state, list(state.tasks), why)
        self.commit()

    def commit(self):
        """Save the results that wait. When this returns, they are safe."""
        if not self._unsaved:
            return
        unsaved, self._unsaved = self._unsaved, []
        self._unsaved_since, self._n_unsaved = math.inf, 0
        try:
            self.source.save_results([result for result, _ in unsaved])
        except ODD_RESULT:
            for result, tasks in unsaved:
                self._save_alone(result, tasks)
        self.counts["saved"] += sum(len(tasks) for _, tasks in unsaved)

    def _save_alone(self, result, tasks):
        """Save one result; where it is too odd to be stored, its task has failed."""
        try:
            self.source.save_results([result])
        except ODD_RESULT as error:
            failure = Failure.of(error)
            for task in tasks:
                failed = [failed_result(task, STATUS.ERROR, ODD_TEXT + failure.message)]
                self.source.save_results([self.packer(failed)] if self.packer else failed)
                self._failed(task, failure)

    # Results

    def _take(self, state, report, now):
        """Take a report in; its results are saved with the next commit."""
        if n_results := len(report.tickets):
            held, kind = state.tasks, self.source.kind
            for ticket, seconds in report.slow:
                self.durations.learn(kind(held[ticket]), seconds)
            for ticket, failure in report.failures:
                self._failed(held[ticket], failure)
            for ticket, failure in report.warnings:
                self.warnings.add(failure, self.source.label(held[ticket]))
            self.logged += [(held[ticket], lines) for ticket, lines in report.log]
            tasks = [held.pop(ticket) for ticket in report.tickets]
            if self.packer is None:
                for packed, task in zip(report.packed, tasks, strict=True):
                    self._unsaved.append((self._unpickled(packed, task), [task]))
            else:
                self._unsaved.append((report.packed, tasks))
            self.running -= n_results
            self._n_unsaved += n_results
            self._unsaved_since = min(self._unsaved_since, now)
            kept = 0.0 if self._mean_time is None else MEMORY**n_results
            mean = report.seconds / n_results
            self._mean_time = kept * (self._mean_time or 0.0) + (1 - kept) * mean
            self._drained = False  # what is saved may make others eligible
        for ticket, why, attempt in report.crashed:
            self.running -= 1
            self._crashed(state.tasks.pop(ticket), why, **attempt)
        for ticket, why in report.hindered:
            self.hindrance = self.hindrance or why
            self._give_back(state, [ticket], why)

    def _unpickled(self, packed, task):
        try:
            return pickle.loads(packed)
        except Exception as error:  # noqa: BLE001 - runs code of what the handler returned
            failure = Failure.of(error)
            self._failed(task, failure)
            return failed_result(task, STATUS.ERROR, ODD_TEXT + failure.message)

    def _failed(self, task, failure):
        self.counts["failed"] += 1
        self.failures.add(failure, self.source.label(task))

    def _crashed(self, task, why, **info):
        id_ = self.source.id(task)
        self._candidates.add(id_)
        info.pop("error_text", None)  # says the same as why
        self.commit()
        self._drained = False
        if self.source.fail_attempt(id_, why, **info):
            self._remaining += 1
        else:
            self.counts["set aside"] += 1
            self._failed(task, Failure("Crash", why))

    def _give_back(self, state, tickets, why):
        """Take tasks back that a worker holds."""
        tasks = [state.tasks.pop(ticket) for ticket in tickets if ticket in state.tasks]
        if tasks:
            self.running -= len(tasks)
            self._remaining += len(tasks)
            self._drained = False
            self.counts["released"] += len(tasks)
            self.source.release_tasks(list(map(self.source.id, tasks)), why)

    # Assigning

    def _assign(self, now, *workers):
        """Send tasks to these workers and then to idle ones, until they have enough in hand; where
        none can come, all may end.
        """
        if self.stopping is not None:
            return self._finish_all()
        actions = []
        for worker in dict.fromkeys((*workers, *(() if self._drained else self._idle))):
            state = self.workers[worker]
            while True:
                if state.tasks:  # quick tasks, and one message in hand besides the one it works on
                    is_quick = self._mean_time is not None and self._mean_time < AHEAD_BELOW
                    if not is_quick or state.alone or len(state.tasks) > self._batch_size():
                        break
                send = self._next(worker, now)
                if send is None:
                    break
                if not state.tasks:
                    state.heard, state.patience = now, 0.0
                state.patience = max(state.patience, *(each.hard for each in set(send.limits)))
                state.tasks.update(enumerate(send.tasks, send.ticket))
                state.alone = send.per_child is not None
                self.running += len(send.tasks)
                actions.append(send)
            if self._drained:
                self._idle[worker] = None
            else:
                self._idle.pop(worker, None)
        # nothing is eligible, nothing is out, and nothing will become eligible by itself
        if self._drained and not self.running and math.isinf(self._ask_again):
            actions += self._finish_all()
        return actions

    def _finish_all(self):
        working = [worker for worker, state in self.workers.items() if not state.finishing]
        for worker in working:
            self.workers[worker].finishing = True
        return list(map(Finish, working))

    def _batch_size(self):
        """Tasks in one message. Grows from 1 once the time of a task is known."""
        if self._mean_time is None:
            return 1
        work = max(MESSAGE_SECONDS, ANSWER_SECONDS * len(self.workers))
        return int(
            min(max(work / max(self._mean_time, 1e-9), 1), LARGEST_BATCH, max(self._remaining, 0))
        )

    def _next(self, worker, now):
        """The next message for a worker, its tasks started; None where nothing is eligible."""
        if self._drained:
            return None
        source, tasks, ticket = self.source, [], self._next_ticket
        self._ask_again = math.inf
        if self._remaining >= 1:
            tasks = self._fetch(self._batch_size(), **self._constraints)
            if not tasks and self._unsaved:
                self.commit()
                tasks = self._fetch(self._batch_size(), **self._constraints)
            if not tasks and (wait := source.next_eligible()) is not None:
                self._ask_again = now + max(wait, SHORTEST_WAIT)
            if tasks and self._deadline is not None:
                tasks = self._in_time(tasks, now)
        if not tasks:
            self._drained = True
            return None
        per_child = 1 if self._isolate else None
        if self._candidates:
            tasks, per_child = self._that_go_together(tasks, per_child)
        source.start_tasks([source.id(task) for task in tasks])
        self._next_ticket += len(tasks)
        self._remaining -= len(tasks)
        return Send(worker, ticket, tasks, list(map(source.limits, tasks)), per_child)

    def _that_go_together(self, tasks, per_child):
        """The first of ``tasks`` that may travel together, and how many go into one child process.

        A task that has crashed goes alone, so that no other one is counted when it crashes again.
        """
        source, candidates = self.source, self._candidates
        levels = [
            0 if (id_ := source.id(task)) not in candidates else 2 if source.crashes(id_) else 1
            for task in tasks
        ]
        if levels[0] == 2:
            return tasks[:1], 1
        n = next((n for n, level in enumerate(levels) if level != levels[0]), len(tasks))
        return tasks[:n], per_child or (QUARANTINE_SIZE if levels[0] else None)

    def _in_time(self, tasks, now):
        """Those of ``tasks`` that will be done by the deadline, or one from further down."""

        def fits(task):
            return now + (self.durations.upper(self.source.kind(task)) or 0.0) <= self._deadline

        fitting = list(filter(fits, tasks))
        if not fitting:
            fitting = list(filter(fits, self._fetch(LARGEST_BATCH, **self._constraints)))[:1]
        self.out_of_time = not fitting
        return fitting
