"""The tables of a TODO-file, their rows by name, and every change that is made in them.

``todolist``, ``diagnostics`` and ``photometry_skipped`` are the tables that every tool of the field
knows. The others are ours, and no other tool needs to know them: ``attempts``, a view that shows
one row per attempt (what was tried, when and where), and the two tables that it reads; ``runs``;
``overrides`` and ``original_methods`` (what a retry changed for single tasks); ``todo_settings``
(identity of the file) and ``migrations`` (what was changed in files made by older tools).

Nothing here or elsewhere depends on the order of the columns: each statement names those that it
fills.

Every change that the task manager makes goes through `apply`, as a list of ``(name, rows)``: the
live database, and the replay of the journal after a crash. Each statement gives the same end when
it is applied twice, so a replay may begin earlier than it has to.
"""

from typing import NamedTuple

import msgspec

from ..constants import K2, KEPLER, TESS

TODOLIST_COLUMNS = {
    "priority": "INTEGER PRIMARY KEY",  # 1 is the brightest target
    "starid": "INTEGER",
    "sector": "INTEGER",
    "datasource": "TEXT DEFAULT 'ffi'",  # 'ffi', 'tpf', or 'tpf:STARID' for a secondary target
    "camera": "INTEGER",
    "ccd": "INTEGER",
    "cadence": "INTEGER",  # s
    "method": "TEXT DEFAULT NULL",
    "tmag": "REAL",
    "status": "INTEGER DEFAULT NULL",  # STATUS; NULL is to do
    "cbv_area": "INTEGER",
}

_OF_A_TASK = "REFERENCES todolist(priority) ON DELETE CASCADE ON UPDATE CASCADE"

DIAGNOSTICS_COLUMNS = {
    "priority": f"INTEGER PRIMARY KEY {_OF_A_TASK}",
    "lightcurve": "TEXT",  # path relative to the output folder; unique, see DIAGNOSTICS_INDEX
    "method_used": "TEXT NOT NULL",
    "elaptime": "REAL NOT NULL",  # s
    "worker_wait_time": "REAL",  # s
    "mean_flux": "REAL",  # e-/s
    "variance": "REAL",
    "variability": "REAL",
    "rms_hour": "REAL",
    "ptp": "REAL",
    "pos_row": "REAL",  # pixels
    "pos_column": "REAL",  # pixels
    "contamination": "REAL",
    "mask_size": "INTEGER",  # pixels
    "edge_flux": "REAL",  # e-/s
    "stamp_width": "INTEGER",  # columns
    "stamp_height": "INTEGER",  # rows
    "stamp_resizes": "INTEGER",
    "errors": "TEXT",  # messages joined by newline
    "inputs": "TEXT",  # JSON, see provenance.made_from; NULL: not known
    "method_hash": "TEXT",  # of the method that was asked for and the settings that it reads
    "version": "TEXT",  # of the program, with its commit
}

ATTEMPTS_COLUMNS = {
    "priority": "INTEGER NOT NULL",
    "start": "REAL NOT NULL",  # Unix time, s
    "run": "INTEGER",
    "host": "TEXT",
    "rank": "INTEGER",
    "end": "REAL",  # Unix time, s
    "seconds": "REAL",
    "peak_memory": "REAL",  # bytes
    "status": "INTEGER",  # STATUS of its result; NULL where it brought none
    # 1: took its process down, and counts against max_attempts
    "died": "INTEGER NOT NULL DEFAULT 0",
    "error_class": "TEXT",
    "error_text": "TEXT",
}

RUNS_COLUMNS = {
    "run": "INTEGER PRIMARY KEY",
    "command": "TEXT",
    "version": "TEXT",
    "constraints": "TEXT",  # JSON
    "settings": "TEXT",  # JSON
    "host": "TEXT",
    "pid": "INTEGER",
    "start": "TEXT",  # ISO 8601, UTC
    "end": "TEXT",  # ISO 8601, UTC; NULL: still running, or killed
    "exit_code": "INTEGER",
    "reason": "TEXT",
    "info": "TEXT",  # JSON, whatever else the caller gave
}


