"""One log file for all targets."""

import json

from photometry.scheduler.tasklog import TaskLog, read_log


def result(priority, starid, message):
    return {
        "priority": priority,
        "starid": starid,
        "attempt": {"rank": 1},
        "log": [(1.5e9, "INFO", "photometry.x", message)],
    }


def test_lines_of_one_target_are_found_among_others(tmp_path):
    with TaskLog(tmp_path / "log") as log:
        log.write([result(1, 12, "aperture touches the edge"), result(2, 123, "all well")])
    assert [record["message"] for record in read_log(tmp_path / "log", starid=12)] == [
        "aperture touches the edge"
    ]
    assert len(list(read_log(tmp_path / "log"))) == 2


def test_log_lines_leave_the_result(tmp_path):
    one = result(1, 12, "x")
    with TaskLog(tmp_path / "log") as log:
        log.write([one])
    assert "log" not in one


def test_half_a_line_of_a_killed_master_harms_nothing(tmp_path):
    path = tmp_path / "log"
    with TaskLog(path) as log:
        log.write([result(1, 12, "first run")])
    with open(path, "a") as file:
        file.write(json.dumps({"starid": 12, "message": "torn"})[:-5])
    with TaskLog(path) as log:
        log.write([result(1, 12, "second run")])
    assert [record["message"] for record in read_log(path, starid=12)] == [
        "first run",
        "second run",
    ]


def test_messages_with_newlines_and_quotes_stay_one_record(tmp_path):
    with TaskLog(tmp_path / "log") as log:
        log.write([result(1, 12, 'two\nlines and "quotes"')])
    (record,) = read_log(tmp_path / "log", starid=12)
    assert record["message"] == 'two\nlines and "quotes"'
