"""The states of tasks and attempts, and what one change means for the others.

::

    WAITING ──► READY ──► QUEUED ──► RUNNING ──► PASSED
       │          ▲  ╰──────────────────╯ │
       │          │                       ├──► QC_FAILED
       ▼       DELAYED ◄── may be tried again
    BLOCKED                               ╰──► FAILED

A container (chain, loop, conditional) is EXPANDING where others are READY, and PASSED when its
children are made. Anything that is not over can be CANCELLED. A task is *over* when it has one of
the states `OVER`; its tree is over when it and all below it are. Each task counts its unmet
dependencies, its children whose trees are not over, and those in whose trees something failed: a
change touches the tasks that depend on it and its ancestors, never the whole table.
"""

from collections import Counter

import sqlalchemy as sa

from .rows import chunks, many, select_in, update_in
from .schema import ATTEMPTS, BARRIERS, METADATA_INPUTS, PRODUCTS, TASK_INPUTS, TASKS, VERSIONS

WAITING, READY, EXPANDING, DELAYED = "WAITING", "READY", "EXPANDING", "DELAYED"
QUEUED, RUNNING = "QUEUED", "RUNNING"
PASSED, FAILED, QC_FAILED = "PASSED", "FAILED", "QC_FAILED"
BLOCKED, CANCELLED, LOST = "BLOCKED", "CANCELLED", "LOST"
REGISTERED = "REGISTERED"

OVER = (PASSED, FAILED, QC_FAILED, BLOCKED, CANCELLED)
NOT_OVER = (REGISTERED, WAITING, READY, EXPANDING, DELAYED, QUEUED, RUNNING)
WITHOUT_SUCCESS = (FAILED, QC_FAILED, BLOCKED, CANCELLED)
REASON_LENGTH = 1000

T = TASKS.c
# Rows that are chosen by their ids are not to be looked for by their state, of which there may be a
# million; a function of the column keeps every database from that.
STATE = sa.func.coalesce(T.state, "")
ATTEMPT_STATE = sa.func.coalesce(ATTEMPTS.c.state, "")


def passed(db, task_ids, containers):
    """Tasks have passed: what needs them is met, what needs a file that they did not make is
    blocked.

    Parameters
    ----------
    db : connection that holds the lock
    task_ids : ids
    containers : set of ids of task types that are containers
    """
    task_ids = list(task_ids)
    if not task_ids:
        return
    met, blocked = Counter(), {}
    for some in chunks(task_ids):
        rows = db.execute(
            sa.select(METADATA_INPUTS.c.taskId, METADATA_INPUTS.c.inputId).where(
                METADATA_INPUTS.c.inputId.in_(some), sa.not_(METADATA_INPUTS.c.met)
            )
        ).all()
        if rows:
            update_in(db, METADATA_INPUTS, METADATA_INPUTS.c.inputId, some, met=True)
            met.update(row.taskId for row in rows)
        rows = db.execute(
            sa.select(
                TASK_INPUTS.c.taskId,
                TASK_INPUTS.c.inputId,
                PRODUCTS.c.filename,
                PRODUCTS.c.generatorTask,
                sa.exists()
                .where(VERSIONS.c.productId == PRODUCTS.c.productId, VERSIONS.c.passedQc)
                .label("made"),
            )
            .join(PRODUCTS, PRODUCTS.c.productId == TASK_INPUTS.c.inputId)
            .where(PRODUCTS.c.generatorTask.in_(some), sa.not_(TASK_INPUTS.c.met))
        ).all()
        products = {row.inputId for row in rows if row.made}
        if products:
            update_in(db, TASK_INPUTS, TASK_INPUTS.c.inputId, products, met=True)
        for row in rows:
            if row.made:
                met[row.taskId] += 1
            else:
                blocked[row.taskId] = (
                    f"its input {row.filename!r} was not made by task {row.generatorTask}, "
                    "which passed"
                )
    _count_down(db, met, containers)
    if blocked:
        block(db, blocked)
    settle(db, task_ids)


