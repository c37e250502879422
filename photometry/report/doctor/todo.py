"""The TODO-file, its lock and its journal."""

from dataclasses import dataclass

from ...errors import TodoFileError, TryAgainError
from ...taskmanager.lock import owner_of
from ...taskmanager.opening import check_writable, has_unfinished_business
from ...taskmanager.view import open_view
from .check import FAIL, OK, WARN, Check


@dataclass(frozen=True)
class Work:
    """What a run would do.

    Attributes
    ----------
    kinds : tuple of (datasource without star, cadence [s], number of targets)
    n_folders : int, of light curves, about
    """

    kinds: tuple
    n_folders: int

    @property
    def total(self):
        """Number of targets to do"""
        return sum(number for _, _, number in self.kinds)


def open_todo_file(path, stack, max_attempts):
    """Look at a TODO-file.

    Parameters
    ----------
    path : absolute Path
    stack : contextlib.ExitStack, closes the view
    max_attempts : int, of the settings

    Returns
    -------
    checks : list of Check
    view : taskmanager.view.View, or None where there is nothing to be read
    to_do : str, SQL condition for the tasks that a run would do
    """
    if not path.is_file():
        why = f"{path}: no such file; make it with 'photometry todo'"
        return [Check("TODO-file", FAIL, why)], None, None
    owner = owner_of(path)
    if owner is not None and owner.state != "dead":
        return [_held(path, owner)], None, None
    checks = [_lock(path, owner)]
    try:
        view = stack.enter_context(open_view(path))
    except (TodoFileError, TryAgainError) as error:
        return [*checks, Check("TODO-file", FAIL, str(error))], None, None
    to_do = view.to_do(max_attempts=max_attempts)
    return [*checks, _journal(path, view), _contents(path, view, to_do)], view, to_do


def work_to_do(view, to_do):
    """The `Work` in an open TODO-file."""
    kinds = view.query(
        f"SELECT SUBSTR(datasource, 1, 3), cadence, COUNT(*) FROM todolist WHERE {to_do} GROUP BY 1, 2"
    )
    ((n_folders,),) = view.query(
        f"SELECT COUNT(*) FROM (SELECT DISTINCT cadence, starid / 1000 FROM todolist WHERE {to_do})"
    )
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


def _journal(path, view):
    if view.problem:
        way_out = "the next run replays what is whole, keeps a copy, and does the others again"
        return Check("journal", WARN, f"a run was killed: {view.problem}; {way_out}")
    if view.pending:
        return Check(
            "journal",
            WARN,
            f"a run was killed: {view.pending} saved changes are in its journal; the next run replays them",
        )
    if has_unfinished_business(path):
        return Check(
            "journal",
            WARN,
            "a run was killed: what it saved is in SQLite's own log; the next run folds it in",
        )
    return Check("journal", OK, "none pending")


def _contents(path, view, to_do):
    try:
        check_writable(path)
    except TodoFileError as error:
        return Check("TODO-file", FAIL, str(error))
    ((total, n_to_do, n_again),) = view.query(
        f"SELECT COUNT(*), COUNT(*) FILTER (WHERE {to_do}), COUNT(*) FILTER (WHERE {to_do} AND status IS NOT NULL)"
        " FROM todolist"
    )
    if not n_to_do:
        way_out = (
            "make them anew with --overwrite, or put some back with 'photometry reset'"
            if total
            else "make it anew"
        )
        return Check("TODO-file", WARN, f"{path}: {total} targets, none to do; {way_out}")
    again = f", {n_again} of them again (failed or stopped before)" if n_again else ""
    return Check("TODO-file", OK, f"{path}: {total} targets, {n_to_do} to do{again}")
