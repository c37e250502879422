"""Real processes: what each engine does with work that succeeds, fails, hangs and dies."""

import time

import pytest
from faulty_work import FULL

from photometry.scheduler.dispatch import Dispatch
from photometry.scheduler.engines import ProcessEngine, SerialEngine
from photometry.scheduler.protocol import Handler, Limits, load_handler
from photometry.scheduler.run import Master
from photometry.scheduler.work import TaskRunner
from photometry.status import STATUS

WORK = Handler("faulty_work:work")


class Log:
    """A task log that keeps its lines."""

    def __init__(self):
        self.lines = {}

    def write(self, logged, source):
        self.lines.update({source.id(task): lines for task, lines in logged})


def drain(source, engine_name, *, isolate=False, recycle=None, task_log=None):
    """Do all tasks of a source with one of the engines; returns the dispatch."""
    dispatch = Dispatch(source, isolate=isolate)
    if engine_name == "serial":
        engine = SerialEngine(TaskRunner(load_handler(WORK), recycle=recycle))
    else:
        engine = ProcessEngine(2, WORK, recycle)
    try:
        Master(dispatch, engine, task_log=task_log).run()
    finally:
        engine.close()
    return dispatch


def tasks_with(faults, n=12):
    """n tasks, of which some (by number) have a fault."""
    return [{"number": i, "method": faults.get(i)} for i in range(1, n + 1)]


@pytest.fixture(params=["serial", "processes"])
def engine_name(request):
    return request.param


def test_all_tasks_are_done_once(list_source, engine_name):
    source = list_source(300)
    dispatch = drain(source, engine_name)
    assert {id_: result["details"]["mean_flux"] for id_, result in source.results.items()} == {
        id_: float(id_) for id_ in range(1, 301)
    }
    assert dispatch.counts["failed"] == 0


def test_an_exception_becomes_a_result_and_the_run_goes_on(list_source, engine_name):
    source = list_source(tasks=tasks_with({3: "truncated", 5: "bug", 7: "secondary"}))
    dispatch = drain(source, engine_name)
    status = {
        id_: result["status"]
        for id_, result in source.results.items()
        if result["status"] != STATUS.OK
    }
    assert status == {3: STATUS.ERROR, 5: STATUS.ERROR, 7: STATUS.SKIPPED}
    assert source.results[3]["details"]["errors"] == [
        "BadInputError: star.fits: truncated after 5760 bytes"
    ]
    assert "KeyError: 'flux'" in source.results[5]["details"]["errors"][0]
    assert "faulty_work.py" in source.results[5]["details"]["errors"][0]
    assert source.results[5]["attempt"]["error_class"] == "KeyError"
    assert dispatch.counts["failed"] == 2


@pytest.mark.parametrize("odd", ["returns nothing", "returns no status", "returns another task"])
def test_what_is_no_result_becomes_an_error_of_that_task(list_source, engine_name, odd):
    source = list_source(tasks=tasks_with({2: odd}, n=4))
    drain(source, engine_name)
    assert source.results[2]["status"] == STATUS.ERROR
    expected = "number=3 for the task with number=2" if "another" in odd else "expected a dict"
    assert expected in source.results[2]["details"]["errors"][0]
    assert len(source.results) == 4


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(
    ("odd", "text"),
    [
        ("returns what cannot be pickled", "cannot be stored: TypeError: cannot pickle"),
        ("returns what cannot be unpickled", "cannot be stored: ValueError: invalid literal"),
        ("returns a status that is a list", "unhashable type"),
    ],
)
def test_a_result_that_cannot_travel_is_one_error_and_no_crash(
    list_source, engine_name, isolate, odd, text
):
    source = list_source(tasks=tasks_with({2: odd}, n=6))
    dispatch = drain(source, engine_name, isolate=isolate)
    assert text in source.results[2]["details"]["errors"][0]
    assert sorted(source.results) == [1, 2, 3, 4, 5, 6]
    assert (dispatch.counts["lost"], dispatch.counts["failed"]) == (0, 1)
    assert not source.crashes_by_task


