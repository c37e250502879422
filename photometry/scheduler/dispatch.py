"""`Dispatch`: which worker gets which tasks, how many at once, who is silent too long, when to stop.

A state machine in plain Python between a task source and an engine. It knows neither MPI nor processes nor a clock: the
engine tells it what happened and when (``now``, seconds of any steady clock), and carries out the actions it returns.

How many tasks go into one message is chosen by their measured time, so that a message carries about `MESSAGE_SECONDS` of
work, or more where there are more workers than the master could answer in that time: that hides the latency of messages
for quick tasks, and holds back nothing for slow ones. A worker has one message in hand besides the one it works on, so
that it finds work when it has done the first, and a lost worker costs little.
"""

import logging
import math
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from ..errors import ArgumentError
from ..status import STATUS
from .failures import FailureGroups
from .limits import Durations, TaskLimits
from .protocol import DIED, TRY_AGAIN

log = logging.getLogger(__name__)

MESSAGE_SECONDS = 0.05  # work in one message: 1000 times the latency of MPI between nodes (~50 us), unnoticed by people
ANSWER_SECONDS = 1e-4  # work in one message for each worker there is: twice what the master needs to answer a message
# tasks in one message, so that one message keeps the master busy for 20 ms at most
LARGEST_BATCH = 2000
AHEAD_BELOW = 1.0  # s; tasks longer than this are handed out one at a time, as waiting for one costs nothing to speak of
LEARN_FROM = 1e-3  # s; quicker tasks matter to no time limit, so nothing is learned about them
MEMORY = 0.9  # of the running mean of task times, per task
COMMIT_SECONDS = 0.1  # results are saved together when the oldest has waited this long


@dataclass(frozen=True)
class Send:
    """Give these tasks to a worker; ``isolated``: each in a child process of its own."""

    worker: int
    tasks: list
    isolated: bool = False


@dataclass(frozen=True)
class Finish:
    """Tell a worker to end: it has nothing more to do."""

    worker: int


@dataclass(frozen=True)
class Kill:
    """End a worker that does not answer any more, by force where the engine can."""

    worker: int
    why: str


@dataclass
class _Worker:
    name: str
    heard: float  # when it last said something
    tasks: dict = field(default_factory=dict)  # id -> task that it holds, in the order sent
    isolated: bool = False  # whether those run in child processes
    finishing: bool = False


