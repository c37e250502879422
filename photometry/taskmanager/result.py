"""`Result`: what a worker brings back, checked, in the form in which it is stored.

What is not known is NaN here, which sqlite3 stores as NULL like None: it binds a float at once, but looks for an adapter
for each None, which would make saving three times as slow.
"""

import math
import time

import msgspec

from ..errors import ArgumentError
from ..status import STATUS

_STATUS = {status: int(status) for status in STATUS}
_REALS_OF_ATTEMPT = ("start", "end", "seconds", "peak_memory")
_REALS_BEFORE_POSITION = ("mean_flux", "variance", "variability", "rms_hour", "ptp")
NULL = math.nan
_NO_NUMBERS = (NULL,) * 13  # where there are no details


class Result(msgspec.Struct, frozen=True, gc=False):
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
        """s that the worker waited for the task, or NaN"""
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
            priority, status, seconds = (
                result["priority"],
                _STATUS[result["status"]],
                result["time"],
            )
        except KeyError as error:
            raise _bad_key(result, error) from None
        method = str(result.get("method_used") or result.get("method") or "none")
        elapsed = 0.0 if seconds is None else _real("time", seconds)
        head = (
            method,
            elapsed if elapsed == elapsed else 0.0,
            _real("worker_wait_time", result.get("worker_wait_time")),
        )
        priority = _integer("priority", priority)
        attempt = result.get("attempt")
        attempt = _attempt(attempt, run, status) if attempt else ()
        details = result.get("details")
        if not details:
            return cls(priority, status, (NULL, *head, *_NO_NUMBERS), (), (), attempt)
        lightcurve = _text(details.get("filepath_lightcurve"))
        errors, skip_targets = (
            _messages(details.get("errors")),
            _starids(details.get("skip_targets")),
        )
        return cls(
            priority, status, (lightcurve, *head, *_numbers(details)), errors, skip_targets, attempt
        )


def _numbers(details):
    """The numbers among the details, in the order of the table ``diagnostics``."""
    get = details.get
    column, row = _pair("pos_centroid", get("pos_centroid"))
    height, width = _stamp_size(get("stamp"))
    return (
        *[_real(name, get(name)) for name in _REALS_BEFORE_POSITION],
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
    """Values of the table ``attempts``, after priority."""
    get = attempt.get
    start, end, seconds, peak_memory = [_real(name, get(name)) for name in _REALS_OF_ATTEMPT]
    run, rank = _integer("run", get("run", run)), _integer("rank", get("rank"))
    host, error, text = get("host"), get("error_class"), get("error_text")
    return (
        start if start == start else time.time(),
        run,
        NULL if host is None else _text(host),
        rank,
        end,
        seconds,
        peak_memory,
        status,
        0,
        NULL if error is None else _text(error),
        NULL if text is None else _text(text),
    )


def _bad_key(result, error):
    (key,) = error.args
    if key in ("priority", "status", "time") and key not in result:
        return ArgumentError(
            f"result lacks {key!r}; it has {', '.join(map(str, result)) or 'nothing'}"
        )
    accepted = ", ".join(f"{status.name} {int(status)}" for status in STATUS)
    return ArgumentError(f"result['status']={key!r}: expected a STATUS ({accepted})")


def _real(name, value):
    """A float, NaN where it is not finite."""
    if type(value) is not float:
        if value is None:
            return NULL
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise ArgumentError(f"{name}={value!r}: expected a number") from None
    return value if value - value == 0.0 else NULL


def _integer(name, value):
    if type(value) is int:
        return value
    if value is None:
        return NULL
    try:
        if value != value:
            return NULL
        integer = int(value)
    except (TypeError, ValueError, OverflowError):
        integer = None
    if integer is None or integer != value:
        raise ArgumentError(f"{name}={value!r}: expected a whole number")
    return integer


def _pair(name, value):
    if value is None:
        return NULL, NULL
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}={value!r}: expected two numbers (column, row)") from None
    return _real(name, first), _real(name, second)


def _stamp_size(stamp):
    """Height and width of ``(row1, row2, column1, column2)``, ends not included."""
    if stamp is None:
        return NULL, NULL
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
        return NULL
    text = str(value)
    return (
        text if text.isascii() else text.encode("utf-8", "replace").decode()
    )  # half a surrogate cannot be stored


def _messages(errors):
    """Each error as text, of one text or several: a list, an array, …"""
    if errors is None or isinstance(errors, str):
        return (_text(errors),) if errors else ()
    try:
        return tuple([_text(error) for error in errors if error is not None])
    except TypeError:
        raise ArgumentError(f"errors={errors!r}: expected a list of text") from None
