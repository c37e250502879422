"""Tables of stars, whatever their maker calls the columns: TIC, Gaia, Kepler, VizieR, or this
package; and the SQLite file of a CCD that is made of them.

``read_stars`` turns a file into a table with the columns ``starid, ra_J2000, decl_J2000, pm_ra,
pm_decl, tmag, teff``. ``make_catalog`` moves them to the epoch of the images and writes the file
``catalog_sectorSSS_cameraC_ccdD.sqlite``: a table ``settings`` of one row and a table ``catalog``
of stars. An index by zones of declination makes a search around a star touch only its
neighbourhood.
"""

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..constants import J2000
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..fitsfile import kind_of_file
from ..sky import in_polygon, propagate

# What each of our columns may be called, in the order of preference; compared in lower case.
NAMES = {
    "starid": (
        "starid",
        "ticid",
        "tic_id",
        "tic",
        "kepid",
        "kic_kepler_id",
        "kic",
        "epic",
        "id",
        "source_id",
        "source",
    ),
    "ra_J2000": ("ra_j2000",),
    "decl_J2000": ("decl_j2000",),
    "ra": ("ra", "raj2000", "ra_icrs", "ra_deg", "ra_obj", "_ra"),
    "decl": (
        "decl",
        "dec",
        "dej2000",
        "decj2000",
        "de_icrs",
        "dec_icrs",
        "dec_deg",
        "dec_obj",
        "declination",
        "_de",
    ),
    "pm_ra": ("pm_ra", "pmra"),
    "pm_decl": ("pm_decl", "pmdec", "pmde", "pm_dec"),
    "tmag": ("tmag", "tessmag", "tess_mag", "kepmag", "kpmag", "kic_kepmag"),
    "teff": ("teff", "t_eff", "teff_gspphot", "teff_val", "kic_teff"),
    "epoch": ("ref_epoch", "epoch"),
    "gaia_g": ("phot_g_mean_mag", "gmag_gaia", "gaiamag"),
    "gaia_bp": ("phot_bp_mean_mag", "bpmag", "gaiabp"),
    "gaia_rp": ("phot_rp_mean_mag", "rpmag", "gaiarp"),
    "j": ("j", "jmag", "j_m"),
    "k": ("k", "ks", "kmag", "ksmag", "k_m"),
}
COLUMNS = ("starid", "ra_J2000", "decl_J2000", "pm_ra", "pm_decl", "tmag", "teff")
EPOCH_OF_GAIA_DR3 = 2016.0  # for tables with Gaia's source_id that do not say their epoch
READERS = {
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".fits": "fits",
    ".vot": "votable",
    ".parquet": None,
}
OTHER_ENDINGS = {".votable": ".vot", ".xml": ".vot", ".fit": ".fits", ".pq": ".parquet"}

