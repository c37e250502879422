"""TODO-files that are made: from rows (`create_todo`), several of one for job arrays
(`split_todo`), and one of those again (`merge_todos`)."""

import contextlib
import filecmp
import hashlib
import itertools
import json
import logging
import sqlite3
import uuid
from collections import Counter
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, TodoFileError
from ..files import abandoned_parts, atomic_write
from . import schema
from .lock import locked
from .opening import find_todo_file, identity
from .view import open_view

log = logging.getLogger(__name__)

_REQUIRED = ("starid", "sector", "camera", "ccd", "cadence", "tmag")
_CHUNK = 100_000


def create_todo(path, rows):
    """Write a new TODO-file. It appears whole or not at all; an existing file is replaced.

    Parameters
    ----------
    path : path of the file, usually ``todo.sqlite`` in the input folder
    rows : iterable of dict, structured array, or astropy table
        Columns of ``todolist`` by name; ``starid``, ``sector``, ``camera``, ``ccd``, ``cadence``
        (s) and ``tmag`` are required. Where ``priority`` is missing, rows are numbered from 1 in
        the given order. NaN and empty text become NULL, a missing ``datasource`` becomes ``'ffi'``.

    Returns
    -------
    n_rows : int

    Raises
    ------
    TodoFileError
        A required column is missing, a column is unknown, or two rows are the same target (same
        star, sector, camera, CCD, cadence and data source).
    """
    path = Path(path)
    names, chunks = _chunks(rows, path)
    with (
        atomic_write(path) as part,
        contextlib.closing(sqlite3.connect(part, isolation_level=None)) as conn,
    ):
        return _write(conn, names, chunks, path)


def create_tables(conn, todo_id):
    """Create all tables of a TODO-file, without the indices that are cheaper to make once the rows
    are there.
    """
    for sql in (schema.TODOLIST, *schema.PROGRESS_TABLES, *schema.OUR_TABLES):
        conn.execute(sql)
    conn.execute(
        "INSERT OR IGNORE INTO todo_settings (key, value) VALUES ('id', ?), ('generation', '1')",
        [todo_id],
    )


def create_indices(conn, path):
    """Index the rows; two rows that are the same target are refused."""
    try:
        conn.execute(schema.IDENTITY_INDEX)
    except sqlite3.IntegrityError:
        raise TodoFileError(f"{path}: {_first_duplicate(conn)}") from None
    try:
        conn.execute(schema.DIAGNOSTICS_INDEX)
    except sqlite3.IntegrityError as error:
        raise TodoFileError(f"{path}: two tasks have the same light-curve file ({error})") from None
    conn.execute(schema.TODO_INDEX)