def _count_down(db, met, containers):
    """So many dependencies of tasks are met; those without unmet ones can start."""
    if not met:
        return
    many(
        db,
        sa.update(TASKS)
        .where(T.taskId == sa.bindparam("id"))
        .values(unmet=T.unmet - sa.bindparam("n")),
        [{"id": id_, "n": n} for id_, n in met.items()],
    )
    is_free = sa.and_(STATE == WAITING, T.unmet <= 0)
    update_in(
        db, TASKS, T.taskId, met, sa.and_(is_free, T.taskTypeId.in_(containers)), state=EXPANDING
    )
    update_in(db, TASKS, T.taskId, met, is_free, state=READY)


def block(db, reasons):
    """Tasks can never start; nor can what needs them. ``reasons``: dict id -> message."""
    while reasons:
        waiting = [
            row.taskId
            for row in select_in(db, sa.select(T.taskId).where(STATE == WAITING), T.taskId, reasons)
        ]
        many(
            db,
            sa.update(TASKS)
            .where(T.taskId == sa.bindparam("id"))
            .values(state=BLOCKED, stateReason=sa.bindparam("reason")),
            [{"id": id_, "reason": reasons[id_][:REASON_LENGTH]} for id_ in waiting],
        )
        settle(db, waiting)
        reasons = dependants(db, waiting)


def dependants(db, task_ids):
    """Tasks that wait for the success of these: dict id -> message for why they cannot start."""
    task_ids = list(task_ids)
    names = {
        row.taskId: f"task {row.taskId}{f' ({row.taskName})' if row.taskName else ''}, which "
        f"is {row.state}"
        for row in select_in(db, sa.select(T.taskId, T.taskName, T.state), T.taskId, task_ids)
    }
    found = {}
    for row in select_in(
        db,
        sa.select(METADATA_INPUTS.c.taskId, METADATA_INPUTS.c.inputId).where(
            sa.not_(METADATA_INPUTS.c.met)
        ),
        METADATA_INPUTS.c.inputId,
        task_ids,
    ):
        found[row.taskId] = f"it needs the results of {names[row.inputId]}"
    for row in select_in(
        db,
        sa.select(TASK_INPUTS.c.taskId, PRODUCTS.c.generatorTask, PRODUCTS.c.filename)
        .join(PRODUCTS, PRODUCTS.c.productId == TASK_INPUTS.c.inputId)
        .where(sa.not_(TASK_INPUTS.c.met)),
        PRODUCTS.c.generatorTask,
        task_ids,
    ):
        found[row.taskId] = f"it needs {row.filename!r} of {names[row.generatorTask]}"
    return found


def settle(db, task_ids):
    """Tasks are over: note it with their ancestors, whose trees may be over too, and what waits for
    those."""
    current = list(task_ids)
    blocked = {}
    while current:
        rows = select_in(
            db,
            sa.select(T.taskId, T.parentTask, T.state, T.failedChildren, T.taskName).where(
                T.openChildren == 0, STATE.in_(OVER)
            ),
            T.taskId,
            current,
        )
        if not rows:
            break
        blocked.update(_barriers(db, rows))
        finished = Counter(row.parentTask for row in rows if row.parentTask)
        failures = Counter(row.parentTask for row in rows if row.parentTask and not is_success(row))
        many(
            db,
            sa.update(TASKS)
            .where(T.taskId == sa.bindparam("id"))
            .values(
                openChildren=T.openChildren - sa.bindparam("n"),
                failedChildren=T.failedChildren + sa.bindparam("f"),
            ),
            [{"id": id_, "n": n, "f": failures[id_]} for id_, n in finished.items()],
        )
        current = list(finished)
    if blocked:
        block(db, blocked)


def is_success(row):
    """Whether a tree that is over has passed."""
    return row.state == PASSED and row.failedChildren == 0


