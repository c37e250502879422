"""The task database as a source of the scheduler: what comes too late is dropped, what is given
back is done again."""

import json
import threading
import time

import pytest
from chain_runs import look, settings_for

from photometry.chains import claiming, jobs, states
from photometry.chains.definition import parse_definition
from photometry.chains.execution import pack_results, run_chain_task
from photometry.chains.expanding import Expander
from photometry.chains.source import ChainSource


@pytest.fixture
def settings(tmp_path):
    return settings_for(tmp_path)


@pytest.fixture
def database(settings):
    database = jobs.open_database(settings)
    yield database
    database.close()


def submit(database, settings, *tasks):
    chain = {"job_name": "j", "task_list": list(tasks)}
    return jobs.submit(parse_definition(json.dumps(chain)), database, settings).root


def source(settings, root):
    return ChainSource(jobs.open_database(settings), settings, root=root)


def do(task, settings):
    """What a worker returns of a task."""
    result = run_chain_task(task, store=str(settings.file_store), input_folder=str(settings.inputs))
    return pack_results([{**task, **result, "time": 0.1, "attempt": {}}])


def state(database, id_):
    return {task["id"]: task["state"] for task in look(database, 1)["tasks"]}[id_]


def test_a_chain_that_is_submitted_by_many_at_once_is_one_job(settings, database):
    chain = {
        "job_name": "j",
        "task_list": [{"task": "null", "outputs": {"x": "x"}}, {"task": "null"}],
    }
    barrier, found = threading.Barrier(6), []

    def submit_one():
        own = jobs.open_database(settings)
        barrier.wait()
        found.append(jobs.submit(parse_definition(json.dumps(chain)), own, settings))
        Expander(own).expand(found[-1].root)
        own.close()

    threads = [threading.Thread(target=submit_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({submission.root for submission in found}) == 1
    assert sum(submission.is_new for submission in found) == 1
    assert len(look(database, found[0].root)["tasks"]) == 3


def test_the_result_of_a_cancelled_task_is_dropped(database, settings):
    root = submit(database, settings, {"task": "null", "results": {"x": 1}}, {"task": "null"})
    run = source(settings, root)
    first, second = run.get_tasks(2)
    run.start_tasks([first["id"]])
    assert jobs.cancel(database, [root]) == 2
    run.save_results([do(first, settings)])
    found = look(database, root)
    assert found["state"] == "CANCELLED"
    assert {task["state"] for task in found["tasks"][1:]} == {"CANCELLED"}
    assert found["tasks"][1]["metadata"] == {}
    assert run.get_number_tasks() == 0
    run.close()
    assert jobs.retry(database, root=root) == 2
    assert state(database, second["id"]) == "READY"


def test_files_of_a_dropped_result_are_deleted_and_those_of_a_recorded_one_are_kept(
    database, settings
):
    specs = {"duration": 2, "sampling_cadence": 1800}
    tasks = [
        {"task": "synthesis_batman", "outputs": {"lightcurve": f"{n}.lc"}, "specs": specs}
        for n in range(2)
    ]
    root = submit(database, settings, *tasks)
    run = source(settings, root)
    kept, dropped = run.get_tasks(2)
    run.start_tasks([kept["id"], dropped["id"]])
    results = [do(kept, settings), do(dropped, settings)]
    run.save_results(results[:1])
    jobs.cancel(database, [dropped["id"]])
    run.save_results(results)  # the first one again, as after an answer that was lost
    files = [path for path in settings.file_store.rglob("*") if path.is_file()]
    (product,) = look(database, root)["tasks"][1]["products"].values()
    assert files == [settings.file_store / product["path"]]
    run.close()


def test_a_cancelled_task_that_starts_again_waits_until_its_worker_has_given_it_back(
    database, settings
):
    root = submit(database, settings, {"task": "null", "name": "n"}, {"task": "null"})
    run = source(settings, root)
    (task,) = run.get_tasks(1)
    run.start_tasks([task["id"]])
    assert run.withdrawn() == set()
    jobs.cancel(database, [task["id"]])
    assert run.withdrawn() == {task["id"]}
    jobs.retry(database, root=root)
    others = [other["id"] for other in run.get_tasks(5)]
    assert task["id"] not in others
    assert len(others) == 1
    assert run.withdrawn() == {task["id"]}
    run.release_tasks([task["id"]], "withdrawn")
    again = {other["id"]: other for other in run.get_tasks(5)}[task["id"]]
    assert again["attempt_id"] != task["attempt_id"]
    run.start_tasks([task["id"]])
    run.save_results([do(again, settings)])
    assert state(database, task["id"]) == "PASSED"
    run.close()


def test_a_worker_that_was_taken_for_lost_cannot_overwrite_the_new_result(database, settings):
    root = submit(database, settings, {"task": "null", "name": "n", "results": {"x": 1}})
    slow = source(settings, root)
    (task,) = slow.get_tasks(1)
    slow.start_tasks([task["id"]])
    database.change(lambda db: claiming.lose(db, [slow.worker.id], time.time()))
    fast = source(settings, root)
    (again,) = fast.get_tasks(1)
    assert again["id"] == task["id"]
    slow.save_results([do(task, settings)])
    assert state(database, task["id"]) == "RUNNING"
    fast.save_results([do(again, settings)])
    found = look(database, root)
    assert found["by_name"]["n"]["attempts"] == 2
    assert found["state"] == "PASSED"
    slow.close()
    fast.close()


def test_tasks_that_are_given_back_use_no_attempt(database, settings):
    root = submit(database, settings, *[{"task": "null"}] * 3)
    run = source(settings, root)
    tasks = run.get_tasks(3)
    run.start_tasks([tasks[0]["id"]])
    run.release_tasks([tasks[0]["id"]], "the run ends")
    run.close()  # gives the others back
    found = look(database, root)
    assert [task["state"] for task in found["tasks"][1:]] == ["READY"] * 3
    assert [task["attempts"] for task in found["tasks"][1:]] == [0] * 3


def test_a_task_that_takes_its_process_down_is_tried_again_and_then_fails(database, settings):
    root = submit(database, settings, {"task": "null", "name": "n", "max_attempts": 2})
    run = source(settings, root)
    for number, may_go_on in ((1, True), (2, False)):
        (task,) = run.get_tasks(1)
        assert run.crash_candidates() == set()
        run.start_tasks([task["id"]])
        assert run.fail_attempt(task["id"], "killed by SIGSEGV") is may_go_on
        assert run.crashes(task["id"]) == 1
        assert number <= 2
    found = look(database, root)["by_name"]["n"]
    assert found["state"] == states.FAILED
    assert "SIGSEGV" in found["reason"]
    assert run.get_number_failed() == 1
    run.close()


def test_a_wrong_expression_of_results_fails_its_task_alone(database, settings):
    root = submit(
        database,
        settings,
        {"task": "null", "name": "a", "results": {"x": 0}},
        {"task": "null", "name": "b", "requires_metadata_from": ["a"],
         "sleep": "(1 / requested_metadata['a']['x'])"},
        {"task": "null", "name": "c"},
    )  # fmt: skip
    run = source(settings, root)
    while tasks := run.get_tasks(5):
        run.start_tasks([task["id"] for task in tasks])
        for task in tasks:
            run.save_results([do(task, settings)])
    found = look(database, root)["by_name"]
    assert {name: found[name]["state"] for name in "abc"} == {
        "a": "PASSED", "b": "FAILED", "c": "PASSED",
    }  # fmt: skip
    assert "division by zero" in found["b"]["reason"]
    run.close()


def test_delays_grow_and_are_kept(database, tmp_path):
    settings = settings_for(tmp_path, retry_delay=100.0)
    root = submit(database, settings, {"task": "null", "fail_attempts": 5})
    run = source(settings, root)
    (task,) = run.get_tasks(1)
    run.start_tasks([task["id"]])
    run.save_results([do(task, settings)])
    assert state(database, task["id"]) == states.DELAYED
    assert run.get_tasks(1) == []
    assert 90 < run.next_eligible() <= 100
    run.close()
