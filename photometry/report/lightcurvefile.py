"""Is a light-curve file what its row of the TODO-file says: there, whole, of this target, and with
times in it?

The file is taken apart here and not by astropy, which needs seven times as long; there may be a
million of them.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from ..constants import DAY, MISSIONS
from ..errors import BadInputError
from ..files import GZIP_ERRORS, GZIP_MAGIC, gzip_reader
from ..fitsstream import FitsStream
from ..lightcurve.fitsbytes import BLOCK, ones_complement_sum

EXTENSIONS = ("LIGHTCURVE", "SUMIMAGE", "APERTURE")
CADENCE_TOLERANCE = 0.03  # Kepler's nominal 1800 s and 60 s are 1765.5 s and 58.8 s
_SUM_IS_RIGHT = (0, 0xFFFFFFFF)  # of all words of an HDU: FITS standard 4.0, section 4.4.2.7


class Claim(NamedTuple):
    """What a row of the TODO-file says of its light curve; None: it does not say."""

    priority: int
    starid: int
    sector: int
    camera: int
    ccd: int
    cadence: int
    datasource: str
    status: int
    method_used: str
    lightcurve: str  # relative to the output folder


class Problem(NamedTuple):
    """Why a light-curve file is bad."""

    kind: str  # missing, unreadable, truncated, damaged, foreign, identity, length
    message: str


class _Bad(Exception):
    """Carries a Problem."""


def check_lightcurve(folder, claim):
    """Open a light curve and look at all of it.

    Parameters
    ----------
    folder : the output folder
    claim : Claim

    Returns
    -------
    Problem, or None where the file is good
    """
    try:
        hdus = _split(_read(Path(folder) / claim.lightcurve))
        _check_sums(hdus)
        headers = {header.get("EXTNAME", "PRIMARY"): (header, whole) for header, _, whole in hdus}
        missing = [name for name in EXTENSIONS if name not in headers]
        if missing:
            raise _Bad(
                "foreign",
                f"has no extension {' and no '.join(missing)}: it is no light curve of photometry",
            )
        _check_identity(hdus[0][0], headers["LIGHTCURVE"][0], claim)
        _check_length(*headers["LIGHTCURVE"])
    except _Bad as bad:
        return Problem(*bad.args)
    except (KeyError, TypeError, ValueError, fits.VerifyError, BadInputError) as error:
        return Problem("foreign", f"a header lacks a keyword or has one without sense ({error})")
    return None


def _read(path):
    """The whole content, decompressed: gzip's checksum and length are checked on the way."""
    try:
        with open(path, "rb") as file:
            is_gzipped = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if not is_gzipped:
                content = file.read()
            else:
                with gzip_reader(file) as unzipped:
                    content = unzipped.read()
    except (FileNotFoundError, NotADirectoryError):
        raise _Bad("missing", "is not there") from None
    except EOFError:
        raise _Bad("truncated", "ends too early to be decompressed") from None
    except GZIP_ERRORS as error:
        raise _Bad("damaged", f"cannot be decompressed ({error})") from None
    except OSError as error:
        raise _Bad("unreadable", f"cannot be read ({error.strerror or error})") from None
    if not content:
        raise _Bad("truncated", "is empty (0 bytes)")
    if not content.startswith(b"SIMPLE  ="):
        raise _Bad("foreign", "is no FITS file: it does not begin with SIMPLE")
    if not is_gzipped and path.suffix == ".gz":
        raise _Bad("foreign", "is not compressed, as its name says it is")
    return content


def _split(content):
    """List of (header, data, whole HDU), each but the header as a memoryview."""
    content, hdus, start = memoryview(content), [], 0
    while start < len(content):
        data = _end_of_header(content, start)
        header = fits.Header.fromstring(bytes(content[start:data]))
        end = data + -(-_data_size(header) // BLOCK) * BLOCK
        if end > len(content):
            raise _Bad(
                "truncated",
                f"ends {end - len(content)} bytes too early, in {header.get('EXTNAME', 'PRIMARY')}",
            )
        hdus.append((header, content[data:end], content[start:end]))
        start = end
    return hdus


def _end_of_header(content, start):
    for end in range(start + BLOCK, len(content) + 1, BLOCK):
        block = bytes(content[end - BLOCK : end])
        if any(block[i : i + 8] == b"END     " for i in range(0, BLOCK, 80)):
            return end
    raise _Bad("truncated", "ends within a header")


def _data_size(header):
    """Bytes of the data without padding: FITS standard 4.0, equation 2, for HDUs without heap and
    groups.
    """
    axes = [header[f"NAXIS{i}"] for i in range(1, header["NAXIS"] + 1)]
    return abs(header["BITPIX"]) // 8 * int(np.prod(axes)) if axes else 0


def _check_sums(hdus):
    for header, data, whole in hdus:
        name = header.get("EXTNAME", "PRIMARY")
        for keyword in ("DATASUM", "CHECKSUM"):
            if keyword not in header:
                raise _Bad("foreign", f"carries no {keyword} in {name}")
        if ones_complement_sum(data) != int(header["DATASUM"]):
            raise _Bad("damaged", f"its data do not agree with DATASUM in {name}")
        if ones_complement_sum(whole) not in _SUM_IS_RIGHT:
            raise _Bad("damaged", f"its header does not agree with CHECKSUM in {name}")


def _check_identity(primary, table, claim):
    mission = primary.get("MISSION")
    if mission not in MISSIONS:
        raise _Bad("foreign", f"MISSION is {mission!r}; expected one of {', '.join(MISSIONS)}")
    camera, ccd = MISSIONS[mission].detector_keywords
    keywords = {
        "starid": MISSIONS[mission].id_keyword,
        "sector": MISSIONS[mission].period_keyword,
        "camera": camera,
        "ccd": ccd,
    }
    found = {name: primary.get(keyword) for name, keyword in keywords.items()}
    found |= {"datasource": primary.get("DATASRC"), "method_used": primary.get("PHOTMET")}
    found["cadence"] = _nominal(table["TIMEDEL"] * DAY, claim.cadence)
    wrong = [name for name in found if None not in (getattr(claim, name), found[name])]
    wrong = [name for name in wrong if getattr(claim, name) != found[name]]
    if wrong:
        said = ", ".join(
            f"{name} {found[name]} (expected {getattr(claim, name)})" for name in wrong
        )
        raise _Bad("identity", f"is of another target or made in another way: {said}")


def _nominal(seconds, expected):
    """The cadence under the name that the TODO-file gives it."""
    if expected is not None and abs(seconds - expected) <= CADENCE_TOLERANCE * expected:
        return expected
    return round(seconds)


def _check_length(header, hdu):
    """That there are as many rows as the header says, `_split` made sure of; here: are there any,
    with a time?
    """
    if header["NAXIS2"] == 0:
        raise _Bad("length", "has a table without rows")
    stream = FitsStream("", io.BytesIO(hdu))
    time = stream.read_columns(stream.next_header(), ["TIME"])["TIME"]
    if not np.isfinite(time).any():
        raise _Bad("length", f"none of its {len(time)} rows has a time")
