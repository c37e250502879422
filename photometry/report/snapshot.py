"""What a TODO-file says, with the changes of a killed run that are still in its journal, without changing one byte.

For verbs that only look. A run would take the file over, replay the journal, and tidy up.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from ..errors import TodoFileError, WrongUseError
from ..taskmanager.check import check_todo_file, has_unfinished_business
from ..taskmanager.journal import JournalError, check_segments
from ..taskmanager.lock import Lock
from ..taskmanager.opening import identity, load, replay
from .status import SUMMARY_NAME


@contextlib.contextmanager
def snapshot(todo_file):
    """The database of a TODO-file as the next run would find it, in memory.

    Parameters
    ----------
    todo_file : absolute Path, as `taskmanager.check.find_todo_file` returns it; no run may be working on it

    Yields
    ------
    conn : sqlite3.Connection, brought up to date with our tables and the journal; what is written to it is lost
    pending : int, changes that are in the journal and not in the file

    Raises
    ------
    TodoFileError : it is not a whole TODO-file
    JournalError : its journal cannot be replayed
    """
    with _plain_file(todo_file) as plain:
        conn = load(plain)
    with contextlib.closing(conn):
        todo_id, generation = identity(conn, todo_file)
        journals = check_segments(todo_file, todo_id, generation)
        try:
            replay(conn, journals, todo_id, generation)
        except sqlite3.IntegrityError as error:
            raise JournalError(
                f"{todo_file}: its journal does not fit the file ({error})"
            ) from None
        yield conn, sum(journal.n_changes for journal in journals)


@contextlib.contextmanager
def locked(todo_file, *, steal=False):
    """Keep runs away from a TODO-file while it is looked at; where nothing can be written, there are none to keep away.

    Raises
    ------
    TodoFileError : a run is working on it
    """
    if not os.access(todo_file.parent, os.W_OK):
        yield
        return
    lock = Lock(todo_file, steal=steal)
    try:
        yield
    finally:
        lock.release()


def output_folder(todo_file, output=None):
    """Where the light curves of a TODO-file are: as told, else where the last run says, else beside it.

    Raises
    ------
    WrongUseError : the folder that was told is not there
    """
    if output is not None:
        if not Path(output).is_dir():
            raise WrongUseError(
                f"--output {output}: there is no such folder; expected the folder of the light curves"
            )
        return Path(output)
    told = _told_output(todo_file)
    return told if told is not None and told.is_dir() else todo_file.parent / "lightcurves"


def _told_output(todo_file):
    """The output folder that the summary of the last run names; if it lay below the TODO-file's, both may have moved."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        summary = json.loads((todo_file.parent / SUMMARY_NAME).read_text(encoding="utf-8"))
        output, folder = Path(summary["output"]), Path(summary["todo_file"]).parent
        return (
            todo_file.parent / output.relative_to(folder)
            if output.is_relative_to(folder)
            else output
        )
    return None


@contextlib.contextmanager
def _plain_file(todo_file):
    """A file with everything in it that SQLite has; a copy where a log of SQLite's own lies beside it."""
    if not has_unfinished_business(todo_file):
        check_todo_file(todo_file)
        yield todo_file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / todo_file.name
        for end in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{todo_file}{end}", f"{copy}{end}")
        try:
            with contextlib.closing(sqlite3.connect(copy)) as conn:
                conn.execute("PRAGMA journal_mode = DELETE")
            check_todo_file(copy)
        except (TodoFileError, sqlite3.DatabaseError) as error:
            raise TodoFileError(str(error).replace(str(copy), str(todo_file))) from None
        yield copy
