"""The stars of one CCD, and those of a stamp: which lie on and near it, and where the target itself
is.

The catalogue is a SQLite file that many workers read at once, or a table file that is loaded into
memory (`tables`). The SQLite file is written once and then only read, so readers open it as
*immutable*: SQLite takes no locks, which network disks handle badly.
"""

import contextlib
import dataclasses
import functools
import json
import os
import sqlite3
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..constants import J2000, YEAR
from ..errors import TargetNotFoundError, WrongUseError
from ..pixels.stamp import Target
from ..pixels.tess import correction, earth_position
from ..sky import in_polygon, polygon_centre, propagate, separation, unit_vectors
from .tables import (
    READERS,
    ZONE,
    ZONES_PER_DEGREE,
    catalog_path,
    fill,
    julian_date,
    read_stars,
    sector_epoch,
)

COLUMNS = ("starid", "ra", "decl", "pm_ra", "pm_decl", "tmag", "teff")
MARGIN = 5  # pixels around the stamp from which a star still gives flux to it

# What SQLite says of damage, and values that are no numbers: a damaged text is a UnicodeDecodeError
# or an OperationalError, a number of the wrong kind a TypeError.
_DAMAGE = (sqlite3.Error, ValueError, TypeError, OverflowError)

_catalogs = {}  # those of this process; SQLite needs no closing, and a run has few


class Catalog:
    """Stars to search in. Made by :func:`open_catalog`, which keeps it open for the next task of
    the same CCD.

    Attributes
    ----------
    path : where it was read from
    settings : dict with the keys of the table ``settings``; ``footprint`` is a list of (ra, decl),
        empty if not known
    """

    def __init__(self, conn, path):
        self._conn, self.path = conn, str(path)
        try:
            cursor = conn.execute("SELECT * FROM settings")
            row = cursor.fetchone()
            conn.execute(f"SELECT {', '.join(COLUMNS)} FROM catalog LIMIT 1").fetchall()
        except _DAMAGE as error:
            conn.close()
            raise self._damaged(error) from error
        self.settings = dict(
            zip([name for name, *_ in cursor.description], row or (), strict=False)
        )
        # other tools write the footprint in other ways; it is only for information
        with contextlib.suppress(TypeError, ValueError):
            self.settings["footprint"] = json.loads(self.settings.get("footprint") or "[]")

    @property
    def epoch(self):
        """Julian year for which ``ra`` and ``decl`` hold."""
        return self.settings["epoch"]

    def __len__(self):
        try:
            return self._conn.execute("SELECT COUNT(*) FROM catalog").fetchone()[0]
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def cone(self, ra, decl, radius_deg, tmag_max=None):
        """All stars within ``radius_deg`` degrees of a position.

        Parameters
        ----------
        ra, decl : float, deg, at the epoch of the images
        radius_deg : float, deg
        tmag_max : float, mag; fainter stars are left out; default: all are kept

        Returns
        -------
        astropy Table, brightest first: starid, ra, decl (deg, at the epoch of the images), pm_ra,
        pm_decl (mas/yr), tmag, teff (K)
        """
        return Table(self.cone_arrays(ra, decl, radius_deg, tmag_max), copy=False)

    def cone_arrays(self, ra, decl, radius_deg, tmag_max=None):
        """The columns of :meth:`cone` as a dict of arrays, in a fifth of the time.

        Parameters
        ----------
        ra, decl : float, deg, at the epoch of the images
        radius_deg : float, deg
        tmag_max : float, mag; fainter stars are left out; default: all are kept
        """
        low, high = (
            int(np.clip((edge + 90) * ZONES_PER_DEGREE, 0, 180 * ZONES_PER_DEGREE))
            for edge in (decl - radius_deg, decl + radius_deg)
        )
        zones = f"{ZONE} IN ({','.join(str(zone) for zone in range(low, high + 1))})"
        # right ascensions that the cone can reach, as one or two ranges within 0 and 360
        ranges = [(0.0, 360.0)]
        if abs(decl) + radius_deg < 90:
            sine = np.sin(np.radians(radius_deg)) / np.cos(np.radians(decl))
            reach = np.degrees(np.arcsin(min(1.0, sine)))
            west, east = (ra - reach) % 360, (ra + reach) % 360
            ranges = [(west, east)] if west <= east else [(west, 360.0), (0.0, east)]
        box = " OR ".join([f"({zones} AND ra BETWEEN ? AND ?)"] * len(ranges))
        stars = self._select(box, [limit for limits in ranges for limit in limits], tmag_max)
        near = separation(ra, decl, stars["ra"], stars["decl"]) <= radius_deg
        return {name: values[near] for name, values in stars.items()}

    def polygon(self, corners, tmag_max=None):
        """All stars inside a convex polygon on the sky, smaller than a hemisphere, e.g. the
        footprint of a CCD.

        Parameters
        ----------
        corners : (n, 2) array of ra, decl in degrees, in either sense of rotation

        Returns
        -------
        astropy Table as from :meth:`cone`
        """
        corners = np.asarray(corners, dtype=float)
        ra, decl = polygon_centre(corners)
        # a little wider: whether a star on the edge counts is decided by the polygon
        reach = separation(ra, decl, *corners.T).max() * (1 + 1e-9)
        stars = Table(self.cone_arrays(ra, decl, reach if reach < 90 else 180, tmag_max))
        return stars[in_polygon(stars["ra"], stars["decl"], corners)]

    def star(self, starid):
        """One star as a dict with the columns of :meth:`cone`, or None."""
        found = self._select("starid=?", [int(starid)], None)
        if not len(found["starid"]):
            return None
        return {name: values[0].item() for name, values in found.items()}

    def stars(self, tmag_max=None):
        """All stars, brightest first, as a table like :meth:`cone`."""
        return Table(self._select("1", (), tmag_max), copy=False)

    def __del__(self):
        self._conn.close()

    def _select(self, condition, values, tmag_max):
        if tmag_max is not None:
            condition, values = f"({condition}) AND tmag <= ?", [*values, float(tmag_max)]
        try:
            rows = self._conn.execute(
                f"SELECT {', '.join(COLUMNS)} FROM catalog WHERE {condition} ORDER BY tmag, starid",
                values,
            ).fetchall()
            columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
            kinds = [np.int64] + [float] * (len(COLUMNS) - 1)
            return {
                name: np.array(column, dtype=kind)
                for name, column, kind in zip(COLUMNS, columns, kinds, strict=True)
            }
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _damaged(self, error):
        reason = " ".join(str(error).split())
        return WrongUseError(
            f"{self.path}: not a star catalogue, or damaged ({reason}); make it again with "
            "'photometry catalog'"
        )


