"""Which stars of the catalogue lie on and near a stamp, and where the target itself is."""

import dataclasses
import os

import numpy as np
from astropy.table import Table

from ..constants import J2000, YEAR
from ..errors import TargetNotFoundError
from ..pixels.stamp import Target
from ..pixels.tess import correction, earth_position
from ..sky import propagate, separation, unit_vectors
from .ccd import open_catalog

MARGIN = 5  # pixels around the stamp from which a star still gives flux to it


_catalogs = {}  # those of this process; SQLite needs no closing, and a run has few


def catalog_for(stamp, folder):
    """The catalogue that an input folder has for the CCD of a stamp, or None; kept open for the
    next target.
    """
    # TESS catalogues know the epoch of a sector; for Kepler it is given, in steps of 0.1 yr so that
    # a quarter has one or two
    epoch = None if stamp.mission == "TESS" else round(mid_epoch(stamp), 1)
    key = (str(folder), stamp.sector, stamp.camera, stamp.ccd, epoch)
    changed = os.stat(folder).st_mtime_ns
    catalog, seen = _catalogs.get(key, (None, None))
    if catalog is None and seen != changed:  # none so far, but the folder has changed since
        catalog = open_catalog(folder, stamp.sector, stamp.camera, stamp.ccd, epoch=epoch)
        _catalogs[key] = catalog, changed
    return catalog


def with_target(stamp, starid, catalog):
    """The same stamp, used for another star of the catalogue, with times that are barycentric for
    that star.

    The times of Kepler and K2 stay those of the first star: how far the spacecraft is from the
    Earth is not known here. Their pixels are five times smaller, a star 10 pixels away has times
    that are wrong by up to 0.1 s.

    Parameters
    ----------
    stamp : Stamp
    starid : int
    catalog : Catalog or None

    Returns
    -------
    Stamp

    Raises
    ------
    TargetNotFoundError : there is no catalogue, or the star is not in it
    """
    star = catalog.star(starid) if catalog else None
    if star is None:
        where = (
            f"it is not in the catalogue {catalog.path}"
            if catalog
            else "the input folder has no star catalogue"
        )
        raise TargetNotFoundError(
            f"star {starid}, {stamp.datasource}: its position is not known, {where}"
        )
    target = Target(
        **{
            name: star[name]
            for name in ("starid", "ra", "decl", "tmag", "teff", "pm_ra", "pm_decl")
        }
    )
    if stamp.mission != "TESS" or not np.isfinite([stamp.target.ra, stamp.target.decl]).all():
        return dataclasses.replace(stamp, target=target)
    earth = earth_position(stamp.time - stamp.timecorr, stamp.time_reference)
    directions = (unit_vectors(star.ra, star.decl) for star in (target, stamp.target))
    more = correction(earth, *directions)
    return dataclasses.replace(
        stamp, target=target, time=stamp.time + more, timecorr=stamp.timecorr + more
    )


def with_stars(stamp, catalog=None, tmag_max=None):
    """The same stamp with the stars on and near it; always the target, and without a catalogue
    nothing but the target.

    Parameters
    ----------
    stamp : Stamp
    catalog : Catalog or None
    tmag_max : float; fainter stars are left out

    Returns
    -------
    Stamp, whose ``catalog`` has the columns starid, ra, decl, tmag, row, column, and says in
    ``meta['path']`` where they are from, empty where only the target is known
    """
    target, (n_rows, n_columns) = stamp.target, stamp.shape
    # the target as its file has it, moved from J2000 to the time of the observations
    motion = np.nan_to_num([target.pm_ra, target.pm_decl])
    ra, decl = propagate(target.ra, target.decl, *motion, mid_epoch(stamp) - 2000)
    stars = {
        "starid": np.array([target.starid]),
        "ra": np.array([float(ra)]),
        "decl": np.array([float(decl)]),
        "tmag": np.array([float(target.tmag)]),
    }
    located = catalog is not None and stamp.wcs.has_celestial
    if located:
        (ra, corner_ra), (decl, corner_decl) = stamp.wcs.all_pix2world(
            [(n_columns - 1) / 2, -MARGIN], [(n_rows - 1) / 2, -MARGIN], 0
        )
        radius = float(separation(ra, decl, corner_ra, corner_decl))
        others = catalog.cone_arrays(ra, decl, radius, tmag_max)
        if target.starid in others["starid"]:
            stars = {name: others[name] for name in stars}
        else:
            stars = {name: np.concatenate([stars[name], others[name]]) for name in stars}
    if stamp.wcs.has_celestial:
        stars["column"], stars["row"] = stamp.wcs.all_world2pix(stars["ra"], stars["decl"], 0)
    else:  # no coordinates in the file: the middle of the stamp
        stars["column"], stars["row"] = (np.array([(n - 1) / 2]) for n in (n_columns, n_rows))
    off_row, off_column = (
        np.abs(stars[name] - (size - 1) / 2) - size / 2
        for name, size in (("row", n_rows), ("column", n_columns))
    )
    near = (np.maximum(off_row, off_column) <= MARGIN) | (stars["starid"] == target.starid)
    table = Table({name: values[near] for name, values in stars.items()})
    table.meta["path"] = str(catalog.path) if located else ""
    return dataclasses.replace(stamp, catalog=table)


def target_position(stamp):
    """Stamp position (row, column) of the target, with integers at pixel centres."""
    (index,) = np.flatnonzero(stamp.catalog["starid"] == stamp.target.starid)
    return float(stamp.catalog["row"][index]), float(stamp.catalog["column"][index])


def mid_epoch(stamp):
    """Julian year of the middle of the observations."""
    return 2000 + (stamp.time_reference + np.nanmedian(stamp.time) - J2000) / YEAR
