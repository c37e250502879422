"""Databases of a server, each made for one test module and dropped after it, skipped where the
server is not there; and a network that breaks between a server and us."""

import contextlib
import os
import random
import re
import socket
import threading
import time
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


class Proxy:
    """Passes connections on to a port, until it is cut; then refuses them for a while."""

    def __init__(self, port):
        self._target, self._sockets, self._is_cut = port, [], False
        self._random, self.lost = random.Random(1), 0
        self.loses_every = None  # of so many COMMITs, on average, the answer to one is lost
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            target = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, target]
            losing = threading.Event()
            for one, other in ((client, target), (target, client)):
                threading.Thread(
                    target=self._pump, args=(one, other, one is client, losing), daemon=True
                ).start()

    def _pump(self, source, sink, is_client, losing):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                commits = is_client and re.search(rb"(?<!AUTO)COMMIT\b", data)
                if commits and self.loses_every and not self._random.randrange(self.loses_every):
                    losing.set()
                if losing.is_set() and not is_client:  # the server has done what it was asked to
                    self.lost += 1
                    break
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self, seconds):
        """Break all connections and refuse new ones for a while."""
        self._is_cut = True
        self._break()
        time.sleep(seconds)
        self._is_cut = False

    def _break(self):
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets = []

    def close(self):
        self._server.close()
        self._break()
