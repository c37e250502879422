"""``photometry stitch``: one light curve from the parts of one star."""

import click

from ..errors import TargetError
from ._options import json_option, show_json
from ._progress import Bars
from ._transits import INPUT, Finite, read_lightcurves


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", type=INPUT, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    required=True,
    metavar="FITS",
    help="The file to write.",
)
@click.option("--flux", metavar="COLUMN", help="Column; by default the corrected flux.")
@click.option(
    "--detrend",
    type=Finite(min=0),
    default=0.0,
    show_default=True,
    metavar="DAYS",
    help="Remove the trend of each part with this window; 0: keep it.",
)
@json_option()
def command(files, output, flux, detrend, as_json):
    """Join FILEs, parts (sectors, quarters, campaigns) of one star, into one light curve.

    Each part is divided by its level, after the light of other stars (CROWDSAP) was taken from it,
    unless its flux has that correction already. Exit code 1: some parts could not be joined.
    """
    from ..lightcurve.parts import stitch, write_stitched

    def report(error, path):
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        click.echo(f"photometry: {message}", err=True)

    lightcurves, failed = read_lightcurves(files, flux, report)
    if not lightcurves:
        return 1
    try:
        with Bars(quiet=as_json) as bars:
            lc = stitch(lightcurves, window=detrend or None, progress=bars.stage("joining"))
    except TargetError as error:
        click.echo(f"photometry: {error}", err=True)
        return 1
    write_stitched(lc, output)
    parts = lc.metadata["parts"]
    if as_json:
        show_json({"path": output, "samples": len(lc), "parts": [vars(part) for part in parts]})
        return 1 if failed else 0
    click.echo(f"{output}: {len(parts)} parts, {len(lc)} samples, {lc.duration():.1f} d")
    for part in parts:
        crowding = "unknown" if part.crowding != part.crowding else f"{part.crowding:.4f}"
        click.echo(
            f"  {part.name}: {part.samples} good samples, level {part.level:.6g}, "
            f"crowding {crowding}, scatter {1e6 * part.noise:.0f} ppm"
        )
    if len(parts) == 1:
        click.echo("  one part only: nothing was joined")
    return 1 if failed else 0
