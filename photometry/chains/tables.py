"""What people look at: the state of a job, its tree, progress, timings, pass and fail, errors.
Looking changes nothing. The ``fetch_...`` functions look into the database of the settings, unless
they are given one.
"""

import functools
import time
from collections import Counter

import sqlalchemy as sa

from . import states
from .jobs import existing_database
from .lookups import newest_passed, scope_metadata
from .rows import fetch_values, select_in
from .schema import (
    ATTEMPTS,
    HOSTS,
    LOG_MESSAGES,
    TASK_TYPES,
    TASKS,
)
from .settings import load_chain_settings

T, A = TASKS.c, ATTEMPTS.c
COLUMNS = ("Task", "Waiting", "Queued", "Stalled", "Running", "Done")
LONGEST_VALUE = 25  # characters; longer values of metadata stay out of tables
ERROR_LEVEL = 40
RECENT = 5.0  # s


def _on_database(function):
    """A function that opens the database of the settings where it is given none."""

    @functools.wraps(function)
    def wrapped(*args, database=None, **options):
        if database is not None:
            return function(*args, database=database, **options)
        database = existing_database(load_chain_settings())
        try:
            return function(*args, database=database, **options)
        finally:
            database.close()

    return wrapped


# --- the tree


@_on_database
def fetch_job_tree(job_name=None, parent_id=None, max_depth=5, *, running=None, database=None):
    """Tasks as a tree, a dict each in the order of display.

    Parameters
    ----------
    job_name : str or None; its roots are the tasks of that name whose parents have another one
    parent_id : id of the task whose tree it is, or None: all roots
    max_depth : int or None
    running : set of ids of tasks, or None; only these, with what is above them
    database : connect.Database, by default that of the settings

    Returns
    -------
    list of dict of ``level, job_name, task_type_name, name, task_id, state, w, r, s, d,
    tree_truncated``: attempts waiting, running, stalled and done
    """
    query = sa.select(
        T.taskId,
        T.parentTask,
        T.jobName,
        T.taskName,
        T.state,
        T.stateReason,
        TASK_TYPES.c.taskTypeName,
    ).join(TASK_TYPES, TASK_TYPES.c.taskTypeId == T.taskTypeId)
    above = TASKS.alias()
    if parent_id is not None:
        roots = query.where(T.taskId == parent_id)
    elif job_name is not None:
        is_other = sa.func.coalesce(above.c.jobName, "") != job_name
        roots = query.join(above, above.c.taskId == T.parentTask, isouter=True)
        roots = roots.where(T.jobName == job_name, is_other)
    else:
        roots = query.where(T.parentTask.is_(None))

    def look(db):
        keep = None if running is None else running | states.ancestors(db, running)
        rows, current, truncated, depth = [], None, set(), 0
        while True:
            level = db.execute(roots).all() if current is None else _below(db, current)
            if keep is not None:
                level = [row for row in level if row.taskId in keep]
            if not level:
                break
            if max_depth is not None and depth > max_depth:
                truncated = {row.parentTask for row in level}
                break
            rows += level
            current = [row.taskId for row in level]
            depth += 1
        return rows, truncated

    def _below(db, ids):
        return select_in(db, query, T.parentTask, ids)

    def look_all(db):
        rows, truncated = look(db)
        counting = sa.select(A.taskId, A.state, sa.func.count().label("n")).group_by(
            A.taskId, A.state
        )
        counts = select_in(db, counting, A.taskId, [row.taskId for row in rows])
        return rows, truncated, counts

    rows, truncated, counts = database.read(look_all)
    attempts = {}
    for row in counts:
        attempts.setdefault(row.taskId, Counter())[row.state] += row.n
    below = {}
    ids = {row.taskId for row in rows}
    for row in sorted(rows, key=lambda row: row.taskId):
        parent = row.parentTask if row.parentTask in ids else None
        below.setdefault(parent, []).append(row)
    found = []
    stack = [(row, 0) for row in reversed(below.get(None, []))]
    while stack:
        row, level = stack.pop()
        states_of = attempts.get(row.taskId, Counter())
        found.append(
            {
                "level": level,
                "job_name": row.jobName or "<untitled>",
                "task_type_name": row.taskTypeName,
                "name": row.taskName,
                "task_id": row.taskId,
                "state": row.state,
                "reason": row.stateReason,
                "w": states_of[states.QUEUED],
                "r": states_of[states.RUNNING],
                "s": sum(states_of[name] for name in (states.FAILED, states.LOST)),
                "d": sum(states_of[name] for name in (states.PASSED, states.QC_FAILED)),
                "tree_truncated": row.taskId in truncated,
            }
        )
        stack += [(child, level + 1) for child in reversed(below.get(row.taskId, []))]
    return found


