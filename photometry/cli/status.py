"""``photometry status``: how far a run is, and which targets failed."""

import time

import click

from ._options import folder_argument, json_option, show_json, todo_path

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
def command(where, failed, statuses, as_json, as_csv, files, watch):
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
    from pathlib import Path

    from ..taskmanager import open_view
    from ..taskmanager.schema import star_label
    from ..taskmanager.selection import select_tasks
    from ._todo_selection import line

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
    from pathlib import Path

    from ..report.status import read_summary

    return Path(read_summary(where).get("todo_file") or where)


def _print_csv(tasks):
    import csv
    import sys

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
