"""The SQLite file of a shared queue: its tables, its statements, and opening it again when it has gone and come back."""

import contextlib
import os
import platform
import sqlite3
import time
import uuid
from dataclasses import dataclass

from ..errors import TryAgainError, WrongUseError

STATES = ("pending", "running", "done", "skipped", "failed")
APPLICATION_ID = 0x50455651  # 'PEVQ', tells our files from other SQLite files
VERSION = 1
BUSY_TIMEOUT = 30  # s to wait for another process's transaction

_SCHEMA = f"""
CREATE TABLE items (
    position INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which items are handed out
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    args TEXT NOT NULL,                          -- JSON
    key TEXT UNIQUE,                             -- of a file: path, mtime, size
    state TEXT NOT NULL DEFAULT 'pending',
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    lease_until REAL,                            -- s since 1970, as all times here
    not_before REAL NOT NULL DEFAULT 0,
    recurrent INTEGER NOT NULL DEFAULT 0,
    repeats INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    created REAL NOT NULL,
    taken REAL,
    finished REAL
);
CREATE INDEX items_pending ON items (position) WHERE state = 'pending';
CREATE INDEX items_running ON items (worker) WHERE state = 'running';
CREATE INDEX items_state ON items (state);
CREATE TABLE workers (
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL, seen REAL NOT NULL
);
CREATE TABLE control (stopping INTEGER NOT NULL);
INSERT INTO control VALUES (0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

INSERT = "INSERT OR IGNORE INTO items (id, name, args, key, recurrent, repeats, created) VALUES (?,?,?,?,?,?,?)"
FIRST = "SELECT * FROM items WHERE state='pending' AND not_before<=? ORDER BY position LIMIT 1"
NEXT_RIPE = "SELECT MIN(not_before) FROM items WHERE state='pending'"
TAKE = "UPDATE items SET state='running', attempt=attempt+1, worker=?, lease_until=?, taken=? WHERE position=?"
FINISH = "UPDATE items SET state=?, error=?, finished=?, worker=NULL, lease_until=NULL WHERE id=?"
TO_THE_END = """UPDATE items SET position=(SELECT MAX(position)+1 FROM items), state='pending', worker=NULL,
    lease_until=NULL, not_before=?, error=? WHERE id=?"""
_BACK = "UPDATE items SET state='pending', worker=NULL, lease_until=NULL"
RELEASE = _BACK + ", attempt=attempt-1 WHERE id=?"
RELEASE_WORKER = _BACK + ", attempt=attempt-1 WHERE worker=? AND state='running'"
GIVE_BACK = _BACK + ", error=? WHERE worker=? AND state='running'"
GIVE_UP = """UPDATE items SET state='failed', worker=NULL, lease_until=NULL, error=?, finished=?
    WHERE worker=? AND state='running' AND attempt>=?"""
REQUEUE = "UPDATE items SET state='pending', attempt=0, not_before=0, finished=NULL WHERE state=?"
FIND = "SELECT * FROM items WHERE state=? AND COALESCE(finished, 1e99)>=? ORDER BY position LIMIT ?"
COUNT = "SELECT state, COUNT(*) FROM items WHERE COALESCE(finished, 1e99)>=? GROUP BY state"
RENEW = "UPDATE items SET lease_until=? WHERE worker=? AND state='running'"


class QueueFile:
    """A connection to the file, which is made anew when the file was replaced and in a child process."""

    def __init__(self, path):
        self.path = path
        self._db = None
        self._identity = None  # (process, device, inode) that the connection belongs to
        self._idle_version = None  # PRAGMA data_version when nothing was found to take
        self._ripe = 0.0  # s since 1970, until when that holds
        self._stopping = None, None  # data_version, and what was asked then
        self.taken = False  # whether the last look found an item

    def open(self, create):
        """Open the file, and make it if ``create`` is true."""
        if not create and not self.path.exists():
            raise TryAgainError(f"{self.path}: there is no such queue")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._telling():
                self._connect()
        except OSError as error:
            raise WrongUseError(
                f"{self.path}: cannot make the folder of the queue: {error.strerror}"
            ) from error

    def close(self):
        """Close the connection, if there is one."""
        if self._db is not None and self._identity[0] == os.getpid():
            self._db.close()
        self._db = self._identity = None

    @contextlib.contextmanager
    def transaction(self):
        """Yield the connection within one transaction, which nobody else's can interleave."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        self._idle_version = None  # what this connection wrote does not show in data_version

    @contextlib.contextmanager
    def reading(self):
        """Yield the connection, for statements that only read."""
        with self._telling():
            self._follow()
            yield self._db

    def nothing_to_take(self):
        """Whether it is sure that nothing can be taken at this moment.

        While nobody writes to the file, that costs a few microseconds; just after an item was taken nobody looks.
        """
        if self.taken:
            self.taken = False
            return False
        with self.reading() as db:
            now, version = time.time(), self._data_version()
            if version == self._idle_version and now < self._ripe:
                return True
            if db.execute(FIRST, (now,)).fetchone() is not None:
                return False
            self._ripe = db.execute(NEXT_RIPE).fetchone()[0] or float("inf")
            self._idle_version = version
            return True

    def stopping(self):
        """Whether the workers have been asked to end; looked up again when another process has written to the file."""
        with self.reading() as db:
            version = self._data_version()
            if version != self._stopping[0]:
                self._stopping = (
                    version,
                    bool(db.execute("SELECT stopping FROM control").fetchone()[0]),
                )
            return self._stopping[1]

    def ask_to_stop(self, stopping):
        """Ask the workers to end, or no longer."""
        with self.transaction() as db:
            db.execute("UPDATE control SET stopping=?", (stopping,))
        self._stopping = None, None

    def _data_version(self):
        """A number that changes when another connection has written to the file."""
        return self._db.execute("PRAGMA data_version").fetchone()[0]

    def _connect(self):
        self._db = db = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(
            "PRAGMA synchronous=NORMAL"
        )  # a killed process loses nothing; the machine's death, the last moments
        self._identity = (os.getpid(), *_inode(self.path))
        self._idle_version, self._stopping = None, (None, None)
        self._make_tables(db)

    def _make_tables(self, db):
        db.execute("BEGIN IMMEDIATE")
        try:
            kind = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            if kind == 0 and tables == 0:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
            elif kind != APPLICATION_ID:
                raise WrongUseError(f"{self.path}: an SQLite file, but not a queue of events")
            elif version > VERSION:
                raise WrongUseError(
                    f"{self.path}: queue of version {version}, newer than this program ({VERSION}); upgrade"
                )
        finally:
            db.execute("COMMIT")

    def _follow(self):
        """Connect again if the file is another one than before, or the process is."""
        try:
            now = (os.getpid(), *_inode(self.path))
        except FileNotFoundError:
            raise TryAgainError(f"{self.path}: the queue is gone") from None
        if now != self._identity:
            self.close()
            self._connect()

    @contextlib.contextmanager
    def _telling(self):
        try:
            yield
        except sqlite3.OperationalError as error:
            raise TryAgainError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise WrongUseError(
                f"{self.path}: not a queue of events, or damaged: {error}"
            ) from error


