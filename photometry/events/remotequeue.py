"""`RemoteEventQueue`: the low-priority queue of another host, through its server. Reconnects by itself."""

import contextlib
import logging
import socket
import threading

from ..errors import TryAgainError, WrongUseError
from .event import OUTCOME
from .polledqueue import PolledQueue
from .queuefile import Identity
from .wire import Refused, Wire, secret_of

log = logging.getLogger(__name__)

GREETING, ANSWER = 2, 60  # s to wait; whatever else listens at the port may never greet


class RemoteEventQueue(PolledQueue):
    """The contract of `queues.SimpleEventQueue`, through a connection.

    Parameters
    ----------
    hostname, portnr, auth_code : of the server
    lease : s, as of the server's queue; it is renewed three times as often

    Raises
    ------
    TryAgainError : from any method, nobody answers at present
    """

    def __init__(self, hostname, portnr, auth_code, *, lease=60):
        super().__init__()
        self.path = f"{hostname}:{portnr}"
        self._address, self._secret, self.lease = (hostname, portnr), secret_of(auth_code), lease
        self._identity = Identity.of_this_process()
        self._held = set()  # ids of what this object took and has not finished
        self._lock = threading.RLock()
        self._wire = self._heartbeat = None
        self._closed = threading.Event()
        with self._lock:
            self._connect()

    @property
    def stopping(self):
        """Whether the workers have been asked to end."""
        return self._call("is_stopping")

    def put(self, event):
        """Add an event at the end. Returns False, and adds nothing, if its key is known already."""
        if event.args is not None:
            event.args.to_json()  # refused here, with the key named
        added = self._call("put", event)
        self._put_here.set()
        return added

    def take(self):
        """Take the first event, or None, without waiting."""
        with self._lock:
            event = self._call("take")
            if event is not None:
                event.queue = self
                self._held.add(event.id)
                self._keep_renewing()
            return event

    def finish(self, event_id, outcome=OUTCOME.DONE, error=None, successor=None, worker=None):
        """Finish an event; see `SharedEventQueue.finish`."""
        return self._let_go(event_id, "finish", str(outcome), error, successor, worker)

    def discard(self, event_id):
        """Finish an event in progress, whoever holds it. Returns it; None if it is not in progress."""
        return self._let_go(event_id, "discard")

    def re_append(self, event_id, delay=0, error=None, worker=None):
        """Move an event in progress to the end of the queue; see `SharedEventQueue.re_append`."""
        return self._let_go(event_id, "re_append", delay, error, worker)

    def release(self, event_id, worker=None):
        """Put an event in progress back, as if it had never been taken; see `SharedEventQueue.release`."""
        return self._let_go(event_id, "release", worker)

    def release_worker(self, pid, host=None):
        """Hand out again what a dead process of this host held."""
        return self._call("release_worker", pid, host or self._identity.host)

    def find(self, state, limit=-1, since=0):
        """The events in a state; see `SharedEventQueue.find`."""
        return self._call("find", state, limit, since)

    def counts(self, since=0):
        """How many items are in which state; see `SharedEventQueue.counts`."""
        return self._call("counts", since)

    def __getattr__(self, name):
        if name not in _PLAIN:
            raise AttributeError(name)
        return lambda *args: self._call(name, *args)

    def terminate(self):
        """End the server. The queue stays in its file."""
        self._call("terminate")

    def close(self):
        """Give back what this process holds, and close the connection. Harmless when called twice."""
        self._closed.set()
        with contextlib.suppress(TryAgainError), self._lock:
            if self._wire is not None:
                self._call("close")
        self._drop()

    def _let_go(self, event_id, method, *args):
        event = self._call(method, event_id, *args)
        self._held.discard(event_id)
        return event

    def _call(self, method, *args):
        with self._lock:
            if self._wire is None:
                self._connect()
            try:
                self._wire.send({"method": method, "args": args})
                answer = self._wire.receive()
            except (OSError, Refused) as error:
                self._drop()
                raise TryAgainError(f"queue {self.path}: {error}") from error
            if answer is None:
                self._drop()
                raise TryAgainError(f"queue {self.path}: its server has ended")
        if "error" in answer:
            raise (
                TryAgainError(answer["error"])
                if answer["again"]
                else WrongUseError(answer["error"])
            )
        return answer["result"]

    def _connect(self):
        try:
            connection = socket.create_connection(self._address, timeout=GREETING)
            self._wire = Wire(connection, self._secret, b"client", b"server")
            self._wire.greet()
            self._wire.send(vars(self._identity))
            if self._wire.receive() != "welcome":
                raise Refused("the server does not know the same secret")
            connection.settimeout(ANSWER)
        except (OSError, Refused) as error:
            self._drop()
            raise TryAgainError(f"queue {self.path}: {error}") from error
        self._call("release_unheld", sorted(self._held))  # taken by a call whose answer was lost

    def _drop(self):
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _keep_renewing(self):
        if self._heartbeat is None:
            self._heartbeat = threading.Thread(
                target=self._renew, name="event_queue_heartbeat", daemon=True
            )
            self._heartbeat.start()

    def _renew(self):
        while not self._closed.wait(self.lease / 3):
            try:
                self._call("renew")
            except TryAgainError as error:
                log.warning("cannot renew the lease: %s", error)


_PLAIN = {
    "head",
    "qsize",
    "get_pending",
    "get_in_progress",
    "workers",
    "is_over",
    "waiting_for",
    "requeue",
    "forget",
    "resume",
}


def get_event_queue(hostname, portnr, auth_code, **options):
    """The queue that a server offers; None if nobody answers, or not to this secret."""
    try:
        return RemoteEventQueue(hostname, portnr, auth_code, **options)
    except TryAgainError:
        return None
