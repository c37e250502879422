"""Results packed in the workers are stored as those that are saved one by one; rows have names, not
positions.
"""

import importlib
import itertools
import json
import pickle
import socket
import sqlite3
import sys
import zlib

import msgspec
import numpy as np
import pytest
from todo_helpers import die, make_result, make_row, query, statuses

import photometry.taskmanager
from photometry import STATUS, TaskManager
from photometry.taskmanager import create_todo, schema
from photometry.taskmanager.result import Packer

TABLES = ("todolist", "diagnostics", "photometry_skipped", "attempts")


def content(tm):
    """All rows by name, in an order of their own; but for the host, which only the worker knows."""
    rows = {
        table: [dict(row) for row in tm.conn.execute(f"SELECT * FROM {table}")] for table in TABLES
    }
    for row in rows["attempts"]:
        row["host"] = None if row["host"] == socket.gethostname() else row["host"]
    return {table: sorted(of_table, key=repr) for table, of_table in rows.items()}


def attempt(number, **changes):
    start = 1.7e9 + number
    return {
        "rank": 3,
        "start": start,
        "end": start + 0.25,
        "seconds": 0.25,
        "peak_memory": 123_456_789,
    } | changes


def results_of(tasks):
    """Plain ones, quick and with details, and all kinds of others."""
    kinds = itertools.cycle(["quick", "quick", "full", "error", "skips", "warning", "nan", "full"])
    for task, kind in zip(tasks, kinds, strict=False):
        number = task["priority"]
        result = make_result(task) | {"attempt": attempt(number), "time": 0.25 + number / 3}
        if kind == "quick":
            result["details"] = {}
        elif kind == "full":
            result["details"] = {"mean_flux": 1 / number, "filepath_lightcurve": f"{number}.fits",
                                 "stamp": (0, 11, 0, 12), "mask_size": np.int64(9)}  # fmt: skip
        elif kind == "error":
            result |= {"status": STATUS.ERROR, "details": {"errors": ["ValueError: é\n"]}}
            result["attempt"] |= {"error_class": "ValueError", "error_text": "é"}
        elif kind == "skips":
            result["details"] = {"skip_targets": [task["starid"] + 100]}
        elif kind == "warning":
            result |= {"status": STATUS.WARNING, "details": {"errors": ["minimum mask"]}}
        elif kind == "nan":
            result |= {"worker_wait_time": float("nan"), "details": {}}
        yield result


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "todo.sqlite"
    create_todo(path, [make_row(i, tmag=i / 10) for i in range(1, 161)])
    return path


@pytest.fixture
def singly(tmp_path, many):
    """What saving results one by one gives."""
    other = tmp_path / "singly.sqlite"
    create_todo(other, [make_row(i, tmag=i / 10) for i in range(1, 161)])
    with TaskManager(other) as tm:
        run = tm.begin_run()
        tasks = tm.get_tasks(80)
        tm.start_tasks([task["priority"] for task in tasks])
        for result in results_of(tasks):
            tm.save_result(result)
        assert run == 1
        return content(tm)


@pytest.mark.parametrize("is_killed", [False, True])
def test_packed_results_give_the_same_rows_as_those_saved_one_by_one(
    many, singly, open_todo, is_killed
):
    tm = open_todo(many)
    tm.begin_run()
    pack = pickle.loads(pickle.dumps(tm.result_packer()))
    tasks = tm.get_tasks(80)
    tm.start_tasks([task["priority"] for task in tasks])
    results = list(results_of(tasks))
    packed = [pickle.loads(pickle.dumps(pack(part))) for part in (results[:40], results[40:])]
    assert sum(len(one.priorities) for one in packed) >= 40
    tm.save_results(packed)
    assert content(tm) == singly
    if is_killed:
        die(tm)
        tm = open_todo(many, cleanup_constraints=["0"])
        assert content(tm) == singly


def test_what_the_scheduler_makes_of_quick_work_takes_the_quick_way(many, monkeypatch):
    """Else packing takes three times as long."""
    from photometry.scheduler.protocol import noop
    from photometry.scheduler.work import run_task

    with TaskManager(many) as tm:
        results = [run_task(noop, task, rank=2)[0] for task in tm.get_tasks(5)]
        monkeypatch.setattr("photometry.taskmanager.result.Result.of", pytest.fail)
        assert tm.result_packer()(results).priorities == [1, 2, 3, 4, 5]


