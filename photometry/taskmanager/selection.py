"""Which tasks: from "camera 2, brighter than 8" to SQL; what is to do; and what a result, a crash
or a reset changes, also for other tasks.

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
from .result import NULL
from .schema import ONCE, Attempt, BriefDiagnostics, Diagnostics, star_label

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
SET_ASIDE = f"""(todolist.status = {STATUS.ERROR:d} AND todolist.priority IN (
    SELECT priority FROM attempt_records WHERE died = 1 GROUP BY priority
    HAVING COUNT(*) >= {{:d}}))"""


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
    again = f"todolist.status IN {_UNFINISHED} AND NOT {SET_ASIDE.format(max_attempts)}"
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


# --- which of two stars in one mask gets the light curve
#
# The outcome does not depend on the order in which results come: a target that was measured before
# the brighter star whose mask holds it loses its result, and those that it had made SKIPPED are to
# do again. So a run with many workers gives the same rows as one that goes through the targets from
# bright to faint.

_SKIPPED = int(STATUS.SKIPPED)
_NULLS = dict.fromkeys(Diagnostics._fields, NULL)

_TARGET = (
    "SELECT starid, sector, camera, ccd, cadence, datasource, tmag FROM todolist WHERE priority = ?"
)
_SKIPPED_ONLY_BY = f"""SELECT priority FROM photometry_skipped JOIN todolist USING (priority)
    WHERE skipped_by = ?1 AND status = {STATUS.SKIPPED:d} AND NOT EXISTS (
        SELECT 1 FROM photometry_skipped other
        WHERE other.priority = todolist.priority AND other.skipped_by != ?1)"""
# a star among the same images, from one of two data sources
_RIVALS = """SELECT priority, tmag FROM todolist WHERE starid = ? AND sector IS ? AND camera IS ?
    AND ccd IS ? AND cadence IS ? AND datasource IN (?, ?)"""


def in_batches(results, superseded):
    """Split results into lists that can be saved together.

    A result that touches other targets goes alone, so that those that come after it meet with what
    it did. So does one of a task that was superseded, SKIPPED by another result while it was
    running; and one of a task that occurs twice.

    Parameters
    ----------
    results : list of result.Result
    superseded : set of int, priorities
    """
    batch, priorities = [], set()
    for result in results:
        is_alone = result.skip_targets or result.priority in superseded
        if batch and (is_alone or result.priority in priorities):
            yield batch
            batch, priorities = [], set()
        batch.append(result)
        priorities.add(result.priority)
        if is_alone:
            yield batch
            batch, priorities = [], set()
    if batch:
        yield batch


def saving(cursor, results):
    """What saves results: status, diagnostics, attempts, and who is skipped.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    results : list of result.Result, of different tasks that exist; one of the lists of `in_batches`

    Returns
    -------
    statuses : list of (status, priorities)
    changes : list, as in `schema.apply`
    errors : list of str or None, the text of the errors of each result
    """
    of_others, skips, by_status, rows, texts = [], [], {}, [], []
    for result in results:
        status, errors = result.status, result.errors
        if result.skip_targets:
            of_others, skips, is_skipped, error = skip(cursor, result.priority, result.skip_targets)
            status = _SKIPPED if is_skipped else status
            errors = (*errors, error) if error else errors
        text = "\n".join(errors) if errors else None
        texts.append(text)
        row = result.diagnostics
        if text is not None:
            row = Diagnostics(**_NULLS | row._asdict() | {"errors": text})
        rows.append(row)
        by_status.setdefault(status, []).append(result.priority)
    brief = [row for row in rows if type(row) is BriefDiagnostics]
    full = [row for row in rows if type(row) is not BriefDiagnostics]
    attempts = [result.attempt for result in results if result.attempt]
    named = {"brief diagnostics": brief, "diagnostics": full, "attempt": attempts}
    changes = [(name, these) for name, these in named.items() if these]
    return [*of_others, *by_status.items()], [*changes, *skips], texts


def skip(cursor, priority, skip_targets):
    """What a result means for the targets that share its mask.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    priority : int, of the task that the result belongs to
    skip_targets : iterable of int, starid of the other stars in its mask

    Returns
    -------
    statuses : list of (status, priorities) of other tasks
    changes : list, as in `schema.apply`
    is_skipped : bool, True where the task itself becomes SKIPPED
    error : str or None, what else has to be reported
    """
    row = cursor.execute(_TARGET, (priority,)).fetchone()
    if row is None:
        raise ArgumentError(f"priority={priority!r}: there is no such task")
    starid, *images, datasource, tmag = row
    others = sorted(set(skip_targets) - {starid})
    kind, _, primary = (datasource or "").partition(":")
    primary = int(primary) if kind == "tpf" and primary.isdigit() else None
    if primary in others:
        return _skipped_by_primary(cursor, priority, primary, images)
    same = (*images, datasource, f"tpf:{starid}" if datasource == "tpf" else datasource)
    rivals = [row for other in others for row in cursor.execute(_RIVALS, (other, *same)).fetchall()]
    if not rivals:
        return [], [("not skipped", [(priority,)]), ("skips nobody", [(priority,)])], False, None
    return _brightest_wins(cursor, priority, tmag, rivals)


def _skipped_by_primary(cursor, priority, primary, images):
    rows = cursor.execute(_RIVALS, (primary, *images, "tpf", "tpf")).fetchall()
    if not rows:
        *_, cadence = images
        label = star_label(primary, "tpf", cadence)
        error = f"TargetNotFoundError: Could not find primary TPF target ({label})"
        return [], [("not skipped", [(priority,)])], True, error
    return [], [("not skipped", [(priority,)]), ("skipped", [(priority, rows[0][0])])], True, None


def _brightest_wins(cursor, priority, tmag, rivals):
    """The brighter star keeps its light curve; of equally bright ones that with the lower priority
    number.

    The losers lose the results that they may have, and what only they had made SKIPPED is to do
    again.
    """
    older = [("not skipped", [(priority,)]), ("skips nobody", [(priority,)])]
    brightest = min(rivals, key=_brightness)
    if _brightness((priority, tmag)) > _brightness(brightest):
        return [], [*older, ("skipped", [(priority, brightest[0])])], True, None
    losers = [rival for rival, _ in rivals]
    freed = [
        freed
        for loser in losers
        for (freed,) in cursor.execute(_SKIPPED_ONLY_BY, (loser,)).fetchall()
    ]
    rows = [(loser,) for loser in losers]
    changes = [("no diagnostics", rows), ("skips nobody", rows), *older]
    skipped = ("skipped", [(loser, priority) for loser in losers])
    return [(None, freed), (_SKIPPED, losers)], [*changes, skipped], False, None


def _brightness(row):
    priority, tmag = row
    is_number = isinstance(tmag, (int, float)) and tmag == tmag
    return (tmag if is_number else math.inf, priority)
