"""What became of attempts, into the database: outcome, products, metadata, messages, and what that
means for other tasks.

Results count only while the attempt is still its worker's: what comes later is dropped, so a task
has one result however often it was assigned.
"""

import logging

import sqlalchemy as sa

from ..status import STATUS
from . import states
from .rows import allocate, insert_metadata, many, select_in, update_in
from .schema import ATTEMPTS, LOG_MESSAGES, PRODUCTS, TASKS, VERSIONS
from .tasktype import task_type

T, A = TASKS.c, ATTEMPTS.c
LONGEST_DELAY = 300.0  # s before another attempt


def finish(db, registries, settings, worker_id, results, now):
    """Record what became of attempts of a worker, and what that means for other tasks.

    Parameters
    ----------
    db : connection that holds the lock
    registries : rows.Registries
    settings : ChainSettings
    worker_id : int; results of attempts that are not this worker's any more are dropped
    results : list of dict: ``attempt_id``, ``status``, and what `execution.finish_task` adds
    now : s since 1970

    Returns
    -------
    list of results that were dropped
    """
    by_attempt = {result["attempt_id"]: result for result in results}
    query = (
        sa.select(
            *(A.schedulingAttemptId, A.taskId, A.startTime, T.taskTypeId, T.attemptsUsed),
            *(T.crashes, T.maxAttempts),
        )
        .join(TASKS, T.taskId == A.taskId)
        .where(states.ATTEMPT_STATE == states.RUNNING)
    )
    if worker_id is not None:
        query = query.where(sa.func.coalesce(A.workerId, "") == worker_id)
    rows = select_in(db, query, A.schedulingAttemptId, by_attempt)
    outcomes = {
        row.schedulingAttemptId: _outcome(by_attempt[row.schedulingAttemptId]) for row in rows
    }
    _record_attempts(db, rows, by_attempt, outcomes, now)
    _record_products(db, registries, rows, by_attempt, outcomes, now)
    insert_metadata(
        db,
        registries,
        "schedulingAttemptId",
        [
            (row.schedulingAttemptId, by_attempt[row.schedulingAttemptId].get("metadata") or {})
            for row in rows
        ],
        now,
    )
    _record_messages(db, rows, by_attempt, outcomes, settings, now)
    _change_tasks(db, registries, settings, rows, by_attempt, outcomes, now)
    taken = set(outcomes)
    return [result for id_, result in by_attempt.items() if id_ not in taken]


def _outcome(result):
    """PASSED, QC_FAILED or FAILED: an error never passes."""
    if result["status"] != STATUS.OK:
        return states.FAILED
    return states.PASSED if not result.get("qc") else states.QC_FAILED


def error_text(result):
    """Why an attempt did not pass."""
    if result["status"] != STATUS.OK:
        return "\n".join(map(str, (result.get("details") or {}).get("errors") or ["unknown"]))
    return "; ".join(result.get("qc") or [])


def _record_attempts(db, rows, by_attempt, outcomes, now):
    updates = []
    for row in rows:
        result = by_attempt[row.schedulingAttemptId]
        attempt = result.get("attempt") or {}
        outcome = outcomes[row.schedulingAttemptId]
        cpu = result.get("cpu") or {}
        updates.append(
            {
                "id": row.schedulingAttemptId,
                "new": outcome,
                "start": attempt.get("start") or row.startTime,
                "end": attempt.get("end") or now,
                "qc": None if outcome == states.FAILED else outcome == states.PASSED,
                "failed": outcome == states.FAILED,
                "text": None if outcome == states.PASSED else error_text(result),
                "wall": result.get("time", attempt.get("seconds")),
                "cpu": cpu.get("cpu"),
                "all_cpu": cpu.get("cpu_inc_children"),
                "memory": attempt.get("peak_memory"),
            }
        )
    many(
        db,
        sa.update(ATTEMPTS)
        .where(A.schedulingAttemptId == sa.bindparam("id"))
        .values(
            state=sa.bindparam("new"),
            startTime=sa.bindparam("start"),
            endTime=sa.bindparam("end"),
            allProductsPassedQc=sa.bindparam("qc"),
            errorFail=sa.bindparam("failed"),
            errorText=sa.bindparam("text"),
            runTimeWallClock=sa.bindparam("wall"),
            runTimeCpu=sa.bindparam("cpu"),
            runTimeCpuIncChildren=sa.bindparam("all_cpu"),
            peakMemory=sa.bindparam("memory"),
        ),
        updates,
    )


