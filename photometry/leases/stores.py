"""The databases that leases can live in, their tables, and the little in which their SQL differs.

`SqliteFile` is the embedded default and needs nothing but Python. `Engine` is any SQLite,
PostgreSQL, MySQL or MariaDB database that SQLAlchemy opens. Both yield connections with two
methods: ``rows(sql, **parameters)`` gives rows with named columns, ``run(sql, **parameters)`` the
number of rows that were changed."""

import contextlib
import os
import random
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import TryAgainError, WrongUseError

VERSION = 1

BUSY_TIMEOUT = 30
"""s to wait for another process's transaction on SQLite."""

DEADLOCK_RETRIES = 8
"""How often a transaction is done again that the server broke off as a deadlock."""


@dataclass(frozen=True)
class Dialect:
    """What differs between databases.

    Attributes
    ----------
    now : SQL, the database's clock in s since 1970
    insert_new : SQL with ``{}`` for table, columns and values: an INSERT that leaves out what is
        there already
    types : dict, SQL of the types of columns
    options : SQL, of a table
    skip_locked : SQL, ends a SELECT that locks rows and leaves out those that others have locked
    one_at_a_time, unlocked : SQL, let one process at a time past, until the other statement or the
        end of the transaction
    partial : whether an index can be of some rows only
    single_host : whether all processes that see the database are on one host
    """

    now: str
    insert_new: str
    types: dict
    options: str = ""
    skip_locked: str = ""
    one_at_a_time: str = "SELECT 1"
    unlocked: str = "SELECT 1"
    partial: bool = True
    single_host: bool = False

    def insert(self, table, columns, values):
        """SQL: an INSERT that leaves out a row that is there already, by its id or by kind and key.

        Parameters
        ----------
        table, columns, values : SQL, columns and values separated by commas
        """
        return self.insert_new.format(f"{table} ({columns}) VALUES ({values})")


