"""Fill FLUX_CORR and FLUX_CORR_ERR of our own light-curve files, in place."""

import gzip
import io
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..errors import BadInputError
from ..files import atomic_write
from ..flags import DEFAULT_BITMASK
from . import detrend
from .fitsfiles import _mission
from .lightcurve import LightcurveArbitraryRaster
from .texttable import GZIP, read_bytes

PPM = 1e-6
COLUMNS = ("TIME", "FLUX_RAW", "FLUX_RAW_ERR", "FLUX_CORR", "FLUX_CORR_ERR", "QUALITY")
CARDS = (
    ("CORRMETH", "method that made FLUX_CORR"),
    ("CORRWIN", "[d] window of the trend"),
    ("CDPP", "[ppm] noise of FLUX_CORR over 6.5 hours"),
)
METHOD = "biweight"
NOISE_HOURS = 6.5


def correct_file(path, *, window=detrend.DEFAULT_WINDOW, overwrite=False, dry_run=False):
    """Fill the corrected columns of one light-curve file, atomically.

    FLUX_CORR is the flux relative to its trend (`detrend.flatten`), minus 1, in ppm; NaN where the quality is bad. All
    else in the file stays; its checksums are made anew.

    Parameters
    ----------
    path : path of a file that this package wrote, gzipped or not
    window : float, days, of the trend
    overwrite : bool
        Also where the columns are filled already
    dry_run : bool
        Compute, but do not write

    Returns
    -------
    dict of ``path`` (str), ``corrected`` (bool; False: was corrected before) and ``cdpp`` (ppm over 6.5 h)

    Raises
    ------
    BadInputError : not one of our light curves, or nothing in it can be corrected
    """
    content = read_bytes(path)
    with _opened(content, path) as hdulist:
        table = hdulist["LIGHTCURVE"]
        if np.isfinite(table.data["FLUX_CORR"]).any() and not overwrite:
            return {"path": str(path), "corrected": False, "cdpp": table.header.get("CDPP")}
        noise = _fill(table, hdulist[0].header, path, window)
        if not dry_run:
            _write(hdulist, path)
    return {"path": str(path), "corrected": True, "cdpp": noise}


def _opened(content, path):
    """The file with all of its data, which astropy would otherwise read, and find cut short, only later"""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", AstropyWarning
            )  # of a damaged file; it is reported below, in a sentence
            hdulist = fits.open(io.BytesIO(content))
            names = hdulist["LIGHTCURVE"].columns.names
            _ = [hdu.data for hdu in hdulist]
    except (OSError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadInputError(
            f"{path}: not a light curve in FITS, or a truncated one ({error})"
        ) from error
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise BadInputError(
            f"{path}: no column {', '.join(missing)}; only light curves that this package wrote can be corrected"
        )
    return hdulist


def _fill(table, primary, path, window):
    """Put corrected fluxes into the table and how they were made into its header; returns the noise, ppm"""
    times = np.asarray(table.data["TIME"], dtype=float)
    good = np.isfinite(times) & (table.data["QUALITY"] & DEFAULT_BITMASK[_mission(primary)] == 0)
    columns = [
        np.asarray(table.data[name][good], dtype=float) for name in ("FLUX_RAW", "FLUX_RAW_ERR")
    ]
    lc = LightcurveArbitraryRaster(times[good], *columns)
    level = detrend.good_level(lc)
    if not level > 0:
        raise BadInputError(
            f"{path}: the median of its good samples is {level:g}, so it cannot be divided by its trend"
        )
    flat = detrend.flatten(lc, window)
    for name, values in (
        ("FLUX_CORR", (flat.fluxes - 1) / PPM),
        ("FLUX_CORR_ERR", flat.uncertainties / PPM),
    ):
        table.data[name] = np.nan
        table.data[name][good] = values
    noise = detrend.cdpp(flat, NOISE_HOURS)
    for (key, comment), value in zip(
        CARDS, (METHOD, window, noise if np.isfinite(noise) else None), strict=True
    ):
        table.header[key] = (value, comment)
    return noise if np.isfinite(noise) else None


def _write(hdulist, path):
    for hdu in hdulist:
        hdu.add_checksum(when="checksum of the HDU")  # astropy would put the present time here
    content = io.BytesIO()
    hdulist.writeto(content)
    with open(path, "rb") as file:
        gzipped = file.read(2) == GZIP
    with atomic_write(path) as part:
        part.write_bytes(
            gzip.compress(content.getbuffer(), mtime=0) if gzipped else content.getbuffer()
        )


def lightcurve_files(folder):
    """Paths of all our light-curve files at and below ``folder``, sorted."""
    return sorted(
        path for pattern in ("*_lc.fits.gz", "*_lc.fits") for path in Path(folder).rglob(pattern)
    )
