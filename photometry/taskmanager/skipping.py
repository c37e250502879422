"""Which of two stars in one mask gets the light curve: the rules by which targets become SKIPPED.

The outcome does not depend on the order in which results come: a target that was measured before the brighter star whose
mask holds it loses its result, and those that it had made SKIPPED are to do again. So a run with many workers gives the
same rows as one that goes through the targets from bright to faint.
"""

import math

from ..errors import ArgumentError
from ..status import STATUS

_TARGET = (
    "SELECT starid, sector, camera, ccd, cadence, datasource, tmag FROM todolist WHERE priority = ?"
)
_SKIPPED_ONLY_BY = f"""SELECT priority FROM photometry_skipped JOIN todolist USING (priority)
    WHERE skipped_by = ?1 AND status = {STATUS.SKIPPED:d} AND NOT EXISTS (
        SELECT 1 FROM photometry_skipped other WHERE other.priority = todolist.priority AND other.skipped_by != ?1)"""
_SAME_IMAGES = "sector IS ? AND camera IS ? AND ccd IS ? AND cadence IS ?"


def skip(cursor, priority, skip_targets):
    """What a result means for the targets that share its mask.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    priority : int, of the task that the result belongs to
    skip_targets : iterable of int, starid of the other stars in its mask

    Returns
    -------
    statuses : list of (status, priority) of other tasks
    changes : list, as in `changes.apply`
    is_skipped : bool, True where the task itself becomes SKIPPED
    error : str or None, what else has to be told
    """
    row = cursor.execute(_TARGET, (priority,)).fetchone()
    if row is None:
        raise ArgumentError(f"priority={priority!r}: there is no such task")
    starid, *images, datasource, tmag = row
    others = sorted(set(skip_targets) - {starid})
    kind, _, primary = datasource.partition(":")
    primary = int(primary) if kind == "tpf" and primary.isdigit() else None
    if primary in others:
        return _skipped_by_primary(cursor, priority, primary, images)
    datasources = ("tpf", f"tpf:{starid}") if datasource == "tpf" else (datasource,)
    rivals = [row for other in others for row in _rows(cursor, other, images, datasources)]
    if not rivals:
        return [], [("not skipped", [(priority,)]), ("skips nobody", [(priority,)])], False, None
    return _brightest_wins(cursor, priority, tmag, rivals)


def withdraw(cursor, losers):
    """What it means that targets lose the results that they may have.

    Parameters
    ----------
    cursor : sqlite3.Cursor, rows as tuples
    losers : list of int, priorities

    Returns
    -------
    statuses : list of (status, priority): tasks that only the losers had made SKIPPED are to do again
    changes : list, as in `changes.apply`
    """
    freed = [
        (None, priority)
        for loser in losers
        for (priority,) in cursor.execute(_SKIPPED_ONLY_BY, (loser,)).fetchall()
    ]
    rows = [(loser,) for loser in losers]
    return freed, [("no diagnostics", rows), ("skips nobody", rows)]


def _skipped_by_primary(cursor, priority, primary, images):
    rows = _rows(cursor, primary, images, ("tpf",))
    if not rows:
        error = f"TargetNotFoundError: Could not find primary TPF target (TIC {primary})"
        return [], [("not skipped", [(priority,)])], True, error
    return [], [("not skipped", [(priority,)]), ("skipped", [(priority, rows[0][0])])], True, None


def _brightest_wins(cursor, priority, tmag, rivals):
    """The brighter star keeps its light curve; of equally bright ones that with the lower priority number."""
    forget = [("not skipped", [(priority,)]), ("skips nobody", [(priority,)])]
    brightest = min(rivals, key=_brightness)
    if _brightness((priority, tmag)) < _brightness(brightest):
        losers = [rival for rival, _ in rivals]
        freed, withdrawal = withdraw(cursor, losers)
        statuses = [*freed, *((int(STATUS.SKIPPED), loser) for loser in losers)]
        skipped = ("skipped", [(loser, priority) for loser in losers])
        return statuses, [*withdrawal, *forget, skipped], False, None
    return [], [*forget, ("skipped", [(priority, brightest[0])])], True, None


def _rows(cursor, starid, images, datasources):
    """Priority and tmag of a star among the same images."""
    marks = ", ".join("?" * len(datasources))
    sql = f"SELECT priority, tmag FROM todolist WHERE starid = ? AND {_SAME_IMAGES} AND datasource IN ({marks})"
    return cursor.execute(sql, (starid, *images, *datasources)).fetchall()


def _brightness(row):
    priority, tmag = row
    return (math.inf if tmag is None else tmag, priority)
