"""How far a peak stands out of its periodogram."""

import numpy as np
from scipy.ndimage import median_filter

# periods; running median that is subtracted from the spectrum, 30 times the oversampling of the
# grid (Hippke & Heller 2019)
KERNEL = 91


def sde_spectrum(chi2, kernel=KERNEL, regular=None):
    """Signal detection efficiency at each period, from the chi^2 of the best transit there.

    Hippke & Heller (2019, A&A 623, A39), equations 2-4 and section 2.5: the signal residue is
    min(chi2)/chi2; its running median is subtracted, and the residual is given in standard
    deviations about its mean.

    Parameters
    ----------
    chi2 : (n,) array, in the order of the periods
    kernel : int, odd, length of the running median
    regular : (n,) bool array, optional
        Periods that are evenly spread; only they shape median, mean and standard deviation

    Returns
    -------
    power : (n,) array, zeros where nothing was fitted at any period, or all was fitted exactly
    sde : float, its maximum; NaN where nothing was fitted
    """
    if len(chi2) == 0 or not np.isfinite(chi2).all() or np.ptp(chi2) == 0 or chi2.min() <= 0:
        return np.zeros(len(chi2)), float("nan")
    residue = chi2.min() / chi2
    at = np.arange(len(chi2)) if regular is None else np.flatnonzero(regular)
    if len(at) > 2 * kernel:
        trend = median_filter(residue[at], kernel, mode="nearest")
        residue = residue - np.interp(np.arange(len(chi2)), at, trend)
    power = (residue - residue[at].mean()) / residue[at].std()
    return power, float(power.max())


def sde_of_power(power):
    """(maximum - mean) / standard deviation: Kovács et al. (2002, A&A 391, 369), equation 6; NaN
    for a flat periodogram"""
    return (
        float((power.max() - power.mean()) / power.std())
        if len(power) and power.std() > 0
        else float("nan")
    )


def half_width(periods, power):
    """Half of the width of the highest peak at half its height [d]: how certain the period is."""
    top = int(np.argmax(power))
    low = np.flatnonzero(power < 0.5 * power[top])
    left, right = low[low < top], low[low > top]
    ends = [
        periods[left[-1]] if left.size else periods[0],
        periods[right[0]] if right.size else periods[-1],
    ]
    return float(0.5 * abs(ends[0] - ends[1]))
