"""The spacecraft of TESS, Kepler and K2, as far as a simulation needs them: geometry and
electronics of their detectors; and what they do to all stars alike: times, pointing, background,
and cadences that are flagged or lost.

Rows and columns are counted as the mission does; for TESS see `pixels.tess`.
"""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from ..constants import DAY, K2, KEPLER, MISSIONS, TESS, Mission
from ..flags import bitmask
from ..methods.prf import TESS_LIKE
from ..pixels.tess import (
    FIRST_COLUMN,
    FIRST_ROW,
    LAST_COLUMN,
    LAST_ROW,
    correction,
    optical_axis,
    satellite_position,
)
from ..sky import unit_vectors

PIXEL_SCALE = 21.0 / 3600  # deg, TESS
GAINS = (5.26, 5.18, 5.20, 5.20)  # electrons per count, outputs A to D (of camera 4, CCD 1)
READ_NOISE = (10.05, 7.72, 7.54, 9.88)  # electrons per read, outputs A to D
INT_TIME, READ_TIME = 1.98, 0.02  # s
# fraction of the exposures that the on-board rejection of cosmic rays keeps
COSMIC_RAY_REJECTION = 0.8
# Kepler's modules with CCDs for science, each with four outputs: channel 1 is module 2, output 1
KEPLER_MODULES = (2, 3, 4, *range(6, 21), 22, 23, 24)
# days between the unloadings of the reaction wheels
DESATURATION_PERIOD = 2.5
# days between the firings of thrusters that turn K2 back, and pixels that stars have moved by then
ROLL_PERIOD, ROLL = 0.25, 0.3
# fraction of an observing period, in its middle, without exposures
DOWNLINK_FRACTION = 0.04
# fraction of it at the end of each orbit with scattered light (TESS)
SCATTERED_FRACTION = 0.03


