"""`split_todo` and `merge_todos`: one TODO-file as several, for job arrays, and back."""

import contextlib
import sqlite3
from collections import Counter
from pathlib import Path

from ..errors import ArgumentError, TodoFileError
from ..files import atomic_write
from . import schema
from .check import check_header, check_todo_file, find_todo_file
from .create import create_indices, create_tables
from .lock import Lock
from .opening import bring_up_to_date, find_journals, identity, load, recover

# A secondary target belongs to the star in whose target pixel file it lies; they are never separated, because whether
# one of them is skipped depends on the others.
_FAMILY = (
    "CASE WHEN datasource LIKE 'tpf:%' THEN CAST(substr(datasource, 5) AS INTEGER) ELSE starid END"
)
_TABLES = {
    "todolist": tuple(schema.TODOLIST_COLUMNS),
    "diagnostics": tuple(schema.DIAGNOSTICS_COLUMNS),
    "photometry_skipped": ("priority", "skipped_by"),
    "attempts": tuple(schema.ATTEMPTS_COLUMNS),
    "overrides": ("priority", "settings"),
}


def split_todo(todo_file, folder=None, *, by="ccd", parts=None):
    """Split a TODO-file into several that can be worked on at the same time; the original stays as it is.

    Parameters
    ----------
    todo_file : path of a TODO-file, or of its folder
    folder : path, optional
        Where the parts go, as ``todo-NAME.sqlite``; the folder of the TODO-file if None.
    by : 'ccd' or 'count'
        One part for each sector, camera and CCD; or ``parts`` parts of nearly the same size, each with bright and faint
        targets. Stars that may skip one another stay together when split by CCD. Split by count only the targets of one
        target pixel file do.
    parts : int, with ``by='count'``

    Returns
    -------
    paths : list of Path

    Raises
    ------
    TodoFileError : the file is not a TODO-file, or is in use, or a part exists already
    """
    path = find_todo_file(todo_file)
    folder = path.parent if folder is None else Path(folder)
    with _snapshot(path) as source:
        source.execute("CREATE TEMP TABLE split (priority INTEGER PRIMARY KEY, part TEXT)")
        source.execute(f"INSERT INTO split SELECT priority, {_part(by, parts)} FROM todolist")
        names = [row[0] for row in source.execute("SELECT DISTINCT part FROM split ORDER BY part")]
        targets = [folder / f"{path.stem}-{name}.sqlite" for name in names]
        for target in targets:
            if target.exists():
                raise TodoFileError(
                    f"{target}: exists already; move it away or name another folder"
                )
        for name, target in zip(names, targets, strict=True):
            with atomic_write(target) as file, contextlib.closing(_create(file)) as conn:
                _copy_runs(source, conn, {})
                _copy(source, conn, target, part=name)
                _finish(conn, target)
    return targets


def merge_todos(paths, output):
    """Merge TODO-files into one, with their diagnostics, skipped targets, attempts and runs.

    Priorities stay as they are if no two files share one, as after `split_todo`; else tasks are numbered anew, brightest
    first.

    Parameters
    ----------
    paths : iterable of paths of TODO-files, or of their folders
    output : path of the new file

    Returns
    -------
    n_rows : int

    Raises
    ------
    TodoFileError : a file is named twice, a target is there twice, two tasks have the same light-curve file, or the output exists already
    """
    output, paths = Path(output), [find_todo_file(path) for path in paths]
    if output.exists():
        raise TodoFileError(f"{output}: exists already; move it away or name another file")
    for path, times in Counter(path.resolve() for path in paths).items():
        if times > 1:
            raise TodoFileError(f"{path}: named {times} times; each part can be merged once")
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(_snapshot(path)) for path in paths]
        numbers, known_runs = _numbering(sources), {}
        with atomic_write(output) as part, contextlib.closing(_create(part)) as conn:
            for source, number in zip(sources, numbers, strict=True):
                runs = _copy_runs(source, conn, known_runs)
                _copy(source, conn, output, number=number, runs=runs)
            return _finish(conn, output)


@contextlib.contextmanager
def _snapshot(path):
    """The database of a TODO-file in memory, journals of a killed run included; the file is locked meanwhile."""
    lock = Lock(path)
    try:
        check_header(path)
        recover(path)
        check_todo_file(path)
        with contextlib.closing(load(path)) as conn:
            todo_id, generation = identity(conn, path)
            bring_up_to_date(
                conn, path, find_journals(path, todo_id, generation), todo_id, generation
            )
            yield conn
    finally:
        lock.release()


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


def _create(path):
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA journal_mode = OFF")
    conn.execute("PRAGMA synchronous = OFF")
    create_tables(conn)
    return conn


def _finish(conn, path):
    create_indices(conn, path)
    conn.commit()
    return conn.execute("SELECT COUNT(*) FROM todolist").fetchone()[0]


def _numbering(sources):
    """For each file the new priority of each old one, as a dict; None where all stay as they are."""
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


def _copy(source, conn, path, *, part=None, number=None, runs=None):
    """Copy the rows of all tables, of one part only if it is named, with new priorities and run numbers."""
    for table, columns in _TABLES.items():
        rows = source.execute(_select(table, columns, part), [] if part is None else [part])
        changes = [_renumber(name, number, runs) for name in columns]
        if any(changes):
            rows = (
                tuple(c(v) if c else v for c, v in zip(changes, row, strict=True)) for row in rows
            )
        try:
            conn.executemany(
                f"INSERT INTO {table} ({_quoted(columns)}) VALUES ({', '.join('?' * len(columns))})",
                rows,
            )
        except sqlite3.IntegrityError as error:
            raise TodoFileError(
                f"{path}: two tasks have the same light-curve file ({error})"
            ) from None


def _copy_runs(source, conn, known):
    """Copy the runs that are not there yet; returns the new number of each. ``known`` is kept from file to file."""
    numbers = {}
    for number, *run in source.execute(
        f"SELECT {_quoted(schema.RUNS_COLUMNS)} FROM runs ORDER BY run"
    ).fetchall():
        run = tuple(run)
        if run not in known:
            known[run] = len(known) + 1
            marks = ", ".join("?" * len(schema.RUNS_COLUMNS))
            conn.execute(f"INSERT INTO runs VALUES ({marks})", (known[run], *run))
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
