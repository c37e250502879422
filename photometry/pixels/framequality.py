"""What `photometry prepare` finds wrong with frames, beside what the mission says.

The findings are bits of `flags.FOUND`. A frame that is bad also gets the mission's bit for "excluded by hand", which every
user of the default bit mask leaves out.
"""

import numpy as np

from ..constants import MAD_TO_SIGMA
from ..flags import FOUND

BAD_FRAME, HIGH_BACKGROUND, BACKGROUND_JUMP, HIGH_LOCAL_BACKGROUND = FOUND

MIN_FINITE = 0.5  # share of the pixels that need a value
# flux of the reference stars over their usual flux: outside, the image is smeared or veiled
FLUX_RANGE = (
    0.7,
    1.3,
)
MAX_MOVEMENT = 1.0  # pixels away from the usual place
JUMP = 8  # standard deviations
HIGH = 1.25  # background over its median


def find_bad_frames(finite, star_flux, movement):
    """Which frames cannot be used.

    Parameters
    ----------
    finite : (n_times,) array, share of the pixels with a value
    star_flux : (n_times, n_stars) array, e-/s, of the reference stars
    movement : (n_times, 2, 3) array, see `pointing`

    Returns
    -------
    bad : (n_times,) bool array
    """
    bad = ~(finite >= MIN_FINITE)
    if star_flux.shape[1] >= 3 and not bad.all():
        usual = np.nanmedian(star_flux[~bad], axis=0)
        ratio = np.nanmedian(np.nan_to_num(star_flux) / usual, axis=1)
        bad |= (ratio < FLUX_RANGE[0]) | (ratio > FLUX_RANGE[1])
        shift = movement[:, :, 0]
        bad |= np.hypot(*(shift - np.median(shift[~bad], axis=0)).T) > MAX_MOVEMENT
    return bad


def background_flags(level, *, high=None, jump=None):
    """Flags from a series of background levels.

    Parameters
    ----------
    level : (n_times,) array, e-/s; NaN where there is none
    high, jump : Flag to set where the level is far above its median, and where it differs from the median of the
        five times around it by far more than usual; None: not looked for

    Returns
    -------
    flags : (n_times,) int array
    """
    flags = np.zeros(len(level), dtype=np.int64)
    known = np.isfinite(level)
    if known.sum() < 5:
        return flags
    usual = np.median(level[known])
    if high is not None:
        spread = MAD_TO_SIGMA * np.median(np.abs(level[known] - usual))
        flags[known & (level > usual + max((HIGH - 1) * abs(usual), JUMP * spread))] |= high.bit
    if jump is not None:
        from scipy.ndimage import median_filter

        difference = level[known] - median_filter(level[known], 5, mode="nearest")
        spread = MAD_TO_SIGMA * np.median(np.abs(difference)) + 1e-3 * abs(usual)
        flags[np.flatnonzero(known)[np.abs(difference) > JUMP * spread]] |= jump.bit
    return flags
