"""`create_todo`: write a new TODO-file from rows."""

import contextlib
import itertools
import sqlite3
import uuid
from pathlib import Path

import numpy as np

from ..errors import TodoFileError
from ..files import atomic_write
from . import schema

_REQUIRED = ("starid", "sector", "camera", "ccd", "cadence", "tmag")
_CHUNK = 100_000


def create_todo(path, rows):
    """Write a new TODO-file. It appears whole or not at all; an existing file is replaced.

    Parameters
    ----------
    path : path of the file, usually ``todo.sqlite`` in the input folder
    rows : iterable of dict, structured array, or astropy table
        Columns of ``todolist`` by name; ``starid``, ``sector``, ``camera``, ``ccd``, ``cadence`` (s) and ``tmag`` are
        required. Where ``priority`` is missing, rows are numbered from 1 in the given order. NaN and empty text
        become NULL, a missing ``datasource`` becomes ``'ffi'``.

    Returns
    -------
    n_rows : int

    Raises
    ------
    TodoFileError
        A required column is missing, a column is unknown, or two rows are the same target (same star, sector, camera,
        CCD, cadence and data source).
    """
    path = Path(path)
    names, chunks = _chunks(rows, path)
    with (
        atomic_write(path) as part,
        contextlib.closing(sqlite3.connect(part, isolation_level=None)) as conn,
    ):
        return _write(conn, names, chunks, path)


def create_tables(conn):
    """Create all tables of a TODO-file, without the indices that are cheaper to make once the rows are there."""
    for sql in (schema.TODOLIST, *schema.PROGRESS_TABLES, *schema.OUR_TABLES):
        conn.execute(sql)
    conn.execute(
        "INSERT OR IGNORE INTO todo_settings (key, value) VALUES ('id', ?), ('generation', '1')",
        [uuid.uuid4().hex],
    )


def create_indices(conn, path):
    """Index the rows; two rows that are the same target are refused."""
    try:
        conn.execute(schema.IDENTITY_INDEX)
    except sqlite3.IntegrityError:
        raise TodoFileError(f"{path}: {_first_duplicate(conn)}") from None
    conn.execute(schema.TODO_INDEX)


def _write(conn, names, chunks, path):
    conn.execute("PRAGMA journal_mode = OFF")  # the part file is thrown away if anything fails
    conn.execute("PRAGMA synchronous = OFF")
    conn.execute("BEGIN")
    create_tables(conn)
    sql = f"INSERT INTO todolist ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for chunk in chunks:
        try:
            conn.executemany(sql, chunk)
        except sqlite3.IntegrityError as error:
            raise TodoFileError(f"{path}: two rows have the same priority ({error})") from None
    create_indices(conn, path)
    conn.execute("COMMIT")
    return conn.execute("SELECT COUNT(*) FROM todolist").fetchone()[0]


def _first_duplicate(conn):
    names = ", ".join(schema.IDENTITY)
    row = conn.execute(
        f"SELECT {names}, COUNT(*) FROM todolist GROUP BY {names} HAVING COUNT(*) > 1 LIMIT 1"
    ).fetchone()
    target = ", ".join(f"{name} {value}" for name, value in zip(schema.IDENTITY, row, strict=False))
    return f"{row[-1]} rows are the same target ({target}); each may be there once"


def _chunks(rows, path):
    """Column names, and an iterator over lists of tuples in their order."""
    rows = rows.as_array() if hasattr(rows, "as_array") else rows
    if getattr(getattr(rows, "dtype", None), "names", None):
        names = _check_names(rows.dtype.names, path)
        return _with_priority(names, _array_chunks(rows, rows.dtype.names))
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return ("priority", *_REQUIRED), iter(())
    names = _check_names(first, path)
    return _with_priority(names, _dict_chunks(itertools.chain([first], rows), names, path))


def _check_names(names, path):
    names = tuple(names)
    for name in names:
        if name not in schema.TODOLIST_COLUMNS:
            raise TodoFileError(
                f"{path}: unknown column {name!r}; expected {', '.join(schema.TODOLIST_COLUMNS)}"
            )
    for name in _REQUIRED:
        if name not in names:
            raise TodoFileError(
                f"{path}: column {name!r} is missing; required are {', '.join(_REQUIRED)}"
            )
    return names


def _with_priority(names, chunks):
    if "priority" in names:
        return names, chunks
    number = itertools.count(1)
    return ("priority", *names), ([(next(number), *row) for row in chunk] for chunk in chunks)


def _array_chunks(rows, names):
    for start in range(0, len(rows), _CHUNK):
        block = rows[start : start + _CHUNK]
        yield list(zip(*(_column(block[name], name) for name in names), strict=True))


def _column(values, name):
    """Python values of one column, with None for NaN, masked and empty ones."""
    listed = np.ma.getdata(values).tolist()
    if values.dtype.kind in "SU":
        listed = [v.decode() if isinstance(v, bytes) else v for v in listed]
        listed = [v.strip() or _empty(name) for v in listed]
    elif values.dtype.kind == "f":
        listed = [None if v != v else v for v in listed]
    elif values.dtype.kind == "O":
        listed = [_scalar(v, name) for v in listed]
    if np.ma.is_masked(values):
        listed = [
            _empty(name) if masked else v
            for v, masked in zip(listed, np.ma.getmaskarray(values), strict=True)
        ]
    return listed


def _dict_chunks(rows, names, path):
    while chunk := list(itertools.islice(rows, _CHUNK)):
        try:
            yield [tuple(_scalar(row[name], name) for name in names) for row in chunk]
        except KeyError as error:
            raise TodoFileError(
                f"{path}: a row lacks {error}; every row must have {', '.join(names)}"
            ) from None


def _scalar(value, name):
    """A value that SQLite stores as what it is: numpy scalars as numbers, NaN and empty text as NULL."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is np.ma.masked or value == "" or value != value or value is None:
        return _empty(name)
    return value


def _empty(name):
    return "ffi" if name == "datasource" else None
