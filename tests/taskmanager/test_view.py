"""Looking at a TODO-file: it shows what the next run would see, changes nothing, and predicts what
the run does.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from todo_helpers import die, execute, make_result, make_rows, run_all, statuses

from photometry import STATUS, TaskManager
from photometry.errors import TodoFileError
from photometry.taskmanager import create_todo, open_view, read_results


def everything_in(folder):
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())
    }


@pytest.fixture
def failed_file(todo_file):
    """After a night: 2 ERROR, 1 OK, 1 set aside, the others to do."""
    with TaskManager(todo_file) as tm:
        tasks = tm.get_tasks(3)
        tm.save_result(make_result(tasks[0], STATUS.ERROR, ["ValueError: no pixels"]))
        tm.save_result(make_result(tasks[1], STATUS.ERROR, ["OSError: truncated"]))
        tm.save_result(make_result(tasks[2]))
        for _ in range(3):
            tm.start_task(4)
            tm.fail_attempt(4, "signal 11")
    return todo_file


@pytest.fixture(
    params=["closed", "killed on file", "killed in memory", "older tool", "damaged journal"]
)
def left_file(request, failed_file):
    """A TODO-file in the states in which runs, kills and other programs leave one."""
    how = request.param
    if how == "older tool":
        for sql in (
            "DROP VIEW attempts",
            "DROP TABLE attempt_records",
            "DROP TABLE attempt_blocks",
            "DROP TABLE todo_settings",
            "DROP TABLE overrides",
            "DROP INDEX todolist_identity",
            "ALTER TABLE todolist DROP COLUMN datasource",
            "DROP INDEX todolist_todo",
        ):
            execute(failed_file, sql)
    elif how != "closed":
        tm = TaskManager(failed_file, load_into_memory=how != "killed on file")
        for task in tm.get_tasks(3):
            tm.start_task(task["priority"])
            tm.save_result(make_result(task))
        tm.start_tasks([task["priority"] for task in tm.get_tasks(2)])
        if how == "killed on file":  # with SQLite's log, as a kill leaves it
            kept = failed_file.parent / "kept"
            kept.mkdir()
            for path in failed_file.parent.glob("todo.sqlite*"):
                shutil.copy(path, kept)
            die(tm)
            lock = failed_file.with_name("todo.sqlite.lock").read_text()
            for path in kept.iterdir():
                shutil.copy(path, failed_file.parent)
            shutil.rmtree(kept)
            failed_file.with_name("todo.sqlite.lock").write_text(lock)
            assert failed_file.with_name("todo.sqlite-wal").stat().st_size > 0
        else:
            die(tm)
        if how == "damaged journal":
            (journal,) = failed_file.parent.glob("*.journal-*")
            content = bytearray(journal.read_bytes())
            content[-200] ^= 4
            journal.write_bytes(content)
    return failed_file


def rows_of(conn):
    sql = (
        "SELECT t.priority, status, errors FROM todolist t LEFT JOIN diagnostics USING (priority) "
        "ORDER BY 1"
    )
    return [tuple(row) for row in conn.execute(sql)]


def test_a_view_shows_what_the_next_opening_finds_and_changes_nothing(left_file):
    before = everything_in(left_file.parent)
    with open_view(left_file) as view:
        seen = rows_of(view.conn)
    with TaskManager(left_file, read_only=True) as tm:
        assert rows_of(tm.conn) == seen
    table = read_results(left_file)
    assert list(table["priority"]) == [row[0] for row in seen]
    assert everything_in(left_file.parent) == before
    with TaskManager(left_file, cleanup_constraints=["0"]) as tm:
        assert rows_of(tm.conn) == seen


@pytest.mark.parametrize("constraints", [{}, {"camera": 2}, {"tmag_max": 8.0}])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_predicted_is_what_a_run_does(left_file, constraints, overwrite):
    with open_view(left_file) as view:
        condition = view.to_do(constraints, max_attempts=3, overwrite=overwrite)
        predicted = [task["priority"] for task in view.tasks(condition)]
    options = {"cleanup_constraints": constraints, "overwrite": overwrite}
    with TaskManager(left_file, load_into_memory=True, **options) as tm:
        assert [task["priority"] for task in tm.get_tasks(100, **constraints)] == predicted
    assert predicted


def test_looking_at_failures_does_not_delete_them(failed_file):
    """The example of docs/todo-file.md."""
    sql = "SELECT starid, errors FROM todolist JOIN diagnostics USING (priority) WHERE status = 2"
    for _ in range(2):
        with TaskManager(failed_file, read_only=True) as tm:
            rows = [tuple(row) for row in tm.cursor.execute(sql)]
        assert rows[:2] == [(100, "ValueError: no pixels"), (101, "OSError: truncated")]


@pytest.mark.parametrize(
    "change",
    [
        lambda tm: tm.start_task(5),
        lambda tm: tm.save_result(make_result({"priority": 5})),
        lambda tm: tm.reset_tasks([1]),
        lambda tm: tm.retry_tasks([1]),
        lambda tm: tm.begin_run(),
        lambda tm: tm.fail_attempt(5, "x"),
    ],
)
def test_a_manager_that_only_looks_refuses_to_change_anything(failed_file, change):
    before = everything_in(failed_file.parent)
    with TaskManager(failed_file, read_only=True) as tm:
        assert tm.get_task()["priority"] == 5
        assert tm.get_number_tasks() == 8
        with pytest.raises(TodoFileError, match="is open to be looked at only"):
            change(tm)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            tm.cursor.execute("UPDATE todolist SET status = NULL")
    assert everything_in(failed_file.parent) == before


def test_a_run_can_be_looked_at_while_it_goes_on(todo_file, open_todo):
    tm = open_todo(todo_file)
    for task in tm.get_tasks(2):
        tm.start_task(task["priority"])
        tm.save_result(make_result(task))
    with open_view(todo_file) as view:
        assert view.query("SELECT COUNT(*) FROM todolist WHERE status = 1") == [(2,)]
        assert view.owner.state == "alive"
    with contextlib.closing(sqlite3.connect(f"file:{todo_file}?mode=ro", uri=True)) as conn:
        conn.execute("SELECT COUNT(*) FROM todolist").fetchone()  # by other programs, too
        assert run_all(tm) == list(range(3, 13))
    tm.close()
    assert [path.name for path in todo_file.parent.iterdir() if "lock" in path.name] == []
    with TaskManager(todo_file) as tm:
        assert set(statuses(tm).values()) == {STATUS.OK}


def test_another_program_that_reads_while_the_run_ends_does_no_harm(todo_file):
    with contextlib.closing(sqlite3.connect(todo_file)) as reader, TaskManager(todo_file) as tm:
        run_all(tm)
        reader.execute("SELECT * FROM todolist").fetchone()
    with TaskManager(todo_file) as tm:
        assert set(statuses(tm).values()) == {STATUS.OK}
    assert [path.name for path in todo_file.parent.iterdir()] == ["todo.sqlite"]


def test_what_another_program_changes_in_a_file_on_disk_is_honoured(todo_file):
    with TaskManager(todo_file) as tm:
        assert tm.get_task()["priority"] == 1
        execute(todo_file, "UPDATE todolist SET status = 1 WHERE priority < 5")
        assert tm.get_task()["priority"] == 5


# --- files that may not be written to


READ_ONLY_DISK = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99
shift
exec "$@"
"""


