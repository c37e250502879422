"""Queues of attempts: in the task database, by `photometry.leases`, and of RabbitMQ, by pika."""

import contextlib
import logging
import time

import sqlalchemy as sa

from ..errors import TryAgainError, WrongUseError
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
        items = [(queue_name, item_id)]

        def change(db):
            _set_queued(db, item_id)
            self.add(db, items)

        self.database.change(change)
        self.publish(items)

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
        if not acknowledge:
            waiting = self.queue_fetch_list(queue_name)
            return waiting[0] if waiting else None
        fetched = []

        def take(db, ids):
            fetched[:] = ids
            _mark_fetched(db, ids, set_running)
            return lambda: None

        self.claim([queue_name], 1, take)
        return fetched[0] if fetched else None

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
        self.leases = self.database.patiently(lambda: Leases(self.database.engine))
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


def _set_queued(db, attempt_id):
    db.execute(
        sa.update(ATTEMPTS)
        .where(A.schedulingAttemptId == attempt_id)
        .values(state=states.QUEUED, hostId=None, workerId=None, queuedTime=time.time())
    )
    task = sa.select(A.taskId).where(A.schedulingAttemptId == attempt_id).scalar_subquery()
    db.execute(sa.update(TASKS).where(T.taskId == task).values(state=states.QUEUED))


def _mark_fetched(db, ids, set_running):
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


log = logging.getLogger(__name__)


class TaskQueueAmqp(TaskQueue):
    """Queues of RabbitMQ: durable, with persistent messages; acknowledged when the claim is in the
    database; reconnecting.

    Parameters
    ----------
    debugging : bool, log each message
    settings : ChainSettings, by default from file and environment
    database : connect.Database, by default that of the settings
    """

    def __init__(self, debugging=False, *, settings=None, database=None):
        try:
            import pika
        except ImportError:
            raise WrongUseError(
                "the queue amqp needs pika: pip install 'photometry[rabbitmq]'"
            ) from None
        self._pika = pika
        self.debugging = debugging
        self.settings = settings or load_chain_settings()
        self._owns = database is None
        self.database = database or Database(self.settings.database_url)
        self._connection = self._channel = None
        self._declared = set()
        self._next = 0  # type to begin with, so that each has its turn

    @property
    def connected(self):
        """Whether there is a connection."""
        return self._connection is not None and self._connection.is_open

    def _connect(self):
        s, pika = self.settings, self._pika
        parameters = pika.ConnectionParameters(
            host=s.mq_host,
            port=s.mq_port,
            credentials=pika.PlainCredentials(s.mq_user, s.mq_password),
            heartbeat=600,
            blocked_connection_timeout=60,
            socket_timeout=10,
        )
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._declared.clear()

    def _do(self, function):
        """``function(channel)``, with a new connection where the old one is gone, as long as the
        settings have patience."""
        start, pause = time.monotonic(), 0.05
        while True:
            try:
                if not self.connected:
                    self._connect()
                return function(self._channel)
            except self._pika.exceptions.ProbableAuthenticationError as error:
                raise WrongUseError(
                    f"{self._name()}: refuses user and password ({error})"
                ) from None
            except (self._pika.exceptions.AMQPError, OSError) as error:
                self._drop()
                if time.monotonic() - start > self.settings.database_patience:
                    raise TryAgainError(f"{self._name()}: no answer ({error!r})") from None
                log.warning("%s: %r; connecting again", self._name(), error)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _name(self):
        return f"RabbitMQ at {self.settings.mq_host}:{self.settings.mq_port}"

    def _drop(self):
        if self._connection is not None:
            with contextlib.suppress(Exception):  # it may be broken in any way
                self._connection.close()
        self._connection = self._channel = None

    def _queue(self, channel, name):
        """The name of a queue, which is made where it is not there."""
        full = f"{self.settings.queue_prefix}{name}"
        if full not in self._declared:
            channel.queue_declare(full, durable=True)
            self._declared.add(full)
        return full

    def queue_declare(self, queue_name):
        self._do(lambda channel: self._queue(channel, queue_name))

    def queue_length(self, queue_name):
        def look(channel):
            full = self._queue(channel, queue_name)
            return channel.queue_declare(full, durable=True, passive=True).method.message_count

        return self._do(look)

    def queue_fetch_list(self, queue_name):
        def look(channel):
            full, ids, last = self._queue(channel, queue_name), [], None
            while (message := channel.basic_get(full))[0] is not None:
                last = message[0].delivery_tag
                ids.append(int(message[2]))
            if last is not None:  # they keep their order
                channel.basic_nack(last, multiple=True, requeue=True)
            return ids

        return self._do(look)

    def publish(self, items):
        persistent = self._pika.BasicProperties(delivery_mode=2)
        waiting = list(items)

        def send(channel):
            while waiting:
                name, id_ = waiting[-1]
                channel.basic_publish(
                    "", self._queue(channel, name), str(id_).encode("ascii"), persistent
                )
                waiting.pop()
                if self.debugging:
                    log.info("published %s to %s", id_, name)

        waiting.reverse()
        self._do(send)

    def claim(self, types, n, take):
        def fetch(channel):
            tags, ids = [], []
            for step in range(len(types)):
                name = self._queue(channel, types[(self._next + step) % len(types)])
                while len(ids) < n:
                    method, _, body = channel.basic_get(name)
                    if method is None:
                        break
                    tags.append(method.delivery_tag)
                    if body.isdigit():
                        ids.append(int(body))
                    else:
                        log.error("%s: a message that is no id is dropped: %r", name, body[:80])
                if len(ids) >= n:
                    break
            self._next += 1
            return self._channel, tags, ids

        channel, tags, ids = self._do(fetch)
        after = self.database.change(lambda db: take(db, ids)) if ids else None
        try:
            if tags:
                channel.basic_ack(tags[-1], multiple=True)
        except (self._pika.exceptions.AMQPError, OSError) as error:
            # The ids come again, and find their attempts claimed.
            log.warning("%s: %r after a claim", self._name(), error)
            self._drop()
        if after is not None:
            after()
        return len(tags)

    def close(self):
        self._drop()
        if self._owns:
            self.database.close()
