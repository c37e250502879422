"""`SharedEventQueue`: the low-priority queue as a small SQLite file that many processes of one host work on.

An item is handed out with a *lease*: its worker renews it while it lives, and if it falls silent, or is found dead on
this host, the item is handed out again. Taking an item is one transaction. What is finished stays in the file, so that
a file which arrived once is not worked on twice, also after a restart, and so that one can see what became of it.

SQLite's write-ahead log needs a local disk; processes of other hosts come in through `queueserver`.
"""

import contextlib
import json
import logging
import os
import platform
import threading
import time
from pathlib import Path

from ..errors import TryAgainError
from . import queuefile
from .arguments import Arguments
from .event import OUTCOME, Event
from .polledqueue import PolledQueue

log = logging.getLogger(__name__)

HOUSEKEEPING = 1.0  # s between looks for items of lost workers


class SharedEventQueue(PolledQueue):
    """The contract of `queues.SimpleEventQueue`, on a file.

    Parameters
    ----------
    path : the file, made if it is missing and ``create`` is true
    lease : s after which an item of a silent worker is handed out again
    max_attempts : int, how many workers an item may take down before it has failed
    identity : Identity of the worker that takes through this object, if it is not this process; it calls `renew` itself

    Raises
    ------
    WrongUseError : the file is something else
    TryAgainError : from any method, the file is gone or cannot be written at present
    """

    def __init__(self, path, *, lease=60, max_attempts=3, create=True, identity=None):
        super().__init__()
        self.path = Path(path)
        self.lease = lease
        self.max_attempts = max_attempts
        self.worker = (
            None if identity is None else identity.name
        )  # its name in the file; own one from the first item on
        self._registered_by = None  # process number
        self._lock = threading.RLock()
        self._file = queuefile.QueueFile(self.path)
        self._identity = identity
        self._closed = threading.Event()
        self._heartbeat = None
        self._housekept = 0.0
        self._file.open(create)

    # adding and taking

    def put(self, event):
        """Add an event at the end. Returns False, and adds nothing, if its key is known already."""
        with self._transaction() as db:
            added = _insert(db, event)
        self._put_here.set()
        return added

    def take(self):
        """Take the first event, or None, without waiting."""
        self._housekeep()
        with self._lock:
            if self._file.nothing_to_take():
                return None
        with self._transaction() as db:
            row = db.execute(queuefile.FIRST, (time.time(),)).fetchone()
            if row is None:
                return None
            self._register(db)
            db.execute(
                queuefile.TAKE,
                (self.worker, time.time() + self.lease, time.time(), row["position"]),
            )
        self._file.taken = True
        event = _event(row)
        event.queue, event.worker = self, self.worker
        event.attempt += 1
        return event

    # looking

    @property
    def stopping(self):
        """Whether the workers have been asked to end."""
        with self._lock:
            return self._file.stopping()

    def is_stopping(self):
        """The same as a method."""
        return self.stopping

    def head(self):
        """The first event that could be taken now, without taking it, or None."""
        with self._reading() as db:
            return _event(db.execute(queuefile.FIRST, (time.time(),)).fetchone())

    def qsize(self):
        """How many events are pending."""
        with self._reading() as db:
            return db.execute("SELECT COUNT(*) FROM items WHERE state='pending'").fetchone()[0]

    def get_pending(self):
        """The pending events, as a list."""
        return self.find("pending")

    def get_in_progress(self):
        """The events in progress, of all workers, as a dict: id -> event."""
        return {event.id: event for event in self.find("running")}

    def find(self, state, limit=-1, since=0):
        """The events in a state ('pending', 'running', 'done', 'skipped', 'failed'), as a list, first come first."""
        with self._reading() as db:
            rows = db.execute(queuefile.FIND, (state, since, limit))
            return [_event(row) for row in rows]

    def counts(self, since=0):
        """How many items are in which state, of the finished ones those since a time (s since 1970): dict of state -> int."""
        with self._reading() as db:
            found = dict(db.execute(queuefile.COUNT, (since,)).fetchall())
        return {state: found.get(state, 0) for state in queuefile.STATES}

    def workers(self):
        """Who takes items: list of dicts of id, host, pid, started, seen (s since 1970)."""
        with self._reading() as db:
            return [dict(row) for row in db.execute("SELECT * FROM workers ORDER BY started")]

    def is_over(self):
        """Whether nothing is pending and nobody holds an item that might come back."""
        self._housekeep()
        with self._reading() as db:
            return (
                db.execute(
                    "SELECT 1 FROM items WHERE state IN ('pending', 'running') LIMIT 1"
                ).fetchone()
                is None
            )

    def waiting_for(self):
        """What the queue waits for, in a few words."""
        with self._reading() as db:
            pending = db.execute(
                "SELECT COUNT(*), MIN(not_before) FROM items WHERE state='pending'"
            ).fetchone()
            running = db.execute(
                "SELECT name, worker FROM items WHERE state='running' LIMIT 3"
            ).fetchall()
        if pending[0]:
            delay = pending[1] - time.time()
            return (
                f"a worker to take {pending[0]} events"
                if delay <= 0
                else f"{pending[0]} retries, the first in {delay:.0f} s"
            )
        if running:
            return "items in progress elsewhere: " + ", ".join(
                f"{row['name']} on {row['worker']}" for row in running
            )
        return "the next event"

    # finishing

    def discard(self, event_id):
        """Finish an event in progress, whoever holds it. Returns it; None if it is not in progress."""
        return self._leave(event_id, OUTCOME.DONE, None, None, None)

    def finish(self, event_id, outcome=OUTCOME.DONE, error=None, successor=None, worker=None):
        """Finish an event of this worker, with what became of it, and add its ``successor`` if there is one.

        Returns None, and changes nothing, if the worker does not hold it any more: then another one's result counts.
        """
        return self._leave(event_id, outcome, error, successor, worker or self.worker or "nobody")

    def re_append(self, event_id, delay=0, error=None, worker=None):
        """Move an event in progress to the end of the queue, not to be handed out for ``delay`` s.

        Returns it; None, and changes nothing, if it is not in progress, or not at the ``worker`` that is named.
        """
        with self._transaction() as db:
            event = _running(db, event_id, worker)
            if event is not None:
                db.execute(queuefile.TO_THE_END, (time.time() + delay, _storable(error), event_id))
        self._put_here.set()
        return event

    def release(self, event_id, worker=None):
        """Put an event in progress back to where it was, as if it had never been taken.

        Returns it; None, and changes nothing, if it is not in progress, or not at the ``worker`` that is named.
        """
        with self._transaction() as db:
            event = _running(db, event_id, worker)
            if event is not None:
                db.execute(queuefile.RELEASE, (event_id,))
        return event

    def release_worker(self, pid, host=None):
        """Hand out again what a dead process (of this host) held; its items count the attempt. Returns how many there were."""
        with self._transaction() as db:
            return self._give_back(
                db, [row["id"] for row in queuefile.workers_of(db, host or platform.node(), pid)]
            )

    def release_unheld(self, held):
        """Put back what the file says that this worker holds, but for the ids in ``held``. Returns how many there were."""
        if self._identity is None:
            return 0
        with self._transaction() as db:
            rows = db.execute(
                "SELECT id FROM items WHERE worker=? AND state='running'", (self._identity.name,)
            )
            lost = [row["id"] for row in rows if row["id"] not in held]
            return sum(db.execute(queuefile.RELEASE, (event_id,)).rowcount for event_id in lost)

    def requeue(self, *states):
        """Make the items of these states ('failed', 'skipped', 'done') pending again. Returns how many there were."""
        with self._transaction() as db:
            return sum(db.execute(queuefile.REQUEUE, (state,)).rowcount for state in states)

    def forget(self, key):
        """Forget a finished item, so that its file is taken when it arrives again. Returns whether there was one."""
        with self._transaction() as db:
            sql = "DELETE FROM items WHERE key=? AND state IN ('done', 'skipped', 'failed')"
            return db.execute(sql, (_storable(key),)).rowcount > 0

    def terminate(self):
        """Ask all workers to end after their present item. What is pending stays in the file."""
        self._ask_to_stop(True)

    def resume(self):
        """Take back `terminate`: workers may work again."""
        self._ask_to_stop(False)

    def close(self):
        """Give back what this process holds, and close the file. Harmless when called twice."""
        self._closed.set()
        if self._heartbeat is not None and self._heartbeat is not threading.current_thread():
            self._heartbeat.join()
        if self.worker is not None:
            with (
                contextlib.suppress(TryAgainError),
                self._transaction() as db,
            ):  # the lease's end does it otherwise
                db.execute(queuefile.RELEASE_WORKER, (self.worker,))
                db.execute("DELETE FROM workers WHERE id=?", (self.worker,))
        self.worker = self._registered_by = None
        self._file.close()

    def detach(self):
        """Close the file, and let this worker keep what it holds until its lease ends."""
        self.worker = None
        self.close()

    def renew(self):
        """Extend the lease of what this worker holds."""
        if self.worker is not None:
            with self._transaction() as db:
                now = time.time()
                db.execute("UPDATE workers SET seen=? WHERE id=?", (now, self.worker))
                db.execute(queuefile.RENEW, (now + self.lease, self.worker))

    # inside

    @contextlib.contextmanager
    def _transaction(self):
        with self._lock, self._file.transaction() as db:
            yield db

    @contextlib.contextmanager
    def _reading(self):
        with self._lock, self._file.reading() as db:
            yield db

    def _ask_to_stop(self, stopping):
        with self._lock:
            self._file.ask_to_stop(stopping)

    def _leave(self, event_id, outcome, error, successor, worker):
        with self._transaction() as db:
            event = _running(db, event_id, worker)
            if event is None:
                return None
            if (
                event._recurrent and outcome != OUTCOME.FAILED
            ):  # each of its repeats would leave a row
                db.execute("DELETE FROM items WHERE id=?", (event_id,))
            else:
                db.execute(
                    queuefile.FINISH, (str(outcome), _storable(error), time.time(), event_id)
                )
            if successor is not None:
                _insert(db, successor)
        return event

    def _register(self, db):
        if self._registered_by != os.getpid():
            identity = self._identity or queuefile.Identity.of_this_process()
            self.worker, self._registered_by = identity.name, os.getpid()
            queuefile.register_worker(db, identity)
            if self._identity is None:
                self._closed.clear()
                self._heartbeat = threading.Thread(
                    target=self._keep_alive, name="event_queue_heartbeat", daemon=True
                )
                self._heartbeat.start()

    def _keep_alive(self):
        while not self._closed.wait(self.lease / 3):
            try:
                self.renew()
            except TryAgainError as error:
                log.warning("cannot renew the lease of %s: %s", self.worker, error)

    def _housekeep(self):
        """Hand out again what lost workers held, at most once per HOUSEKEEPING s."""
        if time.monotonic() - self._housekept < HOUSEKEEPING:
            return
        self._housekept = time.monotonic()
        with self._reading() as db:
            lost = queuefile.lost_workers(db, platform.node(), me=self.worker)
        if lost:
            with self._transaction() as db:
                self._give_back(db, lost)

    def _give_back(self, db, workers):
        given = 0
        for worker in workers:
            why = f"its worker {worker} was lost"
            db.execute(
                queuefile.GIVE_UP,
                (
                    f"{why}, for the {self.max_attempts}. time",
                    time.time(),
                    worker,
                    self.max_attempts,
                ),
            )
            given += db.execute(queuefile.GIVE_BACK, (why, worker)).rowcount
            db.execute("DELETE FROM workers WHERE id=?", (worker,))
            log.warning("worker %s is lost; what it held is handed out again", worker)
        return given


