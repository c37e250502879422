"""``photometry retry`` and ``photometry reset``: which tasks they choose, and what becomes of them."""

import json

import pytest
from click.testing import CliRunner
from todo_helpers import die, make_result, query

from photometry import STATUS, TaskManager
from photometry.cli import cli


@pytest.fixture
def failed_file(todo_file):
    """1 OK, 2 and 3 ERROR, 4 WARNING, 5 set aside, 6 ERROR by what the attempt says, the others to do."""
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
        (["--starid", 999], set()),
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
    assert "1 tasks would be reset" in invoke(
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
        "threshold=0.9",
        "--set",
        "mask=own",
    )
    with TaskManager(failed_file) as tm:
        assert tm.get_task()["method"] == "psf"
        assert tm.overrides(2) == {"threshold": 0.9, "mask": "own"}


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
            ["retry", "--status", "warning", "--starid", 999],
            "tasks with status WARNING that were not set aside",
        ),
        (["reset", "--starid", 999], "all tasks that were touched"),
        (["reset", "--starid", 999, "--status", "OK"], "tasks with status OK"),
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
