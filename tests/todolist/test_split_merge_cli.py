"""``photometry todo split`` and ``merge``: what a user types, sees, and finds on disk."""

import json
import sqlite3
import subprocess
import sys

import pytest

from photometry import STATUS, TaskManager
from photometry.taskmanager import create_todo

N = 24  # targets


def todo(*args):
    command = [sys.executable, "-m", "photometry", "todo", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def row(number):
    """A target; cameras 1 to 4 in turn."""
    place = {
        "sector": 1,
        "camera": number % 4 + 1,
        "ccd": 1,
        "cadence": 1800,
        "datasource": "ffi",
        "cbv_area": 111,
    }
    return {"starid": 1000 + number, "tmag": 5 + number / 2, **place}


def rows_of(path, table="todolist"):
    connection = sqlite3.connect(path)
    try:
        return sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path):
    create_todo(tmp_path / "todo.sqlite", [row(number) for number in range(N)])
    return tmp_path


def work(path, status):
    """Do all tasks of a part, each with an attempt on record."""
    with TaskManager(path) as tm:
        tm.begin_run(command=path.name)
        for task in tm.get_tasks(N):
            details = {
                "filepath_lightcurve": f"{task['starid']}.fits.gz",
                "mean_flux": float(task["starid"]),
            }
            result = {
                **task,
                "status": status,
                "time": 0.1,
                "details": details,
                "attempt": {"start": task["priority"]},
            }
            tm.save_result(result)


def test_parts_are_worked_on_apart_and_come_back_with_all_that_was_done(folder):
    before = rows_of(folder / "todo.sqlite")
    done = todo("split", folder, "--by", "count", "--parts", 3)
    parts = sorted(folder.glob("todo-*.sqlite"))
    assert (done.returncode, done.stderr, len(parts)) == (0, "", 3)
    assert done.stdout.splitlines() == [f"{path}: {N // 3} targets" for path in parts]
    for path, status in zip(parts, (STATUS.OK, STATUS.WARNING, STATUS.ERROR), strict=True):
        work(path, status)
    done = todo("merge", folder / "merged.sqlite", *parts)
    assert (done.returncode, done.stdout) == (
        0,
        f"{folder / 'merged.sqlite'}: {N} targets from 3 files\n",
    )
    for table in ("diagnostics", "todolist"):
        assert rows_of(folder / "merged.sqlite", table) == sorted(
            (r for p in parts for r in rows_of(p, table)), key=repr
        )
    commands = [record[1] for record in rows_of(folder / "merged.sqlite", "runs")]
    assert commands == [path.name for path in parts]
    assert len(rows_of(folder / "merged.sqlite", "attempts")) == N
    assert rows_of(folder / "todo.sqlite") == before


def test_by_ccd_is_the_default_and_json_names_the_parts(folder):
    (folder / "parts").mkdir()
    summary = json.loads(todo("split", folder, "--output", folder / "parts", "--json").stdout)
    names = [f"{folder}/parts/todo-s001-{camera}-1.sqlite" for camera in (1, 2, 3, 4)]
    assert summary["parts"] == [{"todo_file": name, "targets": N // 4} for name in names]
    merged = json.loads(todo("merge", folder / "all.sqlite", *names, "--json").stdout)
    assert merged == {"todo_file": str(folder / "all.sqlite"), "targets": N, "parts": 4}


def test_what_cannot_be_done_is_one_message_and_exit_code_2(folder):
    todo("split", folder, "--by", "count", "--parts", 2)
    first, second = (folder / f"todo-{number}.sqlite" for number in (1, 2))
    with TaskManager(first) as tm:
        tm.start_task(tm.get_task()["priority"])
    (folder / "text").write_text("no database")
    for args, message in {
        ("split", folder, "--by", "count"): "--by count needs --parts N",
        ("split", folder, "--parts", 3): "--parts goes with --by count only",
        ("split", folder, "--by", "count", "--parts", 2): "todo-1.sqlite: exists already",
        ("split", folder, "--output", folder / "nowhere"): "nowhere: no such folder",
        ("split", folder / "text"): "text: not a SQLite file",
        ("split", folder / "nowhere"): "nowhere: no such TODO-file",
        ("merge", folder / "new.sqlite"): "missing argument 'PART...'",
        ("merge", folder, first): "is a folder: say the name of the file",
        ("merge", folder / "nowhere" / "new.sqlite", first): "there is no folder",
        ("merge", second, first): "todo-2.sqlite: exists already",
        ("merge", folder / "new.sqlite", first, first): "todo-1.sqlite: named 2 times",
        ("merge", folder / "new.sqlite", first, folder): "same target",
    }.items():
        done = todo(*args)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    assert not (folder / "new.sqlite").exists()


def test_a_part_in_use_is_not_merged(folder):
    todo("split", folder, "--by", "count", "--parts", 2)
    with TaskManager(folder / "todo-1.sqlite"):
        done = todo(
            "merge", folder / "new.sqlite", folder / "todo-1.sqlite", folder / "todo-2.sqlite"
        )
    assert done.returncode == 2
    assert "todo-1.sqlite: in use by process" in done.stderr
