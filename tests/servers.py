"""Databases of a server, each made for one test module and dropped after it; skipped where the
server is not there."""

import contextlib
import os
import uuid

import pytest

SERVERS = {
    "postgresql": "postgresql+psycopg://postgres@127.0.0.1:5432/test",
    "mariadb": "mysql+pymysql://root@127.0.0.1:3306/test",
}
"""Where CI has them. ``PHOTOMETRY_TEST_POSTGRESQL`` and ``PHOTOMETRY_TEST_MARIADB`` name others."""


@contextlib.contextmanager
def temporary_database(server):
    """The URL of a new database on a server."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip({"postgresql": "psycopg", "mariadb": "pymysql"}[server])
    url = os.environ.get(f"PHOTOMETRY_TEST_{server.upper()}", SERVERS[server])
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"photometry_{uuid.uuid4().hex[:10]}"
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    except sqlalchemy.exc.OperationalError as error:
        pytest.skip(f"no {server} server at {url}: {error.orig}")
    try:
        yield engine.url.set(database=name).render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if server == "postgresql" else ""
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}{force}")
        engine.dispose()
