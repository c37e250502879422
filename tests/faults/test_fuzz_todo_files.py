"""Damaged TODO-files, journals, summaries and locks: one message or a file that can be worked on,
never another exception.
"""

import contextlib
import json
import random
import shutil

import pytest

from photometry import STATUS, TaskManager
from photometry.errors import PhotometryError
from photometry.report.status import print_status, read_summary
from photometry.taskmanager import create_todo, open_view, select_tasks
from photometry.taskmanager.lock import Lock, owner_of

SEED = 20261121
N_CASES = 60  # for each kind of file and of damage
VALUES = [None, "x", -1, 10**30, 0.5, float("nan"), [], {}, [1], {"a": 1}, True, "\udc80", "2026"]


def flip_bits(content, rng):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 3, 20])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def truncate(content, rng):
    return content[: rng.randrange(len(content))]


def overwrite_a_stretch(content, rng):
    start = rng.randrange(len(content))
    length = rng.choice([1, 8, 64, 512, 4096])
    return content[:start] + rng.randbytes(length) + content[start + length :]


def grow(content, rng):
    return content + rng.randbytes(rng.choice([1, 100, 5000]))


DAMAGES = [flip_bits, truncate, overwrite_a_stretch, grow]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A TODO-file with results, and the journal of a killed run beside it."""
    folder = tmp_path_factory.mktemp("left")
    row = {"sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "datasource": "tpf"}
    create_todo(folder / "todo.sqlite", [row | {"starid": i, "tmag": 5.0 + i} for i in range(200)])
    attempt = {"rank": 1, "start": 1.0, "end": 2.0, "seconds": 1.0, "peak_memory": 5}

    def work(tm, n):
        tm.begin_run()
        tasks = tm.get_tasks(n)
        tm.start_tasks([task["priority"] for task in tasks])
        results = [
            task | {"status": STATUS.OK, "method_used": "a", "time": 1.0, "attempt": attempt,
                    "details": {"mean_flux": 5.0} if task["priority"] % 2 else {},
                    "worker_wait_time": 0.0}
            for task in tasks
        ]  # fmt: skip
        results[0] |= {"status": STATUS.ERROR, "details": {"errors": ["ValueError: x"]}}
        tm.save_results([tm.result_packer()(results)])

    with TaskManager(folder) as tm:
        work(tm, 40)
    tm = TaskManager(folder, load_into_memory=True)
    for _ in range(3):
        work(tm, 20)
    (journal,) = folder.glob("*.journal-*")
    kept = journal.read_bytes()
    tm.discard()
    journal.write_bytes(kept)
    return folder


def look_and_work(folder):
    """All that a command might do; whatever cannot be done is a PhotometryError or a
    FileNotFoundError.
    """
    with contextlib.suppress(PhotometryError, FileNotFoundError), open_view(folder) as view:
        view.query(f"SELECT COUNT(*) FROM todolist WHERE {view.to_do()}")
        select_tasks(view.conn, statuses=["ERROR"])
    for in_memory in (True, False):
        with (
            contextlib.suppress(PhotometryError, FileNotFoundError),
            TaskManager(folder, load_into_memory=in_memory) as tm,
        ):
            tasks = tm.get_tasks(3, crashed_last=True)
            tm.start_tasks([task["priority"] for task in tasks])
            for task in tasks:
                tm.save_result(task | {"status": 1, "time": 1.0, "details": {"skip_targets": [7]}})
            tm.get_number_failed()
            tm.write_summary()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["todo.sqlite", "todo.sqlite.journal-000001"])
def test_damaged_files_end_in_a_message_or_can_be_worked_on(left, tmp_path, name, damage):
    (name,) = [path.name for path in left.glob(name.replace("000001", "*"))]
    rng = random.Random(f"{SEED} {name} {damage.__name__}")
    content = (left / name).read_bytes()
    for case in range(N_CASES):
        folder = tmp_path / str(case)
        shutil.copytree(left, folder)
        (folder / name).write_bytes(damage(content, rng))
        look_and_work(folder)
        shutil.rmtree(folder)


SUMMARY = {
    "numtasks": 100, "tasks_run": 41, "OK": 30, "WARNING": 10, "ERROR": 1, "STARTED": 2, "run": 3,
    "host": "node1", "pid": 17, "version": "0.1.0", "started": "2026-01-01T00:00:00Z", "rate": 12.5,
    "updated": "2026-01-01T00:10:00Z", "mean_elaptime": 0.3, "workers": 8, "workers_lost": 1,
    "expected_end": "2026-01-01T00:20:00Z", "todo_file": "/a/todo.sqlite",
    "output": "/a/b", "ended": None,
    "reason": "", "exit_code": None, "boot": "x", "process_started": 5.0,
    "failures": [{"error_class": "E", "message": "m", "where": "", "count": 1, "example": "TIC 7",
                  "example_text": "t"}],
}  # fmt: skip


def test_a_summary_with_any_value_wrong_is_shown_or_refused(tmp_path, capsys):
    n_refused, path = 0, tmp_path / "summary.json"
    for key in SUMMARY:
        for value in VALUES:
            path.write_text(json.dumps(SUMMARY | {key: value}))
            try:
                print_status(read_summary(path))
            except PhotometryError as error:
                n_refused += key in str(error)
    group = SUMMARY["failures"][0]
    for key in group:
        for value in VALUES:
            path.write_text(json.dumps(SUMMARY | {"failures": [group | {key: value}]}))
            with contextlib.suppress(PhotometryError):
                print_status(read_summary(path))
    assert n_refused > 50


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_summary_is_shown_or_refused(tmp_path, damage, capsys):
    rng, path = random.Random(f"{SEED} summary {damage.__name__}"), tmp_path / "summary.json"
    for _ in range(N_CASES):
        path.write_bytes(damage(json.dumps(SUMMARY).encode(), rng))
        with contextlib.suppress(PhotometryError):
            print_status(read_summary(path))


def test_a_lock_with_any_value_wrong_is_judged(tmp_path):
    create_todo(tmp_path / "todo.sqlite", [])
    lock = Lock(tmp_path / "todo.sqlite")
    content = json.loads(lock.path.read_text())
    lock._released.set()
    for key in content:
        for value in VALUES:
            lock.path.write_text(json.dumps(content | {key: value}))
            assert owner_of(tmp_path / "todo.sqlite").state in ("alive", "dead", "elsewhere")
    for damage in DAMAGES:
        rng = random.Random(f"{SEED} lock {damage.__name__}")
        for _ in range(N_CASES):
            lock.path.write_bytes(damage(json.dumps(content).encode(), rng))
            owner = owner_of(tmp_path / "todo.sqlite")
            assert owner.state in ("alive", "dead", "elsewhere")
