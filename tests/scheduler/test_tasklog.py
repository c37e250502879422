"""One log file for all targets."""

import contextlib
import json

import pytest

from photometry.errors import WrongUseError
from photometry.scheduler.reporting import TaskLog, read_log


class Source:
    """As much of a source as a log needs."""

    id = staticmethod(lambda task: task["priority"])
    label = staticmethod(lambda task: f"TIC {task['starid']}")


def logged(priority, starid, message):
    return {"priority": priority, "starid": starid}, [(1.5e9, "INFO", "photometry.x", message)]


def test_lines_of_one_target_are_found_among_others(tmp_path):
    with contextlib.closing(TaskLog(tmp_path / "log")) as log:
        log.write([logged(1, 12, "aperture touches the edge"), logged(2, 123, "all well")], Source)
    assert [record["message"] for record in read_log(tmp_path / "log", name=12)] == [
        "aperture touches the edge"
    ]
    assert len(list(read_log(tmp_path / "log"))) == 2


def test_a_log_is_not_written_through_a_symbolic_link(tmp_path):
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WrongUseError, match="symbolic link"):
        TaskLog(tmp_path / "log")
    assert not (tmp_path / "elsewhere").exists()


def test_half_a_line_of_a_killed_master_harms_nothing(tmp_path):
    path = tmp_path / "log"
    with contextlib.closing(TaskLog(path)) as log:
        log.write([logged(1, 12, "first run")], Source)
    with open(path, "a") as file:
        file.write(json.dumps({"label": "TIC 12", "message": "torn"})[:-5])
    with contextlib.closing(TaskLog(path)) as log:
        log.write([logged(1, 12, "second run")], Source)
    assert [record["message"] for record in read_log(path, name=12)] == [
        "first run",
        "second run",
    ]


def test_messages_with_newlines_and_quotes_stay_one_record(tmp_path):
    with contextlib.closing(TaskLog(tmp_path / "log")) as log:
        log.write([logged(1, 12, 'two\nlines and "quotes"')], Source)
    (record,) = read_log(tmp_path / "log", name=12)
    assert record["message"] == 'two\nlines and "quotes"'
