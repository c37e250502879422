"""The state machine, without MPI, processes or a clock."""

import pytest

from photometry.scheduler.dispatch import (
    LARGEST_BATCH,
    MESSAGE_SECONDS,
    QUARANTINE_SIZE,
    Dispatch,
    Finish,
    Kill,
    Send,
    Withdraw,
)
from photometry.scheduler.protocol import Limits, Report
from photometry.scheduler.worker import Outbox
from photometry.status import STATUS


def report(send, tasks=None, seconds=0.0, status=STATUS.OK):
    """What a worker reports of the tasks of a message, or of the first of them."""
    outbox = Outbox()
    for ticket, task in enumerate(send.tasks if tasks is None else send.tasks[:tasks], send.ticket):
        result = {**task, "status": status, "time": seconds, "attempt": {}}
        outbox.add(ticket, task, result, [])
    return outbox.report()


def crash(send, why="killed by SIGSEGV"):
    return Report(crashed=[(send.ticket, why, {})])


def sends(actions):
    return [action for action in actions if isinstance(action, Send)]


def sent(actions):
    return [task["number"] for send in sends(actions) for task in send.tasks]


def tickets(actions):
    return [send.ticket + i for send in sends(actions) for i in range(len(send.tasks))]


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
        more = dispatch.results(send.worker, report(send, seconds=seconds), now=now)
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


def test_an_idle_worker_ends_only_when_no_other_can_give_tasks_back(list_source):
    source = list_source(1)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    assert dispatch.joined(2, now=0.0) == []
    assert finished(dispatch.results(1, report(send), now=1.0)) == [1, 2]


def test_quick_tasks_travel_in_batches_of_measured_size(list_source):
    source = list_source(5_000)
    dispatch = Dispatch(source)
    messages = drain(dispatch, dispatch.joined(1, now=0.0), seconds=0.001)
    assert messages < 5_000 / (0.8 * MESSAGE_SECONDS / 0.001)


def test_no_batch_is_larger_than_the_limit(list_source):
    dispatch = Dispatch(list_source(5000))
    (send,) = dispatch.joined(1, now=0.0)
    actions = dispatch.results(1, report(send, seconds=1e-6), now=0.1)
    assert [len(action.tasks) for action in actions] == [LARGEST_BATCH] * 2


def test_slow_tasks_are_assigned_one_at_a_time(list_source):
    dispatch = Dispatch(list_source(10))
    (send,) = dispatch.joined(1, now=0.0)
    assert sent(dispatch.results(1, report(send, seconds=30.0), now=30.0)) == [2]


def test_lost_worker_returns_its_task_once(list_source):
    source = list_source(3)
    dispatch = Dispatch(source)
    dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    dispatch.lost(1, now=5.0, why="killed by SIGKILL")
    dispatch.lost(1, now=6.0, why="killed by SIGKILL")
    assert source.released == [1]
    assert source.crashes(1) == 1


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
    actions = dispatch.results(1, report(send, seconds=0.01), now=0.01)
    held = sent(actions)
    assert len(held) > 3
    dispatch.lost(1, now=5.0, why="killed by SIGSEGV", running=tickets(actions)[1])
    assert source.crashes_by_task == {held[1]: 1}
    assert sorted(source.released) == held


def test_where_it_is_not_known_what_killed_a_worker_no_attempt_counts_but_all_go_to_children(
    list_source,
):
    source = list_source(50)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    held = sent(dispatch.results(1, report(send, seconds=0.01), now=0.01))
    dispatch.lost(1, now=5.0, why="silent")
    assert not source.crashes_by_task
    actions = dispatch.joined(2, now=6.0)
    assert all(send.per_child and sent([send])[0] in held for send in actions)


def test_tasks_of_an_interrupted_run_share_child_processes(list_source):
    source = list_source(30)
    source.interrupted = set(range(1, 21))
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    (send,) = dispatch.results(1, report(send, seconds=0.001), now=0.1)
    assert (sent([send]), send.per_child) == (list(range(2, 21)), QUARANTINE_SIZE)
    (send,) = dispatch.results(1, report(send, seconds=0.001), now=0.2)
    assert send.per_child is None


def test_a_task_that_crashed_goes_alone_in_its_own_child_and_after_all_others(list_source):
    source = list_source(3)
    source.crashes_by_task[1] = 1
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    assert (sent([send]), send.per_child) == ([2], None)
    (send,) = dispatch.results(1, report(send, seconds=2.0), now=2.0)
    (send,) = dispatch.results(1, report(send, seconds=2.0), now=4.0)
    assert (sent([send]), send.per_child) == ([1], 1)


def test_a_task_that_kills_its_process_is_set_aside_after_max_attempts(list_source):
    source = list_source(2)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    (send,) = dispatch.results(1, crash(send), now=1.0)
    assert sent([send]) == [2]
    actions = dispatch.results(1, report(send, seconds=2.0), now=2.0)
    for now in range(3, 5):
        assert sent(actions) == [1]
        actions = dispatch.results(1, crash(actions[0]), now=float(now))
    assert finished(actions) == [1]
    assert source.set_aside == {1: "killed by SIGSEGV"}
    assert dispatch.counts["failed"] == 1


def test_a_silent_worker_is_killed_after_the_hard_limit_and_not_before(list_source):
    limits = Limits(10.0)
    dispatch = Dispatch(list_source(1, limits=limits))
    dispatch.joined(1, now=0.0)
    assert dispatch.tick(now=limits.hard - 0.1) == []
    (kill,) = dispatch.tick(now=limits.hard + 1.0)
    assert isinstance(kill, Kill)
    assert kill.worker == 1


