"""`Result`: what a worker brings back, checked, as the rows that are stored; and `Packer`, which
makes the text of the journal of them in the workers, so that the master only appends it.

What is not known is NaN here, which sqlite3 stores as NULL like None: it binds a float at once, but
looks for an adapter for each None, which would make saving three times as slow.
"""

import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ..errors import ArgumentError
from ..status import STATUS
from .schema import Attempt, Block, BriefDiagnostics, Diagnostics, to_block

_STATUS = {status: int(status) for status in STATUS}
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1  # integers that SQLite can store
NULL = math.nan


class Result(msgspec.Struct, frozen=True, gc=False):
    """The result of one task.

    Attributes
    ----------
    priority : int
    status : int, a STATUS
    diagnostics : Diagnostics, or BriefDiagnostics where there are no details; its column errors is
        still NULL
    errors : tuple of str
    skip_targets : tuple of int, starid of the other stars in the mask
    attempt : Attempt, or None where the worker says nothing of it
    """

    priority: int
    status: int
    diagnostics: tuple
    errors: tuple
    skip_targets: tuple
    attempt: tuple | None

    @classmethod
    def of(cls, result, *, run=None):
        """Check the dict that a worker made (see "Result" in docs/todo-file.md).

        Every key of ``result['details']`` may be missing. Numbers may be numpy's; what is not
        finite becomes NULL.

        Parameters
        ----------
        result : dict
        run : int or None, the run that it belongs to, where its attempt does not say

        Raises
        ------
        ArgumentError : a key is missing, or its value is not what it has to be
        """
        priority, status, method, seconds = _required(result)
        attempt, details = result.get("attempt"), result.get("details")
        brief = BriefDiagnostics(
            priority=priority,
            method_used=method,
            elaptime=seconds if seconds == seconds else 0.0,
            worker_wait_time=_real("worker_wait_time", result.get("worker_wait_time")),
        )
        if attempt is not None and type(attempt) is not dict and not isinstance(attempt, Mapping):
            raise ArgumentError(f"attempt={attempt!r:.200}: expected a dict")
        if attempt:
            values = {name: check(name, attempt.get(name)) for name, check in _OF_ATTEMPT.items()}
            values["run"] = _integer("run", attempt.get("run", run))
            if values["start"] != values["start"]:
                values["start"] = time.time()
            attempt = Attempt(priority=priority, status=status, died=0, **values)
        if not details and (details is None or type(details) is dict):
            return cls(priority, status, brief, (), (), attempt or None)
        return cls(priority, status, *_details(brief, details), attempt or None)


# --- the parts of a result, checked


def _required(result):
    """Priority, status, method and seconds of work."""
    if type(result) is not dict and not isinstance(result, Mapping):
        raise ArgumentError(f"result={result!r:.200}: expected a dict")
    for key in ("priority", "status", "time"):
        if key not in result:
            has = ", ".join(map(str, result)) or "nothing"
            raise ArgumentError(f"result lacks {key!r}; it has {has}")
    status = result["status"]
    try:
        code = _STATUS[status]
    except (KeyError, TypeError):
        accepted = ", ".join(f"{status.name} {int(status)}" for status in STATUS)
        raise ArgumentError(
            f"result['status']={status!r:.200}: expected a STATUS ({accepted})"
        ) from None
    priority = _integer("priority", result["priority"])
    if priority != priority:
        raise ArgumentError(f"priority={result['priority']!r}: expected a whole number")
    method = result.get("method_used", result.get("method") or "none")
    if not isinstance(method, str) or not method:
        raise ArgumentError(f"method_used={method!r:.200}: expected the name of a method")
    return priority, code, _text("method_used", method), _real("time", result["time"])


def _details(brief, details):
    """The whole row, the errors and the skip_targets of a result with details."""
    if type(details) is not dict and not isinstance(details, Mapping):
        raise ArgumentError(f"details={details!r:.200}: expected a dict")
    get = details.get
    expected = "2 numbers (column, row)"
    column, row = _several("pos_centroid", get("pos_centroid"), _real, expected, n=2)
    expected = "4 numbers (row1, row2, column1, column2)"
    row1, row2, column1, column2 = _several("stamp", get("stamp"), _real, expected, n=4)
    path = get("filepath_lightcurve")
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    if path is not None and (not isinstance(path, str) or not path or "\0" in path):
        raise ArgumentError(
            f"filepath_lightcurve={path!r:.200}: expected a path, as text without NUL"
        )
    diagnostics = Diagnostics(
        **brief._asdict(),
        **{name: check(name, get(name)) for name, check in _OF_DETAILS.items()},
        lightcurve=_text("filepath_lightcurve", path),
        pos_row=row,
        pos_column=column,
        stamp_width=_integer("stamp", column2 - column1),
        stamp_height=_integer("stamp", row2 - row1),
        errors=NULL,
    )
    errors = get("errors")
    errors = [errors] if isinstance(errors, str) and errors else errors
    errors = _several("errors", errors, _text, "a list of text")
    skipped = get("skip_targets")
    return (
        diagnostics,
        errors,
        _several("skip_targets", skipped, _integer, "a list of star numbers"),
    )


