"""From data to a first picture: the verbs catalog, prepare and quick."""

import contextlib
import dataclasses
import logging
import sys
from pathlib import Path

import click

from ..processes import ALGEBRA_VARIABLES, StopNow, StopRequests, limit_threads
from . import EXIT_FAILED, EXIT_OK, EXIT_UNFINISHED
from ._options import (
    Bars,
    Numbers,
    folder_argument,
    json_option,
    logging_options,
    set_up_logging,
    show_json,
)

# --- catalog


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
def catalog(folder, stars, sector, camera, ccd, epoch, ticver, as_json):
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


# --- prepare


@click.command()
@folder_argument(path_type=Path)
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the cubes [DIR]."
)
@click.option("--sector", type=int, help="Only this sector (Kepler: quarter).")
@click.option("--camera", type=int, help="Only this camera (Kepler: module).")
@click.option("--ccd", type=int, help="Only this CCD (Kepler: output).")
@click.option("--workers", type=int, help="Processes [as many as this job has processors].")
@click.option(
    "--memory",
    default=1.8,
    show_default=True,
    metavar="GIB",
    help="Memory of all processes together.",
)
@click.option("--overwrite", is_flag=True, help="Make cubes anew that are there already.")
@json_option()
@logging_options
def prepare(folder, output, sector, camera, ccd, workers, memory, overwrite, as_json, quiet):
    """Make image cubes, one HDF5 file per CCD, from the full-frame images in DIR and the folders
    below it.

    Reads the calibrated full-frame images of TESS (SPOC's ..._ffic.fits and TICA's), TessCut
    cut-outs, and full-frame images of Kepler and K2. The background is measured and removed, bad
    images are found and flagged, the movement of the stars is measured. The cube needs 13 bytes on
    the disk per pixel and image: 55 MB per image of a whole TESS CCD.

    Interrupted at any moment, the same command goes on where it stopped, and the result is the
    same.

    Exit code 1: some files could not be read and were left out.
    """
    limit_threads(names=ALGEBRA_VARIABLES)
    from ..prepare import driver

    workers = driver.default_workers() if workers is None else workers
    driver.refuse_bad_numbers(workers, memory * driver.GIB)
    try:
        # also where the shell makes the program ignore Ctrl-C, as for what a script starts in the
        # background
        with StopRequests(_stop).active(), Bars(quiet) as progress:
            report = driver.prepare(
                folder,
                output,
                sector=sector,
                camera=camera,
                ccd=ccd,
                workers=workers,
                memory=memory * driver.GIB,
                overwrite=overwrite,
                progress=progress,
            )
    except StopNow as stop:
        click.echo(
            f"photometry: {stop}: what is finished is kept; the same command goes on from there",
            err=True,
        )
        return EXIT_UNFINISHED
    _show(report, as_json)
    return EXIT_FAILED if report.skipped else EXIT_OK


def _stop(name):
    raise StopNow(name)


def _show(report, as_json):
    if as_json:
        show_json(dataclasses.asdict(report))
        return
    for cube in report.cubes:
        made = f"made in {cube.seconds:.0f} s" if cube.new else "was there already"
        click.echo(f"{cube.path}: {cube.n_frames} images, {cube.n_bad} of them found bad; {made}")
    if report.skipped:
        click.echo(f"{len(report.skipped)} files were left out:", err=True)
    for problem in report.skipped:
        click.echo(f"  {problem}", err=True)


# --- quick

MOST_DRAWN = 48
SHEET = "sheet.png"


@click.command()
@folder_argument(exists=True, file_okay=False)
@click.option("--workers", type=click.IntRange(min=0), help="Local processes [number of cores].")
@click.option("--method", help="Method for all targets.")
@json_option()
def quick(folder, workers, method, as_json):
    """Make the light curves of a folder of target pixel files, and look at them: no questions
    asked.

    The same as photometry todo tpf, doctor, run, status and plot --sheet. What is done already is
    not done again; use these commands one by one for everything else.
    """
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
