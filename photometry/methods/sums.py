"""From the pixels of a mask to flux, errors, background and centroid at each time.

The functions take the pixels of a mask as (n_times, n_pixels) arrays, see `inside`. A pixel that is NaN counts as zero.
"""

import numpy as np

from ..flags import NO_FLUX_BITMASK, PIXEL_QUALITY

NOT_MEASURED, PARTLY_MISSING, ARGABRIGHTENING = (flag.bit for flag in PIXEL_QUALITY)
NO_FLUX = NOT_MEASURED | ARGABRIGHTENING  # times with one of these bits get NaN


def inside(images, mask):
    """The pixels of a mask, in the order of ``np.nonzero(mask)``.

    Parameters
    ----------
    images : (n_times, n_rows, n_columns) array
    mask : (n_rows, n_columns) bool array

    Returns
    -------
    (n_times, n_pixels) float64 array: single precision would lose parts per million in the sums
    """
    flat = images.reshape(len(images), -1)
    return np.take(flat, np.flatnonzero(mask), axis=1).astype(float)


def pixel_sum(pixels):
    """Sum over the pixels, e.g. the flux of an aperture: (n_times,) array."""
    total = pixels.sum(axis=1)
    holes = np.isnan(total)  # few times: the sum that knows NaN is five times slower
    total[holes] = np.nansum(pixels[holes], axis=1)
    return total


def flux_error(flux_err, background_err):
    """Error of the flux of an aperture: (n_times,) array, e-/s.

    The root sum square of the pixels' errors and, because the background of neighbouring pixels is estimated together
    and errs together, of the sum of the background's errors. That reproduces the errors of the missions' own light
    curves (Kepler to 0.03 %, TESS to 0.8 %), which the pixels' errors alone do not (TESS: 11 %).
    """
    return np.sqrt(pixel_sum(flux_err**2) + pixel_sum(background_err) ** 2)


def flux_centroid(flux, rows, columns):
    """Flux-weighted mean position of the positive pixels.

    Parameters
    ----------
    flux : (n_times, n_pixels) array
    rows, columns : (n_pixels,) arrays, positions of the pixels

    Returns
    -------
    (n_times, 2) float array: column and row; NaN where no pixel is positive
    """
    weights = np.where(flux > 0, flux, 0.0)  # no weight for NaN either
    with np.errstate(invalid="ignore"):
        return weights @ np.column_stack([columns, rows]) / weights.sum(axis=1, keepdims=True)


def judge_pixels(flux, quality, mission):
    """Flags for times at which the pixels of a mask do not give its flux, or not all of it.

    Parameters
    ----------
    flux : (n_times, n_pixels) array
    quality : (n_times,) int array, the mission's flags
    mission : str

    Returns
    -------
    (n_times,) int32 array, bits of `flags.PIXEL_QUALITY`
    """
    found = ARGABRIGHTENING * ((quality & NO_FLUX_BITMASK[mission]) != 0).astype(np.int32)
    total = flux.sum(axis=1)
    doubtful = np.flatnonzero(np.isnan(total) | (total == 0))
    missing = np.isnan(flux[doubtful])
    found[doubtful] |= NOT_MEASURED * np.all(missing | (flux[doubtful] == 0), axis=1)
    found[doubtful] |= PARTLY_MISSING * missing.any(axis=1)
    return found
