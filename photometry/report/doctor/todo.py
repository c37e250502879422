"""The TODO-file, its lock and its journal."""

from dataclasses import dataclass

from ...errors import TodoFileError
from ...taskmanager.check import has_unfinished_business
from ...taskmanager.journal import JournalError
from ...taskmanager.lock import owner_of
from ..preview import TO_DO
from ..snapshot import snapshot
from .check import FAIL, OK, WARN, Check


@dataclass(frozen=True)
class Work:
    """What a run would do."""

    kinds: tuple  # of (datasource without star, cadence [s], number of targets)
    n_folders: int  # of light curves, about

    @property
    def total(self):
        """Number of targets to do"""
        return sum(number for _, _, number in self.kinds)


def open_todo_file(path, stack):
    """Look at a TODO-file.

    Parameters
    ----------
    path : absolute Path
    stack : contextlib.ExitStack, closes the connection

    Returns
    -------
    checks : list of Check
    conn : sqlite3.Connection to a copy in memory with the journal in it; None where there is nothing to be read
    """
    if not path.is_file():
        return [
            Check("TODO-file", FAIL, f"{path}: no such file; make it with 'photometry todo'")
        ], None
    owner = owner_of(path)
    if owner is not None and owner.state != "dead":
        return [_held(path, owner)], None
    checks = [_lock(path, owner)]
    try:
        conn, pending = stack.enter_context(snapshot(path))
    except TodoFileError as error:
        return [*checks, Check("TODO-file", FAIL, str(error))], None
    except JournalError as error:
        way_out = "a run would set it aside and do again what is lost with it; copy it first if it is dear to you"
        return [*checks, Check("journal", FAIL, f"cannot be replayed ({error}); {way_out}")], None
    return [*checks, _journal(path, pending), _contents(path, conn)], conn


def work_to_do(conn):
    """The `Work` in an open TODO-file."""
    kinds = conn.execute(
        f"SELECT SUBSTR(datasource, 1, 3), cadence, COUNT(*) FROM todolist WHERE {TO_DO} GROUP BY 1, 2"
    ).fetchall()
    (n_folders,) = conn.execute(
        f"SELECT COUNT(*) FROM (SELECT DISTINCT cadence, starid / 1000 FROM todolist WHERE {TO_DO})"
    ).fetchone()
    return Work(tuple(kinds), n_folders)


def _held(path, owner):
    if owner.state == "alive":
        way_out = "wait for it, or stop it with kill -TERM: it saves everything first"
    else:
        way_out = "wait for it; if that process has ended, start the run with --steal-lock"
    return Check(
        "lock", FAIL, f"{path}: in use by {owner.text}; {way_out}. Nothing else of it was looked at"
    )


def _lock(path, owner):
    if owner is None:
        return Check("lock", OK, f"nobody works on {path.name}")
    return Check(
        "lock", WARN, f"left behind by {owner.text}, which has died; the next run takes it over"
    )


def _journal(path, pending):
    if pending:
        return Check(
            "journal",
            WARN,
            f"a run was killed: {pending} saved changes are in its journal; the next run replays them",
        )
    if has_unfinished_business(path):
        return Check(
            "journal",
            WARN,
            "a run was killed: what it saved is in SQLite's own log; the next run folds it in",
        )
    return Check("journal", OK, "none pending")


def _contents(path, conn):
    (total,) = conn.execute("SELECT COUNT(*) FROM todolist").fetchone()
    (to_do,) = conn.execute(f"SELECT COUNT(*) FROM todolist WHERE {TO_DO}").fetchone()
    if not to_do:
        way_out = (
            "make them anew with --overwrite, or put some back with 'photometry reset'"
            if total
            else "make it anew"
        )
        return Check("TODO-file", WARN, f"{path}: {total} targets, none to do; {way_out}")
    (again,) = conn.execute(
        f"SELECT COUNT(*) FROM todolist WHERE {TO_DO} AND status IS NOT NULL"
    ).fetchone()
    retried = f", {again} of them again (failed or stopped before)" if again else ""
    return Check("TODO-file", OK, f"{path}: {total} targets, {to_do} to do{retried}")
