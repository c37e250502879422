"""Light curves in FITS files: read those of TESS (SPOC, TESS-SPOC, QLP, our own and TASOC's),
Kepler and K2 (official, K2SC, K2SFF); make the HDUs of our own as bytes, quickly.

Astropy spends more time on the headers of a light curve than it takes to measure it. Nearly all
cards are the same in every file, so each is formatted by astropy once and then remembered; what an
HDU is beyond that, is put together here.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from ..constants import DAY
from ..errors import BadInputError
from ..fitsfile import kind_of, open_fits
from ..fitsstream import BLOCK, CARD
from ..flags import DEFAULT_BITMASK

PPM = 1e-6
COMMENT_WIDTH = 72
_PUNCTUATION = frozenset(b":;<=>?@[\\]^_`")  # between digits and letters in ASCII
_NO_CHECKSUM = "0" * 16  # what CHECKSUM holds while the sum is taken
_FITS_KINDS = {">f8": "D", ">f4": "E", ">i4": "J", ">i8": "K"}  # numpy type -> TFORM
_BITPIX = {">f4": -32, ">i4": 32}
_EXTENSION = (
    ("PCOUNT", 0, "group parameter count (not used)"),
    ("GCOUNT", 1, "group count (not used)"),
)


class Samples(NamedTuple):
    """What a file holds, before it is an object of `photometry.lightcurve.lightcurve`."""

    times: np.ndarray  # (n,) d, sorted
    fluxes: np.ndarray  # (n,)
    uncertainties: np.ndarray | None  # (n,) unit of the fluxes
    flags: np.ndarray | None  # (n,) 0 for a good sample
    metadata: dict


class Part(NamedTuple):
    """What is known of one part of a stitched light curve."""

    name: str  # 'sector 5', 'quarter 13'
    start: float  # d, first sample
    end: float  # d, last sample
    level: float  # flux that became 1, in the unit of the part, other stars' light taken off
    crowding: float  # CROWDSAP that was corrected for; 1 where the flux had it, NaN where unknown
    noise: float  # relative scatter of one sample
    samples: int  # good ones


# FITS keywords of the fields of `Part`, followed by its number
PART_KEYWORDS = ("PNAME", "PBEG", "PEND", "PLEV", "PCROW", "PNOIS", "PNUM")


class Kind(NamedTuple):
    """Where one pipeline keeps what. Names are compared without regard to case."""

    name: str
    extension: str
    flux: tuple  # (flux, error) columns; the first with a finite value is taken
    time: str = "TIME"
    quality: tuple = ("QUALITY", "SAP_QUALITY")


KINDS = (
    Kind("TASOC", "LIGHTCURVE", (("FLUX_CORR", "FLUX_CORR_ERR"), ("FLUX_RAW", "FLUX_RAW_ERR"))),
    Kind(
        "QLP",
        "LIGHTCURVE",
        (("KSPSAP_FLUX", "KSPSAP_FLUX_ERR"), ("DET_FLUX", "DET_FLUX_ERR"), ("SAP_FLUX", None)),
    ),
    Kind("SPOC", "LIGHTCURVE", (("PDCSAP_FLUX", "PDCSAP_FLUX_ERR"), ("SAP_FLUX", "SAP_FLUX_ERR"))),
    Kind("K2SC", "PDC", (("FLUX", "ERROR"),)),
    Kind("K2SFF", "BESTAPER", (("FCOR", None), ("FRAW", None)), time="T", quality=("MOVING",)),
)
ACCEPTED = ", ".join(kind.name for kind in KINDS)


def samples_from_fits(path, *, flux=None):
    """Light curve of a FITS file, plain or gzipped.

    Samples without a time are left out. A sample is flagged (1) where the quality has one of the
    mission's default bits (`photometry.flags.DEFAULT_BITMASK`) or the flux is not a number.
    ``FLUX_CORR`` (ppm) becomes relative flux; other fluxes keep their unit.

    Parameters
    ----------
    path : path
    flux : str, optional
        Column to take

    Returns
    -------
    Samples
        metadata: ``pipeline``, ``mission``, ``object``, ``starid``, ``flux_column``, ``flux_unit``,
        ``time_reference`` [JD], ``sector`` (also a quarter or campaign), ``cadence`` [s],
        ``crowding``, ``flux_fraction`` (CROWDSAP, FLFRCSAP) and ``crowding_applied`` (bool, whether
        the flux has been corrected for both)
    """
    with open_fits(path, memmap=False) as hdulist:
        kind, hdu = _find_kind(hdulist, path)
        return _samples(kind, hdulist[0].header, hdu, path, flux)


def _find_kind(hdulist, path):
    for kind in KINDS:
        for hdu in hdulist[1:]:
            names = _columns(hdu)
            if hdu.name == kind.extension and kind.time in names and kind.flux[0][0] in names:
                return kind, hdu
    extensions = ", ".join(hdu.name or type(hdu).__name__ for hdu in hdulist)
    kind = kind_of([hdu.header for hdu in hdulist]).value
    raise BadInputError(
        f"{path}: a FITS file ({kind}) with {extensions}, but no light curve of a known kind "
        f"({ACCEPTED})"
    )


def _columns(hdu):
    """Names of a table's columns as they stand, by their name in capitals"""
    if not isinstance(hdu, fits.BinTableHDU):
        return {}
    return {name.upper(): name for name in hdu.columns.names}