def test_an_exception_that_cannot_say_what_it_is_is_one_error(list_source, engine_name):
    source = list_source(tasks=tasks_with({2: "unreadable_exception"}, n=4))
    dispatch = drain(source, engine_name)
    assert source.results[2]["attempt"]["error_class"] == "Unreadable"
    assert source.results[2]["attempt"]["error_text"] == "an exception whose text cannot be read"
    assert (len(source.results), dispatch.counts["lost"]) == (4, 0)


def test_an_exception_that_is_no_exception_is_one_error(list_source, engine_name):
    source = list_source(tasks=tasks_with({2: "no_exception"}, n=4))
    drain(source, engine_name)
    assert source.results[2]["attempt"]["error_class"] == "Outlandish"
    assert len(source.results) == 4


def test_a_process_that_the_work_has_forked_does_not_work_on(list_source, engine_name, capfd):
    source = list_source(tasks=tasks_with({2: "forks"}, n=4))
    drain(source, engine_name)
    assert {result["status"] for result in source.results.values()} == {STATUS.OK}
    # nobody waits for that process: it may still be about to say so
    said, end = "", time.monotonic() + 60.0
    while "\n" not in said and time.monotonic() < end:
        said += capfd.readouterr().err
        time.sleep(0.01)
    assert said.count("was forked by the work on a task") == 1


def test_a_task_gets_no_more_memory_than_its_limit(list_source, engine_name):
    source = list_source(
        tasks=tasks_with({2: "eats_a_gigabyte"}, n=4), limits=Limits(None, memory=2**28)
    )
    drain(source, engine_name)
    assert source.results[2]["details"]["errors"] == ["MemoryError"]
    assert [source.results[id_]["status"] for id_ in (1, 3, 4)] == [STATUS.OK] * 3


def test_a_source_with_an_odd_taste_makes_an_error_of_the_result_it_refuses(
    list_source, engine_name
):
    source = list_source(6)
    save = source.save_results

    def picky(results):
        if any(result["number"] == 3 and result["status"] == STATUS.OK for result in results):
            raise KeyError("3")
        save(results)

    source.save_results = picky
    dispatch = drain(source, engine_name)
    assert source.results[3]["details"]["errors"] == [
        "what the work returned cannot be stored: KeyError: '3'"
    ]
    assert (len(source.results), dispatch.counts["failed"]) == (6, 1)


def test_warnings_are_counted_by_cause(list_source, engine_name):
    source = list_source(tasks=tasks_with({2: "doubtful", 3: "doubtful"}, n=4))
    dispatch = drain(source, engine_name)
    (group,) = dispatch.warnings.as_list()
    assert (group["message"], group["count"]) == ("minimum mask of N pixels", 2)
    assert dispatch.counts["failed"] == 0


def test_work_that_calls_exit_is_an_error_of_that_task(list_source, engine_name):
    source = list_source(tasks=tasks_with({2: "leaves"}, n=4))
    drain(source, engine_name)
    assert source.results[2]["attempt"]["error_class"] == "SystemExit"
    assert len(source.results) == 4


def test_a_crash_right_after_a_result_costs_only_the_crashing_task(list_source):
    source = list_source(
        tasks=tasks_with(dict.fromkeys(range(2, 40, 2), "killed"), n=40), max_attempts=1
    )
    drain(source, "processes")
    assert sorted(source.set_aside) == list(range(2, 40, 2))
    assert len(source.results) == 40 - 19


def test_a_soft_time_limit_ends_python_code_that_hangs(list_source, engine_name):
    source = list_source(tasks=tasks_with({2: "hang"}, n=4), limits=Limits(0.5))
    drain(source, engine_name)
    assert source.results[2]["details"]["errors"] == [
        "TargetTimeoutError: took longer than its time limit of 0.5 s"
    ]
    assert len(source.results) == 4


