"""Making a TODO-file, and putting its tasks back to do: the verbs todo, retry and reset."""

import contextlib
import logging
from functools import partial
from pathlib import Path

import click

from ..notebook import counted
from ._options import (
    FILTERS,
    Bars,
    check_matches,
    folder_argument,
    json_option,
    set_up_logging,
    show_json,
    steal_lock_option,
)

# --- todo


def count_rows(todo_file):
    """How many targets a TODO-file has."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(todo_file)) as conn:
        return conn.execute("SELECT COUNT(*) FROM todolist").fetchone()[0]


class _Todo(click.Group):
    """`photometry todo TEMPLATE DIR` makes a TODO-file; other first words may be commands."""

    def parse_args(self, ctx, args):
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Todo, subcommand_metavar="TEMPLATE [DIR] [OPTIONS]")
def todo():
    """Make the TODO-file of a folder of data: DIR/todo.sqlite, one row per target.

    TEMPLATE is a TOML file, or the name of one that comes with the program: tpf (target pixel
    files, with the other stars on their pixels), tpf-primaries, ffi (image cubes), table.
    `photometry todo make --help` shows the options.

    `photometry todo split DIR` makes several TODO-files of one, for several runs at the same time,
    and `photometry todo merge OUT PART...` brings them together again.
    """


@todo.command()
@click.argument("template")
@folder_argument(path_type=Path)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="Table of targets, instead of the one the template names.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an existing TODO-file, and with it the results it holds.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be written; write nothing.")
@json_option()
@click.option("--quiet", is_flag=True, help="Only warnings and errors.")
def make(template, folder, as_json, quiet, **options):
    """Make DIR/todo.sqlite as TEMPLATE says."""
    from ..todolist.make import make_todo

    set_up_logging(logging.WARNING if quiet else logging.INFO)
    with Bars(quiet) as bars:
        made = make_todo(
            template, folder, progress=partial(bars.track, name="looking into files"), **options
        )
    if as_json:
        show_json(made.summary())
    elif not quiet:
        click.echo(_report(made.summary(), options["dry_run"]))


@todo.command(short_help="One TODO-file as several, for several runs at the same time.")
@folder_argument("todo_file", path_type=Path)
@click.option(
    "--by", type=click.Choice(["ccd", "count"]), default="ccd", show_default=True,
    help="A part for each sector, camera and CCD, or --parts parts of nearly the same size.",
)  # fmt: skip
@click.option(
    "--parts", type=click.IntRange(1), metavar="N", help="How many parts, with --by count."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the parts [beside the file].",
)
@json_option()
def split(todo_file, by, parts, output, as_json):
    """Split the TODO-file in DIR (or a TODO-file) into todo-NAME.sqlite, which can be run at the
    same time.

    The original stays as it is. Results that it has go with their targets. Targets that may skip
    one another stay together with --by ccd; with --by count only those of one target pixel file do.

    \b
    photometry todo split DIR --by count --parts 16
    # in each job of an array, with its own number
    photometry run DIR/todo-03.sqlite --output DIR/part-03
    photometry todo merge DIR/merged.sqlite DIR/todo-??.sqlite
    """
    from ..taskmanager import split_todo

    if (parts is None) == (by == "count"):
        raise click.UsageError(
            "--by count needs --parts N" if parts is None else "--parts goes with --by count only"
        )
    if output is not None and not output.is_dir():
        raise click.UsageError(f"--output {output}: no such folder")
    made = {
        str(path): count_rows(path) for path in split_todo(todo_file, output, by=by, parts=parts)
    }
    if as_json:
        show_json({"parts": [{"todo_file": path, "targets": n} for path, n in made.items()]})
        return
    for path, n in made.items():
        click.echo(f"{path}: {counted(n, 'target')}")


@todo.command(short_help="The parts of a TODO-file as one again, with all that was done.")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.argument(
    "parts", metavar="PART...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@json_option()
def merge(output, parts, as_json):
    """Merge the TODO-files PART... (or their folders) into the new file OUT, with results, attempts
    and runs.

    Nothing is written over: OUT must not exist, and no target may be there twice.
    """
    from ..taskmanager import merge_todos

    if output.is_dir():
        raise click.UsageError(
            f"{output} is a folder: say the name of the file to write, as in {output}/todo.sqlite"
        )
    if not output.absolute().parent.is_dir():
        raise click.UsageError(f"{output}: there is no folder {output.absolute().parent}")
    n_rows = merge_todos(parts, output)
    if as_json:
        show_json({"todo_file": str(output), "targets": n_rows, "parts": len(parts)})
    else:
        click.echo(f"{output}: {counted(n_rows, 'target')} from {counted(len(parts), 'file')}")


def _report(summary, dry_run):
    """A few lines for people."""
    listed = ", ".join(f"{number} {name}" for name, number in summary["by_datasource"].items())
    lines = [
        f"{summary['todo_file']}: {counted(summary['targets'], 'target')} "
        f"({listed}){', not written: dry run' if dry_run else ''}"
    ]
    lines += [f"  {number} {name}" for name, number in summary["other_files"].items()]
    if summary["damaged_files"]:
        damaged = counted(len(summary["damaged_files"]), "damaged file")
        lines.append(f"  {damaged}, whose targets will end as ERROR")
    if summary["left_out_by_template"]:
        left_out = counted(summary["left_out_by_template"], "target")
        lines.append(f"  {left_out} left out by the template")
    if summary["without_magnitude"]:
        unknown = counted(summary["without_magnitude"], "target")
        lines.append(f"  {unknown} without a magnitude, at the end")
    return "\n".join(lines)


# --- which tasks retry and reset put back

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
    from ..taskmanager.view import parse_status

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
        show_json({"dry_run": dry_run, "tasks": tasks})
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


# --- retry


@click.command(short_help="Put failed tasks back to do, perhaps with another method or settings.")
@selection_options
@click.option("--method", help="Photometric method for the retry.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting for these tasks only, as aperture.threshold=0.9 or task_timeout=600; repeatable.",
)
def retry(
    todo_file, statuses, error_class, message, dry_run, as_json, steal_lock, method, settings,
    **constraints,
):  # fmt: skip
    """Put finished tasks of the TODO-file in DIR (or a TODO-file) back to do, and lose their
    results.

    Without --status these are the tasks with status ERROR. Tasks that took their worker down too
    often are left alone: `photometry reset` brings them back.

    \b
    photometry retry DIR --error-class TargetTimeoutError --set task_timeout=600
    photometry retry DIR --status WARNING --set aperture.threshold=1.2
    photometry retry DIR --status WARNING --tmag-max 8 --method halo --dry-run
    """
    from ..taskmanager.view import select_tasks

    settings, constraints = _nested(settings), constraints_of(constraints)
    _check_method(method)
    with opened(todo_file, constraints, dry_run=dry_run, steal_lock=steal_lock) as tm:
        tasks = select_tasks(
            tm.conn,
            statuses=statuses or ("ERROR",),
            error_class=error_class,
            message=message,
            set_aside_after=tm.max_attempts,
            **constraints,
        )
        _check_settings(settings, {method or task["method"] for task in tasks})
        if not dry_run:
            tm.retry_tasks([task["priority"] for task in tasks], method=method, settings=settings)
    looked_at = (
        f"tasks with status {' or '.join(statuses or ('ERROR',)).upper()} that were not set aside"
    )
    show(tasks, done="put back to do", dry_run=dry_run, as_json=as_json, looked_at=looked_at)


def _check_method(method):
    """Refuse a method that there is not, before any result is lost."""
    if method is not None:
        from ..methods import get_method

        get_method(method)


def _check_settings(settings, methods):
    """Refuse settings that no task could be done with; those of methods of one's own are known when
    these are loaded.
    """
    from ..errors import SettingsError
    from ..methods import get_method
    from ..settings import photometry_settings

    if not settings:
        return
    for method in methods:
        if method is not None:
            get_method(method)
    others = dict(settings)
    seconds = others.pop("task_timeout", None)
    if seconds is not None and not (
        isinstance(seconds, (int, float)) and 0 < seconds < float("inf")
    ):
        raise SettingsError(f"task_timeout={seconds!r}: expected seconds, more than 0")
    photometry_settings(None, others)


def _nested(texts):
    """``key=value`` texts as a nested dict: the dots in a key separate sections."""
    nested = {}
    for text in texts:
        key, separator, value = text.partition("=")
        *sections, name = key.strip().split(".")
        if not separator or not all([*sections, name]):
            raise click.BadParameter(f"{text!r}: expected KEY=VALUE", param_hint="--set")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise click.BadParameter(f"{text!r}: {section} has a value", param_hint="--set")
        inner[name] = _value(value.strip())
    return nested


def _value(text):
    """As TOML reads it: numbers, true and false are what they look like."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# --- reset


