"""`Store`: the open TODO-file, in file mode; `memory.MemoryStore` is the same with the database in memory.

In file mode SQLite keeps a write-ahead log (``todo.sqlite-wal``) with ``locking_mode = EXCLUSIVE``: a commit is one append
to that log, ten times faster than with a rollback journal, and no memory is shared with other processes, which
is what makes the log unusable on network file systems otherwise. On closing the log is folded back and one plain file
remains. Where the file system cannot lock files at all, SQLite is told not to try: our own `lock.Lock` keeps others out.
"""

import sqlite3

from ..errors import TryAgainError
from .changes import apply
from .journal import find_segments
from .opening import bring_up_to_date, connect, find_journals, identity
from .syncer import Syncer


class Store:
    """The database of an open TODO-file.

    Parameters
    ----------
    path : Path of the TODO-file, which was found good by `check.check_todo_file`
    lock : lock.Lock
    durability : 'process', 'second' or 'record'

    Attributes
    ----------
    conn : connection.Connection
    cursor : sqlite3.Cursor, rows as tuples
    seen : int
        What ``conn.total_changes`` was after our last change; if it is something else, the user has made changes.
    """

    def __init__(self, path, lock, durability):
        self.path, self.lock, self.durability = path, lock, durability
        self.conn = self._open()
        self._syncer = None
        try:
            self.conn.row_factory = sqlite3.Row
            self.conn.execute("PRAGMA foreign_keys = ON")
            self.cursor = self.conn.cursor()
            self.cursor.row_factory = None
            self._begin()
        except BaseException:
            self.conn.close()
            raise
        self.seen = self.conn.total_changes

    def write(self, changes):
        """Make ``changes`` (see `changes.apply`), all or none of them; when this returns they are kept.

        Raises
        ------
        TryAgainError : the disk is full or gone; nothing was changed
        """
        if self.conn.in_transaction:
            self.conn.commit()  # SQL of the user
        if self._syncer and self._syncer.error:
            raise TryAgainError(
                f"{self.path}: cannot be flushed to the disk ({self._syncer.error})"
            )
        try:
            self.cursor.execute("BEGIN")
            apply(self.cursor, changes)
            self._keep(changes)
            self.cursor.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise TryAgainError(f"{self.path}: {error}; everything saved so far is kept") from error
        finally:
            if self.conn.in_transaction:
                self.cursor.execute("ROLLBACK")
            self.seen = self.conn.total_changes

    def changed_by_user(self):
        """SQL of the user has changed rows since the last call, or is in the middle of it."""
        self.seen = -1 if self.conn.in_transaction else self.conn.total_changes

    def setting(self, key):
        """Value of the table ``todo_settings``; None where there is none."""
        row = self.cursor.execute(
            "SELECT value FROM todo_settings WHERE key = ?", (key,)
        ).fetchone()
        return row and row[0]

    def vacuum(self):
        self.conn.commit()
        self.conn.execute("VACUUM")
        self.seen = self.conn.total_changes

    def backup(self):
        """Nothing to do: the file has everything in it already."""

    def backup_soon(self):
        """Nothing to do: the file has everything in it already."""

    def close(self):
        """Leave one plain file."""
        try:
            if self._syncer:
                self._syncer.stop()
            self.conn.commit()
            self.conn.close_cursors()
            self.conn.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            raise TryAgainError(f"{self.path}: {error}; everything saved so far is kept") from error
        finally:
            self.conn.close()

    def abandon(self):
        """Opening failed: leave things as they are."""
        self.conn.close()

    def _open(self):
        return connect(self.path)

    def _begin(self):
        todo_id, generation = identity(self.conn, self.path)
        journals = find_journals(self.path, todo_id, generation)
        bring_up_to_date(self.conn, self.path, journals, todo_id, generation)
        for path in find_segments(self.path).values():
            path.unlink()
        self.conn.execute("PRAGMA journal_mode = WAL")
        self.conn.execute(
            f"PRAGMA synchronous = {'FULL' if self.durability == 'record' else 'NORMAL'}"
        )
        if self.durability == "second":
            log = self.path.with_name(self.path.name + "-wal")
            self._syncer = Syncer(lambda: log)

    def _keep(self, changes):
        """COMMIT keeps them."""
