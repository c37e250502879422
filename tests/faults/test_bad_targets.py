"""Targets that crash, hang and eat memory; a disk that is full; a journal that is damaged."""

import json
import os
import shutil
import subprocess

import pytest
from jobs import as_it_is, query
from running import environment, pipeline_command, run_pipeline, wait_for

from photometry import STATUS

pytestmark = pytest.mark.slow

OK, ERROR = int(STATUS.OK), int(STATUS.ERROR)


def run(engine, folder, *words):
    return run_pipeline(engine, folder, "--handler", "faulty_work:work", *words)


def errors(folder):
    return dict(query(folder, "SELECT priority, errors FROM diagnostics WHERE errors IS NOT NULL"))


@pytest.mark.mpi
@pytest.mark.parametrize("fault", ["segfault", "killed"])
def test_a_crash_ends_the_mpi_job_with_an_error_and_the_next_start_sets_the_task_aside(todo, fault):
    folder = todo(40, {7: fault})
    first = run("mpi", folder)
    assert first.returncode not in (0, 2), first.stderr
    before = {priority for priority, row in as_it_is(folder).items() if row[0] == OK}
    second = run("mpi", folder)
    assert second.returncode == 1, second.stderr
    state = as_it_is(folder)
    assert {priority for priority, row in state.items() if row[0] == OK} == set(range(1, 41)) - {7}
    assert all(state[priority] == (OK, 1, 1) for priority in before), (
        "what was done is not done again"
    )
    assert "took its worker down 3 times" in errors(folder)[7]
    third = run("mpi", folder)
    assert third.returncode == 1, third.stderr
    assert "done, 0 tasks, but 1 failed in earlier runs" in third.stderr


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_isolated_crashes_cost_one_task_and_not_the_job(todo, engine):
    folder = todo(20, {3: "segfault", 9: "killed"})
    done = run(engine, folder, "--isolate")
    assert done.returncode == 1, done.stderr
    assert {priority for priority, row in as_it_is(folder).items() if row[0] == OK} == set(
        range(1, 21)
    ) - {3, 9}
    assert "killed by SIGSEGV" in errors(folder)[3]
    assert "killed by SIGKILL, perhaps for want of memory" in errors(folder)[9]
    assert "SIGSEGV" in done.stdout


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_a_hang_in_python_is_an_error_after_the_time_limit(todo, engine):
    folder = todo(10, {2: "hang"})
    done = run(engine, folder, "--task-timeout", "2")
    assert done.returncode == 1, done.stderr
    assert errors(folder) == {2: "TargetTimeoutError: took longer than its time limit of 2 s"}


@pytest.mark.mpi
def test_a_rank_that_hangs_in_compiled_code_is_given_up_and_the_others_go_on(todo):
    folder = todo(30, {2: "hang_holding_the_gil"})
    done = run("mpi", folder, "--task-timeout", "5", "--max-attempts", "1")
    assert done.returncode == 1, done.stderr
    assert "is lost: silent for" in done.stderr
    state = as_it_is(folder)
    assert {priority for priority, row in state.items() if row[0] == OK} == set(range(1, 31)) - {2}
    assert state[2][0] == ERROR
    assert json.loads((folder / "summary.json").read_text())["workers_lost"] == 1


@pytest.mark.parametrize("engine", ["processes", "mpi"])
def test_a_target_that_eats_memory_is_an_error_that_says_so(todo, engine):
    folder = todo(10, {4: "eats_memory"})
    done = run(engine, folder, "--isolate")
    assert done.returncode == 1, done.stderr
    assert "MemoryError" in errors(folder)[4]


