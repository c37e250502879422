"""The light curve of a planet in front of a star with quadratic limb darkening; how long its
transits last, and which periods and durations to try for it.

The light that the planet blocks is the integral of the star's intensity over circles around its
centre, each weighted by the part of it that the planet covers. With a substitution that takes out
the square roots at both ends, Gauss-Legendre quadrature is accurate to 1e-9. The intensity law is
that of Mandel & Agol (2002, ApJ 580, L171).
"""

from functools import lru_cache

import numpy as np

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
NODES = 96  # of the quadrature
_MAX_ITERATIONS = 50  # of Newton's method


def intensity(radius, u1, u2):
    """Intensity of the stellar disc.

    Parameters
    ----------
    radius : array, from the centre, stellar radii
    u1, u2 : float, quadratic limb darkening

    Returns
    -------
    array, 1 at the centre
    """
    mu = np.sqrt(np.clip(1 - radius**2, 0, None))
    return 1 - u1 * (1 - mu) - u2 * (1 - mu) ** 2


def disc_flux(radius, u1, u2):
    """Flux within a circle about the centre: the integral of `intensity` over that disc.

    Parameters
    ----------
    radius : array, stellar radii
    u1, u2 : float, quadratic limb darkening

    Returns
    -------
    array; pi (1 - u1/3 - u2/6) for radius 1
    """
    mu2 = np.clip(1 - np.asarray(radius, dtype=float) ** 2, 0, None)
    mu = np.sqrt(mu2)
    constant, linear, square = (
        1 - u1 - u2,
        u1 + 2 * u2,
        -u2,
    )  # intensity as a polynomial in mu; r dr = -mu dmu
    return (
        2
        * np.pi
        * (constant * (1 - mu2) / 2 + linear * (1 - mu2 * mu) / 3 + square * (1 - mu2**2) / 4)
    )


def transit_flux(separation, radius_ratio, u1=0.1, u2=0.3):
    """Relative flux of the star.

    Parameters
    ----------
    separation : array, distance of the centres on the sky in stellar radii; inf where the planet
        is behind the star
    radius_ratio : float, planet's radius over star's
    u1, u2 : float, quadratic limb darkening

    Returns
    -------
    array, 1 outside transits
    """
    z = np.asarray(separation, dtype=float)
    flux = np.ones(z.shape)
    inside = z < 1 + radius_ratio
    if radius_ratio > 0 and inside.any():
        flux[inside] -= _blocked(z[inside], radius_ratio, u1, u2) / disc_flux(1.0, u1, u2)
    return flux


def _blocked(z, p, u1, u2):
    """Integral of the intensity over the part of the star that the planet covers; z: (n,) array"""
    low, high = np.clip(np.abs(z - p), None, 1), np.minimum(z + p, 1)
    theta, weights = _nodes()
    middle, half = 0.5 * (high + low)[:, None], 0.5 * (high - low)[:, None]
    r = middle - half * np.cos(theta)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (z[:, None] ** 2 + r**2 - p**2) / (2 * z[:, None] * r)
    angle = np.arccos(
        np.clip(np.nan_to_num(cosine, nan=1.0), -1, 1)
    )  # half of the arc that is covered
    ring = (
        np.sum(intensity(r, u1, u2) * 2 * angle * r * half * np.sin(theta) * weights, axis=1)
        * 0.5
        * np.pi
    )
    return ring + np.where(z < p, disc_flux(np.clip(p - z, 0, 1), u1, u2), 0.0)


@lru_cache(maxsize=1)
def _nodes():
    """Nodes from 0 to pi, and weights, of the quadrature"""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return 0.5 * np.pi * (nodes + 1), weights


def separation(times, *, period, t0, semi_major_axis, inclination, eccentricity=0.0, omega=90.0):
    """Distance of planet and star on the sky.

    Parameters
    ----------
    times : (n,) array, d
    period : float, d
    t0 : float, d, a time of inferior conjunction: the middle of a transit (Winn 2010,
        arXiv:1001.2010, section 2)
    semi_major_axis : float, stellar radii
    inclination : float, deg, 90 is edge-on
    eccentricity : float, 0 to below 1
    omega : float, deg, argument of periastron; irrelevant for circular orbits

    Returns
    -------
    (n,) array, stellar radii; inf where the planet is behind the star
    """
    w = np.radians(omega)
    conjunction = 0.5 * np.pi - w  # true anomaly at inferior conjunction
    mean_at_t0 = _mean_anomaly(conjunction, eccentricity)
    anomaly = true_anomaly(
        2 * np.pi * (np.asarray(times, dtype=float) - t0) / period + mean_at_t0, eccentricity
    )
    distance = semi_major_axis * (1 - eccentricity**2) / (1 + eccentricity * np.cos(anomaly))
    along = np.sin(anomaly + w) * np.sin(np.radians(inclination))
    return np.where(
        np.sin(anomaly + w) > 0, distance * np.sqrt(np.clip(1 - along**2, 0, None)), np.inf
    )


def inclination_of_impact(impact_parameter, semi_major_axis, eccentricity=0.0, omega=90.0):
    """Inclination at which the planet passes at an impact parameter: Winn (2010), equation 7.

    Parameters
    ----------
    impact_parameter, semi_major_axis : float, stellar radii
    eccentricity : float, 0 to below 1
    omega : float, deg, argument of periastron

    Returns
    -------
    float, deg, 90 is edge-on
    """
    distance = (
        semi_major_axis * (1 - eccentricity**2) / (1 + eccentricity * np.sin(np.radians(omega)))
    )
    if not 0 <= impact_parameter <= distance:
        raise ValueError(
            f"impact_parameter={impact_parameter!r}: expected 0 to {distance:g}, the distance at "
            f"transit in stellar radii"
        )
    return float(np.degrees(np.arccos(impact_parameter / distance)))


def true_anomaly(mean_anomaly, eccentricity):
    """True anomaly by Newton's method on Kepler's equation; radians."""
    mean = np.mod(mean_anomaly + np.pi, 2 * np.pi) - np.pi
    if eccentricity == 0:
        return mean
    eccentric = mean + eccentricity * np.sign(mean) * 0.85  # Danby (1988)
    for _ in range(_MAX_ITERATIONS):
        step = (eccentric - eccentricity * np.sin(eccentric) - mean) / (
            1 - eccentricity * np.cos(eccentric)
        )
        eccentric = eccentric - step
        if np.max(np.abs(step), initial=0) < 1e-14:
            break
    return 2 * np.arctan2(
        np.sqrt(1 + eccentricity) * np.sin(eccentric / 2),
        np.sqrt(1 - eccentricity) * np.cos(eccentric / 2),
    )


def _mean_anomaly(true, eccentricity):
    eccentric = 2 * np.arctan(np.sqrt((1 - eccentricity) / (1 + eccentricity)) * np.tan(true / 2))
    return eccentric - eccentricity * np.sin(eccentric)


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
