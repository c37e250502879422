"""Attempts and runs: what was tried, and which tasks are set aside because they kill."""

import json

import pytest
from todo_helpers import die, execute, make_result, query, statuses

from photometry import STATUS, TaskManager


def attempts(tm, priority):
    sql = "SELECT * FROM attempts WHERE priority = ? ORDER BY start"
    return [dict(row) for row in tm.cursor.execute(sql, [priority])]


def die_with(path, in_memory, *priorities):
    """A process dies while tasks are STARTED."""
    tm = TaskManager(path, load_into_memory=in_memory)
    tm.start_tasks(priorities)
    die(tm)


def errors(tm, priority):
    return tm.cursor.execute(
        "SELECT errors FROM diagnostics WHERE priority = ?", [priority]
    ).fetchone()["errors"]


class TestDeaths:
    def test_a_task_that_kills_is_tried_again_and_then_set_aside(self, tm):
        for n in (1, 2):
            tm.start_task(1)
            assert (
                tm.fail_attempt(1, "signal 11", host="node1", rank=4, start=1e9 + n, seconds=3.0)
                is True
            )
            assert tm.crashes(1) == n
            assert tm.get_task()["priority"] == 1
        tm.start_task(1)
        assert tm.fail_attempt(1, "signal 11") is False
        assert statuses(tm)[1] == STATUS.ERROR
        assert "took its worker down 3 times" in errors(tm, 1)
        assert tm.get_task()["priority"] == 2
        rows = attempts(tm, 1)
        assert [(row["died"], row["error_class"], row["error_text"]) for row in rows] == [
            (1, "WorkerDied", "signal 11")
        ] * 3
        assert (rows[0]["host"], rows[0]["rank"], rows[0]["seconds"]) == ("node1", 4, 3.0)

    def test_the_number_of_attempts_can_be_chosen(self, open_todo, todo_file):
        tm = open_todo(todo_file, max_attempts=1)
        tm.start_task(1)
        assert tm.fail_attempt(1, "out of memory") is False
        assert "took its worker down once" in errors(tm, 1)

    def test_releasing_a_task_uses_up_no_attempt(self, tm):
        for _ in range(5):
            tm.start_task(1)
            tm.release_tasks([1], "time limit")
        assert (tm.crashes(1), statuses(tm)[1], attempts(tm, 1)) == (0, None, [])

    def test_a_finished_task_is_not_released(self, tm):
        tm.save_result(make_result(tm.get_task()))
        tm.release_tasks([1], "too late")
        assert statuses(tm)[1] == STATUS.OK

    def test_a_finished_task_stays_finished_when_its_worker_dies(self, tm):
        tm.save_result(make_result(tm.get_task()))
        assert tm.fail_attempt(1, "died later") is False
        assert statuses(tm)[1] == STATUS.OK

    def test_the_death_of_the_process_is_no_evidence_against_what_it_had_started(
        self, todo_file, in_memory, open_todo
    ):
        for _ in range(5):
            die_with(todo_file, in_memory, 1, 2)
            with open_todo(todo_file) as tm:
                assert (tm.crashes(1), tm.crashes(2)) == (0, 0)
                assert (statuses(tm)[1], statuses(tm)[2]) == (None, None)
                assert tm.crash_candidates() == {1, 2}
        with open_todo(todo_file) as tm:
            assert tm.crash_candidates() == set()

    def test_tasks_that_do_not_match_the_cleanup_stay_as_they_are(
        self, todo_file, in_memory, open_todo
    ):
        die_with(todo_file, in_memory, 1, 2)
        tm = open_todo(todo_file, cleanup_constraints={"camera": 2})
        assert (statuses(tm)[1], statuses(tm)[2]) == (STATUS.STARTED, None)
        assert tm.crash_candidates() == {2}

    def test_a_task_left_running_by_an_orderly_close_is_no_crash_candidate(
        self, todo_file, open_todo
    ):
        with open_todo(todo_file) as tm:
            tm.start_task(1)
        with open_todo(todo_file) as tm:
            assert (statuses(tm)[1], tm.crash_candidates()) == (None, set())

    def test_a_task_that_the_user_marked_as_started_is_no_crash_candidate(
        self, todo_file, open_todo
    ):
        for _ in range(4):
            with open_todo(todo_file) as tm:
                assert (statuses(tm)[1], tm.crash_candidates()) == (None, set())
                tm.cursor.execute("UPDATE todolist SET status = 6 WHERE priority = 1")

    def test_a_task_that_another_program_marked_as_started_is_no_crash_candidate(
        self, todo_file, open_todo
    ):
        for _ in range(4):  # never opened by us at first, then closed in good order
            execute(todo_file, "UPDATE todolist SET status = 6 WHERE priority = 1")
            with open_todo(todo_file) as tm:
                assert (statuses(tm)[1], tm.crash_candidates()) == (None, set())

    def test_a_started_task_in_a_file_of_another_program_is_no_crash_candidate(
        self, tmp_path, open_todo
    ):
        path = tmp_path / "other.sqlite"
        columns = (
            "priority INTEGER PRIMARY KEY, starid, sector, datasource, camera, ccd, cadence, "
            "method, tmag, status"
        )
        execute(path, f"CREATE TABLE todolist ({columns}, cbv_area)")
        execute(path, "INSERT INTO todolist VALUES (1, 5, 1, 'ffi', 1, 1, 1800, NULL, 9.0, 6, 111)")
        tm = open_todo(path, max_attempts=1)
        assert (statuses(tm)[1], tm.crash_candidates()) == (None, set())

    def test_a_candidate_is_not_forgotten_by_orderly_openings_that_do_not_match_it(
        self, todo_file, in_memory, open_todo
    ):
        die_with(todo_file, in_memory, 1, 2)
        for _ in range(3):
            with open_todo(todo_file, cleanup_constraints=["0"]) as tm:
                assert (statuses(tm)[1], tm.crash_candidates()) == (STATUS.STARTED, set())
                tm.reset_tasks([2])
                tm.start_task(2)  # is excused, by the reset and this orderly close
        tm = open_todo(todo_file)
        assert tm.crash_candidates() == {1}

    def test_an_orderly_close_excuses_only_what_ran_then(self, todo_file, in_memory, open_todo):
        with open_todo(todo_file) as tm:
            tm.start_task(1)
        die_with(todo_file, in_memory, 1)
        assert open_todo(todo_file).crash_candidates() == {1}

    def test_a_task_set_aside_stays_so_when_the_file_is_opened_again(self, todo_file, open_todo):
        with open_todo(todo_file, max_attempts=1) as tm:
            tm.start_tasks([1, 2])
            tm.fail_attempt(1, "signal 9")
            tm.save_result(make_result({"priority": 2}, STATUS.ERROR, ["x"]))
        with open_todo(todo_file, max_attempts=1) as tm:
            assert [statuses(tm)[p] for p in (1, 2)] == [STATUS.ERROR, None]
        with open_todo(todo_file, max_attempts=2) as tm:  # who allows more attempts gets them
            assert statuses(tm)[1] is None

    @pytest.mark.parametrize("how", ["reset", "overwrite"])
    def test_a_reset_gives_a_task_that_was_set_aside_all_its_attempts_back(
        self, todo_file, open_todo, how
    ):
        with open_todo(todo_file, max_attempts=1) as tm:
            tm.start_task(1)
            tm.fail_attempt(1, "signal 9")
            if how == "reset":
                tm.reset_tasks([1])
                assert tm.get_task()["priority"] == 1
        with open_todo(todo_file, max_attempts=1, overwrite=how == "overwrite") as tm:
            assert (statuses(tm)[1], tm.crashes(1), len(attempts(tm, 1))) == (None, 0, 1)