def _samples(kind, primary, hdu, path, wanted):
    names = _columns(hdu)

    def column(name, dtype=float):
        return np.asarray(hdu.data[names[name]], dtype=dtype)

    times = column(kind.time)
    has_time = np.isfinite(times)
    if not has_time.any():
        raise BadInputError(f"{path}: no sample has a time")
    flux_name, error_name = _flux_columns(kind, names, column, path, wanted)
    flux = column(flux_name)
    error = column(error_name) if error_name in names else np.zeros(len(flux))
    metadata = _metadata(kind, primary, hdu, names[flux_name])
    if flux_name == "FLUX_CORR":
        flux, error = 1 + flux * PPM, error * PPM
    quality_name = next((name for name in kind.quality if name in names), None)
    quality = column(quality_name, np.int64) if quality_name else np.zeros(len(flux), np.int64)
    bits = ~0 if quality_name == "MOVING" else DEFAULT_BITMASK[metadata["mission"]]
    flags = ((quality & bits != 0) | ~np.isfinite(flux)).astype(float)
    order = np.flatnonzero(has_time)
    order = order[np.argsort(times[order], kind="stable")]
    return Samples(times[order], flux[order], error[order], flags[order], metadata)


def _flux_columns(kind, names, column, path, wanted):
    """(flux, error) columns: the one asked for, else the kind's first with a finite value"""
    if wanted is not None:
        if wanted.upper() not in names:
            raise BadInputError(
                f"{path}: no column {wanted!r}; this file has {', '.join(names.values())}"
            )
        return wanted.upper(), f"{wanted.upper()}_ERR"
    present = [pair for pair in kind.flux if pair[0] in names]
    return next((pair for pair in present if np.isfinite(column(pair[0])).any()), present[0])


