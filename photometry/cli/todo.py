"""``photometry todo``: make a TODO-file."""

import json
import logging
from pathlib import Path

import click

from ._options import set_up_logging


class _Todo(click.Group):
    """`photometry todo TEMPLATE DIR` makes a TODO-file; other first words may be commands."""

    def parse_args(self, ctx, args):
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Todo, subcommand_metavar="TEMPLATE DIR [OPTIONS]")
def command():
    """Make the TODO-file of a folder of data: DIR/todo.sqlite, one row per target.

    TEMPLATE is a TOML file, or the name of one that comes with the program: tpf (target pixel files, with the other stars on
    their pixels), tpf-primaries, ffi (image cubes), table. `photometry todo make --help` shows the options.
    """


@command.command()
@click.argument("template")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--table", type=click.Path(path_type=Path), help="Table of targets, instead of the one the template names."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing TODO-file, and with it the results it holds.")
@click.option("--dry-run", is_flag=True, help="Tell what would be written; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Tell it as JSON.")
@click.option("--quiet", is_flag=True, help="Only warnings and errors.")
def make(template, folder, as_json, quiet, **options):
    """Make DIR/todo.sqlite as TEMPLATE says."""
    from ..todolist.make import make_todo

    set_up_logging(logging.WARNING if quiet else logging.INFO)
    made = make_todo(template, folder, progress=_progress_bar(quiet), **options)
    if as_json:
        click.echo(json.dumps(made.summary(), indent=1))
    elif not quiet:
        click.echo(_report(made.summary(), options["dry_run"]))


def _report(summary, dry_run):
    """A few lines for people."""
    listed = ", ".join(f"{number} {name}" for name, number in summary["by_datasource"].items())
    lines = [
        f"{summary['todo_file']}: {summary['targets']} targets ({listed}){', not written: dry run' if dry_run else ''}"
    ]
    lines += [f"  {number} {name}" for name, number in summary["other_files"].items()]
    if summary["damaged_files"]:
        lines.append(f"  {len(summary['damaged_files'])} damaged files, whose targets will end as ERROR")
    if summary["left_out_by_template"]:
        lines.append(f"  {summary['left_out_by_template']} targets left out by the template")
    if summary["without_magnitude"]:
        lines.append(f"  {summary['without_magnitude']} targets without a magnitude, at the end")
    return "\n".join(lines)


def _progress_bar(quiet):
    """Wraps a sequence in a progress bar on a terminal, and in nothing elsewhere."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    return lambda things: track(things, "looking into files", console=console, disable=hidden, transient=True)
