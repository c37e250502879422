"""Who works, and on what: workers and their leases, attempts claimed, given back, and taken from
the dead.

A worker is a process that claims attempts. It is an item of `photometry.leases` that it holds as
long as it lives, so that an attempt is LOST, and its task starts again, when its worker is dead on
this host or silent for longer than its lease.
"""

import logging
import platform
import threading
import time
import uuid
from collections import Counter

import sqlalchemy as sa

from ..errors import TryAgainError
from ..leases import Leases
from . import states
from .rows import allocate, chunks, select_in, update_in
from .schema import ATTEMPTS, TASKS

log = logging.getLogger(__name__)

T, A = TASKS.c, ATTEMPTS.c
MAX_LOSSES = 10  # workers that a task may lose; then it is taken to be the cause
RECOVERY_INTERVAL = 1.0  # s between looks for lost workers
TASK_COLUMNS = (
    *(T.taskId, T.rootTask, T.taskTypeId, T.jobName, T.taskName, T.workingDirectory),
    *(T.descriptionId, T.scopeId, T.evaluatedDescription, T.seed, T.attemptsUsed, T.crashes),
    *(T.maxAttempts, T.timeLimit, T.memoryLimit),
)


class Worker:
    """This process as one that claims attempts.

    Parameters
    ----------
    database : connect.Database
    registries : rows.Registries
    lease : s that it may be silent
    """

    def __init__(self, database, registries, lease):
        self.database, self.registries = database, registries
        self.leases = database.patiently(lambda: Leases(database.engine, lease=lease))
        self.id = None
        self.host_id = None
        self._closed = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, args=(lease / 3,), daemon=True)
        self._recovered = -RECOVERY_INTERVAL

    def register(self):
        """Become an item that this process holds."""
        self.id = f"chain worker {uuid.uuid4().hex}"
        item = {"kind": self.id, "id": self.id, "key": self.id, "max_attempts": 1_000_000}

        def register(db):
            self.leases.put(payload={"host": platform.node()}, connection=db, **item)
            self.leases.take(self.id, connection=db)
            return self.registries.hosts.id(db, platform.node())

        self.host_id = self.database.change(register)
        self._heartbeat.start()

    def _beat(self, interval):
        """Note the sign of life with each attempt that runs; the lease itself is renewed by
        `Leases`."""
        while not self._closed.wait(interval):
            try:
                self.database.change(
                    lambda db: db.execute(
                        sa.update(ATTEMPTS)
                        .where(A.workerId == self.id, A.state == states.RUNNING)
                        .values(latestHeartbeat=time.time())
                    )
                )
            except TryAgainError as error:
                log.warning("no heartbeat: %s", error)

    def leave(self):
        """Give back what is still claimed, and end being a worker."""
        self._closed.set()
        if self._heartbeat.is_alive():
            self._heartbeat.join()

        def give_back(db):
            query = sa.select(A.schedulingAttemptId).where(
                A.workerId == self.id, A.state == states.RUNNING
            )
            release(db, list(db.execute(query).scalars()))

        if self.id is not None:
            self.database.change(give_back)
            self.database.patiently(lambda: self.leases.finish(self.id, remove=True))
        self.leases.close()

    def recover(self):
        """Make attempts of lost workers LOST and their tasks READY, once in a while; returns how
        many there were."""
        if time.monotonic() - self._recovered < RECOVERY_INTERVAL:
            return 0
        self._recovered = time.monotonic()
        self.database.patiently(self.leases.expire)
        if not self.database.read(self._lost):
            return 0
        count = self.database.change(lambda db: lose(db, self._lost(db), time.time()))
        if count:
            log.warning("workers were lost; tasks that start again: %d", count)
        return count

    def _lost(self, db):
        """Ids of workers with running attempts that nobody holds."""
        query = sa.select(A.workerId).where(A.state == states.RUNNING, A.workerId.is_not(None))
        found = []
        for worker in db.execute(query.distinct()).scalars():
            item = self.leases.get(worker, connection=db)
            if worker != self.id and (item is None or item.state != "running"):
                found.append(worker)
        return found


# --- claiming


def make_due(db, now, root=None):
    """Tasks whose delay is over are READY again; returns how many.

    Parameters
    ----------
    db : connection that holds the lock
    now : s since 1970
    root : id of the root task of a job, or None: all jobs
    """
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
    """Start attempts of READY tasks at once, without a queue between; returns (task row, attempt
    id) of each.

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


def queue_tasks(db, rows, now):
    """Put READY tasks on the queue: an attempt each, in state QUEUED; returns (attempt id, type id)
    of each.

    Parameters
    ----------
    db : connection that holds the lock
    rows : with taskId and taskTypeId
    now : s since 1970
    """
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
        .where(states.ATTEMPT_STATE == states.QUEUED)
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


# --- taking back


def release(db, attempt_ids):
    """Attempts that were not begun never were: their tasks are READY again."""
    rows = select_in(
        db,
        sa.select(A.schedulingAttemptId, A.taskId).where(
            states.ATTEMPT_STATE.in_((states.RUNNING, states.QUEUED))
        ),
        A.schedulingAttemptId,
        attempt_ids,
    )
    for some in chunks([row.schedulingAttemptId for row in rows]):
        db.execute(sa.delete(ATTEMPTS).where(A.schedulingAttemptId.in_(some)))
    update_in(
        db,
        TASKS,
        T.taskId,
        [row.taskId for row in rows],
        states.STATE.in_((states.RUNNING, states.QUEUED)),
        state=states.READY,
    )


def lose(db, workers, now):
    """Attempts of these workers are LOST; their tasks start again, unless they have lost too many.
    Returns how many.

    Parameters
    ----------
    db : connection that holds the lock
    workers : ids
    now : s since 1970
    """
    query = sa.select(A.schedulingAttemptId, A.taskId).where(A.state == states.RUNNING)
    rows = select_in(db, query, A.workerId, workers)
    ids = [row.taskId for row in rows]
    update_in(
        db,
        ATTEMPTS,
        A.schedulingAttemptId,
        [row.schedulingAttemptId for row in rows],
        state=states.LOST,
        endTime=now,
        errorText="its worker was lost",
    )
    query = sa.select(A.taskId).where(states.ATTEMPT_STATE == states.LOST)
    losses = Counter(row.taskId for row in select_in(db, query, A.taskId, ids))
    hopeless = {id_: states.FAILED for id_ in ids if losses[id_] >= MAX_LOSSES}
    again = [id_ for id_ in ids if id_ not in hopeless]
    update_in(db, TASKS, T.taskId, again, states.STATE == states.RUNNING, state=states.READY)
    if hopeless:
        reason = f"it lost its worker {MAX_LOSSES} times"
        states.failed(db, hopeless, dict.fromkeys(hopeless, reason))
    return len(rows)
