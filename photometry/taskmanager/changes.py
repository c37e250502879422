"""What can be changed in a TODO-file, as named statements.

Every change that the task manager makes goes through `apply`, as a list of ``(name, rows)``: the live database, and the
replay of the journal after a crash. Each statement gives the same end when it is applied twice, so a replay may begin
earlier than it has to.
"""

from itertools import groupby
from operator import itemgetter

import msgspec

from . import schema

_DIAGNOSTICS = tuple(schema.DIAGNOSTICS_COLUMNS)
_ATTEMPTS = tuple(schema.ATTEMPTS_COLUMNS)
_RUNS = tuple(schema.RUNS_COLUMNS)


def _insert(table, columns, verb="INSERT"):
    names = ", ".join(f'"{name}"' for name in columns)
    return f"{verb} INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"


STATEMENTS = {
    # name: SQL                                                                       parameters
    "status": "UPDATE todolist SET status = ? WHERE priority = ?",  #                 status, priority
    "method": "UPDATE todolist SET method = ? WHERE priority = ?",  #                 method, priority
    # Replaces the row of this task only: a second task with the same light-curve file is an error, not a replacement.
    "diagnostics": _insert("diagnostics", _DIAGNOSTICS)
    + " ON CONFLICT (priority) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _DIAGNOSTICS[1:]),
    "no diagnostics": "DELETE FROM diagnostics WHERE priority = ?",
    "skipped": """INSERT INTO photometry_skipped (priority, skipped_by) SELECT ?1, ?2 WHERE NOT EXISTS (
        SELECT 1 FROM photometry_skipped WHERE priority = ?1 AND skipped_by = ?2)""",
    "not skipped": "DELETE FROM photometry_skipped WHERE priority = ?",
    "skips nobody": "DELETE FROM photometry_skipped WHERE skipped_by = ?",
    "attempt": _insert("attempts", _ATTEMPTS, "INSERT OR REPLACE"),
    "deaths forgiven": "UPDATE attempts SET died = 0 WHERE died = 1 AND priority = ?",
    "run": _insert("runs", _RUNS, "INSERT OR REPLACE"),
    "override": "INSERT OR REPLACE INTO overrides (priority, settings) VALUES (?, ?)",
    "no override": "DELETE FROM overrides WHERE priority = ?",
    "setting": "INSERT OR REPLACE INTO todo_settings (key, value) VALUES (?, ?)",
    "no setting": "DELETE FROM todo_settings WHERE key = ?",
    "all to do": "UPDATE todolist SET status = NULL WHERE status IS NOT NULL",
    "all diagnostics gone": "DELETE FROM diagnostics",
    "all skips gone": "DELETE FROM photometry_skipped",
    "all deaths forgiven": "UPDATE attempts SET died = 0 WHERE died = 1",
    "all overrides gone": "DELETE FROM overrides",
}

ONCE = ((),)  # the rows of a statement without parameters

_SAME_STATUS = "UPDATE todolist SET status = ?1 WHERE priority IN (SELECT value FROM json_each(?2))"
_to_json = msgspec.json.Encoder().encode


def apply(cursor, changes):
    """Make ``changes``: an iterable of ``(name, rows)``, name from `STATEMENTS`, rows an iterable of parameters."""
    for name, rows in changes:
        if name == "status" and len(rows) > 1:
            _set_statuses(cursor, rows)
        else:
            cursor.executemany(STATEMENTS[name], rows)


def _set_statuses(cursor, rows):
    """As the statement "status" for each row, but those with the same status in one go, which takes half the time."""
    for status, group in groupby(rows, itemgetter(0)):
        cursor.execute(
            _SAME_STATUS, (status, _to_json([priority for _, priority in group]).decode())
        )
