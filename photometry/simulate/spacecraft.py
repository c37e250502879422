"""What the spacecraft does to all stars alike: times, pointing, background, and cadences that are
flagged or lost.
"""

from dataclasses import dataclass

import numpy as np

from ..constants import DAY, MISSIONS
from ..flags import bitmask
from ..pixels.tess import correction, earth_position
from ..sky import unit_vectors
from .detector import DETECTORS

# days between the unloadings of the reaction wheels
DESATURATION_PERIOD = 2.5
# days between the firings of thrusters that turn K2 back, and pixels that stars have moved by then
ROLL_PERIOD, ROLL = 0.25, 0.3
# fraction of an observing period, in its middle, without exposures
DOWNLINK_FRACTION = 0.04
# fraction of it at the end of each orbit with scattered light (TESS)
SCATTERED_FRACTION = 0.03


@dataclass(frozen=True)
class Schedule:
    """When a mission observes.

    Attributes
    ----------
    first : int, number of an observing period: sector, quarter, campaign
    start : days since the mission's zero, when that begins
    days : from one period to the next, on average
    cadenceno : number of its first cadence
    """

    first: int
    start: float
    days: float
    cadenceno: int


SCHEDULES = {
    "TESS": Schedule(1, 1325.2939, 27.3, 70444),
    "Kepler": Schedule(1, 131.5015, 93.0, 1105),
    "K2": Schedule(0, 1939.1000, 83.0, 87000),
}
# flags beside EarthPoint, CoarsePoint and ManualExclude: when all stars jump, and scattered light
_JUMP = {"TESS": ["Desat"], "Kepler": ["Desat"], "K2": ["ThrusterFiring"]}
_SCATTERED = {"TESS": ["ScatteredLight"], "Kepler": [], "K2": []}


@dataclass(frozen=True)
class Pointing:
    """Series of ``n_times`` values that all stars of a CCD share.

    Attributes
    ----------
    time : (n_times,) days since the mission's zero, TDB at the spacecraft, middle of the cadence;
        NaN where no exposure was made
    earth : (n_times, 3) seconds of light: the Earth, where the spacecraft is taken to be, seen from
        the barycentre
    cadenceno, quality : (n_times,) int
    motion : (n_times, 2) pixels: row, column
    background : (n_times,) e-/s per pixel
    exposed : (n_times,) bool, where there are pixels
    """

    time: np.ndarray
    earth: np.ndarray
    cadenceno: np.ndarray
    quality: np.ndarray
    motion: np.ndarray
    background: np.ndarray
    exposed: np.ndarray

    def __len__(self):
        return self.time.size

    def barycentric(self, ra, decl):
        """Times at which light from a direction (deg) arrives at the barycentre, and the correction
        contained in them, days.
        """
        timecorr = correction(self.earth, unit_vectors(ra, decl))
        return self.time + timecorr, timecorr


def start_time(period, mission="TESS"):
    """When the first cadence of a sector, quarter or campaign begins, days since the mission's
    zero.
    """
    schedule = SCHEDULES[mission]
    return schedule.start + schedule.days * (period - schedule.first)


def simulate_pointing(
    n_times,
    cadence,
    sector,
    rng,
    *,
    jitter=0.01,
    drift=0.05,
    background=100.0,
    mission="TESS",
):
    """Times, pointing, background and quality flags of one sector, quarter or campaign.

    Parameters
    ----------
    n_times : int
    cadence : s, nominal
    sector : int, also a quarter or campaign
    rng : numpy Generator
    jitter : standard deviation of the pointing in each axis, pixels
    drift : largest movement by differential aberration over a whole sector, pixels
    background : e-/s per pixel, outside scattered light
    mission : 'TESS', 'Kepler' or 'K2'
    """
    index, step = np.arange(n_times), DETECTORS[mission].step(cadence)
    schedule, start = SCHEDULES[mission], start_time(sector, mission)
    time = start + (index + 0.5) * step / DAY
    quality, exposed = _quality(time, step, rng, mission)
    motion = _motion(time, quality, rng, jitter, drift, mission)
    phase = (time - time[0]) / schedule.days
    scattered = (quality & bitmask(_SCATTERED[mission], mission)) > 0
    glow = background * (1 + 0.1 * np.sin(2 * np.pi * phase) + 3 * scattered)
    return Pointing(
        time=np.where(exposed, time, np.nan),
        earth=earth_position(time, MISSIONS[mission].time_reference),
        cadenceno=schedule.cadenceno + round((start - schedule.start) * DAY / step) + index,
        quality=quality,
        motion=motion,
        background=glow,
        exposed=exposed,
    )


def _quality(time, step, rng, mission):
    """Flags, and where there was an exposure; a handful of cadences is too short for anything but
    the first flag.
    """
    n_times = time.size
    earth_point = bitmask(["EarthPoint"], mission)
    quality, exposed = np.zeros(n_times, dtype=np.int32), np.ones(n_times, dtype=bool)
    quality[0] = earth_point
    exposed[0] = n_times == 1
    if n_times < 50:
        return quality, exposed
    middle, half = n_times // 2, round(n_times * DOWNLINK_FRACTION / 2)
    gap = slice(middle - half, middle + half)
    quality[gap], exposed[gap] = earth_point, False
    for end in (middle - half, n_times):
        quality[end - round(n_times * SCATTERED_FRACTION / 2) : end] |= bitmask(
            _SCATTERED[mission], mission
        )
    interval = ROLL_PERIOD if mission == "K2" else DESATURATION_PERIOD
    since_jump = (time - time[0] + interval / 2) % interval
    quality[since_jump < step / DAY] |= bitmask(_JUMP[mission], mission)
    for name, rarity in (("ManualExclude", 500), ("CoarsePoint", 1000)):
        some = rng.integers(1, n_times, max(1, n_times // rarity))
        quality[some] |= bitmask([name], mission)
    return quality, exposed


def _motion(time, quality, rng, jitter, drift, mission):
    """Correlated jitter, aberration, the roll of K2, and jumps where the pointing is flagged."""
    from scipy.signal import lfilter

    memory = 0.7
    motion = lfilter(
        [jitter * np.sqrt(1 - memory**2)], [1, -memory], rng.standard_normal((time.size, 2)), axis=0
    )
    motion += np.outer((time - time[0]) / SCHEDULES[mission].days - 0.5, [drift, -drift / 2])
    if mission == "K2":
        phase = ((time - time[0]) / ROLL_PERIOD + 0.5) % 1
        motion += np.outer(ROLL * (phase - 0.5), [0.6, 0.8])
    jumps = (quality & bitmask(["CoarsePoint", *_JUMP[mission]], mission)) > 0
    motion[jumps] += 0.3 * rng.standard_normal((jumps.sum(), 2))
    return motion
