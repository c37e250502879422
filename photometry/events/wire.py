"""Signed lines of JSON between a queue's server and its clients.

Both sides know a secret. Each connection begins with a random number from either side; each line carries the HMAC
(RFC 2104, SHA-256) of that pair, of who speaks, of the line's number and of the line. So a line cannot be forged,
changed, repeated or reordered. It can be read on the way: the secret never travels, but the arguments of events do.
"""

import hashlib
import hmac
import json
import secrets

from ..errors import SettingsError, TryAgainError
from .event import Event

LONGEST = 16 * 1024**2  # bytes of a line; longer ones are not read
GREETING = 64  # bytes; a stranger gets no more memory than that
SHORTEST_SECRET = 8  # bytes


class Refused(TryAgainError):
    """The other side does not know the secret, or does not speak this language."""


class Wire:
    """One end of a connection.

    Parameters
    ----------
    connection : socket
    secret : bytes
    speaks, hears : bytes, the names of this and of the other side
    """

    def __init__(self, connection, secret, speaks, hears):
        self._connection, self._secret, self._speaks, self._hears = (
            connection,
            secret,
            speaks,
            hears,
        )
        self._lines = connection.makefile("rb")
        self._sent = self._received = 0
        self._session = None

    def greet(self):
        """Exchange the random numbers; before anything else."""
        mine = secrets.token_hex(16).encode()
        self._write(mine)
        self._session = b"-".join(sorted((mine, self._read(GREETING))))

    def close(self):
        """Close the connection."""
        self._lines.close()
        self._connection.close()

    def send(self, content):
        """Send what JSON can hold, and events."""
        body = json.dumps(content, default=_encode).encode()
        self._write(self._sign(self._speaks, self._sent, body) + b" " + body)
        self._sent += 1

    def receive(self):
        """The next content from the other side; None if it has closed the connection."""
        line = self._read()
        if not line:
            return None
        signature, _, body = line.partition(b" ")
        if not hmac.compare_digest(signature, self._sign(self._hears, self._received, body)):
            raise Refused("a line on the connection was not signed with the secret of this queue")
        self._received += 1
        return json.loads(body, object_hook=_decode)

    def _sign(self, who, number, body):
        message = b"\n".join((self._session, who, str(number).encode(), body))
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest().encode()

    def _write(self, line):
        self._connection.sendall(line + b"\n")

    def _read(self, longest=LONGEST):
        line = self._lines.readline(longest)
        if line and not line.endswith(b"\n"):
            raise Refused("a line on the connection is cut off or too long")
        return line[:-1]


def secret_of(code):
    """The secret as bytes.

    Raises
    ------
    SettingsError : there is none, or it is too short
    """
    code = code.encode() if isinstance(code, str) else code
    if not code or len(code) < SHORTEST_SECRET:
        raise SettingsError(
            f"queue_manager_auth_code: a secret of at least {SHORTEST_SECRET} bytes is needed; there is no default"
        )
    return code


_EVENT = "__event__"
_SHOWN = ("id", "attempt", "repeats", "error", "state", "worker", "lease_until", "taken")


def _encode(value):
    if not isinstance(value, Event):
        raise TypeError(f"{type(value).__name__} cannot be sent to a queue")
    # as text: it may hold any key
    args = None if value.args is None else json.dumps(value.args.to_json())
    new = {"name": value.name, "key": value.key, "recurrent": value._recurrent, "args": args}
    return {_EVENT: new, **{name: getattr(value, name) for name in _SHOWN}}


def _decode(found):
    if _EVENT not in found:
        return found
    from .arguments import Arguments

    new = found.pop(_EVENT)
    args = None if new["args"] is None else Arguments.from_json(json.loads(new["args"]))
    event = Event(new["name"], args, new["recurrent"], new["key"])
    for name in _SHOWN:
        setattr(event, name, found[name])
    return event
