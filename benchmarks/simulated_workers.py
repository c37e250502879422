"""Workers that exist in virtual time only: the real `Dispatch` with any number of them, and tasks
of any length, in seconds.

The master does one thing after the other. What a message and a task cost it is measured
(`master_costs`), and in the simulation its clock runs on by that; messages take `LATENCY`. So it
shows where one master ends, without the cluster."""

import heapq
import itertools
import pickle
import time
from dataclasses import dataclass

from photometry.scheduler.dispatch import Dispatch, Send
from photometry.scheduler.protocol import RESULTS, TASKS, Limits, Report
from photometry.scheduler.work import SLOW
from photometry.scheduler.worker import FLUSH_SECONDS, Outbox
from photometry.status import STATUS

# s; a small message between two nodes, software and polling included; the wire takes 2 to 20 us of
# it
LATENCY = 50e-6
# s of the master for one MPI message, probe and receive or send, beside its pickling
MPI_SECONDS = 8e-6


class ListSource:
    """The cheapest task source there can be, to see what the dispatch itself costs."""

    run_info = None

    def __init__(self, n):
        self._next, self._n, self._limits = 1, n, Limits()

    def id(self, task):
        return task["priority"]

    def kind(self, task):
        return None

    def limits(self, task):
        return self._limits

    def get_tasks(self, n, *, crashed_last=False):
        end = min(self._next + n, self._n + 1)
        tasks = [dict(TASK, priority=i) for i in range(self._next, end)]
        self._next = end
        return tasks

    get_random_tasks = get_tasks

    def next_eligible(self):
        return None

    def start_tasks(self, ids):
        pass

    def result_packer(self):
        return len

    def save_results(self, results):
        pass

    def crash_candidates(self):
        return ()


TASK = {
    "priority": 0,
    "starid": 25155310,
    "sector": 1,
    "camera": 4,
    "ccd": 1,
    "cadence": 120,
    "datasource": "tpf",
    "method": None,
    "tmag": 10.5,
}


@dataclass
class _Worker:
    free: float = 0.0  # when it has done what it holds
    first: float | None = None  # when it began its first task
    work: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a simulation gave."""

    rate: float  # tasks/s
    busy: float  # fraction of the time between a worker's first and last task that it worked
    master: float  # fraction of the time that the master was busy
    cpu: float  # s of real processor time of the dispatch, per task


def simulate(n_workers, seconds, n_tasks, *, source=None, per_message=0.0, per_task=0.0):
    """Drain a source of ``n_tasks`` tasks of ``seconds`` each.

    Parameters
    ----------
    per_message, per_task : s that the master needs for each
    """
    dispatch = Dispatch(source or ListSource(n_tasks))
    workers = [_Worker() for _ in range(n_workers)]
    order = itertools.count()
    arriving = [(LATENCY, next(order), number, None) for number in range(n_workers)]
    now = master = cpu = 0.0
    while arriving:
        arrival, _, number, report = heapq.heappop(arriving)
        cost = per_message + per_task * (0 if report is None else len(report.tickets))
        now, master = max(now, arrival) + cost, master + cost
        start = time.process_time()
        actions = (
            dispatch.joined(number, now)
            if report is None
            else dispatch.results(number, report, now=now)
        )
        cpu += time.process_time() - start
        for action in actions:
            if isinstance(action, Send):
                worker = workers[action.worker]
                for done, finished in _do(worker, action, seconds, now + LATENCY):
                    heapq.heappush(arriving, (finished + LATENCY, next(order), action.worker, done))
    dispatch.commit()
    worked = [worker for worker in workers if worker.first is not None]
    spans = sum(worker.free - worker.first for worker in worked)
    return Outcome(
        dispatch.counts["saved"] / now,
        sum(worker.work for worker in worked) / spans,
        master / now,
        cpu / n_tasks,
    )


def _do(worker, send, seconds, arrival):
    """A worker does the tasks of a message; yields (report, when it is sent), as `worker.Worker`
    sends them."""
    moment = max(worker.free, arrival)
    worker.first = moment if worker.first is None else worker.first
    flushed, done = moment, []
    for ticket in range(send.ticket, send.ticket + len(send.tasks)):
        moment += seconds
        done.append(ticket)
        if len(done) == len(send.tasks) or moment - flushed >= FLUSH_SECONDS:
            slow = [(ticket, seconds) for ticket in done] if seconds >= SLOW else ()
            yield Report(done, len(done), len(done) * seconds, slow), moment
            flushed, done = moment, []
    if done:
        yield Report(done, len(done), len(done) * seconds), moment
    worker.free, worker.work = moment, worker.work + seconds * len(send.tasks)


def master_costs(path, *, rounds=6):
    """What the master of a run with a TODO-file in memory needs, s of processor time, measured
    through the real classes.

    Returns
    -------
    per_message : s for a message to a worker and the one that comes back, with one task, its
        journal and MPI included
    per_task : s for each task of large messages
    """
    single = min(_cost_of(path, n_workers=50, n_tasks=3000, time=0.1) for _ in range(rounds))
    large = min(_cost_of(path, n_workers=2, n_tasks=60_000, time=1e-6) for _ in range(rounds))
    return single - large + 2 * MPI_SECONDS, large


def _cost_of(path, *, n_workers, n_tasks, time):
    """Processor time per task of dispatch, TODO-file and pickling, where tasks claim to have taken
    ``time`` seconds."""
    from bench_taskmanager import open_copy

    with open_copy(path, load_into_memory=True, backup_interval=None) as tm:
        dispatch = Dispatch(tm, limit=n_tasks)
        return _drain(dispatch, n_workers, time) / n_tasks


def _drain(dispatch, n_workers, seconds):
    """Answer every message at once; returns the processor time without the workers' part."""
    clock, spent, now, sent, outbox = time.process_time, 0.0, 0.0, [], Outbox()
    outbox.packer = dispatch.packer
    for number in range(n_workers):
        sent += dispatch.joined(number, now)
    while sends := [action for action in sent if isinstance(action, Send)]:
        sent = []
        for send in sends:
            for ticket, task in enumerate(send.tasks, send.ticket):
                outbox.add(ticket, task, _result(task, seconds), [])
            answer = pickle.dumps((RESULTS, outbox.report()), -1)
            now += seconds * len(send.tasks) / n_workers
            start = clock()
            message = pickle.loads(answer)
            actions = dispatch.results(send.worker, message[1], now=now)
            for action in actions:
                if isinstance(action, Send):
                    tasks = TASKS, action.ticket, action.tasks, action.limits, action.per_child
                    pickle.dumps(tasks, -1)
            spent += clock() - start
            sent += actions
    start = clock()
    dispatch.commit()
    return spent + clock() - start


def _result(task, seconds):
    attempt = {
        "rank": 1,
        "start": 1.7e9 + task["priority"],
        "end": 1.7e9,
        "seconds": seconds,
        "peak_memory": 1e8,
    }
    done = {
        "status": STATUS.OK,
        "method_used": "noop",
        "details": {},
        "time": seconds,
        "worker_wait_time": 1e-6,
    }
    return {**task, **done, "attempt": attempt}
