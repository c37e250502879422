"""Who holds items: registered, renewed while it lives, and found to be lost when it does not."""

import logging
import os
import platform
import threading
import time
import uuid
from dataclasses import dataclass

from ..errors import ArgumentError, TryAgainError
from ..processes import ProcessId, boot_id, is_alive
from .stores import EngineConnection
from .view import LeaseView, as_tuple

log = logging.getLogger(__name__)

EXPIRY_INTERVAL = 1.0
"""s between looks for lost holders."""

BACK = "UPDATE lease_items SET state='pending', not_before=NULL, holder=NULL"
MINE = " WHERE id=:id AND state='running' AND (:anyone=1 OR holder=:holder)"


@dataclass(frozen=True)
class Holder:
    """Who takes items: a process of a host. One process may take through more than one object,
    hence the random part."""

    host: str
    process: ProcessId
    random: str

    @classmethod
    def of_this_process(cls):
        """A new holder of this process."""
        return cls(platform.node(), ProcessId.of(), uuid.uuid4().hex[:6])

    @property
    def name(self):
        """host:pid:random"""
        return f"{self.host}:{self.process.pid}:{self.random}"

    @property
    def is_this_process(self):
        """Whether this is the process that asks, not the parent that it was forked from."""
        return self.process.pid == os.getpid()


