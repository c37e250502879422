"""``photometry correct``: fill FLUX_CORR and FLUX_CORR_ERR of our light curves."""

import json
import logging
from pathlib import Path

import click

from ..errors import TargetError
from ._options import folder_argument, json_option
from ._progress import Bars

log = logging.getLogger(__name__)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@folder_argument(exists=True)
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    default=1.5,
    show_default=True,
    metavar="DAYS",
    help="Window of the trend: at least 3 times the longest transit to keep.",
)
@click.option(
    "--method",
    type=click.Choice(["cotrend", "roll", "biweight"]),
    help="How [cotrend where there are basis vectors, else roll for K2, biweight for others].",
)
@click.option(
    "--vectors",
    type=click.Path(exists=True, dir_okay=False),
    help="File of basis vectors [OUTPUT/cotrend, made by photometry cotrend].",
)
@click.option(
    "--pixels",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of K2's target pixel files, for roll [DIR].",
)
@click.option("--overwrite", is_flag=True, help="Also light curves that are corrected already.")
@click.option("--dry-run", is_flag=True, help="Compute, but write nothing.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the work.",
)
@json_option("One JSON object per light curve, for programs.")
def command(folder, window, method, vectors, pixels, overwrite, dry_run, jobs, as_json):
    """Correct all light curves in DIR and below it (or one light curve).

    With basis vectors (photometry cotrend), what a star has in common with others is taken out, and
    its own variation stays. Without, of stars of K2 what the roll of the spacecraft does to them is
    taken out, from the position of the star and from its target pixel file where that is found. Of
    other stars the slow trend is divided out, a sliding biweight that keeps transits and nothing
    else. The result is in the columns FLUX_CORR and FLUX_CORR_ERR (ppm) of the same file, how it
    was made in its header. Files that are corrected already are left alone, so that an interrupted
    run is continued by calling it again. Exit code 1: some light curves could not be corrected.
    """
    paths = _paths(folder)
    if method == "roll" and not any(path.name.startswith("ktwo") for path in paths):
        raise click.UsageError(
            f"{folder}: none of the {len(paths)} light curves is of K2, whose spacecraft rolls; "
            "take --method cotrend or biweight"
        )
    options = {
        "window": window,
        "overwrite": overwrite,
        "dry_run": dry_run,
        "method": method,
        "vectors": vectors,
        "pixel_folder": pixels or (folder if Path(folder).is_dir() else Path(folder).parent),
    }
    counts = {"corrected": 0, "already": 0, "failed": 0}
    with Bars(quiet=as_json) as bars:
        for result in bars.track(_results(paths, options, jobs), "correcting", len(paths)):
            counts[
                "failed" if "error" in result else "corrected" if result["corrected"] else "already"
            ] += 1
            if as_json:
                click.echo(json.dumps(result))
            elif "error" in result:
                click.echo(f"photometry: {result['error']}", err=True)
    if not as_json:
        wrote = "would be corrected" if dry_run else "corrected"
        click.echo(
            f"{counts['corrected']} light curves {wrote}, {counts['already']} were corrected "
            f"before, {counts['failed']} failed"
        )
    return 1 if counts["failed"] else 0


def _paths(folder):
    from ..lightcurve.correct import lightcurve_files

    paths = [Path(folder)] if Path(folder).is_file() else lightcurve_files(folder)
    if not paths:
        raise click.UsageError(
            f"{folder}: no light curves (*_lc.fits, *_lc.fits.gz) in this folder or below it"
        )
    return paths


def _results(paths, options, jobs):
    """One dict per light curve, as they get ready"""
    from ..processes import Pool

    # numba's threads, which remove trends, do not survive a fork
    with Pool(jobs, _correct, options, start="spawn") as pool:
        yield from pool.as_done(paths)


def _correct(options, path):
    import multiprocessing

    from ..lightcurve.correct import correct_file

    options = dict(options)
    if multiprocessing.parent_process() is not None:
        import numba

        numba.set_num_threads(1)  # the processes share the cores already
    try:
        pixel_folder = options.pop("pixel_folder")
        if options["method"] in (None, "roll") and Path(path).name.startswith("ktwo"):
            options["pixels"] = _pixels_of(path, pixel_folder)
        return correct_file(path, **options)
    except TargetError as error:
        return {"path": str(path), "corrected": False, "error": str(error)}


def _pixels_of(path, folder):
    """The target pixel file of a light curve of K2, in a folder or below it; None without."""
    from ..fitsfile import open_fits
    from ..pixels.find import find_target_pixel_file

    with open_fits(path) as hdulist:
        header = hdulist[0].header
    task = {
        "starid": header.get("KEPLERID"),
        "datasource": header.get("DATASRC") or "",
        "sector": header.get("CAMPAIGN"),
        "cadence": 60 if "-c0060-" in Path(path).name else 1800,
    }
    if not task["datasource"].startswith("tpf"):
        return None
    try:
        return find_target_pixel_file(folder, task)
    except TargetError as error:
        log.debug("%s: %s", path, error)
        return None