def _write(conn, names, chunks, path):
    conn.execute("PRAGMA journal_mode = OFF")  # the part file is thrown away if anything fails
    conn.execute("PRAGMA synchronous = OFF")
    conn.execute("BEGIN")
    create_tables(conn, uuid.uuid4().hex)
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
    """A value that SQLite stores as what it is: numpy scalars as numbers, NaN and empty text as
    NULL.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is np.ma.masked or value == "" or value != value or value is None:
        return _empty(name)
    return value


def _empty(name):
    return "ffi" if name == "datasource" else None


# --- split and merge

# A secondary target belongs to the star in whose target pixel file it lies; they are never
# separated, because whether one of them is skipped depends on the others.
_FAMILY = (
    "CASE WHEN datasource LIKE 'tpf:%' THEN CAST(substr(datasource, 5) AS INTEGER) ELSE starid END"
)
_TABLES = {
    "todolist": tuple(schema.TODOLIST_COLUMNS),
    "diagnostics": tuple(schema.DIAGNOSTICS_COLUMNS),
    "photometry_skipped": ("priority", "skipped_by"),
    "attempt_records": tuple(schema.ATTEMPTS_COLUMNS),
    "overrides": ("priority", "settings"),
    "original_methods": ("priority", "method"),
}


def split_todo(todo_file, folder=None, *, by="ccd", parts=None):
    """Split a TODO-file into several that can be worked on at the same time; the original stays as
    it is.

    The parts appear when all of them are whole. After a split that was killed, the same call does
    it anew.

    Parameters
    ----------
    todo_file : path of a TODO-file, or of its folder
    folder : path, optional
        Where the parts go, as ``todo-NAME.sqlite``; the folder of the TODO-file if None.
    by : 'ccd' or 'count'
        One part for each sector, camera and CCD; or ``parts`` parts of nearly the same size, each
        with bright and faint targets. Stars that may skip one another stay together when split by
        CCD. Split by count only the targets of one target pixel file do.
    parts : int, with ``by='count'``

    Returns
    -------
    paths : list of Path

    Raises
    ------
    TodoFileError : the file is not a TODO-file, or is in use, or another file has the name of a
        part
    """
    path, expression = find_todo_file(todo_file), _part(by, parts)
    folder = path.parent if folder is None else Path(folder)
    with _snapshot(path) as source, contextlib.ExitStack() as stack:
        source.execute("CREATE TEMP TABLE split (priority INTEGER PRIMARY KEY, part TEXT)")
        source.execute(f"INSERT INTO split SELECT priority, {expression} FROM todolist")
        names = [row[0] for row in source.execute("SELECT DISTINCT part FROM split ORDER BY part")]
        targets = [folder / f"{path.stem}-{name}.sqlite" for name in names]
        for name, target in zip(names, targets, strict=True):
            _remove_abandoned(target)
            file = stack.enter_context(atomic_write(target))
            part_id = "-".join([*identity(source, path)[:1], by, str(parts), name])
            with contextlib.closing(
                _create(file, hashlib.md5(part_id.encode()).hexdigest())
            ) as conn:
                _copy_runs(source, conn, {})
                _copy(source, conn, part=name)
                _finish(conn, target)
            # One that a killed split had finished is the same, byte for byte.
            if target.exists() and not filecmp.cmp(file, target, shallow=False):
                raise TodoFileError(
                    f"{target}: exists already; move it away or name another folder"
                )
    return targets


def merge_todos(paths, output):
    """Merge TODO-files into one, with their diagnostics, skipped targets, attempts and runs.

    Priorities stay as they are if none is in two files, as after `split_todo`; else tasks are
    numbered anew, brightest first.

    Parameters
    ----------
    paths : iterable of paths of TODO-files, or of their folders
    output : path of the new file

    Returns
    -------
    n_rows : int

    Raises
    ------
    TodoFileError : a file is named twice, a target is there twice, two tasks have the same
        light-curve file, or the output exists already
    """
    output, paths = Path(output), [find_todo_file(path) for path in paths]
    if output.exists():
        raise TodoFileError(f"{output}: exists already; move it away or name another file")
    for path, times in Counter(path.resolve() for path in paths).items():
        if times > 1:
            raise TodoFileError(f"{path}: named {times} times; each part can be merged once")
    _remove_abandoned(output)
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(_snapshot(path)) for path in paths]
        numbers, known_runs = _numbering(sources), {}
        with (
            atomic_write(output) as part,
            contextlib.closing(_create(part, uuid.uuid4().hex)) as conn,
        ):
            for source, number in zip(sources, numbers, strict=True):
                runs = _copy_runs(source, conn, known_runs)
                _copy(source, conn, number=number, runs=runs)
            return _finish(conn, output)


@contextlib.contextmanager
def _snapshot(path):
    """The database of a TODO-file in memory, journals of a killed run included; no run can begin
    meanwhile.
    """
    with locked(path), open_view(path, is_ours=True) as view:
        if view.problem:
            log.error("%s: %s", path, view.problem)
        view.conn.execute("PRAGMA query_only = OFF")
        view.conn.row_factory = None
        yield view.conn


def _remove_abandoned(path):
    for part in abandoned_parts(path):
        part.unlink(missing_ok=True)


def _part(by, parts):
    """SQL expression for the name of the part that a row of todolist goes to."""
    if by == "ccd":
        return "printf('s%03d-%d-%d', sector, camera, ccd)"
    if by != "count":
        raise ArgumentError(f"by={by!r}: expected 'ccd' or 'count'")
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        raise ArgumentError(f"parts={parts!r}: expected a whole number, at least 1")
    rank = f"(DENSE_RANK() OVER (ORDER BY {_FAMILY}) - 1) % {parts}"
    return f"printf('%0{len(str(parts))}d', {rank} + 1)"


def _create(path, todo_id):
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA journal_mode = OFF")
    conn.execute("PRAGMA synchronous = OFF")
    create_tables(conn, todo_id)
    return conn


def _finish(conn, path):
    create_indices(conn, path)
    conn.commit()
    return conn.execute("SELECT COUNT(*) FROM todolist").fetchone()[0]


def _numbering(sources):
    """For each file a dict, old priority -> new priority; None where all stay as they are."""
    rows = [
        (tmag is None, tmag, number, priority)
        for number, source in enumerate(sources)
        for priority, tmag in source.execute("SELECT priority, tmag FROM todolist")
    ]
    if len({row[-1] for row in rows}) == len(rows):
        return [None] * len(sources)
    numbers = [{} for _ in sources]
    for new, (_, _, number, priority) in enumerate(sorted(rows), 1):
        numbers[number][priority] = new
    return numbers


def _copy(source, conn, *, part=None, number=None, runs=None):
    """Copy the rows of all tables, of one part only if it is named, with new priorities and run
    numbers.

    Parameters
    ----------
    source, conn : sqlite3.Connection, from and to
    part : str or None
    number : dict, old priority -> new one; None where they stay
    runs : dict, old number of a run -> new one; None where they stay
    """
    for table, columns in _TABLES.items():
        rows = source.execute(_select(table, columns, part), [] if part is None else [part])
        changes = [_renumber(name, number, runs) for name in columns]
        if any(changes):
            rows = (
                tuple(c(v) if c else v for c, v in zip(changes, row, strict=True)) for row in rows
            )
        marks = ", ".join("?" * len(columns))
        conn.executemany(f"INSERT INTO {table} ({_quoted(columns)}) VALUES ({marks})", rows)
    _copy_blocks(source, conn, part, number, runs)


def _copy_blocks(source, conn, part, number, runs):
    """Copy of each block of attempts what belongs to the part; parameters as for `_copy`."""
    columns = schema.AttemptBlock._fields
    marks = ", ".join("?" * len(columns))
    sql = f"INSERT OR REPLACE INTO attempt_blocks ({_quoted(columns)}) VALUES ({marks})"
    members = None
    if part is not None:
        rows = source.execute("SELECT priority FROM split WHERE part = ?", [part])
        members = {priority for (priority,) in rows}
    for row in source.execute(f"SELECT {_quoted(columns)} FROM attempt_blocks ORDER BY rowid"):
        block = schema.AttemptBlock(*row)
        attempts = [
            attempt if number is None else [number.get(attempt[0], attempt[0]), *attempt[1:]]
            for attempt in json.loads(block.attempts)
            if members is None or attempt[0] in members
        ]
        if attempts:
            block = block._replace(
                run=block.run if runs is None else runs.get(block.run),
                first=attempts[0][0],
                start=attempts[0][1],
                attempts=json.dumps(attempts, separators=(",", ":")),
            )
            conn.execute(sql, block)


def _copy_runs(source, conn, known):
    """Copy the runs that are not in ``known`` yet; returns the new number of each."""
    others = [name for name in schema.RUNS_COLUMNS if name != "run"]
    numbers = {}
    for number, *run in source.execute(
        f"SELECT run, {_quoted(others)} FROM runs ORDER BY run"
    ).fetchall():
        run = tuple(run)
        if run not in known:
            known[run] = len(known) + 1
            marks = ", ".join("?" * len(schema.RUNS_COLUMNS))
            sql = f"INSERT INTO runs (run, {_quoted(others)}) VALUES ({marks})"
            conn.execute(sql, (known[run], *run))
        numbers[number] = known[run]
    return numbers


def _select(table, columns, part):
    sql = f"SELECT {_quoted(columns)} FROM {table}"
    if part is None:
        return sql
    keys = ("priority", "skipped_by") if table == "photometry_skipped" else ("priority",)
    return f"{sql} WHERE " + " AND ".join(
        f"{key} IN (SELECT priority FROM split WHERE part = ?1)" for key in keys
    )


def _quoted(columns):
    return ", ".join(f'"{name}"' for name in columns)


def _renumber(column, number, runs):
    """What is to be done to a value of this column, or None."""
    if column in ("priority", "skipped_by") and number is not None:
        return number.get
    if column == "run" and runs is not None:
        return runs.get
    return None
