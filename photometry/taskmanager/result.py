"""`Result`: what a worker brings back, checked, as the rows that are stored; what these change, and
who is skipped.

What is not known is NaN here, which sqlite3 stores as NULL like None: it binds a float at once, but
looks for an adapter for each None, which would make saving three times as slow.
"""

import math
import os
import time
from collections.abc import Mapping

import msgspec

from ..errors import ArgumentError
from ..status import STATUS
from .schema import Attempt, BriefDiagnostics, Diagnostics, star_label

_STATUS = {status: int(status) for status in STATUS}
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1  # integers that SQLite can store
NULL = math.nan
_NULLS = dict.fromkeys(Diagnostics._fields, NULL)


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


# --- which of two stars in one mask gets the light curve
#
# The outcome does not depend on the order in which results come: a target that was measured before
# the brighter star whose mask holds it loses its result, and those that it had made SKIPPED are to
# do again. So a run with many workers gives the same rows as one that goes through the targets from
# bright to faint.

_SKIPPED = int(STATUS.SKIPPED)

_TARGET = (
    "SELECT starid, sector, camera, ccd, cadence, datasource, tmag FROM todolist WHERE priority = ?"
)
_SKIPPED_ONLY_BY = f"""SELECT priority FROM photometry_skipped JOIN todolist USING (priority)
    WHERE skipped_by = ?1 AND status = {STATUS.SKIPPED:d} AND NOT EXISTS (
        SELECT 1 FROM photometry_skipped other
        WHERE other.priority = todolist.priority AND other.skipped_by != ?1)"""
# a star among the same images, from one of two data sources
_RIVALS = """SELECT priority, tmag FROM todolist WHERE starid = ? AND sector IS ? AND camera IS ?
    AND ccd IS ? AND cadence IS ? AND datasource IN (?, ?)"""


def in_batches(results, superseded):
    """Split results into lists that can be saved together.

    A result that touches other targets goes alone, so that those that come after it meet with what
    it did. So does one of a task that was superseded, SKIPPED by another result while it was
    running; and one of a task that occurs twice.

    Parameters
    ----------
    results : list of result.Result
    superseded : set of int, priorities
    """
    batch, priorities = [], set()
    for result in results:
        is_alone = result.skip_targets or result.priority in superseded
        if batch and (is_alone or result.priority in priorities):
            yield batch
            batch, priorities = [], set()
        batch.append(result)
        priorities.add(result.priority)
        if is_alone:
            yield batch
            batch, priorities = [], set()
    if batch:
        yield batch


def saving(cursor, results):
    """What saves results: status, diagnostics, attempts, and who is skipped.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    results : list of result.Result, of different tasks that exist; one of the lists of `in_batches`

    Returns
    -------
    statuses : list of (status, priorities)
    changes : list, as in `schema.apply`
    errors : list of str or None, the text of the errors of each result
    """
    of_others, skips, by_status, rows, texts = [], [], {}, [], []
    for result in results:
        status, errors = result.status, result.errors
        if result.skip_targets:
            of_others, skips, is_skipped, error = skip(cursor, result.priority, result.skip_targets)
            status = _SKIPPED if is_skipped else status
            errors = (*errors, error) if error else errors
        text = "\n".join(errors) if errors else None
        texts.append(text)
        row = result.diagnostics
        if text is not None:
            row = Diagnostics(**_NULLS | row._asdict() | {"errors": text})
        rows.append(row)
        by_status.setdefault(status, []).append(result.priority)
    brief = [row for row in rows if type(row) is BriefDiagnostics]
    full = [row for row in rows if type(row) is not BriefDiagnostics]
    attempts = [result.attempt for result in results if result.attempt]
    named = {"brief diagnostics": brief, "diagnostics": full, "attempt": attempts}
    changes = [(name, these) for name, these in named.items() if these]
    return [*of_others, *by_status.items()], [*changes, *skips], texts


def skip(cursor, priority, skip_targets):
    """What a result means for the targets that share its mask.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    priority : int, of the task that the result belongs to
    skip_targets : iterable of int, starid of the other stars in its mask

    Returns
    -------
    statuses : list of (status, priorities) of other tasks
    changes : list, as in `schema.apply`
    is_skipped : bool, True where the task itself becomes SKIPPED
    error : str or None, what else has to be reported
    """
    row = cursor.execute(_TARGET, (priority,)).fetchone()
    if row is None:
        raise ArgumentError(f"priority={priority!r}: there is no such task")
    starid, *images, datasource, tmag = row
    others = sorted(set(skip_targets) - {starid})
    kind, _, primary = (datasource or "").partition(":")
    primary = int(primary) if kind == "tpf" and primary.isdigit() else None
    if primary in others:
        return _skipped_by_primary(cursor, priority, primary, images)
    same = (*images, datasource, f"tpf:{starid}" if datasource == "tpf" else datasource)
    rivals = [row for other in others for row in cursor.execute(_RIVALS, (other, *same)).fetchall()]
    if not rivals:
        return [], [("not skipped", [(priority,)]), ("skips nobody", [(priority,)])], False, None
    return _brightest_wins(cursor, priority, tmag, rivals)


def _skipped_by_primary(cursor, priority, primary, images):
    rows = cursor.execute(_RIVALS, (primary, *images, "tpf", "tpf")).fetchall()
    if not rows:
        *_, cadence = images
        label = star_label(primary, "tpf", cadence)
        error = f"TargetNotFoundError: Could not find primary TPF target ({label})"
        return [], [("not skipped", [(priority,)])], True, error
    return [], [("not skipped", [(priority,)]), ("skipped", [(priority, rows[0][0])])], True, None


def _brightest_wins(cursor, priority, tmag, rivals):
    """The brighter star keeps its light curve; of equally bright ones that with the lower priority
    number.

    The losers lose the results that they may have, and what only they had made SKIPPED is to do
    again.
    """
    older = [("not skipped", [(priority,)]), ("skips nobody", [(priority,)])]
    brightest = min(rivals, key=_brightness)
    if _brightness((priority, tmag)) > _brightness(brightest):
        return [], [*older, ("skipped", [(priority, brightest[0])])], True, None
    losers = [rival for rival, _ in rivals]
    freed = [
        freed
        for loser in losers
        for (freed,) in cursor.execute(_SKIPPED_ONLY_BY, (loser,)).fetchall()
    ]
    rows = [(loser,) for loser in losers]
    changes = [("no diagnostics", rows), ("skips nobody", rows), *older]
    skipped = ("skipped", [(loser, priority) for loser in losers])
    return [(None, freed), (_SKIPPED, losers)], [*changes, skipped], False, None


def _brightness(row):
    priority, tmag = row
    is_number = isinstance(tmag, (int, float)) and tmag == tmag
    return (tmag if is_number else math.inf, priority)
