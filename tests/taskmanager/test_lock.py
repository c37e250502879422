"""One owner per TODO-file."""

import contextlib
import errno
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from todo_helpers import run_all

from photometry import TaskManager
from photometry.errors import TodoFileError, TryAgainError
from photometry.processes import ProcessId
from photometry.taskmanager.lock import Lock

HOLDER = """
import sys, time
from photometry import TaskManager
tm = TaskManager(sys.argv[1], load_into_memory=sys.argv[2] == "True")
tm.start_task(1)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(todo_file, in_memory):
    """A process that has the TODO-file open."""
    command = [sys.executable, "-c", HOLDER, str(todo_file), str(in_memory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def lock_of(todo_file):
    return todo_file.with_name("todo.sqlite.lock")


def test_a_second_owner_is_refused_with_host_process_and_time(todo_file, in_memory, holder):
    since = json.loads(lock_of(todo_file).read_text())["since"]
    with pytest.raises(TodoFileError) as error:
        TaskManager(todo_file, load_into_memory=in_memory)
    assert f"in use by process {holder.pid} on {socket.gethostname()} since {since}" in str(
        error.value
    )


def test_what_another_program_can_read_during_a_run_is_what_the_documentation_says(
    todo_file, in_memory, holder
):
    """docs/todo-file.md, "To look at it during a run"."""
    with contextlib.closing(
        sqlite3.connect(f"file:{todo_file}?mode=ro", uri=True, timeout=0.1)
    ) as conn:
        n_started = 0 if in_memory else 1  # in memory as of the last backup, on file as of now
        row = conn.execute("SELECT COUNT(*), COUNT(status) FROM todolist").fetchone()
        assert row == (12, n_started)


def test_the_same_process_cannot_open_it_twice_either(tm, todo_file, in_memory):
    with pytest.raises(TodoFileError, match=f"in use by process {os.getpid()} "):
        TaskManager(todo_file, load_into_memory=in_memory)


def test_the_lock_of_a_dead_process_on_this_host_is_taken_over(
    todo_file, holder, open_todo, caplog
):
    holder.kill()
    holder.wait()
    assert run_all(open_todo(todo_file)) == list(range(1, 13))
    assert f"taking over the lock of process {holder.pid}" in caplog.text


def test_a_dead_process_that_nobody_has_waited_for_holds_no_lock(
    todo_file, holder, open_todo, in_memory
):
    process = ProcessId.of(holder.pid)
    holder.kill()
    while process.is_alive():
        time.sleep(0.01)
    assert psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE
    assert open_todo(todo_file).get_number_tasks() > 0


@pytest.mark.parametrize("change", [{"started": 1.0}, {"boot": "before"}])
def test_a_process_number_that_was_given_to_another_process_is_not_the_owner(
    todo_file, open_todo, change
):
    lock = Lock(todo_file)
    lock.path.write_text(json.dumps(json.loads(lock.path.read_text()) | change))
    assert open_todo(todo_file).get_number_tasks() == 12


def test_a_lock_of_another_host_has_to_be_stolen(todo_file, open_todo, in_memory):
    lock_of(todo_file).write_text(
        json.dumps({"host": "elsewhere", "pid": 1, "since": "noon", "token": "x"})
    )
    with pytest.raises(
        TodoFileError, match=r"in use by process 1 on elsewhere since noon; .*--steal-lock"
    ):
        TaskManager(todo_file, load_into_memory=in_memory)
    assert open_todo(todo_file, steal_lock=True).get_number_tasks() == 12


def test_the_lock_of_a_live_process_of_this_host_cannot_be_stolen(todo_file, in_memory, holder):
    before = lock_of(todo_file).read_text()
    with pytest.raises(TodoFileError, match=f"in use by process {holder.pid} on "):
        TaskManager(todo_file, load_into_memory=in_memory, steal_lock=True)
    assert lock_of(todo_file).read_text() == before


@pytest.mark.parametrize("content", ["", "[]", "nonsense"])
def test_a_damaged_lock_has_to_be_stolen(todo_file, open_todo, in_memory, content):
    lock_of(todo_file).write_text(content)
    with pytest.raises(TodoFileError, match=r"in use by .*--steal-lock"):
        TaskManager(todo_file, load_into_memory=in_memory)
    assert open_todo(todo_file, steal_lock=True).get_number_tasks() == 12


def test_whoever_lost_its_lock_does_not_replace_the_file(todo_file):
    before = todo_file.read_bytes()
    robbed = TaskManager(todo_file, load_into_memory=True)
    robbed.start_task(1)
    lock_of(todo_file).write_text(
        json.dumps({"host": "elsewhere", "pid": 1, "since": "noon", "token": "x"})
    )
    with pytest.raises(
        TodoFileError, match="its lock was taken over by process 1 on elsewhere since noon"
    ):
        robbed.close()
    assert todo_file.read_bytes() == before
    assert json.loads(lock_of(todo_file).read_text())["token"] == "x"


def test_a_thief_does_not_remove_the_lock_of_somebody_who_was_quicker(todo_file):
    """Two take over the same stale lock: the slower one finds a lock that it has not judged, and
    puts it back.
    """
    stale = {"host": socket.gethostname(), "boot": "before", "pid": 1, "token": "stale"}
    quicker = Lock(todo_file)
    slower = Lock.__new__(Lock)
    slower.path, slower._token = quicker.path, "slower"
    slower._remove(stale)
    quicker.check()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "link", "copy"])
def test_a_disk_that_is_full_at_the_start_is_told_and_gets_no_litter(
    todo_file, open_todo, monkeypatch, call, code
):
    def fail(*args, **options):
        raise OSError(code, os.strerror(code))

    def write_nothing(path, *args, **options):
        path.touch()  # the folder has room for a name, the disk has none for its content
        fail()

    def no_links(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr(Path, "write_text", write_nothing)
        else:
            patch.setattr(os, "link", fail if call == "link" else no_links)
        if call == "copy":
            patch.setattr(Path, "read_text", fail)
        kind, says = (
            (TodoFileError, "todo.sqlite: its folder cannot be written to")
            if code == errno.EIO
            else (TryAgainError, "todo.sqlite.lock: the disk is full")
        )
        with pytest.raises(kind, match=says):
            Lock(todo_file)
    assert [path.name for path in todo_file.parent.iterdir()] == ["todo.sqlite"]
    assert open_todo(todo_file).get_number_tasks() == 12


def test_file_systems_without_hard_links_get_a_lock_too(todo_file, monkeypatch):
    def no_links(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    lock = Lock(todo_file)
    with pytest.raises(TodoFileError, match="in use by"):
        Lock(todo_file)
    lock.release()
    Lock(todo_file).release()


@pytest.mark.parametrize("in_memory", [False, True])
def test_file_systems_without_locks_will_do(todo_file, monkeypatch, in_memory):
    def no_locks(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with TaskManager(todo_file, load_into_memory=in_memory) as tm:
        assert run_all(tm) == list(range(1, 13))
    with TaskManager(todo_file, load_into_memory=in_memory) as tm:
        assert tm.get_task() is None


def test_a_step_of_the_clock_gives_no_live_lock_away(todo_file, in_memory, holder):
    """The start of a process in seconds since 1970 is a sum of the time of boot, which follows the
    clock.
    """
    script = """