def with_modules_of(folder):
    """Environment in which modules of a folder can be imported."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


MISSING_LIBRARY = "raise ImportError('libcfitsio.so.10: cannot open shared object file')\n"


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_a_handler_that_cannot_be_imported_is_refused_before_anything_runs(todo, engine):
    folder = todo(6)
    (folder / "bad_import.py").write_text(MISSING_LIBRARY)
    done = run_pipeline(engine, folder, "--handler", "bad_import:work", env=with_modules_of(folder))
    assert done.returncode == 2
    assert "libcfitsio.so.10" in done.stderr
    assert {row for row in as_it_is(folder).values()} == {(None, 0, 0)}


@pytest.mark.mpi
def test_a_library_that_one_rank_lacks_ends_all_ranks_and_is_named(todo):
    folder = todo(6)
    (folder / "bad_import.py").write_text(
        f"import os\nif os.environ['PMI_RANK'] == '2': {MISSING_LIBRARY}def work(task): pass\n"
    )
    done = run_pipeline("mpi", folder, "--handler", "bad_import:work", env=with_modules_of(folder))
    assert done.returncode == 2
    assert "rank 2: handler 'bad_import:work'" in done.stderr
    assert "libcfitsio.so.10" in done.stderr
    assert {row for row in as_it_is(folder).values()} == {(None, 0, 0)}


def test_all_workers_dead_is_not_success(todo):
    folder = todo(6)
    # the master imports it first and has the library; its workers do not
    (folder / "bad_import.py").write_text(
        "import pathlib\n"
        "seen = pathlib.Path(__file__).with_suffix('.seen')\n"
        f"if seen.exists(): {MISSING_LIBRARY}"
        "seen.touch()\n"
        "def work(task): pass\n"
    )
    with_bad_import = run_pipeline(
        "processes", folder, "--handler", "bad_import:work", env=with_modules_of(folder)
    )
    assert with_bad_import.returncode not in (0, 1, 2)
    assert "libcfitsio.so.10" in with_bad_import.stderr
    assert {row for row in as_it_is(folder).values()} == {(None, 0, 0)}


ODD = {
    2: ("returns odd details", "mean_flux='bright'"),
    5: ("returns details that are text", ""),
    8: ("returns details that are a list", ""),
    11: ("returns details that are a number", ""),
    14: ("returns a flux beyond floats", ""),
    17: ("returns a mask size beyond 64 bits", ""),
    20: ("returns a number for a list", ""),
    23: ("returns a star beyond 64 bits", ""),
    29: ("unreadable_exception", "Unreadable"),
    32: ("no_exception", "Outlandish: passes by"),
}


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_an_odd_result_costs_its_own_task_and_never_the_run(todo, engine):
    folder = todo(40, {number: fault for number, (fault, _) in ODD.items()})
    done = run(engine, folder)
    assert done.returncode == 1, done.stderr
    state = as_it_is(folder)
    assert {number for number, row in state.items() if row[0] == ERROR} == set(ODD)
    assert {number for number, row in state.items() if row[0] == OK} == set(state) - set(ODD)
    texts = errors(folder)
    assert {number for number, (_, text) in ODD.items() if text not in texts[number]} == set()
    assert query(folder, "SELECT COUNT(*) FROM attempts WHERE died = 1") == [(0,)]


@pytest.mark.mpi
def test_work_that_forks_and_returns_twice_does_not_keep_an_mpi_job_from_its_end(todo):
    folder = todo(20, {3: "forks", 7: "forks"})
    done = run("mpi", folder)
    assert done.returncode == 0, done.stderr
    assert "was forked by the work on a task" in done.stderr
    assert {row[0] for row in as_it_is(folder).values()} == {OK}


def small_disk(command, size, where):
    """Run a command with a small file system mounted at ``where``, seen by this command only."""
    script = (
        'mount -t tmpfs -o size="$1" tmpfs "$2" && cp "$3"/* "$2"/ && shift 3 && "$@"; code=$?; '
        'cp -r "$OUT"/. "$KEEP"/; exit $code'
    )
    namespace = "-m" if os.geteuid() == 0 else "-rm"
    return ["unshare", namespace, "sh", "-c", script, "sh", size, str(where), *command]


def run_on_small_disk(engine, folder, tmp_path, size, **env):
    """A run whose TODO-file and output lie on a disk of ``size``; what it left is copied back into
    ``folder``.
    """
    disk, keep = tmp_path / "disk", tmp_path / "keep"
    disk.mkdir()
    keep.mkdir()
    command = [str(folder), *pipeline_command(engine, disk, "--handler", "faulty_work:work")]
    done = subprocess.run(
        small_disk(command, size, disk),
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(OUT=str(disk), KEEP=str(keep), **env),
    )
    return done, keep


@pytest.mark.parametrize("engine", ["serial", "processes", "mpi"])
def test_a_full_disk_stops_with_one_message_and_the_next_start_continues(todo, engine, tmp_path):
    folder = todo(3000)
    source = tmp_path / "source"
    source.mkdir()
    shutil.move(folder / "todo.sqlite", source)
    # Room for the TODO-file and a part of the journal: full after some hundred results.
    size = (source / "todo.sqlite").stat().st_size + 300_000
    done, keep = run_on_small_disk(engine, source, tmp_path, str(size), FAULTY_WORK_SECONDS="0.002")
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "disk is full" in done.stderr or "No space left on device" in done.stderr
    state = as_it_is(keep)
    saved = {priority for priority, row in state.items() if row[0] == OK}
    assert 0 < len(saved) < 3000
    again = run_pipeline("serial", keep, "--handler", "faulty_work:work")
    assert again.returncode == 0, again.stderr
    assert {row[0] for row in as_it_is(keep).values()} == {OK}


def killed_run(start, todo, monkeypatch):
    """A folder with a journal of a killed run, and the journal's path."""
    monkeypatch.setenv("FAULTY_WORK_SECONDS", "0.01")
    folder = todo(500)
    job = start("serial", folder)
    master = job.master()
    wait_for(lambda: _journal(folder).read_bytes().count(b"\n") > 40)
    master.kill()
    job.wait()
    return folder, _journal(folder)


def _journal(folder):
    (journal,) = folder.glob("todo.sqlite*journal*")
    return journal


def test_a_torn_last_line_of_the_journal_is_dropped(todo, start, monkeypatch):
    folder, journal = killed_run(start, todo, monkeypatch)
    whole = sum(row[0] == OK for row in as_it_is(folder).values())
    with open(journal, "ab") as file:
        file.write(b"1234abcd {half a li")
    assert sum(row[0] == OK for row in as_it_is(folder).values()) == whole > 0
    assert run_pipeline("serial", folder, "--handler", "noop").returncode == 0


@pytest.mark.parametrize("damage", ["bit flipped", "foreign"])
def test_a_damaged_journal_is_set_aside_with_a_message_and_replayed_up_to_the_damage(
    todo, start, monkeypatch, damage, tmp_path
):
    folder, journal = killed_run(start, todo, monkeypatch)
    whole = sum(row[0] == OK for row in as_it_is(folder).values())
    content = bytearray(journal.read_bytes())
    if damage == "bit flipped":
        content[len(content) // 2] ^= 0x10
    else:
        content = bytearray(b"a diary, not a journal  \n" * 20)
    journal.write_bytes(content)
    done = run_pipeline("serial", folder, "--handler", "noop")
    assert done.returncode == 0, done.stderr
    assert "set aside" in done.stderr
    assert any(path.read_bytes() == content for path in folder.iterdir() if path.is_file())
    methods = dict(query(folder, "SELECT method_used, COUNT(*) FROM diagnostics GROUP BY 1"))
    assert sum(methods.values()) == 500
    # what was valid before the damage is kept, what came after it was done again
    kept = methods.get("faulty", 0)
    assert 0 < kept < whole if damage == "bit flipped" else kept == 0