@pytest.mark.parametrize("fault", ["segfault", "killed"])
def test_a_task_that_kills_its_worker_costs_only_itself(list_source, fault):
    source = list_source(tasks=tasks_with({4: fault}))
    drain(source, "processes")
    assert list(source.set_aside) == [4]
    assert ("SIGSEGV" if fault == "segfault" else "SIGKILL") in source.set_aside[4]
    assert sorted(source.results) == [id_ for id_ in range(1, 13) if id_ != 4]


def test_only_the_running_task_of_a_worker_that_crashed_is_counted(list_source):
    source = list_source(tasks=tasks_with({200: "killed"}, n=400))
    drain(source, "processes")
    assert set(source.crashes_by_task) == {200}
    assert len(source.results) == 399


def test_isolated_tasks_that_die_cost_no_worker(list_source, engine_name):
    source = list_source(tasks=tasks_with({1: "segfault", 3: "killed"}, n=5))
    dispatch = drain(source, engine_name, isolate=True)
    assert sorted(source.set_aside) == [1, 3]
    assert sorted(source.results) == [2, 4, 5]
    assert dispatch.counts["lost"] == 0


def test_code_that_never_returns_is_killed_after_its_hard_limit(list_source):
    source = list_source(
        tasks=tasks_with({1: "hang_holding_the_gil"}, n=3), max_attempts=1, limits=Limits(0.2)
    )
    drain(source, "processes")
    assert list(source.set_aside) == [1]
    assert sorted(source.results) == [2, 3]


def test_isolated_code_that_never_returns_is_killed_after_its_hard_limit(list_source, engine_name):
    source = list_source(
        tasks=tasks_with({1: "hang_holding_the_gil"}, n=3), max_attempts=1, limits=Limits(0.2)
    )
    drain(source, engine_name, isolate=True)
    assert "did not heed its time limit of 0.2 s" in source.set_aside[1]
    assert sorted(source.results) == [2, 3]


def test_a_task_that_eats_all_memory_is_an_error_of_that_task(list_source):
    source = list_source(tasks=tasks_with({2: "eats_memory"}, n=4))
    drain(source, "processes", isolate=True)
    assert source.results[2]["attempt"]["error_class"] == "MemoryError"
    assert len(source.results) == 4


def test_a_full_disk_stops_the_run_and_counts_against_no_task(list_source, engine_name):
    source = list_source(tasks=tasks_with({2: "disk_full"}, n=50))
    dispatch = drain(source, engine_name)
    assert dispatch.stopping == f"No space left on device: {FULL}"
    assert 2 in source.todo
    assert not source.set_aside
    assert dispatch.counts["failed"] == 0


def test_recycled_processes_do_the_same(list_source, engine_name):
    source = list_source(20)
    drain(source, engine_name, recycle=6)
    assert len(source.results) == 20


def test_a_failure_is_in_the_log_of_its_task(list_source):
    log = Log()
    drain(list_source(tasks=tasks_with({1: "truncated"}, n=1)), "serial", task_log=log)
    assert [(line[1], line[3]) for line in log.lines[1]] == [
        ("ERROR", "BadInputError: star.fits: truncated after 5760 bytes")
    ]


def test_what_a_task_logged_comes_back_with_its_result(list_source):
    source, log = list_source(3), Log()
    drain(source, "processes", task_log=log)
    assert {id_: [line[3] for line in logged] for id_, logged in log.lines.items()} == {
        id_: [f"flux of star {id_} measured"] for id_ in (1, 2, 3)
    }


def test_peak_memory_and_times_are_recorded(list_source, engine_name):
    source = list_source(2)
    drain(source, engine_name)
    attempt = source.results[1]["attempt"]
    assert 1e7 < attempt["peak_memory"] < 1e10
    assert attempt["end"] - attempt["start"] == pytest.approx(source.results[1]["time"], abs=1e-5)
