"""Options that select finished tasks of a TODO-file, and the table that shows them; shared by retry and reset."""

import json

import click

from ._options import FILTERS

_SHOWN = 20


def selection_options(function):
    """Add the options, which arrive as keyword arguments named as those of `build_constraints`, and ``message`` etc."""
    options = [
        click.argument("todo_file", type=click.Path()),
        click.option(
            "--status",
            "statuses",
            multiple=True,
            metavar="STATUS",
            help="ERROR, WARNING, SKIPPED, …; repeatable.",
        ),
        click.option("--error-class", metavar="CLASS", help="Class of the error, e.g. ValueError."),
        click.option("--message", metavar="TEXT", help="Part of the error message."),
        *FILTERS,
        click.option("--dry-run", is_flag=True, help="Show what would be done, change nothing."),
        click.option("--json", "as_json", is_flag=True, help="Show the tasks as JSON."),
        click.option(
            "--steal-lock",
            is_flag=True,
            help="Take the file from a process on another host that has ended.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def constraints_of(filters):
    """The constraints among the options, those that were given."""
    return {key: value for key, value in filters.items() if value is not None}


def open_for_selection(todo_file, *, dry_run, steal_lock):
    """A TaskManager that changes nothing by being opened. A dry run works on a copy in memory, which is thrown away."""
    from ..taskmanager import TaskManager

    nothing = ["0"]
    return TaskManager(
        todo_file, cleanup_constraints=nothing, load_into_memory=dry_run, steal_lock=steal_lock
    )


def show(tasks, *, done, dry_run, as_json, looked_at):
    """Print which tasks were, or would be, put back; ``looked_at`` says among which, for when there are none."""
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "tasks": tasks}, indent=1))
        return
    if not tasks:
        click.echo(
            f"no task matches, nothing {'would be ' if dry_run else ''}{done}; looked at {looked_at}"
        )
        return
    click.echo(f"{len(tasks)} tasks {'would be ' if dry_run else ''}{done}")
    for task in tasks[:_SHOWN]:
        error = (task["errors"] or "").strip().splitlines()
        click.echo(
            f"  priority {task['priority']}  TIC {task['starid']}  {task['status']}  {error[-1] if error else ''}"
        )
    if len(tasks) > _SHOWN:
        click.echo(f"  … and {len(tasks) - _SHOWN} more (all of them with --json)")