ZONES_PER_DEGREE = 20  # zones of 3 arcmin: about as high as a target's stamp
# must be spelled in queries as in the index
ZONE = f"CAST((decl + 90.0) * {ZONES_PER_DEGREE} AS INTEGER)"

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
CREATE INDEX catalog_zone ON catalog ({ZONE}, ra);
"""

# Mid-time of TESS sector 1 and the mean time between sectors, in Julian years: within a few weeks
# for all sectors so far, which moves even Barnard's star by less than 0.03 of a TESS pixel.
SECTOR_1_EPOCH, YEARS_PER_SECTOR = 2018.60, 0.0747


def read_stars(path):
    """Read a table of stars from a file: ECSV, CSV, FITS, VOTable or Parquet.

    The epoch of the positions is the column ``ref_epoch`` or ``epoch``, else the header's ``epoch``
    (Julian year), else 2016 where the stars are named by Gaia's ``source_id``, else 2000 as in the
    TIC. Without TESS magnitudes they are computed from Gaia's or 2MASS's.

    Parameters
    ----------
    path : file name; its ending gives the format, a further ``.gz`` is understood

    Returns
    -------
    astropy Table with the columns ``starid`` (int), ``ra_J2000``, ``decl_J2000`` (deg), ``pm_ra``,
    ``pm_decl`` (mas/yr,
        0 where not known; ra including cos(decl)), ``tmag``, ``teff`` (K, NaN where not known), and
        the header of the file as ``meta``. Rows without position or magnitude, and all but the
        first row of a star, are left out.

    Raises
    ------
    WrongUseError : the file cannot be read or lacks a column
    """
    table = read_table(path)
    names = {column.lower(): column for column in reversed(table.colnames)}
    found = {ours: _first(names, theirs) for ours, theirs in NAMES.items()}
    columns = {
        ours: _numbers(table, name, path, ours) for ours, name in found.items() if name is not None
    }
    stars = Table(meta=dict(table.meta))
    stars["starid"] = _required(columns, "starid", path, table)
    stars["ra_J2000"], stars["decl_J2000"] = _positions(columns, found, table, path)
    for name in ("pm_ra", "pm_decl"):
        stars[name] = np.nan_to_num(columns.get(name, np.zeros(len(table))))
    stars["tmag"] = _magnitudes(columns, path, table)
    stars["teff"] = columns.get("teff", np.full(len(table), np.nan))
    usable = (
        np.isfinite(stars["ra_J2000"])
        & np.isfinite(stars["decl_J2000"])
        & np.isfinite(stars["tmag"])
    )
    stars = stars[usable]
    return stars[np.sort(np.unique(stars["starid"], return_index=True)[1])]


def read_table(path, error=WrongUseError):
    """Read any table that astropy reads, by the ending of its name; ``error`` is raised if that
    fails.
    """
    path = Path(path)
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    ending = OTHER_ENDINGS.get(ending, ending)
    if ending not in READERS:
        raise error(
            f"{path}: not a table that is understood; accepted endings are {', '.join(READERS)}"
        )
    try:
        if ending == ".parquet":
            return _read_parquet(path)
        if ending == ".fits":
            # refuses what ends early or announces more than there is, which astropy reads for ever
            kind_of_file(path)
        return Table.read(path, format=READERS[ending])
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except ImportError:
        raise error(
            f"{path}: reading Parquet needs the package pyarrow; pip install pyarrow"
        ) from None
    except BadInputError as damage:
        raise error(str(damage)) from damage
    # the readers of five formats raise dozens of classes, all meaning "not readable"
    except Exception as cause:
        reason = str(cause).strip().split("\n")[0] or type(cause).__name__
        raise error(f"{path}: cannot be read as a table ({reason})") from cause


def tmag_from_gaia(g, bp, rp):
    """TESS magnitude from Gaia's (Stassun et al. 2019, AJ 158, 138, section 2.2); T = G - 0.43
    where a colour is missing.

    Parameters
    ----------
    g, bp, rp : (n,) arrays, mag; NaN where missing
    """
    colour = bp - rp
    fitted = g - 0.00522555 * colour**3 + 0.0891337 * colour**2 - 0.633923 * colour + 0.0324473
    return np.where(np.isfinite(colour), fitted, g - 0.430)


def tmag_from_2mass(j, k):
    """TESS magnitude from 2MASS J and Ks (Stassun et al. 2018, AJ 156, 102, section 2.2), to 0.01
    mag for -0.1 < J-Ks < 0.7.
    """
    colour = j - k
    blue = j + 1.22163 * colour**3 - 1.74299 * colour**2 + 1.89115 * colour + 0.0563
    middle = j - 269.372 * colour**3 + 668.453 * colour**2 - 545.64 * colour + 147.811
    return np.select(
        [colour <= 0.7, colour <= 1.0, colour > 1.0], [blue, middle, j + 1.75], default=j + 0.5
    )


def _read_parquet(path):
    from pyarrow import parquet

    content = parquet.read_table(path)
    return Table({name: content[name].to_numpy() for name in content.column_names})


def _first(names, candidates):
    """The column of the file that comes first in our order of preference, or None."""
    return next((names[candidate] for candidate in candidates if candidate in names), None)


def _numbers(table, name, path, ours):
    """A column as numbers, missing ones as NaN; star identifiers as integers, also from text like
    'TIC 123'.
    """
    column = np.ma.asarray(table[name])
    if ours == "starid":
        return _identifiers(column, name, path)
    try:
        if column.dtype.kind in "OSU":
            return np.array([np.nan if value is np.ma.masked else float(value) for value in column])
        return np.ma.filled(column.astype(float), np.nan)
    except (ValueError, TypeError):
        bad = next((value for value in column if not _is_number(value)), column.dtype)
        raise WrongUseError(
            f"{path}: column {name} holds {str(bad)!r}, expected numbers (positions in degrees)"
        ) from None


def _identifiers(column, name, path):
    if column.dtype.kind in "iu":
        return np.ma.getdata(column).astype(np.int64)
    matches = [
        re.fullmatch(r"\s*(?:TIC|KIC|EPIC)?\s*(\d+)(?:\.0*)?\s*", str(value), re.IGNORECASE)
        for value in column
    ]
    for value, match in zip(column, matches, strict=True):
        if match is None:
            raise WrongUseError(
                f"{path}: column {name} holds {str(value)!r}, expected a number such as 25155310 "
                "or TIC 25155310"
            )
    try:
        return np.array([int(match[1]) for match in matches], dtype=np.int64)
    except OverflowError:
        largest = max(int(match[1]) for match in matches)
        raise WrongUseError(
            f"{path}: column {name} holds {largest}, expected a number below 2**63"
        ) from None


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return value is np.ma.masked
    return True


def _required(columns, ours, path, table):
    if ours not in columns:
        accepted = ", ".join(NAMES[ours] + NAMES.get(f"{ours}_J2000", ()))
        raise WrongUseError(
            f"{path}: no column {ours}; accepted names are {accepted}; the file has "
            f"{', '.join(table.colnames)}"
        )
    return columns[ours]


def _positions(columns, found, table, path):
    """Positions moved to the year 2000."""
    if "ra_J2000" in columns and "decl_J2000" in columns:
        return columns["ra_J2000"] % 360, columns["decl_J2000"]
    ra, decl = _required(columns, "ra", path, table), _required(columns, "decl", path, table)
    if np.any(np.abs(decl) > 90):
        raise WrongUseError(
            f"{path}: column {found['decl']} holds {decl[np.abs(decl) > 90][0]}, expected degrees "
            "from -90 to 90"
        )
    epoch = columns.get("epoch", _epoch(table, found))
    motion = [
        np.nan_to_num(columns.get(name, np.zeros(len(table)))) for name in ("pm_ra", "pm_decl")
    ]
    return propagate(ra, decl, *motion, 2000.0 - epoch)


def _epoch(table, found):
    meta = {str(key).lower(): value for key, value in table.meta.items()}
    if "epoch" in meta:
        return float(meta["epoch"])
    return EPOCH_OF_GAIA_DR3 if (found["starid"] or "").lower() == "source_id" else 2000.0


def _magnitudes(columns, path, table):
    if "tmag" in columns:
        return columns["tmag"]
    missing = np.full(len(table), np.nan)
    if "gaia_g" in columns:
        return tmag_from_gaia(
            columns["gaia_g"], columns.get("gaia_bp", missing), columns.get("gaia_rp", missing)
        )
    if "j" in columns:
        return tmag_from_2mass(columns["j"], columns.get("k", missing))
    return _required(columns, "tmag", path, table)


def make_catalog(
    stars, folder, sector, camera, ccd, *, epoch=None, ticver=None, camera_centre=None, footprint=()
):
    """Write the SQLite catalogue of one CCD, replacing an older one.

    Parameters
    ----------
    stars : file name, or a table as `read_stars` makes it
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
        julian_date(epoch),
        epoch,
        *(camera_centre or (None, None)),
    )
    with atomic_write(path) as part, contextlib.closing(sqlite3.connect(part)) as conn:
        # the file appears whole or not at all: atomic_write sees to it
        conn.execute("PRAGMA journal_mode=OFF")
        fill(conn, stars, settings, np.asarray(footprint, dtype=float))
    return path


