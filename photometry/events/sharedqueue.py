"""`SharedEventQueue`: the low-priority queue in a database that many processes work on, by default
a small SQLite file.

An event is an item of `photometry.leases`: its worker renews a lease while it lives, and if it
falls silent, or is found dead on this host, another one gets the item. What is finished stays, so
that a file which arrived once is not worked on twice, also after a restart, and so that one can see
what became of it.

A file needs a local disk; processes of other hosts come in through `queueserver`, or all work on
PostgreSQL or MariaDB."""

import json
from pathlib import Path

from ..errors import TryAgainError, WrongUseError
from ..leases import Leases
from ..leases.view import stored_key
from .event import OUTCOME, Arguments, Event
from .queues import PolledQueue

KIND = "events"
STATES = ("pending", "running", "done", "skipped", "failed")
_IN_STATE = {"pending": ("pending", "delayed")}

# 'PEVQ', in the header of files of version 1
_APPLICATION_ID = 0x50455651


class SharedEventQueue(PolledQueue):
    """The contract of `queues.SimpleEventQueue`, in a database.

    Parameters
    ----------
    path : the SQLite file, made if it is missing and ``create`` is true; or the URL of a database
    lease : s after which an item of a silent worker is given to another one
    max_attempts : int, how many workers an item may take down before it has failed
    create : bool
    holder : leases.Holder of the worker that takes through this object, if it is not this process;
        it calls `renew` itself

    Raises
    ------
    WrongUseError : the database is something else
    TryAgainError : from any method, the database is gone or cannot be written at present
    """

    def __init__(self, path, *, lease=60, max_attempts=3, create=True, holder=None):
        super().__init__()
        database = path if is_url(path) else Path(path)
        self.leases = Leases(
            database,
            lease=lease,
            max_attempts=max_attempts,
            create=create,
            holder=holder,
            convert=self._take_over,
        )
        # without the password, where there is one
        self.path = self.leases.store.name
        self._held, self._in_doubt = set(), False

    # adding and taking

    def put(self, event):
        """Add an event at the end. Returns False, and adds nothing, if its key is known already."""
        added = self.leases.put(**_to_item(event))
        self._put_here.set()
        return added is not None

    def take(self):
        """Take the first event, or None, without waiting."""
        if self._in_doubt:  # it may be that events were taken, and only the answer was lost
            self.release_unheld(sorted(self._held))
            self._in_doubt = False
        try:
            items = self.leases.take(KIND)
        except TryAgainError:
            self._in_doubt = True
            raise
        if not items:
            return None
        event = _to_event(items[0])
        self._held.add(event.id)
        event.queue = self
        return event

    def _left(self, item, event_id):
        """An event that is no longer in progress here."""
        self._held.discard(event_id)
        return _to_event(item)

    # looking

    @property
    def stopping(self):
        """Whether the workers have been asked to end."""
        return self.leases.stopping

    def is_stopping(self):
        """The same as a method."""
        return self.stopping

    def head(self):
        """The first event that could be taken now, without taking it, or None."""
        item = self.leases.first(KIND)
        return None if item is None else _to_event(item)

    def qsize(self):
        """How many events are pending."""
        return self.leases.n_waiting(KIND)

    def get_pending(self):
        """The pending events, as a list."""
        return self.find("pending")

    def get_in_progress(self):
        """The events in progress, of all workers, as a dict: id -> event."""
        return {event.id: event for event in self.find("running")}

    def find(self, state, limit=None, since=None):
        """The events in a state, first come first.

        Parameters
        ----------
        state : one of `STATES`
        limit : int or None, how many at most
        since : s since 1970 or None, leaves out what was finished before

        Returns
        -------
        list of Event
        """
        states = _IN_STATE.get(state, state)
        items = self.leases.find(states, kinds=KIND, limit=limit, since=since)
        return [_to_event(item) for item in items]

    def counts(self, since=None):
        """How many items are in which of `STATES`, of the finished ones those since a time (s since
        1970), as a dict."""
        counts = self.leases.counts(kinds=KIND, since=since)
        return {
            state: sum(counts[part] for part in _IN_STATE.get(state, (state,))) for state in STATES
        }

    def workers(self):
        """Who takes items: list of dicts of id, host, pid, registered, seen and lease_until (s
        since 1970)."""
        return self.leases.holders()

    def is_over(self):
        """Whether nothing is pending and no holder has an item that might come back."""
        self.leases.expire_now_and_then()
        return self.leases.is_over(KIND)

    def waiting_for(self):
        """What the queue waits for, in a few words."""
        ripe, counts = self.leases.next_ripe(KIND), self.counts()
        if ripe is not None:
            pending = counts["pending"]
            if ripe > 0:
                return f"{pending} retries, the first in {ripe:.0f} s"
            return f"a worker to take {pending} events"
        if counts["running"]:
            running = self.find("running", 3)
            names = ", ".join(f"{event.name} on {event.worker}" for event in running)
            return f"items in progress elsewhere: {names}"
        return "the next event"

    # finishing

    def discard(self, event_id):
        """Finish an event in progress, whoever holds it. Returns it; None if it is not in
        progress."""
        return self._left(self.leases.finish(event_id, anyone=True), event_id)

    def finish(self, event_id, outcome=OUTCOME.DONE, error=None, successor=None, worker=None):
        """Finish an event of this worker, with what became of it.

        Parameters
        ----------
        event_id : str
        outcome : OUTCOME
        error : str or None, why
        successor : Event that follows it, or None
        worker : str or None, another worker, on whose behalf it is finished

        Returns
        -------
        Event or None : None, and nothing is changed, if the worker does not hold it any more: then
            another one's result counts
        """
        item = self.leases.finish(
            event_id,
            str(outcome),
            error,
            # each of its repeats would leave a row
            remove=successor is not None,
            successor=None if successor is None else _to_item(successor),
            holder=worker,
        )
        return self._left(item, event_id)

    def re_append(self, event_id, delay=0, error=None, worker=None):
        """Move an event in progress to the end of the queue.

        Parameters
        ----------
        event_id : str
        delay : s until it can be taken again
        error : str or None, why
        worker : str or None, who must hold it; None: whoever does

        Returns
        -------
        Event or None : None, and nothing is changed, if it is not in progress so
        """
        item = self.leases.retry(
            event_id, delay, error, counted=False, holder=worker, anyone=worker is None
        )
        self._put_here.set()
        return self._left(item, event_id)

    def release(self, event_id, worker=None):
        """Put an event in progress back to where it was, as if it had never been taken. Returns it,
        or None; see `re_append`."""
        item = self.leases.release(event_id, holder=worker, anyone=worker is None)
        return self._left(item, event_id)

    def release_worker(self, pid, host=None):
        """Give to others what a dead process (of this host) held; its items count the attempt.
        Returns how many there were."""
        return self.leases.take_from(pid, host)

    def release_unheld(self, held):
        """Put back what the database says that this worker holds, but for the ids in ``held``.
        Returns how many there were."""
        return self.leases.release_all(except_ids=held)

    def requeue(self, *states):
        """Make the items of these states ('failed', 'skipped', 'done') pending again. Returns how
        many there were."""
        return self.leases.requeue(states, kinds=KIND)

    def forget(self, key):
        """Remove a finished item, so that its file is taken when it arrives again. Returns whether
        there was one."""
        return self.leases.forget(KIND, key)

    def terminate(self):
        """Ask all workers to end after their present item. What is pending stays."""
        self.leases.stop()

    def resume(self):
        """Take back `terminate`: workers may work again."""
        self.leases.resume()

    def renew(self):
        """Extend the lease of what this worker holds."""
        self.leases.renew()

    def close(self):
        """Put back what this process holds, and close the database. Harmless when called twice."""
        self.leases.close()

    def detach(self):
        """Close the database, and let this worker keep what it holds until its lease ends."""
        self.leases.detach()

    def _take_over(self, raw):
        """Take over the events of a file of version 1, in which they had tables of their own."""
        if raw.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise WrongUseError("an SQLite file, but not a queue of events")
        for row in raw.execute("SELECT * FROM items ORDER BY position").fetchall():
            payload = {name: row[name] for name in ("name", "recurrent", "repeats")}
            payload["args"] = json.loads(row["args"])
            state = "pending" if row["state"] == "running" else row["state"]
            raw.execute(
                "INSERT INTO lease_items (id, kind, item_key, payload, priority, state, "
                "attempt, error, created, taken, "
                "finished) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
                (
                    *(row["id"], KIND, stored_key(row["key"]), json.dumps(payload), state),
                    *(row[name] for name in ("attempt", "error", "created", "taken", "finished")),
                ),
            )
        for table in ("items", "workers", "control"):
            raw.execute(f"DROP TABLE {table}")


