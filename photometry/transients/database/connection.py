"""One database: SQLite file by default, PostgreSQL by URL; transactions, ids and whole columns at a
time."""

import contextlib
import fcntl
import logging
import shutil
from pathlib import Path
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa

from ...errors import ArgumentError, TryAgainError, WrongUseError
from . import schema

log = logging.getLogger(__name__)

SQLITE_CACHE = 64_000
"""KiB of pages that SQLite keeps in memory."""

# One of the keys that writers of one PostgreSQL database agree on; any number would do.
_WRITER_LOCK = 7_151_300

_current = None
_lock_file = None


class Database:
    """A database of datasets, with the running catalogues that are in use kept in memory.

    Parameters
    ----------
    url : str or path
        A path of an SQLite file, or a URL of SQLAlchemy, ``sqlite:///file`` or
        ``postgresql+psycopg://user@host/name``. Tables are made where there are none.
    read_only : bool
        Look, and change nothing; there must be such a database.
    must_exist : bool
        Make no new file.

    Raises
    ------
    WrongUseError : no database, one of the two databases, or made by a newer version of this
        program
    TryAgainError : the server cannot be reached
    """

    def __init__(self, url, *, read_only=False, must_exist=False):
        self.url = database_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = _engine(self.url, read_only, must_exist or read_only)
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", self._begin_sqlite)
        self._connection = None
        self._writing = False
        self._depth = 0
        self._next_id = {}
        self._data_version = None
        self.catalogues = {}
        try:
            self._connection = self._engine.connect()
            if not read_only:
                self._create()
            self._check_version()
        except sa.exc.OperationalError as error:
            raise TryAgainError(f"{self.url.render_as_string()}: {error.orig}") from None
        except sa.exc.DatabaseError as error:
            raise WrongUseError(f"{self.url.render_as_string()}: {error.orig}") from None

    def _create(self):
        with self.transaction():
            schema.metadata.create_all(self._connection)
            if self._revision() is None:
                values = {"name": "revision", "value": schema.SCHEMA_VERSION}
                self._connection.execute(schema.version.insert().values(values))
            present = {row.id for row in self.rows(sa.select(schema.rejectreason.c.id))}
            for number, text in schema.REJECT_REASONS.items():
                if number not in present:
                    values = {"id": number, "description": text}
                    self._connection.execute(schema.rejectreason.insert().values(values))

    def _revision(self):
        return self.scalar(
            sa.select(schema.version.c.value).where(schema.version.c.name == "revision")
        )

    def _check_version(self):
        if (revision := self._revision()) != schema.SCHEMA_VERSION:
            raise WrongUseError(
                f"{self.url.render_as_string()}: schema {revision}; this program reads "
                f"{schema.SCHEMA_VERSION}"
            )

    def close(self):
        """Close the connection; the object cannot be used afterwards."""
        if self._connection is not None:
            self._connection.close()
            self._engine.dispose()
            self._connection = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @contextlib.contextmanager
    def transaction(self):
        """All or nothing: what is changed within this block is kept at its end, or, on an
        exception, not at all.

        Blocks may be nested; the outermost one counts. Writers take turns, also across processes.
        """
        if self._depth:
            self._depth += 1
            try:
                yield self
            finally:
                self._depth -= 1
            return
        if self._connection.in_transaction():  # begun by a SELECT
            self._connection.rollback()
        self._writing = True
        try:
            with self._connection.begin():
                self._depth, self._next_id = 1, {}
                self._take_turn()
                yield self
        except BaseException:
            # memory is ahead of the database
            self.catalogues.clear()
            raise
        finally:
            self._depth, self._writing = 0, False

    def _begin_sqlite(self, connection):
        # IMMEDIATE: of two writers one waits here, instead of failing later
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self._writing else "BEGIN")

    def _take_turn(self):
        if not self.is_sqlite:
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
            return
        version = self._connection.exec_driver_sql("PRAGMA data_version").scalar()
        if version != self._data_version:  # another connection has written
            self.catalogues.clear()
            self._data_version = version

    def rows(self, statement, parameters=None):
        """The rows of a SELECT, with named columns."""
        result = self._connection.execute(statement, parameters or {}).all()
        self._end_reading()
        return result

    def scalar(self, statement):
        """The first value of the first row of a SELECT; None where there is none."""
        result = self._connection.execute(statement).scalar()
        self._end_reading()
        return result

    def columns(self, statement):
        """The result of a SELECT as arrays by column name; NULL in a column of numbers is NaN."""
        rows = self._connection.execute(statement).all()
        self._end_reading()
        return _as_columns(statement, rows)

    def chunks(self, statement, size=100_000):
        """As `columns`, for results too long to be held as Python's objects: yield so many rows at
        a time."""
        result = self._connection.execute(statement.execution_options(yield_per=size))
        for rows in result.partitions():
            yield _as_columns(statement, rows)
        self._end_reading()

    def _end_reading(self):
        """A reader that has all it wants must not keep writers waiting."""
        if not self._depth and self._connection.in_transaction():
            self._connection.rollback()

    def execute(self, statement, parameters=None):
        """Change rows by SQL of one's own; what was in memory is read anew."""
        statement = sa.text(statement) if isinstance(statement, str) else statement
        with self.transaction():
            self.catalogues.clear()
            return self._connection.execute(statement, parameters or {})

    def change(self, statement):
        """Change rows that no running catalogue holds in memory."""
        with self.transaction():
            return self._connection.execute(statement)

    def new_ids(self, table, n):
        """The next ``n`` ids of a table, as an array; within a transaction."""
        if table.name not in self._next_id:
            largest = self._connection.execute(sa.select(sa.func.max(table.c.id))).scalar()
            self._next_id[table.name] = (largest or 0) + 1
        first = self._next_id[table.name]
        self._next_id[table.name] = first + n
        return np.arange(first, first + n)

    def insert(self, table, columns):
        """Insert many rows.

        Parameters
        ----------
        table : sqlalchemy.Table
        columns : dict, column name -> array or list of one length, or one value for all rows

        Returns
        -------
        ids : (n,) int array
        """
        n = max((len(v) for v in columns.values() if np.ndim(v)), default=1)
        with self.transaction():
            if "id" not in columns:
                columns = {"id": self.new_ids(table, n), **columns}
            if n:
                self._write_many(table, table.insert(), columns, n)
        return np.atleast_1d(columns["id"])

    def update(self, table, columns):
        """Change many rows; ``columns`` as for `insert`, with ``id`` first."""
        n = len(columns["id"])
        with self.transaction():
            if n:
                names = {name: sa.bindparam(f"new_{name}") for name in columns if name != "id"}
                statement = table.update().where(table.c.id == sa.bindparam("row_id"))
                self._write_many(table, statement.values(**names), columns, n, update=True)

    def _write_many(self, table, statement, columns, n, update=False):
        names, values = list(columns), [_as_list(column, n) for column in columns.values()]
        has_dates = any(isinstance(table.c[name].type, sa.DateTime) for name in names)
        if self.is_sqlite and not has_dates:
            # past SQLAlchemy, which needs three times as long to look at each value
            if update:
                assignments = ", ".join(f"{name} = ?" for name in names[1:])
                text, values = (
                    f"UPDATE {table.name} SET {assignments} WHERE id = ?",
                    [*values[1:], values[0]],
                )
            else:
                text = (
                    f"INSERT INTO {table.name} ({', '.join(names)}) VALUES "
                    f"({', '.join('?' * len(names))})"
                )
            self._connection.exec_driver_sql(text, list(zip(*values, strict=True)))
            return
        keys = ["row_id", *(f"new_{name}" for name in names[1:])] if update else names
        self._connection.execute(
            statement, [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]
        )

    def index_lightcurves(self, wanted):
        """Have an index of light curves by source, or have none, in SQLite: readers want it; while
        epochs are added it would cost the more the more there are. PostgreSQL keeps it."""
        if self.is_sqlite:
            name, table = schema.LIGHTCURVE_INDEX, schema.assocxtrsource.name
            create = f"CREATE INDEX IF NOT EXISTS {name} ON {table} (runcat)"
            self.change(sa.text(create if wanted else f"DROP INDEX IF EXISTS {name}"))

    def try_lock(self, dataset_id):
        """Claim a dataset for this process on a server; True if no other process has it. For SQLite
        see `claim`."""
        if self.is_sqlite:
            return True
        locked = self.scalar(sa.select(sa.func.pg_try_advisory_lock(_WRITER_LOCK, int(dataset_id))))
        return bool(locked)


