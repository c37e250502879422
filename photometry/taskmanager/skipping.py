"""From results to the changes that save them; and which of two stars in one mask gets the light curve.

The outcome does not depend on the order in which results come: a target that was measured before the brighter star whose
mask holds it loses its result, and those that it had made SKIPPED are to do again. So a run with many workers gives the
same rows as one that goes through the targets from bright to faint.
"""

import math

from ..errors import ArgumentError
from ..status import STATUS
from .schema import BriefDiagnostics, star_label

_SKIPPED = int(STATUS.SKIPPED)

_TARGET = (
    "SELECT starid, sector, camera, ccd, cadence, datasource, tmag FROM todolist WHERE priority = ?"
)
_SKIPPED_ONLY_BY = f"""SELECT priority FROM photometry_skipped JOIN todolist USING (priority)
    WHERE skipped_by = ?1 AND status = {STATUS.SKIPPED:d} AND NOT EXISTS (
        SELECT 1 FROM photometry_skipped other WHERE other.priority = todolist.priority AND other.skipped_by != ?1)"""
_SAME_IMAGES = "sector IS ? AND camera IS ? AND ccd IS ? AND cadence IS ?"


def in_batches(results, superseded):
    """Split results into lists that can be saved together.

    A result that touches other targets goes alone, so that those that come after it meet with what it did. So does one
    of a task that was superseded, SKIPPED by another result while it was running; and one of a task that occurs twice.

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
        texts.append("\n".join(errors) if errors else None)
        rows.append(result.row(texts[-1]))
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
    datasources = ("tpf", f"tpf:{starid}") if datasource == "tpf" else (datasource,)
    rivals = [row for other in others for row in _rows(cursor, other, images, datasources)]
    if not rivals:
        return [], [("not skipped", [(priority,)]), ("skips nobody", [(priority,)])], False, None
    return _brightest_wins(cursor, priority, tmag, rivals)


def _skipped_by_primary(cursor, priority, primary, images):
    rows = _rows(cursor, primary, images, ("tpf",))
    if not rows:
        *_, cadence = images
        label = star_label(primary, "tpf", cadence)
        error = f"TargetNotFoundError: Could not find primary TPF target ({label})"
        return [], [("not skipped", [(priority,)])], True, error
    return [], [("not skipped", [(priority,)]), ("skipped", [(priority, rows[0][0])])], True, None


def _brightest_wins(cursor, priority, tmag, rivals):
    """The brighter star keeps its light curve; of equally bright ones that with the lower priority number.

    The losers lose the results that they may have, and what only they had made SKIPPED is to do again.
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


def _rows(cursor, starid, images, datasources):
    """Priority and tmag of a star among the same images.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    starid : int
    images : tuple, sector, camera, ccd, cadence
    datasources : tuple of str, any of which will do
    """
    marks = ", ".join("?" * len(datasources))
    sql = f"SELECT priority, tmag FROM todolist WHERE starid = ? AND {_SAME_IMAGES} AND datasource IN ({marks})"
    return cursor.execute(sql, (starid, *images, *datasources)).fetchall()


def _brightness(row):
    priority, tmag = row
    is_number = isinstance(tmag, (int, float)) and tmag == tmag
    return (tmag if is_number else math.inf, priority)