def catalog_path(folder, sector, camera, ccd):
    """Where the SQLite catalogue of a CCD is, or would be.

    Parameters
    ----------
    folder : path
    sector, camera, ccd : int
    """
    return Path(folder) / f"catalog_sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.sqlite"


def sector_epoch(sector):
    """Julian year of the middle of a TESS sector, to a few weeks."""
    return SECTOR_1_EPOCH + YEARS_PER_SECTOR * (sector - 1)


def julian_date(epoch):
    """Julian date of a Julian year."""
    return J2000 + 365.25 * (epoch - 2000.0)


def fill(conn, stars, settings, footprint):
    """Write settings and stars, moved to the epoch of the settings, into an empty database.

    Parameters
    ----------
    conn : sqlite3.Connection
    stars : table as `read_stars` makes it
    settings : tuple, the row of the table ``settings`` without the footprint
    footprint : (n, 2) array of ra, decl in deg; stars outside are left out; empty: all are kept
    """
    epoch = settings[5]
    columns = {name: np.asarray(stars[name]) for name in COLUMNS}
    ra, decl = propagate(
        *(columns[name] for name in ("ra_J2000", "decl_J2000", "pm_ra", "pm_decl")), epoch - 2000.0
    )
    columns = np.array([ra, decl, *(columns[name] for name in COLUMNS[1:])])
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
