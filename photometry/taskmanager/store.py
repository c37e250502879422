"""The open TODO-file: `Store`, with the database on disk, and `MemoryStore`, with the database in
memory.

On disk, SQLite keeps a write-ahead log (``todo.sqlite-wal``): a commit is one append to that log,
ten times faster than with a rollback journal, and others may read meanwhile. On a network disk no
memory can be shared with them, and the file is held for ourselves (``locking_mode = EXCLUSIVE``),
which makes the log safe there. On closing the log is folded back and one plain file remains. Where
the file system cannot lock files at all, SQLite does not try: our own `lock.Lock` keeps others out.

In memory, every change goes to the journal beside the TODO-file, and the file is replaced now and
then: the journal is folded into a copy of the file by a thread that does not touch the database in
memory. SQL of the user is not in the journal, and what came after it could not be replayed into a
file that lacks it. So the first change of ours that follows such SQL begins with a backup, which
copies the whole database, at once.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import PhotometryError, TodoFileError, TryAgainError
from ..files import atomic_write, sync
from .journal import Journal, Segments, find_segments, read_segments, set_aside
from .opening import bring_up_to_date, connect, identity, load, replay
from .schema import WRITE_IDENTITY, apply

log = logging.getLogger(__name__)

_SYNC_INTERVAL = 1.0  # s

BACKUP_DUTY_FACTOR = 20
"""A backup is followed by a pause this many times as long: it takes 5 % of the time at most."""
_BACKUP_SPEED = 20e6  # bytes of file and journal per second, as long as none was measured
_SMALL = (
    1_000_000  # bytes of file and journal; such a backup takes some milliseconds and is waited for
)
_PIECE = (
    4_000_000  # bytes that are copied and flushed at once; one big flush would hold up the journal
)


class Store:
    """The database of an open TODO-file.

    Parameters
    ----------
    path : Path of the TODO-file, which was found good by `opening.check_todo_file`
    lock : lock.Lock
    durability : 'process', 'second' or 'record'

    Attributes
    ----------
    conn : opening.Connection
    cursor : sqlite3.Cursor, rows as tuples
    seen : int
        What ``conn.total_changes`` was after our last change; if it is something else, the user has
        made changes.
    replayed : int, changes of a killed run that were in its journals
    is_on_disk : bool, other programs can change it
    journal : journal.Journal, or None where SQLite keeps changes by itself
    is_journal_complete : bool, False where SQL of the user has made changes that are not in it
    """

    is_on_disk, journal, is_journal_complete = True, None, True
    _open = staticmethod(connect)

    def __init__(self, path, lock, durability):
        self.path, self.lock, self.durability = path, lock, durability
        self._syncer = None
        self.conn = self._open(path)
        try:
            self.conn.execute("PRAGMA foreign_keys = ON")
            self.cursor = self.conn.cursor()
            self.conn.row_factory = sqlite3.Row  # of the cursors of the user
            todo_id, generation = identity(self.conn, path)
            segments = read_segments(path, todo_id, generation)
            self.replayed = sum(segment.n_changes for segment in segments.good)
            if segments.problem and not self.replayed:
                set_aside(path, segments.problem)
                segments = Segments([])
            for segment in segments.good:
                if segment.is_torn:
                    log.warning(
                        "%s: its last line was torn by a crash and is left out", segment.path
                    )
            generation, crc = bring_up_to_date(self.conn, path, segments, todo_id, generation)
            self._begin(segments.problem, todo_id, generation, crc)
        except BaseException:
            self.conn.close()
            raise
        self.seen = self.conn.total_changes

    def write(self, changes):
        """Make ``changes`` (see `schema.apply`), all or none of them; when this returns they are
        kept.

        Raises
        ------
        TryAgainError : the disk is full or gone; nothing was changed
        TodoFileError : the lock is lost
        """
        if not self.is_journal_complete:  # what it promises holds for the SQL of the user, too
            self.backup()
        if self.lock.loss is not None:
            raise self.lock.loss
        if self.conn.in_transaction:
            self.conn.commit()  # SQL of the user
        if self._syncer and self._syncer.error:
            raise TryAgainError(
                f"{self.path}: cannot be flushed to the disk ({self._syncer.error})"
            )
        try:
            self.cursor.execute("BEGIN")
            apply(self.cursor, changes)
            if self.journal is not None:
                self.journal.append(changes)
            self.cursor.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise TryAgainError(f"{self.path}: {error}; everything saved so far is kept") from error
        finally:
            if self.conn.in_transaction:
                self.cursor.execute("ROLLBACK")
            self.seen = self.conn.total_changes

    def vacuum(self):
        self.conn.commit()
        self.conn.execute("VACUUM")
        self.seen = self.conn.total_changes

    def backup(self):
        """Nothing to do: the file has everything in it already."""

    def backup_soon(self):
        """Nothing to do: the file has everything in it already."""

    def close(self):
        """Leave one plain file; where another program is just reading, its log stays beside it
        until the next opening.
        """
        try:
            if self._syncer:
                self._syncer.stop()
            self.conn.commit()
            self.conn.close_cursors()
            self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            try:
                self.conn.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                log.warning(
                    "%s: another program is reading it; %s-wal stays for now",
                    self.path,
                    self.path.name,
                )
        except sqlite3.OperationalError as error:
            raise TryAgainError(f"{self.path}: {error}; everything saved so far is kept") from error
        finally:
            self.conn.close()

    def abandon(self):
        """Opening failed: leave things as they are."""
        self.conn.close_cursors()
        self.conn.close()

    def _begin(self, problem, todo_id, generation, crc):
        """What the journals said is in the file by now."""
        if problem:
            set_aside(self.path, problem)
        for path in find_segments(self.path).values():
            path.unlink(missing_ok=True)
        self.conn.execute("PRAGMA journal_mode = WAL")
        self.conn.execute(
            f"PRAGMA synchronous = {'FULL' if self.durability == 'record' else 'NORMAL'}"
        )
        if self.durability == "second":
            wal = self.path.with_name(self.path.name + "-wal")
            self._syncer = _Syncer(lambda: wal)


class MemoryStore(Store):
    """The database of an open TODO-file, in memory; parameters and attributes as for `Store`."""

    is_on_disk = False
    _open = staticmethod(load)

    def backup(self):
        """Replace the TODO-file by what is in memory."""
        self.journal = self.journal.next()
        self._replace_file(self.journal.generation)
        for path in find_segments(self.path, before=self.journal.generation).values():
            path.unlink(missing_ok=True)

    def backup_soon(self):
        """Bring the TODO-file up to date without holding up the run, as long as that takes 5 % of
        the time at most.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        n_bytes = self.path.stat().st_size + sum(
            path.stat().st_size for path in find_segments(self.path).values()
        )
        is_small = n_bytes < _SMALL
        pause = BACKUP_DUTY_FACTOR * n_bytes / self._speed
        if not is_small and time.monotonic() < self._rested_since + pause:
            return
        self.journal = self.journal.next()
        generation = self.journal.generation
        self.cursor.execute(WRITE_IDENTITY, (self._todo_id, str(generation)))
        self.conn.commit()
        self.seen = self.conn.total_changes
        self._thread = threading.Thread(
            target=self._fold, args=[generation, n_bytes], name="todo-file backup", daemon=True
        )
        self._thread.start()
        if is_small:
            self._thread.join()

    def close(self):
        """Replace the TODO-file by what is in memory, and remove the journal."""
        following = self.journal.generation + 1
        try:
            self._replace_file(following)
            for path in find_segments(self.path, before=following).values():
                path.unlink(missing_ok=True)
        finally:
            if self._syncer:
                self._syncer.stop()
            self.journal.close()
            self.conn.close()

    def abandon(self):
        """Opening failed: nothing of it shall be replayed."""
        self._is_fold_unwanted.set()
        if self._thread is not None:
            self._thread.join()
        self.journal.close()
        self.journal.path.unlink()
        self.conn.close()

    def _begin(self, problem, todo_id, generation, crc):
        self._todo_id = todo_id
        self._thread, self._is_fold_unwanted = None, threading.Event()
        self._rested_since, self._speed = time.monotonic(), _BACKUP_SPEED
        if problem:  # what could be replayed is kept before the journals go
            self._replace_file(generation)
            set_aside(self.path, problem)
        self.journal = Journal(
            self.path, todo_id, generation, follows=crc, durability=self.durability
        )
        if self.durability == "second":
            self._syncer = _Syncer(lambda: self.journal.path)

    def _replace_file(self, generation):
        """Write what is in memory beside the TODO-file, as its ``generation``, and rename it; the
        journals that it has in it stay.
        """
        if self._thread is not None:  # what it would have written comes another way
            self._is_fold_unwanted.set()
            self._thread.join()
            self._thread = None
            self._is_fold_unwanted.clear()
        self.cursor.execute(WRITE_IDENTITY, (self._todo_id, str(generation)))
        self.conn.commit()
        self.seen = self.conn.total_changes
        try:
            with atomic_write(self.path) as part:
                with contextlib.closing(sqlite3.connect(part)) as copy:
                    copy.execute("PRAGMA journal_mode = OFF")
                    copy.execute("PRAGMA synchronous = OFF")  # atomic_write flushes
                    self.conn.backup(copy)
                self.lock.check()
        except (OSError, sqlite3.OperationalError) as error:
            raise TryAgainError(
                f"{self.path}: cannot be replaced ({error}); every result so far is kept in its "
                "journal"
            ) from error
        self.is_journal_complete = True
        self._rested_since = time.monotonic()

    def _fold(self, generation, n_bytes):
        """Thread: bring a copy of the TODO-file up to date with the journals before ``generation``,
        and rename it.
        """
        begin = time.monotonic()
        try:
            with atomic_write(self.path) as part:
                self._copy_throttled(part)
                with contextlib.closing(sqlite3.connect(part)) as copy:
                    copy.execute("PRAGMA journal_mode = OFF")
                    copy.execute("PRAGMA synchronous = OFF")
                    copy.set_progress_handler(self._is_fold_unwanted.is_set, 100_000)
                    todo_id, base = identity(copy, self.path)
                    segments = read_segments(self.path, todo_id, base, before=generation)
                    if segments.problem:
                        raise TodoFileError(segments.problem)
                    replay(copy, segments, todo_id, generation)
                self.lock.check()
            for path in find_segments(self.path, before=generation).values():
                path.unlink(missing_ok=True)
        except (OSError, sqlite3.Error, PhotometryError) as error:
            if not self._is_fold_unwanted.is_set():
                log.error(
                    "%s: backup failed (%s); everything is kept in its journal", self.path, error
                )
        self._rested_since = time.monotonic()
        self._speed = n_bytes / max(self._rested_since - begin, 1e-3)

    def _copy_throttled(self, target):
        """Copy the TODO-file piece by piece, each flushed before the next."""
        with open(self.path, "rb") as old, open(target, "wb") as new:
            while piece := old.read(_PIECE):
                new.write(piece)
                new.flush()
                os.fsync(new.fileno())
                if self._is_fold_unwanted.is_set():
                    raise TryAgainError("it is not wanted any more")


@dataclass
class Closed:
    """What takes the place of the database in a TaskManager that was closed: refuses everything
    with one message.
    """

    todo_file: Path

    def __getattr__(self, name):
        raise TodoFileError(
            f"{self.todo_file}: this TaskManager is closed; open the file again with "
            f"TaskManager({str(self.todo_file)!r})"
        )

    __getitem__ = __getattr__


class _Syncer:
    """A thread that flushes a growing file to the disk once a second until `stop`, and once more
    then.

    Parameters
    ----------
    path : callable, returns the Path of the file to flush

    Attributes
    ----------
    error : OSError that ended it, or None
    """

    def __init__(self, path):
        self.error = None
        self._path = path
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="todo-file sync", daemon=True)
        self._thread.start()

    def stop(self):
        self._stopped.set()
        self._thread.join()

    def _run(self):
        is_last = False
        while not is_last and self.error is None:
            is_last = self._stopped.wait(_SYNC_INTERVAL)
            try:
                with contextlib.suppress(FileNotFoundError):  # between two journals
                    sync(self._path())
            except OSError as error:
                self.error = error
