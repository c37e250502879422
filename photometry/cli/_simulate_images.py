"""``photometry simulate images``: series of radio images and optical frames."""

from pathlib import Path

import click

from ._options import folder_argument, json_option, show_json


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


@click.command()
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
