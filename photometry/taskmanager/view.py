"""`open_view`: a TODO-file as the next run would find it, without changing one byte; and
`select_tasks`: which of its tasks a user means.

Rows, the changes of a killed run that are still in its journal, and tables of older tools brought
up to date: what a run would see after taking the file over, in memory, where nothing of it lasts.
All that looks goes through here. It works beside a run, too: on disk as SQLite shows it to other
processes, in memory as of the last result that is in the journal.
"""

import contextlib
import shutil
import sqlite3
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, TodoFileError, TryAgainError
from ..status import STATUS
from .journal import Segments, read_segments
from .lock import Owner, owner_of
from .opening import (
    Connection,
    check_file,
    check_todo_file,
    damage_reported,
    find_todo_file,
    has_unfinished_business,
    identity,
    load,
    replay,
)
from .selection import SET_ASIDE, build_constraints, cleanup_conditions, to_do_condition
from .store import Store

_TRIES = 5  # a run may replace the file between our looks at it and at its journals
_TASK = "priority, starid, method, sector, camera, ccd, cadence, datasource, tmag"


_KEPT_CHANGES = "SELECT priority FROM overrides UNION SELECT priority FROM original_methods"
# The class of the error of the last attempt; where no attempt was recorded, what the text of the
# errors begins with.
_ERROR_CLASS = """CASE WHEN diagnostics.errors IS NOT NULL THEN COALESCE(
    (SELECT error_class FROM attempt_records AS a WHERE a.priority = todolist.priority
     ORDER BY start DESC LIMIT 1),
    substr(diagnostics.errors, 1, instr(diagnostics.errors, ':') - 1)) END"""


@dataclass
class View:
    """A TODO-file that is looked at; a context manager.

    Attributes
    ----------
    path : Path
    conn : sqlite3.Connection of a database in memory
    owner : lock.Owner or None, who has the file open
    pending : int, changes that are in the journal and not in the file
    problem : str or None, why a journal can be replayed in part only
    """

    path: Path
    conn: Connection = field(repr=False)
    owner: Owner | None = None
    pending: int = 0
    problem: str | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.conn.close()

    @damage_reported()
    def query(self, sql, parameters=()):
        """All rows of a query, as tuples."""
        return self.conn.own_cursor().execute(sql, parameters).fetchall()

    def to_do(self, constraints=None, *, max_attempts=3, overwrite=False):
        """SQL condition for the rows of ``todolist`` that a run would do: the same rule as the
        run's own.

        Parameters
        ----------
        constraints : dict of build_constraints arguments, or None
        max_attempts : int
        overwrite : bool
        """
        conditions = cleanup_conditions(constraints or {})
        return to_do_condition(conditions, max_attempts=max_attempts, overwrite=overwrite)

    def kinds(self, condition):
        """How many tasks of each kind match an SQL condition: (datasource without star, camera,
        ccd, cadence, method, number).
        """
        return self.query(
            "SELECT SUBSTR(datasource, 1, 3) AS source, camera, ccd, cadence, method, COUNT(*) "
            "FROM todolist"
            f" WHERE {condition} GROUP BY source, camera, ccd, cadence, method"
        )

    def matches(self, constraints):
        """How many rows match constraints, whatever their status."""
        (row,) = self.query(
            f"SELECT COUNT(*) FROM todolist WHERE 1{cleanup_conditions(constraints)}"
        )
        return row[0]

    def tasks(self, condition="1", limit=-1):
        """Tasks, as dicts, in the order of priority.

        Parameters
        ----------
        condition : str, SQL
        limit : int, at most so many; -1: all
        """
        sql = f"SELECT {_TASK} FROM todolist WHERE {condition} ORDER BY priority LIMIT ?"
        keys = _TASK.split(", ")
        return [dict(zip(keys, row, strict=True)) for row in self.query(sql, [limit])]


@damage_reported()
def open_view(todo_file, *, is_ours=False):
    """Look at a TODO-file.

    Parameters
    ----------
    todo_file : path of a TODO-file, or of its folder
    is_ours : bool, this process has locked it, so that no run works on it

    Returns
    -------
    View

    Raises
    ------
    FileNotFoundError : there is no such file
    TodoFileError : it is not a whole TODO-file
    """
    path = find_todo_file(todo_file)
    for remaining in reversed(range(_TRIES)):
        owner = owner_of(path)
        is_alive = owner is not None and owner.state != "dead" and not is_ours
        try:
            conn = _load(path, is_alive)
        except TodoFileError:
            if not is_alive or not remaining:
                raise
            time.sleep(0.1)
            continue
        try:
            todo_id, generation = identity(conn, path)
            segments = read_segments(path, todo_id, generation)
            if not (segments.problem and is_alive and remaining):
                segments = _replay(conn, path, segments, todo_id, generation)
                conn.execute("PRAGMA query_only = ON")
                conn.row_factory = sqlite3.Row
                pending = sum(segment.n_changes for segment in segments.good)
                return View(path, conn, owner, pending, segments.problem)
        except BaseException:
            conn.close()
            raise
        conn.close()
        time.sleep(0.1)
    raise TryAgainError(f"{path}: changes too fast to be looked at; try again")


def read_results(todo_file):
    """All targets of a TODO-file with what became of them.

    Parameters
    ----------
    todo_file : path; only read, see `open_view`

    Returns
    -------
    astropy.table.Table : the columns of ``todolist`` and ``diagnostics``, one row a target, by
        priority. Numbers that are not there are NaN or masked; ``lightcurve`` is relative to the
        output folder.
    """
    with open_view(todo_file) as view:
        return results_table(view.conn)