class Diagnostics(NamedTuple):
    """A row of the table ``diagnostics``."""

    priority: int
    lightcurve: str
    method_used: str
    elaptime: float
    worker_wait_time: float
    mean_flux: float
    variance: float
    variability: float
    rms_hour: float
    ptp: float
    pos_row: float
    pos_column: float
    contamination: float
    mask_size: int
    edge_flux: float
    stamp_width: int
    stamp_height: int
    stamp_resizes: int
    errors: str
    inputs: str
    method_hash: str
    version: str


class BriefDiagnostics(NamedTuple):
    """The row of a result without details; all other columns are NULL."""

    priority: int
    method_used: str
    elaptime: float
    worker_wait_time: float


class Attempt(NamedTuple):
    """A row of the table ``attempt_records``."""

    priority: int
    start: float
    run: int
    host: str
    rank: int
    end: float
    seconds: float
    peak_memory: float
    status: int
    died: int
    error_class: str
    error_text: str


class AttemptBlock(NamedTuple):
    """A row of the table ``attempt_blocks``: attempts of one worker that all ended well."""

    first: int  # priority of the first one
    start: float  # of the first one
    run: int
    host: str
    rank: int
    status: int
    attempts: str  # JSON, a list of [priority, start, seconds, peak_memory]


_KEPLER_CADENCES = (60, 1800)  # s, nominal, of target pixel files; those of TESS have 20 and 120 s
# K2's catalogue begins at 201,000,001 (Huber et al. 2016), Kepler's ends at 13,161,029
_FIRST_EPIC = 200_000_000


def star_label(starid, datasource, cadence):
    """What people call the star of a row of ``todolist``: 'TIC 25155310', 'KIC 8462852', 'EPIC
    201912552'.

    Parameters
    ----------
    starid : int
    datasource : str
    cadence : int, s
    """
    if str(datasource).startswith("tpf") and cadence in _KEPLER_CADENCES:
        return (K2 if starid is not None and starid >= _FIRST_EPIC else KEPLER).label(starid)
    return TESS.label(starid)


def table_sql(name, columns, tail=""):
    """``CREATE TABLE`` statement of a table.

    Parameters
    ----------
    name : str
    columns : dict, name -> type and constraints
    tail : str, what follows the definitions
    """
    body = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({body}){tail}"


TODOLIST = table_sql("todolist", TODOLIST_COLUMNS)
DIAGNOSTICS = table_sql("diagnostics", DIAGNOSTICS_COLUMNS)
SKIPPED = f"""CREATE TABLE IF NOT EXISTS photometry_skipped (
    priority INTEGER NOT NULL {_OF_A_TASK}, skipped_by INTEGER NOT NULL {_OF_A_TASK})"""

# Only light curves that are there: NULLs would cost a third of the time of saving a result without
# details.
DIAGNOSTICS_INDEX = """CREATE UNIQUE INDEX IF NOT EXISTS diagnostics_lightcurve
    ON diagnostics (lightcurve) WHERE lightcurve IS NOT NULL"""

PROGRESS_TABLES = (
    DIAGNOSTICS,
    SKIPPED,
    "CREATE INDEX IF NOT EXISTS photometry_skipped_priority ON photometry_skipped (priority)",
    "CREATE INDEX IF NOT EXISTS photometry_skipped_by ON photometry_skipped (skipped_by)",
)

# Each name of a column once from the records, once from the blocks.
_OF_A_BLOCK = {
    "priority": "json_extract(value, '$[0]')",
    "start": "json_extract(value, '$[1]')",
    "end": "json_extract(value, '$[1]') + json_extract(value, '$[2]')",
    "seconds": "json_extract(value, '$[2]')",
    "peak_memory": "json_extract(value, '$[3]')",
    "run": "run",
    "host": "host",
    "rank": "rank",
    "status": "status",
    "died": "0",
    "error_class": "NULL",
    "error_text": "NULL",
}
ATTEMPTS_VIEW = """CREATE VIEW IF NOT EXISTS attempts AS
    SELECT {} FROM attempt_records UNION ALL SELECT {} {}""".format(
    ", ".join(f'"{name}"' for name in ATTEMPTS_COLUMNS),
    ", ".join(f'{_OF_A_BLOCK[name]} AS "{name}"' for name in ATTEMPTS_COLUMNS),
    "FROM attempt_blocks, json_each(attempt_blocks.attempts)",
)

