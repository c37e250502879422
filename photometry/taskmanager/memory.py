"""`MemoryStore`: the database in memory, every change in the journal beside the TODO-file, the file replaced now and then.

The journal is folded into the TODO-file in a thread that does not touch the database in memory: it copies the file,
replays the journal into the copy, and renames it. So a backup costs the run nothing that grows with the file.

SQL of the user is not journalled, and a journal of what came after it could not be replayed into a file that lacks it. So
the first change of ours that follows such SQL begins with a backup, which copies the whole database, at once.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time

from ..errors import PhotometryError, TryAgainError
from ..files import atomic_write
from .journal import Journal, check_segments, find_segments
from .opening import bring_up_to_date, find_journals, identity, load, replay, stamp
from .store import Store
from .syncer import Syncer

log = logging.getLogger(__name__)

_PATIENCE = 0.005  # s that the run waits for a backup before it goes on beside it
# changes and bytes; a backup of less than that is waited for, it takes some milliseconds
_SMALL = (
    1000,
    4_000_000,
)
# bytes that are copied and flushed at once; one big flush would hold up the journal
_PIECE = 4_000_000
_REST = 20  # a backup that takes longer is followed by a pause this many times as long: it takes 5 % of the time at most


class MemoryStore(Store):
    """The database of an open TODO-file, in memory; parameters and attributes as for `store.Store`."""

    def changed_by_user(self):
        super().changed_by_user()
        self._is_journal_complete = False

    def write(self, changes):
        """As `Store.write`; what it promises holds for the SQL of the user that these changes build on, too."""
        if not self._is_journal_complete:
            self.backup()
        super().write(changes)

    def backup(self):
        """Replace the TODO-file by what is in memory."""
        self._wait()
        self.conn.commit()
        generation = self._next_journal()
        try:
            with atomic_write(self.path) as part:
                with contextlib.closing(sqlite3.connect(part)) as copy:
                    copy.execute("PRAGMA journal_mode = OFF")
                    copy.execute("PRAGMA synchronous = OFF")  # atomic_write flushes
                    self.conn.backup(copy)
                self.lock.check()
        except (OSError, sqlite3.OperationalError) as error:
            raise TryAgainError(
                f"{self.path}: cannot be replaced ({error}); every result so far is kept in its journal"
            ) from error
        self._remove_journals(before=generation)
        self._is_journal_complete = True

    def backup_soon(self):
        """Bring the TODO-file up to date without holding up the run."""
        if self._thread is None or (
            not self._thread.is_alive() and time.monotonic() >= self._rest_until
        ):
            is_small = self.journal.n_changes < _SMALL[0] and self.path.stat().st_size < _SMALL[1]
            generation = self._next_journal()
            self._thread = threading.Thread(
                target=self._fold, args=[generation, is_small], name="todo-file backup", daemon=True
            )
            self._thread.start()
            self._thread.join(None if is_small else _PATIENCE)

    def close(self):
        """Replace the TODO-file by what is in memory, and remove the journal."""
        try:
            self.backup()
            self._remove_journals(before=self.journal.generation + 1)
        finally:
            if self._syncer:
                self._syncer.stop()
            self.journal.close()
            self.conn.close()

    def abandon(self):
        """Opening failed: nothing of it shall be replayed."""
        self.journal.close()
        self.journal.path.unlink()
        self.conn.close()

    def _open(self):
        self._thread, self._rest_until = None, 0.0
        self._is_journal_complete = True
        return load(self.path)

    def _begin(self):
        self._todo_id, generation = identity(self.conn, self.path)
        journals = find_journals(self.path, self._todo_id, generation)
        generation, crc = bring_up_to_date(
            self.conn, self.path, journals, self._todo_id, generation
        )
        self.journal = Journal(
            self.path, self._todo_id, generation, follows=crc, durability=self.durability
        )
        if self.durability == "second":
            self._syncer = Syncer(lambda: self.journal.path)

    def _keep(self, changes):
        self.journal.append(changes)

    def _next_journal(self):
        """From now on changes go to the next journal; the database in memory has all before it."""
        self.journal = self.journal.next()
        stamp(self.cursor, self._todo_id, self.journal.generation)
        self.conn.commit()
        self.seen = self.conn.total_changes
        return self.journal.generation

    def _fold(self, generation, is_small):
        """Thread: bring a copy of the TODO-file up to date with the journals before ``generation``, and rename it."""
        begin = time.monotonic()
        try:
            with atomic_write(self.path) as part:
                _copy_gently(self.path, part)
                with contextlib.closing(sqlite3.connect(part)) as copy:
                    copy.execute("PRAGMA journal_mode = OFF")
                    copy.execute("PRAGMA synchronous = OFF")
                    todo_id, base = identity(copy, self.path)
                    replay(
                        copy,
                        check_segments(self.path, todo_id, base, before=generation),
                        todo_id,
                        base,
                    )
                self.lock.check()
            self._remove_journals(before=generation)
        except (OSError, sqlite3.Error, PhotometryError) as error:
            log.error("%s: backup failed (%s); everything is kept in its journal", self.path, error)
        seconds = time.monotonic() - begin
        self._rest_until = (
            0.0 if seconds < _PATIENCE or is_small else time.monotonic() + _REST * seconds
        )

    def _wait(self):
        if self._thread is not None:
            self._thread.join()

    def _remove_journals(self, before):
        for generation, path in find_segments(self.path).items():
            if generation < before:
                path.unlink(missing_ok=True)


def _copy_gently(source, target):
    """Copy a file piece by piece, each flushed before the next."""
    with open(source, "rb") as old, open(target, "wb") as new:
        while piece := old.read(_PIECE):
            new.write(piece)
            new.flush()
            os.fsync(new.fileno())
