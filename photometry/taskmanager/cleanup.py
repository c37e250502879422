"""What is to do: on opening a TODO-file, for a retry, for a reset; and which tasks a user means.

The one rule: a task is to do where its status is NULL, and where it is unfinished or failed (STARTED, ABORT, ERROR) and was
not set aside. `to_do_condition` is that rule; a run applies it when it opens the file, and whoever predicts a run counts
with it. Set aside is a task that took its process down ``max_attempts`` times; it is not tried again until it is reset.
"""

import sqlite3
import time
from collections import Counter

from ..errors import ArgumentError
from ..status import STATUS
from .constraints import build_constraints
from .opening import damage_reported
from .schema import ONCE, Attempt, Diagnostics

_UNFINISHED = f"({STATUS.STARTED:d}, {STATUS.ABORT:d}, {STATUS.ERROR:d})"
_CRASHED_OFTEN = (
    "SELECT priority FROM attempt_records WHERE died = 1 GROUP BY priority HAVING COUNT(*) >= {:d}"
)
_KEPT_CHANGES = "SELECT priority FROM overrides UNION SELECT priority FROM original_methods"
# The class of the error of the last attempt; where no attempt was recorded, what the text of the errors begins with.
_ERROR_CLASS = """CASE WHEN diagnostics.errors IS NOT NULL THEN COALESCE(
    (SELECT error_class FROM attempt_records AS a WHERE a.priority = todolist.priority ORDER BY start DESC LIMIT 1),
    substr(diagnostics.errors, 1, instr(diagnostics.errors, ':') - 1)) END"""


def to_do_condition(conditions="", *, max_attempts, overwrite=False):
    """SQL condition on rows of ``todolist`` for what a run has to do.

    Parameters
    ----------
    conditions : str, more of them, each after ``AND``
    max_attempts : int
    overwrite : bool, results are to be discarded
    """
    if overwrite:
        return f"(1{conditions})"
    again = f"todolist.status IN {_UNFINISHED} AND NOT {set_aside_condition(max_attempts)}"
    return f"((todolist.status IS NULL OR ({again})){conditions})"


def set_aside_condition(max_attempts):
    """SQL condition for tasks that crashed so often that they are not tried again."""
    often = _CRASHED_OFTEN.format(max_attempts)
    return f"(todolist.status = {STATUS.ERROR:d} AND todolist.priority IN ({often}))"


def cleanup_conditions(constraints):
    """SQL, each condition after ``AND``, of the argument ``cleanup_constraints``.

    Raises
    ------
    ValueError : neither a dict of arguments of build_constraints nor a list of SQL conditions
    """
    if constraints is None:
        return ""
    if isinstance(constraints, dict):
        try:
            constraints = build_constraints(**constraints, return_list=True)
        except TypeError as error:
            raise ArgumentError(f"cleanup_constraints={constraints!r}: {error}") from None
    if not isinstance(constraints, list) or not all(
        isinstance(condition, str) for condition in constraints
    ):
        raise ArgumentError(
            f"cleanup_constraints={constraints!r}: expected a dict of constraints or a list of SQL conditions"
        )
    return "".join(f" AND ({condition})" for condition in constraints)


def prepare(store, conditions, *, overwrite, max_attempts):
    """Give the tasks of a TODO-file that was just opened their chances.

    Parameters
    ----------
    store : store.Store
    conditions : str, see `cleanup_conditions`
    overwrite : bool, discard the results of those that match
    max_attempts : int

    Returns
    -------
    n_discarded : int, tasks that lost a result; 0 without ``overwrite``

    Raises
    ------
    ArgumentError : SQLite does not understand the conditions; nothing was changed
    """
    rule = to_do_condition(conditions, max_attempts=max_attempts, overwrite=overwrite)
    sql = f"SELECT priority FROM todolist WHERE todolist.status IS NOT NULL AND {rule}"
    try:
        priorities = [priority for (priority,) in store.cursor.execute(sql).fetchall()]
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise ArgumentError(f"cleanup_constraints: {error} in{conditions}") from None
    if not priorities and not overwrite:
        return 0
    if overwrite and not conditions:
        store.write(everything_discarded())
    elif overwrite:
        store.write([*_to_do(priorities), *discarded(priorities)])
    else:
        store.write([*_to_do(priorities), ("not skipped", _rows(priorities))])
    return len(priorities) if overwrite else 0


def everything_discarded():
    """Changes that discard all results. The history of attempts and runs stays."""
    names = (
        "all to do",
        "no diagnostics at all",
        "nobody skipped",
        "no crashes at all",
        "no overrides at all",
        "all methods as before",
        "no original methods",
    )
    return [(name, ONCE) for name in names]


def discarded(priorities):
    """Changes, but for the status, that leave tasks as if they had never been tried; only the record of attempts stays."""
    names = (
        "no diagnostics",
        "not skipped",
        "no crashes",
        "no override",
        "method as before",
        "no original method",
    )
    return [(name, _rows(priorities)) for name in names]


def _to_do(priorities):
    return [("status", [(None, priority) for priority in priorities])] if priorities else []


