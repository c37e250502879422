"""``photometry simulate lightcurves``: many stars with common trends, without pixels."""

from pathlib import Path

import click

from ._options import folder_argument, json_option, show_json


@click.command()
@folder_argument(file_okay=False, path_type=Path)
@click.option("--stars", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--times",
    type=click.IntRange(min=100),
    default=1300,
    show_default=True,
    help="Number of samples, one each half hour.",
)
@click.option(
    "--strength",
    type=click.FloatRange(min=0),
    default=11.0,
    show_default=True,
    help="Trends of a typical star over its photon noise.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="The same seed and options give the same bytes.",
)
@click.option("--sector", type=click.IntRange(min=1), default=1, show_default=True)
@json_option()
def lightcurves(folder, stars, times, strength, seed, sector, as_json):
    """Simulate light curves with common trends, as if a run had made them.

    DIR gets todo.sqlite, lightcurves/ and truth.ecsv: rotation, planets, eclipsing binaries, those
    of faint stars in the background, and what is in each. For photometry cotrend, correct, search
    and vet.
    """
    from ..errors import WrongUseError
    from ..simulate.ensemble import ensemble, write_ensemble

    if folder.exists() and any(folder.iterdir()):
        raise WrongUseError(f"{folder}: is not empty; expected a new or an empty folder")
    made = ensemble(seed, n_stars=stars, n_times=times, strength=strength)
    paths = write_ensemble(folder, made, sector=sector)
    if as_json:
        show_json({"folder": folder, "files": len(paths), "times": len(made.time)})
        return
    click.echo(
        f"{folder}: {len(paths)} light curves of {len(made.time)} samples; truth.ecsv says what is "
        f"in them"
    )
