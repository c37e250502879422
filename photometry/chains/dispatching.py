"""Tasks out of the database to workers, and their results back: claim, prepare, finish, release, recover.

A worker is a process that claims attempts; its row is its lease. An attempt of a worker whose lease has ended, or whose process
is dead on this host, is LOST and its task starts again. Results count only while the attempt is still the worker's: what
comes later is dropped, so a task has one result however often it was assigned.
"""

import json
import logging
import os
import platform
import time
import uuid
from collections import Counter

import sqlalchemy as sa

from ..errors import WrongUseError
from ..processes import ProcessId, boot_id, is_alive
from ..scheduler.protocol import Limits
from ..status import STATUS
from . import states
from .expanding import find_products, newest_passed, parsed, requested_metadata, scope_from
from .expressions import is_expression
from .rows import allocate, fetch_values, insert_metadata, many, select_in, update_in
from .schema import (
    ATTEMPTS,
    BARRIERS,
    DESCRIPTIONS,
    HOSTS,
    LOG_MESSAGES,
    PRODUCTS,
    SCOPES,
    SEMANTIC_TYPES,
    TASK_INPUTS,
    TASKS,
    VERSIONS,
    WORKERS,
)
from .tasktype import task_type

log = logging.getLogger(__name__)

T, A = TASKS.c, ATTEMPTS.c
MAX_LOSSES = 10  # workers that a task may lose; then it is taken to be the cause
LONGEST_DELAY = 300.0  # s before another attempt
GIGABYTE = 1_000_000_000
TASK_COLUMNS = (
    *(T.taskId, T.rootTask, T.taskTypeId, T.jobName, T.taskName, T.workingDirectory),
    *(T.descriptionId, T.scopeId, T.evaluatedDescription, T.seed, T.attemptsUsed, T.crashes),
    *(T.maxAttempts, T.timeLimit, T.memoryLimit),
)


class WorkerRow:
    """This process as a worker: its row in the database is its lease on all that it has claimed.

    Parameters
    ----------
    database : connect.Database
    registries : rows.Registries
    lease : s
    """

    def __init__(self, database, registries, lease):
        self.database, self.registries, self.lease = database, registries, lease
        self.id = None
        self.host_id = None

    def register(self):
        """Enter the row."""
        me = ProcessId.of()
        name = f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"

        def insert(db):
            now = time.time()
            host_id = self.registries.hosts.id(db, platform.node())
            worker_id = allocate(db, WORKERS)
            db.execute(
                WORKERS.insert().values(
                    workerId=worker_id,
                    name=name,
                    hostId=host_id,
                    pid=me.pid,
                    startedTicks=me.started,
                    boot=me.boot,
                    startedTime=now,
                    seen=now,
                    leaseUntil=now + self.lease,
                )
            )
            return worker_id, host_id

        self.id, self.host_id = self.database.change(insert)

    def renew(self):
        """Prolong the lease; False where the row is gone, as others took this worker for dead."""

        def update(db):
            now = time.time()
            count = db.execute(
                sa.update(WORKERS)
                .where(WORKERS.c.workerId == self.id)
                .values(seen=now, leaseUntil=now + self.lease)
            ).rowcount
            db.execute(
                sa.update(ATTEMPTS)
                .where(A.workerId == self.id, A.state == states.RUNNING)
                .values(latestHeartbeat=now)
            )
            return count > 0

        return self.database.change(update)

    def leave(self):
        """Give back what is still claimed, and remove the row."""

        def delete(db):
            ids = db.execute(
                sa.select(A.schedulingAttemptId).where(
                    A.workerId == self.id, A.state == states.RUNNING
                )
            ).scalars()
            release(db, list(ids), states.container_types(db))
            db.execute(sa.delete(WORKERS).where(WORKERS.c.workerId == self.id))

        self.database.change(delete)


# --- claiming


def make_due(db, now, root=None):
    """Tasks whose delay is over are READY again; returns how many."""
    where = [T.state == states.DELAYED, T.notBefore <= now]
    if root is not None:
        where.append(T.rootTask == root)
    return db.execute(sa.update(TASKS).where(*where).values(state=states.READY)).rowcount


