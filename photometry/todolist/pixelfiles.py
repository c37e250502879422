"""What the FITS files of a folder are, from their headers: target pixel files, damaged ones, or something else."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import J2000, YEAR
from ..errors import BadInputError
from ..fitsfile import open_stream
from ..pixels.find import FITS_ENDINGS
from ..pixels.targetpixelfile import celestial_wcs, identity, number, starid_of

log = logging.getLogger(__name__)

OUR_LIGHT_CURVES = "-tasoc_lc.fits.gz"  # the end of the names of this program's own products
TMAG_KEYWORDS = {"TESS": "TESSMAG", "Kepler": "KEPMAG", "K2": "KEPMAG"}


@dataclass(frozen=True)
class PixelFile:
    """A target pixel file, as far as making a TODO-file needs it."""

    path: Path
    starid: int
    mission: str
    sector: int
    camera: int
    ccd: int
    cadence: int  # s
    tmag: float | None
    damage: str = ""  # what is wrong with it; then the following are not known
    epoch: float | None = None  # Julian year in the middle of the observations
    wcs: object = None  # celestial position <-> 0-based (column, row) of the stamp
    collected: np.ndarray | None = None  # (n_rows, n_columns) bool
    row: int = 0  # detector row and column of the stamp's first pixel
    column: int = 0
    ra: float = np.nan  # deg, of the target
    decl: float = np.nan


def find_fits_files(folder):
    """All FITS files in and below a folder, but for this program's own light curves, sorted by name."""
    found = []
    for where, _, names in os.walk(folder):
        found += [
            Path(where) / n
            for n in names
            if n.lower().endswith(FITS_ENDINGS) and not n.endswith(OUR_LIGHT_CURVES)
        ]
    return sorted(found, key=lambda path: (path.name, str(path)))


def inspect_file(path):
    """Look into one file.

    Returns
    -------
    PixelFile; one with ``damage`` for a file that names its star but is cut short. Or a str that says what else the file is.
    """
    try:
        with open_stream(path) as stream:
            primary = stream.next_header()
            try:
                starid = starid_of(path, primary)
            except BadInputError:
                return "a FITS file that names no star"
            return _inspect(path, stream, primary, starid)
    except BadInputError as error:
        log.warning("%s", error)
        return "not readable as FITS"


def _inspect(path, stream, primary, starid):
    table = aperture = None
    try:
        table = stream.next_header()
        if table is None:
            raise BadInputError(f"{path}: holds a primary header and nothing else")
        if table.get("EXTNAME") == "LIGHTCURVE":
            return _light_curve(path, stream, primary, table, starid)
        if "FLUX" not in [table.get(f"TTYPE{i + 1}") for i in range(table.get("TFIELDS", 0))]:
            return "a FITS file without a FLUX column"
        aperture = stream.next_header()
        while aperture is not None and aperture.get("EXTNAME") != "APERTURE":
            aperture = stream.next_header()
        if aperture is None:
            raise BadInputError(
                f"{path}: no APERTURE extension; truncated, or not a target pixel file"
            )
        bits = stream.read_image(aperture)
    except BadInputError as error:
        return _damaged(path, primary, table, starid, str(error))
    return PixelFile(
        **_known(path, primary, table, starid),
        epoch=_epoch(table),
        wcs=celestial_wcs(aperture),
        collected=(bits & 1) > 0,
        row=number(aperture, "CRVAL2P", 0),
        column=number(aperture, "CRVAL1P", 0),
        ra=number(table, "RA_OBJ", np.nan),
        decl=number(table, "DEC_OBJ", np.nan),
    )


def _light_curve(path, stream, primary, table, starid):
    """A whole light curve is passed over; one that ends early may be a broken download of anything."""
    extensions = 1
    while stream.next_header() is not None:
        extensions += 1
    if extensions < primary.get("NEXTEND", 0):
        return _damaged(
            path,
            primary,
            table,
            starid,
            f"{path}: a light curve that is truncated, and no target pixel file",
        )
    return "a light curve"


def _damaged(path, primary, table, starid, why):
    log.warning("%s", why)
    return PixelFile(**_known(path, primary, table, starid), damage=why)


def _known(path, primary, table, starid):
    """What the headers tell; what they do not is 0, as where the file is read, and the cadence that of nearly all such files."""
    known = identity(path, primary, table)
    untold = [name for name in ("camera", "ccd") if not known[name]]
    if known["cadence"] is None:
        known["cadence"] = 20 if "fast" in path.name else 120
        untold.append("cadence")
    if untold:
        log.warning(
            "%s: its headers do not tell %s; taken as %s",
            path,
            untold,
            [known[name] for name in untold],
        )
    return {
        **known,
        "path": path,
        "starid": starid,
        "tmag": number(primary, TMAG_KEYWORDS[known["mission"]]),
    }


def _epoch(table):
    start, stop = number(table, "TSTART"), number(table, "TSTOP")
    if start is None or stop is None:
        return None
    return 2000 + (number(table, "BJDREFI", 0) + (start + stop) / 2 - J2000) / YEAR