@_on_database
def fetch_running_job_tree(
    job_name=None, include_recently_finished=False, max_depth=20, *, parent_id=None, database=None
):
    """The tree of what runs now, see `fetch_job_tree`.

    Parameters
    ----------
    job_name : str or None
    include_recently_finished : bool, what has ended within 5 s, too
    max_depth : int or None
    parent_id : id of the task whose tree it is, or None
    database : connect.Database, by default that of the settings
    """
    queries = [sa.select(T.taskId).where(T.state == states.RUNNING)]
    if include_recently_finished:
        queries.append(sa.select(A.taskId).where(A.endTime > time.time() - RECENT))
    running = database.read(
        lambda db: {id_ for query in queries for id_ in db.execute(query).scalars()}
    )
    return fetch_job_tree(job_name, parent_id, max_depth, running=running, database=database)


def tree_lines(tree):
    """The tree as lines of text."""
    for row in tree:
        name = f" {row['name']}" if row["name"] else ""
        counts = "/".join(str(row[key]) for key in "wrsd")
        reason = f": {row['reason']}" if row["reason"] else ""
        more = " ..." if row["tree_truncated"] else ""
        yield (
            f"{' | ' * row['level']}{row['job_name']}/{row['task_type_name']}{name} "
            f"({row['task_id']} - {counts}) {row['state']}{reason}{more}"
        )


# --- tables


@_on_database
def fetch_progress_summary(job_name=None, *, root=None, max_heartbeat_age=None, database=None):
    """How far each task type is: rows of dict of `COLUMNS`, each number as it is.

    Parameters
    ----------
    job_name : str or None
    root : id of the root task of a job, or None
    max_heartbeat_age : s, by default that of the settings
    database : connect.Database, by default that of the settings
    """
    where = _of_job(job_name, root)
    if max_heartbeat_age is None:
        max_heartbeat_age = load_chain_settings().max_heartbeat_age
    waiting = (
        sa.select(TASK_TYPES.c.taskTypeName, sa.func.count())
        .join(TASKS, T.taskTypeId == TASK_TYPES.c.taskTypeId)
        .where(sa.not_(sa.exists().where(A.taskId == T.taskId)), *where)
        .group_by(TASK_TYPES.c.taskTypeName)
    )
    old = time.time() - max_heartbeat_age
    kind = sa.case(
        (A.state == states.QUEUED, "Queued"),
        (sa.and_(A.state == states.RUNNING, A.latestHeartbeat >= old), "Running"),
        (A.state.in_((states.PASSED, states.QC_FAILED)), "Done"),
        else_="Stalled",
    )
    counting = (
        sa.select(TASK_TYPES.c.taskTypeName, kind.label("kind"), sa.func.count().label("n"))
        .join(TASKS, T.taskTypeId == TASK_TYPES.c.taskTypeId)
        .join(ATTEMPTS, A.taskId == T.taskId)
        .where(*where)
        .group_by(TASK_TYPES.c.taskTypeName, "kind")
    )

    def look(db):
        return db.execute(waiting).all(), db.execute(counting).all()

    without, attempts = database.read(look)
    table = {}
    for name, n in without:
        table.setdefault(name, Counter())["Waiting"] = n
    for name, column, n in attempts:
        table.setdefault(name, Counter())[column] += n
    return [
        {"Task": name, **{column: table[name][column] for column in COLUMNS[1:]}}
        for name in sorted(table)
    ]


@_on_database
def fetch_timings_table(
    job_name=None, task_type=None, *, root=None, least=None, limit=None, database=None
):
    """Run times of all attempts that ended: list of dict, oldest first.

    Parameters
    ----------
    job_name, task_type : str or None
    root : id of the root task of a job, or None
    least : s, only attempts that took at least so long
    limit : int, only the newest ones
    database : connect.Database, by default that of the settings
    """
    query = (
        sa.select(
            *(A.schedulingAttemptId, A.startTime, T.jobName, TASK_TYPES.c.taskTypeName, T.taskId),
            *(T.taskName, A.state, A.runTimeWallClock, A.runTimeCpu, A.runTimeCpuIncChildren),
            *(A.peakMemory, A.queuedTime, A.endTime, HOSTS.c.hostname),
        )
        .join(TASKS, T.taskId == A.taskId)
        .join(TASK_TYPES, TASK_TYPES.c.taskTypeId == T.taskTypeId)
        .join(HOSTS, HOSTS.c.hostId == A.hostId, isouter=True)
        .where(A.endTime.is_not(None))
        .order_by(A.schedulingAttemptId.desc())
        .limit(limit)
    )
    query = _limited(query, job_name, root, task_type)
    if least is not None:
        query = query.where(A.endTime - A.startTime >= least)
    rows = database.read(lambda db: db.execute(query).all())[::-1]
    return [
        {
            "start": row.startTime,
            "end": row.endTime,
            "queued": row.queuedTime,
            "job": row.jobName,
            "type": row.taskTypeName,
            "task": row.taskId,
            "name": row.taskName,
            "attempt": row.schedulingAttemptId,
            "state": row.state,
            "host": row.hostname,
            "wall_clock": row.runTimeWallClock,
            "cpu": row.runTimeCpu,
            "cpu_inc_children": row.runTimeCpuIncChildren,
            "peak_memory": row.peakMemory,
        }
        for row in rows
    ]


