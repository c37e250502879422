"""The EAS pipeline's way to a connection: `DatabaseConnector` and `DatabaseInterface`; dumps of a
whole database."""

import gzip
import json
import zlib
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ..errors import WrongUseError
from ..files import atomic_write
from . import schema
from .connect import DRIVERS, Database, make_engine

ROWS_AT_ONCE = 1000  # of a dump or restore


class DatabaseConnector:
    """Makes connections; what is not given comes from the settings (`chains.settings.Settings`).

    Parameters
    ----------
    db_engine : 'sqlite3', 'mysql' or 'postgresql'
    db_user, db_passwd, db_host, db_database : str
    db_port : int
    """

    def __init__(
        self,
        db_engine=None,
        db_user=None,
        db_passwd=None,
        db_host=None,
        db_port=None,
        db_database=None,
    ):
        from .settings import Settings

        info = Settings().installation_info
        self.db_engine = db_engine or info["db_engine"]
        self.db_user = db_user or info["db_user"]
        self.db_password = db_passwd or info["db_password"]
        self.db_host = db_host or info["db_host"]
        self.db_port = db_port or info["db_port"]
        self.db_database = db_database or info["db_database"]

    def interface(self, connect=True):
        """A `DatabaseInterface` for the engine: ``sqlite3``, ``mysql`` or ``postgresql``."""
        if self.db_engine == "sqlite3":
            return DatabaseInterfaceSqlite(self.db_database, connect=connect)
        kinds = {"mysql": DatabaseInterfaceMySql, "postgresql": DatabaseInterfacePostgreSql}
        if self.db_engine not in kinds:
            raise ValueError(f"db_engine={self.db_engine!r}: expected sqlite3, mysql or postgresql")
        return kinds[self.db_engine](
            *(self.db_user, self.db_password, self.db_host, self.db_port, self.db_database),
            connect=connect,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class DatabaseInterface:
    """One connection. Leaving its ``with`` block commits and closes; leaving it by an exception
    rolls back."""

    def __init__(self, url, connect=True):
        self.database = Database(url)
        self.db = None
        self.db_cursor = None
        if connect:
            self.connect()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.commit()
        elif self.db is not None:
            self.db.rollback()
        self.close()

    def test_database_exists(self):
        """Whether the task database has been set up."""
        return self.database.exists()

    def create_database(self, initialise_schema=True):
        """Drop any old database and make an empty one."""
        self.close()
        _create_empty(self.database)
        if initialise_schema:
            self.database.migrate()
        self.make_sql_login_config()
        self.connect()

    def connect(self):
        """Open the connection."""
        self.db = self.database.engine.connect()

    @staticmethod
    def sql_login_config_path(engine_name):
        """Where credentials are kept: (file of the engine, file that `Settings` reads)."""
        from .settings import Settings

        folder = Path(Settings().settings["localDataPath"])
        return (
            str(folder / f"{engine_name}_sql_login.cfg"),
            str(folder / "local_settings_sql.conf"),
        )

    def make_sql_login_config(self):
        """Write the credentials where `Settings` finds them, readable by their owner only."""
        from .settings import write_secret

        url = self.database.url
        engine = {"sqlite": "sqlite3"}.get(url.get_backend_name(), url.get_backend_name())
        values = {
            "db_engine": engine.replace("mariadb", "mysql"),
            "db_user": url.username or "",
            "db_password": url.password or "",
            "db_host": url.host or "",
            "db_port": url.port or "",
            "db_database": url.database or "",
        }
        for path in self.sql_login_config_path(engine):
            write_secret(path, "".join(f"{key}: {value}\n" for key, value in values.items()))

    def commit(self):
        """Commit, where a connection is open."""
        if self.db is not None:
            self.db.commit()

    def close(self):
        """Close, where a connection is open."""
        if self.db is not None:
            self.db.close()
            self.db = None
        self.database.close()

    def parameterised_query(self, sql, parameters=None, allow_errors=False):
        """One statement with ``%s`` for each parameter; ``allow_errors`` passes over violated
        constraints.

        Parameters
        ----------
        sql : str
        parameters : sequence
        allow_errors : bool
        """
        try:
            self._begin()
            self.db_cursor = self.db.exec_driver_sql(self._placed(sql), tuple(parameters or ()))
        except sa.exc.IntegrityError:
            if not allow_errors:
                raise
            self.db.rollback()

    def parameterised_query_many(self, sql, parameters=None):
        """The same statement for each tuple of parameters."""
        if parameters:
            self._begin()
            self.db_cursor = self.db.exec_driver_sql(
                self._placed(sql), [tuple(row) for row in parameters]
            )

    def _begin(self):
        raw = self.db.connection.dbapi_connection
        if self.database.is_sqlite and not raw.in_transaction:
            self.db.exec_driver_sql("BEGIN IMMEDIATE")

    def _placed(self, sql):
        return sql.replace("%s", "?") if self.database.is_sqlite else sql

    def fetchall(self):
        """All rows of the last query, as dicts."""
        return [dict(row) for row in self.db_cursor.mappings()]

    def fetchone(self):
        """The next row of the last query, as dict; None after the last."""
        row = self.db_cursor.mappings().fetchone()
        return None if row is None else dict(row)

    def lastrowid(self):
        """Id of the last inserted row."""
        return self.db_cursor.lastrowid

    def dump(self, output_filename):
        """Write a gzipped dump."""
        dump(self.database, output_filename)

    def restore(self, input_filename):
        """Replace what the database holds by a dump."""
        self.commit()
        restore(self.database, input_filename)


class DatabaseInterfaceSqlite(DatabaseInterface):
    """An SQLite file: a path, or the name of a file in the folder for local data."""

    def __init__(self, db_database=None, connect=True):
        from .settings import Settings

        name = str(db_database or Settings().installation_info["db_database"])
        path = Path(name)
        if not path.suffix and not path.is_absolute():
            path = Path(Settings().settings["localDataPath"]) / f"sqlite3_{name}.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, connect)


class _ServerInterface(DatabaseInterface):
    """A server; what is not given comes from the settings.

    Parameters
    ----------
    db_user, db_passwd, db_host, db_database : str
    db_port : int
    connect : bool, open the connection
    """

    engine_name = ""

    def __init__(
        self,
        db_user=None,
        db_passwd=None,
        db_host=None,
        db_port=None,
        db_database=None,
        connect=True,
    ):
        from .settings import Settings

        values = {
            "db_user": db_user,
            "db_password": db_passwd,
            "db_host": db_host,
            "db_port": db_port,
            "db_database": db_database,
        }
        known = Settings().installation_info if None in values.values() else {}
        values = {key: known.get(key) if v is None else v for key, v in values.items()}
        url = sa.URL.create(
            DRIVERS[self.engine_name],
            username=values["db_user"] or None,
            password=values["db_password"] or None,
            host=values["db_host"],
            port=int(values["db_port"]) if values["db_port"] else None,
            database=values["db_database"],
        )
        super().__init__(url.render_as_string(hide_password=False), connect)


class DatabaseInterfaceMySql(_ServerInterface):
    """A MySQL or MariaDB server."""

    engine_name = "mysql"


class DatabaseInterfacePostgreSql(_ServerInterface):
    """A PostgreSQL server."""

    engine_name = "postgresql"


def _create_empty(database):
    if database.is_sqlite:
        database.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{database.url.database}{suffix}").unlink(missing_ok=True)
        return
    is_postgresql = database.engine.dialect.name == "postgresql"
    maintenance = "postgres" if is_postgresql else "information_schema"
    server = make_engine(database.url.set(database=maintenance))
    name = server.dialect.identifier_preparer.quote(database.url.database)
    options = "" if is_postgresql else " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        db.exec_driver_sql(f"CREATE DATABASE {name}{options}")
    server.dispose()


# --- dump and restore


def dump(database, path):
    """Write all rows to a gzipped text file: a line of JSON per table and per row, readable on
    every engine."""
    with (
        atomic_write(path) as part,
        gzip.open(part, "wt", encoding="utf-8") as file,
        database.engine.connect() as db,
    ):
        if database.is_sqlite:
            db.exec_driver_sql("BEGIN")  # one state for all tables
        elif database.engine.dialect.name == "postgresql":
            db.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for table in schema.metadata.sorted_tables:
            columns = [column for column in table.c if column.computed is None]
            names = [column.name for column in columns]
            file.write(json.dumps({"table": table.name, "columns": names}) + "\n")
            query = sa.select(*columns).order_by(*table.primary_key.columns)
            for row in db.execution_options(yield_per=ROWS_AT_ONCE).execute(query):
                file.write(json.dumps(list(row)) + "\n")
        db.rollback()


def restore(database, path):
    """Replace all rows of a database by those of a dump.

    Raises
    ------
    WrongUseError : the file is not a dump
    """

    def load(db):
        for table in reversed(schema.metadata.sorted_tables):
            db.execute(table.delete())
        insert = None
        rows = []
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                item = json.loads(line)
                if isinstance(item, dict):
                    _flush(db, insert, rows)
                    table = schema.metadata.tables[item["table"]]
                    insert, names = table.insert(), item["columns"]
                else:
                    rows.append(dict(zip(names, item, strict=True)))
                    if len(rows) >= ROWS_AT_ONCE:
                        _flush(db, insert, rows)
        _flush(db, insert, rows)

    if not Path(path).is_file():
        raise WrongUseError(f"{path}: there is no such file; expected one of photometry chain dump")
    database.migrate()
    try:
        database._once(load)
    except (
        OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, UnboundLocalError,
        SQLAlchemyError,
    ) as error:  # fmt: skip
        reason = str(error).partition("\n")[0]
        raise WrongUseError(
            f"{path}: is not a dump of a task database ({reason}); expected one of photometry "
            "chain dump"
        ) from None


def _flush(db, insert, rows):
    if rows:
        db.execute(insert, rows)
        rows.clear()
