"""Files of older tools are brought up to date, or refused where that would be guessing."""

import contextlib
import sqlite3

import pytest
from todo_helpers import make_result, query

from photometry import STATUS, TaskManager

OLD_TODOLIST = """CREATE TABLE todolist (priority INTEGER PRIMARY KEY NOT NULL, starid INTEGER NOT NULL, sector INTEGER NOT NULL,
    datasource TEXT NOT NULL DEFAULT 'ffi', camera INTEGER NOT NULL, ccd INTEGER NOT NULL, method TEXT DEFAULT NULL,
    tmag REAL, status INTEGER DEFAULT NULL, cbv_area INTEGER NOT NULL)"""
OLD_DIAGNOSTICS = """CREATE TABLE diagnostics (priority INTEGER PRIMARY KEY NOT NULL, starid INTEGER, lightcurve TEXT,
    elaptime REAL NOT NULL, mean_flux REAL, variance REAL, variability REAL, rms_hour REAL, ptp REAL, pos_row REAL,
    pos_column REAL, contamination REAL, mask_size INTEGER, stamp_width INTEGER, stamp_height INTEGER,
    stamp_resizes INTEGER, errors TEXT, FOREIGN KEY (priority) REFERENCES todolist(priority) ON DELETE CASCADE)"""


def make_old_file(path, rows, diagnostics=()):
    """``rows`` of (starid, sector, datasource, method, status); ``diagnostics`` of (priority, errors)."""
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute(OLD_TODOLIST)
        conn.execute(OLD_DIAGNOSTICS)
        conn.execute("CREATE INDEX starid_idx ON diagnostics (starid)")
        sql = "INSERT INTO todolist (starid, sector, datasource, method, status, camera, ccd, tmag, cbv_area)"
        conn.executemany(f"{sql} VALUES (?, ?, ?, ?, ?, 1, 1, 9.0, 111)", rows)
        sql = "INSERT INTO diagnostics (priority, errors, starid, elaptime, mean_flux) VALUES (?, ?, 1, 1.5, 100.0)"
        conn.executemany(sql, diagnostics)
        conn.commit()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "todo.sqlite"


def test_cadence_is_known_from_sector_and_datasource(path, open_todo):
    expected = {("ffi", 1): 1800, ("ffi", 26): 1800, ("ffi", 27): 600, ("ffi", 55): 600, ("ffi", 56): 200}
    expected |= {("tpf", 26): 120, ("tpf:5", 3): 120}
    make_old_file(path, [(i, sector, source, None, None) for i, (source, sector) in enumerate(expected)])
    tm = open_todo(path)
    assert [task["cadence"] for task in tm.get_tasks(10)] == list(expected.values())


def test_cadence_that_cannot_be_known_is_refused_and_the_file_left_as_it_was(path, in_memory):
    make_old_file(path, [(1, 1, "tpf", None, None), (2, 27, "tpf", None, None)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"priority 2 \(sector 27, not FFI\).*must be made anew"):
        TaskManager(path, load_into_memory=in_memory)
    assert path.read_bytes() == before


def test_diagnostics_of_older_files_get_the_new_columns_and_lose_starid(path, open_todo):
    rows = [(1, 1, "ffi", "halo", 1), (2, 1, "ffi", None, 1), (3, 1, "ffi", None, 3), (4, 1, "ffi", None, None)]
    make_old_file(path, rows, [(1, None), (2, None), (3, "Automatically switched to Halo photometry")])
    with open_todo(path) as tm:
        tm.save_result(make_result(tm.get_task(), edge_flux=2.0))
    sql = "SELECT method_used, mean_flux, elaptime, edge_flux, worker_wait_time FROM diagnostics ORDER BY priority"
    old = [(method, 100.0, 1.5, None, None) for method in ("halo", "aperture", "halo")]
    assert query(path, sql) == [*old, ("aperture", None, 2.0, 2.0, 0.5)]
    assert "starid" not in {row[1] for row in query(path, "PRAGMA table_info(diagnostics)")}


def test_migrations_are_recorded_and_applied_once(path, open_todo):
    make_old_file(path, [(1, 1, "ffi", None, None)])
    open_todo(path).close()
    applied = query(path, "SELECT * FROM migrations ORDER BY name")
    names = {"add_todolist_columns", "drop_diagnostics_starid", "add_diagnostics_columns", "add_indices"}
    assert {name for name, _ in applied} == names
    open_todo(path).close()
    assert query(path, "SELECT * FROM migrations ORDER BY name") == applied


def test_a_bare_todolist_gets_the_other_tables(path, open_todo):
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute(OLD_TODOLIST)
        conn.execute("INSERT INTO todolist VALUES (3, 1, 1, 'ffi', 1, 1, NULL, 9.0, 2, 111)")
        conn.commit()
    tm = open_todo(path)
    tm.save_result(make_result(tm.get_task()))
    assert tm.cursor.execute("SELECT status FROM todolist").fetchone()["status"] == STATUS.OK


def test_rows_that_are_there_twice_in_an_older_file_are_kept(path, open_todo):
    make_old_file(path, [(1, 1, "ffi", None, None)] * 2)
    assert open_todo(path).get_number_tasks() == 2
