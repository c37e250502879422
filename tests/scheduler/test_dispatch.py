"""The state machine, without MPI, processes or a clock."""

import pytest

from photometry.scheduler.dispatch import (
    LARGEST_BATCH,
    MESSAGE_SECONDS,
    Dispatch,
    Finish,
    Kill,
    Send,
)
from photometry.scheduler.limits import TaskLimits
from photometry.scheduler.protocol import DIED, TRY_AGAIN
from photometry.status import STATUS


def done(task, seconds=0.0, status=STATUS.OK):
    return {**task, "status": status, "time": seconds}


def sent(actions):
    return [
        task["priority"] for action in actions if isinstance(action, Send) for task in action.tasks
    ]


def finished(actions):
    return sorted(action.worker for action in actions if isinstance(action, Finish))


def drain(dispatch, actions, seconds, now=0.0):
    """Play all workers until nothing is left to send; returns the number of messages."""
    messages = 0
    pending = [action for action in actions if isinstance(action, Send)]
    while pending:
        send = pending.pop(0)
        messages += 1
        now += seconds * len(send.tasks)
        more = dispatch.results(send.worker, [done(task, seconds) for task in send.tasks], now=now)
        pending += [action for action in more if isinstance(action, Send)]
    return messages


def test_first_worker_gets_the_lowest_priority(list_source):
    dispatch = Dispatch(list_source(5))
    assert sent(dispatch.joined(1, now=0.0)) == [1]
    assert sent(dispatch.joined(2, now=0.0)) == [2]


def test_all_tasks_are_done_once_and_workers_end(list_source):
    source = list_source(100)
    dispatch = Dispatch(source)
    drain(dispatch, dispatch.joined(1, now=0.0) + dispatch.joined(2, now=0.0), seconds=0.2)
    assert sorted(source.results) == list(range(1, 101))
    assert not source.started


def test_an_idle_worker_ends_only_when_nobody_can_give_tasks_back(list_source):
    source = list_source(1)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    assert dispatch.joined(2, now=0.0) == []
    assert finished(dispatch.results(1, [done(send.tasks[0])], now=1.0)) == [1, 2]


def test_quick_tasks_travel_in_batches_of_measured_size(list_source):
    source = list_source(20_000)
    dispatch = Dispatch(source)
    messages = drain(dispatch, dispatch.joined(1, now=0.0), seconds=0.001)
    assert messages < 20_000 / (0.8 * MESSAGE_SECONDS / 0.001)


def test_no_batch_is_larger_than_the_limit(list_source):
    dispatch = Dispatch(list_source(5000))
    (send,) = dispatch.joined(1, now=0.0)
    actions = dispatch.results(1, [done(send.tasks[0], 1e-6)], now=0.1)
    assert [len(action.tasks) for action in actions] == [LARGEST_BATCH] * 2


def test_slow_tasks_are_handed_out_one_at_a_time(list_source):
    dispatch = Dispatch(list_source(10))
    (send,) = dispatch.joined(1, now=0.0)
    assert sent(dispatch.results(1, [done(send.tasks[0], 30.0)], now=30.0)) == [2]


def test_lost_worker_returns_its_task_once(list_source):
    source = list_source(3)
    dispatch = Dispatch(source)
    dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    dispatch.lost(1, now=5.0, why="killed by SIGKILL")
    dispatch.lost(1, now=6.0, why="killed by SIGKILL")
    assert source.released == [1]
    assert source.deaths(1) == 1


def test_a_returned_task_goes_to_a_worker_that_waits(list_source):
    dispatch = Dispatch(list_source(1))
    dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    (send,) = dispatch.lost(1, now=5.0, why="killed by SIGKILL")
    assert (send.worker, sent([send])) == (2, [1])


def test_only_the_running_task_of_a_lost_worker_has_used_up_an_attempt(list_source):
    source = list_source(50)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    held = sent(dispatch.results(1, [done(send.tasks[0], 0.01)], now=0.01))
    assert len(held) > 3
    dispatch.lost(1, now=5.0, why="killed by SIGSEGV", running=held[1])
    assert source.deaths_by_task == {held[1]: 1}
    assert sorted(source.released) == held


def test_where_it_is_not_known_what_killed_a_worker_nobody_is_blamed_but_all_are_isolated(
    list_source,
):
    source = list_source(50)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    held = sent(dispatch.results(1, [done(send.tasks[0], 0.01)], now=0.01))
    dispatch.lost(1, now=5.0, why="silent")
    assert not source.deaths_by_task
    actions = dispatch.joined(2, now=6.0)
    assert all(send.isolated and sent([send])[0] in held for send in actions)


def test_a_suspect_goes_alone_isolated_and_after_all_others(list_source):
    source = list_source(3)
    source.deaths_by_task[1] = 1
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    assert (sent([send]), send.isolated) == ([2], False)
    (send,) = dispatch.results(1, [done(send.tasks[0], 2.0)], now=2.0)
    (send,) = dispatch.results(1, [done(send.tasks[0], 2.0)], now=4.0)
    assert (sent([send]), send.isolated) == ([1], True)


def test_a_task_that_kills_its_process_is_set_aside_after_max_attempts(list_source):
    source = list_source(2)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    (send,) = dispatch.results(1, [{"priority": 1, DIED: "killed by SIGSEGV"}], now=1.0)
    assert sent([send]) == [2]
    actions = dispatch.results(1, [done(send.tasks[0], 2.0)], now=2.0)
    for now in range(3, 5):
        assert sent(actions) == [1]
        actions = dispatch.results(1, [{"priority": 1, DIED: "killed by SIGSEGV"}], now=float(now))
    assert finished(actions) == [1]
    assert source.set_aside == {1: "killed by SIGSEGV"}
    assert dispatch.counts["failed"] == 1


