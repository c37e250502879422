"""Where TESS is, and where its pixels lie in its cameras.

The missions give one barycentric correction per image or per target. A star 6 degrees away sees its
light arrive up to 52 s earlier or later, one at the edge of a target's stamp 0.5 s: the Earth's
distance from the barycentre, 499 s of light, along the difference in direction. (Eastman, Siverd &
Gaudi 2010, PASP 122, 935.) The Earth stands for TESS, which is within 1.3 s of light.

Rows and columns are counted as TESS does: from 1, with the sky on columns 45-2092 and rows 1-2048.
"""

import numpy as np

from ..constants import DAY, SPEED_OF_LIGHT

FIRST_COLUMN, LAST_COLUMN = 45, 2092
FIRST_ROW, LAST_ROW = 1, 2048
FOCAL_LENGTH, PIXEL = 146.0, 0.015  # mm

# The four CCDs of a camera leave a cross of 1.56 mm between them, and the optical axis goes through
# its middle. All have their last row there; CCDs 1 and 3 their last column as well, CCDs 2 and 4
# their first.
HALF_GAP = 52  # pixels, 0.78 mm

MAX_DISTANCE = 1.5
"""Seconds of light that TESS is from the Earth at most (1.3), and a little. Times that are
barycentric by the Earth alone may be off by as much; those that the mission has made barycentric
for one direction, and that are moved to another, by this times the angle between them.
"""

# days between positions that are computed; a cubic spline through them is right to 1e-9 s
_STEP = 0.25


def optical_axis(ccd):
    """Row and column of the camera's optical axis, continued from the pixels of one of its CCDs."""
    return LAST_ROW + HALF_GAP, (
        LAST_COLUMN + HALF_GAP if ccd in (1, 3) else FIRST_COLUMN - HALF_GAP
    )


def distance_from_axis(ccd, row, column):
    """Angle between the optical axis and a position on a CCD, deg; without the lens's distortion,
    good to some tenths of a degree.

    Parameters
    ----------
    ccd : int, 1 to 4
    row, column : floats or arrays, pixels, as TESS counts them
    """
    axis_row, axis_column = optical_axis(ccd)
    return np.degrees(
        np.arctan(np.hypot(row - axis_row, column - axis_column) * PIXEL / FOCAL_LENGTH)
    )


def earth_position(days, time_reference):
    """Where the Earth is, seen from the barycentre of the solar system (analytic ephemeris of
    astropy).

    Parameters
    ----------
    days : (n,) array, days since ``time_reference``, TDB at the Earth; NaN gives NaN
    time_reference : int, Julian date

    Returns
    -------
    (n, 3) array, seconds of light, ICRS
    """
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    days = np.asarray(days, dtype=float)
    position = np.full((days.size, 3), np.nan)
    valid = np.isfinite(days)
    if not valid.any():
        return position
    low, high = days[valid].min(), days[valid].max()
    n_nodes = int((high - low) / _STEP) + 2
    interpolated = n_nodes + 4 < valid.sum()
    nodes = np.linspace(low, high, max(n_nodes, 5)) if interpolated else days[valid]
    times = Time(time_reference, nodes, format="jd", scale="tdb")
    earth = get_body_barycentric("earth", times, ephemeris="builtin").xyz.to_value("km").T
    if interpolated:
        from scipy.interpolate import CubicSpline

        earth = CubicSpline(nodes, earth)(days[valid])
    position[valid] = earth / SPEED_OF_LIGHT
    return position


def correction(earth, target, reference=(0.0, 0.0, 0.0)):
    """What to add to times: those of the satellite, or those that are barycentric for a
    ``reference`` direction.

    Parameters
    ----------
    earth : (n_times, 3) array, seconds of light, see `earth_position`
    target : (3,) unit vector to the star
    reference : (3,) unit vector to the position that the times hold for; zeros: they are the
        satellite's

    Returns
    -------
    (n_times,) array, days
    """
    return earth @ (np.asarray(target) - np.asarray(reference)) / DAY