def ready_tasks(db, n, root=None, types=None, columns=TASK_COLUMNS):
    """The next ``n`` READY tasks: higher priority first, then older ones.

    Parameters
    ----------
    db : connection
    n : int
    root : id of the root task of a job, or None
    types : ids of task types, or None
    columns : of `TASKS`
    """
    where = [T.state == states.READY]
    if root is not None:
        where.append(T.rootTask == root)
    if types is not None:
        where.append(T.taskTypeId.in_(types))
    query = sa.select(*columns).where(*where).order_by(T.priority.desc(), T.taskId).limit(n)
    return db.execute(query).all()


def claim_ready(db, n, worker, now, root=None, types=None):
    """Start attempts of READY tasks at once, without a queue between; returns (task row, attempt id) of each.

    Parameters
    ----------
    db : connection that holds the lock
    n : int
    worker : WorkerRow
    now : s since 1970
    root, types : as `ready_tasks`
    """
    rows = ready_tasks(db, n, root, types)
    if not rows:
        return []
    first = allocate(db, ATTEMPTS, len(rows))
    db.execute(
        ATTEMPTS.insert(),
        [
            {
                "schedulingAttemptId": first + number,
                "taskId": row.taskId,
                "state": states.RUNNING,
                "queuedTime": now,
                "startTime": now,
                "latestHeartbeat": now,
                "hostId": worker.host_id,
                "workerId": worker.id,
                "errorFail": False,
            }
            for number, row in enumerate(rows)
        ],
    )
    update_in(db, TASKS, T.taskId, [row.taskId for row in rows], state=states.RUNNING)
    return [(row, first + number) for number, row in enumerate(rows)]


def queue_ready(db, n, now, root=None):
    """Put READY tasks on the queue: an attempt each, in state QUEUED; returns (attempt id, type id) of each.

    Parameters
    ----------
    db : connection that holds the lock
    n : int
    now : s since 1970
    root : as `ready_tasks`
    """
    rows = ready_tasks(db, n, root, columns=(T.taskId, T.taskTypeId))
    if not rows:
        return []
    first = allocate(db, ATTEMPTS, len(rows))
    db.execute(
        ATTEMPTS.insert(),
        [
            {
                "schedulingAttemptId": first + number,
                "taskId": row.taskId,
                "state": states.QUEUED,
                "queuedTime": now,
                "errorFail": False,
            }
            for number, row in enumerate(rows)
        ],
    )
    update_in(db, TASKS, T.taskId, [row.taskId for row in rows], state=states.QUEUED)
    return [(first + number, row.taskTypeId) for number, row in enumerate(rows)]


def claim_queued(db, attempt_ids, worker, now):
    """Claim queued attempts; returns (task row, attempt id) of those that nobody had claimed.

    Parameters
    ----------
    db : connection that holds the lock
    attempt_ids : ids, as they came from a queue
    worker : WorkerRow
    now : s since 1970
    """
    query = (
        sa.select(A.schedulingAttemptId, *TASK_COLUMNS)
        .join(TASKS, T.taskId == A.taskId)
        .where(A.state == states.QUEUED)
        .order_by(A.schedulingAttemptId)
    )
    rows = select_in(db, query, A.schedulingAttemptId, attempt_ids)
    start_attempts(db, [row.schedulingAttemptId for row in rows], worker.id, worker.host_id, now)
    return [(row, row.schedulingAttemptId) for row in rows]


def start_attempts(db, attempt_ids, worker_id, host_id, now):
    """Queued attempts are running.

    Parameters
    ----------
    db : connection that holds the lock
    attempt_ids : ids
    worker_id, host_id : ids, or None
    now : s since 1970
    """
    update_in(
        db,
        ATTEMPTS,
        A.schedulingAttemptId,
        attempt_ids,
        state=states.RUNNING,
        startTime=now,
        latestHeartbeat=now,
        hostId=host_id,
        workerId=worker_id,
    )
    rows = select_in(db, sa.select(A.taskId), A.schedulingAttemptId, attempt_ids)
    update_in(db, TASKS, T.taskId, [row.taskId for row in rows], state=states.RUNNING)


# --- preparing: what a worker gets