OUR_TABLES = (
    # kept sorted by task and time without an index of its own, which is the smallest way to store
    # it
    table_sql("attempt_records", ATTEMPTS_COLUMNS).removesuffix(")")
    + ", PRIMARY KEY (priority, start)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS attempts_died ON attempt_records (priority) WHERE died = 1",
    "CREATE TABLE IF NOT EXISTS attempt_blocks (first INTEGER NOT NULL, start REAL NOT NULL, run "
    "INTEGER, host TEXT,"
    " rank INTEGER, status INTEGER, attempts TEXT NOT NULL, PRIMARY KEY (first, start))",
    ATTEMPTS_VIEW,
    table_sql("runs", RUNS_COLUMNS),
    "CREATE TABLE IF NOT EXISTS overrides (priority INTEGER PRIMARY KEY, settings TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS original_methods (priority INTEGER PRIMARY KEY, method TEXT)",
    "CREATE TABLE IF NOT EXISTS todo_settings (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied TEXT NOT NULL) WITHOUT "
    "ROWID",
)

OUR_COLUMNS = {
    "attempt_records": Attempt._fields,
    "attempt_blocks": AttemptBlock._fields,
    "runs": tuple(RUNS_COLUMNS),
    "overrides": ("priority", "settings"),
    "original_methods": ("priority", "method"),
    "todo_settings": ("key", "value"),
    "migrations": ("name", "applied"),
    "photometry_skipped": ("priority", "skipped_by"),
}
"""What each of these tables has in every file of this format."""

# no two rows may be equal in all of these
IDENTITY = ("starid", "sector", "camera", "ccd", "cadence", "datasource")
IDENTITY_INDEX = (
    f"CREATE UNIQUE INDEX IF NOT EXISTS todolist_identity ON todolist ({', '.join(IDENTITY)})"
)

# Only rows that are still to do are in this index, so that finding the next one never walks past
# finished rows.
TODO_INDEX_NAME = "todolist_todo"
TODO_INDEX = (
    f"CREATE INDEX IF NOT EXISTS {TODO_INDEX_NAME} ON todolist (priority) WHERE status IS NULL"
)

INDEX_NAMES = (
    TODO_INDEX_NAME,
    "diagnostics_lightcurve",
    "photometry_skipped_priority",
    "photometry_skipped_by",
    "attempts_died",
)

FORMAT = 2
"""Of the tables in OUR_TABLES; a program refuses files of a higher one."""

WRITE_IDENTITY = f"""INSERT OR REPLACE INTO todo_settings (key, value)
    VALUES ('id', ?), ('generation', ?), ('format', '{FORMAT}')"""
"""Writes which file it is, and the generation of the first journal that it does not have in it, a
text.
"""


def _insert(table, columns, verb="INSERT"):
    names = ", ".join(f'"{name}"' for name in columns)
    return f"{verb} INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"


# Replaces the row of this task only: a second task with the same light-curve file is an error, not
# a replacement.
_REPLACE_DIAGNOSTICS = " ON CONFLICT (priority) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in Diagnostics._fields if name != "priority"
)
_BRIEF_DIAGNOSTICS = _insert("diagnostics", BriefDiagnostics._fields) + _REPLACE_DIAGNOSTICS
_DIAGNOSTICS = _insert("diagnostics", Diagnostics._fields) + _REPLACE_DIAGNOSTICS
_ATTEMPT_BLOCK = _insert("attempt_blocks", AttemptBlock._fields, "INSERT OR REPLACE")