def is_url(path):
    """Whether a queue is named by the URL of a database, not by a file."""
    return isinstance(path, str) and "://" in path


def open_queue(path, **options):
    """The queue in a database that exists, or None."""
    try:
        return SharedEventQueue(path, create=False, **options)
    except TryAgainError:
        return None


def _to_item(event):
    """The arguments of `Leases.put` for an event."""
    payload = {
        "name": event.name,
        "args": event.args_json(),
        "recurrent": event._recurrent,
        "repeats": event.repeats,
    }
    return {"kind": KIND, "payload": payload, "id": event.id, "key": event.key}


def _to_event(item):
    """The event that an item holds; None for None. One of a damaged file has a name that no table
    has, so that it fails, and it alone.
    """
    if item is None:
        return None
    try:
        payload = item.payload
        args, repeats = Arguments.from_json(payload["args"]), int(payload["repeats"])
        event = Event(str(payload["name"]), args, bool(payload["recurrent"]), item.key)
    except (TypeError, ValueError, KeyError):
        event, repeats = Event("damaged", Arguments(), False, item.key), 0
    event.id, event.attempt, event.repeats = item.id, item.attempt, repeats
    event.error, event.state, event.worker = item.error, item.state, item.holder
    event.lease_until, event.taken = item.lease_until, item.taken
    return event
