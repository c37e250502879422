"""`run`: what a run does to its source and its folder, and how it ends."""

import json
import os

import pytest
from faulty_work import FULL

from photometry.errors import TryAgainError, WrongUseError
from photometry.scheduler.dispatch import Dispatch
from photometry.scheduler.protocol import Handler
from photometry.scheduler.reporting import LOG_NAME, read_log
from photometry.scheduler.run import Plan, closing_time, run, verdict
from photometry.settings import RunSettings


def carry_out(source, folder, handler="faulty_work:work", **options):
    """Exit code of a run in this process."""
    options = {"workers": 0, "quiet": True} | options
    return run(Plan(lambda: source, Handler(handler), folder, **options))


class Recorder:
    """Records what a source is asked, in order."""

    def __init__(self, source):
        self.source, self.calls = source, []

    def __getattr__(self, name):
        value = getattr(self.source, name)
        if not callable(value):
            return value

        def called(*args, **kwargs):
            self.calls.append(name)
            return value(*args, **kwargs)

        return called


def test_a_run_opens_and_closes_its_source_around_all_else(list_source, tmp_path):
    source = Recorder(list_source(3))
    assert carry_out(source, tmp_path / "out") == 0
    calls = source.calls
    assert calls.index("begin_run") < calls.index("result_packer") < calls.index("start_tasks")
    assert calls[-3:] == ["end_run", "write_summary", "close"]
    assert source.run_info["exit_code"] == 0
    assert source.run_info["tasks_this_run"] == 3


def test_what_tasks_logged_is_in_one_file_by_their_label(list_source, tmp_path):
    carry_out(list_source(3), tmp_path)
    records = list(read_log(tmp_path / LOG_NAME, name="number 2"))
    assert [record["message"] for record in records] == ["flux of star 2 measured"]
    assert json.loads((tmp_path / LOG_NAME).read_text().splitlines()[0])["task"] == 1


def test_failures_and_earlier_failures_end_with_1(list_source, tmp_path):
    tasks = [{"number": 1, "method": "bug"}, {"number": 2, "method": None}]
    source = list_source(tasks=tasks)
    assert carry_out(source, tmp_path) == 1
    assert source.run_info["reason"] == "done, but 1 of 2 tasks failed"
    assert carry_out(source, tmp_path) == 1
    assert source.run_info["reason"] == "done, 0 tasks, but 1 failed in earlier runs"


def test_a_full_disk_ends_with_3_and_says_so(list_source, tmp_path):
    source = list_source(tasks=[{"number": 1, "method": "disk_full"}])
    assert carry_out(source, tmp_path) == 3
    assert f"No space left on device: {FULL}" in source.run_info["reason"]


def test_limit_is_no_failure(list_source, tmp_path):
    source = list_source(5)
    assert carry_out(source, tmp_path, limit=2) == 0
    assert len(source.results) == 2


def test_a_run_near_its_time_limit_begins_nothing_and_ends_with_3(list_source, tmp_path):
    source = list_source(3)
    settings = RunSettings(time_limit="0.001s")
    assert carry_out(source, tmp_path, settings=settings) == 3
    assert "time limit" in source.run_info["reason"]
    assert not source.results


def test_tasks_that_cannot_be_done_now_are_unfinished_and_no_worker_is_named(list_source, tmp_path):
    source = list_source(2)
    source.get_tasks, source.get_number_tasks = lambda n, **_: [], lambda **_: 2
    assert carry_out(source, tmp_path) == 3
    assert "what is still to do cannot be done now; 2 of the tasks" in source.run_info["reason"]


def test_a_source_without_tasks_that_expects_some_is_waited_for(list_source, tmp_path):
    source = list_source(1)
    source.todo.clear()
    waits = iter([0.01, 0.01, 0.01])

    def next_eligible():
        wait = next(waits, None)
        if wait is None:
            return None if source.results or source.todo or source.started else give()
        return wait

    def give():
        source.todo[1] = None
        return 0.01

    source.next_eligible = next_eligible
    assert carry_out(source, tmp_path) == 0
    assert list(source.results) == [1]


def test_an_error_of_the_source_is_on_record_and_not_hidden(list_source, tmp_path):
    source = list_source(2)

    def broken(ids):
        raise RuntimeError("a defect")

    source.start_tasks = broken
    with pytest.raises(RuntimeError, match="a defect"):
        carry_out(source, tmp_path)
    assert source.run_info["exit_code"] == 70
    assert "RuntimeError: a defect" in source.run_info["reason"]


def test_a_source_whose_disk_is_full_is_unfinished(list_source, tmp_path):
    source = list_source(2)

    def full(results):
        raise OSError(28, "No space left on device", "journal")

    source.save_results = full
    with pytest.raises(TryAgainError, match="writing journal; make room and run the same command"):
        carry_out(source, tmp_path)


def test_an_output_folder_that_cannot_be_made_is_wrong_use_and_no_empty_one_is_left(
    list_source, tmp_path
):
    (tmp_path / "file").touch()
    with pytest.raises(WrongUseError, match="expected a folder"):
        carry_out(list_source(1), tmp_path / "file" / "out")

    def no_source():
        raise WrongUseError("no such source")

    with pytest.raises(WrongUseError, match="no such source"):
        run(Plan(no_source, Handler("noop"), tmp_path / "out", workers=0))
    assert not (tmp_path / "out").exists()


def test_lost_workers_are_named_in_the_verdict(list_source):
    dispatch = Dispatch(list_source(1))
    dispatch.lost(1, now=0.0, why="killed by SIGKILL")
    code, reason = verdict(dispatch, 1, 0, None)
    assert code == 3
    assert "1 workers were lost, the last one: killed by SIGKILL; 1 of the tasks" in reason


def test_of_a_short_time_limit_a_fifth_is_kept_for_closing():
    assert closing_time(RunSettings(closing_time=60.0), end=0.0) == 0.0
    import time

    assert closing_time(RunSettings(closing_time=60.0), end=time.time() + 3600) == 60.0
    assert closing_time(RunSettings(closing_time=60.0), end=time.time() + 50) <= 10.0


def test_the_debugger_gets_the_exception_and_the_task_its_error(list_source, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("pdb.post_mortem", seen.append)
    source = list_source(tasks=[{"number": 1, "method": "bug"}])
    assert carry_out(source, tmp_path, pdb=True, workers=None) == 1
    assert len(seen) == 1
    assert os.path.basename(seen[0].tb_frame.f_code.co_filename) == "run.py"
