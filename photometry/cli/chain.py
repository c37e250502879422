"""``photometry chain``: task chains, tasks that depend on one another."""

import json
import shlex
import sys
import time

import click

from . import EXIT_OK
from ._chain import (
    csv_option,
    json_option,
    looking,
    queue_option,
    settings_options,
    show_status,
    submit_options,
    table,
)
from ._options import logging_options, show_json


@click.group()
def chain():
    """Task chains: tasks that depend on one another, from one JSON file."""


def _command_line():
    return shlex.join(["photometry", *sys.argv[1:]])


def _show_outline(definition, settings, as_json, allow_unavailable):
    from ..chains import jobs

    outline = jobs.check(definition, settings, allow_unavailable=allow_unavailable)
    if as_json:
        content = {"tasks": outline.count, "exact": outline.exact, "types": dict(outline.types)}
        show_json({"job": definition.job_name, **content})
        return
    for line in outline.tree.lines():
        click.echo(line)
    about = "" if outline.exact else "at least "
    click.echo(f"{about}{outline.count} tasks:")
    for name, count in sorted(outline.types.items()):
        click.echo(f"  {count:8d}  {name}")


@chain.command()
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
        database = jobs.open_database(settings)
        try:
            found = jobs.status(database, root, with_tasks=as_json)
        finally:
            database.close()
        if as_json:
            show_json(found)
        else:
            show_status(found)

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


@chain.command()
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
        show_json({**content, "tasks": done.outline.count}, indent=None)
    else:
        what = "submitted" if done.is_new else "is there already"
        click.echo(f"job {definition.job_name or '<untitled>'} ({done.root}) {what}")
    return EXIT_OK


@chain.command()
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


@chain.command()
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


@chain.command()
@json_option
@looking
def status(settings, database, root, as_json):
    """How a job is: by name or number, else the newest one; 'all': a line for each."""
    from ..chains import jobs

    if root is None:
        found = [jobs.status(database, id_, with_tasks=False) for id_ in _all_roots(database)]
        if as_json:
            show_json(found)
        else:
            for one in found:
                show_status(one)
        return EXIT_OK
    found = jobs.status(database, root, with_tasks=as_json)
    if as_json:
        show_json(found)
    else:
        show_status(found)
        table(_progress(settings, database, root))
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


@chain.command()
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
        show_json(found)
    else:
        for line in tables.tree_lines(found):
            click.echo(line)
    return EXIT_OK


@chain.command()
@click.option("--task-type", help="Only this type.")
@click.option("--level", type=click.IntRange(0, 50), default=40, show_default=True)
@json_option
@looking
def errors(settings, database, root, task_type, level, as_json):
    """Messages of failures: time, job, type, task, text."""
    from ..chains.tables import fetch_errors

    found = fetch_errors(task_type=task_type, root=root, level=level, database=database)
    if as_json:
        show_json(found)
        return EXIT_OK
    for row in found:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["time"]))
        click.echo(f"{moment}|{row['job'] or ''}|{row['type']}|{row['task']}|{row['message']}")
    return EXIT_OK


@chain.command()
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
    table(rows, as_json, as_csv)
    return EXIT_OK


@chain.command("pass-fail")
@click.option("--task-type", help="Only this type.")
@json_option
@csv_option
@looking
def pass_fail(settings, database, root, task_type, as_json, as_csv):
    """Outcomes of the transit searches, with the loop variables."""
    from ..chains.tables import fetch_pass_fail_table

    rows = fetch_pass_fail_table(task_type=task_type, root=root, database=database)
    table(rows, as_json, as_csv)
    return EXIT_OK


@chain.command()
@json_option
@csv_option
@looking
def progress(settings, database, root, as_json, as_csv):
    """How far each type of task is."""
    table(_progress(settings, database, root), as_json, as_csv)
    return EXIT_OK


# --- changing


@chain.command()
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


@chain.command()
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


@chain.command()
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


@chain.command("types")
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
    table(rows, as_json)
    return EXIT_OK


@chain.command()
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


@chain.command()
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


@chain.command()
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True)
@settings_options
@logging_options
def web(settings, port, quiet):
    """Show jobs in a browser, on this computer only."""
    from ..chains.web import serve

    return serve(settings, port) or EXIT_OK