def test_a_person_reads_one_row_per_attempt(many, open_todo):
    tm = open_todo(many)
    run = tm.begin_run()
    tasks = tm.get_tasks(5)
    results = [make_result(task) | {"attempt": attempt(task["priority"])} for task in tasks]
    for result in results:
        result["details"] = {}
    tm.save_results([tm.result_packer()(results)])
    rows = [dict(row) for row in tm.cursor.execute("SELECT * FROM attempts ORDER BY priority")]
    nothing = {"host": socket.gethostname(), "error_class": None, "error_text": None, "died": 0}
    assert rows == [
        attempt(n) | nothing | {"priority": n, "run": run, "status": STATUS.OK} for n in range(1, 6)
    ]
    assert tm.cursor.execute("SELECT COUNT(*) FROM attempt_blocks").fetchone()[0] == 1


def test_a_packed_result_with_the_light_curve_of_another_task_is_an_error(many, open_todo):
    tm = open_todo(many)
    results = [
        make_result(task, filepath_lightcurve=name) | {"attempt": attempt(task["priority"])}
        for task, name in zip(tm.get_tasks(3), "aab", strict=True)
    ]
    tm.save_results([tm.result_packer()(results)])
    assert [statuses(tm)[p] for p in (1, 2, 3)] == [STATUS.OK, STATUS.ERROR, STATUS.OK]


def test_a_packed_result_of_a_task_that_was_skipped_meanwhile_leaves_it_skipped(many, open_todo):
    tm = open_todo(many)
    tasks = tm.get_tasks(4)
    tm.start_tasks([1, 2, 3, 4])
    tm.save_result(make_result(tasks[0], skip_targets=[3]))
    results = [make_result(task) | {"attempt": attempt(task["priority"])} for task in tasks[1:]]
    tm.save_results([tm.result_packer()(results)])
    assert [statuses(tm)[p] for p in (1, 2, 3, 4)] == [1, 1, STATUS.SKIPPED, 1]


def test_a_mean_of_many_values_is_the_mean_of_each_in_turn(many):
    from photometry.taskmanager.result import MeanOfMany

    values = [3.0, float("nan"), 5.0, 1.0, 7.5]
    mean = None
    for value in values:
        if value == value:
            mean = value if mean is None else mean + 0.1 * (value - mean)
    assert MeanOfMany.of(values).after(None) == pytest.approx(mean)
    assert MeanOfMany.of(values[2:]).after(MeanOfMany.of(values[:2]).after(None)) == pytest.approx(
        mean
    )


ODD = [
    {"details": "text"}, {"details": [1]}, {"details": 5}, {"attempt": 5}, {"priority": 2**70},
    {"priority": None}, {"details": {"mean_flux": 10**400}}, {"details": {"mean_flux": b"12"}},
    {"details": {"mean_flux": "12"}}, {"details": {"mask_size": 2**63}},
    {"details": {"mask_size": "9"}}, {"details": {"skip_targets": 5}},
    {"details": {"skip_targets": "12"}}, {"details": {"skip_targets": [2**64]}},
    {"details": {"stamp": ("a", "b", "c", "d")}}, {"details": {"filepath_lightcurve": 5}},
    {"details": {"filepath_lightcurve": "a\0b"}}, {"details": {"filepath_lightcurve": b"a"}},
    {"details": {"errors": b"x"}}, {"method_used": None}, {"method_used": 5}, {"method_used": ""},
    {"status": []}, {"time": b"1"}, {"worker_wait_time": object()}, {"attempt": {"rank": "first"}},
]  # fmt: skip


@pytest.mark.parametrize("change", ODD)
def test_an_odd_result_is_refused_with_a_message_and_nothing_of_its_list_is_saved(
    many, open_todo, change
):
    tm = open_todo(many)
    good, bad = (make_result(task) | {"attempt": attempt(1)} for task in tm.get_tasks(2))
    with pytest.raises(ValueError, match=r"expected"):
        tm.save_results([good, bad | change])
    with pytest.raises(ValueError, match=r"expected"):
        Packer()([good, bad | change])
    assert set(statuses(tm).values()) == {None}


@pytest.mark.parametrize("result", [None, 5, "x", [], {}])
def test_what_is_no_dict_is_no_result(tm, result):
    with pytest.raises(ValueError, match=r"expected|lacks"):
        tm.save_result(result)


# --- rows have names