@click.command(
    short_help="Put tasks back to do as if they had never been tried, also those set aside."
)
@selection_options
@click.option("--all", "everything", is_flag=True, help="Reset all tasks that were touched.")
def reset(
    todo_file, statuses, error_class, message, dry_run, as_json, steal_lock, everything,
    **constraints,
):  # fmt: skip
    """Put tasks of the TODO-file in DIR (or a TODO-file) back to do: results, method and settings
    of a retry and used-up attempts are gone.

    Say which ones, or --all. Light-curve files stay until they are written anew.

    \b
    photometry reset DIR --message "took its worker down"
    photometry reset DIR --starid 25155310
    """
    from ..taskmanager.view import select_tasks

    chosen = constraints_of(constraints)
    if not (everything or statuses or error_class or message or chosen):
        raise click.UsageError(
            "say which tasks (--status, --error-class, --message, --starid, …), or --all"
        )
    with opened(todo_file, chosen, dry_run=dry_run, steal_lock=steal_lock) as tm:
        options = {"statuses": statuses, "error_class": error_class, "message": message}
        tasks = select_tasks(tm.conn, **options, changed=True, **chosen)
        if not dry_run:
            tm.reset_tasks([task["priority"] for task in tasks])
    looked_at = (
        f"tasks with status {' or '.join(statuses).upper()}"
        if statuses
        else "all tasks that were touched"
    )
    show(tasks, done="reset", dry_run=dry_run, as_json=as_json, looked_at=looked_at)