class Preparer:
    """Makes the dicts that workers get, with settings evaluated and inputs looked up.

    Parameters
    ----------
    registries : rows.Registries
    settings : ChainSettings
    """

    def __init__(self, registries, settings):
        self.registries, self.settings = registries, settings
        self._limits = {}

    def prepare(self, db, claimed):
        """Tasks for workers.

        Parameters
        ----------
        db : connection that holds the lock
        claimed : list of (task row, attempt id)

        Returns
        -------
        tasks : list of dict
        failures : dict attempt id -> sentence, of those that cannot start
        """
        ids = [row.taskId for row, _ in claimed]
        texts = self._texts(db, DESCRIPTIONS, {row.descriptionId for row, _ in claimed})
        scopes = self._texts(db, SCOPES, {row.scopeId for row, _ in claimed})
        requested = requested_metadata(db, ids)
        tasks, failures, evaluated = [], {}, []
        inputs = self._inputs(db, claimed, texts, scopes, failures)
        outputs = self._outputs(db, ids)
        for row, attempt_id in claimed:
            if attempt_id in failures:
                continue
            scope = scope_from(scopes[row.scopeId], row)
            text = texts[row.descriptionId]
            description = parsed(text)
            results = requested.get(row.taskId, {})
            if row.evaluatedDescription is not None:
                description = json.loads(row.evaluatedDescription)
            elif _has_expressions(text):
                try:
                    evaluation = scope.evaluation(scope.seed, results)
                    description = evaluation.evaluate_in_structure(description)
                except WrongUseError as error:
                    failures[attempt_id] = str(error)
                    continue
                evaluated.append({"id": row.taskId, "text": json.dumps(description)})
            kind = self.registries.types.name(db, row.taskTypeId)
            task = {
                "id": row.taskId,
                "attempt_id": attempt_id,
                "attempt": row.attemptsUsed + 1,
                "type": kind,
                "name": row.taskName,
                "job_name": row.jobName,
                "directory": row.workingDirectory,
                "description": description,
                "metadata": scope.metadata,
                "requested_metadata": results,
                "inputs": inputs.get(row.taskId, {}),
                "outputs": outputs.get(row.taskId, {}),
                "seed": scope.seed,
                "limits": self.limits(row),
            }
            if task_type(kind).collects:
                task["collected"] = collected_results(db, self.registries, row.taskId)
            if kind == "ingest_external_lcs":
                names = sa.select(PRODUCTS.c.filename).where(
                    PRODUCTS.c.directoryName == row.workingDirectory
                )
                task["existing"] = list(db.execute(names).scalars())
            tasks.append(task)
        many(
            db,
            sa.update(TASKS)
            .where(T.taskId == sa.bindparam("id"))
            .values(evaluatedDescription=sa.bindparam("text")),
            evaluated,
        )
        return tasks, failures

    def limits(self, row):
        """`scheduler.protocol.Limits` of a task, the same object for equal ones."""
        seconds = row.timeLimit or self.settings.task_timeout
        gigabytes = row.memoryLimit or self.settings.memory_gb
        key = (seconds, gigabytes)
        if key not in self._limits:
            memory = None if gigabytes is None else int(gigabytes * GIGABYTE)
            self._limits[key] = Limits(seconds=seconds, memory=memory)
        return self._limits[key]

    @staticmethod
    def _texts(db, table, ids):
        id_column, text = list(table.c)[:2]
        return dict(tuple(row) for row in select_in(db, sa.select(id_column, text), id_column, ids))

    def _outputs(self, db, ids):
        query = sa.select(
            PRODUCTS.c.generatorTask, SEMANTIC_TYPES.c.name, PRODUCTS.c.filename
        ).join(SEMANTIC_TYPES, SEMANTIC_TYPES.c.semanticTypeId == PRODUCTS.c.semanticType)
        found = {}
        for task_id, role, filename in select_in(db, query, PRODUCTS.c.generatorTask, ids):
            found.setdefault(task_id, {})[role] = filename
        return found

    def _inputs(self, db, claimed, texts, scopes, failures):
        """dict task id -> dict role -> newest passed version of the product."""
        self._resolve_late_inputs(db, claimed, texts, scopes, failures)
        query = (
            sa.select(
                *(TASK_INPUTS.c.taskId, SEMANTIC_TYPES.c.name, PRODUCTS.c.directoryName),
                *(PRODUCTS.c.filename, VERSIONS.c.productVersionId, VERSIONS.c.repositoryId),
                *(VERSIONS.c.fileSize, VERSIONS.c.fileMD5),
            )
            .join(SEMANTIC_TYPES, SEMANTIC_TYPES.c.semanticTypeId == TASK_INPUTS.c.semanticType)
            .join(PRODUCTS, PRODUCTS.c.productId == TASK_INPUTS.c.inputId)
            .join(VERSIONS, VERSIONS.c.productId == PRODUCTS.c.productId)
            .where(VERSIONS.c.passedQc)
            .order_by(VERSIONS.c.productVersionId)
        )
        rows = select_in(db, query, TASK_INPUTS.c.taskId, [row.taskId for row, _ in claimed])
        if not rows:
            return {}
        newest = {(row.taskId, row.name): row for row in rows}
        values = fetch_values(
            db, "productVersionId", {row.productVersionId for row in newest.values()}
        )
        found = {}
        for (task_id, role), row in newest.items():
            found.setdefault(task_id, {})[role] = {
                "filename": row.filename,
                "directory": row.directoryName,
                "repository_id": row.repositoryId,
                "size": row.fileSize,
                "md5": row.fileMD5,
                "metadata": values[row.productVersionId],
            }
        return found

    def _resolve_late_inputs(self, db, claimed, texts, scopes, failures):
        """Inputs that were made inside what a task waited for were not known when it was made."""
        late = []
        for row, attempt_id in claimed:
            description = parsed(texts[row.descriptionId])
            if "wait_for" not in description or "inputs" not in description:
                continue
            scope = scope_from(scopes[row.scopeId], row)
            evaluate = scope.evaluation(scope.seed).evaluate_in_structure
            files = evaluate(description["inputs"], ("inputs",))
            known = find_products(db, {row.workingDirectory: set(files.values())})
            for role, filename in files.items():
                product, is_there = known.get((row.workingDirectory, filename), (None, False))
                if not is_there:
                    failures[attempt_id] = f"nobody made the input {role!r}: {filename!r}"
                else:
                    late.append((row.taskId, role, product))
        semantics = self.registries.semantics.ids(db, {role for _, role, _ in late})
        present = {
            (row.taskId, row.semanticType)
            for row in select_in(
                db,
                sa.select(TASK_INPUTS.c.taskId, TASK_INPUTS.c.semanticType),
                TASK_INPUTS.c.taskId,
                {task_id for task_id, _, _ in late},
            )
        }
        many(
            db,
            TASK_INPUTS.insert(),
            [
                {"taskId": id_, "inputId": product, "semanticType": semantics[role], "met": True}
                for id_, role, product in late
                if (id_, semantics[role]) not in present
            ],
        )


