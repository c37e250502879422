"""Splitting a TODO-file for job arrays, and merging the parts."""

import subprocess
import sys

import pytest
from todo_helpers import make_result, make_row, make_rows, query, run_all

from photometry import STATUS, TaskManager
from photometry.errors import TodoFileError
from photometry.taskmanager import create_todo, merge_todos, split_todo

TABLES = ("todolist", "diagnostics", "photometry_skipped", "attempts", "overrides")


def content(path, *tables):
    return {
        table: sorted(query(path, f"SELECT * FROM {table}"), key=repr) for table in tables or TABLES
    }


@pytest.fixture
def used_file(tmp_path):
    path = tmp_path / "todo.sqlite"
    create_todo(path, make_rows(20))
    with TaskManager(path) as tm:
        tm.begin_run(command="first")
        for task in tm.get_tasks(6):
            attempt = {"start": 100.0 + task["priority"], "host": "node1"}
            skips = [task["starid"] + 8] if task["priority"] == 1 else []
            result = make_result(
                task, filepath_lightcurve=f"{task['starid']}.fits.gz", skip_targets=skips
            )
            tm.save_result(result | {"attempt": attempt})
        tm.retry_tasks([6], settings={"a": 1})
    return path


def test_parts_by_ccd_together_are_the_whole(used_file, tmp_path):
    before = used_file.read_bytes()
    paths = split_todo(used_file)
    assert [path.name for path in paths] == [
        f"todo-s001-{camera}-1.sqlite" for camera in (1, 2, 3, 4)
    ]
    assert {row[0] for row in query(paths[1], "SELECT camera FROM todolist")} == {2}
    assert merge_todos(paths, tmp_path / "merged.sqlite") == 20
    assert content(tmp_path / "merged.sqlite") == content(used_file)
    assert used_file.read_bytes() == before


def test_parts_by_count_are_of_nearly_the_same_size_and_each_has_bright_and_faint_targets(tmp_path):
    create_todo(tmp_path / "todo.sqlite", make_rows(100))
    paths = split_todo(tmp_path, by="count", parts=3)
    magnitudes = [[row[0] for row in query(path, "SELECT tmag FROM todolist")] for path in paths]
    assert [len(part) for part in magnitudes] == [34, 33, 33]
    assert max(map(min, magnitudes)) < min(map(max, magnitudes))


def test_targets_of_one_target_pixel_file_stay_together(tmp_path):
    rows = [make_row(i, datasource="tpf") for i in range(1, 9)]
    rows += [make_row(100 + i, datasource=f"tpf:{i}") for i in range(1, 9)]
    create_todo(tmp_path / "todo.sqlite", rows)
    for path in split_todo(tmp_path, by="count", parts=4):
        stars = query(path, "SELECT starid, datasource FROM todolist ORDER BY starid")
        assert {source for _, source in stars[2:]} == {f"tpf:{starid}" for starid, _ in stars[:2]}


def test_parts_that_were_worked_on_come_back_with_results_and_runs(tmp_path):
    create_todo(tmp_path / "todo.sqlite", make_rows(10))
    for path in (parts := split_todo(tmp_path, by="count", parts=2)):
        with TaskManager(path) as tm:
            run = tm.begin_run(command=path.name)
            tm.save_result(make_result(tm.get_task(), STATUS.WARNING) | {"attempt": {"start": 1.0}})
            assert run == 1
            run_all(tm)
    merge_todos(parts, tmp_path / "merged.sqlite")
    with TaskManager(tmp_path / "merged.sqlite") as tm:
        assert tm.get_number_tasks() == 0
        assert tm.cursor.execute("SELECT COUNT(*) FROM diagnostics").fetchone()[0] == 10
        sql = "SELECT command, COUNT(*) FROM attempts JOIN runs USING (run) GROUP BY run"
        assert [tuple(row) for row in tm.cursor.execute(sql)] == [(path.name, 1) for path in parts]


