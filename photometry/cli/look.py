"""Looking at a run: the verbs status, explain, log and verify."""

import csv
import dataclasses
import sys
import time
from pathlib import Path

import click

from . import EXIT_FAILED, EXIT_OK
from ._options import (
    Bars,
    folder_and_star,
    folder_argument,
    json_option,
    logging_options,
    output_option,
    show_json,
    steal_lock_option,
    todo_path,
)

# --- status

WATCH_SECONDS = 5.0
_COLUMNS = (
    "priority",
    "starid",
    "label",
    "sector",
    "camera",
    "ccd",
    "cadence",
    "datasource",
    "method",
    "status",
    "error_class",
    "errors",
)


@click.command()
@folder_argument("where")
@click.option("--failed", is_flag=True, help="List the targets with status ERROR.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="STATUS",
    help="List the targets with this status (WARNING, SKIPPED, …); repeatable.",
)
@json_option()
@click.option("--csv", "as_csv", is_flag=True, help="The list as CSV.")
@click.option(
    "--files", is_flag=True, help="Of the list, the input files that there are, one a line."
)
@click.option(
    "--watch", is_flag=True, help="Show it anew every few seconds until the run has ended."
)
def status(where, failed, statuses, as_json, as_csv, files, watch):
    """Show how far the last run is, and why targets failed or need a look.

    DIR is the folder of the TODO-file or of the light curves. Reads only the summary: it can be
    asked at any time. With --failed or --status it lists targets from the TODO-file in DIR, all of
    them, as after the last result that is saved; a run may be going on.

    \b
    photometry status DIR --failed --csv > failed.csv
    photometry status DIR --status WARNING
    photometry status DIR --failed --files | xargs rm       # to get these files again
    """
    if failed or statuses:
        _list(where, (*statuses, *(["ERROR"] * failed)), as_json, as_csv, files)
        return
    if as_csv or files:
        raise click.UsageError("--csv and --files go with --failed or --status")
    from ..report.status import is_running, print_status, read_summary, state

    summary = read_summary(where)
    while watch and is_running(summary):
        click.clear()  # does nothing where the output is no terminal
        print_status(summary)
        time.sleep(WATCH_SECONDS)
        summary = read_summary(where)
    if as_json:
        show_json({**summary, "state": state(summary)})
    else:
        print_status(summary)


def _list(where, statuses, as_json, as_csv, files):
    """Print the targets with these statuses."""
    from ..taskmanager import open_view
    from ..taskmanager.schema import star_label
    from ..taskmanager.view import select_tasks
    from .todo import line

    path = todo_path(where)
    if not path.is_file() and Path(where).is_dir():
        path = _todo_file_of(where)
    with open_view(path) as view:
        tasks = select_tasks(view.conn, statuses=statuses)
    for task in tasks:
        task["label"] = star_label(task["starid"], task["datasource"], task["cadence"])
    if files:
        _print_files(tasks, view.path.parent)
    elif as_json:
        show_json([{name: task[name] for name in _COLUMNS} for task in tasks])
    elif as_csv:
        _print_csv(tasks)
    else:
        for task in tasks:
            click.echo(line(task))


def _todo_file_of(where):
    """The TODO-file of a folder of light curves, which its summary names."""
    from ..report.status import read_summary

    return Path(read_summary(where).get("todo_file") or where)


