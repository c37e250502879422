"""``photometry demo``: simulate stars, measure them with MPI, look at the result."""

import click


@click.command()
@click.argument(
    "folder", metavar="[FOLDER]", required=False, default="demo", type=click.Path(file_okay=False)
)
def command(folder):
    """Show the program at work: simulate stars, measure them with MPI, look at the result.

    Every command is shown before it is run, so that it can be typed by hand afterwards. FOLDER
    [demo] is emptied first, if it is the demo's own.
    """
    from pathlib import Path

    from ..demo.show import show

    show(Path(folder))
