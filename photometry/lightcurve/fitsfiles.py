"""Light curves in FITS files of TESS (SPOC, TESS-SPOC, QLP, our own and TASOC's), Kepler and K2 (official, K2SC, K2SFF)."""

import io
import warnings
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..constants import DAY
from ..errors import BadInputError
from ..flags import DEFAULT_BITMASK
from .lightcurve import LightcurveArbitraryRaster

PPM = 1e-6


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


def lightcurve_from_fits(content, path, *, flux=None):
    """Light curve from the bytes of a FITS file.

    Samples without a time are left out. A sample is flagged (1) where the quality has one of the mission's default bits
    (`photometry.flags.DEFAULT_BITMASK`) or the flux is not a number. ``FLUX_CORR`` (ppm) becomes relative flux; other
    fluxes keep their unit.

    Parameters
    ----------
    content : bytes
    path : for messages
    flux : str, optional
        Column to take

    Returns
    -------
    LightcurveArbitraryRaster
        metadata: ``pipeline``, ``mission``, ``object``, ``starid``, ``flux_column``, ``flux_unit``, ``time_reference`` [JD],
        ``sector`` (also a quarter or campaign), ``cadence`` [s]
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", AstropyWarning
            )  # of a damaged file; it is reported below, in a sentence
            with fits.open(io.BytesIO(content)) as hdulist:
                kind, hdu = _find_kind(hdulist, path)
                return _lightcurve(kind, hdulist[0].header, hdu, path, flux)
    except (OSError, TypeError, ValueError, KeyError, IndexError) as error:
        raise BadInputError(f"{path}: truncated or damaged FITS file ({error})") from error


def _find_kind(hdulist, path):
    for kind in KINDS:
        for hdu in hdulist[1:]:
            names = _columns(hdu)
            if hdu.name == kind.extension and kind.time in names and kind.flux[0][0] in names:
                return kind, hdu
    found = ", ".join(hdu.name or type(hdu).__name__ for hdu in hdulist)
    raise BadInputError(
        f"{path}: a FITS file with {found}, but no light curve of a kind that we know ({ACCEPTED})"
    )


def _columns(hdu):
    """Names of a table's columns as they stand, by their name in capitals"""
    return (
        {name.upper(): name for name in hdu.columns.names}
        if isinstance(hdu, fits.BinTableHDU)
        else {}
    )


def _lightcurve(kind, primary, hdu, path, wanted):
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
    quality = (
        column(quality_name, np.int64) if quality_name else np.zeros(len(flux), dtype=np.int64)
    )
    bits = ~0 if quality_name == "MOVING" else DEFAULT_BITMASK[metadata["mission"]]
    flags = ((quality & bits != 0) | ~np.isfinite(flux)).astype(float)
    order = np.flatnonzero(has_time)
    order = order[np.argsort(times[order], kind="stable")]
    return LightcurveArbitraryRaster(
        times[order], flux[order], error[order], flags[order], metadata
    )


def _flux_columns(kind, names, column, path, wanted):
    """(flux, error) columns: the one asked for, else the first of the kind's that has a finite value"""
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
    mission = _mission(primary)
    step = hdu.header.get("TIMEDEL")  # d
    values = {
        "pipeline": {"TESS": "SPOC"}.get(mission, mission) if kind.name == "SPOC" else kind.name,
        "mission": mission,
        "object": primary.get("OBJECT"),
        "starid": primary.get("TICID") or primary.get("KEPLERID"),
        "sector": next(
            (
                primary[key]
                for key in ("SECTOR", "QUARTER", "CAMPAIGN")
                if primary.get(key) is not None
            ),
            None,
        ),
        "magnitude": primary.get("TESSMAG") or primary.get("KEPMAG"),
        "flux_column": flux_name,
        "flux_unit": "relative"
        if flux_name.upper() == "FLUX_CORR"
        else hdu.columns[flux_name].unit,
        "time_reference": (hdu.header.get("BJDREFI") or 0) + (hdu.header.get("BJDREFF") or 0),
        "cadence": round(step * DAY) if step else None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _mission(primary):
    if primary.get("MISSION") == "K2" or primary.get("CAMPAIGN") is not None:
        return "K2"
    return "TESS" if "TESS" in str(primary.get("TELESCOP", "")).upper() else "Kepler"