def _of_job(job_name, root):
    """Conditions: tasks of a name, and below a root."""
    named = [] if job_name is None else [T.jobName == job_name]
    return named if root is None else [*named, T.rootTask == root]


def _limited(query, job_name, root, task_type):
    query = query.where(*_of_job(job_name, root))
    if task_type is not None:
        query = query.where(TASK_TYPES.c.taskTypeName == task_type)
    return query


@_on_database
def fetch_pass_fail_table(job_name=None, task_type=None, *, root=None, database=None):
    """Outcomes of the searches: list of dict of job, type, loop variables and ``outcome`` (1 for
    PASS, else 0), sorted.

    Parameters
    ----------
    job_name, task_type : str or None
    root : id of the root task of a job, or None
    database : connect.Database, by default that of the settings
    """
    query = (
        sa.select(T.taskId, T.jobName, TASK_TYPES.c.taskTypeName, T.scopeId)
        .join(TASK_TYPES, TASK_TYPES.c.taskTypeId == T.taskTypeId)
        .where(
            T.state == states.PASSED,
            TASK_TYPES.c.taskTypeName.not_like("execution\\_%", escape="\\"),
        )
    )
    query = _limited(query, job_name, root, task_type)

    def look(db):
        rows = db.execute(query).all()
        newest = newest_passed(db, [row.taskId for row in rows])
        values = fetch_values(db, "schedulingAttemptId", newest.values())
        return rows, newest, values, scope_metadata(db, rows)

    rows, newest, values, scopes = database.read(look)
    table = []
    for row in rows:
        results = values.get(newest.get(row.taskId), {})
        if "outcome" not in results:
            continue
        inputs = scopes.get(row.scopeId, {})
        shown = {
            key: inputs[key] for key in sorted(inputs) if len(str(inputs[key])) <= LONGEST_VALUE
        }
        table.append(
            {
                "job": row.jobName,
                "type": row.taskTypeName,
                **shown,
                "outcome": int(results["outcome"] == "PASS"),
            }
        )
    return sorted(table, key=lambda row: [_comparable(value) for value in row.values()])


def _comparable(value):
    """A key that sorts values of all types: nothing, numbers, NaN, then all else as text."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, int | float):
        return (2, 0.0, "") if value != value else (1, value, "")
    return 3, 0.0, str(value)


@_on_database
def fetch_errors(
    job_name=None, task_type=None, *, root=None, level=ERROR_LEVEL, limit=1000, database=None
):
    """Messages of a severity and above, newest last: list of dict of ``time, job, type, task,
    attempt, severity, message``.

    Parameters
    ----------
    job_name, task_type : str or None
    root : id of the root task of a job, or None
    level : int, as in `logging`
    limit : int, the newest ones
    database : connect.Database, by default that of the settings
    """
    m = LOG_MESSAGES.c
    query = (
        sa.select(
            *(m.timestamp, T.jobName, TASK_TYPES.c.taskTypeName, T.taskId),
            *(m.generatedByTaskExecution, m.severity, m.message),
        )
        .join(ATTEMPTS, A.schedulingAttemptId == m.generatedByTaskExecution)
        .join(TASKS, T.taskId == A.taskId)
        .join(TASK_TYPES, TASK_TYPES.c.taskTypeId == T.taskTypeId)
        .where(m.severity >= level)
        .order_by(m.messageId.desc())
        .limit(limit)
    )
    rows = database.read(lambda db: db.execute(_limited(query, job_name, root, task_type)).all())
    names = ("time", "job", "type", "task", "attempt", "severity", "message")
    return [dict(zip(names, row, strict=True)) for row in reversed(rows)]


def render_run_time(seconds):
    """``'1.25'``, or ``'-'`` where it is not known."""
    return "-" if seconds is None else f"{seconds:.2f}"
