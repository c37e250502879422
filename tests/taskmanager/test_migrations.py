"""Files of older tools are brought up to date, or refused where that would be guessing."""

import contextlib
import sqlite3

import pytest
from todo_helpers import make_result, query

from photometry import STATUS, TaskManager
from photometry.errors import TodoFileError

OLD_TODOLIST = """CREATE TABLE todolist (priority INTEGER PRIMARY KEY NOT NULL,
    starid INTEGER NOT NULL,
    sector INTEGER NOT NULL, datasource TEXT NOT NULL DEFAULT 'ffi', camera INTEGER NOT NULL,
    ccd INTEGER NOT NULL, method TEXT DEFAULT NULL,
    tmag REAL, status INTEGER DEFAULT NULL, cbv_area INTEGER NOT NULL)"""
OLD_DIAGNOSTICS = """CREATE TABLE diagnostics (priority INTEGER PRIMARY KEY NOT NULL,
    starid INTEGER,
    lightcurve TEXT, elaptime REAL NOT NULL, mean_flux REAL, variance REAL, variability REAL,
    rms_hour REAL, ptp REAL, pos_row REAL, pos_column REAL, contamination REAL, mask_size INTEGER,
    stamp_width INTEGER, stamp_height INTEGER, stamp_resizes INTEGER, errors TEXT,
    FOREIGN KEY (priority) REFERENCES todolist(priority) ON DELETE CASCADE)"""


def make_old_file(path, rows, diagnostics=()):
    """``rows`` of (starid, sector, datasource, method, status); ``diagnostics`` of (priority,
    errors).
    """
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute(OLD_TODOLIST)
        conn.execute(OLD_DIAGNOSTICS)
        conn.execute("CREATE INDEX starid_idx ON diagnostics (starid)")
        sql = (
            "INSERT INTO todolist (starid, sector, datasource, method, status, camera, ccd, tmag, "
            "cbv_area)"
        )
        conn.executemany(f"{sql} VALUES (?, ?, ?, ?, ?, 1, 1, 9.0, 111)", rows)
        sql = (
            "INSERT INTO diagnostics (priority, errors, starid, elaptime, mean_flux) VALUES (?, "
            "?, 1, 1.5, 100.0)"
        )
        conn.executemany(sql, diagnostics)
        conn.commit()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "todo.sqlite"


def test_cadence_is_known_from_sector_and_datasource(path, open_todo):
    expected = {
        ("ffi", 1): 1800,
        ("ffi", 26): 1800,
        ("ffi", 27): 600,
        ("ffi", 55): 600,
        ("ffi", 56): 200,
    }
    expected |= {("tpf", 26): 120, ("tpf:5", 3): 120}
    make_old_file(
        path, [(i, sector, source, None, None) for i, (source, sector) in enumerate(expected)]
    )
    tm = open_todo(path)
    assert [task["cadence"] for task in tm.get_tasks(10)] == list(expected.values())


