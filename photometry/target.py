"""The work of one target: from its task to its light curve and its result."""

import dataclasses
import time
from pathlib import Path

import numpy as np

from .extract import extract
from .lightcurve.tasoc import write_lightcurve
from .methods.metrics import diagnostics
from .methods.plots import plot_target
from .settings import photometry_settings
from .stampsource import StampSource
from .status import STATUS

MADE = (STATUS.OK, STATUS.WARNING)  # a light curve is written for these


def photometry(
    task, *, input_folder, output_folder, settings=None, method=None, plot=False, catalog=None
):
    """Make the light curve of one target.

    Parameters
    ----------
    task : dict, see "Task" in docs/architecture
    input_folder : where the target pixel files or the image cubes are, and the star catalogue
    output_folder : where the light curve goes
    settings : PhotometrySettings, or nested dict of the same. What the task itself says under ``settings`` goes first.
    method : name of the method to use whatever the task says
    plot : bool; also draw what was done, beside the light curve
    catalog : star catalogue of the CCD, if the caller has opened it already

    Returns
    -------
    dict : the Result, see "Result" in docs/architecture

    Raises
    ------
    TargetError : the target cannot be done; its class and sentence tell why
    """
    start = time.perf_counter()
    settings = photometry_settings(settings, task.get("settings"))
    source = StampSource(task, input_folder, settings, catalog)
    stamp, good, extraction = extract(source, method or task.get("method"))
    extraction = judge(extraction, stamp, good)
    details = diagnostics(stamp, extraction, good)
    if extraction.status in MADE:
        details["filepath_lightcurve"] = write_lightcurve(
            output_folder, stamp, extraction, settings
        )
        if plot:
            plot_target(
                Path(output_folder, plot_path(details["filepath_lightcurve"])),
                stamp,
                extraction,
                good,
            )
    return {
        **task,
        "status": extraction.status,
        "method_used": extraction.method,
        "time": time.perf_counter() - start,
        "details": details,
    }


def plot_path(lightcurve):
    """Where the picture of a light curve is, beside it."""
    return lightcurve.removesuffix(".fits.gz") + ".png"


def judge(extraction, stamp, good):
    """The extraction with what only the whole target shows.

    A secondary target whose mask holds the primary of the stamp is SKIPPED: it would be the primary's light curve. One
    without flux at any time of good quality gets a WARNING.
    """
    primary = stamp.datasource.partition(":")[2]
    if primary and int(primary) in extraction.skip_targets:
        return dataclasses.replace(extraction, status=STATUS.SKIPPED)
    if extraction.status is STATUS.OK and not np.isfinite(extraction.flux[good]).any():
        sentence = f"no flux at any of the {good.sum()} times of good quality, among {len(good)} times in all"
        return dataclasses.replace(
            extraction, status=STATUS.WARNING, errors=(*extraction.errors, sentence)
        )
    return extraction