def _rows(priorities):
    return [(priority,) for priority in priorities]


class Crashes:
    """How many attempts of each task ended with the death of its process.

    Parameters
    ----------
    conn : sqlite3.Connection
    """

    def __init__(self, conn):
        self._conn = conn
        self.invalidate()

    def __getitem__(self, priority):
        return self._counts[priority]

    @property
    def priorities(self):
        """Of the tasks that crashed at least once."""
        return self._counts.keys()

    def add(self, priority):
        self._counts[priority] += 1

    def invalidate(self):
        """Something unknown has changed: count again. Few tasks crash, and they have an index."""
        rows = self._conn.own_cursor().execute(
            "SELECT priority, COUNT(*) FROM attempt_records WHERE died = 1 GROUP BY priority"
        )
        self._counts = Counter(dict(rows.fetchall()))


def crash_record(priority, why, **info):
    """The change that records that a task took its process down.

    Parameters
    ----------
    priority : int
    why : str, what is known of the crash
    **info : columns of `schema.Attempt`
    """
    row = dict.fromkeys(Attempt._fields) | {"died": 1, "error_class": "WorkerDied"}
    row |= {key: value for key, value in info.items() if value is not None}
    row |= {"priority": priority, "error_text": why, "start": row["start"] or time.time()}
    return "attempt", [Attempt(**row)]


def set_aside_record(priority, n_crashes, why, seconds=None):
    """The change that says why a task is an ERROR that is not tried again until it is reset.

    Parameters
    ----------
    priority : int
    n_crashes : int
    why : str, what is known of the last crash
    seconds : float or None, s that the last attempt took
    """
    times = "once" if n_crashes == 1 else f"{n_crashes} times"
    message = f"took its worker down {times}; left alone until `photometry reset` ({why})"
    row = dict.fromkeys(Diagnostics._fields) | {"priority": priority, "method_used": "none"}
    return "diagnostics", [Diagnostics(**row | {"elaptime": seconds or 0.0, "errors": message})]


@damage_reported
def select_tasks(
    conn, *, statuses=(), error_class=None, message=None, set_aside_after=None, changed=False,
    **constraints,
):  # fmt: skip
    """Tasks of a TODO-file that were touched and match all that is asked.

    Parameters
    ----------
    conn : connection of a TaskManager or of a view
    statuses : iterable of STATUS or names of it
    error_class : str, as ``ValueError``
    message : str, a part of the errors, whatever the case of the letters
    set_aside_after : int, optional
        Leave out those that took their worker down so many times.
    changed : bool
        Tasks that are to do with another method or other settings count as touched, too.
    **constraints : see `build_constraints`

    Returns
    -------
    tasks : list of dict, with priority, starid, datasource, method, status (name), error_class and errors, by priority
    """
    conditions, parameters = build_constraints(**constraints, return_list=True), []
    codes = [int(parse_status(status)) for status in statuses]
    if codes:
        conditions.append(f"todolist.status IN ({', '.join(map(str, codes))})")
    elif changed:
        conditions.append(
            f"(todolist.status IS NOT NULL OR todolist.priority IN ({_KEPT_CHANGES}))"
        )
    else:
        conditions.append("todolist.status IS NOT NULL")
    if error_class is not None:
        conditions.append(f"{_ERROR_CLASS} = ?")
        parameters.append(error_class)
    if message is not None:
        conditions.append("instr(lower(diagnostics.errors), lower(?)) > 0")
        parameters.append(message)
    if set_aside_after is not None:
        conditions.append(f"NOT {set_aside_condition(set_aside_after)}")
    keys = {
        "priority": "todolist.priority",
        "starid": "todolist.starid",
        "datasource": "todolist.datasource",
        "sector": "todolist.sector",
        "camera": "todolist.camera",
        "ccd": "todolist.ccd",
        "cadence": "todolist.cadence",
        "method": "todolist.method",
        "status": "todolist.status",
        "error_class": _ERROR_CLASS,
        "errors": "diagnostics.errors",
    }
    sql = f"""SELECT {", ".join(keys.values())} FROM todolist LEFT JOIN diagnostics USING (priority)
        WHERE {" AND ".join(conditions)} ORDER BY todolist.priority"""
    rows = conn.own_cursor().execute(sql, parameters).fetchall()
    tasks = [dict(zip(keys, row, strict=True)) for row in rows]
    return [task | {"status": status_name(task["status"])} for task in tasks]


def status_name(code):
    """Name of a status as it is stored; ``'to do'`` for NULL, the number itself where it is no STATUS."""
    if code is None:
        return "to do"
    try:
        return STATUS(code).name
    except ValueError:
        return str(code)


def parse_status(status):
    """A STATUS from its name, in any case, or its number.

    Raises
    ------
    ArgumentError
    """
    try:
        return STATUS[status.upper()] if isinstance(status, str) else STATUS(status)
    except (KeyError, ValueError):
        raise ArgumentError(
            f"status={status!r}: expected one of {', '.join(STATUS.__members__)}"
        ) from None
