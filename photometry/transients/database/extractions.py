"""Measurements of images: blind detections and forced fits, and what brings their fluxes to those
of the running catalogue."""

import logging

import numpy as np
import sqlalchemy as sa

from ... import sky
from ...errors import ArgumentError
from . import schema
from .catalogue import catalogue
from .connection import current
from .matching import alpha
from .records import get_image

log = logging.getLogger(__name__)

RECORD = (
    *("ra", "decl", "ra_fit_err", "decl_fit_err", "f_peak", "f_peak_err", "f_int", "f_int_err"),
    *("det_sigma", "semimajor", "semiminor", "pa", "ew_sys_err", "ns_sys_err", "error_radius"),
    *("fit_type", "chisq", "reduced_chisq"),
)
"""The 18 numbers of one extraction, in their order: deg, Jy, and arcsec for axes, systematic errors
and radius."""

EXTRACT_TYPES = {"blind": 0, "ff_nd": 1, "ff_ms": 2}
"""A blind detection, and forced fits at a null detection and at a monitoring position."""


def insert_extracted_sources(
    image_id,
    results,
    extract_type="blind",
    ff_runcat_ids=None,
    ff_monitor_ids=None,
    *,
    use_axis_errors=False,
    database=None,
):
    """Store the measurements of one image; returns the ids of those stored.

    Parameters
    ----------
    image_id : int
    results : (n, 18) array, `RECORD`; or (n, 20), with the position's errors east and north
        [arcsec] at the end
    extract_type : 'blind', 'ff_nd' or 'ff_ms'
    ff_runcat_ids, ff_monitor_ids : (n,) int arrays, for the two kinds of forced fits
    use_axis_errors : bool
        Take the errors east and north, where given, in place of ``error_radius``, which contains
        both
    """
    database = current(database)
    table = np.asarray(results, float)
    table = table.reshape(len(table), table.shape[-1] if table.size else len(RECORD))
    if table.shape[1] not in (len(RECORD), len(RECORD) + 2):
        raise ArgumentError(
            f"results with {table.shape[1]} columns; expected {len(RECORD)}, or 2 more"
        )
    if extract_type not in EXTRACT_TYPES:
        raise ArgumentError(
            f"extract_type={extract_type!r}: expected one of {', '.join(EXTRACT_TYPES)}"
        )
    columns = dict(zip((*RECORD, "ew_err", "ns_err"), table.T, strict=False))
    needed = [columns[name] for name in ("ra", "decl", "f_peak", "f_int")]
    errors = np.array([columns["f_peak_err"], columns["f_int_err"]])
    good = (
        np.isfinite(needed).all(axis=0) & np.isfinite(errors).all(axis=0) & (errors > 0).all(axis=0)
    )
    if not good.all():
        log.warning(
            "image %d: %d of %d measurements have no finite flux, or an error that is not above 0; "
            "left out",
            image_id,
            (~good).sum(),
            len(good),
        )
        columns = {name: values[good] for name, values in columns.items()}
    links = {}
    for name, values in (("ff_runcat", ff_runcat_ids), ("ff_monitor", ff_monitor_ids)):
        if values is not None:
            links[name] = np.asarray(values, int)[good]
    columns = _derived(columns, use_axis_errors) | links
    columns["fit_type"] = columns["fit_type"].astype(int)
    return database.insert(
        schema.extractedsource,
        {
            "image": int(image_id),
            "extract_type": EXTRACT_TYPES[extract_type],
            "margin": False,
            **columns,
        },
    )


LEAST_UNCERTAINTY = 1e-3
"""arcsec; a position given by the user has no error, and must still have a weight."""


def _derived(columns, use_axis_errors):
    """The columns of measurements, with those that follow from them."""
    radius = np.where(np.isfinite(columns["error_radius"]), columns["error_radius"], 360.0)
    ra, decl = columns["ra"] % 360, columns["decl"]
    east, north = columns["ew_sys_err"], columns["ns_sys_err"]
    has_axes = use_axis_errors and "ew_err" in columns
    x, y, z = sky.unit_vectors(ra, decl)
    return {
        **columns,
        "ra": ra,
        "error_radius": radius,
        "uncertainty_ew": np.maximum(
            np.hypot(east, columns["ew_err"] if has_axes else radius), LEAST_UNCERTAINTY
        )
        / 3600,
        "uncertainty_ns": np.maximum(
            np.hypot(north, columns["ns_err"] if has_axes else radius), LEAST_UNCERTAINTY
        )
        / 3600,
        "ra_err": np.hypot(columns["ra_fit_err"], alpha(east / 3600, decl)),
        "decl_err": np.hypot(columns["decl_fit_err"], north / 3600),
        "zone": np.floor(decl).astype(int),
        "x": x,
        "y": y,
        "z": z,
        "racosdecl": ra * np.cos(np.radians(decl)),
    }


def extractions_of(database, image_id, extract_type):
    """The measurements of one kind in an image, as a dict of arrays in the order of their ids.

    Parameters
    ----------
    database : Database
    image_id : int
    extract_type : 'blind', 'ff_nd' or 'ff_ms'
    """
    table = schema.extractedsource
    kind = EXTRACT_TYPES[extract_type]
    query = sa.select(table).where(table.c.image == int(image_id), table.c.extract_type == kind)
    columns = database.columns(query.order_by(table.c.id))
    return columns if len(columns["id"]) else {name: np.zeros(0) for name in columns}


def flux_scale(image_id, results, *, database=None):
    """What brings the fluxes of an image to those of the running catalogue: their median ratio over
    the stars in common.

    Parameters
    ----------
    image_id : int
    results : (n, 18 or more) array of `RECORD`

    Returns
    -------
    float; 1 where fewer than five sources of the catalogue are found again
    """
    database = current(database)
    image = get_image(image_id, database=database)
    runcats = catalogue(database, image.dataset)
    fluxes, sources = runcats.fluxes, runcats.sources
    mine = (fluxes["band"] == image.band) & runcats.flux_alive & (fluxes["avg_f_int"] > 0)
    rows = fluxes["row"][mine].astype(int)
    results = np.asarray(results, float)
    if not len(rows) or not len(results):
        return 1.0
    first, second, _ = sky.match_all(
        results[:, 0],
        results[:, 1],
        sources["wm_ra"][rows],
        sources["wm_decl"][rows],
        image.rb_smaj,
    )
    first, unique = np.unique(first, return_index=True)
    second = second[unique]
    measured, error = results[first, 6], results[first, 7]
    good = measured > 10 * error
    if good.sum() < 5:
        return 1.0
    ratio = fluxes["avg_f_int"][mine][second[good]] / measured[good]
    # the median of the better half: faint sources say little
    bright = np.argsort(error[good] / measured[good])[: max(5, good.sum() // 2)]
    return float(np.median(ratio[bright]))