def _real(name, value):
    """A float, NaN where it is not finite."""
    if type(value) is not float:
        if value is None:
            return NULL
        try:
            if isinstance(value, (str, bytes, bytearray)):
                raise TypeError
            value = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ArgumentError(f"{name}={value!r:.200}: expected a number") from None
    return value if value - value == 0.0 else NULL


def _integer(name, value):
    if type(value) is not int:
        if value is None:
            return NULL
        try:
            if value != value:
                return NULL
            integer = None if isinstance(value, (str, bytes, bytearray)) else int(value)
        except (TypeError, ValueError, OverflowError):
            integer = None
        if integer is None or integer != value:
            raise ArgumentError(f"{name}={value!r:.200}: expected a whole number")
        value = integer
    if not _SMALLEST <= value <= _LARGEST:
        shown = f"{value:.3g}" if abs(value) < 1e308 else "a number of more than 308 digits"
        raise ArgumentError(f"{name}={shown}: expected a whole number of at most 64 bits")
    return value


def _several(name, values, check, expected, *, n=None):
    """Tuple of a list, an array, …, each item checked.

    Parameters
    ----------
    name : str
    values : whatever the worker gave; None: an empty list, or ``n`` times NULL
    check : callable(name, item) -> item as it is stored
    expected : str, for people
    n : int, how many there must be; None: any number, None among them does not count
    """
    is_text = isinstance(values, (str, bytes, bytearray))
    if values is None or (is_text and not values and n is None):
        return (NULL,) * (n or 0)
    try:
        if not is_text and (n is None or len(values) == n):
            return tuple([check(name, value) for value in values if n or value is not None])
    except TypeError:  # not several
        pass
    raise ArgumentError(f"{name}={values!r:.200}: expected {expected}")


def _text(_, value):
    if value is None:
        return NULL
    text = str(value)
    if "\0" in text:  # SQLite's own tools end a text there
        text = text.replace("\0", "\\0")
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()  # half a surrogate cannot be stored


# how the values of the columns are checked that have the names which the worker gives them
_OF_DETAILS = {
    "mean_flux": _real,
    "variance": _real,
    "variability": _real,
    "rms_hour": _real,
    "ptp": _real,
    "contamination": _real,
    "mask_size": _integer,
    "edge_flux": _real,
    "stamp_resizes": _integer,
    "inputs": _text,
    "method_hash": _text,
    "version": _text,
}
_OF_ATTEMPT = {
    "start": _real,
    "host": _text,
    "rank": _integer,
    "end": _real,
    "seconds": _real,
    "peak_memory": _real,
    "error_class": _text,
    "error_text": _text,
}


# --- plain results are packed: OK, without errors, and of no concern to other tasks; all others
# travel as they are

_OK = int(STATUS.OK)
WEIGHT = 0.1
"""Of the newest result in the running means of the summary."""
_encode = msgspec.json.Encoder().encode


class MeanOfMany(NamedTuple):
    """What many values do to a running mean, without the values.

    Attributes
    ----------
    n : how many values are known
    first : the first of them, or NaN
    weighted : the running mean that they would give after a mean of zero
    """

    n: int
    first: float
    weighted: float

    @classmethod
    def of(cls, values):
        """Of a list of float, in which NaN is not known."""
        n, first, weighted = 0, float("nan"), 0.0
        for value in values:
            if value == value:
                first = value if n == 0 else first
                n += 1
                weighted += WEIGHT * (value - weighted)
        return cls(n, first, weighted)

    def after(self, mean):
        """The running mean after these values; ``mean`` is the one before them, or None."""
        if not self.n:
            return mean
        mean = self.first if mean is None else mean
        return mean * (1 - WEIGHT) ** self.n + self.weighted


_UNKNOWN = MeanOfMany(0, math.nan, 0.0)


class Packed(msgspec.Struct, gc=False):
    """Results of one worker in the form in which they are stored.

    Attributes
    ----------
    priorities : list of int, of the plain ones
    content : bytes, the plain ones as JSON, see `schema.Block`; empty where there are none
    elaptime, worker_wait_time : MeanOfMany of the plain ones
    others : list of dict, results that take the way of a single one
    """

    priorities: list
    content: bytes
    elaptime: tuple
    worker_wait_time: tuple
    others: list

    def plain(self):
        """The plain results, as list of `Result`."""
        return _results(to_block(self.content)) if self.content else []


