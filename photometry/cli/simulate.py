"""``photometry simulate``: data with known truth."""

from functools import partial
from pathlib import Path

import click

from ._options import set_up_logging
from ._progress import Bars
from ._simulate_ffi import ffi
from ._simulate_lightcurves import lightcurves


@click.group()
def command():
    """Make data with known truth: what is put in is written beside the data."""


command.add_command(ffi)
command.add_command(lightcurves)


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--targets", default=60, show_default=True, help="Number of stars with a target pixel file."
)
@click.option(
    "--times",
    default=1000,
    show_default=True,
    help="Number of exposures; a sector of 2 minutes has 20,000.",
)
@click.option(
    "--seed", default=1, show_default=True, help="The same seed and options give the same bytes."
)
@click.option(
    "--cadence", default=120, show_default=True, metavar="S", help="Seconds between exposures."
)
@click.option("--sector", default=1, show_default=True)
@click.option("--camera", default=1, show_default=True)
@click.option("--ccd", default=1, show_default=True)
@click.option("--ra", default=84.0, show_default=True, help="Where the camera points [deg].")
@click.option("--decl", default=-66.0, show_default=True, help="Where the camera points [deg].")
@click.option(
    "--tmag-min", default=7.5, show_default=True, help="Magnitude of the brightest targets."
)
@click.option(
    "--tmag-max", default=12.5, show_default=True, help="Magnitude of the faintest targets."
)
@click.option(
    "--isolated",
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of the targets without neighbours.",
)
@click.option(
    "--neighbours",
    default=3.0,
    show_default=True,
    metavar="N",
    help="Faint stars in the stamp of each other target, on average; each also gets a brighter companion.",
)
@click.option(
    "--transits",
    default=0.3,
    show_default=True,
    metavar="SHARE",
    help="Share of the targets with transits.",
)
@click.option(
    "--variables",
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="Share of the targets with a sinusoidal variation.",
)
@click.option(
    "--saturated",
    default=0,
    show_default=True,
    metavar="N",
    help="Targets of magnitude 4 to 5, whose charge runs along the columns.",
)
@click.option(
    "--truncated",
    default=0,
    show_default=True,
    metavar="N",
    help="Files that are cut off, as by a broken download.",
)
@click.option("--background", default=100.0, show_default=True, help="Background [e-/s per pixel].")
@click.option(
    "--jitter", default=0.01, show_default=True, help="Pointing jitter in each axis [pixels]."
)
@click.option(
    "--stamp", default=11, show_default=True, help="Height and width of the stamps [pixels]."
)
@click.option(
    "--prf",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the mission's PRF files [an analytic PRF].",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier simulation in DIR.")
def tpf(folder, prf, overwrite, **options):
    """Make TESS target pixel files as SPOC's: stars with neighbours, transits, variability, pointing jitter, noise.

    Beside the files, DIR gets catalog.ecsv (all stars) and truth.ecsv (what was put in, target by target).
    """
    import logging

    from ..methods.prf import open_prf
    from ..simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

    set_up_logging(logging.INFO)
    settings = TargetPixelSettings(**options)
    prf = open_prf(prf, settings.camera, settings.ccd, settings.sector)
    with Bars() as bars:
        progress = partial(bars.track, name="target pixel files")
        truth = simulate_target_pixel_files(
            folder, settings, prf=prf, overwrite=overwrite, progress=progress
        )
    with_transits = (truth["transit_depth"] > 0).sum()
    click.echo(
        f"{folder}: {len(truth)} target pixel files of {settings.times} exposures, {with_transits} stars with transits; "
        "catalog.ecsv and truth.ecsv tell what is in them"
    )
