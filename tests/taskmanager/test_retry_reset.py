"""``photometry retry`` and ``reset``: which tasks they choose, and what becomes of them."""

import json

import pytest
from click.testing import CliRunner
from todo_helpers import die, make_result, query

from photometry import STATUS, TaskManager
from photometry.cli import cli


@pytest.fixture
def failed_file(todo_file):
    """1 OK, 2 and 3 ERROR, 4 WARNING, 5 set aside, 6 ERROR by what the attempt says, the others to
    do.
    """
    with TaskManager(todo_file) as tm:
        tasks = tm.get_tasks(6)
        tm.save_result(make_result(tasks[0]))
        tm.save_result(make_result(tasks[1], STATUS.ERROR, ["ValueError: no pixels"]))
        tm.save_result(make_result(tasks[2], STATUS.ERROR, ["OSError: truncated FILE 3"]))
        tm.save_result(make_result(tasks[3], STATUS.WARNING, ["ValueError: minimum mask"]))
        for _ in range(3):
            tm.start_task(5)
            tm.fail_attempt(5, "signal 11")
        attempt = {"start": 1.0, "error_class": "TargetTimeoutError"}
        tm.save_result(make_result(tasks[5], STATUS.ERROR, ["stopped"]) | {"attempt": attempt})
    return todo_file


def invoke(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def to_do(path):
    return {
        row[0]
        for row in query(
            path, "SELECT priority FROM todolist WHERE status IS NULL AND priority <= 6"
        )
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {2, 3, 6}),
        (["--status", "WARNING"], {4}),
        (["--status", "warning", "--status", "error"], {2, 3, 4, 6}),
        (["--error-class", "ValueError"], {2}),
        (["--error-class", "TargetTimeoutError"], {6}),
        (["--message", "truncated file"], {3}),
        (["--camera", "2-3"], {2, 3, 6}),
        (["--tmag-max", 5.6], {2}),
        (["--starid", 100], set()),
    ],
)
def test_retry_puts_back_what_was_asked_for_and_leaves_alone_what_was_set_aside(
    failed_file, options, expected
):
    invoke("retry", failed_file, *options)
    assert to_do(failed_file) == expected


def test_a_dry_run_shows_the_same_tasks_and_changes_nothing(failed_file):
    before = failed_file.read_bytes()
    shown = json.loads(invoke("retry", failed_file, "--dry-run", "--json"))
    assert (shown["dry_run"], [task["priority"] for task in shown["tasks"]]) == (True, [2, 3, 6])
    assert "1 task would be reset" in invoke(
        "reset", failed_file.parent, "--priority", 5, "--dry-run"
    )
    assert failed_file.read_bytes() == before
    assert [path.name for path in failed_file.parent.iterdir()] == ["todo.sqlite"]


def test_retry_may_change_method_and_settings(failed_file):
    invoke(
        "retry",
        failed_file,
        "--priority",
        2,
        "--method",
        "psf",
        "--set",
        "aperture.threshold=0.9",
        "--set",
        "aperture.mask=own",
        "--set",
        "task_timeout=600",
    )
    with TaskManager(failed_file) as tm:
        task = tm.get_task()
        assert task["method"] == "psf"
        assert task["settings"] == {"aperture": {"threshold": 0.9, "mask": "own"}}
        assert tm.limits(task).seconds == 600


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "foo"], "method='foo'"),
        (["--set", "foo=1"], "unknown setting 'foo'"),
        (["--set", "aperture.mask=round"], "aperture.mask='round'"),
        (["--set", "task_timeout=-5"], "task_timeout=-5"),
        (["--starid", "999"], "has no target that matches --starid 999"),
        (["--priority", "5-1"], "expected the smaller number first"),
        (["--tmag-min", "12", "--tmag-max", "5"], "tmag_min=12.0: expected at most tmag_max=5.0"),
    ],
)
def test_what_no_task_could_be_done_with_is_refused_before_a_result_is_lost(
    failed_file, words, message
):
    before = (
        query(failed_file, "SELECT * FROM todolist"),
        query(failed_file, "SELECT * FROM diagnostics"),
    )
    result = CliRunner().invoke(cli, ["retry", str(failed_file), "--status", "WARNING", *words])
    assert result.exit_code != 0
    assert message in f"{result.output} {result.exception}"
    after = (
        query(failed_file, "SELECT * FROM todolist"),
        query(failed_file, "SELECT * FROM diagnostics"),
    )
    assert before == after