def _print_csv(tasks):
    writer = csv.DictWriter(sys.stdout, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(tasks)


def _print_files(tasks, folder):
    """The input files of tasks, each once; how many are not there, on standard error."""
    from ..errors import PhotometryError
    from ..pixels.find import find_target_pixel_file
    from ..pixels.imagecube import cube_path

    paths, n_missing = {}, 0
    for task in tasks:
        try:
            if task["datasource"] == "ffi":
                path = cube_path(folder, task["sector"], task["camera"], task["ccd"])
            else:
                path = find_target_pixel_file(folder, task)
        except PhotometryError:
            path = None
        if path is None or not path.exists():
            n_missing += 1
        else:
            paths[path] = None
    for path in paths:
        click.echo(path)
    if n_missing:
        click.echo(f"targets whose input file is not there: {n_missing}", err=True)


# --- explain


@click.command()
@click.argument("words", metavar="[DIR] STAR", nargs=-1, required=True)
@output_option
@json_option()
@click.option("--html", type=click.Path(dir_okay=False), help="Write a page with the picture, too.")
@click.option(
    "--plot", type=click.Path(dir_okay=False), help="Write the picture of its light curve."
)
def explain(words, output, as_json, html, plot):
    """Explain what became of a star, and why: rows, attempts, method, mask, neighbours, file, log.

    STAR is its number; DIR the folder of the TODO-file, by default TESSPHOT_INPUT or this folder.
    Reads only: it can be asked at any time.
    """
    from ..report import explain as explaining
    from ..report.status import output_folder
    from ..taskmanager import open_view

    folder, star = folder_and_star(words)
    with open_view(todo_path(folder)) as view:
        output = output_folder(view.path, output)
        explained = explaining.explain(view, output, star)
    files = [row["file"]["path"] for row in explained if row["file"] and not row["file"]["problem"]]
    if plot:
        if not files:
            raise click.UsageError(f"star {star} has no light curve to draw")
        from ..report.plots import plot_file, read_curve

        plot_file(Path(plot), read_curve(files[0]))
    if html:
        explaining.explain_page(explained).write(html)
    if as_json:
        click.echo(explaining.to_json(explained))
        return
    for number, row in enumerate(explained):
        if number:
            click.echo()
        previous = None
        for name, text in explaining.lines(row):
            click.echo(f"{name if name != previous else '':<11}{text}")
            previous = name


# --- log


@click.command()
@click.argument("words", metavar="[DIR] STAR", nargs=-1, required=True)
@json_option("The records themselves, one JSON object a line.")
def log(words, as_json):
    """Show what became of star STAR, and what the work on it logged, in all runs that wrote to
    DIR.

    DIR is the folder of the TODO-file, or that of the light curves.
    """
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
            show_json(record, indent=None)
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
    from ..taskmanager.view import status_name

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


# --- verify

_SHOWN = 10  # leftovers; all of them with --json


@click.command()
@folder_argument("where")
@output_option
@click.option("--reset", is_flag=True, help="Put the targets of bad light curves back to do.")
@click.option("--workers", type=click.IntRange(1), help="Local processes [number of cores].")
@json_option()
@steal_lock_option
@logging_options
def verify(where, output, reset, workers, as_json, steal_lock, quiet):
    """Open every light curve that the TODO-file of DIR claims, and list the bad ones.

    Each must be there, decompress, agree with its FITS checksums, be of its star, sector, camera,
    CCD, cadence and method, and have times. Light curves that no target claims, and half-written
    files of killed runs, are named as well; they do no harm and may be removed.

    Nothing is changed without --reset. While a run is working on the TODO-file, this refuses to
    start.

    Exit code 1: bad ones were found.
    """
    from ..report import verify as verifying

    with Bars(quiet or as_json) as bars:
        progress = bars.stage("light curves")
        found = verifying.verify(
            todo_path(where),
            output=output,
            reset=reset,
            steal_lock=steal_lock,
            workers=workers,
            progress=progress,
        )
    if as_json:
        _show_json(found, reset)
    elif not (quiet and not found.bad):
        _show(found, reset)
    return EXIT_FAILED if found.bad else EXIT_OK


def _show_json(found, reset):
    bad = [{**problem, "reset": reset and problem["reset"]} for problem in found.bad]
    show_json({**dataclasses.asdict(found), "bad": bad, "kinds": found.kinds})


def _show(found, reset):
    click.echo(
        f"{found.output}: {found.checked} light curves checked, {len(found.bad)} of them "
        f"bad{_kinds(found)}"
    )
    for problem in found.bad:
        click.echo(
            f"  priority {problem['priority']}, star {problem['starid']}: {problem['lightcurve']} "
            f"{problem['problem']}"
        )
    if found.without:
        click.echo(
            f"Targets that are OK or WARNING but claim no light curve (done by a handler of your "
            f"own?): {found.without}"
        )
    _show_leftovers(
        found.orphans, f"Light curves in {found.output} that no target of this TODO-file claims"
    )
    _show_leftovers(found.parts, "Half-written files of killed runs, which can be removed")
    if found.bad:
        _tell_what_next(found, reset)


def _kinds(found):
    return (
        f" ({', '.join(f'{number} {kind}' for kind, number in found.kinds.items())})"
        if found.bad
        else ""
    )


def _show_leftovers(paths, message):
    if paths:
        click.echo(f"{message}: {len(paths)}")
    for path in paths[:_SHOWN]:
        click.echo(f"  {path}")
    if len(paths) > _SHOWN:
        click.echo(f"  … and {len(paths) - _SHOWN} more (all of them with --json)")


def _tell_what_next(found, reset):
    number = sum(problem["reset"] for problem in found.bad)
    if reset:
        click.echo(f"Targets to do again: {number}; 'photometry run' makes their light curves anew")
    else:
        click.echo(f"Nothing was changed; targets that --reset puts back to do: {number}")
    if number < len(found.bad):
        click.echo(
            f"Left alone, as the file cannot be read or the target has another outcome by now: "
            f"{len(found.bad) - number}"
        )
