"""Options that the verbs of ``photometry chain`` share, and how they show things."""

import csv
import functools
import sys

import click

from ._options import json_option as shared_json_option
from ._options import show_json


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


def show_status(found):
    click.echo(f"job {found['job'] or '<untitled>'} ({found['id']}): {found['state']}")
    for name, count in sorted(found["counts"].items()):
        click.echo(f"  {count:8d}  {name}")


def table(rows, as_json=False, as_csv=False):
    """Rows of equal or different columns as a table, JSON or CSV."""
    if as_json:
        show_json(rows)
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