@dataclass(frozen=True)
class Packer:
    """Checks and packs the results of a message; ``packer(results)`` runs in the workers.

    Attributes
    ----------
    run : int or None, number of the run
    """

    run: int | None = None

    def __call__(self, results):
        """Pack results (dicts) of one worker.

        Raises
        ------
        ArgumentError : one of them is not a result; none is packed
        """
        rows, attempts, others, origins = [], [], [], set()
        if len(results) == 1:  # a block of one would only be larger
            Result.of(results[0], run=self.run)
            return Packed([], b"", _UNKNOWN, _UNKNOWN, results)
        for result in results:
            plain = _quick(result) or _plain(Result.of(result, run=self.run), self.run)
            if plain is None:
                others.append(result)
                continue
            row, attempt, origin = plain
            origins.add(origin)
            rows.append(row)
            attempts.append(attempt)
        if len(origins) > 1:  # results of several workers, which a block cannot hold
            rows, others = [], results
        if not rows:
            return Packed([], b"", _UNKNOWN, _UNKNOWN, others)
        ((host, rank),) = origins
        attempts.sort()
        (first, start, *_) = attempts[0]
        brief = [row for row in rows if type(row) is BriefDiagnostics]
        block = Block(
            run=self.run,
            host=host or socket.gethostname(),
            rank=rank,
            status=_OK,
            first=first,
            start=start,
            attempts=_encode(attempts).decode(),
            brief=_encode(brief).decode() if brief else "",
            full=[row for row in rows if type(row) is Diagnostics],
        )
        return Packed(
            [attempt[0] for attempt in attempts],
            _encode(block),
            MeanOfMany.of([row.elaptime for row in rows]),
            MeanOfMany.of([row.worker_wait_time for row in rows]),
            others,
        )


def _quick(result):
    """As `_plain`, at a fifth of the cost, for what the scheduler makes of work that says nothing
    but OK; else None.
    """
    try:
        if result["status"] is not STATUS.OK or result["details"] or len(result["attempt"]) != 6:
            return None
        attempt = result["attempt"]
        row = BriefDiagnostics(
            priority=result["priority"],
            method_used=result["method_used"],
            elaptime=result["time"],
            worker_wait_time=result["worker_wait_time"],
        )
        start, seconds, peak_memory = attempt["start"], attempt["seconds"], attempt["peak_memory"]
        host, rank, _ = attempt["host"], attempt["rank"], attempt["end"]
    except (KeyError, TypeError, AttributeError):
        return None
    if (
        type(row.priority) is int
        and 0 <= row.priority < 2**63
        and type(row.method_used) is str
        and row.method_used.isidentifier()
        and type(row.elaptime)
        is type(row.worker_wait_time)
        is type(start)
        is type(seconds)
        is float
        and math.isfinite(row.elaptime + row.worker_wait_time + start + seconds)
        and type(peak_memory) is type(rank) is int
        and type(host) is str
    ):
        return row, (row.priority, start, seconds, peak_memory), (host, rank)
    return None


def _plain(result, run):
    """(row, [priority, start, seconds, peak memory], (host, rank)) of a plain result; None of any
    other.
    """
    attempt = result.attempt
    if (
        result.status != _OK
        or result.errors
        or result.skip_targets
        or attempt is None
        or attempt.error_class is not NULL
        or attempt.error_text is not NULL
        or attempt.run != run
    ):
        return None
    host, rank = (None if value != value else value for value in (attempt.host, attempt.rank))
    shown = (attempt.priority, attempt.start, attempt.seconds, attempt.peak_memory)
    return result.diagnostics, shown, (host, rank)


def _results(block):
    """The `Result` of each row of a block."""
    attempts = {row[0]: row for row in msgspec.json.decode(block.attempts)}
    rows = [BriefDiagnostics(*row) for row in msgspec.json.decode(block.brief or "[]")]
    rows += [Diagnostics(*row) for row in block.full]
    of_all = {key: getattr(block, key) for key in ("run", "host", "rank", "status")}
    of_all = dict.fromkeys(Attempt._fields, NULL) | of_all | {"died": 0}
    results = []
    for row in rows:
        priority, start, seconds, peak_memory = attempts[row.priority]
        end = None if seconds is None else start + seconds
        own = {"start": start, "end": end, "seconds": seconds, "peak_memory": peak_memory}
        attempt = Attempt(**of_all | own | {"priority": priority})
        results.append(Result(priority, block.status, row, (), (), attempt))
    return results
