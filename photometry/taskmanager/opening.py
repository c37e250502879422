"""Opening a TODO-file: connect, migrate, and replay what a killed run left in its journals."""

import contextlib
import fcntl
import os
import sqlite3

from ..errors import TodoFileError, TryAgainError
from . import schema
from .changes import apply
from .check import fingerprint, has_unfinished_business, read_only
from .connection import Connection
from .journal import JournalError, check_segments, read_changes, set_aside
from .migrations import migrate

# wrong SQL, not the disk: https://www.sqlite.org/rescode.html; Python 3.10 does not tell
_SQLITE_ERROR = 1


def connect(path):
    """Connection of the one owner of a TODO-file.

    Raises
    ------
    TodoFileError : another program has it open, or it cannot be written
    """
    options = "mode=rw" if _can_lock(path) else "mode=rw&nolock=1"
    conn = sqlite3.connect(
        f"{path.as_uri()}?{options}", uri=True, check_same_thread=False, factory=Connection
    )
    try:
        conn.execute("PRAGMA locking_mode = EXCLUSIVE")
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        conn.close()
        raise TodoFileError(
            f"{path}: another program has it open, or it cannot be written ({error})"
        ) from None
    return conn


def recover(path):
    """Tidy up after a run that was killed: SQLite folds its log in, half-written copies of the file are removed."""
    for part in path.parent.glob(f".{path.name.split('.')[0]}-*.part{''.join(path.suffixes[-2:])}"):
        part.unlink()
    if has_unfinished_business(path):
        try:
            with contextlib.closing(connect(path)) as conn:
                conn.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.DatabaseError as error:
            raise TodoFileError(
                f"{path}: damaged, what a killed run left cannot be folded in ({error})"
            ) from None


def load(path):
    """The database of a plain file, in memory."""
    conn = sqlite3.connect(":memory:", check_same_thread=False, factory=Connection)
    with contextlib.closing(read_only(path)) as disk:
        disk.backup(conn)
    return conn


def identity(conn, path):
    """Id and generation of a TODO-file; one that was never ours is called after its content."""
    if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'todo_settings'").fetchone():
        return fingerprint(path), 1
    settings = dict(conn.execute("SELECT key, value FROM todo_settings").fetchall())
    return settings["id"], int(settings["generation"])


def find_journals(path, todo_id, generation):
    """The journals to be replayed. Those that cannot be are set aside, all of them, with a message in the log."""
    try:
        return check_segments(path, todo_id, generation)
    except JournalError as error:
        set_aside(path, error)
        return []


def bring_up_to_date(conn, path, journals, todo_id, generation):
    """Migrate a database and replay journals into it, in one transaction.

    Parameters
    ----------
    conn : sqlite3.Connection, of the file, or of a copy on disk or in memory
    path : Path of the TODO-file
    journals : list of journal.Segment
    todo_id, generation : see `identity`

    Returns
    -------
    generation, crc : int, what the next journal is called, and what it follows

    Raises
    ------
    TodoFileError : a file of another tool that cannot be migrated
    TryAgainError : the disk is full or gone
    """
    try:
        return replay(conn, journals, todo_id, generation)
    except sqlite3.IntegrityError as error:
        if not journals:
            raise _cannot_migrate(path, error) from error
        conn.execute("ROLLBACK")
        set_aside(path, f"it does not fit the file: {error}")
        return replay(conn, [], todo_id, generation)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == _SQLITE_ERROR:
            raise _cannot_migrate(path, error) from error
        raise TryAgainError(f"{path}: cannot be written ({error})") from error


def _cannot_migrate(path, error):
    return TodoFileError(
        f"{path}: the tables of an older tool cannot be brought up to date ({error}); make it anew"
    )


def replay(conn, journals, todo_id, generation):
    """Migrate, replay and stamp, in one transaction; returns and parameters as for `bring_up_to_date`."""
    cursor = conn.cursor()
    cursor.execute("BEGIN")
    migrate(conn)
    for journal in journals:
        for changes in read_changes(journal):
            apply(cursor, changes)
    generation, crc = (
        (journals[-1].generation + 1, journals[-1].crc) if journals else (generation, 0)
    )
    stamp(cursor, todo_id, generation)
    cursor.execute("COMMIT")
    return generation, crc


def stamp(cursor, todo_id, generation):
    """Write into the database which file it is, and which journals it has in it."""
    settings = {"id": todo_id, "generation": str(generation), "format": str(schema.FORMAT)}
    cursor.executemany(
        "INSERT OR REPLACE INTO todo_settings (key, value) VALUES (?, ?)", settings.items()
    )


def _can_lock(path):
    """False where the file system has no locks, as some network file systems."""
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
