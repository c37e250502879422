"""``photometry log``: what the work on a target logged."""

import click


@click.command()
@click.argument("where", metavar="DIR", type=click.Path(exists=True))
@click.argument("starid", type=int)
@click.option("--json", "as_json", is_flag=True, help="The records themselves, one JSON object a line.")
def command(where, starid, as_json):
    """Show what the work on star STARID logged, in all runs that wrote to DIR.

    DIR is the folder of the light curves, or that of the TODO-file.
    """
    import json
    from pathlib import Path

    from ..errors import WrongUseError
    from ..report.status import read_summary
    from ..scheduler.tasklog import LOG_NAME, read_log

    path = Path(where) / LOG_NAME
    if not path.is_file():
        path = Path(read_summary(where).get("output", where)) / LOG_NAME
    if not path.is_file():
        raise WrongUseError(f"{where}: there is no {LOG_NAME}; expected the folder of a run's light curves")
    records = list(read_log(path, starid=starid))
    for record in records:
        click.echo(json.dumps(record) if as_json else _sentence(record))
    if not records and not as_json:
        click.echo(f"nothing was logged for star {starid} in {path}")


def _sentence(record):
    from ..scheduler.progress import timestamp

    return f"{timestamp(record['time'])} {record['level']:<7} {record['message']}"