def _barriers(db, rows):
    """Tasks wait for the trees of ``rows``: count those down that passed; returns those that can
    never start."""
    good = [row.taskId for row in rows if is_success(row)]
    waiting = select_in(
        db,
        sa.select(BARRIERS.c.taskId, BARRIERS.c.inputId).where(sa.not_(BARRIERS.c.met)),
        BARRIERS.c.inputId,
        [row.taskId for row in rows],
    )
    if not waiting:
        return {}
    good = set(good)
    update_in(db, BARRIERS, BARRIERS.c.inputId, good, met=True)
    _count_down(
        db, Counter(row.taskId for row in waiting if row.inputId in good), container_types(db)
    )
    names = {row.taskId: row.taskName or "" for row in rows}
    return {
        row.taskId: f"it waits for task {row.inputId} ({names[row.inputId]}), in which "
        "something failed"
        for row in waiting
        if row.inputId not in good
    }


def container_types(db):
    """Ids of the task types that are containers."""
    from .schema import TASK_TYPES

    names = (
        *("execution_chain", "execution_for_loop"),
        *("execution_conditional", "execution_do_while_loop"),
    )
    query = sa.select(TASK_TYPES.c.taskTypeId).where(TASK_TYPES.c.taskTypeName.in_(names))
    return set(db.execute(query).scalars())


def failed(db, states, reasons):
    """Tasks have failed for good.

    Parameters
    ----------
    db : connection that holds the lock
    states : dict id -> FAILED, QC_FAILED or CANCELLED
    reasons : dict id -> message
    """
    many(
        db,
        sa.update(TASKS)
        .where(T.taskId == sa.bindparam("id"))
        .values(state=sa.bindparam("new"), stateReason=sa.bindparam("reason")),
        [
            {"id": id_, "new": state, "reason": (reasons.get(id_) or "")[:REASON_LENGTH] or None}
            for id_, state in states.items()
        ],
    )
    settle(db, states)
    block(db, dependants(db, states))


# --- going back: retry


def reopen(db, task_ids):
    """Tasks that were over are not any more: their ancestors' trees are not over either. Call it
    before states change."""
    current = list(task_ids)
    while current:
        rows = select_in(
            db,
            sa.select(T.taskId, T.parentTask, T.state, T.failedChildren).where(
                T.openChildren == 0, STATE.in_(OVER)
            ),
            T.taskId,
            current,
        )
        opened = Counter(row.parentTask for row in rows if row.parentTask)
        failures = Counter(row.parentTask for row in rows if row.parentTask and not is_success(row))
        # The parents' own trees were over until now, if they were: look before their counters
        # change.
        parents = list(opened)
        over = {
            row.taskId
            for row in select_in(
                db,
                sa.select(T.taskId).where(T.openChildren == 0, STATE.in_(OVER)),
                T.taskId,
                parents,
            )
        }
        above = [id_ for id_ in parents if id_ in over]
        if above:
            reopen(db, above)
        many(
            db,
            sa.update(TASKS)
            .where(T.taskId == sa.bindparam("id"))
            .values(
                openChildren=T.openChildren + sa.bindparam("n"),
                failedChildren=T.failedChildren - sa.bindparam("f"),
            ),
            [{"id": id_, "n": n, "f": failures[id_]} for id_, n in opened.items()],
        )
        current = []


def retry(db, task_ids):
    """Make tasks that ended without success start again, and what they blocked wait again. Returns
    how many there were.

    Tasks that are queued, running, waiting or passed are left as they are.
    """
    containers = container_types(db)
    chosen = [
        row.taskId
        for row in select_in(
            db,
            sa.select(T.taskId).where(STATE.in_((FAILED, QC_FAILED, CANCELLED))),
            T.taskId,
            task_ids,
        )
    ]
    if not chosen:
        return 0
    freed = _blocked_below(db, chosen)
    reopen(db, [*chosen, *freed])
    fresh = {"attemptsUsed": 0, "crashes": 0, "notBefore": None, "stateReason": None}
    update_in(db, TASKS, T.taskId, [*chosen, *freed], state=WAITING, **fresh)
    is_free = T.unmet <= 0
    update_in(
        db, TASKS, T.taskId, chosen, sa.and_(is_free, T.taskTypeId.in_(containers)), state=EXPANDING
    )
    update_in(db, TASKS, T.taskId, chosen, sa.and_(is_free, STATE == WAITING), state=READY)
    block_hopeless(db, [*chosen, *freed])
    return len(chosen)


