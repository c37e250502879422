"""The work of one target: from its task to its light curve and its result."""

import dataclasses
import time
from pathlib import Path

import numpy as np

from .lightcurve.tasoc import write_lightcurve
from .methods.metrics import diagnostics
from .methods.plots import plot_target
from .methods.registry import get_method
from .pixels.findtpf import CHECKED, find_target_pixel_file, refuse_other_target
from .pixels.stampcatalog import catalog_for, with_stars, with_target
from .pixels.sumimage import good_times, mean_image
from .pixels.targetpixelfile import read_target_pixel_file
from .settings import photometry_settings
from .status import STATUS

MADE = (STATUS.OK, STATUS.WARNING)  # a light curve is written for these


def photometry(task, *, input_folder, output_folder, settings=None, method=None, plot=False, catalog=None):
    """Make the light curve of one target.

    Parameters
    ----------
    task : dict, see "Task" in docs/architecture
    input_folder : where the target pixel files are
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
    method = method or task.get("method")
    stamp, good = prepare_stamp(task, input_folder, settings, catalog)
    extraction = judge(get_method(method)(stamp, settings), stamp, good)
    details = diagnostics(stamp, extraction, good)
    if extraction.status in MADE:
        details["filepath_lightcurve"] = write_lightcurve(output_folder, stamp, extraction, settings)
        if plot:
            plot_target(Path(output_folder, plot_path(details["filepath_lightcurve"])), stamp, extraction, good)
    return {
        **task,
        "status": extraction.status,
        "method_used": extraction.method,
        "time": time.perf_counter() - start,
        "details": details,
    }


def prepare_stamp(task, input_folder, settings, catalog=None):
    """All that a method needs to know about a task.

    Returns
    -------
    stamp : Stamp with its stars and its sum image
    good : (n_times,) bool array, times of good quality
    """
    stamp = read_stamp(task, input_folder)
    catalog = catalog or catalog_for(stamp, input_folder)
    if task["starid"] != stamp.target.starid:
        stamp = with_target(stamp, task["starid"], catalog)
    stamp = with_stars(stamp, catalog, settings.faint_limit)
    good = good_times(stamp, settings.good_quality)
    return dataclasses.replace(stamp, sumimage=mean_image(stamp.flux, good)), good


def read_stamp(task, input_folder):
    """The stamp of a task, from a target pixel file that is sure to be of it."""
    path = find_target_pixel_file(input_folder, task)
    stamp = read_target_pixel_file(path, datasource=task["datasource"])
    found = {key: getattr(stamp, key) for key in CHECKED}
    refuse_other_target(path, task, {"starid": stamp.target.starid, **found})
    return stamp


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
        return dataclasses.replace(extraction, status=STATUS.WARNING, errors=(*extraction.errors, sentence))
    return extraction
