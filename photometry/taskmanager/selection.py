"""Which tasks: from "camera 2, brighter than 8" to SQL; what is to do; and which tasks a user
means.

The one rule: a task is to do where its status is NULL, and where it is unfinished or failed
(STARTED, ABORT, ERROR) and was not set aside. `to_do_condition` is that rule; a run applies it when
it opens the file, and whoever predicts a run counts with it. Set aside is a task that took its
process down ``max_attempts`` times; it is not tried again until it is reset.
"""

import math
import numbers
import sqlite3
import time

import numpy as np

from ..errors import ArgumentError
from ..status import STATUS
from .opening import damage_reported
from .schema import ONCE, Attempt, Diagnostics

_COLUMNS = ("priority", "starid", "sector", "cadence", "camera", "ccd", "cbv_area")

# The magnitude that counts: a secondary target is processed with its primary, so the primary's
# magnitude decides. Where the primary is not in the list, its own has to do.
_PRIMARY_TMAG = """(CASE WHEN todolist.datasource LIKE 'tpf:%' THEN COALESCE((
    SELECT p.tmag FROM todolist AS p
    WHERE p.starid = CAST(substr(todolist.datasource, 5) AS INTEGER) AND p.datasource = 'tpf'
    AND p.sector = todolist.sector AND p.camera = todolist.camera AND p.ccd = todolist.ccd
    AND p.cadence = todolist.cadence), todolist.tmag) ELSE todolist.tmag END)"""
PRIMARY_TMAG = " ".join(_PRIMARY_TMAG.split())


def build_constraints(
    priority=None,
    starid=None,
    sector=None,
    cadence=None,
    camera=None,
    ccd=None,
    cbv_area=None,
    datasource=None,
    tmag_min=None,
    tmag_max=None,
    return_list=False,
):
    """Conditions that select tasks of the table ``todolist``.

    All values pass through `int` or `float`, so the text may be pasted into a query.

    Parameters
    ----------
    priority, starid, sector, cadence, camera, ccd, cbv_area : int or several of them
        Only tasks with this value, or one of these values. ``cadence='ffi'`` means
        ``datasource='ffi'``; together with ``datasource='tpf'`` it selects nothing.
    datasource : str
        ``'ffi'`` means full-frame images, any other value means all that is not from full-frame
        images.
    tmag_min, tmag_max : float
        Bright and faint limit, both included. For secondary targets they apply to the primary
        target in whose target pixel file they lie: such a file is read once, and needs the memory
        of its bright star.
    return_list : bool
        Return the list of conditions, not the text.

    Returns
    -------
    conditions : str
        ``' AND …'``, ready to append to a query; the empty text where nothing was asked. With
        ``return_list`` a list of str, to be joined by AND.

    Raises
    ------
    ValueError : a value is not a number, or an empty collection
    """
    datasources = [] if datasource is None else [datasource]
    if isinstance(cadence, str) and cadence.strip().lower() == "ffi":
        cadence, datasources = None, ["ffi", *datasources]
    values = dict(
        zip(_COLUMNS, (priority, starid, sector, cadence, camera, ccd, cbv_area), strict=True)
    )
    conditions = [_any_of(name, value) for name, value in values.items() if value is not None]
    conditions += dict.fromkeys(map(_datasource, datasources))  # each once
    if (
        tmag_min is not None
        and tmag_max is not None
        and _float("tmag_min", tmag_min) > _float("tmag_max", tmag_max)
    ):
        raise ArgumentError(f"tmag_min={tmag_min!r}: expected at most tmag_max={tmag_max!r}")
    if tmag_min is not None:
        conditions.append(f"{PRIMARY_TMAG} >= {_float('tmag_min', tmag_min)!r}")
    if tmag_max is not None:
        conditions.append(f"{PRIMARY_TMAG} <= {_float('tmag_max', tmag_max)!r}")
    return conditions if return_list else "".join(f" AND {condition}" for condition in conditions)


def _any_of(name, value):
    several = (not isinstance(value, (str, bytes)) and np.ndim(value) != 0) or isinstance(
        value, (set, frozenset)
    )
    integers = sorted({_int(name, one) for one in (value if several else [value])})
    if not integers:
        raise ArgumentError(
            f"{name}={value!r}: no value at all; leave {name} out to select everything"
        )
    if len(integers) == 1:
        return f"todolist.{name} = {integers[0]}"
    return f"todolist.{name} IN ({', '.join(map(str, integers))})"


def _datasource(value):
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"datasource={value!r}: expected 'ffi' or 'tpf'")
    return f"todolist.datasource {'=' if value == 'ffi' else '!='} 'ffi'"


def _int(name, value):
    number = _float(name, value, kind="a whole number")
    if not number.is_integer():
        raise ArgumentError(f"{name}={value!r}: expected a whole number")
    number = int(value) if isinstance(value, numbers.Integral) else int(number)
    if not -(2**63) <= number < 2**63:
        raise ArgumentError(f"{name}={value!r}: expected a whole number of at most 64 bits")
    return number


def _float(name, value, kind="a number"):
    """``value`` as float. A truth value is not a number here: it is most often a mistake in the
    order of arguments.
    """
    try:
        number = math.nan if isinstance(value, (bool, np.bool_)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ArgumentError(f"{name}={value!r}: expected {kind}")
    return number


# --- what is to do

_UNFINISHED = f"({STATUS.STARTED:d}, {STATUS.ABORT:d}, {STATUS.ERROR:d})"
CRASHES = "SELECT priority, COUNT(*) FROM attempt_records WHERE died = 1 GROUP BY priority"
# crashed so many times that they are not tried again
_SET_ASIDE = f"""(todolist.status = {STATUS.ERROR:d} AND todolist.priority IN (
    SELECT priority FROM attempt_records WHERE died = 1 GROUP BY priority
    HAVING COUNT(*) >= {{:d}}))"""
_KEPT_CHANGES = "SELECT priority FROM overrides UNION SELECT priority FROM original_methods"
# The class of the error of the last attempt; where no attempt was recorded, what the text of the
# errors begins with.
_ERROR_CLASS = """CASE WHEN diagnostics.errors IS NOT NULL THEN COALESCE(
    (SELECT error_class FROM attempt_records AS a WHERE a.priority = todolist.priority
     ORDER BY start DESC LIMIT 1),
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
    again = f"todolist.status IN {_UNFINISHED} AND NOT {_SET_ASIDE.format(max_attempts)}"
    return f"((todolist.status IS NULL OR ({again})){conditions})"


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
            f"cleanup_constraints={constraints!r}: expected a dict of constraints or a list of "
            "SQL conditions"
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
    """Changes, but for the status, that leave tasks as if they had never been tried; only the
    record of attempts stays.
    """
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


@damage_reported()
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
    tasks : list of dict, with priority, starid, datasource, method, status (name), error_class and
        errors, by priority
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
        conditions.append(f"NOT {_SET_ASIDE.format(set_aside_after)}")
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
    """Name of a status as it is stored; ``'to do'`` for NULL, the number itself where it is no
    STATUS.
    """
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