def test_an_idle_worker_is_never_called_silent(list_source):
    dispatch = Dispatch(list_source(1, limits=Limits(1.0)))
    (send,) = dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    assert [kill.worker for kill in dispatch.tick(now=1000.0)] == [send.worker]


def test_results_of_a_worker_that_was_given_up_are_dropped(list_source):
    source = list_source(1)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    (again,) = dispatch.lost(1, now=5.0, why="silent")
    dispatch.results(1, report(send), now=6.0)
    dispatch.results(2, report(again), now=7.0)
    assert list(source.results) == [1]


def test_stop_assigns_nothing_more_and_unbegun_tasks_come_back(list_source):
    source = list_source(50)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    actions = dispatch.results(1, report(send, seconds=0.01), now=0.01)
    held = sent(actions)
    assert finished(dispatch.stop("received SIGTERM", now=1.0)) == [1]
    last = report(actions[0], tasks=1, seconds=0.01)._replace(returned=tickets(actions)[1:])
    assert dispatch.results(1, last, now=1.1) == []
    dispatch.ended(1, now=1.2)
    dispatch.commit()
    assert sorted(source.results) == [1, held[0]]
    assert sorted(source.todo) == [id_ for id_ in source.tasks if id_ not in source.results]


def test_disk_full_in_one_task_stops_the_run_and_counts_against_no_task(list_source):
    source = list_source(5)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    hindered = Report(hindered=[(send.ticket, "No space left on device: x")])
    actions = dispatch.results(1, hindered, now=1.0)
    assert finished(actions) == [1, 2]
    assert source.released == [1]
    assert dispatch.stopping == "No space left on device: x"


def test_what_the_source_does_not_want_any_more_is_given_back_and_asked_for_once(list_source):
    source = list_source(3)
    source.withdrawn = set
    dispatch = Dispatch(source)
    dispatch.joined(1, 0.0)
    (send,) = sends(dispatch.joined(2, 0.0))
    (number,) = (task["number"] for task in send.tasks)
    source.withdrawn = dispatch._withdrawn = lambda: {number}
    assert dispatch.tick(1.0) == [Withdraw(2, [send.ticket])]
    assert dispatch.tick(3.0) == []
    dispatch.results(2, Report(returned=[send.ticket]), now=3.0)
    assert source.released == [number]
    assert dispatch.counts["failed"] == 0


def test_limit_assigns_no_more_than_asked_for(list_source):
    source = list_source(100)
    dispatch = Dispatch(source, limit=7)
    drain(dispatch, dispatch.joined(1, now=0.0) + dispatch.joined(2, now=0.0), seconds=0.001)
    assert sorted(source.results) == list(range(1, 8))


def test_constraints_choose_the_tasks(list_source):
    tasks = [{"number": i, "camera": i % 4 + 1, "method": None, "tmag": 10.0} for i in range(1, 41)]
    source = list_source(tasks=tasks)
    dispatch = Dispatch(source, constraints={"camera": 3})
    drain(dispatch, dispatch.joined(1, now=0.0), seconds=0.1)
    assert {source.tasks[id_]["camera"] for id_ in source.results} == {3}
    assert len(source.results) == 10


def test_results_are_saved_together_but_soon(list_source):
    source = list_source(1000)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    dispatch.results(1, report(send, seconds=0.001), now=0.01)
    assert not source.results
    dispatch.tick(now=0.2)
    assert list(source.results) == [1]


def test_near_the_deadline_only_tasks_that_will_be_done_are_assigned(list_source):
    slow = [{"number": i, "kind": "slow"} for i in range(1, 6)]
    quick = [{"number": i, "kind": "quick"} for i in range(6, 11)]
    source = list_source(tasks=slow + quick)
    dispatch = Dispatch(source, deadline=1000.0)
    dispatch.durations.learn("slow", 100.0)
    dispatch.durations.learn("quick", 1.5)
    assert sent(dispatch.joined(1, now=0.0)) == [1]
    assert sent(dispatch.joined(2, now=900.0)) == [6]
    assert sent(dispatch.joined(3, now=999.0)) == []
    assert dispatch.out_of_time


def test_at_the_deadline_the_run_stops(list_source):
    dispatch = Dispatch(list_source(2), deadline=1000.0)
    dispatch.joined(1, now=0.0)
    assert finished(dispatch.tick(now=1000.5)) == [1]
    assert "time limit" in dispatch.stopping


def test_giving_up_returns_what_is_out_and_counts_no_attempt(list_source):
    source = list_source(3)
    dispatch = Dispatch(source)
    dispatch.joined(1, now=0.0)
    dispatch.joined(2, now=0.0)
    dispatch.give_up("second signal")
    assert sorted(source.todo) == [1, 2, 3]
    assert not source.crashes_by_task


@pytest.mark.parametrize("order", [1, -1])
def test_results_may_come_in_any_order(list_source, order):
    source = list_source(300)
    dispatch = Dispatch(source)
    (send,) = dispatch.joined(1, now=0.0)
    actions = dispatch.results(1, report(send, seconds=0.001), now=0.1)
    for action in actions:
        one = report(action, seconds=0.001)
        one = one._replace(tickets=one.tickets[::order], packed=one.packed[::order])
        dispatch.results(1, one, now=0.2)
    dispatch.commit()
    assert len(source.results) == 1 + sum(len(action.tasks) for action in actions)