def _has_expressions(text):
    """Whether the text of a description holds an expression outside of raw lists; remembered by the text."""
    known = _has_expressions.known
    if text not in known:
        if len(known) > 5000:
            known.clear()
        known[text] = _find_expression(parsed(text))
    return known[text]


_has_expressions.known = {}


def _find_expression(value):
    if isinstance(value, dict):
        return any(_find_expression(item) or is_expression(key) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_find_expression, value))
    return is_expression(value)


def collected_results(db, registries, task_id):
    """Results of all that a task waited for: list of dict of type, name, passed and metadata, loop variables among it."""
    roots = db.execute(sa.select(BARRIERS.c.inputId).where(BARRIERS.c.taskId == task_id)).scalars()
    roots = list(roots)
    ids = [*roots, *states.descendants(db, roots)]
    query = sa.select(T.taskId, T.taskTypeId, T.taskName, T.state, T.scopeId)
    containers = states.container_types(db)
    rows = [row for row in select_in(db, query, T.taskId, ids) if row.taskTypeId not in containers]
    newest = newest_passed(db, [row.taskId for row in rows])
    values = fetch_values(db, "schedulingAttemptId", newest.values())
    scopes = dict(
        tuple(row)
        for row in select_in(
            db,
            sa.select(SCOPES.c.scopeId, SCOPES.c.scope),
            SCOPES.c.scopeId,
            {row.scopeId for row in rows},
        )
    )
    return [
        {
            "id": row.taskId,
            "type": registries.types.name(db, row.taskTypeId),
            "name": row.taskName,
            "passed": row.state == states.PASSED,
            "scope": json.loads(scopes[row.scopeId])["metadata"],
            "metadata": values.get(newest.get(row.taskId), {}),
        }
        for row in rows
    ]


