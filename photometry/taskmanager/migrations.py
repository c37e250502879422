"""Files made by older tools, brought up to date: one named function per change, recorded in the file when applied."""

import datetime
import logging

from ..errors import TodoFileError
from . import schema

log = logging.getLogger(__name__)

_FFI_CADENCE = "CASE WHEN sector < 27 THEN 1800 WHEN sector < 56 THEN 600 ELSE 200 END"  # s
_TPF_CADENCE = 120  # s, before sector 27; later sectors have 20-s target pixel files as well


class CadenceUnknownError(TodoFileError, ValueError):
    """The cadence of a target cannot be told from what an older file says."""


def check_migratable(conn, path):
    """Refuse a file whose cadences cannot be known, before anything is changed.

    Raises
    ------
    CadenceUnknownError : which is a ValueError
    """
    columns = _columns(conn, "todolist")
    if "cadence" in columns:
        return
    is_ffi = "datasource = 'ffi'" if "datasource" in columns else "1"
    sql = f"SELECT priority, sector FROM todolist WHERE sector IS NULL OR (NOT ({is_ffi}) AND sector >= 27) LIMIT 1"
    row = conn.execute(sql).fetchone()
    if row:
        raise CadenceUnknownError(
            f"{path}: has no column cadence, and that of priority {row[0]} (sector {row[1]}, not FFI) cannot be known;"
            " the TODO-file must be made anew"
        )


def migrate(conn):
    """Apply what is missing, inside the transaction of the caller, and record it in the table ``migrations``."""
    for sql in (*schema.PROGRESS_TABLES, *schema.OUR_TABLES):
        conn.execute(sql)
    for migration in (add_todolist_columns, drop_diagnostics_starid, add_diagnostics_columns, add_indices):
        if migration(conn):
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            conn.execute("INSERT OR REPLACE INTO migrations VALUES (?, ?)", (migration.__name__, now))
            log.info("TODO-file brought up to date: %s", migration.__name__)


def add_todolist_columns(conn):
    """``datasource``, ``cadence`` and what else an older ``todolist`` lacks; True where something was missing."""
    missing = [name for name in schema.TODOLIST_COLUMNS if name not in _columns(conn, "todolist")]
    for name in missing:
        conn.execute(f"ALTER TABLE todolist ADD COLUMN {name} {schema.TODOLIST_COLUMNS[name]}")
    if "cadence" in missing:
        conn.execute(
            f"UPDATE todolist SET cadence = CASE WHEN datasource = 'ffi' THEN {_FFI_CADENCE} ELSE {_TPF_CADENCE} END"
        )
    return bool(missing)


def drop_diagnostics_starid(conn):
    """The star's number belongs into ``todolist`` only."""
    if "starid" not in _columns(conn, "diagnostics"):
        return False
    for row in conn.execute("PRAGMA index_list(diagnostics)").fetchall():
        columns = [info[2] for info in conn.execute(f'PRAGMA index_info("{row[1]}")')]
        if columns == ["starid"]:
            conn.execute(f'DROP INDEX "{row[1]}"')
    conn.execute("ALTER TABLE diagnostics DROP COLUMN starid")
    return True


def add_diagnostics_columns(conn):
    """``edge_flux``, ``worker_wait_time``, ``method_used`` and what else an older ``diagnostics`` lacks."""
    missing = [name for name in schema.DIAGNOSTICS_COLUMNS if name not in _columns(conn, "diagnostics")]
    for name in missing:
        kind = schema.DIAGNOSTICS_COLUMNS[name].replace(" UNIQUE", "")
        default = {"method_used": " DEFAULT 'aperture'", "elaptime": " DEFAULT 0"}.get(name, "")
        conn.execute(f"ALTER TABLE diagnostics ADD COLUMN {name} {kind}{default}")
    if "method_used" in missing:
        _fill_method_used(conn)
    return bool(missing)


def add_indices(conn):
    """What finds a star's rows, and the rows still to do, without reading the others."""
    names = {row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    if schema.TODO_INDEX_NAME in names and names & {"todolist_identity", "todolist_starid"}:
        return False
    conn.execute(schema.TODO_INDEX)
    if "todolist_identity" not in names:  # not unique: an older file may hold a target twice
        conn.execute("CREATE INDEX IF NOT EXISTS todolist_starid ON todolist (starid)")
    return True


def _fill_method_used(conn):
    """The method asked for; where none was, aperture photometry, unless it says that it switched to halo."""
    conn.execute(
        """UPDATE diagnostics SET method_used = COALESCE(
            (SELECT method FROM todolist WHERE todolist.priority = diagnostics.priority),
            CASE WHEN errors LIKE '%switched to Halo%' THEN 'halo' ELSE 'aperture' END)"""
    )


def _columns(conn, table):
    return {row[1] for row in conn.execute(f"PRAGMA table_info({table})")}