@pytest.fixture
def permuted_schema():
    """All modules of the room, with the columns of its tables the other way round, and a column
    more.
    """
    modules = [
        "schema", "result", "journal", "selection", "migrations", "opening", "pending",
        "store", "view", "session", "manager", "create",
    ]  # fmt: skip
    home = photometry.taskmanager.__name__
    source = importlib.util.find_spec(f"{home}.schema").origin
    with open(source, encoding="utf-8") as file:
        text = file.read()
    turned = text.replace(
        "class Diagnostics(NamedTuple):",
        "DIAGNOSTICS_COLUMNS = {'more': 'REAL'} | dict(reversed(DIAGNOSTICS_COLUMNS.items()))\n"
        "ATTEMPTS_COLUMNS = dict(reversed(ATTEMPTS_COLUMNS.items()))\n"
        "RUNS_COLUMNS = dict(reversed(RUNS_COLUMNS.items()))\n"
        "TODOLIST_COLUMNS = dict(reversed(TODOLIST_COLUMNS.items()))\n\n\n"
        "class Diagnostics(NamedTuple):",
        1,
    )
    assert turned != text
    saved = {f"{home}.{name}": sys.modules.get(f"{home}.{name}") for name in modules}
    for name in modules:
        sys.modules.pop(f"{home}.{name}", None)
    module = importlib.util.module_from_spec(importlib.util.find_spec(f"{home}.schema"))
    sys.modules[f"{home}.schema"] = module
    exec(compile(turned, source, "exec"), module.__dict__)
    ours = {name: vars(photometry.taskmanager).pop(name, None) for name in modules}
    photometry.taskmanager.schema = module
    yield importlib.import_module(f"{home}.manager"), importlib.import_module(f"{home}.create")
    for name, old in saved.items():
        sys.modules.pop(name, None)
        if old is not None:
            sys.modules[name] = old
    for name, old in ours.items():
        vars(photometry.taskmanager).pop(name, None)
        if old is not None:
            setattr(photometry.taskmanager, name, old)


def test_the_order_of_the_columns_in_the_schema_changes_nothing(
    many, singly, permuted_schema, tmp_path, in_memory
):
    manager, create = permuted_schema
    path = tmp_path / "permuted.sqlite"
    create.create_todo(path, [make_row(i, tmag=i / 10) for i in range(1, 161)])
    columns = [row[1] for row in query(path, "PRAGMA table_info(diagnostics)")]
    assert columns[:2] == ["more", "version"]
    for todo_file in (path, many):  # made with that schema, or with ours
        with manager.TaskManager(todo_file, load_into_memory=in_memory) as tm:
            tm.begin_run()
            tasks = tm.get_tasks(80)
            tm.start_tasks([task["priority"] for task in tasks])
            results = list(results_of(tasks))
            tm.save_results([tm.result_packer()(results[:40]), *results[40:]])
            found = content(tm)
        for row in found["diagnostics"]:
            row.pop("more")
        assert {t: sorted(map(sorted_items, rows)) for t, rows in found.items()} == {
            t: sorted(map(sorted_items, rows)) for t, rows in singly.items()
        }


def sorted_items(row):
    return repr(sorted(row.items()))


def test_a_journal_is_replayed_by_the_names_of_its_columns(many, open_todo):
    """As if a version with other columns had written it."""
    tm = TaskManager(many, load_into_memory=True)
    task = tm.get_task()
    tm.start_task(1)
    tm.save_result(make_result(task, mean_flux=5.0, contamination=0.25))
    die(tm)
    (journal,) = many.parent.glob("*.journal-*")
    crc, lines = 0, []
    for number, line in enumerate(journal.read_bytes().splitlines()):
        change = json.loads(line[9:])
        if number == 0:
            change["columns"]["diagnostics"].reverse()
            change["columns"]["diagnostics"].insert(0, "a column that is no more")
        else:
            for name, rows in change:
                if name == "diagnostics":
                    rows[:] = [["?", *reversed(row)] for row in rows]
        text = msgspec.json.encode(change)
        crc = zlib.crc32(text, crc)
        lines.append(b"%08x %b\n" % (crc, text))
    journal.write_bytes(b"".join(lines))
    row = open_todo(many).cursor.execute("SELECT * FROM diagnostics").fetchone()
    assert (row["mean_flux"], row["contamination"], row["method_used"]) == (5.0, 0.25, "aperture")


def test_each_row_type_names_columns_that_there_are():
    conn = sqlite3.connect(":memory:")
    for sql in (schema.TODOLIST, *schema.PROGRESS_TABLES, *schema.OUR_TABLES):
        conn.execute(sql)
    for table, row in {
        "diagnostics": schema.Diagnostics,
        "attempt_records": schema.Attempt,
        "attempt_blocks": schema.AttemptBlock,
        "attempts": schema.Attempt,
    }.items():
        assert {c[1] for c in conn.execute(f"PRAGMA table_info({table})")} == set(row._fields)
    conn.close()
