"""What `photometry status` makes of a summary."""

import json
import os
import platform
import subprocess
import sys

import pytest
from running import environment

from photometry.errors import WrongUseError
from photometry.processes import ProcessId
from photometry.report.status import counts, link_summary, print_status, read_summary, state
from photometry.scheduler.reporting import timestamp

SUMMARY = {
    "numtasks": 100,
    "tasks_run": 41,
    "OK": 30,
    "WARNING": 10,
    "ERROR": 1,
    "STARTED": 2,
    "run": 3,
    "host": "node1",
    "version": "0.1.0",
    "started": "2026-01-01T00:00:00Z",
    "updated": "2026-01-01T00:10:00Z",
    "rate": 12.5,
    "mean_elaptime": 0.3,
    "workers": 8,
    "expected_end": "2026-01-01T00:20:00Z",
    "failures": [
        {
            "error_class": "BadInputError",
            "message": "PATH: truncated",
            "where": "",
            "count": 1,
            "example": "TIC 7",
            "example_text": "a[b]: truncated",
        }
    ],
}
UPDATED = 1767226200.0  # 2026-01-01T00:10:00Z


def test_summary_is_found_by_file_and_by_folder(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    assert read_summary(tmp_path) == read_summary(tmp_path / "summary.json") == SUMMARY


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', "\x00\xff"])
def test_what_is_no_summary_is_refused_with_a_message(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(WrongUseError, match=r"summary.json: is not a summary"):
        read_summary(tmp_path)


def test_a_folder_without_summary_is_refused_with_what_is_expected(tmp_path):
    with pytest.raises(WrongUseError, match="expected a folder that"):
        read_summary(tmp_path)


def test_tasks_without_status_are_to_do():
    assert counts(SUMMARY) == {"OK": 30, "ERROR": 1, "WARNING": 10, "STARTED": 2, "to do": 57}


def test_a_silent_run_is_said_to_be_silent():
    assert state(SUMMARY, now=UPDATED + 5) == "running"
    assert state(SUMMARY, now=UPDATED + 3600).startswith("no news for 1:00:00")
    assert state(
        {**SUMMARY, "ended": "2026-01-01T00:30:00Z", "reason": "done"}, now=UPDATED + 9e9
    ).startswith("ended 2026-01-01")


def test_a_master_that_is_gone_is_said_to_have_died():
    gone = {**SUMMARY, "host": platform.node(), "pid": 2**22 + 1}
    assert state(gone, now=UPDATED + 5).startswith("died, or could not write its last word")
    alive = {
        **SUMMARY,
        "host": platform.node(),
        "pid": os.getpid(),
        "started": "2999-01-01T00:00:00Z",
    }
    assert state(alive, now=UPDATED + 5) == "running"
    elsewhere = {**SUMMARY, "host": "node17", "pid": 2**22 + 1}
    assert state(elsewhere, now=UPDATED + 5) == "running"


def test_a_number_that_was_given_to_another_process_is_not_the_master():
    process = ProcessId.of()
    ours = {
        **SUMMARY,
        "host": platform.node(),
        "pid": process.pid,
        "process_started": process.started,
        "boot": process.boot,
    }
    assert state(ours, now=UPDATED + 5) == "running"
    assert state({**ours, "process_started": process.started - 1}).startswith("died")
    assert state({**ours, "boot": "before"}).startswith("died")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numtasks": "x"}, "numtasks='x': expected a whole number"),
        ({"OK": None}, "OK=None: expected a whole number"),
        ({"rate": "fast"}, "rate='fast': expected a number"),
        ({"updated": "noon"}, "updated='noon': expected a time"),
        ({"failures": [5]}, "5 is no group"),
        ({"host": 5}, "host=5: expected text"),
    ],
)
def test_a_summary_with_odd_values_is_refused_by_name(tmp_path, changes, message):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY | changes))
    with pytest.raises(WrongUseError, match=message):
        read_summary(tmp_path)


def test_a_summary_that_may_not_be_read_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "summary.json").chmod(0)
    with pytest.raises(WrongUseError, match="cannot be read"):
        read_summary(tmp_path)


