"""What the spacecraft does to all stars alike: times, pointing, background, and cadences that are flagged or lost."""

from dataclasses import dataclass

import numpy as np

from ..constants import DAY, TESS
from ..pixels.barycentre import correction, earth_position
from ..sky import unit_vectors

SECTOR_1_START, DAYS_PER_SECTOR = 1325.2939, 27.3  # BTJD; the mean distance of sectors
FIRST_CADENCENO = 70444  # of 2-minute cadences in sector 1

# Bits of QUALITY (TESS Science Data Products Description Document)
COARSE_POINT, EARTH_POINT, REACTION_WHEEL, MANUAL_EXCLUDE, SCATTERED_LIGHT = 4, 8, 32, 128, 4096

DESATURATION_PERIOD = 2.5  # days between the unloadings of the reaction wheels
DOWNLINK_SHARE = 0.04  # of a sector, in its middle, without exposures
SCATTERED_SHARE = 0.03  # at the end of each orbit


@dataclass(frozen=True)
class Pointing:
    """Series of ``n_times`` values that all stars of a CCD share."""

    # days since the mission's zero, TDB at the spacecraft, middle of the cadence; NaN where no exposure was made
    time: np.ndarray
    # (n_times, 3) seconds of light: the Earth, where the spacecraft is taken to be, seen from the barycentre
    earth: np.ndarray
    cadenceno: np.ndarray  # int
    quality: np.ndarray  # int, bits
    motion: np.ndarray  # (n_times, 2) pixels: row, column
    background: np.ndarray  # e-/s per pixel
    exposed: np.ndarray  # bool: there are pixels

    def __len__(self):
        return self.time.size

    def barycentric(self, ra, decl):
        """Times at which light from a direction (deg) arrives at the barycentre, and the correction contained in them, days."""
        timecorr = correction(self.earth, unit_vectors(ra, decl))
        return self.time + timecorr, timecorr


def start_time(sector):
    """BTJD at which the first cadence of a sector begins."""
    return SECTOR_1_START + DAYS_PER_SECTOR * (sector - 1)


def simulate_pointing(n_times, cadence, sector, rng, *, jitter=0.01, drift=0.05, background=100.0):
    """Times, pointing, background and quality flags of one sector.

    Parameters
    ----------
    n_times : int
    cadence : s
    rng : numpy Generator
    jitter : standard deviation of the pointing in each axis, pixels
    drift : largest movement by differential aberration over a whole sector, pixels
    background : e-/s per pixel, outside scattered light
    """
    index = np.arange(n_times)
    time = start_time(sector) + (index + 0.5) * cadence / DAY
    quality, exposed = _quality(time, cadence, rng)
    motion = _motion(time, quality, rng, jitter, drift)
    phase = (time - time[0]) / DAYS_PER_SECTOR
    glow = background * (
        1 + 0.1 * np.sin(2 * np.pi * phase) + 3 * ((quality & SCATTERED_LIGHT) > 0)
    )
    return Pointing(
        time=np.where(exposed, time, np.nan),
        earth=earth_position(time, TESS.time_reference),
        cadenceno=FIRST_CADENCENO
        + round((start_time(sector) - SECTOR_1_START) * DAY / cadence)
        + index,
        quality=quality,
        motion=motion,
        background=glow,
        exposed=exposed,
    )


def _quality(time, cadence, rng):
    """Flags, and where there was an exposure; a handful of cadences is too short for anything but the first flag."""
    n_times = time.size
    quality, exposed = np.zeros(n_times, dtype=np.int32), np.ones(n_times, dtype=bool)
    quality[0] = EARTH_POINT
    exposed[0] = n_times == 1
    if n_times < 50:
        return quality, exposed
    middle, half = n_times // 2, round(n_times * DOWNLINK_SHARE / 2)
    gap = slice(middle - half, middle + half)
    quality[gap], exposed[gap] = EARTH_POINT, False
    for end in (middle - half, n_times):
        quality[end - round(n_times * SCATTERED_SHARE / 2) : end] |= SCATTERED_LIGHT
    since_unloading = (time - time[0] + DESATURATION_PERIOD / 2) % DESATURATION_PERIOD
    quality[since_unloading < cadence / DAY] |= REACTION_WHEEL
    quality[rng.integers(1, n_times, max(1, n_times // 500))] |= MANUAL_EXCLUDE
    quality[rng.integers(1, n_times, max(1, n_times // 1000))] |= COARSE_POINT
    return quality, exposed


def _motion(time, quality, rng, jitter, drift):
    """Correlated jitter, aberration, and jumps where the pointing is flagged."""
    from scipy.signal import lfilter

    memory = 0.7
    motion = lfilter(
        [jitter * np.sqrt(1 - memory**2)], [1, -memory], rng.standard_normal((time.size, 2)), axis=0
    )
    motion += np.outer((time - time[0]) / DAYS_PER_SECTOR - 0.5, [drift, -drift / 2])
    jumps = (quality & (REACTION_WHEEL | COARSE_POINT)) > 0
    motion[jumps] += 0.3 * rng.standard_normal((jumps.sum(), 2))
    return motion
