"""``photometry simulate ffi``."""

from pathlib import Path

import click

from ._options import folder_argument, json_option, show_json
from ._progress import Bars


@click.command()
@folder_argument(file_okay=False, path_type=Path)
@click.option(
    "--size", default=256, show_default=True, help="Rows and columns, 16 to 2048, a whole CCD."
)
@click.option(
    "--frames",
    default=300,
    show_default=True,
    help="Exposures; some fall into the gap in the middle.",
)
@click.option("--stars", default=400, show_default=True, help="Number of stars down to --faint.")
@click.option(
    "--seed", default=1, show_default=True, help="The same seed and options give the same pixels."
)
@click.option(
    "--cadence", default=1800, show_default=True, metavar="S", help="Seconds between exposures."
)
@click.option("--sector", default=1, show_default=True)
@click.option("--camera", default=1, show_default=True)
@click.option("--ccd", default=1, show_default=True)
@click.option(
    "--ra", default=90.0, show_default=True, help="Where the middle of the image looks [deg]."
)
@click.option(
    "--decl", default=-60.0, show_default=True, help="Where the middle of the image looks [deg]."
)
@click.option(
    "--bright", default=6.0, show_default=True, help="Magnitude of the brightest possible star."
)
@click.option(
    "--faint", default=15.0, show_default=True, help="Magnitude of the faintest of these stars."
)
@click.option(
    "--fainter",
    default=5.0,
    show_default=True,
    help="How far stars go on below --faint [mag], 0: end there.",
)
@click.option(
    "--jitter", default=0.002, show_default=True, help="Pointing jitter in each axis [pixels]."
)
@click.option(
    "--background",
    default=100.0,
    show_default=True,
    help="Sky in the middle of the image [e-/s per pixel].",
)
@click.option(
    "--glow",
    default=20.0,
    show_default=True,
    help="In the corner far from the camera's centre [e-/s].",
)
@click.option(
    "--scattered", default=60.0, show_default=True, help="Largest scattered light [e-/s per pixel]."
)
@click.option("--asteroids", default=0, show_default=True, help="Number of moving objects.")
@click.option(
    "--collateral",
    is_flag=True,
    help="With the columns and rows that see no sky, as the mission's files.",
)
@click.option(
    "--catalog",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the stars from a file instead of drawing them.",
)
@click.option(
    "--prf",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the mission's PRF files [an analytic PRF].",
)
@json_option()
def ffi(folder, as_json, frames, background, glow, scattered, catalog, prf, **options):
    """Make full-frame images of one CCD as TESS's calibrated ones.

    The stars follow a luminosity function; some have transits, eclipses or pulsations. DIR gets
    ffi/*.fits, catalog.ecsv (all stars to 3 magnitudes below --faint) and truth.ecsv (what was put
    in). DIR must be empty, or hold the same simulation.
    """

    from ..simulate.fullframe import simulate_full_frames
    from ..simulate.fullframe_scene import Sky

    options["n_frames"] = frames
    options["sky"] = Sky(level=background, glow=glow, scattered=scattered)
    if catalog is not None:
        from ..catalog.tables import read_stars

        options["stars"] = read_stars(catalog)
    if prf is not None:
        from ..methods.prf import TessPRF

        options["prf"] = TessPRF.read(prf, options["camera"], options["ccd"], options["sector"])
    with Bars() as bars:
        simulation = simulate_full_frames(folder, progress=bars.stage("exposures"), **options)
    if as_json:
        numbers = {"images": len(simulation.exposures), "stars": len(simulation.stars)}
        show_json({"folder": folder, **numbers, "size": simulation.size})
        return
    click.echo(
        f"{folder}: {len(simulation.exposures)} full-frame images of {simulation.size} x "
        f"{simulation.size} pixels with "
        f"{len(simulation.stars)} stars; catalog.ecsv and truth.ecsv say what is in them"
    )