def _blocked_below(db, task_ids):
    """Tasks that are BLOCKED and depend on these, directly or not, and on what waits for trees that
    hold these."""
    found, current = set(), list(task_ids)
    while current:
        above = ancestors(db, current)
        below = set(dependants(db, current))
        below |= {
            row.taskId
            for row in select_in(
                db,
                sa.select(BARRIERS.c.taskId).where(sa.not_(BARRIERS.c.met)),
                BARRIERS.c.inputId,
                {*current, *above},
            )
        }
        blocked = select_in(db, sa.select(T.taskId).where(STATE == BLOCKED), T.taskId, below)
        current = [row.taskId for row in blocked if row.taskId not in found]
        found.update(current)
    return sorted(found)


def block_hopeless(db, task_ids):
    """Block those of these tasks that wait for what is over and can never come."""
    needed = {}
    for table in (METADATA_INPUTS, BARRIERS):
        query = sa.select(table.c.taskId, table.c.inputId).where(sa.not_(table.c.met))
        for row in select_in(db, query, table.c.taskId, task_ids):
            needed.setdefault(row.inputId, []).append((row.taskId, table is BARRIERS))
    query = (
        sa.select(TASK_INPUTS.c.taskId, PRODUCTS.c.generatorTask)
        .join(PRODUCTS, PRODUCTS.c.productId == TASK_INPUTS.c.inputId)
        .where(sa.not_(TASK_INPUTS.c.met))
    )
    for row in select_in(db, query, TASK_INPUTS.c.taskId, task_ids):
        needed.setdefault(row.generatorTask, []).append((row.taskId, False))
    query = sa.select(T.taskId, T.taskName, T.state, T.openChildren, T.failedChildren)
    reasons = {}
    for row in select_in(db, query, T.taskId, needed):
        is_tree_over = row.state == PASSED and row.openChildren == 0
        for id_, is_barrier in needed[row.taskId]:
            if row.state in WITHOUT_SUCCESS or (
                is_tree_over and row.failedChildren > 0 if is_barrier else row.state == PASSED
            ):
                name = f"task {row.taskId}{f' ({row.taskName})' if row.taskName else ''}"
                reasons[id_] = f"it needs what {name} did not make, which is {row.state}"
    block(db, reasons)


def ancestors(db, task_ids):
    """Ids of all tasks above these."""
    found, current = set(), set(task_ids)
    while current:
        rows = select_in(
            db, sa.select(T.parentTask).where(T.parentTask.is_not(None)), T.taskId, current
        )
        current = {row.parentTask for row in rows} - found
        found |= current
    return found


def descendants(db, task_ids):
    """Ids of all tasks below these, level by level."""
    found, current = [], list(task_ids)
    while current:
        rows = select_in(db, sa.select(T.taskId), T.parentTask, current)
        current = [row.taskId for row in rows]
        found += current
    return found


def cancel(db, task_ids, now, reason="cancelled by the user"):
    """Cancel tasks and all below them that are not over. Returns how many there were.

    What runs is ended by its worker, within about a second (`source.ChainSource.withdrawn`).

    Parameters
    ----------
    db : connection that holds the lock
    task_ids : ids
    now : s since 1970
    reason : str
    """
    all_ids = [*task_ids, *descendants(db, task_ids)]
    open_ids = [
        row.taskId
        for row in select_in(db, sa.select(T.taskId).where(STATE.in_(NOT_OVER)), T.taskId, all_ids)
    ]
    update_in(
        db,
        ATTEMPTS,
        ATTEMPTS.c.taskId,
        open_ids,
        ATTEMPT_STATE.in_((QUEUED, RUNNING)),
        state=CANCELLED,
        endTime=now,
        errorText=reason,
    )
    failed(db, dict.fromkeys(open_ids, CANCELLED), dict.fromkeys(open_ids, reason))
    return len(open_ids)
