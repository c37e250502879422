"""Files made by older tools, brought up to date: one named function per change, recorded in the
file when applied.
"""

import datetime
import logging

from ..errors import TodoFileError
from . import schema

log = logging.getLogger(__name__)

_FFI_CADENCE = "CASE WHEN sector < 27 THEN 1800 WHEN sector < 56 THEN 600 ELSE 200 END"  # s
_TPF_CADENCE = 120  # s, before sector 27; later sectors have 20-s target pixel files as well

# A file that has all these, and no `_OLD_COLUMN`, needs none of what follows.
_NAMES = "SELECT name, NULL FROM sqlite_master"
_ALL_COLUMNS = "SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c"
_COLUMNS = {"todolist": schema.TODOLIST_COLUMNS, "diagnostics": schema.DIAGNOSTICS_COLUMNS}
_CURRENT = {
    *((name, None) for name in schema.INDEX_NAMES),
    *(
        (table, column)
        for table, columns in (_COLUMNS | schema.OUR_COLUMNS).items()
        for column in columns
    ),
    ("attempts", "priority"),
}
_STAR_INDICES = {("todolist_identity", None), ("todolist_starid", None)}
_OLD_COLUMN = ("diagnostics", "starid")


class CadenceUnknownError(TodoFileError, ValueError):
    """The cadence of a target cannot be known from what an older file says; a ValueError, as the
    interface promises.
    """


def check_migratable(conn, path):
    """Refuse a file without cadences where they cannot be known, before anything is changed.

    Raises
    ------
    CadenceUnknownError : which is a ValueError
    """
    columns = _columns(conn, "todolist")
    is_ffi = "datasource = 'ffi'" if "datasource" in columns else "1"
    sql = (
        f"SELECT priority, sector FROM todolist WHERE sector IS NULL OR (NOT ({is_ffi}) AND "
        "sector >= 27) LIMIT 1"
    )
    row = conn.execute(sql).fetchone()
    if row:
        raise CadenceUnknownError(
            f"{path}: has no column cadence, and that of priority {row[0]} (sector {row[1]}, not "
            "FFI) cannot be known;"
            " the TODO-file must be made anew"
        )


def migrate(conn):
    """Apply what is missing, inside the transaction of the caller, and record it in the table
    ``migrations``.
    """
    have = {tuple(row) for sql in (_NAMES, _ALL_COLUMNS) for row in conn.execute(sql).fetchall()}
    if have >= _CURRENT and _OLD_COLUMN not in have and have & _STAR_INDICES:
        return
    applied = [rename_attempts] if rename_attempts(conn) else []
    for sql in (*schema.PROGRESS_TABLES, *schema.OUR_TABLES):
        conn.execute(sql)
    later = (
        add_todolist_columns,
        drop_diagnostics_starid,
        add_diagnostics_columns,
        add_indices,
        excuse_tasks_of_killed_masters,
    )
    applied += [migration for migration in later if migration(conn)]
    for table, columns in schema.OUR_COLUMNS.items():
        if missing := [name for name in columns if name not in _columns(conn, table)]:
            raise TodoFileError(
                f"the TODO-file is damaged: its table {table} has no column {missing[0]!r}; take "
                "an earlier copy"
            )
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    for migration in applied:
        conn.execute("INSERT OR REPLACE INTO migrations VALUES (?, ?)", (migration.__name__, now))
        log.info("TODO-file brought up to date: %s", migration.__name__)


def rename_attempts(conn):
    """``attempts``, a table in format 1, is a view; its rows are in ``attempt_records``."""
    row = conn.execute("SELECT type FROM sqlite_master WHERE name = 'attempts'").fetchone()
    if row is None or row[0] != "table":
        return False
    conn.execute("ALTER TABLE attempts RENAME TO attempt_records")
    return True


def add_todolist_columns(conn):
    """``datasource``, ``cadence`` and what else an older ``todolist`` lacks; True where something
    was missing.
    """
    missing = [name for name in schema.TODOLIST_COLUMNS if name not in _columns(conn, "todolist")]
    for name in missing:
        conn.execute(f"ALTER TABLE todolist ADD COLUMN {name} {schema.TODOLIST_COLUMNS[name]}")
    if "cadence" in missing:
        conn.execute(
            f"UPDATE todolist SET cadence = CASE WHEN datasource = 'ffi' THEN {_FFI_CADENCE} ELSE "
            f"{_TPF_CADENCE} END"
        )
    return bool(missing)