@pytest.mark.parametrize("how", ["reset", "overwrite"])
def test_reset_takes_back_the_method_that_a_retry_chose(todo_file, how):
    with TaskManager(todo_file) as tm:
        tm.cursor.execute("UPDATE todolist SET method = 'halo' WHERE priority = 1")
        tm.save_results([make_result(task, STATUS.ERROR) for task in tm.get_tasks(2)])
    for method in ("psf", "aperture"):
        invoke("retry", todo_file, "--method", method)
        with TaskManager(todo_file) as tm:
            assert [task["method"] for task in tm.get_tasks(2)] == [method] * 2
            tm.save_results([make_result(task, STATUS.ERROR) for task in tm.get_tasks(2)])
    if how == "reset":
        invoke("retry", todo_file, "--method", "linpsf")  # they are to do, and reset all the same
        assert "2 tasks reset" in invoke("reset", todo_file, "--camera", "1,2")
    with TaskManager(todo_file, overwrite=how == "overwrite") as tm:
        assert [task["method"] for task in tm.get_tasks(2)] == ["halo", None]


def test_what_failed_keeps_its_diagnostics_until_the_new_result(failed_file):
    invoke("retry", failed_file, "--status", "ERROR", "--status", "WARNING")
    rows = query(failed_file, "SELECT priority, errors FROM diagnostics WHERE priority < 5")
    assert rows == [(1, None), (2, "ValueError: no pixels"), (3, "OSError: truncated FILE 3")]


def test_reset_brings_back_what_was_set_aside(failed_file):
    assert "took its worker down 3 times" in invoke(
        "reset", failed_file, "--message", "took its worker down"
    )
    assert to_do(failed_file) == {5}
    with TaskManager(failed_file, cleanup_constraints=["0"]) as tm:
        assert tm.crashes(5) == 0


def test_reset_all_resets_all(failed_file):
    invoke("reset", failed_file, "--all")
    assert to_do(failed_file) == {1, 2, 3, 4, 5, 6}
    assert query(failed_file, "SELECT COUNT(*) FROM diagnostics") == [(0,)]


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("options", "looked_at"),
    [
        (
            ["retry", "--error-class", "NoSuchError"],
            "tasks with status ERROR that were not set aside",
        ),
        (
            ["retry", "--status", "warning", "--starid", 100],
            "tasks with status WARNING that were not set aside",
        ),
        (["reset", "--starid", 108], "all tasks that were touched"),
        (["reset", "--starid", 101, "--status", "OK"], "tasks with status OK"),
    ],
)
def test_a_selection_that_matches_nothing_says_so(failed_file, options, looked_at, dry_run):
    output = invoke(options[0], failed_file, *options[1:], *dry_run)
    assert output.startswith("no task matches, nothing ")
    assert output.endswith(f"; looked at {looked_at}\n")
    assert to_do(failed_file) == set()


def test_reset_without_saying_what_is_refused(failed_file):
    result = CliRunner().invoke(cli, ["reset", str(failed_file)])
    assert (result.exit_code, "say which tasks" in result.output) == (2, True)
    assert to_do(failed_file) == set()


def test_a_status_that_there_is_not_is_refused(failed_file):
    with pytest.raises(ValueError, match=r"status='broken': expected one of UNKNOWN, OK"):
        CliRunner().invoke(
            cli, ["retry", str(failed_file), "--status", "broken"], catch_exceptions=False
        )


def test_retry_keeps_in_mind_which_task_was_running_when_the_process_died(todo_file):
    tm = TaskManager(todo_file)
    tm.start_task(1)
    die(tm)
    invoke("retry", todo_file)
    with TaskManager(todo_file) as tm:
        assert tm.crash_candidates() == {1}
