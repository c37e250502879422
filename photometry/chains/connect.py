"""Connections to the task database: SQLite, MySQL or MariaDB, PostgreSQL, by one URL and one code
path.

`Database` makes changes that come one after the other and are tried again while a server is away.
"""

import contextlib
import logging
import os
import random
import threading
import time
import uuid
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from ..constants import DAY
from ..errors import TryAgainError, WrongUseError
from . import schema

log = logging.getLogger(__name__)

PATIENCE = 300.0  # s that a change is tried again while the database is away
LONGEST_PAUSE = 5.0  # s between two tries
MARKS_KEPT = 7 * DAY
DRIVERS = {
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "postgresql": "postgresql+psycopg",
}
# Deadlock or lock wait of MySQL; deadlock, serialization failure, server shutting down of
# PostgreSQL.
PASSING = ("1205", "1213", "40001", "40P01", "57P01", "57P02", "57P03")


def database_url(text):
    """A URL of SQLAlchemy for a path or URL; drivers of MySQL, MariaDB and PostgreSQL are filled
    in.

    Raises
    ------
    WrongUseError : it is neither
    """
    text = str(text)
    if "://" not in text:
        return sa.URL.create("sqlite", database=os.fspath(Path(text).absolute()))
    try:
        url = sa.make_url(text)
    except SQLAlchemyError as error:
        raise WrongUseError(f"database {_without_password(text)}: {error}") from None
    if url.drivername in ("sqlite3", "sqlite"):
        return url.set(drivername="sqlite")
    if url.get_backend_name() not in DRIVERS:
        raise WrongUseError(
            f"database {_without_password(text)}: expected sqlite, mysql, mariadb or postgresql"
        )
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))


def _without_password(text):
    head, at, tail = text.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at else text


