"""`RemoteEventQueue`: the low-priority queue of another host, through its server. Reconnects by
itself.

The two talk through a connection of Python's `multiprocessing`: either side proves by a challenge
(HMAC, RFC 2104) that it knows the secret, then messages are JSON, never pickles. The secret does
not travel; what is said is not encrypted."""

import contextlib
import json
import logging
import socket
import struct
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from ..errors import SettingsError, TryAgainError, WrongUseError
from ..leases import Holder
from .event import OUTCOME, Arguments, Event
from .queues import PolledQueue

log = logging.getLogger(__name__)

GREETING, ANSWER = 5, 60
"""s to wait for the other side, before and after it has proved that it knows the secret."""

LONGEST_HELLO, LONGEST = 4096, 16 * 1024**2
"""Bytes of the first message, and of any other one; longer ones are not read."""

SHORTEST_SECRET = 8
"""Bytes."""


class Channel:
    """One end of a connection between a queue's server and a client.

    Parameters
    ----------
    handle : int, of a connected socket; the channel owns it
    secret : bytes
    """

    def __init__(self, handle, secret):
        self._connection, self._secret = Connection(handle), secret

    def prove(self, *, server):
        """Let each side prove that it knows the secret; the server asks first.

        Raises
        ------
        AuthenticationError : the other side does not
        """
        self.set_timeout(GREETING)
        for step in (deliver_challenge, answer_challenge)[:: 1 if server else -1]:
            step(self._connection, self._secret)

    def set_timeout(self, seconds):
        """How long to wait for the other side before an OSError."""
        with socket.socket(fileno=self._connection.fileno()) as view:
            value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
            view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            view.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
            view.detach()

    def send(self, content):
        """Send what JSON can hold, and events."""
        self._connection.send_bytes(json.dumps(content, default=_encode).encode())

    def receive(self, longest=LONGEST):
        """The next content from the other side; EOFError if it has closed the connection."""
        return json.loads(self._connection.recv_bytes(longest), object_hook=_decode)

    def close(self):
        """Close the connection."""
        self._connection.close()


