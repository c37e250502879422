"""Flags of single pixels in an image cube, as data: bit, name, and what it means."""

from typing import NamedTuple

import numpy as np


class PixelFlag(NamedTuple):
    """One bit of the ``pixel_flags`` of a cube."""

    bit: int
    name: str
    text: str


NO_DATA = PixelFlag(1, "no data", "the image has no value here (NaN)")
NEAR_SATURATION = PixelFlag(2, "near saturation", "above 8e4 e-/s; not used to measure the background")
BACKGROUND_JUMP = PixelFlag(
    4, "background jump", "the background around it differs from what it was shortly before and after"
)
PIXEL_FLAGS = (NO_DATA, NEAR_SATURATION, BACKGROUND_JUMP)


def describe(value):
    """Names of the flags that are set in ``value``, e.g. ``['no data']``."""
    return [flag.name for flag in PIXEL_FLAGS if value & flag.bit]


def pixel_flags(flux, flux_cut, jumped):
    """Flags of pixels.

    Parameters
    ----------
    flux : (...,) array, e-/s, with the background
    flux_cut : float, e-/s
    jumped : bool array that broadcasts to the shape of ``flux``, where the background jumped

    Returns
    -------
    flags : uint8 array of the same shape
    """
    flags = np.zeros(flux.shape, dtype=np.uint8)
    flags[~np.isfinite(flux)] = NO_DATA.bit
    flags[flux > flux_cut] |= NEAR_SATURATION.bit
    flags |= np.where(jumped, BACKGROUND_JUMP.bit, 0).astype(np.uint8)
    return flags