def test_files_with_the_same_priorities_are_numbered_anew_brightest_first(tmp_path):
    for name, sector in (("a", 1), ("b", 2)):
        create_todo(tmp_path / name, [row | {"sector": sector} for row in make_rows(3)])
        with TaskManager(tmp_path / name) as tm:
            tm.save_result(make_result({"priority": 2}, mean_flux=float(sector)))
    merge_todos([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    rows = query(
        tmp_path / "merged", "SELECT priority, sector, tmag FROM todolist ORDER BY priority"
    )
    assert rows == [(1, 1, 5.0), (2, 2, 5.0), (3, 1, 5.5), (4, 2, 5.5), (5, 1, 6.0), (6, 2, 6.0)]
    assert query(tmp_path / "merged", "SELECT priority, mean_flux FROM diagnostics") == [
        (3, 1.0),
        (4, 2.0),
    ]


def test_a_target_that_is_there_twice_is_refused(tmp_path):
    for name in "ab":
        create_todo(tmp_path / name, make_rows(3))
    with pytest.raises(TodoFileError, match="2 rows are the same target"):
        merge_todos([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_two_tasks_with_the_same_lightcurve_file_are_refused(tmp_path):
    for name, sector in (("a", 1), ("b", 2)):
        create_todo(tmp_path / name, [make_row(1, sector=sector)])
        with TaskManager(tmp_path / name) as tm:
            tm.save_result(make_result(tm.get_task(), filepath_lightcurve="same.fits.gz"))
    with pytest.raises(TodoFileError, match="two tasks have the same light-curve file"):
        merge_todos([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")


def test_nothing_is_written_over(used_file, tmp_path):
    (part, *_) = split_todo(used_file, tmp_path)
    with TaskManager(part) as tm:
        run_all(tm)
    with pytest.raises(TodoFileError, match=r"todo-s001-1-1.sqlite: exists already"):
        split_todo(used_file, tmp_path)
    with pytest.raises(TodoFileError, match="exists already"):
        merge_todos([used_file], tmp_path / "todo-s001-1-1.sqlite")


def test_a_file_in_use_is_not_split(used_file):
    with TaskManager(used_file), pytest.raises(TodoFileError, match="in use by"):
        split_todo(used_file)


@pytest.mark.parametrize(
    "options", [{"by": "camera"}, {"by": "count"}, {"by": "count", "parts": 0}]
)
def test_ways_to_split_that_there_are_not_are_refused(used_file, options):
    with pytest.raises(ValueError, match=r"(by|parts)=.*: expected"):
        split_todo(used_file, **options)


KILLED = """
import os, sys
import photometry.files
from photometry.taskmanager import merge_todos, split_todo
replace, calls = os.replace, [0]
def replace_or_die(*args):
    calls[0] += 1
    if calls[0] == int(sys.argv[3]):
        os._exit(9)
    replace(*args)
os.replace = replace_or_die
if sys.argv[1] == "split":
    split_todo(sys.argv[2])
else:
    merge_todos([sys.argv[2]], sys.argv[2].replace("todo.sqlite", "merged.sqlite"))
"""


def killed(what, path, n):
    command = [sys.executable, "-c", KILLED, what, str(path), str(n)]
    assert subprocess.run(command).returncode == 9


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_killed_split_leaves_nothing_to_be_removed_by_hand(used_file, tmp_path, n):
    killed("split", used_file, n)
    assert list(tmp_path.glob(".todo-*.part.sqlite"))
    paths = split_todo(used_file)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"todo.sqlite", *(path.name for path in paths)}
    merge_todos(paths, tmp_path / "merged.sqlite")
    assert content(tmp_path / "merged.sqlite") == content(used_file)


def test_a_part_that_a_killed_split_had_made_and_that_was_worked_on_is_not_lost(used_file):
    killed("split", used_file, 2)
    (part,) = used_file.parent.glob("todo-*.sqlite")
    with TaskManager(part) as tm:
        run_all(tm)
    before = part.read_bytes()
    with pytest.raises(TodoFileError, match=r"exists already"):
        split_todo(used_file)
    assert part.read_bytes() == before


def test_a_killed_merge_leaves_nothing_to_be_removed_by_hand(used_file, tmp_path):
    killed("merge", used_file, 1)
    assert list(tmp_path.glob(".merged-*.part.sqlite"))
    merge_todos([used_file], tmp_path / "merged.sqlite")
    assert {path.name for path in tmp_path.iterdir()} == {"todo.sqlite", "merged.sqlite"}


def test_attempts_that_were_saved_together_go_with_their_tasks(tmp_path):
    create_todo(tmp_path / "todo.sqlite", make_rows(8))
    with TaskManager(tmp_path) as tm:
        tm.begin_run()
        times = {"rank": 1, "end": 2.0, "seconds": 1.0, "peak_memory": 5}
        results = [
            make_result(task) | {"attempt": times | {"start": float(task["priority"])}}
            for task in tm.get_tasks(6)
        ]
        tm.save_results([tm.result_packer()(results)])
        assert tm.cursor.execute("SELECT COUNT(*) FROM attempt_blocks").fetchone()[0] == 1
    parts = split_todo(tmp_path)
    assert [len(query(path, "SELECT * FROM attempts")) for path in parts] == [2, 2, 1, 1]
    merge_todos(parts, tmp_path / "merged.sqlite")
    whole = content(tmp_path / "todo.sqlite", "attempts")
    assert content(tmp_path / "merged.sqlite", "attempts") == whole
    assert len(whole["attempts"]) == 6