def test_a_run_that_has_died_has_no_expected_end(capsys):
    print_status({**SUMMARY, "host": platform.node(), "pid": 2**22 + 1})
    assert "expected end" not in capsys.readouterr().out
    print_status({**SUMMARY, "host": platform.node(), "pid": os.getpid()})
    assert "expected end" in capsys.readouterr().out


def test_each_cause_of_failures_and_warnings_takes_two_lines_that_fit(capsys):
    long = "star PATH: " + "truncated, " * 30
    groups = [
        {"error_class": "E", "message": long, "where": "a.py:1 in f", "count": 3,
         "example": "TIC 7", "example_text": long + "5"},
        {"error_class": "", "message": "short", "where": "", "count": 1,
         "example": "KIC 8", "example_text": "short"},
    ]  # fmt: skip
    print_status({**SUMMARY, "failures": groups, "warnings": groups[1:]})
    lines = capsys.readouterr().out.splitlines()
    causes = lines[lines.index("failures by cause") + 1 :]
    assert len(causes) == 4 + 1 + 2
    assert causes[0].startswith("      3 × E: star PATH")
    assert causes[1].startswith("          e.g. TIC 7")
    assert causes[2:4] == ["      1 × short", "          e.g. KIC 8"]
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if line != line.rstrip()]


def test_status_names_counts_speed_and_causes(capsys):
    print_status(SUMMARY)
    shown = capsys.readouterr().out
    for text in (
        "run 3" if "run 3" in shown else "3 on node1",
        "30 OK",
        "57 to do of 100",
        "12.5 targets/s",
        "1 × BadInputError",
        "a[b]: truncated",
    ):
        assert text in shown


def test_the_summary_is_linked_into_other_folders_and_follows_the_last_run(tmp_path):
    for name in ("in", "out1", "out2"):
        (tmp_path / name).mkdir()
    for name in ("out1", "out2"):
        (tmp_path / name / "summary.json").write_text(json.dumps({**SUMMARY, "run": name}))
        link_summary(tmp_path / name / "summary.json", [tmp_path / "in", tmp_path / name])
        assert read_summary(tmp_path / "in")["run"] == name
    assert not os.path.isabs(os.readlink(tmp_path / "in" / "summary.json"))


@pytest.mark.slow
def test_watch_shows_the_run_anew_until_it_has_ended_and_ends_with_the_next_command(tmp_path):
    running = {**SUMMARY, "host": platform.node(), "pid": os.getpid(), "updated": timestamp()}
    running["todo_file"] = str(tmp_path / "todo.sqlite")
    (tmp_path / "summary.json").write_text(json.dumps(running))
    words = [sys.executable, "-m", "photometry", "status", tmp_path, "--watch"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        shown = [process.stdout.readline() for _ in range(3)]
        assert "running" in shown[1]
        ended = {**running, "ended": timestamp(), "reason": "done", "exit_code": 1, "OK": 87}
        (tmp_path / "new").write_text(json.dumps({**ended, "STARTED": 0}))
        os.replace(tmp_path / "new", tmp_path / "summary.json")
        rest = process.communicate(timeout=600)[0].splitlines()
    finally:
        process.kill()
    assert process.returncode == 0
    assert any("87 OK" in line for line in rest)
    assert rest[-1] == f"next: photometry status {tmp_path} --failed"


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"ended": None, "pid": 2**22 + 1, "host": platform.node()}, "run DIR"),
        ({"ended": "x", "exit_code": 3}, "run DIR"),
        ({"ended": "x", "exit_code": 1}, "status DIR --failed"),
        ({"ended": "x", "exit_code": 0}, "status DIR --status WARNING"),
        ({"ended": "x", "exit_code": 0, "WARNING": 0}, "verify DIR"),
        ({"todo_file": "/elsewhere/my todo.sqlite"}, "run '/elsewhere/my todo.sqlite'"),
    ],
)
def test_the_last_line_is_the_next_command_to_type(tmp_path, monkeypatch, capsys, changes, command):
    monkeypatch.chdir(tmp_path)
    summary = {**SUMMARY, "todo_file": str(tmp_path / "DIR" / "todo.sqlite"), "pid": 2**22 + 1}
    print_status({**summary, "host": platform.node(), **changes})
    assert capsys.readouterr().out.splitlines()[-1] == f"next: photometry {command}"
