"""Options that select finished tasks of a TODO-file, and the table that shows them; shared by retry
and reset.
"""

import contextlib
import json

import click

from ._options import FILTERS, folder_argument, json_option, steal_lock_option

_SHOWN = 20


def selection_options(function):
    """Add the options, which arrive as keyword arguments named as those of `build_constraints`, and
    ``message`` etc.
    """
    options = [
        folder_argument("todo_file"),
        click.option(
            "--status",
            "statuses",
            multiple=True,
            metavar="STATUS",
            callback=_check_statuses,
            help="ERROR, WARNING, SKIPPED, …; repeatable.",
        ),
        click.option("--error-class", metavar="CLASS", help="Class of the error, e.g. ValueError."),
        click.option("--message", metavar="TEXT", help="Part of the error message."),
        *FILTERS,
        click.option("--dry-run", is_flag=True, help="Show what would be done, change nothing."),
        json_option(),
        steal_lock_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _check_statuses(ctx, param, statuses):
    """Refuse a status that there is not, before the TODO-file is opened."""
    from ..taskmanager.selection import parse_status

    for status in statuses:
        parse_status(status)
    return statuses


def constraints_of(filters):
    """The constraints among the options, those that were given."""
    return {key: value for key, value in filters.items() if value is not None}


@contextlib.contextmanager
def opened(todo_file, constraints, *, dry_run, steal_lock):
    """A TaskManager that changes nothing by being opened; a dry run only looks.

    Parameters
    ----------
    todo_file : path
    constraints : dict; at least one row must match, whatever its status
    dry_run, steal_lock : bool
    """
    from ..taskmanager import TaskManager

    options = {"read_only": True} if dry_run else {"steal_lock": steal_lock}
    with TaskManager(todo_file, cleanup_constraints=["0"], **options) as tm:
        check_matches(tm, constraints)
        yield tm


def check_matches(tm, constraints):
    """Refuse constraints that no row of the TODO-file matches, whatever its status: they are a
    mistake.
    """
    from ..errors import WrongUseError

    if constraints and not tm.get_number_rows(**constraints):
        given = " ".join(
            f"--{name.replace('_', '-')} {_words(v)}" for name, v in constraints.items()
        )
        raise WrongUseError(f"{tm.todo_file}: has no target that matches {given}")


def _words(value):
    """A value of a filter as on the command line, in short."""
    if not isinstance(value, (list, tuple)):
        return str(value)
    words = ",".join(map(str, value[:_SHOWN]))
    return words + (",…" if len(value) > _SHOWN else "")


def show(tasks, *, done, dry_run, as_json, looked_at):
    """Print which tasks were, or would be, put back.

    Parameters
    ----------
    tasks : list of dict, see `selection.select_tasks`
    done : str, what was done with them
    dry_run, as_json : bool
    looked_at : str, among which tasks, for when there are none
    """
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "tasks": tasks}, indent=1))
        return
    if not tasks:
        click.echo(
            f"no task matches, nothing {'would be ' if dry_run else ''}{done}; looked at "
            f"{looked_at}"
        )
        return
    noun = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
    click.echo(f"{noun} {'would be ' if dry_run else ''}{done}")
    shown = tasks if dry_run else tasks[:_SHOWN]
    for task in shown:
        click.echo(f"  {line(task)}")
    if len(tasks) > len(shown):
        click.echo(f"  … and {len(tasks) - len(shown)} more (all of them with --json)")


def line(task):
    """A task of `selection.select_tasks` in one line."""
    from ..taskmanager.schema import star_label

    label = star_label(task["starid"], task["datasource"], task["cadence"])
    error = (task["errors"] or "").strip().splitlines()
    reason = error[-1] if error else ""
    return f"priority {task['priority']}  {label}  {task['status']}  {reason}".rstrip()
