"""Take slow trends out of a light curve and keep its transits; measure the noise that is left.

The trend is Tukey's biweight in a sliding window of time: the best of the methods that Hippke et
al. (2019, AJ 158, 143) compared at keeping transits. The work is done by their library, wotan.
"""

from functools import lru_cache

import numpy as np

from ..constants import MAD_TO_SIGMA
from ..errors import WrongUseError

# d; about 3 times the longest transit that shall be kept (Hippke et al. 2019, section 3)
DEFAULT_WINDOW = 1.5
# d; trend removed before the noise is measured, as the window of Gilliland et al. 2011
CDPP_WINDOW = 2.0
OUTLIER = 5.0  # robust standard deviations
NOISE_HOURS = 6.5  # of the noise that is noted in files
MIN_STRETCHES = 3  # of the length over which noise is measured, without gaps
QUICK_BIN, QUICK_ROUNDS = 0.5, 3  # h, of samples that `quick_cdpp` joins; its rounds of outliers


def flatten(lc, window=DEFAULT_WINDOW, *, mask=None, edge_cutoff=0.0, return_trend=False):
    """Divide a light curve by its trend.

    Parameters
    ----------
    lc : Lightcurve, positive fluxes
    window : float, days
        Slower variation is removed. At least 3 times the longest transit to be kept
    mask : (n_samples,) bool array, optional
        Samples that must not shape the trend, e.g. of known transits: `transit_mask`
    edge_cutoff : float, days
        So much beside every gap becomes NaN, because the trend is less certain there
    return_trend : bool

    Returns
    -------
    flat : light curve of the same kind: flux relative to the trend, about 1; uncertainties
        likewise; NaN, and flagged, where the trend is not known
    trend : (n_samples,) array, only with ``return_trend``; flagged samples do not shape it
    """
    trend = _trend(lc, window, mask, edge_cutoff)
    flat = lc.with_fluxes(lc.fluxes / trend, lc.uncertainties / trend)
    flat.metadata = {**lc.metadata, "flux_unit": "relative", "detrended": f"biweight, {window:g} d"}
    return (flat, trend) if return_trend else flat


def _trend(lc, window, mask, edge_cutoff):
    if not window > 0:
        raise WrongUseError(f"window={window!r}: expected days, above zero")
    level = good_level(lc)
    if not level > 0:
        raise WrongUseError(
            f"{lc!r}: the median of its good samples is {level:g}, "
            "so it cannot be divided by its trend"
        )
    excluded = ~lc.good() if mask is None else ~lc.good() | mask
    options = {
        "window_length": window,
        "method": "biweight",
        "edge_cutoff": edge_cutoff,
        "mask": excluded,
    }
    _, trend = _wotan_flatten()(lc.get_times(), lc.fluxes / level, return_trend=True, **options)
    return trend * level


def good_level(lc):
    """Median flux of the good samples; NaN where there is none"""
    good = lc.fluxes[lc.good()]
    return float(np.median(good)) if good.size else float("nan")


def _wotan_flatten():
    try:
        from wotan import flatten as wotan_flatten
    except ImportError as error:
        raise WrongUseError("detrending needs wotan: pip install 'photometry[search]'") from error
    return wotan_flatten


def transit_mask(times, period, duration, t0):
    """Samples in transit.

    Parameters
    ----------
    times : (n,) array, days
    period, duration, t0 : float, days; of the transits at ``t0 + i * period``

    Returns
    -------
    (n,) bool array, True within half a ``duration`` of a mid-transit time
    """
    return np.abs((np.asarray(times) - t0 + 0.5 * period) % period - 0.5 * period) < 0.5 * duration


