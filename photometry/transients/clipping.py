"""Noise of pixels by clipping: of one set, and of the cells of a grid."""

from typing import NamedTuple

import numpy as np

CELL_KAPPA = 2.0
"""sigma; limit of the clipping within a cell."""

MODE_LIMIT = 0.3
"""Up to this skewness, (mean - median) / sigma, Pearson's 2.5 median - 1.5 mean estimates the
background of a cell."""

_MAX_ROUNDS = 100


def clip(values, sigma):
    """Leave out values far from the median until none is left to leave out.

    Parameters
    ----------
    values : array
    sigma : float, limit in standard deviations

    Returns
    -------
    kept : (n,) array
    """
    kept = values[np.isfinite(values)].astype(float)
    for _ in range(_MAX_ROUNDS):
        near = np.abs(kept - np.median(kept)) <= sigma * kept.std() if kept.size else kept > 0
        if near.all():
            break
        kept = kept[near]
    return kept


def clipped_rms(values, sigma):
    """Root of the mean square about the median of the values that `clip` keeps; NaN where there are
    none."""
    kept = clip(values, sigma)
    return float(np.sqrt(np.mean((kept - np.median(kept)) ** 2))) if kept.size else float("nan")


def central_region(pixels, fraction):
    """The middle of an image, of width 2/fraction of it.

    Parameters
    ----------
    pixels : (n_rows, n_columns) array
    fraction : int, at least 2
    """
    middle = [slice(n // 2 - n // fraction, n // 2 + n // fraction) for n in pixels.shape]
    return pixels[tuple(middle)]


class CellStatistics(NamedTuple):
    """What is left of a cell after clipping."""

    n_kept: int
    sigma: float
    median: float
    background: float
    rounds: int


def cell_statistics(values, kappa=CELL_KAPPA):
    """Clip about the median, and correct the standard deviation for the wings that are clipped off
    a normal distribution.

    Parameters
    ----------
    values : array; NaN are left out
    kappa : float

    Returns
    -------
    CellStatistics
    """
    kept = values[np.isfinite(values)].astype(float)
    limit, sigma, rounds = None, kept.std() if kept.size else np.nan, 0
    while kept.size and rounds < _MAX_ROUNDS:
        near = np.abs(kept - np.median(kept)) <= kappa * sigma
        if near.all():
            break
        kept, limit, rounds = kept[near], kappa * sigma, rounds + 1
        sigma = _unclipped_sigma(kept.std(), limit) if kept.size else np.nan
    if not kept.size:
        return CellStatistics(0, np.nan, np.nan, np.nan, rounds)
    mean, median = kept.mean(), float(np.median(kept))
    skewed = sigma == 0 or abs(mean - median) / sigma >= MODE_LIMIT
    background = median if skewed else 2.5 * median - 1.5 * mean
    return CellStatistics(kept.size, float(sigma), median, float(background), rounds)


def _unclipped_sigma(clipped, limit):
    """sigma of the normal distribution that has the standard deviation ``clipped`` within +-
    ``limit``."""
    from scipy.optimize import brentq
    from scipy.special import erf

    if clipped == 0:
        return 0.0

    def excess(sigma):
        t = limit / (sigma * np.sqrt(2))
        return sigma**2 * (erf(t) - 2 * t / np.sqrt(np.pi) * np.exp(-t * t)) - clipped**2 * erf(t)

    # A flat distribution within +-limit has limit / sqrt(3): there is no normal one for more.
    if clipped >= 0.999 * limit / np.sqrt(3):
        return float(clipped)
    upper = clipped
    while excess(upper) < 0 and upper < 1e3 * clipped:
        upper *= 1.5
    return float(brentq(excess, 0.999 * clipped, upper)) if excess(upper) >= 0 else float(clipped)


def grid_statistics(pixels, bad, size_x, size_y):
    """Background and noise of the cells of a grid.

    Parameters
    ----------
    pixels : (n_rows, n_columns) array
    bad : (n_rows, n_columns) bool array, pixels to leave out
    size_x, size_y : int, pixels

    Returns
    -------
    background, sigma : (n_cell_rows, n_cell_columns) arrays; cells without pixels have their
        neighbours' median
    """
    rows, columns = (
        max(1, round(n / size)) for n, size in zip(pixels.shape, (size_y, size_x), strict=True)
    )
    values = np.where(bad, np.nan, pixels)
    cells = [
        [cell_statistics(cell) for cell in np.array_split(band, columns, axis=1)]
        for band in np.array_split(values, rows, axis=0)
    ]
    grids = [
        np.array([[getattr(cell, name) for cell in row] for row in cells])
        for name in ("background", "sigma")
    ]
    return tuple(np.where(np.isfinite(g), g, np.nanmedian(g)) for g in grids)


def interpolate(grid, shape):
    """A grid of cells as an image: linear between the middles of the cells, constant outside them.

    Parameters
    ----------
    grid : (n_cell_rows, n_cell_columns) array
    shape : (n_rows, n_columns)
    """
    from scipy.ndimage import map_coordinates

    at = [
        (np.arange(n) + 0.5) * cells / n - 0.5 for n, cells in zip(shape, grid.shape, strict=True)
    ]
    return map_coordinates(grid, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")