def test_a_silent_worker_is_killed_after_the_hard_limit_and_not_before(list_source):
    limits = TaskLimits(timeout=10.0)
    dispatch = Dispatch(list_source(1), task_limits=limits)
    (send,) = dispatch.joined(1, now=0.0)
    hard = limits.hard(send.tasks[0])
    assert dispatch.tick(now=hard - 0.1) == []
    (kill,) = dispatch.tick(now=hard + 1.0)
    assert isinstance(kill, Kill)
    assert kill.worker == 1


def test_an_idle_worker_is_never_called_silent(list_source):
    dispatch = Dispatch(list_source(1), task_limits=TaskLimits(timeout=1.0))
    (send,) = dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    assert [kill.worker for kill in dispatch.tick(now=1000.0)] == [send.worker]


def test_results_of_a_worker_that_was_given_up_are_dropped(list_source):
    source = list_source(1)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    dispatch.lost(1, now=5.0, why="silent")
    dispatch.results(1, [done(send.tasks[0])], now=6.0)
    dispatch.results(2, [done(send.tasks[0])], now=7.0)
    assert list(source.results) == [1]


def test_stop_hands_out_nothing_more_and_unbegun_tasks_come_back(list_source):
    source = list_source(50)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    held = sent(dispatch.results(1, [done(send.tasks[0], 0.01)], now=0.01))
    assert finished(dispatch.stop("received SIGTERM", now=1.0)) == [1]
    assert (
        dispatch.results(1, [done(source.tasks[held[0]], 0.01)], returned=held[1:], now=1.1) == []
    )
    dispatch.left(1, now=1.2)
    dispatch.commit()
    assert sorted(source.results) == [1, held[0]]
    assert sorted(source.todo) == [id_ for id_ in source.tasks if id_ not in source.results]


def test_disk_full_in_one_task_stops_the_run_and_blames_no_task(list_source):
    source = list_source(5)
    dispatch = Dispatch(source)
    dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    actions = dispatch.results(
        1, [{"priority": 1, TRY_AGAIN: "No space left on device: x"}], now=1.0
    )
    assert finished(actions) == [1, 2]
    assert source.released == [1]
    assert dispatch.stopping == "No space left on device: x"


def test_limit_hands_out_no_more_than_asked_for(list_source):
    source = list_source(100)
    dispatch = Dispatch(source, limit=7)
    drain(dispatch, dispatch.joined(1, now=0.0) + dispatch.joined(2, now=0.0), seconds=0.001)
    assert sorted(source.results) == list(range(1, 8))


def test_constraints_choose_the_tasks(list_source):
    tasks = [
        {"priority": i, "camera": i % 4 + 1, "method": None, "tmag": 10.0} for i in range(1, 41)
    ]
    source = list_source(tasks=tasks)
    dispatch = Dispatch(source, constraints={"camera": 3})
    drain(dispatch, dispatch.joined(1, now=0.0), seconds=0.1)
    assert {source.tasks[id_]["camera"] for id_ in source.results} == {3}
    assert len(source.results) == 10


def test_results_are_saved_together_but_soon(list_source):
    source = list_source(1000)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    dispatch.results(1, [done(send.tasks[0], 0.001)], now=0.01)
    assert not source.results
    dispatch.tick(now=0.2)
    assert list(source.results) == [1]


def test_near_the_deadline_only_tasks_that_will_be_done_are_handed_out(list_source):
    slow = [
        {"priority": i, "method": "halo", "tmag": 2.0, "datasource": "ffi"} for i in range(1, 6)
    ]
    quick = [
        {"priority": i, "method": "aperture", "tmag": 12.0, "datasource": "ffi"}
        for i in range(6, 11)
    ]
    source = list_source(tasks=slow + quick)
    dispatch = Dispatch(source, deadline=1000.0)
    dispatch.durations.learn(slow[0], 100.0)
    dispatch.durations.learn(quick[0], 1.5)
    assert sent(dispatch.joined(1, now=0.0)) == [1]
    assert sent(dispatch.joined(2, now=900.0)) == [6]
    assert sent(dispatch.joined(3, now=999.0)) == []
    assert dispatch.out_of_time


def test_at_the_deadline_the_run_stops(list_source):
    dispatch = Dispatch(list_source(2), deadline=1000.0)
    dispatch.joined(1, now=0.0)
    assert finished(dispatch.tick(now=1000.5)) == [1]
    assert "time limit" in dispatch.stopping


def test_giving_up_returns_what_is_out_without_blame(list_source):
    source = list_source(3)
    dispatch = Dispatch(source)
    dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    dispatch.give_up("second signal")
    assert sorted(source.todo) == [1, 2, 3]
    assert not source.deaths_by_task


@pytest.mark.parametrize("order", [1, -1])
def test_results_may_come_in_any_order(list_source, order):
    source = list_source(300)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    actions = dispatch.results(1, [done(send.tasks[0], 0.001)], now=0.1)
    for action in actions:
        dispatch.results(1, [done(task, 0.001) for task in action.tasks[::order]], now=0.2)
    dispatch.commit()
    assert len(source.results) == 1 + sum(len(action.tasks) for action in actions)
