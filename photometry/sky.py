"""Geometry on the sphere: unit vectors, separations, proper motion, polygons, cross-matches.

All angles are degrees. Computed with unit vectors, so that nothing is special at right ascension 0
or at the poles.
"""

import numpy as np

_MAS_PER_DEGREE = 3.6e6


def unit_vectors(ra, decl):
    """Directions on the sky.

    Parameters
    ----------
    ra, decl : float or arrays of one shape, deg

    Returns
    -------
    vectors : array of shape (3,) + shape of ``ra``
    """
    lon, lat = np.radians(ra), np.radians(decl)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def angles(vectors):
    """Right ascension in [0, 360) and declination of vectors of any length, deg; inverse of
    `unit_vectors`.
    """
    x, y, z = vectors
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def separation(ra1, decl1, ra2, decl2):
    """Angle between directions, deg; exact for small, right and antipodal angles (atan2 of cross
    and dot product).

    Parameters
    ----------
    ra1, decl1, ra2, decl2 : floats or arrays that broadcast, deg

    Returns
    -------
    angle : array, deg
    """
    ra1, decl1, ra2, decl2 = np.broadcast_arrays(ra1, decl1, ra2, decl2)
    first, second = unit_vectors(ra1, decl1), unit_vectors(ra2, decl2)
    cross = np.cross(first, second, axis=0)
    return np.degrees(np.arctan2(np.linalg.norm(cross, axis=0), (first * second).sum(axis=0)))


def propagate(ra, decl, pm_ra, pm_decl, years):
    """Move stars in a straight line at their proper motion (the radial motion is left out); right
    at the poles as well.

    Parameters
    ----------
    ra, decl : arrays, deg
    pm_ra, pm_decl : arrays, mas/yr, ra including cos(decl)
    years : float or array, Julian years to move

    Returns
    -------
    ra, decl : arrays, deg, ra in [0, 360)
    """
    lon, lat = np.radians(ra), np.radians(decl)
    east = np.array([-np.sin(lon), np.cos(lon), np.zeros_like(lon)])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    step = np.radians(np.asarray(years) / _MAS_PER_DEGREE)
    motion = np.asarray(pm_ra) * east + np.asarray(pm_decl) * north
    return angles(unit_vectors(ra, decl) + step * motion)


def in_polygon(ra, decl, corners):
    """Which positions lie in a convex polygon of great circles, on its edge included.

    Parameters
    ----------
    ra, decl : (n,) arrays, deg
    corners : (m, 2) array of ra, decl in deg, in order around the polygon, either way; the polygon
        is smaller than a hemisphere

    Returns
    -------
    inside : (n,) bool array
    """
    vertices = unit_vectors(*np.asarray(corners, dtype=float).T)
    edges = np.cross(vertices, np.roll(vertices, -1, axis=1), axis=0).T
    if (edges @ vertices.sum(axis=1)).mean() < 0:
        edges = -edges
    return np.all(edges @ unit_vectors(ra, decl) >= -1e-15, axis=0)


def polygon_centre(corners):
    """Right ascension and declination of the middle of a polygon's corners, deg.

    Parameters
    ----------
    corners : (m, 2) array of ra, decl, deg
    """
    return angles(unit_vectors(*np.asarray(corners, dtype=float).T).sum(axis=1))


def chord(angle):
    """Distance of two unit vectors that are ``angle`` (deg) apart: radii for k-d trees of unit
    vectors.
    """
    return 2.0 * np.sin(np.radians(np.asarray(angle)) / 2.0)


def tree(ra, decl):
    """A `scipy.spatial.cKDTree` of unit vectors; query it with `chord` as radius."""
    from scipy.spatial import cKDTree

    return cKDTree(unit_vectors(np.atleast_1d(ra), np.atleast_1d(decl)).T)


def match_all(ra1, decl1, ra2, decl2, radius):
    """All pairs of two lists within a radius.

    Parameters
    ----------
    ra1, decl1 : (n,) arrays, deg
    ra2, decl2 : (m,) arrays, deg
    radius : float or (n,) array, deg, at each of the first

    Returns
    -------
    first, second : (k,) int arrays, indices of the pairs, in the order of the first list, then of
        separation
    distance : (k,) array, deg
    """
    ra1, decl1, ra2, decl2 = (np.atleast_1d(np.asarray(a, float)) for a in (ra1, decl1, ra2, decl2))
    if not len(ra1) or not len(ra2):
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    # a little wider: whether a pair on the edge counts is decided by `separation`, not by the
    # tree's rounding
    reach = chord(radius) * (1 + 1e-9) + 1e-14
    found = tree(ra2, decl2).query_ball_point(unit_vectors(ra1, decl1).T, reach)
    first = np.repeat(np.arange(len(ra1)), [len(indices) for indices in found])
    second = np.fromiter((i for indices in found for i in indices), int, len(first))
    distance = separation(ra1[first], decl1[first], ra2[second], decl2[second])
    within = distance <= np.broadcast_to(radius, ra1.shape)[first]
    first, second, distance = first[within], second[within], distance[within]
    order = np.lexsort((distance, first))
    return first[order], second[order], distance[order]
