"""The cost of a task does not grow as a run goes on. Counted in steps of SQLite's virtual machine,
not in seconds.
"""

import itertools

import pytest
from todo_helpers import make_result, make_row

from photometry import TaskManager
from photometry.scheduler.dispatch import Dispatch, Send
from photometry.scheduler.protocol import Report
from photometry.taskmanager import create_todo

STEP = 100  # instructions of the virtual machine between two counts


@pytest.fixture(params=[True, False], ids=["memory", "file"])
def manager(request, tmp_path):
    """``manager(n)``: an open TODO-file of n targets, and a list whose length is the work that
    SQLite has done.
    """
    opened = []

    def make(n):
        create_todo(
            tmp_path / "todo.sqlite",
            (make_row(i, camera=1 + i % 4, tmag=i * 1e-4) for i in range(1, n + 1)),
        )
        tm = TaskManager(tmp_path, load_into_memory=request.param, backup_interval=None)
        opened.append(tm)
        work = []
        tm.conn.set_progress_handler(lambda: work.append(None), STEP)
        return tm, work

    yield make
    for tm in opened:
        tm.close()


def work_of(tm, work, n, **constraints):
    """Steps that getting, starting and saving n tasks takes, one at a time."""
    begin = len(work)
    for _ in range(n):
        task = tm.get_task(**constraints)
        tm.start_task(task["priority"])
        tm.save_result(make_result(task))
    return len(work) - begin


@pytest.mark.parametrize("constraints", [{}, {"camera": 3}, {"tmag_min": 0.0, "tmag_max": 1e9}])
def test_the_last_tasks_cost_what_the_first_ones_do(manager, constraints):
    tm, work = manager(20_000)
    first = work_of(tm, work, 1000, **constraints)
    tm.conn.execute("UPDATE todolist SET status = 1 WHERE status IS NULL AND priority < 15000")
    work_of(tm, work, 10, **constraints)  # looks again, as SQL of the user has changed something
    last = work_of(tm, work, 1000, **constraints)
    assert last < 1.2 * first + 10


@pytest.mark.slow
def test_a_run_of_200_000_tasks_costs_the_same_from_begin_to_end(tmp_path):
    create_todo(tmp_path / "todo.sqlite", (make_row(i, tmag=i * 1e-4) for i in range(1, 200_001)))
    with TaskManager(tmp_path, load_into_memory=True, backup_interval=None) as tm:
        work, at = [], [0]
        tm.conn.set_progress_handler(lambda: work.append(None), STEP)
        dispatch, pack = Dispatch(tm), tm.result_packer()
        actions, now, done = dispatch.joined(1, now=0.0), 0.0, 0
        while sends := [action for action in actions if isinstance(action, Send)]:
            actions = []
            for send in sends:
                now += 0.05
                done += len(send.tasks)
                results = [make_result(task) | {"time": 1e-5} for task in send.tasks]
                tickets = list(range(send.ticket, send.ticket + len(send.tasks)))
                report = Report(tickets, pack(results), 1e-5 * len(results))
                actions += dispatch.results(1, report, now=now) + dispatch.tick(now)
                if done >= 50_000 * len(at):
                    at.append(len(work))
        dispatch.commit()
        assert tm.get_number_tasks() == 0
    quarters = [after - before for before, after in itertools.pairwise(at)]
    assert len(quarters) >= 4
    assert max(quarters[:4]) < 1.2 * min(quarters[:4])