def _record_products(db, registries, rows, by_attempt, outcomes, now):
    """Versions of products; products that were not planned are entered first."""
    made = [
        (row, role, product)
        for row in rows
        for role, product in (by_attempt[row.schedulingAttemptId].get("products") or {}).items()
    ]
    if not made:
        return
    semantics = registries.semantics.ids(db, {role for _, role, _ in made})
    query = sa.select(PRODUCTS.c.generatorTask, PRODUCTS.c.semanticType, PRODUCTS.c.productId)
    known = {
        (row.generatorTask, row.semanticType): row.productId
        for row in select_in(db, query, PRODUCTS.c.generatorTask, {row.taskId for row, *_ in made})
    }
    new = []
    for row, role, product in made:
        key = (row.taskId, semantics[role])
        if key not in known:
            known[key] = None
            new.append((key, product))
    if new:
        first = allocate(db, PRODUCTS, len(new))
        for number, (key, _) in enumerate(new):
            known[key] = first + number
        db.execute(
            PRODUCTS.insert(),
            [
                {
                    "productId": known[key],
                    "generatorTask": key[0],
                    "plannedTime": now,
                    "directoryName": product["directory"],
                    "filename": product["filename"],
                    "semanticType": key[1],
                }
                for key, product in new
            ],
        )
    first = allocate(db, VERSIONS, len(made))
    db.execute(
        VERSIONS.insert(),
        [
            {
                "productVersionId": first + number,
                "productId": known[row.taskId, semantics[role]],
                "generatedByTaskExecution": row.schedulingAttemptId,
                "repositoryId": product["repository_id"],
                "createdTime": product["created"],
                "modifiedTime": product["created"],
                "fileMD5": product["md5"],
                "fileSize": product["size"],
                "passedQc": outcomes[row.schedulingAttemptId] == states.PASSED,
            }
            for number, (row, role, product) in enumerate(made)
        ],
    )
    insert_metadata(
        db,
        registries,
        "productVersionId",
        [(first + number, product["metadata"]) for number, (_, _, product) in enumerate(made)],
        now,
    )


def _record_messages(db, rows, by_attempt, outcomes, settings, now):
    limit = settings.max_log_message_length
    messages = []
    for row in rows:
        id_ = row.schedulingAttemptId
        found = list(by_attempt[id_].get("messages") or [])
        if outcomes[id_] == states.FAILED:
            found.append((now, logging.ERROR, error_text(by_attempt[id_])))
        messages += [
            {
                "generatedByTaskExecution": id_,
                "timestamp": moment,
                "severity": level,
                "message": shortened(text, limit),
            }
            for moment, level, text in found
        ]
    if messages:
        first = allocate(db, LOG_MESSAGES, len(messages))
        for number, message in enumerate(messages):
            message["messageId"] = first + number
        db.execute(LOG_MESSAGES.insert(), messages)


def shortened(text, limit):
    """A message cut to ``limit`` characters, with dots where something is missing."""
    text = str(text).replace("\x00", "")
    return text if len(text) <= limit else f"{text[: limit - 5]}..."


def _change_tasks(db, registries, settings, rows, by_attempt, outcomes, now):
    passed, again, lost = [], [], {}
    reasons = {}
    for row in rows:
        result, outcome = by_attempt[row.schedulingAttemptId], outcomes[row.schedulingAttemptId]
        if outcome == states.PASSED:
            passed.append(row.taskId)
            continue
        text = error_text(result)
        reasons[row.taskId] = text.strip().splitlines()[-1] if text.strip() else outcome
        used = row.attemptsUsed + 1
        kind = task_type(registries.types.name(db, row.taskTypeId))
        limit = row.maxAttempts or kind.max_attempts or settings.max_attempts
        may_retry = outcome == states.FAILED and result.get("retry", True) and used < limit
        if may_retry:
            delay = min(settings.retry_delay * 2 ** (used - 1), LONGEST_DELAY)
            again.append((row, used, now + delay, reasons[row.taskId], "crashed" in result))
        else:
            lost[row.taskId] = outcome
    update_in(
        db,
        TASKS,
        T.taskId,
        [*passed, *lost],
        attemptsUsed=T.attemptsUsed + 1,
        stateReason=None,
    )
    many(
        db,
        sa.update(TASKS)
        .where(T.taskId == sa.bindparam("id"))
        .values(
            state=sa.bindparam("new"),
            attemptsUsed=sa.bindparam("used"),
            notBefore=sa.bindparam("then"),
            stateReason=sa.bindparam("reason"),
            crashes=T.crashes + sa.bindparam("crashed"),
        ),
        [
            {
                "id": row.taskId,
                "new": states.DELAYED if then > now else states.READY,
                "used": used,
                "then": then,
                "reason": reason[: states.REASON_LENGTH],
                "crashed": int(crashed),
            }
            for row, used, then, reason, crashed in again
        ],
    )
    update_in(db, TASKS, T.taskId, passed, state=states.PASSED)
    states.passed(db, passed, states.container_types(db) if passed else set())
    if lost:
        states.failed(db, lost, reasons)
