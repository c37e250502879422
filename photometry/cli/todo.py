"""``photometry todo``: make a TODO-file; split it for job arrays, and merge the parts."""

import json
import logging
from functools import partial
from pathlib import Path

import click

from ._options import folder_argument, json_option, set_up_logging
from ._progress import Bars


def count_rows(todo_file):
    """How many targets a TODO-file has."""
    import contextlib
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
def command():
    """Make the TODO-file of a folder of data: DIR/todo.sqlite, one row per target.

    TEMPLATE is a TOML file, or the name of one that comes with the program: tpf (target pixel
    files, with the other stars on their pixels), tpf-primaries, ffi (image cubes), table.
    `photometry todo make --help` shows the options.

    `photometry todo split DIR` makes several TODO-files of one, for several runs at the same time,
    and `photometry todo merge OUT PART...` brings them together again.
    """


@command.command()
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
        click.echo(json.dumps(made.summary(), indent=1))
    elif not quiet:
        click.echo(_report(made.summary(), options["dry_run"]))


@command.command(short_help="One TODO-file as several, for several runs at the same time.")
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
        click.echo(
            json.dumps(
                {"parts": [{"todo_file": path, "targets": n} for path, n in made.items()]}, indent=1
            )
        )
        return
    for path, n in made.items():
        click.echo(f"{path}: {n} targets")


@command.command(short_help="The parts of a TODO-file as one again, with all that was done.")
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
        click.echo(
            json.dumps({"todo_file": str(output), "targets": n_rows, "parts": len(parts)}, indent=1)
        )
    else:
        click.echo(f"{output}: {n_rows} targets from {len(parts)} files")


def _report(summary, dry_run):
    """A few lines for people."""
    listed = ", ".join(f"{number} {name}" for name, number in summary["by_datasource"].items())
    lines = [
        f"{summary['todo_file']}: {summary['targets']} targets "
        f"({listed}){', not written: dry run' if dry_run else ''}"
    ]
    lines += [f"  {number} {name}" for name, number in summary["other_files"].items()]
    if summary["damaged_files"]:
        lines.append(
            f"  {len(summary['damaged_files'])} damaged files, whose targets will end as ERROR"
        )
    if summary["left_out_by_template"]:
        lines.append(f"  {summary['left_out_by_template']} targets left out by the template")
    if summary["without_magnitude"]:
        lines.append(f"  {summary['without_magnitude']} targets without a magnitude, at the end")
    return "\n".join(lines)
