"""What a run would do, without doing it."""

import contextlib
import sqlite3
from pathlib import Path

from ..errors import TodoFileError
from ..taskmanager import build_constraints
from ..taskmanager.check import check_todo_file, find_todo_file

# What opening the TODO-file for a run puts back to "to do": STARTED, ABORT, ERROR.
TO_DO = "(status IS NULL OR status IN (6, 4, 2))"


def preview(todo_file, constraints, limit=None):
    """Sentences that say how many targets would be done, of which kind, and which are first.

    Parameters
    ----------
    todo_file : path; only read
    constraints : dict of build_constraints arguments
    limit : int or None
    """
    todo_file = find_todo_file(todo_file)
    check_todo_file(todo_file)
    where = f"WHERE {TO_DO}{build_constraints(**constraints)}"
    kinds = f"SELECT datasource, camera, ccd, cadence, method, COUNT(*) FROM (SELECT *, SUBSTR(datasource, 1, 3) AS source FROM todolist {where}) GROUP BY source, camera, ccd, cadence, method"
    first = (
        f"SELECT priority, starid, datasource, tmag FROM todolist {where} ORDER BY priority LIMIT 5"
    )
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{Path(todo_file).resolve()}?mode=ro", uri=True)
        ) as conn:
            kinds, first = conn.execute(kinds).fetchall(), conn.execute(first).fetchall()
    except sqlite3.DatabaseError as error:
        raise TodoFileError(f"{todo_file}: cannot be read: {error}") from None
    return "\n".join(_lines(kinds, first, limit))


def _lines(kinds, first, limit):
    total = sum(kind[-1] for kind in kinds)
    yield f"{total if limit is None else min(total, limit)} targets would be done" + (
        "" if limit is None else f" of {total} that match"
    )
    for datasource, camera, ccd, cadence, method, number in kinds:
        yield f"{number:>9}  {datasource[:3]}  camera {camera}  CCD {ccd}  {cadence} s  method {method or 'chosen by the target'}"
    for priority, starid, datasource, tmag in first:
        yield (
            f"priority {priority}: star {starid} ({datasource}), tmag {tmag:.2f}"
            if tmag is not None
            else f"priority {priority}: star {starid} ({datasource})"
        )