class RemoteEventQueue(PolledQueue):
    """The contract of `queues.SimpleEventQueue`, through a connection.

    Parameters
    ----------
    hostname, portnr, auth_code : of the server
    lease : s, as of the server's queue; it is renewed three times as often

    Attributes
    ----------
    served : str, the file of the queue, on the server's host

    Raises
    ------
    WrongUseError : on opening, the server does not know this secret
    TryAgainError : from any method, no server answers at present
    """

    def __init__(self, hostname, portnr, auth_code, *, lease=60):
        super().__init__()
        self.path = f"{hostname}:{portnr}"
        self._address, self._secret, self.lease = (hostname, portnr), secret_of(auth_code), lease
        self._holder = Holder.of_this_process()
        # ids of what this object took and has not finished
        self._held = set()
        self._lock = threading.RLock()
        self._channel = self._heartbeat = self.served = None
        self._closed = threading.Event()
        with self._lock:
            self._connect()

    @property
    def stopping(self):
        """Whether the workers have been asked to end."""
        return self._call("is_stopping")

    def put(self, event):
        """Add an event at the end. Returns False, and adds nothing, if its key is known already."""
        # refused here, with the key named
        _encode(event)
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
        """Finish an event; see `SharedEventQueue.finish`.

        Parameters
        ----------
        event_id, outcome, error, successor, worker : as there
        """
        return self._let_go(event_id, "finish", str(outcome), error, successor, worker)

    def discard(self, event_id):
        """Finish an event in progress, whoever holds it. Returns it; None if it is not in
        progress."""
        return self._let_go(event_id, "discard")

    def re_append(self, event_id, delay=0, error=None, worker=None):
        """Move an event in progress to the end of the queue; see `SharedEventQueue.re_append`.

        Parameters
        ----------
        event_id, delay, error, worker : as there
        """
        return self._let_go(event_id, "re_append", delay, error, worker)

    def release(self, event_id, worker=None):
        """Put an event in progress back, as if it had never been taken; see
        `SharedEventQueue.release`."""
        return self._let_go(event_id, "release", worker)

    def release_worker(self, pid, host=None):
        """Give to others what a dead process of this host held."""
        return self._call("release_worker", pid, host or self._holder.host)

    def find(self, state, limit=None, since=None):
        """The events in a state; see `SharedEventQueue.find`.

        Parameters
        ----------
        state, limit, since : as there
        """
        return self._call("find", state, limit, since)

    def counts(self, since=None):
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
        """Give back what this process holds, and close the connection. Harmless when called
        twice."""
        self._closed.set()
        with contextlib.suppress(TryAgainError), self._lock:
            if self._channel is not None:
                self._call("close")
        self._drop()

    def _let_go(self, event_id, method, *args):
        event = self._call(method, event_id, *args)
        self._held.discard(event_id)
        return event

    def _call(self, method, *args):
        with self._lock:
            if self._channel is None:
                self._connect()
            try:
                self._channel.send({"method": method, "args": args})
                answer = self._channel.receive()
            except EOFError:
                self._drop()
                raise TryAgainError(f"queue {self.path}: its server has ended") from None
            except (OSError, ValueError) as error:
                self._drop()
                raise TryAgainError(f"queue {self.path}: {error}") from error
        if "error" in answer:
            kind = TryAgainError if answer["again"] else WrongUseError
            raise kind(answer["error"])
        return answer["result"]

    def _connect(self):
        try:
            connection = socket.create_connection(self._address, timeout=GREETING)
            connection.settimeout(None)
            self._channel = Channel(connection.detach(), self._secret)
            self._channel.prove(server=False)
            process = vars(self._holder.process)
            self._channel.send(
                {"host": self._holder.host, "random": self._holder.random, **process}
            )
            self._channel.set_timeout(ANSWER)
            self.served = self._channel.receive()["queue"]
        except AuthenticationError as error:
            self._drop()
            raise WrongUseError(
                f"queue {self.path}: its server does not know this secret (queue_manager_auth_code)"
            ) from error
        except (OSError, EOFError, ValueError) as error:
            self._drop()
            why = str(error) or "whoever listens there does not answer"
            raise TryAgainError(f"queue {self.path}: {why}") from error
        # taken by a call whose answer was lost
        self._call("release_unheld", sorted(self._held))

    def _drop(self):
        if self._channel is not None:
            self._channel.close()
            self._channel = None

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
    *("head", "qsize", "get_pending", "get_in_progress", "workers", "is_over", "waiting_for"),
    *("requeue", "forget", "resume"),
}


def get_event_queue(hostname, portnr, auth_code, **options):
    """The queue that a server offers; None if no server answers, or not to this secret.

    Parameters
    ----------
    hostname : str
    portnr : int
    auth_code : str, the secret
    options : of `RemoteEventQueue`
    """
    try:
        return RemoteEventQueue(hostname, portnr, auth_code, **options)
    except (TryAgainError, WrongUseError) as error:
        if isinstance(error, SettingsError):
            raise
        return None


def secret_of(code):
    """The secret as bytes.

    Raises
    ------
    SettingsError : there is none, or it is too short
    """
    code = code.encode() if isinstance(code, str) else code
    if not code or len(code) < SHORTEST_SECRET:
        raise SettingsError(
            f"queue_manager_auth_code: a secret of at least {SHORTEST_SECRET} bytes is "
            "needed; there is no default"
        )
    return code


_EVENT = "__event__"
_SHOWN = ("id", "attempt", "repeats", "error", "state", "worker", "lease_until", "taken")


def _encode(value):
    if not isinstance(value, Event):
        raise TypeError(f"{type(value).__name__} cannot be sent to a queue")
    # as text: it may hold any key
    args = None if value.args is None else json.dumps(value.args_json())
    new = {"name": value.name, "key": value.key, "recurrent": value._recurrent, "args": args}
    return {_EVENT: new, **{name: getattr(value, name) for name in _SHOWN}}


def _decode(content):
    if _EVENT not in content:
        return content
    new = content.pop(_EVENT)
    args = None if new["args"] is None else Arguments.from_json(json.loads(new["args"]))
    event = Event(new["name"], args, new["recurrent"], new["key"])
    for name in _SHOWN:
        setattr(event, name, content[name])
    return event
