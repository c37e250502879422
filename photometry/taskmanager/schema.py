"""The tables of a TODO-file, as SQL.

``todolist``, ``diagnostics`` and ``photometry_skipped`` are the tables that every tool of the field knows. The others are
ours, and no other tool needs to know them: ``attempts`` and ``runs`` (what was tried, when and where), ``overrides``
(settings of single tasks for a retry), ``todo_settings`` (identity of the file) and ``migrations`` (what was changed in
files made by older tools).
"""

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

DIAGNOSTICS_COLUMNS = {
    "priority": "INTEGER PRIMARY KEY REFERENCES todolist(priority) ON DELETE CASCADE ON UPDATE CASCADE",
    "lightcurve": "TEXT UNIQUE",  # path relative to the output folder
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
}

ATTEMPTS_COLUMNS = {
    "priority": "INTEGER NOT NULL",
    "start": "REAL NOT NULL",  # unix time, s
    "run": "INTEGER",
    "host": "TEXT",
    "rank": "INTEGER",
    "end": "REAL",  # unix time, s
    "seconds": "REAL",
    "peak_memory": "REAL",  # bytes
    "status": "INTEGER",  # STATUS of its result; NULL where it brought none
    "died": "INTEGER NOT NULL DEFAULT 0",  # 1: took its process down, and counts against max_attempts
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
    "info": "TEXT",  # JSON, whatever else the caller told
}


def table_sql(name, columns, tail=""):
    """``CREATE TABLE`` statement of a table.

    ``attempts`` is kept sorted by task and time without an index of its own, which is the smallest way to store it.
    """
    body = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({body}){tail}"


TODOLIST = table_sql("todolist", TODOLIST_COLUMNS)
DIAGNOSTICS = table_sql("diagnostics", DIAGNOSTICS_COLUMNS)
SKIPPED = """CREATE TABLE IF NOT EXISTS photometry_skipped (
    priority INTEGER NOT NULL REFERENCES todolist(priority) ON DELETE CASCADE ON UPDATE CASCADE,
    skipped_by INTEGER NOT NULL REFERENCES todolist(priority) ON DELETE CASCADE ON UPDATE CASCADE)"""

PROGRESS_TABLES = (
    DIAGNOSTICS,
    SKIPPED,
    "CREATE INDEX IF NOT EXISTS photometry_skipped_priority ON photometry_skipped (priority)",
    "CREATE INDEX IF NOT EXISTS photometry_skipped_by ON photometry_skipped (skipped_by)",
)

OUR_TABLES = (
    table_sql("attempts", ATTEMPTS_COLUMNS).removesuffix(")")
    + ", PRIMARY KEY (priority, start)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS attempts_died ON attempts (priority) WHERE died = 1",
    table_sql("runs", RUNS_COLUMNS),
    "CREATE TABLE IF NOT EXISTS overrides (priority INTEGER PRIMARY KEY, settings TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS todo_settings (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied TEXT NOT NULL) WITHOUT ROWID",
)

# no two rows may share all of these
IDENTITY = (
    "starid",
    "sector",
    "camera",
    "ccd",
    "cadence",
    "datasource",
)
IDENTITY_INDEX = (
    f"CREATE UNIQUE INDEX IF NOT EXISTS todolist_identity ON todolist ({', '.join(IDENTITY)})"
)

# Only rows that are still to do are in this index, so that finding the next one never walks past finished rows.
TODO_INDEX_NAME = "todolist_todo"
TODO_INDEX = (
    f"CREATE INDEX IF NOT EXISTS {TODO_INDEX_NAME} ON todolist (priority) WHERE status IS NULL"
)

FORMAT = 1  # of the tables in OUR_TABLES; a program refuses files of a higher one
