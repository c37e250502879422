"""The state machine under random events: whoever finishes, crashes or leaves first, all is done
once.
"""

import random

import pytest
from list_source import ListSource

from photometry.scheduler.dispatch import Dispatch, Finish, Send
from photometry.scheduler.protocol import Report
from photometry.scheduler.worker import Outbox
from photometry.status import STATUS


class GrowingSource(ListSource):
    """A random graph: tasks become eligible when those that they wait for are done or set aside."""

    def __init__(self, rng, n):
        waits_for = {
            i: set(rng.sample(range(1, i), min(i - 1, rng.randrange(3)))) for i in range(1, n + 1)
        }
        super().__init__([{"number": i} for i in waits_for], max_attempts=2)
        self.waits_for = waits_for
        self.todo = {i: None for i, others in waits_for.items() if not others}

    def _over(self, ids):
        for number, others in self.waits_for.items():
            if others and not others - set(ids):
                self.todo[number] = None
            others -= set(ids)

    def save_results(self, results):
        super().save_results(results)
        self._over([result["number"] for result in results])

    def fail_attempt(self, id_, why, **info):
        again = super().fail_attempt(id_, why, **info)
        if not again:
            self._over([id_])
        return again


class Simulation:
    """Workers that do, crash, die and leave at random, on a clock that jumps."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.n_tasks = self.rng.randrange(1, 60)
        self.source = GrowingSource(self.rng, self.n_tasks)
        self.dispatch = Dispatch(self.source)
        self.now, self.next_worker = 0.0, 0
        self.inbox = {}  # worker -> list of Send
        self.finishing = set()
        for _ in range(self.rng.randrange(1, 5)):
            self.join()

    def join(self):
        self.next_worker += 1
        self.inbox[self.next_worker] = []
        self.perform(self.dispatch.joined(self.next_worker, self.now))

    def perform(self, actions):
        for action in actions:
            if isinstance(action, Send):
                assert action.worker not in self.finishing, "tasks for a worker that is to end"
                self.inbox[action.worker].append(action)
            elif isinstance(action, Finish):
                assert action.worker not in self.finishing, "asked to end twice"
                self.finishing.add(action.worker)

    def step(self):
        self.now += self.rng.choice((0.001, 0.05, 0.3))
        self.perform(self.dispatch.tick(self.now))
        worker = self.rng.choice(list(self.inbox))
        if self.inbox[worker]:
            self.work(worker)
        elif worker in self.finishing:
            del self.inbox[worker]
            self.perform(self.dispatch.ended(worker, self.now))

    def work(self, worker):
        send, chance = self.inbox[worker][0], self.rng.random()
        if chance < 0.05:
            running = send.ticket if self.rng.random() < 0.5 else None
            del self.inbox[worker]
            why = "killed by SIGKILL"
            self.perform(self.dispatch.lost(worker, self.now, why, running=running))
            self.join()
            return
        self.inbox[worker].pop(0)
        outbox, crashed = Outbox(), []
        for ticket, task in enumerate(send.tasks, send.ticket):
            if send.per_child and self.rng.random() < 0.2:
                crashed.append((ticket, "killed by SIGSEGV", {}))
                continue
            seconds = self.rng.choice((1e-5, 0.01, 2.0))
            result = {**task, "status": STATUS.OK, "time": seconds, "attempt": {}}
            outbox.add(ticket, task, result, [])
        report = (outbox.report() or Report())._replace(crashed=crashed)
        self.perform(self.dispatch.results(worker, report, now=self.now))


@pytest.mark.parametrize("seed", range(200))
def test_every_task_is_done_once_or_set_aside_and_all_workers_end(seed):
    simulation = Simulation(seed)
    for _ in range(20_000):
        if not simulation.inbox:
            break
        simulation.step()
    source = simulation.source
    assert not simulation.inbox, "the run did not end"
    assert {*source.results, *source.set_aside} == set(range(1, simulation.n_tasks + 1))
    assert not {*source.results} & {*source.set_aside}
    assert not source.started
    assert simulation.dispatch.running == 0
    assert simulation.dispatch.counts["saved"] == len(source.results)