def drop_diagnostics_starid(conn):
    """The star's number belongs into ``todolist`` only.

    The table is made anew, because indices and constraints may hold on to the column. All others
    come along, and so do the indices and constraints that have nothing to do with it.
    """
    if "starid" not in _columns(conn, "diagnostics"):
        return False
    definitions = _definitions_without_starid(conn)
    names = ", ".join(f'"{name}"' for name in definitions)
    statements = [*_unique_without_starid(conn), *_indices_and_triggers_without_starid(conn)]
    conn.execute(f"CREATE TEMP TABLE kept AS SELECT {names} FROM diagnostics")
    conn.execute("DROP TABLE diagnostics")
    conn.execute(schema.table_sql("diagnostics", definitions))
    rows = conn.execute(
        f"INSERT INTO diagnostics ({names}) SELECT {names} FROM kept WHERE priority IN (SELECT "
        "priority FROM todolist)"
    )
    (n_kept,) = conn.execute("SELECT COUNT(*) FROM kept").fetchone()
    if rows.rowcount < n_kept:
        log.warning(
            "%d rows of diagnostics belong to no task and are left out", n_kept - rows.rowcount
        )
    conn.execute("DROP TABLE kept")
    for sql in statements:
        conn.execute(sql)
    return True


def _definitions_without_starid(conn):
    """``{column: type and constraints}`` of the table diagnostics."""
    definitions = {}
    for _, name, kind, is_not_null, default, _ in conn.execute(
        "PRAGMA table_info(diagnostics)"
    ).fetchall():
        definitions[name] = (
            kind
            + " NOT NULL" * is_not_null
            + (f" DEFAULT {default}" if default is not None else "")
        )
    del definitions["starid"]
    return definitions | {"priority": schema.DIAGNOSTICS_COLUMNS["priority"]}


def _unique_without_starid(conn):
    """Statements for unique indices in place of the UNIQUE constraints of the table diagnostics."""
    statements = []
    for _, index, _, origin, _ in conn.execute("PRAGMA index_list(diagnostics)").fetchall():
        columns = [row[2] for row in conn.execute(f'PRAGMA index_info("{index}")')]
        if origin == "u" and "starid" not in columns:
            name, listed = (
                "_".join(["diagnostics_unique", *columns]),
                ", ".join(f'"{column}"' for column in columns),
            )
            statements.append(f'CREATE UNIQUE INDEX "{name}" ON diagnostics ({listed})')
    return statements


def _indices_and_triggers_without_starid(conn):
    """Statements that make them again, except those that mention the column."""
    sql = """SELECT sql FROM sqlite_master
        WHERE tbl_name = 'diagnostics' AND type IN ('index', 'trigger')
        AND instr(lower(sql), 'starid') = 0"""
    return [row[0] for row in conn.execute(sql)]


def add_diagnostics_columns(conn):
    """``edge_flux``, ``worker_wait_time``, ``method_used`` and what else an older ``diagnostics``
    lacks.
    """
    missing = [
        name for name in schema.DIAGNOSTICS_COLUMNS if name not in _columns(conn, "diagnostics")
    ]
    for name in missing:
        kind = schema.DIAGNOSTICS_COLUMNS[name].replace(" UNIQUE", "")
        default = {"method_used": " DEFAULT 'aperture'", "elaptime": " DEFAULT 0"}.get(name, "")
        conn.execute(f"ALTER TABLE diagnostics ADD COLUMN {name} {kind}{default}")
    if "method_used" in missing:
        _fill_method_used(conn)
    return bool(missing)


def add_indices(conn):
    """What finds a star's rows, and the rows still to do, without reading the others."""
    is_changed = _add_lightcurve_index(conn)
    names = {row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    if schema.TODO_INDEX_NAME in names and names & {"todolist_identity", "todolist_starid"}:
        return is_changed
    conn.execute(schema.TODO_INDEX)
    if "todolist_identity" not in names:  # not unique: an older file may hold a target twice
        conn.execute("CREATE INDEX IF NOT EXISTS todolist_starid ON todolist (starid)")
    return True


def _add_lightcurve_index(conn):
    """No two tasks may have the same light-curve file; an older file in which they have stays as it
    is.
    """
    for _, index, is_unique, *_ in conn.execute("PRAGMA index_list(diagnostics)").fetchall():
        columns = [row[2] for row in conn.execute(f'PRAGMA index_info("{index}")')]
        if is_unique and columns == ["lightcurve"]:
            return False
    twice = (
        "SELECT 1 FROM diagnostics WHERE lightcurve IS NOT NULL GROUP BY lightcurve HAVING "
        "COUNT(*) > 1"
    )
    if conn.execute(twice).fetchone():
        return False
    conn.execute(schema.DIAGNOSTICS_INDEX)
    return True


def excuse_tasks_of_killed_masters(conn):
    """Format 1 counted it against a task that it was STARTED when the master was killed; that is no
    evidence.
    """
    cursor = conn.execute(
        "UPDATE attempt_records SET died = 0 WHERE died = 1 AND error_text = 'was running when "
        "its process died'"
    )
    return cursor.rowcount > 0


def _fill_method_used(conn):
    """The method asked for; where none was, aperture photometry, unless it says that it switched to
    halo.
    """
    conn.execute(
        """UPDATE diagnostics SET method_used = COALESCE(
            (SELECT method FROM todolist WHERE todolist.priority = diagnostics.priority),
            CASE WHEN errors LIKE '%switched to Halo%' THEN 'halo' ELSE 'aperture' END)"""
    )


def _columns(conn, table):
    return {row[1] for row in conn.execute(f"PRAGMA table_info({table})")}
