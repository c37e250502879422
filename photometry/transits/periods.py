"""Which periods and durations to try, and how far a peak stands out of its periodogram."""

import numpy as np
from scipy.ndimage import median_filter

from ..constants import DAY
from ..errors import ArgumentError

# SI; the values of the IAU (2015, resolution B3) and CODATA
GM_SUN = 1.3271244e20
R_SUN = 6.957e8
R_JUPITER = 7.1492e7

DURATIONS = np.linspace(0.05, 0.2, 10)  # d, of boxes
PERIOD_MIN = 0.5  # d, of boxes, where none is given
# of the period; longer transits were never seen (Hippke & Heller 2019, section 2.2)
MAX_FRACTION = 0.12
# of the shortest duration: how far a transit at one end of the light curve moves against one at the
# other from one period to the next
DRIFT = 1 / 3
# periods; running median that is subtracted from the spectrum, 30 times the oversampling of the
# grid (Hippke & Heller 2019)
KERNEL = 91


def uniform_frequencies(baseline, min_duration, period_min, period_max, *, frequency_factor=2.0):
    """Periods of a grid uniform in frequency, with the step of astropy's
    ``BoxLeastSquares.autoperiod``.

    Parameters
    ----------
    baseline : float, d, last time minus first time
    min_duration : float, d, the shortest duration to be tried
    period_min, period_max : float, d
    frequency_factor : float; the step is this times min_duration / baseline**2

    Returns
    -------
    (n,) array, d, falling or rising as astropy's: from the longest to the shortest
    """
    if not 0 < period_min < period_max:
        raise ArgumentError(
            f"period_min={period_min!r}, period_max={period_max!r}: expected 0 < period_min < "
            f"period_max (days)"
        )
    step = frequency_factor * min_duration / baseline**2
    lowest, highest = (
        max(1.0 / period_max, step),
        1.0 / period_min,
    )  # not 0, however long the period
    return 1.0 / (highest - step * np.arange(1 + int(np.round((highest - lowest) / step))))


def box_periods(times, period_min=None, period_max=None):
    """Periods of a search for boxes of `DURATIONS`, as astropy's ``autoperiod`` makes them.

    The frequency factor is 2. Their number grows as the square of the baseline; see
    `drift_periods`.

    Parameters
    ----------
    times : (n,) array, d
    period_min, period_max : float, d, optional; by default 0.5 d and half the length of the light
        curve

    Returns
    -------
    (n_periods,) array, d
    """
    baseline = float(np.ptp(times))
    return uniform_frequencies(
        baseline, DURATIONS.min(), *_box_limits(baseline, period_min, period_max)
    )


def drift_periods(baseline, period_min=None, period_max=None, *, duration=None):
    """Periods as fine as a search for transits of a duration needs them, and no finer.

    From one to the next a transit at the end of the baseline moves by a third of the duration. So
    their number grows as baseline * ln(period_max / period_min).

    Parameters
    ----------
    baseline : float, d
    period_min, period_max : float, d, optional; by default 0.5 d and half the baseline
    duration : float, d, the shortest; by default that of `DURATIONS`

    Returns
    -------
    (n_periods,) array, d, from the longest to the shortest
    """
    duration = DURATIONS.min() if duration is None else duration
    low, high = _box_limits(baseline, period_min, period_max)
    count = int(np.ceil(np.log(high / low) * baseline / (DRIFT * duration))) + 1
    return np.geomspace(high, low, count)


def _box_limits(baseline, period_min, period_max):
    period_min = PERIOD_MIN if period_min is None else period_min
    period_max = 0.5 * baseline if period_max is None else min(period_max, baseline)
    if not DURATIONS.max() < period_min < period_max:
        raise ArgumentError(
            f"period_min={period_min:g}, period_max={period_max:g}: expected "
            f"{DURATIONS.max()} < period_min < period_max (days; the light curve has {baseline:g})"
        )
    return period_min, period_max


def optimal_periods(
    baseline,
    *,
    period_min=0.0,
    period_max=np.inf,
    mass=1.0,
    radius=1.0,
    oversampling=3,
    transits_min=2,
):
    """Periods uniform in the cube root of frequency, because transits of long periods last longer.

    Ofir (2014, A&A 561, A138), equations 5-7, as Hippke & Heller (2019, A&A 623, A39) use it for
    TLS.

    Parameters
    ----------
    baseline : float, d
    period_min, period_max : float, d; limits. Without a ``period_min`` the shortest is that of an
        orbit of 3 stellar radii, without a ``period_max`` the longest is baseline / transits_min
    mass, radius : float, of the star, solar units
    oversampling : float, periods per width of a peak
    transits_min : int, fewest transits within the baseline

    Returns
    -------
    (n,) array, d, from the longest to the shortest
    """
    seconds = baseline * DAY
    lowest = transits_min / seconds
    if np.isfinite(period_max):  # longer ones than transits_min allow, up to the baseline
        lowest = max(1 / (period_max * DAY), 1 / seconds)
    # an orbit of 3 stellar radii
    highest = np.sqrt(GM_SUN * mass / (3 * radius * R_SUN) ** 3) / (2 * np.pi)
    if period_min > 0:
        highest = 1 / (period_min * DAY)
    if lowest >= highest:
        return np.empty(0)
    a = (
        (2 * np.pi) ** (2 / 3)
        / np.pi
        * radius
        * R_SUN
        / (GM_SUN * mass) ** (1 / 3)
        / (seconds * oversampling)
    )
    count = int(np.ceil((highest ** (1 / 3) - lowest ** (1 / 3) + a / 3) * 3 / a))
    periods = 1.0 / (a / 3 * np.arange(1, count + 1) + lowest ** (1 / 3) - a / 3) ** 3 / DAY
    return periods[(periods >= period_min) & (periods <= period_max * (1 + 1e-12))]


def transit_duration(period, *, mass=1.0, radius=1.0, planet_radius=0.0):
    """Duration of a central transit on a circular orbit [d], at most 0.12 of the period.

    Parameters
    ----------
    period : float or array, d
    mass, radius : of the star, solar units
    planet_radius : float, Jupiter radii
    """
    chord = radius * R_SUN + planet_radius * R_JUPITER
    duration = chord * (4 * np.asarray(period) * DAY / (np.pi * GM_SUN * mass)) ** (1 / 3) / DAY
    return np.minimum(duration, MAX_FRACTION * np.asarray(period))


def stellar_density(star):
    """Mean density over the Sun's, from ``radius`` (solar radii) and ``logg``; NaN if unknown"""
    radius, logg = star.get("radius"), star.get("logg")
    if radius is None or logg is None or not (radius > 0 and np.isfinite(logg)):
        return float("nan")
    surface = 10.0**logg / 100 / (GM_SUN / R_SUN**2)  # gravity over the Sun's
    return float(surface / radius)


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