def test_cadence_that_cannot_be_known_is_refused_and_the_file_left_as_it_was(path, in_memory):
    make_old_file(path, [(1, 1, "tpf", None, None), (2, 27, "tpf", None, None)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"priority 2 \(sector 27, not FFI\).*must be made anew"):
        TaskManager(path, load_into_memory=in_memory)
    assert path.read_bytes() == before


def test_diagnostics_of_older_files_get_the_new_columns_and_lose_starid(path, open_todo):
    rows = [
        (1, 1, "ffi", "halo", 1),
        (2, 1, "ffi", None, 1),
        (3, 1, "ffi", None, 3),
        (4, 1, "ffi", None, None),
    ]
    make_old_file(
        path, rows, [(1, None), (2, None), (3, "Automatically switched to Halo photometry")]
    )
    with open_todo(path) as tm:
        tm.save_result(make_result(tm.get_task(), edge_flux=2.0))
    sql = (
        "SELECT method_used, mean_flux, elaptime, edge_flux, worker_wait_time FROM diagnostics "
        "ORDER BY priority"
    )
    old = [(method, 100.0, 1.5, None, None) for method in ("halo", "aperture", "halo")]
    assert query(path, sql) == [*old, ("aperture", None, 2.0, 2.0, 0.5)]
    assert "starid" not in {row[1] for row in query(path, "PRAGMA table_info(diagnostics)")}


def remake_diagnostics(path, columns, *statements):
    """The table as yet another tool makes it, with a row for priority 1 and one that belongs to no
    task.
    """
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute("DROP TABLE diagnostics")
        conn.execute(f"CREATE TABLE diagnostics (priority INTEGER PRIMARY KEY NOT NULL, {columns})")
        for sql in statements:
            conn.execute(sql)
        row = "(priority, starid, lightcurve, elaptime, errors, their_own)"
        conn.execute(f"INSERT INTO diagnostics {row} VALUES (1, 1, 'a.fits', 2.5, 'dark', 7)")
        conn.execute(f"INSERT INTO diagnostics {row} VALUES (99, 2, 'b.fits', 2.5, 'dark', 8)")
        conn.commit()


OTHERS = "lightcurve TEXT, elaptime REAL NOT NULL, errors TEXT, their_own INT DEFAULT 3"
STARS = "CREATE TABLE stars (starid INTEGER PRIMARY KEY)"


@pytest.mark.parametrize(
    ("columns", "statements"),
    [
        (f"starid BIGINT NOT NULL UNIQUE, {OTHERS}", []),
        (
            f"starid BIGINT REFERENCES stars(starid), {OTHERS}",
            [STARS, "INSERT INTO stars VALUES (1), (2)"],
        ),
        (f"starid BIGINT, {OTHERS}, FOREIGN KEY (starid) REFERENCES stars(starid)", [STARS]),
        (f"starid BIGINT, {OTHERS}, UNIQUE (lightcurve, starid)", []),
        (f"starid BIGINT CHECK (starid > 0), {OTHERS}", []),
        (f"starid BIGINT, {OTHERS}", ["CREATE INDEX i ON diagnostics (starid, lightcurve)"]),
        (f"starid BIGINT, {OTHERS}", ["CREATE UNIQUE INDEX i ON diagnostics (lightcurve, starid)"]),
        (f"starid BIGINT, {OTHERS}", ["CREATE INDEX i ON diagnostics (errors) WHERE starid > 5"]),
        (f"starid BIGINT, {OTHERS}", ["CREATE VIEW v AS SELECT priority, errors FROM diagnostics"]),
    ],
)
def test_starid_goes_whatever_index_or_constraint_it_is_in(
    path, open_todo, columns, statements, caplog
):
    make_old_file(path, [(1, 1, "ffi", None, 1), (2, 1, "ffi", None, None)])
    remake_diagnostics(path, columns, *statements)
    with open_todo(path) as tm:
        tm.save_result(make_result(tm.get_task(), filepath_lightcurve="c.fits"))
    assert "starid" not in {row[1] for row in query(path, "PRAGMA table_info(diagnostics)")}
    rows = query(
        path,
        "SELECT priority, lightcurve, elaptime, errors, their_own FROM diagnostics ORDER BY "
        "priority",
    )
    assert rows == [(1, "a.fits", 2.5, "dark", 7), (2, "c.fits", 2.0, None, 3)]
    assert "1 rows of diagnostics belong to no task" in caplog.text


@pytest.mark.parametrize(
    ("unique", "statements"),
    [(", UNIQUE (lightcurve)", []), ("", ["CREATE UNIQUE INDEX lc ON diagnostics (lightcurve)"])],
)
def test_indices_and_constraints_without_starid_stay(path, open_todo, unique, statements):
    make_old_file(path, [(1, 1, "ffi", None, 1), (2, 1, "ffi", None, None)])
    remake_diagnostics(path, f"starid BIGINT, {OTHERS}{unique}", *statements)
    with open_todo(path) as tm:
        tm.save_result(make_result(tm.get_task(), filepath_lightcurve="a.fits"))
        assert (
            tm.cursor.execute("SELECT status FROM todolist WHERE priority = 2").fetchone()[0]
            == STATUS.ERROR
        )


def test_tables_that_cannot_be_brought_up_to_date_are_refused_and_left_as_they_were(
    path, in_memory
):
    make_old_file(path, [(1, 1, "ffi", None, 1)])
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute("DROP TABLE diagnostics")
        conn.execute(
            "CREATE TABLE diagnostics (starid INTEGER PRIMARY KEY, priority INTEGER, elaptime REAL)"
        )
        conn.execute("INSERT INTO diagnostics VALUES (1, 1, 2.0), (2, 1, 2.0)")
        conn.commit()
    before = path.read_bytes()
    with pytest.raises(
        TodoFileError,
        match=r"todo.sqlite: the tables of an older tool cannot be brought up to date",
    ):
        TaskManager(path, load_into_memory=in_memory)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["todo.sqlite"]


def test_migrations_are_recorded_and_applied_once(path, open_todo):
    make_old_file(path, [(1, 1, "ffi", None, None)])
    open_todo(path).close()
    applied = query(path, "SELECT * FROM migrations ORDER BY name")
    names = {
        "add_todolist_columns",
        "drop_diagnostics_starid",
        "add_diagnostics_columns",
        "add_indices",
    }
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
