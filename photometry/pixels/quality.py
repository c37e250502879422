"""What is good in a stamp or an image: times, the mean image that masks are made from, flags of
pixels and of times.
"""

import warnings

import numpy as np

from ..constants import MAD_TO_SIGMA
from ..flags import CUBE_PIXELS, DEFAULT_BITMASK, FOUND

NO_DATA, NEAR_SATURATION, TILE_JUMP = CUBE_PIXELS
# What `prepare` and stamps of a cube find wrong with times, beside what the mission says. A frame
# that is bad also gets the mission's bit for "excluded by hand", which every user of the default
# bit mask leaves out.
BAD_FRAME, HIGH_BACKGROUND, BACKGROUND_JUMP, HIGH_LOCAL_BACKGROUND = FOUND
# standard deviations
JUMP = 8
# background over its median
HIGH = 1.25

BLOCK_TIMES = 512  # times that are summed at once


def good_times(stamp, bitmask=None):
    """Times whose quality is good.

    Parameters
    ----------
    stamp : Stamp
    bitmask : int, optional
        Quality bits that a good time does not have; default is `flags.DEFAULT_BITMASK` of the
        mission.

    Returns
    -------
    (n_times,) bool array
    """
    if bitmask is None:
        bitmask = DEFAULT_BITMASK[stamp.mission]
    return ((stamp.quality & bitmask) == 0) & np.isfinite(stamp.time)


def mean_image(images, good):
    """The mean of the good frames; of all frames where no good one has a value.

    Parameters
    ----------
    images : (n_times, n_rows, n_columns) float array
    good : (n_times,) bool array

    Returns
    -------
    (n_rows, n_columns) float64 array; NaN for pixels that never have a value
    """
    image = _mean(images, good)
    return image if np.isfinite(image).any() else _mean(images, np.ones(len(images), bool))


def _mean(images, good):
    # Matrix products of short blocks, in the precision of the pixels and added up in double: a
    # quarter of the time of a mean along the first axis of chosen images
    flat, weight = images.reshape(len(images), images[0].size), good.astype(images.dtype)
    total = np.zeros(flat.shape[1])
    for start in range(0, len(flat), BLOCK_TIMES):
        times = slice(start, start + BLOCK_TIMES)
        if good[times].all():
            total += weight[times] @ flat[times]
        elif good[times].any():
            chosen = flat[times][good[times]]
            total += np.ones(len(chosen), chosen.dtype) @ chosen
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # no images, or pixels without any value: NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        image = total / good.sum()
        # few: pixels not collected, or NaN at some times; the mean that knows NaN is much slower
        holes = np.flatnonzero(np.isnan(image))
        if len(holes):
            image[holes] = np.nanmean(flat[good][:, holes], axis=0, dtype=float)
    return image.reshape(images.shape[1:])


def pixel_flags(flux, flux_cut, jumped):
    """Flags of pixels.

    Parameters
    ----------
    flux : (...,) array, e-/s, with the background
    flux_cut : float, e-/s
    jumped : bool array that broadcasts to the shape of ``flux``, where the background jumped

    Returns
    -------
    flags : uint8 array of the same shape, bits of `flags.CUBE_PIXELS`
    """
    flags = np.zeros(flux.shape, dtype=np.uint8)
    flags[~np.isfinite(flux)] = NO_DATA.bit
    flags[flux > flux_cut] |= NEAR_SATURATION.bit
    flags |= np.asarray(jumped, dtype=np.uint8) * np.uint8(TILE_JUMP.bit)
    return flags


def background_flags(level, *, high=None, jump=None):
    """Flags from a series of background levels.

    Parameters
    ----------
    level : (n_times,) array, e-/s; NaN where there is none
    high, jump : Flag to set where the level is far above its median, and where it differs from the
        median of the five times around it by far more than it mostly does; None: not looked for

    Returns
    -------
    flags : (n_times,) int array
    """
    flags = np.zeros(len(level), dtype=np.int64)
    finite = np.isfinite(level)
    if finite.sum() < 5:
        return flags
    median = np.median(level[finite])
    if high is not None:
        spread = MAD_TO_SIGMA * np.median(np.abs(level[finite] - median))
        flags[finite & (level > median + max((HIGH - 1) * abs(median), JUMP * spread))] |= high.bit
    if jump is not None:
        from scipy.ndimage import median_filter

        difference = level[finite] - median_filter(level[finite], 5, mode="nearest")
        spread = MAD_TO_SIGMA * np.median(np.abs(difference)) + 1e-3 * abs(median)
        flags[np.flatnonzero(finite)[np.abs(difference) > JUMP * spread]] |= jump.bit
    return flags