import sys, psutil, time
real, now = psutil.boot_time, time.time
psutil.boot_time = lambda: real() + 3600.0
psutil._pslinux.boot_time = lambda: real() + 3600.0
time.time = lambda: now() + 3600.0
from photometry import TaskManager
TaskManager(sys.argv[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(todo_file)], capture_output=True, text=True
    )
    assert f"in use by process {holder.pid}" in done.stderr


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_lock_that_was_removed_by_hand_is_made_again(tm, todo_file, in_memory):
    lock_of(todo_file).unlink()
    wait_for(lock_of(todo_file).exists)
    with pytest.raises(TodoFileError, match=f"in use by process {os.getpid()}"):
        TaskManager(todo_file, load_into_memory=in_memory)
    tm.start_task(1)


def test_whoever_lost_its_lock_saves_nothing_from_the_next_second_on(todo_file, in_memory):
    robbed = TaskManager(todo_file, load_into_memory=in_memory)
    robbed.start_task(1)
    other = {"host": "elsewhere", "pid": 1, "since": "noon", "token": "x"}
    lock_of(todo_file).write_text(json.dumps(other))
    wait_for(lambda: robbed._lock.loss is not None)
    with pytest.raises(TodoFileError, match="its lock was taken over by process 1 on elsewhere"):
        robbed.start_task(2)
    with pytest.raises(TodoFileError) if in_memory else contextlib.nullcontext():
        robbed.close()
    assert json.loads(lock_of(todo_file).read_text())["token"] == "x"


@pytest.mark.parametrize("started", ["abc", None, [], {}])
def test_a_lock_with_an_odd_start_is_judged_by_the_process_number_alone(
    todo_file, open_todo, started
):
    lock = Lock(todo_file)
    content = json.loads(lock.path.read_text()) | {"started": started}
    lock.path.write_text(json.dumps(content))
    with pytest.raises(TodoFileError, match=f"in use by process {os.getpid()}"):
        open_todo(todo_file)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    lock.path.write_text(json.dumps(content | {"pid": child.pid}))
    assert open_todo(todo_file).get_number_tasks() == 12
