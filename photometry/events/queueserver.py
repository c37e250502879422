"""The network front end of a queue's file: a server that does what authenticated clients ask of the
queue.

It keeps nothing: all is in the file, so it may end and start again at any time.
"""

import contextlib
import json
import logging
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from multiprocessing import AuthenticationError
from pathlib import Path

from ..errors import PhotometryError, TryAgainError
from ..leases import Holder
from ..processes import ProcessId, draining
from .remotequeue import GREETING, LONGEST_HELLO, Channel, get_event_queue, secret_of
from .sharedqueue import SharedEventQueue

log = logging.getLogger(__name__)

# what a client may call of the queue, all without waiting
METHODS = {
    *(
        "put",
        "take",
        "finish",
        "discard",
        "re_append",
        "release",
        "release_worker",
        "release_unheld",
        "renew",
    ),
    *(
        "head",
        "qsize",
        "get_pending",
        "get_in_progress",
        "find",
        "counts",
        "workers",
        "waiting_for",
    ),
    *("is_over", "is_stopping", "requeue", "forget", "resume"),
}
SILENCE = 600
"""s after which a client is given up; one that holds an item renews its lease far more often."""

TURN = 0.2  # s between looks whether to end
START = 20  # s that a new server gets to answer


class QueueServer(socketserver.ThreadingTCPServer):
    """Serves the queue in a file. Each connection has a thread and a connection to the file of its
    own.

    Parameters
    ----------
    address : (host, port)
    secret : bytes
    path : the file of the queue
    **options : of `SharedEventQueue`
    """

    allow_reuse_address = True
    daemon_threads = True
    # connections that may wait to be accepted; 300 workers of a cluster may come at once
    request_queue_size = 128

    def __init__(self, address, secret, path, **options):
        self.secret, self.path, self.options = secret_of(secret), path, options
        self.clients = 0
        self.ending = False
        self.idle_since = time.monotonic()
        # socket of a client that has not proved to know the secret: since when (time.monotonic)
        self.strangers = {}
        self._lock = threading.Lock()
        # a wrong file is reported here, not to the first client
        SharedEventQueue(path, **options).close()
        super().__init__(address, _Connection)

    def count(self, more):
        """Note that a client has come (1) or gone (-1)."""
        with self._lock:
            self.clients += more
            self.idle_since = time.monotonic()

    def run(self, linger=None):
        """Serve until a signal comes, a client says `terminate`, or, with ``linger``, nobody was
        connected for that many s."""
        serving = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": TURN}, daemon=True
        )
        serving.start()
        with draining(self._end):
            while not self.ending:
                time.sleep(TURN)
                self._drop_strangers()
                silent = time.monotonic() - self.idle_since
                if linger is not None and not self.clients and silent > linger:
                    self.ending = True
        self.shutdown()
        self.server_close()

    def _drop_strangers(self):
        """Close connections whose other side takes too long to prove that it knows the secret."""
        for connection, since in list(self.strangers.items()):
            if time.monotonic() - since > GREETING:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _end(self, name):
        self.ending = True


class _Connection(socketserver.BaseRequestHandler):
    """One client: its proof, who it is, then calls until it goes."""

    def handle(self):
        self.server.strangers[self.request] = time.monotonic()
        channel = Channel(os.dup(self.request.fileno()), self.server.secret)
        try:
            channel.prove(server=True)
        except (AuthenticationError, OSError, EOFError) as error:
            log.warning("client %s refused: %s", self.client_address[0], error)
            channel.close()
            return
        finally:
            del self.server.strangers[self.request]
        self.server.count(1)
        try:
            self._serve(channel)
        except EOFError:
            log.info("client %s is gone", self.client_address[0])
        except PhotometryError as error:
            log.warning("client %s refused: %s", self.client_address[0], error)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("connection to %s lost: %s", self.client_address[0], error)
        finally:
            channel.close()
            self.server.count(-1)

    def _serve(self, channel):
        hello = channel.receive(LONGEST_HELLO)
        process = ProcessId(hello["pid"], hello["started"], hello["boot"])
        holder = Holder(hello["host"], process, hello["random"])
        queue = SharedEventQueue(self.server.path, holder=holder, **self.server.options)
        goodbye = False
        try:
            channel.set_timeout(SILENCE)
            channel.send({"queue": os.path.realpath(self.server.path)})
            while not goodbye:
                call = channel.receive()
                goodbye = call["method"] == "close"
                channel.send(self._answer(queue, call))
        finally:
            queue.close() if goodbye else queue.detach()

    def _answer(self, queue, call):
        method, args = call["method"], call["args"]
        if method == "terminate":
            self.server.ending = True
        elif method in METHODS:
            try:
                return {"result": getattr(queue, method)(*args)}
            except PhotometryError as error:
                return {"error": str(error), "again": isinstance(error, TryAgainError)}
        elif method != "close":
            return {"error": f"the server has no {method!r}", "again": False}
        return {"result": True}


def start_queue_manager(
    hostname, portnr, auth_code, logger=None, *, queue_file="events.sqlite", linger=None, **options
):
    """Start a server in a process of its own, and wait until it answers.

    Parameters
    ----------
    hostname, portnr : where it listens; ``localhost`` is not seen from other hosts
    auth_code : the secret, at least 8 bytes
    queue_file : the file of the queue
    linger : s without clients after which it ends by itself; None: it does not

    Returns
    -------
    process; its ``terminate()`` ends it

    Raises
    ------
    TryAgainError : it does not answer, e.g. because the port is taken
    """
    settings = {
        "address": [hostname, portnr],
        "secret": list(secret_of(auth_code)),
        "path": os.fspath(queue_file),
    }
    settings |= {"linger": linger, "options": options}
    command = [
        sys.executable,
        "-c",
        "from photometry.events.queueserver import serve_from_stdin; serve_from_stdin()",
    ]
    # not the caller's output, which it may outlive
    record = Path(f"{queue_file}.log")
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    with process.stdin as pipe:
        # not in the command line, where everybody could read the secret
        pipe.write(json.dumps(settings).encode())
    end = time.monotonic() + START
    while process.poll() is None and time.monotonic() < end:
        queue = get_event_queue(hostname, portnr, auth_code)
        if queue is not None:
            queue.close()
            (logger or log).info(
                "Queue manager for %s listens at %s:%s", queue_file, hostname, portnr
            )
            return process
        time.sleep(TURN / 4)
    process.terminate()
    process.wait()
    raise TryAgainError(
        f"the queue manager did not start at {hostname}:{portnr}; {record} says why"
    )


def serve_from_stdin():
    """Serve with the settings on standard input, in JSON; what `start_queue_manager` starts."""
    given = json.load(sys.stdin)
    try:
        server = QueueServer(
            tuple(given["address"]), bytes(given["secret"]), given["path"], **given["options"]
        )
    except (OSError, PhotometryError) as error:
        sys.exit(f"photometry: no queue manager at {':'.join(map(str, given['address']))}: {error}")
    server.run(given["linger"])
