"""Where TESS is, and where its pixels lie in its cameras.

The missions give one barycentric correction per image or per target. A star 6 degrees away sees its
light arrive up to 52 s earlier or later, one at the edge of a target's stamp 0.5 s: the Earth's
distance from the barycentre, 499 s of light, along the difference in direction. (Eastman, Siverd &
Gaudi 2010, PASP 122, 935.) TESS is up to 1.4 s of light from the Earth, on an orbit of 13.7 days
that is integrated here.

Rows and columns are counted as TESS does: from 1, with the sky on columns 45-2092 and rows 1-2048.
"""

import functools

import numpy as np

from ..constants import DAY, SPEED_OF_LIGHT, TESS

FIRST_COLUMN, LAST_COLUMN = 45, 2092
FIRST_ROW, LAST_ROW = 1, 2048
FOCAL_LENGTH, PIXEL = 146.0, 0.015  # mm

# The four CCDs of a camera leave a cross of 1.56 mm between them, and the optical axis goes through
# its middle. All have their last row there; CCDs 1 and 3 their last column as well, CCDs 2 and 4
# their first.
HALF_GAP = 52  # pixels, 0.78 mm

MAX_DISTANCE = 1.5
"""Seconds of light that TESS is from the Earth at most (1.4), and a little."""

ORBIT_ERROR = 0.05
"""Seconds of light that TESS is from its place on the orbit that is integrated here, at most: 0.015
against the positions of JPL Horizons from 2018 to 2025; 0.03 where these were left out of the fit
for 900 days, which is how far the orbit goes on after them.
"""

# Where TESS was on some days (TDB, days since 2457000), from the centre of the Earth, ICRS: km, and
# km a day. In between its orbit is integrated. Fitted to the positions of JPL Horizons, target -95;
# the rows after 3760 follow from those before.
_STATES = (
    (1280, -193485, 109989, -113103, 21722.4, -105153.8, -5544.5),
    (1530, 37928, -75242, 11043, 198331.6, 86285.8, 103006.7),
    (1780, 123717, 272932, 43794, -36728.3, 74445.4, -8218.8),
    (2030, -93729, 382410, 753, -41867.6, -24350.2, -1538.7),
    (2280, -131276, -20462, 25745, 113454.1, -133607.2, -20947.9),
    (2530, 95043, 344885, -28767, -45672.6, 38386.6, 17402.7),
    (2780, -139074, 236932, 96904, -33035.0, -81923.5, 14293.2),
    (3030, 191401, 13756, -136113, 46403.6, 102468.9, -16907.2),
    (3280, 178202, 282747, -76019, -39418.7, 28923.3, 47971.8),
    (3530, 139024, 227364, -23700, -66978.5, -2697.6, 71122.6),
    (3780, 86763, -169278, -248444, 63721.9, 40838.7, -32917.2),
    (4030, 160510, 119247, -29074, -69332.9, 34307.1, 107871.8),
    (4280, -195498, -198631, -99092, 24939.2, -44984.3, -75293.8),
    (4530, -74164, -247967, -290060, 54759.4, 13266.0, -14469.5),
    (4780, 128213, -133226, -190537, 34624.0, 62858.8, 71575.7),
)
_LAST_DAY = 4970
_LONGEST = 250 + 40  # days that one of the states is used for: to the next, and a sector that began

# km^3/day^2, gravity: the Earth, and the Moon and the Sun, which disturb the orbit
_EARTH = 398600.4418 * DAY**2
_MOON_AND_SUN = np.array([4902.800066, 1.32712440018e11]) * DAY**2

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


def satellite_position(days, time_reference):
    """Where TESS is, seen from the barycentre of the solar system; the Earth where its orbit is not
    known, before July 2018 and after 2028.

    Parameters
    ----------
    days : (n,) array, days since ``time_reference``, TDB; NaN gives NaN
    time_reference : int, Julian date

    Returns
    -------
    position : (n, 3) array, seconds of light, ICRS
    error : float, seconds of light, how far TESS is from there at most
    """
    position = earth_position(days, time_reference)
    days = np.asarray(days, dtype=float) + time_reference - TESS.time_reference
    valid = np.isfinite(days)
    if not valid.any():
        return position, MAX_DISTANCE
    number = sum(days[valid].min() >= state[0] for state in _STATES) - 1
    if number < 0 or days[valid].max() > min(_STATES[number][0] + _LONGEST, _LAST_DAY):
        return position, MAX_DISTANCE
    position[valid] += _orbit(number)(days[valid])[:3].T / SPEED_OF_LIGHT
    return position, ORBIT_ERROR


@functools.lru_cache(maxsize=2)
def _orbit(number):
    """The orbit from one of the states on, as a function of the day: (6, n) array, place and speed
    seen from the Earth.
    """
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time
    from scipy.integrate import solve_ivp
    from scipy.interpolate import CubicSpline

    day, *state = _STATES[number]
    nodes = day + np.arange(0, _LONGEST + 1, _STEP)
    times = Time(TESS.time_reference, nodes, format="jd", scale="tdb")
    earth, *others = (
        get_body_barycentric(body, times, ephemeris="builtin").xyz.to_value("km").T
        for body in ("earth", "moon", "sun")
    )
    moon_and_sun = CubicSpline(nodes, np.stack([other - earth for other in others], axis=1))

    def motion(day, state):
        place = state[:3]
        bodies = moon_and_sun(day)
        towards = bodies - place
        # what they do to TESS, less what they do to the Earth
        pull = _MOON_AND_SUN / _cubed(towards) @ towards - _MOON_AND_SUN / _cubed(bodies) @ bodies
        return np.concatenate([state[3:], pull - _EARTH / _cubed(place) * place])

    span = (day, day + _LONGEST)
    return solve_ivp(motion, span, state, "DOP853", dense_output=True, rtol=1e-8, atol=1.0).sol


def _cubed(vectors):
    return (vectors**2).sum(axis=-1) ** 1.5


def correction(position, target, reference=(0.0, 0.0, 0.0)):
    """What to add to times: those of the satellite, or those that are barycentric for a
    ``reference`` direction.

    Parameters
    ----------
    position : (n_times, 3) array, seconds of light: where the satellite is, see
        `satellite_position`
    target : (3,) unit vector to the star
    reference : (3,) unit vector to the position that the times hold for; zeros: they are the
        satellite's

    Returns
    -------
    (n_times,) array, days
    """
    return position @ (np.asarray(target) - np.asarray(reference)) / DAY