# --- finishing


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
        .where(A.state == states.RUNNING)
    )
    if worker_id is not None:
        query = query.where(A.workerId == worker_id)
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
        for number, (key, product) in enumerate(new):
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
    used_up = Counter(row.taskId for row in rows)
    update_in(
        db,
        TASKS,
        T.taskId,
        [*passed, *lost],
        attemptsUsed=T.attemptsUsed + 1,
        stateReason=None,
    )
    assert len(used_up) == len(rows), "two attempts of one task at once"
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


# --- taking back


def release(db, attempt_ids, containers):
    """Attempts that were not begun never were: their tasks are READY again.

    Parameters
    ----------
    db : connection that holds the lock
    attempt_ids : ids
    containers : set of ids of task types, not used by tasks that run
    """
    rows = select_in(
        db,
        sa.select(A.schedulingAttemptId, A.taskId).where(
            A.state.in_((states.RUNNING, states.QUEUED))
        ),
        A.schedulingAttemptId,
        attempt_ids,
    )
    for some in (rows[i : i + 500] for i in range(0, len(rows), 500)):
        ids = [row.schedulingAttemptId for row in some]
        db.execute(sa.delete(ATTEMPTS).where(A.schedulingAttemptId.in_(ids)))
    update_in(
        db,
        TASKS,
        T.taskId,
        [row.taskId for row in rows],
        T.state.in_((states.RUNNING, states.QUEUED)),
        state=states.READY,
    )


def lost_workers(db, now, me=None):
    """Ids of workers whose lease has ended, or whose process is dead on this host."""
    query = sa.select(WORKERS, HOSTS.c.hostname).join(HOSTS, HOSTS.c.hostId == WORKERS.c.hostId)
    found = []
    for row in db.execute(query):
        if row.workerId == me:
            continue
        is_here = row.hostname == platform.node() and row.boot == boot_id()
        if is_here and not is_alive(row.pid, row.startedTicks, row.boot):
            found.append(row.workerId)
        elif row.leaseUntil < now and not is_here:
            found.append(row.workerId)
        elif row.leaseUntil < now:
            # It lives, but hangs or waits for the database: its results will be dropped where another one is faster.
            found.append(row.workerId)
    return found


def recover(database, settings, me=None, root=None):
    """Make attempts of lost workers LOST and their tasks READY; returns how many there were.

    Parameters
    ----------
    database : connect.Database
    settings : ChainSettings
    me : id of this worker, which is not lost
    root : not used; all jobs are looked at
    """
    now = time.time()
    if not database.read(lambda db: lost_workers(db, now, me)):
        return 0

    def change(db):
        workers = lost_workers(db, time.time(), me)
        rows = select_in(
            db,
            sa.select(A.schedulingAttemptId, A.taskId).where(A.state == states.RUNNING),
            A.workerId,
            workers,
        )
        ids = [row.taskId for row in rows]
        update_in(
            db,
            ATTEMPTS,
            A.schedulingAttemptId,
            [row.schedulingAttemptId for row in rows],
            state=states.LOST,
            endTime=time.time(),
            errorText="its worker was lost",
        )
        losses = Counter(
            row.taskId
            for row in select_in(
                db, sa.select(A.taskId).where(A.state == states.LOST), A.taskId, ids
            )
        )
        hopeless = {id_: states.FAILED for id_ in ids if losses[id_] >= MAX_LOSSES}
        again = [id_ for id_ in ids if id_ not in hopeless]
        update_in(db, TASKS, T.taskId, again, T.state == states.RUNNING, state=states.READY)
        if hopeless:
            reason = f"it lost its worker {MAX_LOSSES} times"
            states.failed(db, hopeless, dict.fromkeys(hopeless, reason))
        for worker in workers:
            db.execute(sa.delete(WORKERS).where(WORKERS.c.workerId == worker))
        return len(rows)

    count = database.change(change)
    if count:
        log.warning("workers were lost; tasks that start again: %d", count)
    return count
