"""`Result`: what a worker brings back, checked, in the form in which it is stored."""

import time
from dataclasses import dataclass

from ..errors import ArgumentError
from ..status import STATUS

_STATUS = {status: int(status) for status in STATUS}
_REALS_BEFORE_POSITION = ("mean_flux", "variance", "variability", "rms_hour", "ptp")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one task."""

    priority: int
    status: int  # STATUS
    diagnostics: tuple  # values of the table diagnostics, from lightcurve up to stamp_resizes
    errors: tuple  # of str
    skip_targets: tuple  # of int, starid of the other stars in the mask
    attempt: tuple  # values of the table attempts, after priority; empty where the worker told nothing of it

    @property
    def elaptime(self):
        """s of work"""
        return self.diagnostics[2]

    @property
    def worker_wait_time(self):
        """s that the worker waited for the task, or None"""
        return self.diagnostics[3]

    @classmethod
    def of(cls, result, *, run=None):
        """Check the dict that a worker made (see "Result" in docs/todo-file.md).

        Every key of ``result['details']`` may be missing. Numbers may be numpy's; what is not finite becomes NULL.

        Raises
        ------
        ArgumentError : a key is missing, or its value is not what it has to be
        """
        try:
            priority, status, seconds = result["priority"], _STATUS[result["status"]], result["time"]
        except KeyError as error:
            raise _bad_key(result, error) from None
        method = result.get("method_used") or result.get("method") or "none"
        details = result.get("details") or {}
        elapsed = _real("time", seconds)
        wait = _real("worker_wait_time", result.get("worker_wait_time"))
        attempt = result.get("attempt")
        return cls(
            _integer("priority", priority),
            status,
            (_text(details.get("filepath_lightcurve")), str(method), elapsed or 0.0, wait, *_numbers(details)),
            _messages(details.get("errors")),
            _starids(details.get("skip_targets")),
            _attempt(attempt, run, status) if attempt else (),
        )


def _numbers(details):
    """The numbers among the details, in the order of the table ``diagnostics``."""
    get = details.get
    column, row = _pair("pos_centroid", get("pos_centroid"))
    height, width = _stamp_size(get("stamp"))
    return (
        *[None if (value := get(name)) is None else _real(name, value) for name in _REALS_BEFORE_POSITION],
        row,
        column,
        _real("contamination", get("contamination")),
        _integer("mask_size", get("mask_size")),
        _real("edge_flux", get("edge_flux")),
        width,
        height,
        _integer("stamp_resizes", get("stamp_resizes")),
    )


def _attempt(attempt, run, status):
    get = attempt.get
    start = _real("attempt['start']", get("start"))
    return (
        time.time() if start is None else start,
        get("run", run),
        _text(get("host")),
        _integer("attempt['rank']", get("rank")),
        _real("attempt['end']", get("end")),
        _real("attempt['seconds']", get("seconds")),
        _real("attempt['peak_memory']", get("peak_memory")),
        status,
        0,
        _text(get("error_class")),
        _text(get("error_text")),
    )


def _bad_key(result, error):
    (key,) = error.args
    if key in ("priority", "status", "time") and key not in result:
        return ArgumentError(f"result lacks {key!r}; it has {', '.join(map(str, result)) or 'nothing'}")
    accepted = ", ".join(f"{status.name} {int(status)}" for status in STATUS)
    return ArgumentError(f"result['status']={key!r}: expected a STATUS ({accepted})")


def _real(name, value):
    """A float, or None where it is not finite."""
    if value is None:
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}={value!r}: expected a number") from None
    return value if value - value == 0.0 else None


def _integer(name, value):
    if value is None or type(value) is int:
        return value
    try:
        if value != value:
            return None
        integer = int(value)
    except (TypeError, ValueError, OverflowError):
        integer = None
    if integer is None or integer != value:
        raise ArgumentError(f"{name}={value!r}: expected a whole number")
    return integer


def _pair(name, value):
    if value is None:
        return None, None
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}={value!r}: expected two numbers (column, row)") from None
    return _real(name, first), _real(name, second)


def _stamp_size(stamp):
    """Height and width of ``(row1, row2, column1, column2)``, ends not included."""
    if stamp is None:
        return None, None
    try:
        row1, row2, column1, column2 = stamp
    except (TypeError, ValueError):
        raise ArgumentError(f"stamp={stamp!r}: expected (row1, row2, column1, column2)") from None
    return _integer("stamp", row2 - row1), _integer("stamp", column2 - column1)


def _starids(values):
    if values is None or len(values) == 0:
        return ()
    return tuple([_integer("skip_targets", starid) for starid in values])


def _text(value):
    if value is None:
        return None
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # half a surrogate cannot be stored


def _messages(errors):
    if not errors:
        return ()
    return (_text(errors),) if isinstance(errors, str) else tuple(map(_text, errors))