def make_engine(url):
    """An engine whose transactions are begun by `Database`, not by the driver."""
    url = database_url(url)
    options = {"pool_recycle": 1800}
    if url.get_backend_name() == "sqlite":
        options = {"connect_args": {"timeout": 60, "check_same_thread": False}}
    else:
        options["isolation_level"] = "READ COMMITTED"
    try:
        engine = sa.create_engine(url, **options)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        extra = "postgresql" if url.get_backend_name() == "postgresql" else "mysql"
        raise WrongUseError(
            f"database {url.get_backend_name()}: {error}; pip install 'photometry[{extra}]'"
        ) from None
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection, record):
    connection.isolation_level = None  # reads see the newest state, transactions are begun below
    cursor = connection.cursor()
    for pragma in (
        "foreign_keys=ON",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "cache_size=-65536",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Database:
    """A task database: its engine, and how it is read and changed.

    Parameters
    ----------
    url : URL or path of an SQLite file
    patience : s that a change is tried again while the database does not answer
    """

    def __init__(self, url, *, patience=PATIENCE):
        self.url = database_url(url)
        self.patience = patience
        self.engine = make_engine(self.url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._marks = threading.local()  # each thread has a row for its own

    def close(self):
        """Close all connections."""
        self.engine.dispose()

    def exists(self):
        """Whether it holds our tables; makes nothing."""
        if self.is_sqlite and not (self.url.database and Path(self.url.database).is_file()):
            return False
        try:
            return sa.inspect(self.engine).has_table(schema.TASKS.name)
        except sa.exc.OperationalError as error:
            if "unknown database" in str(error).lower() or "does not exist" in str(error).lower():
                return False
            raise TryAgainError(f"{self.shown}: does not answer ({_first_line(error)})") from None

    @property
    def shown(self):
        """Its URL without a password, for messages."""
        return self.url.render_as_string(hide_password=True)

    def migrate(self):
        """Make the tables, or bring older ones to today's form; returns the names of the changes
        applied."""
        if self.is_sqlite and self.url.database:
            path = Path(self.url.database)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise WrongUseError(f"database {path}: is a folder; expected a file")

        def apply(db):
            schema.MIGRATIONS_TABLE.create(db, checkfirst=True)
            table = schema.MIGRATIONS_TABLE
            done = set(db.execute(sa.select(table.c.name)).scalars())
            known = [name for name, _ in schema.MIGRATIONS]
            if newer := sorted(done - set(known)):
                raise WrongUseError(
                    f"{self.shown}: has the change {newer[0]!r} of a newer version; upgrade "
                    "photometry"
                )
            applied = []
            if schema.MIGRATIONS[0][0] in done:
                forget_marks(db)
            for name, change in schema.MIGRATIONS:
                if name not in done:
                    change(db)
                    db.execute(table.insert().values(name=name, appliedTime=time.time()))
                    applied.append(name)
            return applied

        return self.patiently(lambda: self._once(apply, lock=False))

    # --- reading and changing

    @contextlib.contextmanager
    def reading(self):
        """A connection for queries."""
        with self.engine.connect() as db:
            yield db

    def read(self, query):
        """``query(db)`` on a connection, tried again while the database is away."""

        def once():
            with self.engine.connect() as db:
                return query(db)

        return self.patiently(once)

    def change(self, function):
        """``function(db)`` in a transaction that no other change overlaps; its result when that is
        committed.

        Tried again while the database is away or busy, so the function may be called more than
        once, but it takes effect once: where a connection broke before the answer to COMMIT came,
        the mark that the transaction left tells whether it was committed.

        Raises
        ------
        TryAgainError : the database did not come back within `patience` seconds
        """
        unanswered = []  # (mark, result) of the last try that came as far as its COMMIT

        def once(db):
            if unanswered and self._last_mark(db) == unanswered[0][0]:
                return unanswered[0][1]
            result = function(db)
            if not self.is_sqlite:  # a file answers
                unanswered[:] = [(self._leave_mark(db), result)]
            return result

        return self.patiently(lambda: self._once(once))

    def _once(self, function, lock=True):
        with self.engine.connect() as db:
            try:
                if self.is_sqlite:
                    db.exec_driver_sql("BEGIN IMMEDIATE")
                elif lock:
                    take_lock(db)
                result = function(db)
                db.commit()
            except BaseException:  # also when interrupted: whole or not at all
                with contextlib.suppress(DBAPIError):
                    db.rollback()
                raise
            return result

    def _leave_mark(self, db):
        """Note in a transaction, in the row of this thread, which one it is; returns its mark."""
        marks, lock = self._marks, schema.LOCK
        if not hasattr(marks, "name"):
            marks.name, marks.last = uuid.uuid4().hex, 0
        marks.last = max(time.time_ns() // 1000, marks.last + 1)
        row = {"name": marks.name, "counter": marks.last}
        if not db.execute(sa.update(lock).where(lock.c.name == marks.name).values(row)).rowcount:
            db.execute(lock.insert().values(row))
        return marks.last

    def _last_mark(self, db):
        """The mark of the last change of this thread that was committed."""
        lock = schema.LOCK
        return db.execute(sa.select(lock.c.counter).where(lock.c.name == self._marks.name)).scalar()

    def patiently(self, function):
        """``function()``, tried again while the database is away."""
        start, pause = time.monotonic(), 0.05
        while True:
            try:
                return function()
            except (DBAPIError, TryAgainError) as error:
                cause = error if isinstance(error, DBAPIError) else error.__cause__
                if not isinstance(cause, DBAPIError) or not is_passing(cause):
                    raise
                if time.monotonic() - start > self.patience:
                    raise TryAgainError(
                        f"{self.shown}: no answer within {self.patience:.0f} s "
                        f"({_first_line(error)})"
                    ) from None
                log.warning("%s: %s; trying again", self.shown, _first_line(error))
            # spread, so that workers that met in a deadlock do not meet again
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)


def take_lock(db):
    """Wait for the other changes to end; held until the transaction of ``db`` ends."""
    lock = schema.LOCK
    db.execute(sa.select(lock.c.counter).where(lock.c.name == "change").with_for_update())


def forget_marks(db):
    """Remove the marks of processes that ended long ago."""
    lock = schema.LOCK
    tables = ["change", *schema.metadata.tables]
    long_ago = (time.time() - MARKS_KEPT) * 1e6
    db.execute(sa.delete(lock).where(lock.c.name.not_in(tables), lock.c.counter < long_ago))


def is_passing(error):
    """Whether an error of the database may pass by itself: it is away, busy, or resolved a
    deadlock."""
    if error.connection_invalidated:
        return True
    text = str(error.orig)
    if "database is locked" in text or "database schema is locked" in text:
        return True
    code = getattr(error.orig, "sqlstate", None) or (error.orig.args or [""])[0]
    if str(code) in PASSING:
        return True
    lost = (
        "connection",
        "can't connect",
        "server has gone away",
        "shutting down",
        "timeout expired",
    )
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) and any(
        word in text.lower() for word in lost
    )


def _first_line(error):
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