def _metadata(kind, primary, hdu, flux_name):
    """What is known of the target, under our names; absent keywords are left out"""
    mission = mission_of(primary)
    step = hdu.header.get("TIMEDEL")  # d
    periods = (primary.get(key) for key in ("SECTOR", "QUARTER", "CAMPAIGN"))
    column, pipeline = flux_name.upper(), kind.name
    if kind.name == "SPOC":
        pipeline = {"TESS": "SPOC"}.get(mission, mission)
    elif str(primary.get("CREATOR", "")).startswith("photometry"):
        pipeline = "photometry"
    values = {
        "pipeline": pipeline,
        "mission": mission,
        "object": primary.get("OBJECT"),
        "starid": primary.get("TICID") or primary.get("KEPLERID"),
        "sector": next((period for period in periods if period is not None), None),
        "magnitude": primary.get("TESSMAG") or primary.get("KEPMAG"),
        "radius": primary.get("RADIUS"),
        "teff": primary.get("TEFF"),
        "logg": primary.get("LOGG"),
        "ra": primary.get("RA_OBJ"),
        "decl": primary.get("DEC_OBJ"),
        "flux_column": flux_name,
        "flux_unit": "relative" if column == "FLUX_CORR" else hdu.columns[flux_name].unit,
        "time_reference": (hdu.header.get("BJDREFI") or 0) + (hdu.header.get("BJDREFF") or 0),
        "cadence": round(step * DAY) if step else None,
        "crowding": hdu.header.get("CROWDSAP"),
        "flux_fraction": hdu.header.get("FLFRCSAP"),
        # Kepler Archive Manual (KDMC-10008), section 2.3.1: PDCSAP_FLUX has both corrections
        "crowding_applied": column == "PDCSAP_FLUX" and kind.name == "SPOC",
    }
    if primary.get("STITCHED"):
        values |= {"joined": True, "flux_unit": "relative", "parts": _parts(hdu.header)}
    return {key: value for key, value in values.items() if value is not None}


def _parts(header):
    """List of `Part` of a stitched light curve"""
    parts = []
    while f"PNAME{len(parts) + 1}" in header:
        values = [header[f"{keyword}{len(parts) + 1}"] for keyword in PART_KEYWORDS]
        parts.append(Part(*(float("nan") if value is None else value for value in values)))
    return parts


def mission_of(primary):
    """Key of `photometry.constants.MISSIONS`, by the primary header of a file"""
    if primary.get("MISSION") == "K2" or primary.get("CAMPAIGN") is not None:
        return "K2"
    return "TESS" if "TESS" in str(primary.get("TELESCOP", "")).upper() else "Kepler"


class Centroids(NamedTuple):
    """Where the light of a target is, in time, and where the target is."""

    times: np.ndarray  # (n,) d
    centroid: np.ndarray  # (n, 2) pixels of the detector: column, row; NaN where not known
    target: tuple  # column, row of the target by its celestial coordinates


def read_centroids(path):
    """Centroids of a light-curve file of a mission or of ours.

    Returns
    -------
    Centroids, or None for a file without MOM_CENTR1, or without the coordinates of its pixels
    """
    try:
        with open_fits(path, memmap=False) as hdulist:
            primary, names = hdulist[0].header, [hdu.name for hdu in hdulist]
            if not {"LIGHTCURVE", "APERTURE"} <= set(names):
                return None
            table, image = hdulist["LIGHTCURVE"], hdulist["APERTURE"].header
            wcs, star = WCS(image), (primary.get("RA_OBJ"), primary.get("DEC_OBJ"))
            columns = [name for name in ("MOM_CENTR1", "MOM_CENTR2") if name in table.columns.names]
            if len(columns) < 2 or not wcs.has_celestial or None in star:
                return None
            column, row = wcs.all_world2pix([star], 0)[0]
            target = column + image.get("CRVAL1P", 0), row + image.get("CRVAL2P", 0)
            times = np.asarray(table.data["TIME"], dtype=float)
            centroid = np.column_stack([np.asarray(table.data[name], float) for name in columns])
    except BadInputError:
        return None  # no FITS file: it has no centroids
    known = np.isfinite(times)
    return Centroids(times[known], centroid[known], target)


# HDUs as bytes


def primary_hdu(cards):
    """A primary HDU without data, with extensions to follow.

    ``cards`` are (keyword, value, comment) or (keyword, value).
    """
    first = ("SIMPLE", True, "conforms to FITS standard")
    return _hdu(first, 8, (), [("EXTEND", True), *cards], b"")