STATEMENTS = {
    # name: SQL                                                                       parameters
    #                 status, priority
    "status": "UPDATE todolist SET status = ? WHERE priority = ?",
    # first and last are numbers of tasks that are all there and all meant            status, first,
    # last
    "status of range": "UPDATE todolist SET status = ? WHERE priority BETWEEN ? AND ?",
    #                                                                                 status, JSON
    # list of priorities
    "status of list": """UPDATE todolist SET status = ?
        WHERE priority IN (SELECT value FROM json_each(?))""",
    #                 method, priority
    "method": "UPDATE todolist SET method = ? WHERE priority = ?",
    "original method": "INSERT OR IGNORE INTO original_methods (priority, method) VALUES (?, ?)",
    "method as before": """UPDATE todolist
        SET method = (SELECT method FROM original_methods WHERE priority = ?1)
        WHERE priority = ?1 AND EXISTS (SELECT 1 FROM original_methods WHERE priority = ?1)""",
    "no original method": "DELETE FROM original_methods WHERE priority = ?",
    "diagnostics": _DIAGNOSTICS,
    "brief diagnostics": _BRIEF_DIAGNOSTICS,
    "no diagnostics": "DELETE FROM diagnostics WHERE priority = ?",
    "skipped": """INSERT INTO photometry_skipped (priority, skipped_by) SELECT ?1, ?2
        WHERE NOT EXISTS (
            SELECT 1 FROM photometry_skipped WHERE priority = ?1 AND skipped_by = ?2)""",
    "not skipped": "DELETE FROM photometry_skipped WHERE priority = ?",
    "skips nobody": "DELETE FROM photometry_skipped WHERE skipped_by = ?",
    "attempt": _insert("attempt_records", Attempt._fields, "INSERT OR REPLACE"),
    "no crashes": "UPDATE attempt_records SET died = 0 WHERE died = 1 AND priority = ?",
    "run": _insert("runs", RUNS_COLUMNS, "INSERT OR REPLACE"),
    "override": "INSERT OR REPLACE INTO overrides (priority, settings) VALUES (?, ?)",
    "no override": "DELETE FROM overrides WHERE priority = ?",
    "setting": "INSERT OR REPLACE INTO todo_settings (key, value) VALUES (?, ?)",
    "no setting": "DELETE FROM todo_settings WHERE key = ?",
    "all to do": "UPDATE todolist SET status = NULL WHERE status IS NOT NULL",
    "no diagnostics at all": "DELETE FROM diagnostics",
    "nobody skipped": "DELETE FROM photometry_skipped",
    "no crashes at all": "UPDATE attempt_records SET died = 0 WHERE died = 1",
    "no overrides at all": "DELETE FROM overrides",
    "all methods as before": """UPDATE todolist SET method = (SELECT o.method
        FROM original_methods AS o WHERE o.priority = todolist.priority)
        WHERE priority IN (SELECT priority FROM original_methods)""",
    "no original methods": "DELETE FROM original_methods",
}

BLOCK = "block"
"""Name of the change whose rows are what `result.Packer` made of the plain results of a worker, as
JSON.
"""

ONCE = ((),)
"""The rows of a statement without parameters."""

JOURNAL_COLUMNS = {
    "diagnostics": Diagnostics._fields,
    "brief diagnostics": BriefDiagnostics._fields,
    "attempt": Attempt._fields,
    "run": tuple(RUNS_COLUMNS),
}
"""Which column each value of a change belongs to; a journal says it, so that it can be replayed by
a later version.
"""


class Block(NamedTuple):
    """The plain results of a worker: a row of the change `BLOCK`, which is this as a JSON list."""

    run: int | None
    host: str | None
    rank: int | None
    status: int
    first: int  # priority of the first attempt
    start: float  # of the first attempt
    attempts: str  # JSON, a list of [priority, start, seconds, peak_memory]
    brief: str  # JSON, a list of BriefDiagnostics
    full: list  # of Diagnostics; exact, while SQLite may round the last digit of what is JSON


to_block = msgspec.json.Decoder(Block).decode
_BRIEF_OF_JSON = "INSERT INTO diagnostics ({}) SELECT {} FROM json_each(?) WHERE 1 {}".format(
    ", ".join(BriefDiagnostics._fields),
    ", ".join(f"json_extract(value, '$[{i}]')" for i in range(len(BriefDiagnostics._fields))),
    _REPLACE_DIAGNOSTICS,
)


def apply(cursor, changes):
    """Make changes.

    Parameters
    ----------
    cursor : sqlite3.Cursor, in a transaction
    changes : iterable of (name, rows): name from `STATEMENTS`, rows an iterable of parameters; or
        `BLOCK`
    """
    for name, rows in changes:
        if name == BLOCK:
            for content in rows:
                _apply_block(cursor, to_block(content))
        else:
            cursor.executemany(STATEMENTS[name], rows)


def _apply_block(cursor, block):
    """In few statements, of which each leaves other threads alone while it runs."""
    if block.brief:
        cursor.execute(_BRIEF_OF_JSON, (block.brief,))
    if block.full:
        cursor.executemany(_DIAGNOSTICS, block.full)
    cursor.execute(_ATTEMPT_BLOCK, [getattr(block, name) for name in AttemptBlock._fields])
