"""``photometry prepare``: full-frame images to image cubes."""

import os
from pathlib import Path

import click

from ..processes import StopNow, StopRequests
from . import EXIT_FAILED, EXIT_OK, EXIT_UNFINISHED
from ._options import folder_argument, json_option, logging_options
from ._progress import Bars


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
def command(folder, output, sector, camera, ccd, workers, memory, overwrite, as_json, quiet):
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
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes share the work already
    from ..prepare.driver import GIB, default_workers, prepare, refuse_bad_numbers

    workers = default_workers() if workers is None else workers
    refuse_bad_numbers(workers, memory * GIB)
    try:
        # also where the shell makes the program ignore Ctrl-C, as for what a script starts in the
        # background
        with StopRequests(_stop).active(), Bars(quiet) as progress:
            report = prepare(
                folder,
                output,
                sector=sector,
                camera=camera,
                ccd=ccd,
                workers=workers,
                memory=memory * GIB,
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
        import dataclasses
        import json

        click.echo(json.dumps(dataclasses.asdict(report), default=str, indent=1))
        return
    for cube in report.cubes:
        made = f"made in {cube.seconds:.0f} s" if cube.new else "was there already"
        click.echo(f"{cube.path}: {cube.n_frames} images, {cube.n_bad} of them found bad; {made}")
    if report.skipped:
        click.echo(f"{len(report.skipped)} files were left out:", err=True)
    for problem in report.skipped:
        click.echo(f"  {problem}", err=True)