def on_read_only_disk(folder, *words):
    """Run something in a world in which a folder lies on a read-only file system."""
    command = ["unshare", "-rm", "sh", "-c", READ_ONLY_DISK, "sh", str(folder), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("file systems cannot be mounted here")
    return done


@pytest.fixture
def archive(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    folder = tmp_path / "archive"
    folder.mkdir()
    create_todo(folder / "todo.sqlite", make_rows())
    with TaskManager(folder) as tm:
        tm.save_result(make_result(tm.get_task(), STATUS.ERROR, ["ValueError: x"]))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["run", "DIR", "--handler", "noop", "--output", "ELSEWHERE"],
        ["run", "DIR", "--handler", "noop"],
        ["retry", "DIR"],
        ["reset", "DIR", "--all"],
        ["verify", "DIR", "--reset"],
        ["todo", "tpf", "DIR"],
        ["todo", "split", "DIR"],
        ["todo", "merge", "DIR/new.sqlite", "DIR"],
        ["catalog", "DIR"],
    ],
)
def test_on_a_read_only_disk_what_writes_says_so_in_one_message(archive, tmp_path, words):
    elsewhere = tmp_path / "x"
    words = [w.replace("DIR", str(archive)).replace("ELSEWHERE", str(elsewhere)) for w in words]
    done = on_read_only_disk(archive, sys.executable, "-m", "photometry", *words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "DIR", "--dry-run"], 0),
        (["retry", "DIR", "--dry-run"], 0),
        (["reset", "DIR", "--all", "--dry-run"], 0),
        (["status", "DIR", "--failed"], 0),
        (["log", "DIR", "100"], 0),
        (["todo", "split", "DIR", "--output", "ELSEWHERE"], 0),
        (["todo", "merge", "ELSEWHERE/new.sqlite", "DIR"], 0),
        (["doctor", "DIR", "--no-mpi"], 1),
    ],
)
def test_on_a_read_only_disk_what_looks_works(archive, tmp_path, words, code):
    elsewhere = tmp_path / "x"
    elsewhere.mkdir()
    words = [w.replace("DIR", str(archive)).replace("ELSEWHERE", str(elsewhere)) for w in words]
    done = on_read_only_disk(archive, sys.executable, "-m", "photometry", *words)
    assert done.returncode == code, done.stdout + done.stderr
    if words[0] == "doctor":
        first = next(line for line in done.stdout.splitlines() if line.startswith("fail"))
        assert "Read-only file system" in first


def test_a_write_protected_file_is_refused_before_anything_is_done(todo_file, in_memory):
    todo_file.chmod(0o444)
    before = everything_in(todo_file.parent)
    with pytest.raises(TodoFileError, match=r"write-protected \(mode 444\); .*chmod u\+w"):
        TaskManager(todo_file, load_into_memory=in_memory)
    with TaskManager(todo_file, read_only=True) as tm:
        assert tm.get_number_tasks() == 12
    assert everything_in(todo_file.parent) == before


def test_a_file_with_two_names_is_refused(todo_file, in_memory, tmp_path):
    """Two runs would each have a lock of its own and do the same tasks."""
    os.link(todo_file, tmp_path / "same.sqlite")
    for path in (todo_file, tmp_path / "same.sqlite"):
        with pytest.raises(TodoFileError, match=r"has 2 names \(hard links\)"):
            TaskManager(path, load_into_memory=in_memory)
    (tmp_path / "same.sqlite").unlink()
    with TaskManager(todo_file, load_into_memory=in_memory) as tm:
        assert run_all(tm) == list(range(1, 13))
