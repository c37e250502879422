"""What the tasks ``verify`` and ``binning`` do with a light curve."""

import numpy as np

from .resample import LightcurveResampler, pixel_edges

DAY = 86400  # s


def verify(lc):
    """Ranges of times and fluxes, and whether the raster has no gaps.

    Returns
    -------
    dict of ``verification_time_min``, ``verification_time_max`` [d], ``verification_flux_min``, ``verification_flux_max``
    (of finite fluxes) and ``verification`` (bool)
    """
    times, fluxes = lc.get_times(), lc.fluxes[np.isfinite(lc.fluxes)]
    return {
        "verification_time_min": float(times.min()),
        "verification_time_max": float(times.max()),
        "verification_flux_min": float(fluxes.min()) if fluxes.size else float("nan"),
        "verification_flux_max": float(fluxes.max()) if fluxes.size else float("nan"),
        "verification": lc.check_fixed_step(verbose=False) == 0,
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