class TestAttempts:
    def test_a_result_may_tell_how_it_was_made(self, tm):
        run = tm.begin_run(command="photometry run", constraints={"camera": 1}, workers=3)
        attempt = {
            "host": "node1",
            "rank": 2,
            "start": 1.7e9,
            "end": 1.7e9 + 4,
            "seconds": 4.0,
            "peak_memory": 1e8,
        }
        attempt |= {"error_class": "ValueError", "error_text": "no pixels"}
        tm.save_result(make_result(tm.get_task(), STATUS.ERROR) | {"attempt": attempt})
        assert attempts(tm, 1) == [
            attempt | {"priority": 1, "run": run, "status": STATUS.ERROR, "died": 0}
        ]

    def test_each_attempt_is_kept(self, tm):
        for start in (1.0, 2.0):
            tm.save_result(
                make_result({"priority": 1}, STATUS.ERROR) | {"attempt": {"start": start}}
            )
        assert [row["start"] for row in attempts(tm, 1)] == [1.0, 2.0]

    def test_a_result_that_tells_nothing_leaves_no_attempt(self, tm):
        tm.save_result(make_result(tm.get_task()))
        assert attempts(tm, 1) == []


class TestRuns:
    def test_a_run_is_recorded_with_its_begin_and_end(self, open_todo, todo_file):
        with open_todo(todo_file) as tm:
            first = tm.begin_run(command="photometry run", settings={"mask": "own"}, workers=3)
            tm.end_run(exit_code=0, reason="all done")
        with open_todo(todo_file) as tm:
            second = tm.begin_run()
        assert (first, second) == (1, 2)
        columns = "command, settings, info, exit_code, reason, end IS NOT NULL"
        one, two = query(todo_file, f"SELECT {columns} FROM runs ORDER BY run")
        assert (json.loads(one[1]), json.loads(one[2])) == ({"mask": "own"}, {"workers": 3})
        assert (one[0], *one[3:]) == ("photometry run", 0, "all done", 1)
        assert two[3:] == (None, None, 0)  # never ended


class TestRetries:
    def test_a_retry_may_change_method_and_settings(self, tm, todo_file):
        tm.save_result(make_result(tm.get_task(), STATUS.ERROR))
        tm.retry_tasks([1], method="psf", settings={"threshold": 0.9})
        assert tm.get_task()["method"] == "psf"
        assert (tm.overrides(1), tm.overrides(2)) == ({"threshold": 0.9}, {})
        tm.reset_tasks([1])
        assert tm.overrides(1) == {}

    def test_a_retry_does_not_excuse_deaths(self, tm):
        tm.start_task(1)
        tm.fail_attempt(1, "signal 9")
        tm.retry_tasks([1])
        assert tm.crashes(1) == 1
