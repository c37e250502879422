"""``photometry plot``: draw light curves from their files."""

import click

from ._options import json_option, show_json


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--output",
    type=click.Path(),
    help="Picture (.png, .pdf, .svg), or a folder for pictures [beside the light curves].",
)
@click.option("--fold", type=float, metavar="DAYS", help="Fold with this period.")
@click.option("--t0", type=float, metavar="DAYS", help="Time to put in the middle of the fold.")
@json_option()
@click.option("--sheet", is_flag=True, help="All on one page, which --output names.")
@click.option(
    "--format", "ending", type=click.Choice(["png", "pdf", "svg"]), default="png", show_default=True
)
def command(files, output, fold, t0, as_json, sheet, ending):
    """Draw light curves: stamp and mask, flux, background and centroid, or folded, or many on a
    sheet.

    FILE is a light-curve file of photometry, or a folder of them. Nothing else is read: pictures
    can be made where the pixels are not. Exit code 1: some files could not be drawn.
    """
    from pathlib import Path

    from ..errors import BadInputError
    from ..lightcurve.correct import lightcurve_files
    from ..report.plots import plot_file, plot_sheet, read_curve

    paths = []
    for name in map(Path, files):
        paths += lightcurve_files(name) if name.is_dir() else [name]
    if not paths:
        raise click.UsageError(f"{files[0]}: no light curves (*_lc.fits, *_lc.fits.gz) in it")
    if sheet and not output:
        raise click.UsageError("--sheet: say with --output which picture to write")
    curves, pictures, problems = [], [], []
    for path in paths:
        try:
            curves.append(read_curve(path))
            if not sheet:
                picture = _picture(path, output, ending, several=len(paths) > 1)
                plot_file(picture, curves.pop(), fold=fold, t0=t0)
                pictures.append(str(picture))
                if not as_json:
                    click.echo(picture)
        except (BadInputError, FileNotFoundError) as error:
            reason = error if isinstance(error, BadInputError) else f"{path}: there is no such file"
            problems.append(str(reason))
            click.echo(f"photometry: {reason}", err=True)
    if sheet and curves:
        plot_sheet(Path(output), curves)
        pictures.append(output)
        if not as_json:
            click.echo(output)
    if as_json:
        show_json({"pictures": pictures, "problems": problems})
    return 1 if problems else 0


def _picture(path, output, ending, several):
    from pathlib import Path

    from ..report.plots import ENDINGS

    name = path.name.removesuffix(".gz").removesuffix(".fits") + f".{ending}"
    if output is None:
        return path.with_name(name)
    if not several and Path(output).suffix in ENDINGS:
        return Path(output)
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(
            f"{output}: cannot be made ({error.strerror}); expected a folder, or a file that ends "
            f"with one of {', '.join(ENDINGS)}"
        ) from None
    return Path(output) / name