def image_hdu(name, pixels, cards):
    """An image extension.

    Parameters
    ----------
    name : str, EXTNAME
    pixels : (n_rows, n_columns) array of a type in `_BITPIX`
    cards : list of (keyword, value, comment)
    """
    first = ("XTENSION", "IMAGE", "Image extension")
    cards = [*_EXTENSION, ("EXTNAME", name, "name of extension"), *cards]
    return _hdu(first, _BITPIX[pixels.dtype.str], pixels.shape, cards, pixels.tobytes())


def table_hdu(name, rows, units, formats, cards):
    """A binary table extension.

    Parameters
    ----------
    name : str, EXTNAME
    rows : structured array of the types in `_FITS_KINDS`
    units, formats : dict of column name to TUNIT (None: no unit) and TDISP
    cards : list of (keyword, value, comment) that follow the description of the columns
    """
    columns = [("TFIELDS", len(rows.dtype.names), "number of table fields")]
    for i, column in enumerate(rows.dtype.names, start=1):
        columns += [(f"TTYPE{i}", column), (f"TFORM{i}", _FITS_KINDS[rows.dtype[column].str])]
        if units[column]:
            columns.append((f"TUNIT{i}", units[column]))
        columns.append((f"TDISP{i}", formats[column]))
    first = ("XTENSION", "BINTABLE", "binary table extension")
    cards = [*_EXTENSION, *columns, ("EXTNAME", name, "name of extension"), *cards]
    return _hdu(first, 8, (len(rows), rows.dtype.itemsize), cards, rows.tobytes())


def _hdu(first, bitpix, shape, cards, data):
    """Header and data in blocks, with CHECKSUM and DATASUM (FITS standard 4.0, section 4.4.2.7)"""
    datasum = ones_complement_sum(data)  # the zeros behind it add nothing
    cards = [
        first,
        ("BITPIX", bitpix, "array data type"),
        ("NAXIS", len(shape), "number of array dimensions"),
        *((f"NAXIS{i}", length) for i, length in enumerate(reversed(shape), start=1)),
        *cards,
        ("CHECKSUM", _NO_CHECKSUM, "HDU checksum"),
        ("DATASUM", str(datasum), "data unit checksum"),
    ]
    text = "".join(_image(*card) for card in cards) + "END".ljust(CARD)
    header = text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")
    total = ones_complement_sum(header) + datasum
    total = (total & 0xFFFFFFFF) + (total >> 32)
    header = header.replace(_NO_CHECKSUM.encode(), encode_checksum(0xFFFFFFFF - total))
    return b"".join([header, data, b"\0" * (-len(data) % BLOCK)])


# typed: 1, 1.0 and True are equal, but not the same in a header
@lru_cache(maxsize=4096, typed=True)
def _image(keyword, value, comment=""):
    """The 80 characters of a card; of several for long text. FITS has no NaN: an undefined value
    stands for it.
    """
    if keyword == "COMMENT":
        text = value.encode("ascii", "replace").decode("ascii")
        starts = range(0, len(text), COMMENT_WIDTH)
        return "".join(f"COMMENT {text[i : i + COMMENT_WIDTH]:{COMMENT_WIDTH}}" for i in starts)
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    return fits.Card(keyword, value, comment).image


def ones_complement_sum(content):
    """Sum of 4-byte numbers, where what runs over is added at the other end."""
    total = int(np.frombuffer(content, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(value):
    """The 16 letters and digits that add ``value`` to the sum of a header (FITS standard 4.0,
    appendix J)."""
    columns = []
    for byte in value.to_bytes(4, "big"):
        quarter, rest = divmod(byte, 4)
        codes = [ord("0") + quarter + rest, *[ord("0") + quarter] * 3]
        # move away from punctuation; the sum stays
        while not _PUNCTUATION.isdisjoint(codes):
            for i in (0, 2):
                if codes[i] in _PUNCTUATION or codes[i + 1] in _PUNCTUATION:
                    codes[i] += 1
                    codes[i + 1] -= 1
        columns.append(codes)
    text = bytes(column[i] for i in range(4) for column in columns)
    return text[-1:] + text[:-1]