@dataclass(frozen=True)
class Detector:
    """One detector of a mission.

    Attributes
    ----------
    mission : Mission
    pixel_scale : deg
    rows, columns : (first, last) that see the sky
    gains : electrons per count, for each output
    read_noise : electrons per read, for each output
    int_time, read_time : s, of one frame
    steps : dict of nominal cadence (s) to frames in it; empty: any cadence, as many as fit
    full_well : e-/s that a pixel holds
    prf : tuple of (fraction, sigma in pixels), Gaussians that resemble the pixel response
    """

    mission: Mission
    pixel_scale: float
    rows: tuple
    columns: tuple
    gains: tuple
    read_noise: tuple
    int_time: float
    read_time: float
    steps: dict
    full_well: float
    prf: tuple

    def frames(self, cadence):
        """Number of frames in a cadence, and the seconds in which light was gathered."""
        number = self.steps.get(cadence) or round(cadence / (self.int_time + self.read_time))
        kept = COSMIC_RAY_REJECTION if self.mission is TESS and cadence >= 120 else 1.0
        return number, number * self.int_time * kept

    def step(self, cadence):
        """Seconds from one exposure to the next; Kepler's long cadence of nominally 1800 s has
        1765.
        """
        frame = self.int_time + self.read_time
        return self.steps[cadence] * frame if cadence in self.steps else cadence

    def output_of(self, columns):
        """Which output reads a column: 0 for A to 3 for D; a channel of Kepler has one."""
        width = (self.columns[1] - self.columns[0] + 1) // len(self.gains)
        return np.clip((np.asarray(columns) - self.columns[0]) // width, 0, len(self.gains) - 1)

    def noise(self, signal, columns, cadence):
        """Standard deviation of shot and read noise.

        Parameters
        ----------
        signal : (..., n_columns) array, e-/s, all light: stars and background
        columns : (n_columns,) detector columns
        cadence : s

        Returns
        -------
        array like ``signal``, e-/s
        """
        _, exposure = self.frames(cadence)
        reads = exposure / self.int_time
        read = np.array(self.read_noise)[self.output_of(columns)] ** 2 * reads
        return np.sqrt(np.clip(signal, 0, None) * exposure + read) / exposure


_TESS = Detector(
    mission=TESS,
    pixel_scale=PIXEL_SCALE,
    rows=(FIRST_ROW, LAST_ROW),
    columns=(FIRST_COLUMN, LAST_COLUMN),
    gains=GAINS,
    read_noise=READ_NOISE,
    int_time=INT_TIME,
    read_time=READ_TIME,
    steps={},
    full_well=TESS.full_well,
    prf=TESS_LIKE,
)
# Kepler Instrument Handbook (KSCI-19033): scale 3.98 arcsec, frames of 6.02 + 0.52 s, 270 (or 9) in
# a cadence, wells of 1.05e6 e-, 95 % of the light within 3 to 7 pixels; gain and read noise as in
# the headers of module 24, output 4
_KEPLER = Detector(
    mission=KEPLER,
    pixel_scale=3.98 / 3600,
    rows=(20, 1043),
    columns=(12, 1111),
    gains=(102.82,),
    read_noise=(99.5,),
    int_time=6.019802903270,
    read_time=0.518948526144,
    steps={1800: 270, 60: 9},
    full_well=KEPLER.full_well,
    prf=((0.65, 0.55), (0.27, 1.1), (0.08, 2.4)),
)
DETECTORS = {
    "TESS": _TESS,
    "Kepler": _KEPLER,
    "K2": Detector(**(vars(_KEPLER) | {"mission": K2})),
}
"""Detector by the name of its mission."""

frames, output_of, noise = _TESS.frames, _TESS.output_of, _TESS.noise


def bleed(images, full_well=TESS.full_well):
    """Let the charge above the full well run along the columns, half of it up and half of it down.

    No charge is lost, except what runs over the edge of the image.

    Parameters
    ----------
    images : (..., n_rows, n_columns) array, e-/s
    full_well : float, e-/s

    Returns
    -------
    array of the same shape; the input itself if nothing in it is saturated
    """
    excess = np.clip(images - full_well, 0, None)
    if not excess.any():
        return images
    filled = images - excess
    rows = range(images.shape[-2])
    for direction in (rows, reversed(rows)):
        running = np.zeros_like(images[..., 0, :])
        for row in direction:
            running += excess[..., row, :] / 2
            taken = np.minimum(running, full_well - filled[..., row, :])
            filled[..., row, :] += taken
            running -= taken
    return filled


def ccd_wcs(ccd, ra, decl, position_angle=25.0):
    """WCS of a whole TESS CCD in detector columns and rows (use origin 1), for a camera that points
    at a position.

    Parameters
    ----------
    ccd : int, 1 to 4
    ra, decl : deg, of the camera's optical axis
    position_angle : deg
    """
    row, column = optical_axis(ccd)
    # CCDs 1 and 2 are mounted the other way up
    angle = np.radians(position_angle + (180 if ccd in (1, 2) else 0))
    return tangent_wcs((column, row), (ra, decl), _mirrored(PIXEL_SCALE, angle))


def channel_wcs(ra, decl, position_angle=25.0):
    """WCS of a channel of Kepler in detector columns and rows (use origin 1), whose middle looks at
    a position (deg).

    Parameters
    ----------
    ra, decl : deg
    position_angle : deg
    """
    middle = [0.5 * sum(_KEPLER.columns), 0.5 * sum(_KEPLER.rows)]
    matrix = _mirrored(_KEPLER.pixel_scale, np.radians(position_angle))
    return tangent_wcs(middle, (ra, decl), matrix)


def _mirrored(scale, angle):
    """Matrix of a WCS in which the sky appears mirrored, as in the images of TESS and Kepler."""
    rotation = np.array([[-np.cos(angle), -np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.diag([-scale, scale]) @ rotation


def local_wcs(wcs, column, row, corner):
    """WCS of a stamp, as SPOC gives it: a tangent plane at the target, with pixels counted from the
    stamp's corner.

    Parameters
    ----------
    wcs : WCS of the CCD
    column, row : position of the target on the CCD
    corner : (column, row) of the stamp's first pixel
    """
    ra, decl = wcs.wcs_pix2world(column, row, 1)
    plane = tangent_wcs((0, 0), (ra, decl), np.eye(2))
    steps = np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
    offsets = plane.wcs_world2pix(wcs.wcs_pix2world(steps + np.array([column, row]), 1), 1)
    matrix = np.column_stack([offsets[0] - offsets[1], offsets[2] - offsets[3]])
    return tangent_wcs((column - corner[0] + 1, row - corner[1] + 1), (ra, decl), matrix)


def tangent_wcs(pixel, sky, matrix):
    """Tangent-plane WCS.

    Parameters
    ----------
    pixel : (column, row) of the reference pixel, origin 1
    sky : (ra, decl) that it looks at, deg
    matrix : (2, 2) array, deg per pixel
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cd = pixel, [float(angle) for angle in sky], matrix
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


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
    satellite : (n_times, 3) seconds of light, seen from the barycentre: TESS, or the Earth, where
        Kepler is taken to be
    cadenceno, quality : (n_times,) int
    motion : (n_times, 2) pixels: row, column
    background : (n_times,) e-/s per pixel
    exposed : (n_times,) bool, where there are pixels
    """

    time: np.ndarray
    satellite: np.ndarray
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
        timecorr = correction(self.satellite, unit_vectors(ra, decl))
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
        satellite=satellite_position(time, MISSIONS[mission].time_reference)[0],
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