def open_catalog(folder, sector, camera, ccd, *, epoch=None):
    """The catalogue of one CCD in a folder.

    That is the file ``catalog_sectorSSS_cameraC_ccdD.sqlite`` if it is there, else the table file
    ``catalog.{ecsv,csv,fits,vot,parquet}``, with all its stars. Opening the same file again costs
    next to nothing.

    Parameters
    ----------
    folder : the input folder
    sector, camera, ccd : int
    epoch : float
        Julian year of the images, for a table file (the SQLite file has its own); default: that of
        the TESS sector

    Returns
    -------
    Catalog, or None if the folder has neither

    Raises
    ------
    WrongUseError : the file cannot be read or lacks a column, or there are several table files
    """
    path = catalog_path(folder, sector, camera, ccd)
    if path.is_file():
        return _open_file(path, path.stat().st_mtime_ns)
    path = find_star_table(folder)
    if path is None:
        return None
    return _open_table(path, path.stat().st_mtime_ns, sector, epoch)


def has_catalog(folder):
    """Whether a folder has a star catalogue, of one CCD or of all."""
    return find_star_table(folder) is not None or any(
        Path(folder).glob("catalog_sector*_ccd*.sqlite")
    )


def find_star_table(folder):
    """The one file ``catalog.{ecsv,csv,fits,vot,parquet}`` of a folder, or None; WrongUseError if
    there are several.
    """
    names = sorted(f"catalog{ending}{zipped}" for ending in READERS for zipped in ("", ".gz"))
    files = [path for name in names if (path := Path(folder) / name).is_file()]
    if len(files) > 1:
        raise WrongUseError(
            f"{folder}: several star catalogues ({', '.join(p.name for p in files)}); keep one of "
            "them"
        )
    return files[0] if files else None


@functools.lru_cache(maxsize=8)
def _open_file(path, _changed):
    try:
        return Catalog(
            sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            ),
            path,
        )
    except sqlite3.OperationalError as error:
        raise WrongUseError(f"{path}: cannot be opened ({error})") from error


@functools.lru_cache(maxsize=2)
def _open_table(path, _changed, sector, epoch):
    epoch = sector_epoch(sector) if epoch is None else float(epoch)
    conn = sqlite3.connect(":memory:", check_same_thread=False)
    fill(
        conn,
        read_stars(path),
        (None, None, None, None, julian_date(epoch), epoch, None, None),
        np.empty(0),
    )
    return Catalog(conn, path)


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
