"""The network front end of a queue's file: a server that does what authenticated clients ask of the queue.

It keeps nothing: all is in the file, so it may end and start again at any time.
"""

import json
import logging
import os
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

from ..errors import PhotometryError, TryAgainError
from ..processes import draining
from .queuefile import Identity
from .remotequeue import get_event_queue
from .sharedqueue import SharedEventQueue
from .wire import Wire, secret_of

log = logging.getLogger(__name__)

METHODS = {  # what a client may call of the queue, all without waiting
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
SILENCE = 600  # s after which a client is given up; one that holds an item renews its lease far more often
TURN = 0.2  # s between looks whether to end
START = 20  # s that a new server gets to answer


class QueueServer(socketserver.ThreadingTCPServer):
    """Serves the queue in a file. Each connection has a thread and a connection to the file of its own."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address, secret, path, **options):
        self.secret, self.path, self.options = secret_of(secret), path, options
        self.clients = 0
        self.ending = False
        self.idle_since = time.monotonic()
        self._lock = threading.Lock()
        SharedEventQueue(
            path, **options
        ).close()  # a wrong file is told here, not to the first client
        super().__init__(address, _Connection)

    def count(self, more):
        """Note that a client has come (1) or gone (-1)."""
        with self._lock:
            self.clients += more
            self.idle_since = time.monotonic()

    def run(self, linger=None):
        """Serve until a signal comes, a client says `terminate`, or, with ``linger``, nobody was connected for that many s."""
        serving = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": TURN}, daemon=True
        )
        serving.start()
        with draining(self._end):
            while not self.ending:
                time.sleep(TURN)
                if (
                    linger is not None
                    and not self.clients
                    and time.monotonic() - self.idle_since > linger
                ):
                    self.ending = True
        self.shutdown()
        self.server_close()

    def _end(self, name):
        self.ending = True


class _Connection(socketserver.BaseRequestHandler):
    """One client: greeting, who it is, then calls until it goes."""

    def handle(self):
        self.server.count(1)
        self.request.settimeout(SILENCE)
        wire = Wire(self.request, self.server.secret, b"server", b"client")
        try:
            self._serve(wire)
        except TryAgainError as error:
            log.warning("client %s refused: %s", self.client_address[0], error)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("connection to %s lost: %s", self.client_address[0], error)
        finally:
            wire.close()
            self.server.count(-1)

    def _serve(self, wire):
        wire.greet()
        hello = wire.receive()
        if hello is None:
            return
        queue = SharedEventQueue(
            self.server.path, identity=Identity(**hello), **self.server.options
        )
        wire.send("welcome")
        goodbye = False
        while not goodbye and (call := wire.receive()) is not None:
            goodbye = call["method"] == "close"
            wire.send(self._answer(queue, call))
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
        "from photometry.events.queueserver import serve_as_told; serve_as_told()",
    ]
    record = Path(f"{queue_file}.log")  # not the caller's output, which it may outlive
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    with process.stdin as pipe:
        pipe.write(
            json.dumps(settings).encode()
        )  # not in the command line, where everybody could read the secret
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


def serve_as_told():
    """Serve as standard input says, in JSON; what `start_queue_manager` starts."""
    told = json.load(sys.stdin)
    try:
        server = QueueServer(
            tuple(told["address"]), bytes(told["secret"]), told["path"], **told["options"]
        )
    except (OSError, PhotometryError) as error:
        sys.exit(f"photometry: no queue manager at {':'.join(map(str, told['address']))}: {error}")
    server.run(told["linger"])
