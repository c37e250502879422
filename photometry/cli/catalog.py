"""``photometry catalog``: from a table of stars to the catalogues of single CCDs."""

import logging
from pathlib import Path

import click

from ._options import Numbers, folder_argument, json_option, set_up_logging, show_json


@click.command()
@folder_argument(path_type=Path)
@click.option(
    "--stars",
    type=click.Path(path_type=Path),
    help="Table of stars [DIR/catalog.ecsv, .csv, .fits, .vot or .parquet].",
)
@click.option(
    "--sector", type=Numbers(), help="For these sectors [those of the FITS files in DIR]."
)
@click.option(
    "--camera", type=Numbers(), help="For these cameras [those of the FITS files in DIR]."
)
@click.option("--ccd", type=Numbers(), help="For these CCDs [those of the FITS files in DIR].")
@click.option(
    "--epoch",
    type=float,
    metavar="YEAR",
    help="Julian year to which proper motion moves the stars [that of the sector].",
)
@click.option(
    "--ticver",
    help="Version of the TESS Input Catalog, or any text that says where the stars come from.",
)
@json_option()
def command(folder, stars, sector, camera, ccd, epoch, ticver, as_json):
    """Make the star catalogue of each CCD: DIR/catalog_sectorSSS_cameraC_ccdD.sqlite.

    The columns of the table may be called as in the TIC, in Gaia's archive, or as this program
    calls them: starid, ra, decl, pm_ra, pm_decl, tmag, teff. With full-frame images or cubes in
    DIR, a CCD gets the stars that fall on it and a little beside it; else all.
    """
    from ..prepare.catalogs import make_catalogs

    set_up_logging(logging.INFO)
    chosen = {"sector": sector, "camera": camera, "ccd": ccd}
    made = make_catalogs(folder, stars=stars, chosen=chosen, epoch=epoch, ticver=ticver)
    if as_json:
        show_json([{"catalog": str(path), "stars": number} for path, number in made])
        return
    for path, number in made:
        click.echo(f"{path}: {number} stars")
