"""Barycentric times for places away from the middle of an image.

The missions give one barycentric correction per image, for its middle. A star 6 degrees away sees its light arrive up to
52 s earlier or later: the Earth's distance from the barycentre, 499 s of light, along the difference in direction.
(Eastman, Siverd & Gaudi 2010, PASP 122, 935.) The Earth stands for the satellite, which is within 1.3 s of light.
"""

import numpy as np

from ..constants import DAY, SPEED_OF_LIGHT


def earth_position(days, time_reference):
    """Where the Earth is, seen from the barycentre of the solar system (analytic ephemeris of astropy).

    Parameters
    ----------
    days : (n,) array, days since ``time_reference`` (BJD in TDB)

    Returns
    -------
    (n, 3) array, seconds of light, ICRS
    """
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    times = Time(time_reference, np.asarray(days, dtype=float), format="jd", scale="tdb")
    return (
        get_body_barycentric("earth", times, ephemeris="builtin").xyz.to_value("km").T
        / SPEED_OF_LIGHT
    )


def correction(earth, target, reference=(0.0, 0.0, 0.0)):
    """What to add to times: those of the satellite, or those that are barycentric for a ``reference`` direction.

    Returns
    -------
    (n_times,) array, days
    """
    return earth @ (np.asarray(target) - np.asarray(reference)) / DAY
