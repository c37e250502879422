"""Light curves to and from the objects of astropy and lightkurve, and from what a photometric method returns."""

import numpy as np

from ..errors import WrongUseError
from .lightcurve import LightcurveArbitraryRaster


def to_timeseries(lc):
    """As `astropy.timeseries.TimeSeries`.

    Returns
    -------
    TimeSeries with columns ``flux``, ``flux_err``, ``flags``; time as BJD in the TDB scale: the light curve's times plus
    its ``time_reference`` (0 if it has none). The metadata is in ``meta``
    """
    from astropy.timeseries import TimeSeries

    series = TimeSeries(time=_absolute_time(lc))
    for name, values in (("flux", lc.fluxes), ("flux_err", lc.uncertainties), ("flags", lc.flags)):
        series[name] = values
    series.meta.update(lc.metadata)
    return series


def to_lightkurve(lc):
    """As `lightkurve.LightCurve`: flux, flux_err and a column ``flags``."""
    try:
        import lightkurve
    except ImportError as error:
        raise WrongUseError("lightkurve is not installed: pip install lightkurve") from error
    converted = lightkurve.LightCurve(
        time=_absolute_time(lc), flux=lc.fluxes, flux_err=lc.uncertainties
    )
    converted["flags"] = lc.flags
    converted.meta.update(lc.metadata)
    return converted


def from_timeseries(series, *, flux="flux"):
    """From `astropy.timeseries.TimeSeries`, or from `lightkurve.LightCurve`, which is one.

    Parameters
    ----------
    series : TimeSeries with a column ``flux`` and perhaps ``flux_err``; flags from a column ``flags`` or, if there is none,
        ``quality`` (any bit counts as bad)
    flux : str
        Name of the flux column

    Returns
    -------
    LightcurveArbitraryRaster; masked and NaN fluxes are flagged, rows with masked times are left out
    """
    if flux not in series.colnames:
        raise WrongUseError(
            f"the time series has no column {flux!r}; it has {', '.join(series.colnames)}"
        )
    reference = series.meta.get("time_reference", _format_reference(series.time))
    times = _filled(series.time.tdb.jd1 - reference) + _filled(series.time.tdb.jd2)
    fluxes = _filled(series[flux])
    error = f"{flux}_err"
    uncertainties = _filled(series[error]) if error in series.colnames else None
    flag_column = next((name for name in ("flags", "quality") if name in series.colnames), None)
    flags = (_filled(series[flag_column]) != 0).astype(float) if flag_column == "quality" else None
    flags = _filled(series["flags"]) if flag_column == "flags" else flags
    keep = np.isfinite(times)
    columns = (None if a is None else a[keep] for a in (fluxes, uncertainties, flags))
    metadata = {key: value for key, value in series.meta.items() if not key.startswith("__")}
    return LightcurveArbitraryRaster(
        times[keep], *columns, metadata={**metadata, "time_reference": reference}
    )


def extraction_to_lightcurve(stamp, extraction):
    """The light curve that a method of `photometry.methods` made.

    Parameters
    ----------
    stamp : Stamp, for times, quality and target
    extraction : Extraction

    Returns
    -------
    LightcurveArbitraryRaster, flux in e-/s; times at which no exposure was made are left out
    """
    from ..flags import DEFAULT_BITMASK

    made = np.isfinite(stamp.time)
    flags = ((stamp.quality & DEFAULT_BITMASK[stamp.mission]) != 0).astype(float)
    metadata = {
        "object": f"{stamp.mission} {stamp.target.starid}",
        "starid": stamp.target.starid,
        "mission": stamp.mission,
        "sector": stamp.sector,
        "cadence": stamp.cadence,
        "magnitude": stamp.target.tmag,
        "method": extraction.method,
        "flux_unit": "e-/s",
        "time_reference": stamp.time_reference,
    }
    return LightcurveArbitraryRaster(
        stamp.time[made], extraction.flux[made], extraction.flux_err[made], flags[made], metadata
    )


def _absolute_time(lc):
    from astropy.time import Time

    return Time(lc.metadata.get("time_reference", 0.0), lc.get_times(), format="jd", scale="tdb")


def _format_reference(time):
    """JD of the zero point of a time's own format (BTJD, BKJD…), so that times come back as they are shown"""
    return {"btjd": 2457000, "bkjd": 2454833, "mjd": 2400000.5}.get(time.format, 0)


def _filled(column):
    """A column (plain, masked, with or without unit) as floats, NaN where it is masked"""
    mask = np.broadcast_to(getattr(column, "mask", False), len(column))
    bare = getattr(column, "unmasked", getattr(column, "data", column))
    values = np.array(getattr(bare, "value", bare), dtype=float)
    values[mask] = np.nan
    return values
