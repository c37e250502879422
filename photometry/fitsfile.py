"""FITS files: what kind of file one is, and its first image. Target pixel files: `fitsstream`."""

import contextlib
import enum
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from .errors import BadInputError
from .fitsstream import MAX_FIELDS, open_stream

if TYPE_CHECKING:
    from astropy.wcs import WCS

# What astropy raises for damaged headers and tables, beside its own VerifyError
_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, fits.VerifyError),
)


class Kind(enum.Enum):
    """What kind of file a FITS file is; the value is its name for people."""

    TARGET_PIXELS = "a target pixel file"
    CUTOUT = "a TessCut cut-out"
    FULL_FRAME = "a full-frame image"
    LIGHT_CURVE = "a light curve"
    IMAGE = "an image"
    TABLE = "a table"
    EMPTY = "a FITS file without data"


def kind_of(headers):
    """The kind of file that has these headers.

    Parameters
    ----------
    headers : sequence of headers, astropy's or our own, those of the file in their order, or the
        first two or more of them

    Returns
    -------
    Kind
    """
    for header in headers:
        kind = _kind_of_table(header)
        if kind in (Kind.TARGET_PIXELS, Kind.CUTOUT, Kind.LIGHT_CURVE):
            return kind
    images = [number for number, header in enumerate(headers) if _is_image(header)]
    if images:
        telescope = str(headers[0].get("TELESCOP", "")).strip()
        of_survey = "MIDTJD" in headers[0] or (telescope in ("TESS", "Kepler") and images[0] == 1)
        return Kind.FULL_FRAME if of_survey else Kind.IMAGE
    return Kind.TABLE if any(map(_kind_of_table, headers)) else Kind.EMPTY


def kind_of_file(path):
    """What kind of file a FITS file is, plain or gzipped, from its headers.

    Returns
    -------
    Kind

    Raises
    ------
    BadInputError : it is empty, not FITS, damaged, or ends too early
    """
    headers = []
    with open_stream(path) as stream:
        while (header := stream.next_header()) is not None:
            headers.append(header)
        return kind_of(headers)


def column_names(header):
    """Names of the columns of the table that a header describes, in capitals; empty where it
    describes no table.
    """
    n_columns = header.get("TFIELDS", 0)
    if not isinstance(n_columns, int) or not 0 <= n_columns <= MAX_FIELDS:
        return []
    return [str(header.get(f"TTYPE{i + 1}", "")).strip().upper() for i in range(n_columns)]


def _kind_of_table(header):
    if str(header.get("XTENSION", "")).strip() != "BINTABLE" or header.get("ZIMAGE") is True:
        return None
    names, extension = column_names(header), str(header.get("EXTNAME", "")).strip()
    if extension == "LIGHTCURVE":
        return Kind.LIGHT_CURVE
    if "FLUX" in names and str(header.get(f"TDIM{names.index('FLUX') + 1}", "")).count(",") == 1:
        return Kind.CUTOUT if "FFI_FILE" in names else Kind.TARGET_PIXELS
    if extension in ("PIXELS", "TARGETTABLES"):
        return Kind.TARGET_PIXELS
    # K2SC and K2SFF have names of their own
    if {"TIME", "FLUX"} <= set(names) or {"T", "FCOR"} <= set(names):
        return Kind.LIGHT_CURVE
    return Kind.TABLE


def _is_image(header):
    if header.get("ZIMAGE") is True:
        return True
    n_axes = header.get("NAXIS", 0)
    return (
        str(header.get("XTENSION", "IMAGE")).strip() == "IMAGE"
        and isinstance(n_axes, int)
        and n_axes >= 2
    )


# Reading with astropy: images, of any size and compression


@contextlib.contextmanager
def open_fits(path, *, memmap=True):
    """Open a FITS file by astropy, without its warnings; whatever it says of damage becomes one
    `BadInputError`.

    Parameters
    ----------
    path : file, plain or compressed
    memmap : bool, map its pixels instead of reading them

    Yields
    ------
    hdulist : astropy.io.fits.HDUList

    Raises
    ------
    BadInputError : it is empty, not FITS or damaged; also while it is read within the context
    FileNotFoundError, PermissionError : as from ``open``
    """
    # refuses in our words what is no FITS file, and (of a plain file, where that costs little) what
    # ends early or announces more than there is, which astropy may read for ever
    with open_stream(path) as stream:
        while stream.next_header() is not None and not stream.is_zipped:
            pass
    try:
        with warnings.catch_warnings():
            # of damage; what makes the file unusable is reported as an error
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(path, memmap=memmap) as hdulist:
                yield hdulist
    except (FileNotFoundError, PermissionError):
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it lacks {' '.join(map(str, error.args))}"
        raise BadInputError(f"{path}: damaged FITS file ({reason}); get the file again") from error


@dataclass(frozen=True)
class FitsImage:
    """An image of a FITS file.

    Attributes
    ----------
    pixels : (n_rows, n_columns) float array
    header : astropy.io.fits.Header, that of the image; the primary header's keywords where it has
        none of its own
    wcs : astropy.wcs.WCS, celestial coordinates <-> 0-based (column, row); None where the header
        has none
    extension : int, number of the HDU
    """

    pixels: np.ndarray
    header: fits.Header
    wcs: "WCS | None"
    extension: int


def read_image(path):
    """The first image in a FITS file; of more than two dimensions (radio: frequency, polarisation)
    the first plane.

    Returns
    -------
    FitsImage

    Raises
    ------
    BadInputError : the file cannot be read, ends too early, or holds no image
    """
    # scaled images (BZERO: unsigned integers) cannot be mapped
    with open_fits(path, memmap=False) as hdulist:
        for number, hdu in enumerate(hdulist):
            if hdu.is_image and hdu.header["NAXIS"] >= 2:
                pixels = hdu.data[(0,) * (hdu.data.ndim - 2)].astype(float)
                header = hdu.header.copy()
                if number:
                    header.extend(hdulist[0].header, strip=True, unique=True)
                return FitsImage(pixels, header, _celestial(hdu.header), number)
    raise BadInputError(f"{path}: holds no image of two dimensions")


def _celestial(header):
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(header)
    return wcs.celestial if wcs.has_celestial else None
