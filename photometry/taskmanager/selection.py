"""Which tasks does the user mean: by status, cause of the error, and constraints."""

from ..errors import ArgumentError
from ..status import STATUS
from .attempts import SET_ASIDE
from .constraints import build_constraints

# The class of the error of the last attempt; where no attempt was recorded, what the text of the errors begins with.
_ERROR_CLASS = """COALESCE(
    (SELECT error_class FROM attempts WHERE attempts.priority = todolist.priority ORDER BY start DESC LIMIT 1),
    substr(diagnostics.errors, 1, instr(diagnostics.errors, ':') - 1))"""


def select_tasks(
    conn, *, statuses=(), error_class=None, message=None, set_aside_after=None, **constraints
):
    """Tasks of a TODO-file that match all that is asked.

    Parameters
    ----------
    conn : sqlite3.Connection
    statuses : iterable of STATUS or names of it
    error_class : str, as ``ValueError``
    message : str, a part of the errors, whatever the case of the letters
    set_aside_after : int, optional
        Leave out those that took their worker down so many times.
    **constraints : see `build_constraints`

    Returns
    -------
    tasks : list of dict, with priority, starid, status (name) and errors, by priority
    """
    conditions, parameters = build_constraints(**constraints, return_list=True), []
    codes = [int(parse_status(status)) for status in statuses]
    if codes:
        conditions.append(f"todolist.status IN ({', '.join(map(str, codes))})")
    if error_class is not None:
        conditions.append(f"{_ERROR_CLASS} = ?")
        parameters.append(error_class)
    if message is not None:
        conditions.append("instr(lower(diagnostics.errors), lower(?)) > 0")
        parameters.append(message)
    if set_aside_after is not None:
        conditions.append(
            f"todolist.priority NOT IN ({SET_ASIDE.format(max_attempts=set_aside_after)})"
        )
    sql = f"""SELECT todolist.priority, todolist.starid, todolist.status, diagnostics.errors
        FROM todolist LEFT JOIN diagnostics USING (priority)
        WHERE todolist.status IS NOT NULL{"".join(f" AND {condition}" for condition in conditions)}
        ORDER BY todolist.priority"""
    names = ("priority", "starid", "status", "errors")
    rows = conn.execute(sql, parameters).fetchall()
    tasks = [dict(zip(names, row, strict=True)) for row in rows]
    return [task | {"status": STATUS(task["status"]).name} for task in tasks]


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
