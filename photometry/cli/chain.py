"""``photometry chain``: task chains, tasks that depend on one another."""

import csv
import functools
import json
import shlex
import sys
import time

import click

from . import EXIT_OK
from ._options import json_option as shared_json_option
from ._options import logging_options, show_json


@click.group()
def command():
    """Task chains: tasks that depend on one another, from one JSON file."""


def settings_options(function):
    """Add what all sub-commands share, and hand them the settings."""

    @functools.wraps(function)
    def wrapped(home, database, store, **options):
        from ..chains.settings import load_chain_settings, refuse_password

        refuse_password(database)
        values = {"home": home, "database": database, "store": store}
        if "queue" in options:
            values["queue"] = options.pop("queue")
        return function(settings=load_chain_settings(values), **options)

    for option in (
        click.option("--store", type=click.Path(), help="Folder for products [files in HOME]."),
        click.option(
            "--database",
            metavar="URL",
            help="Task database: a path, or a URL of MySQL or PostgreSQL without password "
            "[chains.sqlite in HOME].",
        ),
        click.option(
            "--home",
            type=click.Path(),
            help="Folder for database, files and chains.toml [photometry-chains, or "
            "PHOTOMETRY_CHAINS_HOME].",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


queue_option = click.option(
    "--queue", type=click.Choice(["sql", "amqp"]), help="How attempts travel [sql]."
)
json_option = shared_json_option()
csv_option = click.option("--csv", "as_csv", is_flag=True, help="As CSV, for programs.")


def submit_options(function):
    """Add what `run` and `submit` share."""
    for option in (
        click.option("--seed", type=click.IntRange(0), help="Seed of the random numbers."),
        click.option(
            "--new-run", is_flag=True, help="Write into a new folder run_0001, run_0002, ..."
        ),
        click.option(
            "--replace",
            is_flag=True,
            help="Delete earlier jobs of this name, with their files, first.",
        ),
        click.option(
            "--dry-run", is_flag=True, help="Check, count and draw the tasks; change nothing."
        ),
        click.argument("chain", type=click.Path()),
    ):
        function = option(function)
    return function


def _command_line():
    return shlex.join(["photometry", *sys.argv[1:]])


def _show_outline(definition, settings, as_json, allow_unavailable):
    from ..chains import jobs

    outline = jobs.check(definition, settings, allow_unavailable=allow_unavailable)
    if as_json:
        content = {"tasks": outline.count, "exact": outline.exact, "types": dict(outline.types)}
        click.echo(json.dumps({"job": definition.job_name, **content}, indent=1))
        return
    for line in outline.tree.lines():
        click.echo(line)
    about = "" if outline.exact else "at least "
    click.echo(f"{about}{outline.count} tasks:")
    for name, count in sorted(outline.types.items()):
        click.echo(f"  {count:8d}  {name}")


@command.command()
@submit_options
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Local processes [number of cores]; 0: all in this process. Not under mpiexec.",
)
@click.option("--isolate", is_flag=True, help="Run each task in a child process of its own.")
@click.option("--time-limit", metavar="TIME", help="Be done in this time: 90s, 15m, 1.5h, 'auto'.")
@json_option
@settings_options
@logging_options
def run(
    chain, settings, dry_run, replace, new_run, seed, workers, isolate, time_limit, as_json, quiet
):
    """Submit a chain and work until it is done.

    The same command again continues a job that was interrupted.
    """
    from ..chains import jobs, running
    from ..chains.definition import read_definition
    from ..scheduler.limits import is_master

    definition = read_definition(chain)
    if dry_run:
        if is_master():
            _show_outline(definition, settings, as_json, False)
        return EXIT_OK

    def open_root():
        database = jobs.open_database(settings)
        try:
            done = jobs.submit(
                definition, database, settings, replace=replace, new_run=new_run, seed=seed
            )
        finally:
            database.close()
        if not quiet and not as_json:
            what = "submitted" if done.is_new else "continued"
            click.echo(f"job {definition.job_name or '<untitled>'} ({done.root}) {what}")
        return done.root

    def report(root):
        database = jobs.existing_database(settings)
        try:
            found = jobs.status(database, root, with_tasks=as_json)
        finally:
            database.close()
        if as_json:
            click.echo(json.dumps(_finite(found), indent=1))
        else:
            _show_status(found)

    options = {"isolate": isolate, "time_limit": time_limit}
    return running.run_job(
        settings,
        open_root,
        workers=workers,
        command=_command_line(),
        quiet=quiet or as_json,
        report=report,
        options=options,
    )


@command.command()
@submit_options
@json_option
@settings_options
@logging_options
def submit(chain, settings, dry_run, replace, new_run, seed, as_json, quiet):
    """Check a chain and store it; `schedule` and `worker` do it."""
    from ..chains import jobs
    from ..chains.definition import read_definition

    definition = read_definition(chain)
    if dry_run:
        _show_outline(definition, settings, as_json, True)
        return EXIT_OK
    database = jobs.open_database(settings)
    try:
        done = jobs.submit(
            definition,
            database,
            settings,
            replace=replace,
            new_run=new_run,
            seed=seed,
            allow_unavailable=True,
        )
    finally:
        database.close()
    if as_json:
        content = {"job": definition.job_name, "id": done.root, "new": done.is_new}
        click.echo(json.dumps({**content, "tasks": done.outline.count}))
    else:
        what = "submitted" if done.is_new else "is there already"
        click.echo(f"job {definition.job_name or '<untitled>'} ({done.root}) {what}")
    return EXIT_OK


@command.command()
@queue_option
@click.option("--once", is_flag=True, help="One pass only.")
@click.option("--until-idle", is_flag=True, help="End when nothing is to do.")
@click.option(
    "--interval", type=float, default=1.0, show_default=True, help="Seconds between passes."
)
@json_option
@settings_options
@logging_options
def schedule(settings, once, until_idle, interval, as_json, quiet):
    """Put tasks that can start on the queue, until stopped."""
    from ..chains.running import run_scheduler

    count = run_scheduler(settings, interval=interval, once=once, until_idle=until_idle)
    if as_json:
        show_json({"queued": count})
    elif not quiet:
        click.echo(f"{count} attempts queued")
    return EXIT_OK


@command.command()
@queue_option
@click.option("--types", help="Only these task types, separated by commas.")
@click.option("--workers", type=click.IntRange(0), default=1, show_default=True, help="Processes.")
@click.option("--until-idle", is_flag=True, help="End when nothing is to do.")
@click.option("--isolate", is_flag=True, help="Run each task in a child process of its own.")
@settings_options
@logging_options
def worker(settings, types, workers, until_idle, isolate, quiet):
    """Do tasks from the queue, until stopped."""
    from ..chains.running import run_worker

    names = [name.strip() for name in types.split(",")] if types else None
    return run_worker(
        settings,
        types=names,
        workers=workers,
        until_idle=until_idle,
        command=_command_line(),
        options={"isolate": isolate},
    )


# --- looking


def looking(function):
    """Open the database to look at it, and find the job that is named."""

    @functools.wraps(function)
    def wrapped(settings, job, **options):
        from ..chains import jobs

        database = jobs.existing_database(settings)
        try:
            root = None if job == "all" else jobs.find_root(database, job)
            return function(settings=settings, database=database, root=root, **options)
        finally:
            database.close()

    wrapped = settings_options(wrapped)
    return click.argument("job", required=False)(wrapped)


def _finite(value):
    """A value that JSON can hold: NaN and infinities become null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _show_status(found):
    click.echo(f"job {found['job'] or '<untitled>'} ({found['id']}): {found['state']}")
    for name, count in sorted(found["counts"].items()):
        click.echo(f"  {count:8d}  {name}")


@command.command()
@json_option
@looking
def status(settings, database, root, as_json):
    """How a job is: by name or number, else the newest one; 'all': a line for each."""
    from ..chains import jobs

    if root is None:
        found = [jobs.status(database, id_, with_tasks=False) for id_ in _all_roots(database)]
        if as_json:
            click.echo(json.dumps(found, indent=1))
        else:
            for one in found:
                _show_status(one)
        return EXIT_OK
    found = jobs.status(database, root, with_tasks=as_json)
    if as_json:
        click.echo(json.dumps(_finite(found), indent=1))
    else:
        _show_status(found)
        _table(_progress(settings, database, root))
    return EXIT_OK


def _progress(settings, database, root):
    from ..chains.tables import fetch_progress_summary

    age = settings.max_heartbeat_age
    return fetch_progress_summary(root=root, max_heartbeat_age=age, database=database)


def _all_roots(database):
    import sqlalchemy as sa

    from ..chains.schema import TASKS

    query = sa.select(TASKS.c.taskId).where(TASKS.c.parentTask.is_(None)).order_by(TASKS.c.taskId)
    return database.read(lambda db: list(db.execute(query).scalars()))


@command.command()
@click.option("--max-depth", type=click.IntRange(0), default=5, show_default=True)
@click.option("--running", is_flag=True, help="Only what runs now, with what is above it.")
@json_option
@looking
def tree(settings, database, root, max_depth, running, as_json):
    """The tasks of a job as a tree, with why they wait."""
    from ..chains import tables

    fetch = tables.fetch_running_job_tree if running else tables.fetch_job_tree
    found = fetch(parent_id=root, max_depth=max_depth, database=database)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for line in tables.tree_lines(found):
            click.echo(line)
    return EXIT_OK


def _table(rows, as_json=False, as_csv=False):
    """Rows of equal or different columns as a table, JSON or CSV."""
    if as_json:
        click.echo(json.dumps(_finite(rows), indent=1))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if as_csv:
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _cell(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@command.command()
@click.option("--task-type", help="Only this type.")
@click.option("--level", type=click.IntRange(0, 50), default=40, show_default=True)
@json_option
@looking
def errors(settings, database, root, task_type, level, as_json):
    """Messages of failures: time, job, type, task, text."""
    from ..chains.tables import fetch_errors

    found = fetch_errors(task_type=task_type, root=root, level=level, database=database)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return EXIT_OK
    for row in found:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["time"]))
        click.echo(f"{moment}|{row['job'] or ''}|{row['type']}|{row['task']}|{row['message']}")
    return EXIT_OK


@command.command()
@click.option("--task-type", help="Only this type.")
@json_option
@csv_option
@looking
def timings(settings, database, root, task_type, as_json, as_csv):
    """Run times of all attempts that ended."""
    from ..chains.tables import fetch_timings_table

    rows = fetch_timings_table(task_type=task_type, root=root, database=database)
    if not as_json and not as_csv:
        kept = ("job", "type", "task", "state", "wall_clock", "cpu", "cpu_inc_children", "host")
        rows = [{key: row[key] for key in kept} for row in rows]
    _table(rows, as_json, as_csv)
    return EXIT_OK


@command.command("pass-fail")
@click.option("--task-type", help="Only this type.")
@json_option
@csv_option
@looking
def pass_fail(settings, database, root, task_type, as_json, as_csv):
    """Outcomes of the transit searches, with the loop variables."""
    from ..chains.tables import fetch_pass_fail_table

    rows = fetch_pass_fail_table(task_type=task_type, root=root, database=database)
    _table(rows, as_json, as_csv)
    return EXIT_OK


@command.command()
@json_option
@csv_option
@looking
def progress(settings, database, root, as_json, as_csv):
    """How far each type of task is."""
    _table(_progress(settings, database, root), as_json, as_csv)
    return EXIT_OK


# --- changing


@command.command()
@click.option("--task-type", help="Only tasks of this type.")
@click.option(
    "--task", "task_ids", type=int, multiple=True, help="Only this task; may be repeated."
)
@json_option
@looking
def retry(settings, database, root, task_type, task_ids, as_json):
    """Start failed and cancelled tasks again; what is queued or running is left alone."""
    from ..chains import jobs

    count = jobs.retry(database, root=root, task_type=task_type, task_ids=task_ids or None)
    click.echo(json.dumps({"retried": count}) if as_json else f"{count} tasks start again")
    return EXIT_OK


@command.command()
@click.option(
    "--task", "task_ids", type=int, multiple=True, help="Only this task and all below it."
)
@json_option
@looking
def cancel(settings, database, root, task_ids, as_json):
    """Cancel what is not over; what runs is ended within seconds."""
    from ..chains import jobs
    from ..errors import WrongUseError

    if root is None:
        raise WrongUseError("cancel: name a job")
    count = jobs.cancel(database, list(task_ids) or [root])
    click.echo(json.dumps({"cancelled": count}) if as_json else f"{count} tasks cancelled")
    return EXIT_OK


@command.command()
@json_option
@looking
def delete(settings, database, root, as_json):
    """Delete a job with all its files."""
    from ..chains import jobs
    from ..errors import WrongUseError

    if root is None:
        raise WrongUseError("delete: name a job")
    jobs.delete(database, settings, [root])
    if as_json:
        show_json({"deleted": root})
    else:
        click.echo(f"job {root} deleted")
    return EXIT_OK


@command.command("types")
@click.option("--write-xml", type=click.Path(), help="Write the registry as XML.")
@json_option
@settings_options
def types_(settings, write_xml, as_json):
    """The types of tasks, and why some cannot run here."""
    from ..chains.tasktype import task_type, task_type_names
    from ..chains.types import TaskTypeList

    if write_xml:
        TaskTypeList.read_from_xml().write_to_xml(write_xml)
    rows = []
    for name in task_type_names():
        kind = task_type(name)
        rows.append(
            {
                "type": name,
                "available": kind.unavailable() is None,
                "settings": ", ".join(kind.settings),
                "note": kind.unavailable() or "",
            }
        )
    _table(rows, as_json)
    return EXIT_OK


@command.command()
@click.argument("path", type=click.Path())
@settings_options
def dump(settings, path):
    """Write all rows of the database to a gzipped file."""
    from ..chains import jobs
    from ..chains.interface import dump as write_dump

    database = jobs.existing_database(settings)
    try:
        write_dump(database, path)
    finally:
        database.close()
    return EXIT_OK


@command.command()
@click.argument("path", type=click.Path())
@settings_options
def restore(settings, path):
    """Replace all rows of the database by those of a dump."""
    from ..chains.connect import Database
    from ..chains.interface import restore as read_dump

    database = Database(settings.database_url)
    try:
        read_dump(database, path)
    finally:
        database.close()
    return EXIT_OK


@command.command()
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True)
@settings_options
@logging_options
def web(settings, port, quiet):
    """Show jobs in a browser, on this computer only."""
    from ..chains.web import serve

    return serve(settings, port) or EXIT_OK