DIALECTS = {
    "sqlite": Dialect(
        now="((julianday('now') - 2440587.5) * 86400.0)",
        insert_new="INSERT OR IGNORE INTO {}",
        single_host=True,
        types={
            "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
            "name": "TEXT",
            "text": "TEXT",
            "number": "REAL",
        },
    ),
    "postgresql": Dialect(
        now="EXTRACT(EPOCH FROM clock_timestamp())::double precision",
        skip_locked=" FOR UPDATE SKIP LOCKED",
        insert_new="INSERT INTO {} ON CONFLICT DO NOTHING",
        one_at_a_time="SELECT pg_advisory_xact_lock(1819045235)",
        types={
            "serial": "BIGSERIAL PRIMARY KEY",
            "name": "VARCHAR(255)",
            "text": "TEXT",
            "number": "DOUBLE PRECISION",
        },
    ),
    "mysql": Dialect(
        now="UNIX_TIMESTAMP(NOW(6))",
        skip_locked=" FOR UPDATE SKIP LOCKED",
        insert_new="INSERT IGNORE INTO {}",
        one_at_a_time="SELECT GET_LOCK('photometry.leases', 30)",
        unlocked="SELECT RELEASE_LOCK('photometry.leases')",
        partial=False,
        types={
            "serial": "BIGINT AUTO_INCREMENT PRIMARY KEY",
            "name": "VARCHAR(255)",
            "text": "LONGTEXT",
            "number": "DOUBLE",
        },
        options=" ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    ),
}
DIALECTS["mariadb"] = DIALECTS["mysql"]

# lease_control comes last: where it is, the others are too
_TABLES = """
CREATE TABLE IF NOT EXISTS lease_items (
    position {serial}, id {name} NOT NULL UNIQUE, kind {name} NOT NULL, item_key {name},
    payload {text} NOT NULL, priority INTEGER NOT NULL, state {name} NOT NULL,
    attempt INTEGER NOT NULL, max_attempts INTEGER, not_before {number}, holder {name},
    error {text}, created {number} NOT NULL, taken {number}, finished {number},
    UNIQUE (kind, item_key)
){options};
CREATE INDEX lease_order ON lease_items (state, kind, priority, position){where_pending};
CREATE INDEX lease_delayed ON lease_items (not_before){where_delayed};
CREATE INDEX lease_held ON lease_items (holder){where_held};
CREATE TABLE IF NOT EXISTS lease_holders (
    id {name} PRIMARY KEY, host {name} NOT NULL, pid INTEGER NOT NULL, started {number} NOT NULL,
    boot {name} NOT NULL, registered {number} NOT NULL, seen {number} NOT NULL,
    lease_until {number} NOT NULL
){options};
CREATE TABLE IF NOT EXISTS lease_control (name {name} PRIMARY KEY, value INTEGER NOT NULL){options};
INSERT INTO lease_control VALUES ('version', {version}), ('stopping', 0)
"""


def statements(dialect):
    """The statements that make the tables of leases."""
    return _TABLES.format(
        version=VERSION,
        where_pending=" WHERE state='pending'" * dialect.partial,
        where_delayed=" WHERE not_before IS NOT NULL" * dialect.partial,
        where_held=" WHERE holder IS NOT NULL" * dialect.partial,
        options=dialect.options,
        **dialect.types,
    ).split(";\n")


def _check_version(connection, name):
    """Refuse the tables of a later program."""
    rows = connection.rows("SELECT value FROM lease_control WHERE name='version'")
    version = rows[0]["value"] if rows else None
    if not isinstance(version, int):
        raise WrongUseError(
            f"{name}: damaged, its version is {version!r}; expected a whole number: move it away"
        )
    if version > VERSION:
        raise WrongUseError(
            f"{name}: leases of version {version}, newer than this program ({VERSION}); "
            "upgrade photometry"
        )


class _SqliteConnection:
    """A connection of `sqlite3`, with named rows."""

    def __init__(self, raw):
        self.raw = raw

    def rows(self, sql, **parameters):
        return self.raw.execute(sql, parameters).fetchall()

    def run(self, sql, **parameters):
        return self.raw.execute(sql, parameters).rowcount


class SqliteFile:
    """An SQLite file on a local disk. Opened anew when the file was replaced, and in a child
    process.

    Parameters
    ----------
    path : the file
    create : bool, make it if it is missing
    convert : callable(sqlite3 connection) or None
        Called within the transaction that makes the tables where the file has other tables already:
        takes over what is in them, or raises. Without it such a file is refused.
    """

    dialect = DIALECTS["sqlite"]

    def __init__(self, path, *, create=True, convert=None):
        self.path = self.name = Path(path)
        self._process, self._lock = os.getpid(), threading.RLock()
        self._connection = None
        self._opened_as = None  # (process, device, inode) that the connection belongs to
        self._convert = convert
        if not create and not self.path.exists():
            raise TryAgainError(f"{self.path}: there is no such queue")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongUseError(
                f"{self.path}: cannot make the folder of the queue: {error.strerror}; choose "
                "another path"
            ) from error
        with self._lock, self._as_our_errors():
            self._connect()

    @contextlib.contextmanager
    def transaction(self):
        """Yield the connection within one transaction; none of another process interleaves."""
        with self.reading() as connection:
            connection.raw.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:  # also when interrupted: whole or not at all
                connection.raw.execute("ROLLBACK")
                raise
            connection.raw.execute("COMMIT")

    @contextlib.contextmanager
    def reading(self):
        """Yield the connection, for statements that only read."""
        if self._process != os.getpid():
            # a thread of the parent may have held the lock at the moment of the fork
            self._process, self._lock = os.getpid(), threading.RLock()
        with self._lock, self._as_our_errors():
            self._reopen_if_replaced()
            yield self._connection

    def do(self, function):
        """Call ``function(connection)`` in a transaction."""
        with self.transaction() as connection:
            return function(connection)

    def change_number(self):
        """A number that changes when another connection has written to the file."""
        with self.reading() as connection:
            return connection.raw.execute("PRAGMA data_version").fetchone()[0], self._opened_as

    def close(self):
        """Close the connection, if any; a child process leaves that of its parent alone."""
        with self._lock:
            if self._connection is not None and self._opened_as[0] == os.getpid():
                self._connection.raw.close()
            self._connection = self._opened_as = None

    def _connect(self):
        raw = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        self._connection = _SqliteConnection(raw)
        raw.row_factory = sqlite3.Row
        _set_up_sqlite(raw)
        self._opened_as = (os.getpid(), *_inode(self.path))
        raw.execute("BEGIN IMMEDIATE")
        try:
            tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_master")}
            if "lease_items" not in tables:
                if tables and self._convert is None:
                    raise WrongUseError(f"{self.path}: an SQLite file, but not a queue")
                for statement in statements(self.dialect):
                    raw.execute(statement)
                if tables:
                    self._convert(raw)
            _check_version(self._connection, self.path)
        except BaseException:  # also when interrupted: whole or not at all
            raw.execute("ROLLBACK")
            self.close()
            raise
        raw.execute("COMMIT")

    def _reopen_if_replaced(self):
        try:
            current = (os.getpid(), *_inode(self.path))
        except FileNotFoundError:
            raise TryAgainError(f"{self.path}: the queue is gone") from None
        if current != self._opened_as:
            self.close()
            self._connect()

    @contextlib.contextmanager
    def _as_our_errors(self):
        try:
            yield
        except sqlite3.OperationalError as error:
            raise TryAgainError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise WrongUseError(f"{self.path}: not a queue, or damaged: {error}") from error


class EngineConnection:
    """A connection of SQLAlchemy: our own, or one of the caller within the caller's transaction."""

    def __init__(self, raw):
        from sqlalchemy import text

        self.raw, self._text = raw, text

    def rows(self, sql, **parameters):
        return self.raw.execute(self._text(sql), parameters).mappings().all()

    def run(self, sql, **parameters):
        return self.raw.execute(self._text(sql), parameters).rowcount


class Engine:
    """A database that SQLAlchemy opens.

    Parameters
    ----------
    engine : str or sqlalchemy.Engine, a URL such as ``postgresql+psycopg://user@host/database``; an
        engine of MySQL or MariaDB should be of isolation level READ COMMITTED, else InnoDB locks
        the gaps between rows, and those who take wait for each other
    create : bool, make the tables if they are missing
    """

    def __init__(self, engine, *, create=True):
        import sqlalchemy

        self.engine, self._create_missing = engine, create
        self._is_ours = isinstance(engine, str)
        if self._is_ours:
            try:
                url = sqlalchemy.make_url(engine)
                options = {"pool_pre_ping": True}
                if url.get_backend_name() != "sqlite":
                    options["isolation_level"] = "READ COMMITTED"
                self.engine = sqlalchemy.create_engine(url, **options)
            except (sqlalchemy.exc.ArgumentError, ImportError) as error:
                raise WrongUseError(f"{engine}: no database: {error}") from error
            if self.engine.dialect.name == "sqlite":
                sqlalchemy.event.listen(self.engine, "connect", _set_up_sqlite)
        self.name = self.engine.url.render_as_string(hide_password=True)
        if self.engine.dialect.name not in DIALECTS:
            raise WrongUseError(f"{self.name}: leases live in SQLite, PostgreSQL, MySQL or MariaDB")
        self.dialect = DIALECTS[self.engine.dialect.name]
        self._database_error = sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError
        self._inspect = sqlalchemy.inspect
        self._process = os.getpid()
        self._make_tables()

    @contextlib.contextmanager
    def transaction(self):
        """Yield a connection within one transaction."""
        self._leave_parents_connections()
        try:
            with self.engine.begin() as raw:
                if self.dialect.single_host and not raw.connection.dbapi_connection.in_transaction:
                    # takes the write lock before anything is read, so that waiting for it helps
                    raw.exec_driver_sql("BEGIN IMMEDIATE")
                yield EngineConnection(raw)
        except self._database_error as error:
            raise TryAgainError(f"{self.name}: {error.orig}") from error

    @contextlib.contextmanager
    def reading(self):
        """Yield a connection, for statements that only read."""
        self._leave_parents_connections()
        try:
            with self.engine.connect() as raw:
                yield EngineConnection(raw)
        except self._database_error as error:
            raise TryAgainError(f"{self.name}: {error.orig}") from error

    def do(self, function):
        """Call ``function(connection)`` in a transaction; again where the server broke it off for
        another one's sake."""
        for trial in range(DEADLOCK_RETRIES):
            try:
                with self.transaction() as connection:
                    return function(connection)
            except TryAgainError as error:
                if trial == DEADLOCK_RETRIES - 1 or not _is_deadlock(error.__cause__.orig):
                    raise
                time.sleep(random.uniform(0, 0.01 * 2**trial))

    def change_number(self):
        """None, not known for a server: whoever wants to know looks."""

    def close(self):
        """Close the connections, unless the engine is the caller's."""
        if self._is_ours and self._process == os.getpid():
            self.engine.dispose()

    def _leave_parents_connections(self):
        if self._process != os.getpid():
            self.engine.dispose(close=False)
            self._process = os.getpid()

    def _make_tables(self):
        with self.reading() as connection:
            exist = self._exist(connection)
        if not exist and not self._create_missing:
            raise TryAgainError(f"{self.name}: there is no such queue")
        if not exist:
            # the lock is held until the others can see the tables
            with self.reading() as connection:
                if (
                    self.dialect.single_host
                    and not connection.raw.connection.dbapi_connection.in_transaction
                ):
                    connection.raw.exec_driver_sql("BEGIN IMMEDIATE")
                connection.rows(self.dialect.one_at_a_time)
                self._create(connection)
                connection.raw.commit()
                connection.rows(self.dialect.unlocked)
        with self.reading() as connection:
            _check_version(connection, self.name)

    def _exist(self, connection):
        """Whether all tables are there; a server may show the last one before its row."""
        sql = "SELECT value FROM lease_control WHERE name='version'"
        return self._inspect(connection.raw).has_table("lease_control") and bool(
            connection.rows(sql)
        )

    def _create(self, connection):
        if self._exist(connection):
            return
        look, made = self._inspect(connection.raw), set()
        # a process may have been killed in the midst of this
        if look.has_table("lease_items"):
            made = {index["name"] for index in look.get_indexes("lease_items")}
        for statement in statements(self.dialect):
            if not any(f"INDEX {name} " in statement for name in made):
                connection.run(statement)


def _set_up_sqlite(raw, *_):
    """For a new connection: a killed process loses nothing; the machine's death, the last bit."""
    raw.execute(f"PRAGMA busy_timeout={1000 * BUSY_TIMEOUT}")
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        # making a new file's journal waits for no lock: another process may be about it
        try:
            raw.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    raw.execute("PRAGMA synchronous=NORMAL")


def _is_deadlock(error):
    """Whether a transaction failed only since another one was in its way."""
    code = getattr(error, "sqlstate", None) or (error.args[0] if error.args else None)
    # deadlock and serialization failure of PostgreSQL; deadlock and lock wait timeout of MySQL
    return code in ("40P01", "40001", 1213, 1205)


def _inode(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino
