"""Data with known truth: the verb simulate."""

import logging
from functools import partial
from pathlib import Path

import click

from ._options import Bars, folder_argument, json_option, set_up_logging, show_json


@click.group()
def simulate():
    """Make data with known truth: what is put in is written beside the data."""


@simulate.command()
@folder_argument(file_okay=False, path_type=Path)
@click.option(
    "--mission",
    type=click.Choice(["TESS", "Kepler", "K2"], case_sensitive=False),
    default="TESS",
    show_default=True,
    help="Whose files, detector, zero point and flags.",
)
@click.option("--targets", default=60, show_default=True, help="Stars with a target pixel file.")
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
    "--cadence",
    type=int,
    metavar="S",
    help="Seconds between exposures [TESS 120; Kepler, K2 1800].",
)
@click.option("--sector", type=int, help="Also a quarter or campaign [1; K2 5].")
@click.option("--camera", type=int, help="Also a module [TESS 1; Kepler, K2 13].")
@click.option("--ccd", type=int, help="Also an output [1].")
@click.option("--ra", type=float, help="Where the camera points, deg [of the mission].")
@click.option("--decl", type=float, help="Where the camera points, deg [of the mission].")
@click.option(
    "--tmag-min",
    type=float,
    help="Magnitude of the brightest targets [TESS 7.5, Kepler 12, K2 11].",
)
@click.option(
    "--tmag-max",
    type=float,
    help="Magnitude of the faintest targets [TESS 12.5, Kepler 15, K2 14].",
)
@click.option(
    "--isolated",
    default=0.5,
    show_default=True,
    metavar="FRACTION",
    help="Targets without neighbours.",
)
@click.option(
    "--neighbours",
    default=3.0,
    show_default=True,
    metavar="N",
    help="Faint stars in the stamp of each other target, on average; each also gets a brighter "
    "companion.",
)
@click.option(
    "--transits", default=0.3, show_default=True, metavar="FRACTION", help="Targets with transits."
)
@click.option(
    "--variables",
    default=0.2,
    show_default=True,
    metavar="FRACTION",
    help="Targets with a sinusoidal variation.",
)
@click.option(
    "--saturated",
    default=0,
    show_default=True,
    metavar="N",
    help="Targets whose charge runs along the columns.",
)
@click.option(
    "--truncated",
    default=0,
    show_default=True,
    metavar="N",
    help="Files that are cut off, as by a broken download.",
)
@click.option(
    "--background", type=float, help="Background, e-/s per pixel [TESS 100; Kepler, K2 275]."
)
@click.option(
    "--jitter",
    type=float,
    help="Pointing jitter in each axis, pixels [TESS, K2 0.01; Kepler 0.003].",
)
@click.option(
    "--stamp",
    metavar="PIXELS",
    help="Height and width of the stamps, as 11 or 4x6 [TESS 11, Kepler 7, K2 9].",
)
@click.option(
    "--empty",
    default=0,
    show_default=True,
    metavar="N",
    help="Exposures without any value though nothing is flagged.",
)
@click.option("--errors/--no-errors", default=True, help="Whether FLUX_ERR has values.")
@click.option("--catalog/--no-catalog", default=True, help="Whether there is a catalog.ecsv.")
@click.option(
    "--prf",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with TESS's PRF files [an analytic PRF].",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier simulation in DIR.")
@json_option()
def tpf(folder, prf, overwrite, as_json, **options):
    """Make target pixel files as those of TESS, Kepler or K2: stars with neighbours, transits,
    variability, jitter, noise.

    Beside the files, DIR gets catalog.ecsv (all stars) and truth.ecsv (what was put in, target by
    target). DIR must be empty, or hold an earlier simulation.
    """
    from ..methods.prf import open_prf
    from ..simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

    set_up_logging(logging.INFO)
    settings = TargetPixelSettings(**options)
    if prf is not None:
        if settings.mission != "TESS":
            raise click.UsageError(f"--prf: files of TESS, which say nothing of {settings.mission}")
        prf = open_prf(prf, settings.camera, settings.ccd, settings.sector)
    with Bars() as bars:
        progress = partial(bars.track, name="target pixel files")
        truth = simulate_target_pixel_files(
            folder, settings, prf=prf, overwrite=overwrite, progress=progress
        )
    if as_json:
        show_json({"folder": folder, "files": len(truth), "times": settings.times})
        return
    with_transits = (truth["transit_depth"] > 0).sum()
    click.echo(
        f"{folder}: {len(truth)} target pixel files of {settings.times} exposures, "
        f"{with_transits} with transits; truth.ecsv says what is in them"
    )


@simulate.command()
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
        f"{len(simulation.stars)} stars; truth.ecsv says what is in them"
    )


@simulate.command()
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


class Frequencies(click.ParamType):
    """Frequencies, separated by commas."""

    name = "MHZ[,MHZ...]"

    def convert(self, value, param, ctx):
        try:
            numbers = [float(part) for part in str(value).split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(0 < number < 1e9 for number in numbers):
            self.fail(f"{value!r}: expected frequencies like 150 or 150,170", param, ctx)
        return numbers


# options of one kind of series only, by parameter, with the value for that kind
_RADIO = {"frequencies": [150.0], "pointings": 1, "noise": 1.0, "steady": False}
_OPTICAL = {"drift": 200.0, "clouds": 0.6, "transit": 0.02, "coordinates": False}


@simulate.command()
@folder_argument(file_okay=False, path_type=Path)
@click.option(
    "--optical", is_flag=True, help="Frames of a small telescope; without it, radio images."
)
@click.option(
    "--epochs", type=click.IntRange(1), metavar="N", help="Images of a band [20; optical 60]."
)
@click.option(
    "--size",
    type=click.IntRange(128, 8192),
    default=512,
    show_default=True,
    metavar="PIXELS",
    help="Height and width.",
)
@click.option(
    "--sources",
    type=click.IntRange(1),
    metavar="N",
    help="Steady radio sources of 20 to 200 noises [20]; or stars [300].",
)
@click.option(
    "--seed", default=1, show_default=True, help="The same seed and options give the same bytes."
)
@click.option("--frequencies", type=Frequencies(), help="One image each per epoch [150].")
@click.option(
    "--pointings",
    type=click.IntRange(1, 9),
    metavar="N",
    help="Directions taken in turn, a third of the field apart [1].",
)
@click.option(
    "--noise", type=click.FloatRange(0, min_open=True), metavar="MJY", help="Per beam [1]."
)
@click.option("--steady", is_flag=True, help="Without a transient, a flare and a fader.")
@click.option(
    "--drift",
    type=click.FloatRange(0),
    metavar="PIXELS",
    help="Of the field, from the first frame to the last [200].",
)
@click.option(
    "--clouds",
    type=click.FloatRange(0, 1),
    metavar="FRACTION",
    help="Largest part of the light that clouds take [0.6].",
)
@click.option(
    "--transit",
    type=click.FloatRange(0, 1),
    metavar="DEPTH",
    help="Of the brightest star, in the middle fifth [0.02].",
)
@click.option("--coordinates", is_flag=True, help="Headers of frames have coordinates.")
@json_option()
def images(folder, optical, epochs, size, sources, seed, as_json, **options):
    """Simulate images in time order, for photometry transients.

    Radio images have steady sources, a transient, a flare and a fader, in noise that is correlated
    by the beam. Frames of a small telescope (--optical) have stars, one of them with a transit, in
    a field that drifts, with a meridian flip, clouds and changing seeing.

    DIR gets one FITS file per image, and truth.json: what is in them. DIR must be new or empty.
    """
    from ..errors import WrongUseError

    mine, others = (_OPTICAL, _RADIO) if optical else (_RADIO, _OPTICAL)
    for name in others:
        if options[name] not in (None, False):
            kind = "radio images, not with" if optical else "frames, with"
            raise click.UsageError(f"--{name}: is for {kind} --optical")
    if folder.exists() and any(folder.iterdir()):
        raise WrongUseError(f"{folder}: is not empty; expected a new or an empty folder")
    options = {k: v if options[k] is None else options[k] for k, v in mine.items()}
    make = _optical if optical else _radio
    series = make(epochs, (size, size), sources, seed, **options)
    paths = series.write(folder)
    if as_json:
        show_json({"folder": folder, "files": len(paths)})
        return
    click.echo(f"{folder}: {len(paths)} images; truth.json says what is in them")


def _radio(epochs, shape, sources, seed, *, frequencies, pointings, noise, steady):
    from ..simulate.imageseries import RadioSeries, simulated_series

    ra, decl = RadioSeries.pointings[0]
    step = shape[1] * RadioSeries.pixel / 3600 / 3
    return simulated_series(
        epochs or 20, sources or 20, changing=not steady, seed=seed, shape=shape,
        frequencies=tuple(1e6 * number for number in frequencies), noise=1e-3 * noise,
        pointings=tuple((ra, decl + step * number) for number in range(pointings)),
    )  # fmt: skip


def _optical(epochs, shape, sources, seed, *, drift, clouds, transit, coordinates):
    from ..simulate.opticalseries import OpticalSeries

    return OpticalSeries(
        n_frames=epochs or 60, shape=shape, n_stars=sources or 300, seed=seed, drift=drift,
        clouds=clouds, transit_depth=transit, with_wcs=coordinates,
    )  # fmt: skip
