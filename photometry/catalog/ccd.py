"""The stars of one CCD: a SQLite file that many workers read at once, or a table file that is
loaded into memory.

The file ``catalog_sectorSSS_cameraC_ccdD.sqlite`` has a table ``settings`` of one row and a table
``catalog`` of stars, at the epoch of the images. It is written once and then only read, so readers
open it as *immutable*: SQLite takes no locks, which network disks handle badly. An index by zones
of declination makes a search around a star touch only its neighbourhood.
"""

import contextlib
import functools
import json
import sqlite3
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..constants import J2000
from ..errors import WrongUseError
from ..files import atomic_write
from ..sky import in_polygon, polygon_centre, propagate, separation
from .tables import COLUMNS as STAR_COLUMNS
from .tables import READERS, read_stars

COLUMNS = ("starid", "ra", "decl", "pm_ra", "pm_decl", "tmag", "teff")

ZONES_PER_DEGREE = 20  # zones of 3 arcmin: about as high as a target's stamp
# must be spelled in queries as in the index
_ZONE = f"CAST((decl + 90.0) * {ZONES_PER_DEGREE} AS INTEGER)"

_SCHEMA = f"""
CREATE TABLE settings (
    sector INTEGER, camera INTEGER, ccd INTEGER, ticver TEXT, reference_time REAL, epoch REAL,
    camera_centre_ra REAL, camera_centre_dec REAL, footprint TEXT
);
CREATE TABLE catalog (
    starid INTEGER PRIMARY KEY, ra REAL NOT NULL, decl REAL NOT NULL,
    ra_J2000 REAL NOT NULL, decl_J2000 REAL NOT NULL,
    pm_ra REAL, pm_decl REAL, tmag REAL NOT NULL, teff REAL
);
CREATE INDEX catalog_zone ON catalog ({_ZONE}, ra);
"""

# What SQLite says of damage, and values that are no numbers: a damaged text is a UnicodeDecodeError
# or an OperationalError, a number of the wrong kind a TypeError.
_DAMAGE = (sqlite3.Error, ValueError, TypeError, OverflowError)

# Mid-time of TESS sector 1 and the mean time between sectors, in Julian years: within a few weeks
# for all sectors so far, which moves even Barnard's star by less than 0.03 of a TESS pixel.
SECTOR_1_EPOCH, YEARS_PER_SECTOR = 2018.60, 0.0747


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
        with contextlib.suppress(
            TypeError, ValueError
        ):  # other tools write the footprint in other ways; it is only for information
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
        zones = f"{_ZONE} IN ({','.join(str(zone) for zone in range(low, high + 1))})"
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


def make_catalog(
    stars, folder, sector, camera, ccd, *, epoch=None, ticver=None, camera_centre=None, footprint=()
):
    """Write the SQLite catalogue of one CCD, replacing an older one.

    Parameters
    ----------
    stars : file name, or a table as ``tables.read_stars`` makes it
    folder : where ``catalog_sectorSSS_cameraC_ccdD.sqlite`` is written
    epoch : float, Julian year of the images; default: that of the TESS sector
    ticver : version of the TIC, or any text that says where the stars come from
    camera_centre : (ra, decl) of the camera's optical axis, deg
    footprint : (n, 2) array of ra, decl in deg; stars outside are left out; default: all are kept

    Returns
    -------
    pathlib.Path of the file
    """
    path = catalog_path(folder, sector, camera, ccd)
    stars = read_stars(stars) if isinstance(stars, str | Path) else stars
    epoch = sector_epoch(sector) if epoch is None else float(epoch)
    settings = (
        sector,
        camera,
        ccd,
        ticver,
        _julian_date(epoch),
        epoch,
        *(camera_centre or (None, None)),
    )
    with atomic_write(path) as part, contextlib.closing(sqlite3.connect(part)) as conn:
        conn.execute(
            "PRAGMA journal_mode=OFF"
        )  # the file appears whole or not at all: atomic_write sees to it
        _fill(conn, stars, settings, np.asarray(footprint, dtype=float))
    return path


def catalog_path(folder, sector, camera, ccd):
    """Where the SQLite catalogue of a CCD is, or would be.

    Parameters
    ----------
    folder : path
    sector, camera, ccd : int
    """
    return Path(folder) / f"catalog_sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.sqlite"


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


def sector_epoch(sector):
    """Julian year of the middle of a TESS sector, to a few weeks."""
    return SECTOR_1_EPOCH + YEARS_PER_SECTOR * (sector - 1)


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
    _fill(
        conn,
        read_stars(path),
        (None, None, None, None, _julian_date(epoch), epoch, None, None),
        np.empty(0),
    )
    return Catalog(conn, path)


def _fill(conn, stars, settings, footprint):
    """Write settings and stars, moved to the epoch of the settings, into an empty database."""
    epoch = settings[5]
    columns = {name: np.asarray(stars[name]) for name in STAR_COLUMNS}
    ra, decl = propagate(
        *(columns[name] for name in ("ra_J2000", "decl_J2000", "pm_ra", "pm_decl")), epoch - 2000.0
    )
    columns = np.array([ra, decl, *(columns[name] for name in STAR_COLUMNS[1:])])
    starid = np.asarray(stars["starid"])
    if footprint.size:
        inside = in_polygon(ra, decl, footprint)
        columns, starid = columns[:, inside], starid[inside]
    conn.executescript(_SCHEMA)
    conn.execute(
        "INSERT INTO settings VALUES (?,?,?,?,?,?,?,?,?)",
        (*settings, json.dumps(footprint.tolist())),
    )
    conn.executemany(
        "INSERT INTO catalog VALUES (?,?,?,?,?,?,?,?,?)",
        zip(starid.tolist(), *columns.tolist(), strict=True),
    )
    conn.commit()


def _julian_date(epoch):
    """Julian date of a Julian year."""
    return J2000 + 365.25 * (epoch - 2000.0)
