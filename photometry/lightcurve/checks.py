"""What the tasks ``verify`` and ``binning`` do with a light curve."""

import numpy as np

from ..constants import DAY
from .resample import LightcurveResampler, pixel_edges

MIN_SAMPLES = 3  # fewer have no sampling interval


def verify(lc):
    """Ranges of times and fluxes, and whether the raster has no gaps.

    Returns
    -------
    dict of ``verification_time_min``, ``verification_time_max`` [d], ``verification_flux_min``, ``verification_flux_max``
    (of finite fluxes; NaN without any) and ``verification`` (bool; False also where the samples are too few to tell)
    """
    ranges = {}
    for name, values in (("time", lc.get_times()), ("flux", lc.fluxes[np.isfinite(lc.fluxes)])):
        low, high = (values.min(), values.max()) if values.size else (np.nan, np.nan)
        ranges |= {f"verification_{name}_min": float(low), f"verification_{name}_max": float(high)}
    return {
        **ranges,
        "verification": len(lc) >= MIN_SAMPLES and lc.check_fixed_step(verbose=False) == 0,
    }


def cadence_raster(lc, cadence):
    """Times from the first to the last, the last excluded, every ``cadence`` seconds; days."""
    if not cadence > 0:
        raise ValueError(f"cadence={cadence!r}: expected seconds, above zero")
    times = lc.get_times()
    return np.arange(times[0], times[-1], cadence / DAY)


def bin_to_cadence(lc, cadence):
    """Resample to another cadence. Pixels that the input covers only in part are left out.

    Parameters
    ----------
    lc : Lightcurve
    cadence : float, s

    Returns
    -------
    LightcurveArbitraryRaster; ``sampling_cadence`` in its metadata is the new one
    """
    raster = cadence_raster(lc, cadence)
    binned = LightcurveResampler(lc).onto_raster(raster)
    edges, covered = pixel_edges(raster), pixel_edges(lc.get_times())[[0, -1]]
    tolerance = 1e-6 * cadence / DAY
    inside = (edges[:-1] >= covered[0] - tolerance) & (edges[1:] <= covered[1] + tolerance)
    binned = binned.select(inside)
    binned.metadata["sampling_cadence"] = cadence
    return binned