def cdpp(lc, hours=6.5, *, window=CDPP_WINDOW):
    """Combined differential photometric precision: the noise over the time of a transit.

    As Gilliland et al. (2011, ApJS 197, 6) and Van Cleve et al. (2016, PASP 128, 075002) estimate
    it: remove the trend (a quadratic in a sliding window) and outliers, take the running mean over
    ``hours``, then its standard deviation. Outliers, deep transits among them, are found first,
    against a robust trend, so that they do not shape the quadratic.

    Parameters
    ----------
    lc : Lightcurve
    hours : float
    window : float, days, of the trend; None: there is no trend

    Returns
    -------
    float, ppm; NaN where less than 3 stretches of ``hours`` are free of gaps
    """
    flat = lc if window is None else flatten(lc, window)
    good = flat.good() & np.isfinite(flat.fluxes)
    times, flux = flat.get_times()[good], flat.fluxes[good] / np.median(flat.fluxes[good])
    times, flux = _without_outliers(times, flux)
    if len(times) < 2 or not np.median(np.diff(times)) > 0:
        return float("nan")
    if window is not None:
        flux = flux / _sliding_quadratic(times, flux, window)
    return float(np.std(_running_means(times, flux, hours / 24)) * 1e6)


def quick_cdpp(times, flux, hours=NOISE_HOURS, *, window=CDPP_WINDOW):
    """The `cdpp` of a light curve within about 10 %, in milliseconds.

    Samples are joined in bins of half an hour, and outliers (transits too, where they stand out of
    such a bin) are found against the quadratic itself, a few times in turn.

    Parameters
    ----------
    times : (n,) array, d, sorted
    flux : (n,) array, finite, any unit
    hours : float
    window : float, days, of the trend

    Returns
    -------
    float, ppm; NaN where less than 3 stretches of ``hours`` are free of gaps, or the median is not
    above 0
    """
    if len(times) < 2 or not np.median(flux) > 0:
        return float("nan")
    bins = np.floor(times * 24 / QUICK_BIN)
    (starts,) = np.nonzero(np.diff(bins, prepend=-np.inf))
    count = np.diff(starts, append=len(times))
    times, flux = (np.add.reduceat(values, starts) / count for values in (times, flux))
    if len(times) < 2 or not np.median(np.diff(times)) > 0:
        return float("nan")
    flux = flux / np.median(flux)
    clean, before = flux, np.zeros(len(flux), bool)
    for _ in range(QUICK_ROUNDS):
        trend = _sliding_quadratic(times, clean, window)
        deviation = np.abs(flux - trend)
        outlier = deviation > OUTLIER * MAD_TO_SIGMA * np.median(deviation)
        if not (outlier | before).any():
            break  # nothing to replace: the next trend would be the same
        clean, before = np.where(outlier, trend, flux), outlier
    flat = (flux / trend)[~outlier]
    return float(np.std(_running_means(times[~outlier], flat, hours / 24)) * 1e6)


def _without_outliers(times, flux):
    deviation = np.abs(flux - 1)
    keep = deviation <= OUTLIER * MAD_TO_SIGMA * np.median(deviation)
    return times[keep], flux[keep]


def _sliding_quadratic(times, flux, window):
    """Savitzky-Golay filter of second order, over as many samples as ``window`` days hold; at the
    ends, the quadratic of the first and of the last so many samples.
    """
    count = min(round(window / np.median(np.diff(times))), len(flux) - 1) // 2 * 2 + 1
    if not 3 < count <= len(flux):
        return np.ones(len(flux))
    powers, fit = _quadratic(count)
    half = count // 2
    first, last = powers @ (fit @ flux[:count]), powers @ (fit @ flux[-count:])
    middle = np.correlate(flux, powers[half] @ fit, "valid")
    return np.concatenate([first[:half], middle, last[half + 1 :]])


@lru_cache(maxsize=8)
def _quadratic(count):
    """Quadratics over ``count`` samples, (count, 3), and the matrix that fits their coefficients,
    (3, count).
    """
    powers = np.vander(np.linspace(-1, 1, count), 3)
    return powers, np.linalg.pinv(powers)


def _running_means(times, flux, length):
    """Means over all stretches of ``length`` days in which at most a tenth of samples is missing"""
    step = np.median(np.diff(times))
    count = max(round(length / step), 1)
    if len(times) < count:
        return np.array([np.nan])
    total = np.concatenate([[0.0], np.cumsum(flux - 1)])
    means = (total[count:] - total[:-count]) / count
    spans = times[count - 1 :] - times[: len(times) - count + 1]
    whole = spans <= (1.1 * count - 1) * step + 1e-9
    # of fewer the scatter says nothing
    enough = whole.sum() > (MIN_STRETCHES - 1) * count
    return means[whole] if enough else np.array([np.nan])
