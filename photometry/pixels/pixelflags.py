"""Flags of single pixels in an image cube."""

import numpy as np

from ..flags import CUBE_PIXELS

NO_DATA, NEAR_SATURATION, TILE_JUMP = CUBE_PIXELS


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
