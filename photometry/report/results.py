"""What a TODO-file says of its targets, as a table."""

import contextlib
import sqlite3
from pathlib import Path

import numpy as np


def read_results(todo_file):
    """All targets of a TODO-file with what became of them.

    Parameters
    ----------
    todo_file : path; only read, and not to be asked while a run works on the file

    Returns
    -------
    astropy.table.Table : the columns of ``todolist`` and ``diagnostics``, one row a target, by priority. Numbers that
        are not there are NaN or masked; ``lightcurve`` is relative to the output folder.
    """
    from astropy.table import Table

    with contextlib.closing(
        sqlite3.connect(f"file:{Path(todo_file).resolve()}?mode=ro", uri=True)
    ) as conn:
        cursor = conn.execute(
            "SELECT * FROM todolist LEFT JOIN diagnostics USING (priority) ORDER BY priority"
        )
        names = [column[0] for column in cursor.description]
        columns = list(zip(*cursor, strict=True)) or [()] * len(names)
    return Table([_column(values) for values in columns], names=names)


def _column(values):
    """Floats with NaN for NULL; whole numbers and text masked where NULL."""
    kinds = {type(value) for value in values} - {type(None)}
    if float in kinds or not kinds:
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    fill = "" if str in kinds else 0
    return np.ma.array(
        [fill if value is None else value for value in values],
        mask=[value is None for value in values],
    )