@dataclass(frozen=True)
class Identity:
    """Who takes items: a process of a host. One process may take through more than one object, hence the random part."""

    host: str
    pid: int
    started: float  # s since 1970
    random: str

    @classmethod
    def of_this_process(cls):
        """A new identity of this process."""
        import psutil  # here, since most uses of a queue need it only once or never

        return cls(
            platform.node(), os.getpid(), psutil.Process().create_time(), uuid.uuid4().hex[:6]
        )

    @property
    def name(self):
        """host:pid:random"""
        return f"{self.host}:{self.pid}:{self.random}"


def register_worker(db, identity):
    """Note a process as one that takes items."""
    row = (identity.name, identity.host, identity.pid, identity.started, time.time())
    db.execute("INSERT OR REPLACE INTO workers VALUES (?,?,?,?,?)", row)


def workers_of(db, host, pid):
    """The rows of the workers of a process number."""
    return db.execute("SELECT * FROM workers WHERE host=? AND pid=?", (host, pid)).fetchall()


def lost_workers(db, host, me):
    """Names of the workers whose process is dead on this host, or that hold an item whose lease has run out."""
    rows = db.execute("SELECT * FROM workers WHERE id IS NOT ?", (me,)).fetchall()
    lost = {
        row["id"] for row in rows if row["host"] == host and not _lives(row["pid"], row["started"])
    }
    sql = "SELECT DISTINCT worker FROM items WHERE state='running' AND lease_until<? AND worker IS NOT ?"
    return sorted(lost | {row["worker"] for row in db.execute(sql, (time.time(), me))})


def _lives(pid, started):
    import psutil

    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _inode(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino
