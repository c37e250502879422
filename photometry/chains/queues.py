"""Queues that bring attempts to workers on many hosts: in the task database, or RabbitMQ.
`TaskScheduler` fills them.

A queue carries ids; what an attempt's state is, the database alone says. A worker claims the
attempt there before the queue forgets the id, so an id that comes twice is claimed once, and one
that is lost on the way is published again.
"""

import logging
import time

import sqlalchemy as sa

from . import claiming, states
from .connect import Database
from .expanding import Expander
from .rows import Registries
from .schema import ATTEMPTS, TASKS
from .settings import load_chain_settings, write_secret
from .taskqueue import TaskQueue, TaskQueueAmqp, TaskQueueSQL
from .tasktype import task_type_names

log = logging.getLogger(__name__)

T, A = TASKS.c, ATTEMPTS.c
BATCH = 500  # tasks that are queued in one transaction
CHECK_INTERVAL = 30.0  # s between looks whether the broker has lost ids


class TaskQueueConnector:
    """Makes queues. Leaving its ``with`` block changes nothing.

    Parameters
    ----------
    queue_engine : 'sql' or 'amqp', by default that of the settings
    debugging : bool
    settings : ChainSettings, by default from file and environment
    database : connect.Database, by default that of the settings
    """

    def __init__(self, queue_engine=None, debugging=False, *, settings=None, database=None):
        self.settings = settings or load_chain_settings()
        self.queue_engine = queue_engine or self.settings.queue
        self.debugging = debugging
        self.database = database

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def interface(self):
        """The queue."""
        database = self.database or Database(self.settings.database_url)
        if self.queue_engine == "sql":
            return TaskQueueSQL(database)
        if self.queue_engine == "amqp":
            return TaskQueueAmqp(self.debugging, settings=self.settings, database=database)
        raise ValueError(f"queue_engine={self.queue_engine!r}: expected 'sql' or 'amqp'")

    @staticmethod
    def task_queue_config_path():
        """Where the settings of the queue are kept."""
        return str(load_chain_settings().home / "local_settings_task_queue.conf")

    @staticmethod
    def make_task_queue_config(queue_implementation, mq_user, mq_passwd, mq_host, mq_port):
        """Write them, readable by their owner only.

        Parameters
        ----------
        queue_implementation : 'sql' or 'amqp'
        mq_user, mq_passwd, mq_host : str
        mq_port : int
        """
        values = {
            "queue_implementation": queue_implementation,
            "mq_user": mq_user,
            "mq_password": mq_passwd,
            "mq_host": mq_host,
            "mq_port": mq_port,
        }
        text = "".join(f"{key}: {value}\n" for key, value in values.items())
        write_secret(TaskQueueConnector.task_queue_config_path(), text)


class TaskScheduler:
    """Finds what can start and puts it on the queue. Leaving its ``with`` block closes it.

    Parameters
    ----------
    queue_implementation : 'sql' or 'amqp', by default that of the settings
    settings : ChainSettings, by default from file and environment
    """

    def __init__(self, queue_implementation=None, *, settings=None):
        self.settings = settings or load_chain_settings()
        self.database = Database(
            self.settings.database_url, patience=self.settings.database_patience
        )
        self.database.migrate()
        self.queue = TaskQueueConnector(
            queue_implementation, settings=self.settings, database=self.database
        ).interface()
        self.registries = Registries()
        self.expander = Expander(self.database, self.registries)
        self._worker = claiming.Worker(self.database, self.registries, self.settings.lease)
        self._checked = time.monotonic() - CHECK_INTERVAL
        self._was_short = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End the connections."""
        self.queue.close()
        self._worker.leave()
        self.database.close()

    def schedule_a_task(self, task_id):
        """Queue one task that can start; returns the id of its attempt, or None."""

        def change(db):
            db.execute(
                sa.update(TASKS)
                .where(T.taskId == task_id, T.state == states.DELAYED)
                .values(state=states.READY)
            )
            rows = db.execute(
                sa.select(T.taskId, T.taskTypeId).where(
                    T.taskId == task_id, T.state == states.READY
                )
            ).all()
            return self._queue(db, rows)

        items = self.database.change(change)
        self.queue.publish(items)
        return items[0][1] if items else None

    def _queue(self, db, rows):
        queued = claiming.queue_tasks(db, rows, time.time())
        items = [
            (self.registries.types.name(db, type_id), attempt_id) for attempt_id, type_id in queued
        ]
        self.queue.add(db, items)
        return items

    def schedule_all_waiting_jobs(self):
        """One pass: expand containers, end delays, start tasks of lost workers again, queue what is
        ready; returns how many."""
        self._worker.recover()
        count = 0
        while True:
            expanded = self.expander.expand()
            items = self._queue_ready()
            count += len(items)
            if not expanded and not items:
                break
        self._publish_again()
        return count

    def _queue_ready(self):
        now = time.time()

        def look(db):
            ready = sa.select(T.taskId).where(T.state == states.READY).limit(1)
            due = sa.select(T.taskId).where(T.state == states.DELAYED, T.notBefore <= now).limit(1)
            return db.execute(ready).first() or db.execute(due).first()

        if not self.database.read(look):
            return []

        def change(db):
            claiming.make_due(db, now)
            rows = claiming.ready_tasks(db, BATCH, columns=(T.taskId, T.taskTypeId))
            return self._queue(db, rows)

        items = self.database.change(change)
        self.queue.publish(items)
        return items

    def _publish_again(self):
        """Where the broker has fewer ids than the database, twice in a row, some were lost: all are
        sent again."""
        if isinstance(self.queue, TaskQueueSQL):
            return
        if time.monotonic() - self._checked < CHECK_INTERVAL:
            return
        self._checked = time.monotonic()
        query = sa.select(A.schedulingAttemptId, T.taskTypeId).join(TASKS, T.taskId == A.taskId)
        query = query.where(A.state == states.QUEUED).order_by(A.schedulingAttemptId)

        def look(db):
            return [
                (self.registries.types.name(db, row.taskTypeId), row.schedulingAttemptId)
                for row in db.execute(query)
            ]

        items = self.database.read(look)
        waiting = sum(self.queue.queue_length(name) for name in {name for name, _ in items})
        is_short = len(items) > waiting
        if is_short and self._was_short:
            log.warning("the broker has %d of %d ids; all are sent again", waiting, len(items))
            self.queue.publish(items)
        self._was_short = is_short

    def reschedule_all_unfinished_jobs(self):
        """Queue again what ended without success; what is queued or running is left alone. Returns
        how many."""
        query = sa.select(T.taskId).where(
            T.state.in_((states.FAILED, states.QC_FAILED, states.CANCELLED))
        )
        self.database.change(lambda db: states.retry(db, list(db.execute(query).scalars())))
        return self.schedule_all_waiting_jobs()

    def schedule_jobs_based_on_criterion(self, task_selection_criteria):
        """Queue those of the ready tasks for which ``task_selection_criteria(Task)`` holds; returns
        how many."""
        from .database import TaskDatabaseConnection

        rows = self.database.read(
            lambda db: claiming.ready_tasks(db, 1_000_000, columns=(T.taskId,))
        )
        with TaskDatabaseConnection(database=self.database) as tasks:
            chosen = [
                row.taskId for row in rows if task_selection_criteria(tasks.task_lookup(row.taskId))
            ]
        return sum(self.schedule_a_task(id_) is not None for id_ in chosen)

    def number_to_do(self):
        """How many tasks of all jobs are not over."""
        query = sa.select(sa.func.count()).select_from(TASKS).where(T.state.in_(states.NOT_OVER))
        return self.database.read(lambda db: db.execute(query).scalar_one())

    def declare_queues(self):
        """Make a queue for each task type."""
        for name in task_type_names():
            self.queue.queue_declare(name)


__all__ = ["TaskQueue", "TaskQueueAmqp", "TaskQueueConnector", "TaskQueueSQL", "TaskScheduler"]