def results_table(conn):
    """As `read_results`, of an open TODO-file.

    Parameters
    ----------
    conn : Connection of a TaskManager or of a view
    """
    from astropy.table import Table

    cursor = conn.cursor()
    cursor.row_factory = None
    cursor.execute(
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


@damage_reported()
def select_tasks(
    conn, *, statuses=(), error_class=None, message=None, set_aside_after=None, changed=False,
    **constraints,
):  # fmt: skip
    """Tasks of a TODO-file that were touched and match all that is asked.

    Parameters
    ----------
    conn : connection of a TaskManager or of a view
    statuses : iterable of STATUS or names of it
    error_class : str, as ``ValueError``
    message : str, a part of the errors, whatever the case of the letters
    set_aside_after : int, optional
        Leave out those that took their worker down so many times.
    changed : bool
        Tasks that are to do with another method or other settings count as touched, too.
    **constraints : see `build_constraints`

    Returns
    -------
    tasks : list of dict, with priority, starid, datasource, method, status (name), error_class and
        errors, by priority
    """
    conditions, parameters = build_constraints(**constraints, return_list=True), []
    codes = [int(parse_status(status)) for status in statuses]
    if codes:
        conditions.append(f"todolist.status IN ({', '.join(map(str, codes))})")
    elif changed:
        conditions.append(
            f"(todolist.status IS NOT NULL OR todolist.priority IN ({_KEPT_CHANGES}))"
        )
    else:
        conditions.append("todolist.status IS NOT NULL")
    if error_class is not None:
        conditions.append(f"{_ERROR_CLASS} = ?")
        parameters.append(error_class)
    if message is not None:
        conditions.append("instr(lower(diagnostics.errors), lower(?)) > 0")
        parameters.append(message)
    if set_aside_after is not None:
        conditions.append(f"NOT {SET_ASIDE.format(set_aside_after)}")
    keys = {
        "priority": "todolist.priority",
        "starid": "todolist.starid",
        "datasource": "todolist.datasource",
        "sector": "todolist.sector",
        "camera": "todolist.camera",
        "ccd": "todolist.ccd",
        "cadence": "todolist.cadence",
        "method": "todolist.method",
        "status": "todolist.status",
        "error_class": _ERROR_CLASS,
        "errors": "diagnostics.errors",
    }
    sql = f"""SELECT {", ".join(keys.values())} FROM todolist LEFT JOIN diagnostics USING (priority)
        WHERE {" AND ".join(conditions)} ORDER BY todolist.priority"""
    rows = conn.own_cursor().execute(sql, parameters).fetchall()
    tasks = [dict(zip(keys, row, strict=True)) for row in rows]
    return [task | {"status": status_name(task["status"])} for task in tasks]


def status_name(code):
    """Name of a status as it is stored; ``'to do'`` for NULL, the number itself where it is no
    STATUS.
    """
    if code is None:
        return "to do"
    try:
        return STATUS(code).name
    except ValueError:
        return str(code)


def parse_status(status):
    """A STATUS from its name, in any case, or its number.

    Raises
    ------
    ArgumentError
    """
    try:
        return STATUS[status.upper()] if isinstance(status, str) else STATUS(status)
    except (KeyError, ValueError):
        raise ArgumentError(
            f"status={status!r}: expected one of {', '.join(STATUS.__members__)}"
        ) from None


# --- the copy that is looked at


def _replay(conn, path, segments, todo_id, generation):
    """Bring the copy up to date; returns what of the journals is in it."""
    try:
        replay(conn, segments, todo_id, generation)
        return segments
    except sqlite3.IntegrityError as error:
        if not segments.good:
            raise TodoFileError(
                f"{path}: the tables of an older tool cannot be brought up to date ({error}); "
                "make it anew"
            ) from None
        replay(conn, Segments([]), todo_id, generation)
        return Segments([], f"its journal does not fit the file: {error}")
    except sqlite3.OperationalError as error:
        raise TodoFileError(
            f"{path}: the tables of an older tool cannot be brought up to date ({error}); make it "
            "anew"
        ) from None
    except sqlite3.DatabaseError as error:
        raise TodoFileError(f"{path}: damaged ({error})") from None


def _load(path, is_alive):
    """The database of the file in memory, with everything in it that SQLite has."""
    check_file(path)
    if not has_unfinished_business(path):
        check_todo_file(path)
        return load(path)
    if is_alive:  # on disk, under the hands of a run
        try:
            with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as disk:
                conn = sqlite3.connect(":memory:", check_same_thread=False, factory=Connection)
                disk.backup(conn)
                return conn
        except sqlite3.DatabaseError as error:
            raise TodoFileError(f"{path}: cannot be read beside the run ({error})") from None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / path.name
        for end in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{end}", f"{copy}{end}")
        try:
            with contextlib.closing(sqlite3.connect(copy)) as conn:
                conn.execute("PRAGMA journal_mode = DELETE")
            check_todo_file(copy)
        except (TodoFileError, sqlite3.DatabaseError) as error:
            raise TodoFileError(str(error).replace(str(copy), str(path))) from None
        return load(copy)


class ViewStore(Store):
    """A database that is only looked at, for a TaskManager with ``read_only``.

    Parameters
    ----------
    path : Path of the TODO-file
    conn : Connection, which refuses to change anything
    """

    is_on_disk = False

    def __init__(self, path, conn):
        self.path, self.conn, self.cursor = path, conn, conn.own_cursor()
        self.seen = conn.total_changes

    def write(self, changes):
        raise TodoFileError(
            f"{self.path}: is open to be looked at only; open it without read_only=True to change "
            "it"
        )

    def vacuum(self):
        self.write(())

    def close(self):
        self.conn.close()
