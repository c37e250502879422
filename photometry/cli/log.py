"""``photometry log``: what is known of the work on a target, and what it logged."""

import click

from ._options import folder_and_star, json_option


@click.command()
@click.argument("words", metavar="[DIR] STAR", nargs=-1, required=True)
@json_option("The records themselves, one JSON object a line.")
def command(words, as_json):
    """Show what became of star STAR, and what the work on it logged, in all runs that wrote to
    DIR.

    DIR is the folder of the TODO-file, or that of the light curves.
    """
    import json

    from ..scheduler.reporting import read_log

    where, starid = folder_and_star(words)
    path, todo_file = _places(where)
    tasks = _tasks(todo_file, starid)
    records = [] if path is None else list(read_log(path, name=starid))
    if not tasks and not records:
        from ..errors import WrongUseError

        raise WrongUseError(
            f"{todo_file or where}: there is no star {starid}, and nothing was logged of it"
        )
    if as_json:
        for record in records:
            click.echo(json.dumps(record))
        return
    for task in tasks:
        click.echo(_became(task))
    for record in records:
        click.echo(_line(record))
    if not records:
        click.echo("nothing was logged of it")


def _places(where):
    """The log file and the TODO-file of a run, from the folder of either; None for one that is not
    there.
    """
    from pathlib import Path

    from ..errors import WrongUseError
    from ..report.status import read_summary
    from ..scheduler.reporting import LOG_NAME
    from ._options import todo_path

    path, todo_file, summary = Path(where) / LOG_NAME, todo_path(where), {}
    if not path.is_file() or not todo_file.is_file():
        try:
            summary = read_summary(where)
        except WrongUseError:
            if not path.is_file() and not todo_file.is_file():
                raise
    if not path.is_file():
        path = Path(summary.get("output") or where) / LOG_NAME
    if not todo_file.is_file() and summary.get("todo_file"):
        todo_file = Path(summary["todo_file"])
    return (path if path.is_file() else None), (todo_file if todo_file.is_file() else None)


def _tasks(todo_file, starid):
    """All that the TODO-file has of a star."""
    if todo_file is None:
        return []
    from ..taskmanager import open_view

    sql = """SELECT priority, starid, sector, cadence, datasource, status, method_used, errors,
        (SELECT GROUP_CONCAT(skipped_by) FROM photometry_skipped s WHERE s.priority = t.priority)
            AS skipped_by
        FROM todolist AS t LEFT JOIN diagnostics USING (priority) WHERE starid = ?
        ORDER BY priority"""
    with open_view(todo_file) as view:
        return [dict(row) for row in view.conn.execute(sql, (starid,))]


def _became(task):
    """A few lines on what became of a task."""
    from ..taskmanager.schema import star_label
    from ..taskmanager.selection import status_name

    label = star_label(task["starid"], task["datasource"], task["cadence"])
    text = f"{label}, priority {task['priority']} ({task['datasource']}, {task['cadence']} s): "
    text += status_name(task["status"])
    if task["method_used"] and task["status"] is not None:
        text += f", method {task['method_used']}"
    if task["skipped_by"]:
        text += f", skipped by priority {task['skipped_by']}"
    if task["errors"]:
        earlier = "before: " if task["status"] is None else ""
        text += "".join(f"\n  {earlier}{line}" for line in task["errors"].splitlines())
    return text


def _line(record):
    from ..scheduler.reporting import timestamp

    return f"{timestamp(record['time'])} {record['level']:<7} {record['message']}"
