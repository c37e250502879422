"""``photometry quick``: from a folder of files to pictures, in one go."""

import click

from ._options import folder_argument, json_option, show_json

MOST_DRAWN = 48
SHEET = "sheet.png"


@click.command()
@folder_argument(exists=True, file_okay=False)
@click.option("--workers", type=click.IntRange(min=0), help="Local processes [number of cores].")
@click.option("--method", help="Method for all targets.")
@json_option()
def command(folder, workers, method, as_json):
    """Make the light curves of a folder of target pixel files, and look at them: no questions
    asked.

    The same as photometry todo tpf, doctor, run, status and plot --sheet. What is done already is
    not done again; use these commands one by one for everything else.
    """
    import contextlib
    import sys
    from pathlib import Path

    from ..report.status import read_summary

    folder = Path(folder)
    if not as_json:
        return _all(folder, workers, method)
    with contextlib.redirect_stdout(sys.stderr):
        code = _all(folder, workers, method)
    sheet = folder / "lightcurves" / SHEET
    show_json({**read_summary(folder), "sheet": sheet if sheet.exists() else None})
    return code


def _all(folder, workers, method):
    """What the command does; the exit code of the run."""
    if not (folder / "todo.sqlite").exists():
        _do("todo", "tpf", folder)
    _do("doctor", folder, "--no-mpi")
    options = [] if workers is None else ["--workers", workers]
    options += [] if method is None else ["--method", method]
    code = _do("run", folder, "--quiet", *options)
    _do("status", folder)
    files = _some_lightcurves(folder)
    if files and _can_draw():
        _do("plot", "--sheet", "--output", folder / "lightcurves" / SHEET, *files)
    return code


def _do(*words):
    """Show a command, do it, and give its exit code."""
    from . import cli

    words = [str(word) for word in words]
    shown = words if len(words) < 9 else [*words[:5], "…"]
    click.secho(f"\n$ photometry {' '.join(shown)}", bold=True)
    return cli.main(args=words, prog_name="photometry", standalone_mode=False) or 0


def _some_lightcurves(folder):
    from ..lightcurve.correct import lightcurve_files

    return lightcurve_files(folder / "lightcurves")[:MOST_DRAWN]


def _can_draw():
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        click.echo("photometry: no pictures: pip install 'photometry[plots]'", err=True)
        return False
    return True