def _insert(db, event):
    arguments = (event.args if event.args is not None else Arguments()).to_json()
    name, key = _storable(event.name), _storable(event.key)
    row = (
        event.id,
        name,
        json.dumps(arguments),
        key,
        int(event._recurrent),
        event.repeats,
        time.time(),
    )
    return db.execute(queuefile.INSERT, row).rowcount == 1


def _storable(text):
    """A text that the file can hold: names of files need not be UTF-8, and what is not is spelled out."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _running(db, event_id, worker=None):
    """The event in progress of an id, None if there is none, or if it is at another worker than the one that is named."""
    row = db.execute("SELECT * FROM items WHERE id=? AND state='running'", (event_id,)).fetchone()
    return None if row is None or worker not in (None, row["worker"]) else _event(row)


def _event(row):
    """The event that a row of the table holds; None for None."""
    if row is None:
        return None
    event = Event(
        row["name"],
        Arguments.from_json(json.loads(row["args"])),
        bool(row["recurrent"]),
        row["key"],
    )
    event.id, event.attempt, event.repeats, event.error = (
        row["id"],
        row["attempt"],
        row["repeats"],
        row["error"],
    )
    event.state, event.worker, event.lease_until = row["state"], row["worker"], row["lease_until"]
    event.taken = row["taken"]
    return event


def open_queue(path, **options):
    """The queue in a file that exists, or None."""
    try:
        return SharedEventQueue(path, create=False, **options)
    except TryAgainError:
        return None
