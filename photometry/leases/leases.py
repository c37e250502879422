"""`Leases`: put, take, renew, finish, give back, expire. Who holds an item, and for how long it may
be silent."""

import json
import os
import time
from pathlib import Path

from ..errors import ArgumentError
from .holding import BACK, MINE, Holding
from .stores import Engine, SqliteFile
from .view import (
    COLUMNS,
    FINAL,
    as_tuple,
    candidates,
    in_list,
    marks,
    positions,
    select,
    stored_key,
    stored_text,
    to_item,
)

# how many items more than asked for are looked at, since other processes take some of them first
_SPARE = 32
_ROUNDS = 8


def backoff(attempt, first=5.0, longest=3600.0):
    """Delay before the next attempt, in s: doubled with each.

    Parameters
    ----------
    attempt : int, how many there were
    first : s, after the first one
    longest : s
    """
    return min(longest, first * 2.0 ** min(attempt - 1, 60))


class Leases(Holding):
    """Items of work in a database, for any number of processes.

    A holder renews its lease while it lives (in a thread of its own). What it held becomes pending
    again when it is found dead on this host, at once, and otherwise when its lease has ended and
    nothing was heard of it for half a lease of watching besides, so that a clock that is set makes
    nobody lost. An item whose holders were lost ``max_attempts`` times has failed.

    Every method that changes or reads items takes ``connection``: a SQLAlchemy connection in a
    transaction of the caller, who commits it. What it does is then done if, and only if, the rest
    of that transaction is.

    Parameters
    ----------
    database : path of an SQLite file (made if missing), a database URL, or a SQLAlchemy Engine
    lease : float, s
    max_attempts : int, for items that do not say
    holder : Holder or None
        Who takes; None: this process, whose lease is renewed by a thread. Who names another one
        calls `renew`.
    create : bool, make the file, or the tables, if they are missing
    convert : for an SQLite file, see `stores.SqliteFile`

    Raises
    ------
    WrongUseError : the database is something else
    TryAgainError : from any method: the database cannot be reached at present
    """

    def __init__(
        self, database, *, lease=60.0, max_attempts=3, holder=None, create=True, convert=None
    ):
        is_url = isinstance(database, str) and "://" in database
        if is_url or hasattr(database, "dialect"):
            store = Engine(database, create=create)
        else:
            store = SqliteFile(Path(database), create=create, convert=convert)
        super().__init__(store, lease=lease, max_attempts=max_attempts, holder=holder)

    # putting

    def put(
        self, kind, payload, *, id=None, key=None, priority=0, delay=0, max_attempts=None,
        connection=None,
    ):  # fmt: skip
        """Add an item.

        Parameters
        ----------
        kind : str, the queue
        payload : what JSON can hold
        id : str or None, unique; a random one if None
        key : str or None, what the item is about; the kind remembers it also when the item is
            finished
        priority : int, smaller ones are taken first; among equals, first in, first out
        delay : s until it can be taken
        max_attempts : int or None
        connection : SQLAlchemy connection or None

        Returns
        -------
        str or None : its id; None, and nothing is added, if its id or key is known
        """
        item = {
            "id": id, "kind": kind, "payload": payload, "key": key, "priority": priority,
            "delay": delay, "max_attempts": max_attempts,
        }  # fmt: skip
        ids = self.put_many([item], connection=connection)
        return ids[0] if ids else None

    def put_many(self, items, *, connection=None):
        """Add items in one transaction: dicts with the arguments of `put`.

        Returns
        -------
        list of str : the ids of those that were added
        """
        rows = [self._row(**item) for item in items]
        return self._do(lambda db: [row["id"] for row in rows if self._insert(db, row)], connection)

    def _insert(self, db, row):
        """Add a row unless its id or key is known. Returns whether it was added."""
        sql = self._sql.insert(
            "lease_items",
            "id, kind, item_key, payload, priority, state, attempt, max_attempts, "
            "not_before, created",
            ":id, :kind, :key, :payload, :priority, :state, 0, :max_attempts, "
            f"CASE WHEN :delay > 0 THEN {self._sql.now} + :delay END, {self._sql.now}",
        )
        return db.run(sql, **row) == 1

    def _row(self, kind, payload, id=None, key=None, priority=0, delay=0, max_attempts=None):
        return {
            "id": os.urandom(16).hex() if id is None else str(id),
            "kind": kind,
            "key": stored_key(key),
            "payload": json.dumps(payload, allow_nan=False),
            "priority": priority,
            "state": "delayed" if delay > 0 else "pending",
            "max_attempts": max_attempts,
            "delay": float(delay),
        }

    # taking

    def take(self, kinds, n=1, *, connection=None):
        """Take the first items; this process holds them from now on.

        Parameters
        ----------
        kinds : str or sequence of str, the queues to look at
        n : int, how many at most
        connection : SQLAlchemy connection or None

        Returns
        -------
        list of Item, by priority, then first in first out; empty if there is none
        """
        kinds = as_tuple(kinds)
        if connection is None:
            self.expire_now_and_then()
            # where there was something a moment ago, there may be more
            if not self._took and self._nothing_to_take(kinds):
                return []
        holder = self.holder
        taken = self._do(lambda db: self._take(db, kinds, n, holder), connection)
        self._took = bool(taken)
        if taken:
            self._start_heartbeat()
        return taken

    def _take(self, db, kinds, n, holder):
        self._register(db, holder)
        self._promote(db)
        taken = []
        for _ in range(_ROUNDS):
            wanted = n - len(taken)
            # a file is written to by one process at a time: what is first now can be taken
            looked_at = wanted if self._sql.single_host else wanted + _SPARE
            first = candidates(db, self._sql, kinds, looked_at)
            full = len(first) == looked_at
            if first and not self._sql.single_host:
                rows = db.rows(
                    f"SELECT position FROM lease_items WHERE position IN ({marks(first)}) "
                    "AND state='pending' "
                    f"ORDER BY priority, position LIMIT {int(wanted)}{self._sql.skip_locked}",
                    **first,
                )
                first = positions(row["position"] for row in rows)
            if first:
                db.run(
                    "UPDATE lease_items SET state='running', attempt=attempt+1, holder=:holder, "
                    f"taken={self._sql.now} WHERE position IN ({marks(first)})",
                    holder=holder.name,
                    **first,
                )
                taken += db.rows(select(f"i.position IN ({marks(first)})"), **first)
            if len(taken) == n or not full:
                break
        taken.sort(key=lambda row: (row["priority"], row["position"]))
        return [to_item(row) for row in taken]

    def _promote(self, db):
        """Make the delayed items pending whose time has come."""
        due = db.rows(
            f"SELECT position FROM lease_items WHERE not_before <= {self._sql.now} LIMIT "
            f"1000{self._sql.skip_locked}"
        )
        if due:
            ripe = positions(row["position"] for row in due)
            db.run(
                "UPDATE lease_items SET state='pending', not_before=NULL WHERE position "
                f"IN ({marks(ripe)})",
                **ripe,
            )

    def _nothing_to_take(self, kinds):
        """Whether it is sure that nothing can be taken at this moment; costs microseconds while
        nobody writes to a file."""
        change = self.store.change_number(), self._writes
        known, until = self._idle
        if change[0] is not None and known == (kinds, change) and time.time() < until:
            return True
        ripe = self.next_ripe(kinds)
        until = float("inf") if ripe is None else time.time() + ripe
        self._idle = (kinds, change), until
        return ripe is None or ripe > 0

    # finishing

    def finish(
        self, id, outcome="done", error=None, *, remove=False, successor=None, holder=None,
        anyone=False, connection=None,
    ):  # fmt: skip
        """End an item that this holder holds.

        Parameters
        ----------
        id : str
        outcome : 'done', 'skipped', 'failed' or 'cancelled'
        error : str or None, why
        remove : bool, leave no row behind
        successor : dict with the arguments of `put`, or None; added in the same transaction
        holder : str or None, the name of another holder on whose behalf it is ended
        anyone : bool, whoever holds it
        connection : SQLAlchemy connection or None

        Returns
        -------
        Item or None : None, and nothing is changed, if it is not held so any more: then another
            one's result counts
        """
        if outcome not in FINAL:
            raise ArgumentError(f"outcome={outcome!r}: expected one of {', '.join(FINAL)}")
        row = None if successor is None else self._row(**successor)

        def end(db):
            sql = f"UPDATE lease_items SET state=:state, error=:error, finished={self._sql.now}"
            item = self._change(
                db,
                sql + ", holder=NULL" + MINE,
                id,
                self._name(holder, anyone),
                state=outcome,
                error=stored_text(error),
            )
            if item is not None and remove:
                db.run("DELETE FROM lease_items WHERE id=:id", id=id)
            if item is not None and row is not None:
                self._insert(db, row)
            return item

        return self._do(end, connection)

    def retry(
        self,
        id,
        delay=None,
        error=None,
        *,
        counted=True,
        holder=None,
        anyone=False,
        connection=None,
    ):
        """Put an item that this holder holds at the end of its queue; the attempt counts.

        Parameters
        ----------
        id : str
        delay : s until it can be taken again; None: by `backoff`
        error : str or None, why
        counted : bool, let it fail when it has no attempt left
        holder : str or None, the name of another holder on whose behalf it is put back
        anyone : bool, whoever holds it
        connection : SQLAlchemy connection or None

        Returns
        -------
        Item or None : state 'failed' if it has no attempt left; None if it is not held so any more
        """

        def again(db):
            by = self._name(holder, anyone)
            item = self._change(
                db, BACK + ", error=:error" + MINE, id, by, error=stored_text(error)
            )
            if item is None:
                return None
            if counted and item.attempt >= (item.max_attempts or self.max_attempts):
                db.run(
                    f"UPDATE lease_items SET state='failed', finished={self._sql.now} WHERE id=:id",
                    id=id,
                )
            else:
                self._to_the_end(db, id, backoff(item.attempt) if delay is None else delay)
            return self._get(db, id)

        return self._do(again, connection)

    def _to_the_end(self, db, id, delay):
        """Give an item a new position: the row goes, and comes back as a new one."""
        row = dict(db.rows("SELECT * FROM lease_items WHERE id=:id", id=id)[0])
        db.run("DELETE FROM lease_items WHERE id=:id", id=id)
        row["state"] = "delayed" if delay > 0 else "pending"
        moment = f"CASE WHEN :delay > 0 THEN {self._sql.now} + :delay END"
        values = ", ".join(moment if name == "not_before" else f":{name}" for name in COLUMNS)
        db.run(
            f"INSERT INTO lease_items ({', '.join(COLUMNS)}) VALUES ({values})",
            delay=float(delay),
            **{name: row[name] for name in COLUMNS if name != "not_before"},
        )

    def release(self, id, *, holder=None, anyone=False, connection=None):
        """Put an item that is held back where it was, as if it had never been taken. Returns it, or
        None; see `finish`.

        Parameters
        ----------
        id : str
        holder : name of who holds it, or None: this process
        anyone : bool, whoever holds it
        connection : SQLAlchemy connection or None
        """
        sql = BACK + ", attempt=attempt-1, taken=NULL" + MINE
        return self._do(
            lambda db: self._change(db, sql, id, self._name(holder, anyone)), connection
        )

    def cancel(self, ids, *, running=True, connection=None):
        """End items that have not ended, as cancelled. Who holds one is refused its result.

        Parameters
        ----------
        ids : str or sequence of str
        running : bool, those that somebody holds too
        connection : SQLAlchemy connection or None

        Returns
        -------
        int : how many
        """
        states = "('pending', 'delayed', 'running')" if running else "('pending', 'delayed')"

        def end(db):
            return sum(
                db.run(
                    "UPDATE lease_items SET state='cancelled', holder=NULL, "
                    f"not_before=NULL, finished={self._sql.now} "
                    f"WHERE id=:id AND state IN {states}",
                    id=id,
                )
                for id in as_tuple(ids)
            )

        return self._do(end, connection)

    def requeue(self, states, *, kinds=None, ids=None, connection=None):
        """Make finished items pending again, with all their attempts.

        Parameters
        ----------
        states : str or sequence of str, of `view.FINAL`
        kinds, ids : str or sequence of str, or None for all
        connection : SQLAlchemy connection or None

        Returns
        -------
        int : how many
        """
        states = as_tuple(states)
        if wrong := set(states) - set(FINAL):
            raise ArgumentError(f"states={sorted(wrong)}: expected some of {', '.join(FINAL)}")
        where, names = in_list("kind", kinds)

        where_id = "" if ids is None else " AND id=:id"

        def again(db):
            sql = f"{BACK}, attempt=0, finished=NULL WHERE state=:state AND {where}{where_id}"
            chosen = [{}] if ids is None else [{"id": id} for id in as_tuple(ids)]
            return sum(
                db.run(sql, state=state, **one, **names) for state in states for one in chosen
            )

        return self._do(again, connection)

    def forget(self, kind, key, *, connection=None):
        """Remove a finished item, so that its key can be put again. Returns whether there was one.

        Parameters
        ----------
        kind, key : str
        connection : SQLAlchemy connection or None
        """
        sql = f"DELETE FROM lease_items WHERE kind=:kind AND item_key=:key AND state IN {FINAL}"
        return self._do(lambda db: db.run(sql, kind=kind, key=stored_key(key)) > 0, connection)

    def _change(self, db, sql, id, holder, **values):
        """Carry out an UPDATE of one item that ``holder`` holds, anyone if None. Returns it as it
        is then, or None."""
        changed = db.run(sql, id=id, anyone=int(holder is None), holder=holder or "", **values)
        return self._get(db, id) if changed else None

    def _name(self, holder, anyone):
        if anyone:
            return None
        return holder or (self._holder.name if self._holder is not None else "nobody")
