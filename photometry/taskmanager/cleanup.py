"""What goes back to "to do": on opening a TODO-file, for a retry, and for a reset."""

import json
import sqlite3
import time

from ..errors import ArgumentError
from ..status import STATUS
from .attempts import SET_ASIDE, death, set_aside_changes
from .changes import ONCE
from .constraints import build_constraints

_UNFINISHED = f"({STATUS.STARTED:d}, {STATUS.ABORT:d}, {STATUS.ERROR:d})"
_WHY_DEAD = "was running when its process died"


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
    (run,) = store.cursor.execute("SELECT MAX(run) FROM runs").fetchone()
    options = {"max_attempts": max_attempts, "suspects": suspects, "run": run}
    again, set_aside, changes = cleanup(store.cursor, conditions, ledger.deaths, **options)
    started = _started(store) - {*again, *set_aside}
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


def cleanup(cursor, conditions, deaths, *, max_attempts, suspects, run):
    """Changes that give unfinished and failed tasks another chance.

    A task that was STARTED when its process died has used up an attempt; one that has none left is set aside, and
    one that was set aside stays so.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    conditions : str, see `cleanup_conditions`
    deaths : attempts.Deaths
    max_attempts : int
    suspects : set of int, tasks that were STARTED when a process died
    run : int or None, the run that may have died

    Returns
    -------
    again, set_aside : list of int, priorities
    changes : list, as in `changes.apply`
    """
    sql = f"SELECT priority, status FROM todolist WHERE status IN {_UNFINISHED}{conditions}"
    left_alone = (
        f"status = {STATUS.ERROR:d} AND priority IN ({SET_ASIDE.format(max_attempts=max_attempts)})"
    )
    rows = cursor.execute(f"{sql} AND NOT ({left_alone})").fetchall()
    dead = [
        priority for priority, status in rows if status == STATUS.STARTED and priority in suspects
    ]
    set_aside = [priority for priority in dead if deaths[priority] + 1 >= max_attempts]
    again = sorted({priority for priority, _ in rows} - set(set_aside))
    changes = [("attempt", [death(priority, time.time(), _WHY_DEAD, run=run) for priority in dead])]
    changes += to_do_again(again)
    for priority in set_aside:
        changes += set_aside_changes(priority, deaths[priority] + 1, _WHY_DEAD)
    return again, set_aside, [change for change in changes if change[1]]