class Holding(LeaseView):
    """What concerns the holder of items rather than the items.

    Parameters
    ----------
    store : stores.SqliteFile or stores.Engine
    lease, max_attempts, holder : see `leases.Leases`
    """

    def __init__(self, store, *, lease, max_attempts, holder):
        super().__init__(store)
        if not lease > 0:
            raise ArgumentError(f"lease={lease!r}: expected a number of seconds above 0")
        if max_attempts < 1:
            raise ArgumentError(f"max_attempts={max_attempts!r}: expected 1 or more")
        self.lease, self.max_attempts = lease, max_attempts
        self._holder, self._renews_itself = holder, holder is None
        self._heartbeat, self._closed = None, threading.Event()
        # holder: (its lease_until, time.monotonic() when that was first seen)
        self._watched = {}
        self._expired_at = -EXPIRY_INTERVAL
        # of what nothing could be taken: (kinds, change numbers), and until when (s since 1970)
        self._idle = None, 0.0
        self._took = False

    @property
    def holder(self):
        """Who takes through this object; another one in a child process."""
        if self._renews_itself and (self._holder is None or not self._holder.is_this_process):
            self._holder = Holder.of_this_process()
            self._heartbeat = None
        return self._holder

    def renew(self):
        """Extend the lease of what this holder holds."""
        if self._holder is not None:
            sql = (
                f"UPDATE lease_holders SET seen={self._sql.now}, lease_until={self._sql.now} "
                "+ :lease WHERE id=:id"
            )
            self._do(lambda db: db.run(sql, id=self._holder.name, lease=self.lease), None)

    def release_all(self, *, except_ids=(), connection=None):
        """Put back what this holder holds, but for some ids, as if it had never been taken. Returns
        how many there were."""
        if self._holder is None:
            return 0
        kept = as_tuple(except_ids)

        def back(db):
            held = db.rows(
                "SELECT id FROM lease_items WHERE holder=:holder AND state='running'",
                holder=self._holder.name,
            )
            sql = BACK + ", attempt=attempt-1, taken=NULL" + MINE
            ids = [row["id"] for row in held if row["id"] not in kept]
            return sum(db.run(sql, id=id, anyone=0, holder=self._holder.name) for id in ids)

        return self._do(back, connection)

    def expire_now_and_then(self):
        """`expire`, at most once in `EXPIRY_INTERVAL`."""
        if time.monotonic() - self._expired_at >= EXPIRY_INTERVAL:
            self.expire()

    def expire(self):
        """Take from lost holders what they held. Returns the names of these holders."""
        self._expired_at = time.monotonic()
        sql = (
            f"SELECT id, host, pid, started, boot, seen, lease_until, {self._sql.now} AS now "
            "FROM lease_holders"
        )
        rows = self._read(lambda db: db.rows(sql), None)
        me = None if self._holder is None else self._holder.name
        self._watched = {row["id"]: self._watch(row) for row in rows}
        lost = [row for row in rows if row["id"] != me and self._is_lost(row)]
        return [
            row["id"] for row in lost if self._do(lambda db, row=row: self._expire(db, row), None)
        ]

    def take_from(self, pid, host=None):
        """Take from the holders of a process, of this host unless another one is named, what they
        held.

        Returns
        -------
        int : how many items that were; each counts the attempt
        """
        sql = "SELECT id, lease_until FROM lease_holders WHERE host=:host AND pid=:pid"

        def end(db):
            rows = db.rows(sql, host=host or platform.node(), pid=pid)
            return sum(self._expire(db, row) or 0 for row in rows)

        return self._do(end, None)

    def _watch(self, row):
        """Since when the lease of a holder has been seen to end when it does."""
        before = self._watched.get(row["id"])
        if before is not None and before[0] == row["lease_until"]:
            return before
        return row["lease_until"], time.monotonic()

    def _is_lost(self, row):
        if row["host"] == platform.node():
            same_boot = row["boot"] == boot_id()
            if same_boot and not is_alive(row["pid"], row["started"], row["boot"]):
                return True
            # a file is of one host, which was started anew; two hosts of a server may have one name
            if not same_boot and self._sql.single_host:
                return True
        silent = time.monotonic() - self._watched[row["id"]][1]
        lease = row["lease_until"] - row["seen"]
        return silent >= (lease / 2 if row["lease_until"] < row["now"] else lease)

    def _expire(self, db, row):
        """Returns how many items that gave; None if somebody else did it, or the holder has been
        heard of since."""
        gone = "DELETE FROM lease_holders WHERE id=:id AND lease_until=:lease_until"
        if not db.run(gone, id=row["id"], lease_until=row["lease_until"]):
            return None
        why = f"its worker {row['id']} was lost"
        failed = db.run(
            "UPDATE lease_items SET state='failed', holder=NULL, error=:why, "
            f"finished={self._sql.now} "
            "WHERE holder=:id AND state='running' AND attempt >= COALESCE(max_attempts, :most)",
            why=f"{why}, the last of {self.max_attempts} that may be",
            id=row["id"],
            most=self.max_attempts,
        )
        back = db.run(
            BACK + ", error=:why WHERE holder=:id AND state='running'", why=why, id=row["id"]
        )
        log.warning("worker %s is lost: %d items pending again, %d failed", row["id"], back, failed)
        return failed + back

    def _register(self, db, holder):
        """Note the holder, and that it lives; in the transaction of what it takes, so that it is
        not lost unseen."""
        known = db.rows("SELECT id FROM lease_holders WHERE id=:id", id=holder.name)
        # on a server, the row is locked against who would find this holder lost meanwhile
        if known and not self._sql.single_host:
            known = db.run(
                "UPDATE lease_holders SET seen="
                f"{self._sql.now}, lease_until={self._sql.now} + :lease WHERE id=:id",
                id=holder.name,
                lease=self.lease,
            )
        if not known:
            now = self._sql.now
            # another thread of this holder may be about the same
            sql = self._sql.insert(
                "lease_holders",
                "id, host, pid, started, boot, registered, seen, lease_until",
                f":id, :host, :pid, :started, :boot, {now}, {now}, {now} + :lease",
            )
            db.run(
                sql,
                id=holder.name,
                host=holder.host,
                pid=holder.process.pid,
                started=holder.process.started,
                boot=holder.process.boot,
                lease=self.lease,
            )

    def _start_heartbeat(self):
        if self._renews_itself and self._heartbeat is None:
            self._closed = threading.Event()
            self._heartbeat = threading.Thread(
                target=self._renew_regularly, args=(self._closed,), name="leases", daemon=True
            )
            self._heartbeat.start()

    def _renew_regularly(self, closed):
        while not closed.wait(self.lease / 3):
            try:
                self.renew()
            except TryAgainError as error:
                log.warning("cannot renew the lease of %s: %s", self._holder.name, error)

    # control

    def stop(self):
        """Ask all who take to end after their present item. What is pending stays."""
        self._control(1)

    def resume(self):
        """Take back `stop`."""
        self._control(0)

    def _control(self, value):
        sql = "UPDATE lease_control SET value=:value WHERE name='stopping'"
        self._do(lambda db: db.run(sql, value=value), None)

    def close(self):
        """Put back what this holder holds, and close the database. Harmless when called twice."""
        self._end_heartbeat()
        if self._holder is not None and (not self._renews_itself or self._holder.is_this_process):
            name = self._holder.name

            def leave(db):
                db.run(
                    BACK + ", attempt=attempt-1, taken=NULL WHERE holder=:id AND state='running'",
                    id=name,
                )
                db.run("DELETE FROM lease_holders WHERE id=:id", id=name)

            try:
                self._do(leave, None)
            except TryAgainError as error:
                log.info(
                    "%s: not closed in order, the end of the lease does it: %s",
                    self.store.name,
                    error,
                )
        self.detach()

    def detach(self):
        """Close the database, and let this holder keep what it holds until its lease ends."""
        self._end_heartbeat()
        if self._renews_itself:
            self._holder = None
        self.store.close()

    def _end_heartbeat(self):
        self._closed.set()
        if self._heartbeat is not None and self._heartbeat is not threading.current_thread():
            self._heartbeat.join()
        self._heartbeat = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _do(self, function, connection):
        """Call a function with the caller's connection, or with one of ours in a transaction."""
        if connection is not None:
            return function(EngineConnection(connection))
        try:
            return self.store.do(function)
        finally:
            # afterwards, so that who has looked before the end of it looks again
            self._writes += 1
