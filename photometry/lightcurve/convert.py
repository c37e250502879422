"""Light curves to and from the objects of astropy and lightkurve."""

import numpy as np

from ..constants import MISSIONS
from ..errors import WrongUseError
from .fitsfiles import Samples

# lightkurve's names of times: btjd, bkjd
_TIME_FORMATS = {mission.time_reference: mission.time_name.lower() for mission in MISSIONS.values()}


def to_timeseries(lc):
    """As `astropy.timeseries.TimeSeries`.

    Returns
    -------
    TimeSeries with columns ``flux``, ``flux_err``, ``flags``; time as BJD in the TDB scale: the
    light curve's times plus its ``time_reference`` (0 if it has none). The metadata is in ``meta``
    """
    from astropy.timeseries import TimeSeries

    series = TimeSeries(time=_absolute_time(lc))
    for name, values in (("flux", lc.fluxes), ("flux_err", lc.uncertainties), ("flags", lc.flags)):
        series[name] = values
    series.meta.update(lc.metadata)
    return series


def to_lightkurve(lc):
    """As a light curve of lightkurve.

    Returns
    -------
    TessLightCurve or KeplerLightCurve by the ``mission`` of the metadata, else LightCurve: flux and
    flux_err with their unit, a column ``flags``, time as BTJD or BKJD where that is its zero point,
    label and target id
    """
    try:
        import lightkurve
    except ImportError as error:
        raise WrongUseError("lightkurve is not installed: pip install lightkurve") from error
    from astropy import units

    kinds = {"TESS": "TessLightCurve", "Kepler": "KeplerLightCurve", "K2": "KeplerLightCurve"}
    kind = getattr(lightkurve, kinds.get(lc.metadata.get("mission"), "LightCurve"))
    unit = {"e-/s": units.electron / units.second, "relative": units.dimensionless_unscaled}.get(
        lc.metadata.get("flux_unit")
    )
    flux, flux_err = lc.fluxes, lc.uncertainties
    if unit is not None:
        flux, flux_err = flux * unit, flux_err * unit
    time, own_format = _absolute_time(lc), _TIME_FORMATS.get(lc.metadata.get("time_reference"))
    if own_format:
        time.format = own_format
    converted = kind(time=time, flux=flux, flux_err=flux_err)
    converted["flags"] = lc.flags
    converted.meta.update(lc.metadata)
    converted.meta["NORMALIZED"] = lc.metadata.get("flux_unit") == "relative"
    for key, name in (("LABEL", "object"), ("OBJECT", "object"), ("TARGETID", "starid")):
        if lc.metadata.get(name) is not None:
            converted.meta[key] = lc.metadata[name]
    return converted


def from_timeseries(series, *, flux="flux"):
    """From `astropy.timeseries.TimeSeries`, or from `lightkurve.LightCurve`, which is one.

    Parameters
    ----------
    series : TimeSeries with a column ``flux`` and perhaps ``flux_err``; flags from a column
        ``flags`` or, if there is none, ``quality`` (any bit counts as bad)
    flux : str
        Name of the flux column

    Returns
    -------
    Samples; masked and NaN fluxes are flagged, rows with masked times are left out
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
    return Samples(times[keep], *columns, {**metadata, "time_reference": reference})


def _absolute_time(lc):
    from astropy.time import Time

    return Time(lc.metadata.get("time_reference", 0.0), lc.get_times(), format="jd", scale="tdb")


def _format_reference(time):
    """JD of the zero point of a time's own format, so that times come back as they are shown"""
    references = {name: reference for reference, name in _TIME_FORMATS.items()}
    return {**references, "mjd": 2400000.5}.get(time.format, 0)


def _filled(column):
    """A column (plain, masked, with or without unit) as floats, NaN where it is masked"""
    mask = np.broadcast_to(getattr(column, "mask", False), len(column))
    bare = getattr(column, "unmasked", getattr(column, "data", column))
    values = np.array(getattr(bare, "value", bare), dtype=float)
    values[mask] = np.nan
    return values
