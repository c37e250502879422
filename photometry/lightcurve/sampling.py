"""On what raster is a light curve sampled, and where does it miss samples?"""

import numpy as np

from ..constants import DAY

MATCH = 1e-4  # d: a sample this near to a point of the raster belongs to it
WHOLE_SECOND = 0.01  # s: an interval this near to a whole second is taken as whole


def estimate_interval(times):
    """Step of a raster from which samples may be missing.

    The mean of the middle half of the sorted differences; rounded to whole seconds only where it is within 0.01 s of one.

    Parameters
    ----------
    times : (n_samples,) array, days, sorted, at least 3

    Returns
    -------
    float, days
    """
    steps = np.sort(np.diff(times))
    middle = steps[int(0.25 * len(steps)) : int(0.75 * len(steps))]
    if middle.size == 0 or not middle.mean() > 0:
        raise ValueError(
            f"{len(times)} samples are too few, or not sorted: no sampling interval can be told from them"
        )
    seconds = middle.mean() * DAY
    return (
        round(seconds)
        if abs(seconds - round(seconds)) < WHOLE_SECOND and round(seconds)
        else seconds
    ) / DAY


def ideal_grid(times):
    """The raster without gaps, from the first time to the last, the last excluded; days."""
    return np.arange(times[0], times[-1], estimate_interval(times))


def nearest_sample(times, grid):
    """For each point of ``grid`` the index of the sample within 1e-4 day of it, else -1."""
    right = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    nearest = np.where(grid - times[right - 1] <= times[right] - grid, right - 1, right)
    return np.where(np.abs(times[nearest] - grid) <= MATCH, nearest, -1)