def connect(url):
    """Open a database and make it the one that functions without a ``database`` use."""
    global _current
    _current = Database(url)
    return _current


def current(database=None):
    """The database given, or else the one of the last `connect`."""
    opened = database or _current
    if opened is None:
        raise WrongUseError(
            "no database is open; call photometry.transients.database.connect(url) first"
        )
    return opened


def disconnect():
    """Close the current database, if there is one."""
    global _current
    if _current is not None:
        _current.close()
        _current = None


def claim(url):
    """Claim an SQLite file for this process; the kernel lets go of it when the process ends,
    however it does. A dataset on a server is claimed by `Database.try_lock`."""
    global _lock_file
    parsed = database_url(url)
    release()
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return
    path = Path(f"{parsed.database}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    _lock_file = open(path, "a")  # noqa: SIM115 - held until the run ends
    try:
        fcntl.flock(_lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        release()
        raise WrongUseError(f"{parsed.database}: in use by another run") from None


def release():
    """Give up the file of `claim`."""
    global _lock_file
    if _lock_file is not None:
        _lock_file.close()
        _lock_file = None


def back_up(url):
    """Copy an SQLite file beside itself before anything is changed."""
    parsed = database_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise WrongUseError("dump_backup_copy copies SQLite files; use pg_dump for a server")
    if Path(parsed.database).is_file():
        shutil.copy2(parsed.database, f"{parsed.database}.backup")


def database_url(url):
    """A URL of SQLAlchemy for a path or a URL as text; ``postgresql://`` becomes psycopg's."""
    if isinstance(url, Path) or "://" not in str(url):
        return sa.engine.URL.create("sqlite", database=str(url))
    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        raise ArgumentError(f"database {url!r}: expected a path or a URL") from None
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ArgumentError(f"database {url!r}: expected sqlite or postgresql")
    return parsed


def _prepare_sqlite(connection, _):
    # transactions are begun by `_begin_sqlite`, not by the driver
    connection.isolation_level = None
    connection.execute(f"PRAGMA cache_size = -{SQLITE_CACHE}")


def _engine(url, read_only, must_exist):
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url)
    path = Path(url.database or "")
    if must_exist and not path.is_file():
        raise WrongUseError(f"{path}: no such database")
    if read_only:
        url = url.set(database=f"file:{quote(str(path.resolve()))}?mode=ro", query={"uri": "true"})
    return sa.create_engine(url, connect_args={"timeout": 60})


def _as_list(column, n):
    """A column as a list of plain values; NaN, which databases treat differently, as None."""
    if not np.ndim(column):
        column = column.item() if isinstance(column, np.generic) else column
        return [None if isinstance(column, float) and np.isnan(column) else column] * n
    if isinstance(column, np.ndarray):
        values = column.tolist()
        if column.dtype.kind == "f" and np.isnan(column).any():
            values = [None if value != value else value for value in values]
        return values
    return list(column)


def _as_columns(statement, rows):
    names = [column.key for column in statement.selected_columns]
    values = zip(*rows, strict=True) if rows else ([] for _ in names)
    return {name: _as_array(column) for name, column in zip(names, values, strict=True)}


def _as_array(values):
    """A column of a result as an array: numbers as numbers, anything else as objects."""
    array = np.array(values)
    if array.dtype != object:
        return array
    if all(value is None or isinstance(value, (int, float)) for value in values):
        return np.array([np.nan if value is None else value for value in values], float)
    return array
