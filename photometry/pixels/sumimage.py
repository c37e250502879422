"""The image that pixel masks are made from: the mean of the good frames of a stamp."""

import warnings

import numpy as np

from ..flags import DEFAULT_BITMASK


def good_times(stamp, bitmask=None):
    """Times whose quality is good.

    Parameters
    ----------
    stamp : Stamp
    bitmask : int, optional
        Quality bits that a good time does not have; default is `flags.DEFAULT_BITMASK` of the mission.

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
    image = _mean(images[good])
    return image if np.isfinite(image).any() else _mean(images)


def _mean(images):
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # no images, or pixels without any value: NaN
        image = images.mean(axis=0, dtype=float)
        holes = np.isnan(
            image
        )  # few: pixels not collected, or NaN at some times; the mean that knows NaN is much slower
        image[holes] = np.nanmean(images[:, holes], axis=0, dtype=float)
    return image