class Dispatch:
    """The state machine. Its methods take ``now`` and return a list of actions for the engine.

    Parameters
    ----------
    source : `protocol.TaskSource`
    constraints : dict of build_constraints arguments: only these tasks are handed out
    randomly : bool, hand out any task instead of the one with the lowest priority
    limit : int or None, hand out at most this many tasks
    task_limits : `limits.TaskLimits`
    isolate : bool, have every task run in a child process of its own
    deadline : float or None, time of the same clock as ``now``: no task is handed out that would not be done by then
    """

    def __init__(
        self,
        source,
        *,
        constraints=None,
        randomly=False,
        limit=None,
        task_limits=None,
        isolate=False,
        deadline=None,
    ):
        self.source = source
        self.durations = Durations()
        self.failures = FailureGroups()
        self.stopping = None  # why nothing more is handed out
        self.last_loss = None  # how the last worker that was lost ended
        self.trouble = None  # what outside kept tasks from being done (disk full)
        self.counts = Counter(saved=0, failed=0, lost=0, released=0)
        self._constraints = dict(constraints or {})
        self._fetch = (
            source.get_random_tasks if randomly else partial(source.get_tasks, suspects_last=True)
        )
        self._left = math.inf if limit is None else limit  # how many more may be handed out
        self._task_limits = task_limits or TaskLimits()
        self._isolate = isolate
        self._deadline = deadline
        self._workers = {}
        self._suspects = set()
        self._hungry = set()  # workers that could take more than there was
        self._out = 0  # tasks that workers hold
        self._drained = False  # the source had nothing more to hand out when last asked
        self._too_late = False  # what it had would not be done by the deadline
        self._unsaved = []
        self._unsaved_since = math.inf
        self._mean_time = None
        self._looked = -math.inf  # when silent workers were last looked for

    # What the engine tells

    def joined(self, worker, now, name=""):
        """A worker has started and can take tasks."""
        self._workers[worker] = _Worker(name or f"worker {worker}", now)
        return self._feed(worker, now)

    def results(self, worker, results, returned=(), *, now):
        """A worker has finished tasks, and gives back others unbegun."""
        state = self._workers.get(worker)
        if state is None:
            log.warning(
                "worker %s was given up but answers: its %d results are dropped, as those tasks are done anew",
                worker,
                len(results),
            )
            return []
        state.heard = now
        self._take(state, results, now)
        self._give_back(state, returned, f"given back by {state.name}")
        if self.trouble and self.stopping is None:
            return self.stop(self.trouble, now)
        actions = self._feed(worker, now) + self._feed_hungry(now)
        if now - self._unsaved_since >= COMMIT_SECONDS or not self._out:
            self.commit()
        return actions

    def lost(self, worker, now, why, *, running=None):
        """A worker is gone. Its tasks go back once; the one that took it down has used up an attempt.

        Parameters
        ----------
        running : id of the task that it was working on; None: not known, then each that it held is suspected: not blamed,
            but done alone and isolated, which will tell
        """
        state = self._workers.pop(worker, None)
        self.counts["lost"] += 1
        self.last_loss = why
        if state is None:
            log.error("worker %s ended before it was ready: %s", worker, why)
            return []
        self._hungry.discard(worker)
        log.error("%s is lost: %s; tasks that go back: %d", state.name, why, len(state.tasks))
        if running is None and len(state.tasks) == 1:
            (running,) = state.tasks
        if running is None:
            self._suspects.update(state.tasks)
        if (task := state.tasks.pop(running, None)) is not None:
            self._out -= 1
            self._died(task, why)
        self._give_back(state, list(state.tasks), f"{state.name} was lost")
        return self._feed_hungry(now)

    def left(self, worker, now):
        """A worker has ended as it was told to."""
        state = self._workers.pop(worker, None)
        if state is None:
            return []
        self._hungry.discard(worker)
        self._give_back(state, list(state.tasks), f"{state.name} has ended")
        return self._feed_hungry(now)

    def stop(self, why, now):
        """Hand out nothing more. Workers end their running task and give back the others."""
        if self.stopping is None:
            self.stopping = why
            log.warning("stopping: %s; tasks handed out: %d", why, self._out)
        return self._finish_all()

    def tick(self, now):
        """Time has passed: save what waits, look for silent workers and for the end of the run."""
        if now - self._unsaved_since >= COMMIT_SECONDS:
            self.commit()
        actions = []
        if now - self._looked >= 1.0:
            self._looked = now
            actions += self._silent(now)
        if self._deadline is not None and now >= self._deadline and self.stopping is None:
            actions += self.stop("the time limit of the run is reached", now)
        return actions

    def give_up(self, why):
        """Take back all tasks that are out, as the run ends now. Not counted as attempts."""
        for state in self._workers.values():
            self._give_back(state, list(state.tasks), why)
        self.commit()

    def commit(self):
        """Save the results that wait. When this returns, they are safe."""
        if self._unsaved:
            results, self._unsaved = self._unsaved, []
            self._unsaved_since = math.inf
            try:
                self.source.save_results(results)
            except ArgumentError:
                self._save_one_by_one(results)
            self.counts["saved"] += len(results)

    def _save_one_by_one(self, results):
        """Some of these results cannot be stored, because a method returned something odd: they become failures."""
        for result in results:
            try:
                self.source.save_results([result])
            except ArgumentError as error:
                task = {
                    key: value
                    for key, value in result.items()
                    if key not in ("status", "details", "method_used")
                }
                failure = {
                    "status": STATUS.ERROR,
                    "method_used": "none",
                    "details": {"errors": [str(error)]},
                }
                self.source.save_results([task | failure])
                self.counts["failed"] += 1
                self.failures.add(task | failure)

    # What the engine asks

    @property
    def running(self):
        """Number of tasks that workers hold."""
        return self._out

    @property
    def workers(self):
        """Number of workers that are alive."""
        return len(self._workers)

    @property
    def out_of_time(self):
        """True where tasks were left because they would not have been done by the deadline."""
        return self._too_late

    # Results

    def _take(self, state, results, now):
        """Take results in, to be saved with the next commit."""
        unsaved, total = len(self._unsaved), 0.0
        for result in results:
            task = state.tasks.pop(result["priority"], None)
            if task is None or DIED in result or TRY_AGAIN in result:
                self._take_no_result(state, task, result)
                continue
            seconds = result.get("time") or 0.0
            total += seconds
            if seconds >= LEARN_FROM:
                self.durations.learn(task, seconds)
            self._unsaved.append(result)
            if result.get("status") == STATUS.ERROR:
                self.counts["failed"] += 1
                self.failures.add(result)
        if (taken := len(self._unsaved) - unsaved) > 0:
            self._out -= taken
            self._unsaved_since = min(self._unsaved_since, now)
            kept = 0.0 if self._mean_time is None else MEMORY**taken
            self._mean_time = kept * (self._mean_time or 0.0) + (1 - kept) * total / taken

    def _take_no_result(self, state, task, result):
        """News of a task that took its child process down, could not be done now, or was not given to this worker."""
        if task is None:
            log.warning(
                "%s reports task %s, which it was not given; dropped",
                state.name,
                result["priority"],
            )
            return
        self._out -= 1
        if DIED in result:
            self._died(task, result[DIED], **result.get("attempt", {}))
        else:
            self.trouble = self.trouble or result[TRY_AGAIN]
            self._release([task["priority"]], result[TRY_AGAIN])

    def _died(self, task, why, **info):
        info.pop("error_text", None)  # says the same as why
        if self.source.fail_attempt(task["priority"], why, **info):
            self._drained = False
            self._left += 1
        else:
            self.counts["failed"] += 1
            self.counts["set aside"] += 1
            self.failures.add(task, why)

    def _give_back(self, state, ids, why):
        """Take tasks back that a worker holds."""
        ids = [id_ for id_ in ids if state.tasks.pop(id_, None) is not None]
        self._out -= len(ids)
        self._release(ids, why)

    def _release(self, ids, why):
        if ids:
            self.source.release_tasks(ids, why)
            self.counts["released"] += len(ids)
            self._drained = False
            self._left += len(ids)

    # Handing out

    def _feed(self, worker, now):
        """Send tasks to a worker until it has enough in hand; where nothing is left for anybody, all may end."""
        state = self._workers[worker]
        if self.stopping is not None:
            return self._finish_all()
        sends = []
        while self._has_room(state) and (send := self._next(worker, now)):
            if not state.tasks:
                state.heard = now
            state.tasks.update((task["priority"], task) for task in send.tasks)
            state.isolated = send.isolated
            self._out += len(send.tasks)
            sends.append(send)
        (self._hungry.add if self._drained else self._hungry.discard)(worker)
        return sends or (self._finish_all() if self._drained and not self._out else [])

    def _feed_hungry(self, now):
        if self._drained and self._out:
            return []
        return [action for worker in list(self._hungry) for action in self._feed(worker, now)]

    def _finish_all(self):
        waiting = [
            (worker, state) for worker, state in self._workers.items() if not state.finishing
        ]
        for _, state in waiting:
            state.finishing = True
        return [Finish(worker) for worker, _ in waiting]

    def _has_room(self, state):
        """Whether a worker should get a message more: it has none, or, where tasks are quick, only one."""
        if not state.tasks:
            return True
        is_quick = self._mean_time is not None and self._mean_time < AHEAD_BELOW
        return is_quick and not state.isolated and len(state.tasks) <= self._batch_size()

    def _batch_size(self):
        """Tasks in one message. Grows from 1 once the time of a task is known."""
        if self._mean_time is None:
            return 1
        work = max(MESSAGE_SECONDS, ANSWER_SECONDS * len(self._workers))
        return int(
            min(max(work / max(self._mean_time, 1e-9), 1), LARGEST_BATCH, max(self._left, 0))
        )

    def _next(self, worker, now):
        """The next message for a worker, its tasks marked as started; None where there is nothing to hand out."""
        if self._drained or self._left < 1:
            self._drained = True
            return None
        tasks = self._fetch(self._batch_size(), **self._constraints)
        self._drained = not tasks
        if tasks and self._deadline is not None:
            tasks = self._in_time(tasks, now)
        if not tasks:
            return None
        tasks, suspect = self._apart(tasks)
        ids, overrides_of = [task["priority"] for task in tasks], self.source.overrides
        for task, id_ in zip(tasks, ids, strict=True):
            if overrides := overrides_of(id_):
                task["settings"] = overrides
        self.source.start_tasks(ids)
        self._left -= len(tasks)
        return Send(worker, tasks, self._isolate or suspect)

    def _apart(self, tasks):
        """The first of ``tasks`` that may travel together, and whether they may take their process down.

        A suspect has done so, or was in the hands of a worker that died. It goes alone, so that nobody else is blamed
        when it dies again.
        """
        suspects, deaths = self._suspects, self.source.deaths
        for number, task in enumerate(tasks):
            if (id_ := task["priority"]) in suspects or deaths(id_) > 0:
                return (tasks[:number], False) if number else (tasks[:1], True)
        return tasks, False

    def _in_time(self, tasks, now):
        """Those of ``tasks`` that will be done by the deadline; where none will, others that may, from further down."""
        fitting = [
            task for task in tasks if now + (self.durations.upper(task) or 0.0) <= self._deadline
        ]
        if not fitting:
            further = self._fetch(LARGEST_BATCH, **self._constraints)
            fitting = [
                task
                for task in further
                if now + (self.durations.upper(task) or 0.0) <= self._deadline
            ][:1]
        self._too_late = self._drained = not fitting
        return fitting

    # Watching

    def _silent(self, now):
        """Workers that have said nothing for longer than any of their tasks may take."""
        actions = []
        for worker, state in self._workers.items():
            silence = now - state.heard
            if silence < self._task_limits.shortest:
                continue
            limit = max(map(self._task_limits.hard, state.tasks.values()), default=math.inf)
            if silence > limit:
                actions.append(
                    Kill(worker, f"silent for {silence:.0f} s, longer than its task may take")
                )
        return actions
