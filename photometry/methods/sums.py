"""From the pixels of a mask to flux, errors, background and centroid at each time."""

import numpy as np

from ..flags import NO_FLUX_BITMASK, PIXEL_QUALITY

NOT_MEASURED, PARTLY_MISSING, ARGABRIGHTENING = (flag.bit for flag in PIXEL_QUALITY)
NO_FLUX = NOT_MEASURED | ARGABRIGHTENING  # times with one of these bits get NaN


def aperture_sums(stamp, mask):
    """Flux, background and their errors in a mask.

    The error of the flux is the root sum square of the pixels' errors and, because the background of neighbouring pixels
    is estimated together and errs together, of the sum of the background's errors. That reproduces the errors of the
    missions' own light curves (Kepler to 0.03 %, TESS to 0.8 %), which the pixels' errors alone do not (TESS: 11 %).

    Parameters
    ----------
    stamp : Stamp
    mask : (n_rows, n_columns) bool array

    Returns
    -------
    dict of flux, flux_err, background, background_err: each (n_times,) float array, e-/s; pixels that are NaN count as
    zero
    """
    background_err = np.nansum(inside(stamp.background_err, mask), axis=1)
    return {
        "flux": np.nansum(inside(stamp.flux, mask), axis=1),
        "flux_err": np.sqrt(np.nansum(inside(stamp.flux_err, mask) ** 2, axis=1) + background_err**2),
        "background": np.nansum(inside(stamp.background, mask), axis=1),
        "background_err": background_err,
    }


def centroids(stamp, mask):
    """Flux-weighted mean position of the positive pixels of a mask.

    Returns
    -------
    (n_times, 2) float array: detector column and row; NaN where no pixel is positive
    """
    weights = inside(stamp.flux, mask)
    weights[~(weights > 0)] = 0  # NaN too
    rows, columns = np.nonzero(mask)
    with np.errstate(invalid="ignore"):
        return (
            weights @ np.column_stack([stamp.column + columns, stamp.row + rows]) / weights.sum(axis=1, keepdims=True)
        )


def judge_pixels(stamp, mask):
    """Flags for times at which the pixels of a mask do not give its flux, or not all of it.

    Returns
    -------
    (n_times,) int32 array, bits of `flags.PIXEL_QUALITY`
    """
    pixels = stamp.flux[:, mask]
    missing = np.isnan(pixels)
    return (
        NOT_MEASURED * np.all(missing | (pixels == 0), axis=1)
        | PARTLY_MISSING * missing.any(axis=1)
        | ARGABRIGHTENING * ((stamp.quality & NO_FLUX_BITMASK[stamp.mission]) != 0)
    ).astype(np.int32)


def inside(images, mask):
    """The pixels of a mask: (n_times, n_pixels) float64 array. float64: single precision would lose ppm in the sums."""
    return images[:, mask].astype(float)
