"""Nothing that was acknowledged is lost, whenever the process is killed."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from todo_helpers import die, execute, make_result, make_rows, query, run_all, statuses

from photometry import STATUS, TaskManager
from photometry.errors import TryAgainError
from photometry.taskmanager import create_todo
from photometry.taskmanager.journal import Journal, find_segments

WORK = """
import os, sys
from photometry import TaskManager
mode, durability, interval = sys.argv[2:5]
tm = TaskManager(sys.argv[1], load_into_memory=mode == "memory", durability=durability,
                 backup_interval=int(interval))
os.write(1, b"ready\\n")
while tasks := tm.get_tasks(3):
    tm.start_tasks([task["priority"] for task in tasks])
    for task in tasks:
        task |= {"status": 1, "method_used": "aperture", "time": 1.0}
        task |= {"details": {"mean_flux": task["tmag"]}}
    if tasks[0]["priority"] % 2:
        tm.save_results(tasks)
        os.write(1, b"".join(b"%d\\n" % task["priority"] for task in tasks))
    else:
        for task in tasks:
            tm.save_result(task)
            os.write(1, b"%d\\n" % task["priority"])
"""


def work_and_be_killed(path, mode, seconds, durability="process", interval=100):
    """Run through a TODO-file in another process, kill it after a while; returns what it has
    acknowledged.
    """
    command = [sys.executable, "-c", WORK, str(path), mode, durability, str(interval)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().splitlines(keepends=True)
    return {int(line) for line in lines if line.endswith(b"\n")}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["memory", "file"])
def test_a_killed_process_loses_no_saved_result(tmp_path, mode):
    n, rng, acknowledged = 60000, random.Random(7), set()
    create_todo(tmp_path / "todo.sqlite", make_rows(n))
    for _ in range(8):
        new = work_and_be_killed(tmp_path, mode, rng.uniform(0.0, 0.25))
        assert not new & acknowledged  # what was saved is not assigned again
        acknowledged |= new
    with TaskManager(
        tmp_path, load_into_memory=mode == "file"
    ) as tm:  # either mode takes over from the other
        done = {p for p, status in statuses(tm).items() if status == STATUS.OK}
        sql = (
            "SELECT priority FROM diagnostics JOIN todolist USING (priority) WHERE mean_flux = tmag"
        )
        assert {row["priority"] for row in tm.cursor.execute(sql)} == done
        assert set(statuses(tm).values()) <= {STATUS.OK, None}
    assert len(acknowledged) > 100
    assert acknowledged <= done
    assert [path.name for path in tmp_path.iterdir()] == ["todo.sqlite"]


@pytest.mark.parametrize("durability", ["second", "record"])
@pytest.mark.parametrize("mode", ["memory", "file"])
def test_other_durabilities_lose_nothing_either(tmp_path, mode, durability):
    create_todo(tmp_path / "todo.sqlite", make_rows(5000))
    acknowledged = work_and_be_killed(tmp_path, mode, 0.2, durability)
    with TaskManager(tmp_path) as tm:
        assert acknowledged <= {p for p, status in statuses(tm).items() if status == STATUS.OK}
    assert acknowledged


@pytest.fixture
def killed(todo_file, monkeypatch):
    """Runs something in memory mode and then leaves the file as if the process had been killed."""

    def run(work, **options):
        tm = TaskManager(todo_file, load_into_memory=True, **options)
        work(tm)
        die(tm)

    return run


def journal_of(todo_file):
    return list(find_segments(todo_file).values())[-1]


def test_every_kind_of_change_is_replayed(killed, open_todo, todo_file):
    def work(tm):
        run = tm.begin_run(command="test")
        tasks = tm.get_tasks(8)
        tm.start_tasks([task["priority"] for task in tasks])
        attempt = {
            "host": "node1",
            "rank": 3,
            "start": 1e9,
            "end": 1e9 + 2,
            "seconds": 2.0,
            "peak_memory": 5e8,
        }
        tm.save_result(
            make_result(tasks[0], skip_targets=[108], ptp=float("nan")) | {"attempt": attempt}
        )
        tm.save_results([make_result(task, STATUS.ERROR, ["é\n"]) for task in tasks[2:4]])
        tm.fail_attempt(5, "signal 9")
        tm.release_tasks([6], "test")
        tm.retry_tasks([3], method="psf", settings={"threshold": 0.9})
        tm.save_result(make_result(tasks[7], STATUS.WARNING))
        tm.reset_tasks([8])
        tm.end_run(exit_code=3, reason="run " + str(run))
        tables = ("todolist", "diagnostics", "photometry_skipped", "attempts", "runs", "overrides")
        expected.update(
            {
                table: [tuple(row) for row in tm.cursor.execute(f"SELECT * FROM {table}")]
                for table in tables
            }
        )

    expected = {}
    killed(work)
    tm = open_todo(todo_file, cleanup_constraints=["0"])
    assert expected == {
        table: [tuple(row) for row in tm.cursor.execute(f"SELECT * FROM {table}")]
        for table in expected
    }
    assert expected["attempts"][0][:4] == (1, 1e9, 1, "node1")


def test_a_journal_that_is_partly_in_the_file_already_is_replayed_to_the_same_end(
    todo_file, killed, open_todo
):
    """Killed between replacing the file and removing the journals that it has in it."""

    def work(tm):
        for task in tm.get_tasks(3):
            tm.save_result(make_result(task, skip_targets=[104]))
        for path in find_segments(todo_file).values():
            old[path] = path.read_bytes()
        tm.backup()
        tm.save_result(make_result(tm.get_task(), STATUS.WARNING))
        for path, content in old.items():
            path.write_bytes(content)

    old = {}
    killed(work)
    tm = open_todo(todo_file)
    assert [statuses(tm)[p] for p in range(1, 6)] == [1, 1, 1, STATUS.WARNING, STATUS.SKIPPED]


def test_several_journals_are_replayed_one_after_the_other(todo_file, killed, open_todo):
    for status in (STATUS.ERROR, STATUS.WARNING, STATUS.OK):
        killed(
            lambda tm, status=status: tm.save_result(make_result({"priority": 1}, status)),
            cleanup_constraints=["0"],
        )
    assert len(find_segments(todo_file)) == 3
    assert statuses(open_todo(todo_file))[1] == STATUS.OK


def test_a_torn_last_line_is_dropped(todo_file, killed, open_todo, caplog):
    killed(lambda tm: run_all(tm))
    path = journal_of(todo_file)
    path.write_bytes(path.read_bytes()[:-20])
    tm = open_todo(todo_file)
    assert {p for p, status in statuses(tm).items() if status != STATUS.OK} == {12}
    assert "torn by a crash" in caplog.text
    tm.start_task(12)


def test_a_journal_torn_again_and_again_is_replayed(todo_file, killed, open_todo):
    for _ in range(3):
        killed(lambda tm: [tm.save_result(make_result(task)) for task in tm.get_tasks(2)])
        path = journal_of(todo_file)
        path.write_bytes(path.read_bytes()[:-20])
    assert [p for p, status in statuses(open_todo(todo_file)).items() if status == STATUS.OK] == [
        1,
        2,
        3,
    ]


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def lose_a_line(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))


def swap_lines(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[4], lines[3], *lines[5:]]))


def make_a_hole(path):
    content = bytearray(path.read_bytes())
    content[300:600] = bytes(300)
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [flip_a_bit, lose_a_line, swap_lines, make_a_hole])
def test_of_a_damaged_journal_all_before_the_damage_is_replayed_and_the_journal_is_kept(
    todo_file, killed, open_todo, caplog, spoil
):
    killed(lambda tm: run_all(tm))
    lines = journal_of(todo_file).read_bytes().splitlines(keepends=True)
    spoil(journal_of(todo_file))
    spoilt = journal_of(todo_file).read_bytes()
    pairs = zip(lines, spoilt.splitlines(keepends=True), strict=False)
    n_good = next(n for n, (old, new) in enumerate(pairs) if old != new)
    done = {
        row[1]
        for line in lines[1:n_good]
        for name, rows in json.loads(line[9:])
        for row in rows
        if name == "status" and row[0] == STATUS.OK
    }
    for _ in range(2):  # once more: what was replayed is in the file itself
        with open_todo(todo_file) as tm:
            assert {p for p, status in statuses(tm).items() if status == STATUS.OK} == done
    assert f"is damaged in line {n_good + 1}" in caplog.text
    (aside,) = todo_file.parent.glob("*.set-aside-*")
    assert aside.read_bytes() == spoilt
    assert not find_segments(todo_file)


def test_a_journal_of_another_file_is_set_aside(todo_file, tmp_path, killed, open_todo, caplog):
    killed(lambda tm: run_all(tm))
    other = tmp_path / "other" / "todo.sqlite"
    other.parent.mkdir()
    create_todo(other, make_rows())
    journal_of(todo_file).rename(other.parent / journal_of(todo_file).name)
    assert set(statuses(open_todo(other)).values()) == {None}
    assert "belongs to another file" in caplog.text


def test_a_journal_of_another_version_of_the_file_is_set_aside(
    todo_file, killed, open_todo, caplog
):
    first = todo_file.read_bytes()
    with TaskManager(todo_file, load_into_memory=True) as tm:
        tm.start_task(1)
    killed(lambda tm: run_all(tm))
    todo_file.write_bytes(first)  # an old copy was taken
    assert set(statuses(open_todo(todo_file)).values()) == {None}
    assert "belongs to another version of the file" in caplog.text


def test_a_journal_whose_predecessor_lost_its_end_is_set_aside(
    todo_file, killed, open_todo, caplog
):
    killed(lambda tm: [tm.save_result(make_result(task)) for task in tm.get_tasks(2)])
    first = journal_of(todo_file)
    killed(lambda tm: tm.save_result(make_result(tm.get_task())))
    first.write_bytes(first.read_bytes()[:-20])
    done = {p for p, status in statuses(open_todo(todo_file)).items() if status == STATUS.OK}
    assert done == {1}  # of the first journal, all but the line that it lost
    assert "lost its end" in caplog.text


def test_a_journal_for_rows_that_are_not_in_the_file_is_set_aside(
    todo_file, killed, open_todo, caplog
):
    killed(lambda tm: run_all(tm))
    execute(todo_file, "DELETE FROM todolist WHERE priority > 6")
    assert set(statuses(open_todo(todo_file)).values()) == {None}
    assert "does not fit the file" in caplog.text


def test_a_full_disk_refuses_the_change_and_nothing_before_it_is_lost(
    todo_file, killed, open_todo, monkeypatch
):
    def work(tm):
        one, two, three = tm.get_tasks(3)
        tm.save_result(make_result(one))
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(
                os,
                "write",
                lambda file, data: write(file, data[:7]) if len(data) > 7 else full_disk(),
            )
            with pytest.raises(
                TryAgainError, match=r"journal-\d+: the disk is full; make room and run again"
            ):
                tm.save_result(make_result(two))
        assert statuses(tm)[2] is None
        assert tm.get_task()["priority"] == 2
        tm.save_result(make_result(three))

    def full_disk():
        raise OSError(28, "No space left on device")

    killed(work)
    tm = open_todo(todo_file)
    assert [statuses(tm)[p] for p in (1, 2, 3)] == [STATUS.OK, None, STATUS.OK]


def test_a_backup_that_fails_leaves_file_and_journal(todo_file, killed, open_todo, monkeypatch):
    def work(tm):
        run_all(tm)
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full_disk)
            with pytest.raises(
                TryAgainError,
                match=r"cannot be replaced .*every result so far is kept in its journal",
            ):
                tm.backup()

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    before = todo_file.read_bytes()
    killed(work)
    assert todo_file.read_bytes() == before
    assert set(statuses(open_todo(todo_file)).values()) == {STATUS.OK}


NEW_ROW = (
    "INSERT INTO todolist (priority, starid, sector, camera, ccd, cadence, tmag) VALUES (500, 77, "
    "1, 1, 1, 1800, 3.0)"
)


@pytest.mark.parametrize("commits", [True, False])
def test_results_on_rows_of_the_user_are_kept_with_those_rows(
    todo_file, killed, open_todo, commits
):
    """A journal with a result of a row that the file lacks could not be replayed, and all in it
    would be lost.
    """

    def work(tm):
        tm.save_result(make_result({"priority": 2}))
        tm.cursor.execute(NEW_ROW)
        if commits:
            tm.conn.commit()
        tm.start_task(500)
        for priority in (500, 1):
            tm.save_result(make_result({"priority": priority}, ptp=4.0))

    killed(work)
    tm = open_todo(todo_file)
    assert {p for p, status in statuses(tm).items() if status == STATUS.OK} == {1, 2, 500}
    assert {
        row["priority"]
        for row in tm.cursor.execute("SELECT priority FROM diagnostics WHERE ptp = 4")
    } == {1, 500}
    assert not list(todo_file.parent.glob("*.set-aside-*"))


def test_deletes_and_new_numbers_by_the_user_are_kept_with_the_results_that_follow(
    todo_file, killed, open_todo
):
    def work(tm):
        tm.save_result(make_result({"priority": 3}))
        tm.cursor.execute("DELETE FROM todolist WHERE priority = 1")
        tm.save_result(make_result({"priority": 2}))
        tm.cursor.execute("UPDATE todolist SET priority = 600 WHERE priority = 3")
        tm.save_result(make_result({"priority": 600}, STATUS.WARNING))

    killed(work)
    tm = open_todo(todo_file)
    assert {p: status for p, status in statuses(tm).items() if status} == {
        2: STATUS.OK,
        600: STATUS.WARNING,
    }
    assert 1 not in statuses(tm)
    assert not list(todo_file.parent.glob("*.set-aside-*"))


def test_a_change_that_needs_a_backup_first_is_refused_where_that_fails(
    todo_file, killed, open_todo, monkeypatch
):
    def work(tm):
        tm.save_result(make_result({"priority": 1}))
        tm.cursor.execute(NEW_ROW)
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full_disk)
            for _ in range(2):
                with pytest.raises(TryAgainError, match="cannot be replaced"):
                    tm.save_result(make_result({"priority": 500}))
            assert statuses(tm)[500] is None
        tm.save_result(make_result({"priority": 2}))

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    killed(work)
    assert {p for p, status in statuses(open_todo(todo_file)).items() if status == STATUS.OK} == {
        1,
        2,
    }


def test_looking_with_sql_costs_no_backup(todo_file):
    with TaskManager(todo_file, load_into_memory=True, cleanup=True) as tm:
        before = todo_file.read_bytes()
        tm.cursor.execute("SELECT * FROM todolist").fetchall()
        run_all(tm)
        assert todo_file.read_bytes() == before


def test_half_written_copies_of_a_killed_backup_are_removed(todo_file, open_todo):
    part = todo_file.parent / ".todo-ab12cd_4.part.sqlite"
    of_another = todo_file.parent / ".todo-1-ab12cd_4.part.sqlite"  # a part that is being worked on
    for path in (part, of_another):
        path.write_bytes(b"half")
    open_todo(todo_file)
    assert not part.exists()
    assert of_another.exists()


def test_backups_beside_the_run_give_the_same_file_as_the_last_one(tmp_path):
    create_todo(tmp_path / "todo.sqlite", make_rows(300))
    with TaskManager(tmp_path, load_into_memory=True, backup_interval=50) as tm:
        for task in tm.get_tasks(250):
            tm.start_task(task["priority"])
            tm.save_result(
                make_result(task, mean_flux=task["tmag"], skip_targets=[task["starid"] + 4])
            )
        tm._store._thread.join()
        tables = ("todolist", "diagnostics", "photometry_skipped")
        memory = {
            table: [tuple(row) for row in tm.cursor.execute(f"SELECT * FROM {table}")]
            for table in tables
        }
        assert {
            table: query(tmp_path / "todo.sqlite", f"SELECT * FROM {table}") for table in tables
        } == memory


def test_the_first_line_of_a_journal_names_its_file(todo_file):
    journal = Journal(todo_file, "id", 3)
    journal.append([["status", [[1, 2]]]])
    journal.close()
    first, second = journal.path.read_text().splitlines()
    assert journal.path.name == "todo.sqlite.journal-000003"
    header = json.loads(first[9:])
    columns = header.pop("columns")
    assert header == {"journal": 2, "id": "id", "generation": 3, "follows": 0}
    assert columns["diagnostics"][:2] == ["priority", "lightcurve"]
    assert second[9:] == '[["status",[[1,2]]]]'


def test_a_full_disk_in_file_mode_refuses_the_change_and_the_next_one_works(todo_file):
    with TaskManager(todo_file) as tm:
        one, two = tm.get_tasks(2)
        tm.save_result(make_result(one))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (os.path.getsize(f"{todo_file}-wal"), limits[1])
        )  # no file may grow
        try:
            with pytest.raises(
                TryAgainError, match=r"todo.sqlite: .*everything saved so far is kept"
            ):
                tm.save_result(make_result(two))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert tm.get_task()["priority"] == 2
        tm.save_result(make_result(two, STATUS.WARNING))
    assert query(todo_file, "SELECT status FROM todolist WHERE priority < 3") == [(1,), (3,)]


def test_a_forked_child_that_ends_does_not_close_the_file(tm, todo_file):
    if os.fork() == 0:
        try:
            tm.close()
            del tm
        finally:
            os._exit(0)
    os.wait()
    assert (todo_file.parent / "todo.sqlite.lock").exists()
    assert run_all(tm) == list(range(1, 13))
