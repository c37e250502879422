"""``photometry log``: what the work on a target logged."""

import click


@click.command()
@click.argument("words", metavar="[DIR] STARID", nargs=-1, required=True)
@click.option(
    "--json", "as_json", is_flag=True, help="The records themselves, one JSON object a line."
)
def command(words, as_json):
    """Show what the work on star STARID logged, in all runs that wrote to DIR.

    DIR is the folder of the light curves, or that of the TODO-file; without it, TESSPHOT_OUTPUT, TESSPHOT_INPUT or this
    folder.
    """
    import json

    from ..scheduler.tasklog import read_log

    where, starid = _where_and_star(words)
    path = _log_of(where)
    records = list(read_log(path, name=starid))
    for record in records:
        click.echo(json.dumps(record) if as_json else _sentence(record))
    if not records and not as_json:
        click.echo(f"nothing was logged for star {starid} in {path}")


def _where_and_star(words):
    """The folder and the star, in either order."""
    import os

    stars = [word for word in words if word.isdigit()]
    folders = [word for word in words if not word.isdigit()]
    if len(stars) != 1 or len(folders) > 1:
        raise click.UsageError(
            f"{' '.join(words)!r}: expected one star number, and at most one folder"
        )
    default = os.environ.get("TESSPHOT_OUTPUT") or os.environ.get("TESSPHOT_INPUT") or "."
    return (folders or [default])[0], int(stars[0])


def _log_of(where):
    """The log file of a folder of light curves, or of a TODO-file."""
    from pathlib import Path

    from ..errors import WrongUseError
    from ..report.status import read_summary
    from ..scheduler.tasklog import LOG_NAME

    path = Path(where) / LOG_NAME
    if not path.is_file():
        path = Path(read_summary(where).get("output", where)) / LOG_NAME
    if not path.is_file():
        raise WrongUseError(
            f"{where}: there is no {LOG_NAME}; expected the folder of a run's light curves"
        )
    return path


def _sentence(record):
    from ..scheduler.progress import timestamp

    return f"{timestamp(record['time'])} {record['level']:<7} {record['message']}"
