"""What a queue of attempts is, and the one in the task database, by `photometry.leases`."""

import time

import sqlalchemy as sa

from ..leases import Leases
from . import claiming, states
from .connect import Database
from .schema import ATTEMPTS, TASKS
from .settings import load_chain_settings

T, A = TASKS.c, ATTEMPTS.c
KIND = "chain "  # before the type, in the kinds of `Leases`


class TaskQueue:
    """A queue of attempt ids per task type. Leaving its ``with`` block closes it."""

    connected = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def queue_declare(self, queue_name):
        """Make a queue, if it does not exist."""
        raise NotImplementedError

    def queue_length(self, queue_name):
        """How many ids wait."""
        raise NotImplementedError

    def queue_publish(self, queue_name, item_id):
        """Add an attempt."""
        self.publish([(queue_name, item_id)])

    def queue_fetch_list(self, queue_name):
        """The ids that wait; they go on waiting."""
        raise NotImplementedError

    def queue_fetch_and_acknowledge(self, queue_name, acknowledge=True, set_running=True):
        """Take the first id that waits, or None at once.

        Parameters
        ----------
        queue_name : str, task type
        acknowledge : bool; False: put it back
        set_running : bool; False: the attempt has failed, rather than running
        """
        raise NotImplementedError

    def add(self, db, items):
        """Within the transaction that makes attempts: queue them, where the queue is in the
        database."""

    def publish(self, items):
        """After the transaction that made attempts: queue them; ``items``: list of (type, id)."""

    def claim(self, types, n, take):
        """Take up to ``n`` ids and claim the attempts.

        Parameters
        ----------
        types : list of str
        n : int
        take : callable(db, ids) -> callable(), which claims them in a transaction and is called
            when that is committed

        Returns
        -------
        int : how many ids there were, those included whose attempt was claimed or cancelled before
        """
        raise NotImplementedError

    def close(self):
        """End the connection."""


class TaskQueueSQL(TaskQueue):
    """The queue in the task database, by `photometry.leases`.

    Parameters
    ----------
    database : connect.Database, by default that of the settings
    """

    def __init__(self, database=None):
        self._owns = database is None
        self.database = database or Database(load_chain_settings().database_url)
        self.leases = Leases(self.database.engine)
        self.connected = True

    def queue_declare(self, queue_name):
        """Nothing to make."""

    def queue_length(self, queue_name):
        return self.database.patiently(
            lambda: self.leases.counts(kinds=KIND + queue_name)["pending"]
        )

    def queue_fetch_list(self, queue_name):
        items = self.database.patiently(
            lambda: self.leases.find("pending", kinds=KIND + queue_name)
        )
        return [int(item.id) for item in items]

    def add(self, db, items):
        self.leases.put_many(
            [{"kind": KIND + name, "payload": None, "id": str(id_)} for name, id_ in items],
            connection=db,
        )

    def queue_publish(self, queue_name, item_id):
        def change(db):
            set_queued(db, item_id)
            self.add(db, [(queue_name, item_id)])

        self.database.change(change)

    def queue_fetch_and_acknowledge(self, queue_name, acknowledge=True, set_running=True):
        if not acknowledge:
            waiting = self.queue_fetch_list(queue_name)
            return waiting[0] if waiting else None
        fetched = []

        def take(db, ids):
            fetched[:] = ids
            mark_fetched(db, ids, set_running)
            return lambda: None

        self.claim([queue_name], 1, take)
        return fetched[0] if fetched else None

    def claim(self, types, n, take):
        kinds = [KIND + name for name in types]
        ripe = self.database.patiently(lambda: self.leases.next_ripe(kinds))
        if ripe is None or ripe > 0:
            return 0

        def change(db):
            items = self.leases.take(kinds, n, connection=db)
            after = take(db, [int(item.id) for item in items])
            for item in items:
                self.leases.finish(item.id, remove=True, connection=db)
            return len(items), after

        count, after = self.database.change(change)
        after()
        return count

    def close(self):
        if self.connected:
            self.connected = False
            self.leases.close()
            if self._owns:
                self.database.close()


def set_queued(db, attempt_id):
    db.execute(
        sa.update(ATTEMPTS)
        .where(A.schedulingAttemptId == attempt_id)
        .values(state=states.QUEUED, hostId=None, workerId=None, queuedTime=time.time())
    )
    task = sa.select(A.taskId).where(A.schedulingAttemptId == attempt_id).scalar_subquery()
    db.execute(sa.update(TASKS).where(T.taskId == task).values(state=states.QUEUED))


def mark_fetched(db, ids, set_running):
    """What becomes of attempts that were fetched by hand."""
    now = time.time()
    if set_running:
        claiming.start_attempts(db, ids, None, None, now)
        return
    for id_ in ids:
        db.execute(
            sa.update(ATTEMPTS)
            .where(A.schedulingAttemptId == id_, A.state == states.QUEUED)
            .values(
                state=states.FAILED, endTime=now, errorFail=True, errorText="taken off the queue"
            )
        )
        task = db.execute(sa.select(A.taskId).where(A.schedulingAttemptId == id_)).scalar()
        states.failed(db, {task: states.FAILED}, {task: "taken off the queue"})
