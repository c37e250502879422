"""The light curve of a planet in front of a star with quadratic limb darkening.

The light that the planet blocks is the integral of the star's intensity over circles around its
centre, each weighted by the part of it that the planet covers. With a substitution that takes out
the square roots at both ends, Gauss-Legendre quadrature is accurate to 1e-9. The intensity law is
that of Mandel & Agol (2002, ApJ 580, L171).
"""

from functools import lru_cache

import numpy as np

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
