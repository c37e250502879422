"""Background and noise of an image, and which of its pixels can be used."""

from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, BadInputError
from .clipping import grid_statistics, interpolate

DEAD = 1e-3
"""Pixels whose noise is less than this part of the image's median noise are not usable (blank
corners, say)."""

MEDIAN_CELLS = 3
"""The grids of background and noise are smoothed by a median of so many by so many cells."""

BACKGROUNDS = ("sep", "clipped")


@dataclass(frozen=True)
class NoiseMaps:
    """An image without its background.

    Attributes
    ----------
    residual, noise : (n_rows, n_columns) float arrays
    usable : (n_rows, n_columns) bool array
    """

    residual: np.ndarray
    noise: np.ndarray
    usable: np.ndarray


def noise_maps(
    image, *, back_size_x=50, back_size_y=50, margin=10, extraction_radius_pix=250, background="sep"
):
    """Background and noise of an image within the circle in which sources are looked for.

    Parameters
    ----------
    image : ImageAccessor
    back_size_x, back_size_y : int, px, cells of the grid
    margin : int, px, left out at the edges
    extraction_radius_pix : float, px, radius of the circle around the middle
    background : 'sep' or 'clipped'
        Cells as SExtractor has them, or clipped at 2 sigma and interpolated linearly as in the
        original

    Returns
    -------
    NoiseMaps

    Raises
    ------
    BadInputError : nothing is left to look at
    """
    if background not in BACKGROUNDS:
        raise ArgumentError(f"background={background!r}: expected one of {', '.join(BACKGROUNDS)}")
    key = (back_size_x, back_size_y, margin, extraction_radius_pix, background)
    if key in image.maps:
        return image.maps[key]
    pixels = image.pixels
    usable = np.isfinite(pixels)
    n_rows, n_columns = pixels.shape
    if margin:
        usable[:margin] = usable[-margin:] = usable[:, :margin] = usable[:, -margin:] = False
    row, column = np.ogrid[:n_rows, :n_columns]
    circle = (row - n_rows / 2) ** 2 + (column - n_columns / 2) ** 2 <= extraction_radius_pix**2
    usable &= circle
    if not usable.any():
        raise BadInputError(
            f"{image.url}: no pixel within {extraction_radius_pix} px of the middle and {margin} "
            f"px of the edges"
        )
    residual, noise = _subtract(pixels, ~usable, back_size_x, back_size_y, background)
    usable &= noise > DEAD * np.median(noise[usable])
    if not usable.any():
        raise BadInputError(f"{image.url}: the image has no noise")
    image.maps[key] = NoiseMaps(residual, noise, usable)
    return image.maps[key]


def _subtract(pixels, bad, size_x, size_y, method):
    clean = np.where(bad, 0, pixels).astype(np.float32 if pixels.dtype == np.float32 else float)
    size_x, size_y = (
        max(8, min(size, n)) for size, n in zip((size_x, size_y), pixels.shape[::-1], strict=True)
    )
    if method == "clipped":
        background, noise = (
            interpolate(grid, pixels.shape) for grid in grid_statistics(clean, bad, size_x, size_y)
        )
        return clean - background, noise
    import sep

    found = sep.Background(clean, mask=bad, bw=size_x, bh=size_y, fw=MEDIAN_CELLS, fh=MEDIAN_CELLS)
    return clean - found.back(), found.rms()
