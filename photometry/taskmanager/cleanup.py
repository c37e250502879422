"""What goes back to "to do": on opening a TODO-file, for a retry, and for a reset."""

import json
import sqlite3

from ..errors import ArgumentError
from ..status import STATUS
from .attempts import SET_ASIDE
from .changes import ONCE
from .constraints import build_constraints

_UNFINISHED = f"({STATUS.STARTED:d}, {STATUS.ABORT:d}, {STATUS.ERROR:d})"


def everything_to_do():
    """Changes that discard all results. The history of attempts and runs stays."""
    names = (
        "all to do",
        "all diagnostics gone",
        "all skips gone",
        "all deaths forgiven",
        "all overrides gone",
    )
    return [(name, ONCE) for name in names]


def to_do_again(priorities):
    """Changes that put tasks back to "to do" and discard their results."""
    rows = [(priority,) for priority in priorities]
    status = [(None, priority) for priority in priorities]
    return [("status", status), ("no diagnostics", rows), ("not skipped", rows)]


def forgiven(priorities):
    """Changes that forget why tasks were set aside, and what was overridden for them."""
    rows = [(priority,) for priority in priorities]
    return [("deaths forgiven", rows), ("no override", rows)]


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


def check_conditions(cursor, conditions):
    """Refuse SQL conditions that SQLite does not understand, before anything is changed."""
    try:
        cursor.execute(f"SELECT 1 FROM todolist WHERE 1{conditions} LIMIT 0")
    except sqlite3.Error as error:
        raise ArgumentError(f"cleanup_constraints: {error} in{conditions}") from None


def prepare(ledger, conditions, *, overwrite, max_attempts):
    """Give the tasks of a TODO-file that was just opened their chances; see `TaskManager`."""
    store = ledger.store
    check_conditions(store.cursor, conditions)
    if overwrite:
        store.write(everything_to_do())
        ledger.deaths.forget()
    suspects = _died_running(store)
    again = unfinished(store.cursor, conditions, max_attempts)
    changes = [change for change in to_do_again(again) if change[1]]
    started = _started(store) - set(again)
    ledger.interrupted = suspects.intersection(again)
    ledger.unjudged = started & suspects
    ledger.running = started - suspects
    store.write([*changes, ("setting", [("left_running", json.dumps(sorted(ledger.running)))])])
    ledger.forget()


def closing(ledger):
    """Changes that record, on closing in good order, that no process died with what is STARTED now.

    While a process has the file open, the setting ``left_running`` says which tasks were STARTED before it came. It is
    absent from a file that was closed in good order, or was never opened by us: who is STARTED there was not running when a
    process died. ``unjudged`` are the exceptions: tasks of a process that died, which no cleanup has matched since.
    """
    unjudged = sorted((_started(ledger.store) & ledger.unjudged) - ledger.running)
    return [("setting", [("unjudged", json.dumps(unjudged))]), ("no setting", [("left_running",)])]


def _died_running(store):
    """Priorities of the tasks that were STARTED when a process died, see `closing`."""
    left_running = store.setting("left_running")
    if left_running is None:
        return set(json.loads(store.setting("unjudged") or "[]"))
    return _started(store) - set(json.loads(left_running))


def _started(store):
    rows = store.cursor.execute(f"SELECT priority FROM todolist WHERE status = {STATUS.STARTED:d}")
    return {priority for (priority,) in rows.fetchall()}


def unfinished(cursor, conditions, max_attempts):
    """Tasks that get another chance: those that failed or did not end, but for those that were set aside.

    That a task was STARTED when the process that had the file open died says nothing against it: the process may have been
    killed. Only where a worker was lost while it did a task is this counted (`TaskManager.fail_attempt`).

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    conditions : str, see `cleanup_conditions`
    max_attempts : int

    Returns
    -------
    again : list of int, priorities
    """
    set_aside = SET_ASIDE.format(max_attempts=max_attempts)
    left_alone = f"status = {STATUS.ERROR:d} AND priority IN ({set_aside})"
    sql = f"SELECT priority FROM todolist WHERE status IN {_UNFINISHED}{conditions}"
    rows = cursor.execute(f"{sql} AND NOT ({left_alone}) ORDER BY priority").fetchall()
    return [priority for (priority,) in rows]
