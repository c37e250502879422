"""Aperture photometry: sums of pixels in a mask, for all times at once.

The mask comes from `pixelmask`, or from the target pixel file itself. The functions after
`aperture_photometry` take the pixels of a mask as (n_times, n_pixels) arrays, see `mask_pixels`. A
pixel that is NaN counts as zero.
"""

import numpy as np

from ..catalog.ccd import target_position
from ..constants import MISSIONS
from ..errors import BadInputError
from ..flags import NO_FLUX_BITMASK, PIXEL_QUALITY
from ..pixels.targetpixelfile import BIT_OPTIMAL, number
from ..status import STATUS
from .extraction import Extraction
from .pixelmask import in_mask, minimum_mask, pixel_masks, total_magnitude, with_peaks

NOT_MEASURED, PARTLY_MISSING, ARGABRIGHTENING = (flag.bit for flag in PIXEL_QUALITY)
BLOCK_TIMES = 1024  # times that are summed at once: their pixels fit into the cache of a processor
# pixels; farther from the target, the light of a mask is not its own alone
MAX_CENTROID_OFFSET = 0.8
NO_FLUX = NOT_MEASURED | ARGABRIGHTENING  # times with one of these bits get NaN


def aperture_photometry(stamp, settings):
    """Aperture photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction; with status ERROR if the target lies in several masks, and WARNING if in none

    Raises
    ------
    BadInputError : ``mask='pipeline'`` and the file has no aperture for this target, or the target
        lies off the pixels
    """
    if settings.aperture.mask == "pipeline":
        crowding = number(stamp.headers, "CROWDSAP", np.nan)
        others = {} if np.isnan(crowding) else {"contamination": 1 - crowding}
        return measure(stamp, pipeline_mask(stamp), method="aperture", **others)
    mask, status, errors = own_mask(stamp, settings.aperture)
    return measure(stamp, mask, method="aperture", status=status, errors=errors)


def measure(stamp, mask, **values):
    """Everything about the flux in one mask.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    mask : (n_rows, n_columns) bool array, the pixels to sum
    values : other values of the `Extraction`: method, status, errors

    Returns
    -------
    Extraction
    """
    series = _sums(stamp, mask)
    # times at which a pixel of the mask is missing, and those that may be empty
    numbers = [series[name] for name in ("flux", "flux_err", "background", "background_err")]
    (doubtful,) = np.nonzero(~np.isfinite(numbers).all(axis=0) | (series["flux"] == 0))
    diffuse = (stamp.quality & NO_FLUX_BITMASK[stamp.mission]) != 0
    quality = ARGABRIGHTENING * diffuse.astype(np.int32)
    quality[doubtful] = pixel_quality(
        mask_pixels(stamp.flux[doubtful], mask), stamp.quality[doubtful], stamp.mission
    )
    lost = (quality & NO_FLUX) != 0
    (gaps,) = np.nonzero(~lost[doubtful])
    for name, sums in _sums_with_gaps(stamp, mask, doubtful[gaps]).items():
        series[name][doubtful[gaps]] = sums
    for name in series:
        series[name][lost] = np.nan
    starids = np.asarray(stamp.catalog["starid"])[in_mask(stamp.catalog, mask)]
    others = {
        "contamination": contamination(stamp, mask),
        "skip_targets": tuple(int(starid) for starid in starids if starid != stamp.target.starid),
        "edge_flux": edge_flux(stamp.sumimage, mask),
    }
    return Extraction(
        **series,
        pixel_quality=quality,
        mask=mask,
        position_mask=mask,
        **others | values,
    )


def _sums(stamp, mask):
    """The series of `measure`, right at times at which no pixel of the mask is missing: dict of
    arrays.

    Block by block, as matrix products of what lies in the processor's cache. Errors stay in the
    precision of the file.
    """
    chosen = np.flatnonzero(mask)
    position = np.column_stack(np.nonzero(mask)[::-1])
    middle = position.sum(axis=0) / max(len(position), 1)
    x = position - middle  # no digits are lost where squares are multiplied out
    moments = np.column_stack([np.ones(len(x)), x])
    squares = np.column_stack([moments, x**2]).astype(stamp.flux_err.dtype)
    n_times = len(stamp.time)
    background, background_err = np.empty((2, n_times))
    flux, weights = np.empty((2, n_times, 3))  # of all pixels, and of those that are positive
    variance, variances = np.empty((2, n_times, 5))
    for start in range(0, n_times, BLOCK_TIMES):
        times = slice(start, start + BLOCK_TIMES)
        pixels, errors, sky, sky_errors = (
            images[times].reshape(-1, mask.size)[:, chosen]
            for images in (stamp.flux, stamp.flux_err, stamp.background, stamp.background_err)
        )
        background[times] = sky.astype(float) @ moments[:, 0]
        background_err[times] = sky_errors @ squares[:, 0]
        errors *= errors
        variance[times] = variances[times] = errors @ squares
        flux[times] = weights[times] = pixels.astype(float) @ moments
        positive = pixels > 0
        if not positive.all():
            variances[times] = (errors * positive) @ squares
            weights[times] = (pixels * positive).astype(float) @ moments
    flux, variance = flux[:, 0], variance[:, 0]
    centroid, centroid_err = _centroid(weights, variances)
    return {
        "flux": flux,
        "flux_err": np.sqrt(variance + background_err**2),
        "background": background,
        "background_err": background_err,
        "centroid": centroid + middle + (stamp.column, stamp.row),
        "centroid_err": centroid_err,
    }


def _sums_with_gaps(stamp, mask, times):
    """The same for times at which pixels may be missing: those that are not count."""
    flux, flux_err, background, background_err = (
        mask_pixels(images[times], mask)
        for images in (stamp.flux, stamp.flux_err, stamp.background, stamp.background_err)
    )
    rows, columns = np.nonzero(mask)
    positive = flux > 0
    weights = np.where(positive, flux, 0.0)  # no weight for NaN either
    variance = np.where(positive, flux_err, 0.0) ** 2
    # around the mean position, so that no digits are lost where squares are multiplied out
    middle = np.array([np.mean(columns), np.mean(rows)])
    x = np.column_stack([columns, rows]) - middle
    moments = np.column_stack([np.ones(len(x)), x, x**2])
    centroid, centroid_err = _centroid(weights @ moments[:, :3], variance @ moments)
    return {
        "flux": pixel_sum(flux),
        "flux_err": flux_error(flux_err, background_err),
        "background": pixel_sum(background),
        "background_err": pixel_sum(background_err),
        "centroid": centroid + middle + (stamp.column, stamp.row),
        "centroid_err": centroid_err,
    }


def pipeline_mask(stamp):
    """The aperture that the mission's own pipeline chose: (n_rows, n_columns) bool array."""
    if stamp.datasource not in ("tpf", "ffi"):
        raise BadInputError(
            f"{stamp.path}: its aperture is not for "
            f"{MISSIONS[stamp.mission].label(stamp.target.starid)}, a secondary target; use "
            "mask='own'"
        )
    mask = (stamp.aperture & BIT_OPTIMAL) != 0
    if not mask.any():
        raise BadInputError(
            f"{stamp.path}: APERTURE marks no pixel as the pipeline's aperture (bit 2); use "
            "mask='own'"
        )
    return mask


def mask_limits(stamp, settings):
    """Threshold and saturation limit of a stamp's pixel masks, as keywords of `pixel_masks`."""
    limit = settings.saturation_limit
    limit = MISSIONS[stamp.mission].saturation_limit if limit is None else limit
    return {"threshold": settings.threshold, "saturation_limit": limit}


def own_mask(stamp, settings):
    """The pixel mask over the target's pixel.

    Where no catalogue names the neighbours, one that is too close for a peak of its own shows by
    the light of the mask, which lies off the target. Not for saturated stars: their light runs
    along columns.

    Returns
    -------
    mask : (n_rows, n_columns) bool array
    status : STATUS
    errors : tuple of str
    """
    row, column = target_position(stamp)
    limits = mask_limits(stamp, settings)
    stars = stamp.catalog
    if not stamp.has_catalog:
        stars = with_peaks(stars, stamp.sumimage, **limits)
    masks = pixel_masks(stamp.sumimage, stars, min_pixels=settings.min_pixels, **limits)
    masks = [mask for mask in masks if in_mask({"row": [row], "column": [column]}, mask)[0]]
    if len(masks) > 1:
        message = f"the target lies in {len(masks)} pixel masks at the same time"
        return masks[0], STATUS.ERROR, (message,)
    if not masks:
        mask = minimum_mask(stamp.shape, row, column) & np.isfinite(stamp.sumimage)
        if not mask.any():
            raise BadInputError(
                f"{stamp.path}: the target lies at row {row:.1f}, column {column:.1f} of the "
                f"stamp, where no pixel of the {stamp.shape[0]} x {stamp.shape[1]} was collected"
            )
        message = f"a minimum mask of {mask.sum()} pixels was used"
        return mask, STATUS.WARNING, (f"no pixel mask found for the target, {message}",)
    (mask,) = masks
    if stamp.has_catalog or stamp.target.tmag < limits["saturation_limit"]:
        return mask, STATUS.OK, ()
    rows, columns = np.nonzero(mask)
    light = np.clip(np.nan_to_num(stamp.sumimage[mask]), 0, None)
    middle = np.average(rows, weights=light), np.average(columns, weights=light)
    distance = np.hypot(middle[0] - row, middle[1] - column)
    if distance <= MAX_CENTROID_OFFSET:
        return mask, STATUS.OK, ()
    message = (
        f"the light in the mask is centred {distance:.1f} pixels from the target: another star "
        "may be in it, and there is no star catalogue"
    )
    return mask, STATUS.WARNING, (message,)


def contamination(stamp, mask):
    """Fraction of the flux in a mask that is from other stars, by their magnitudes (Lund & Handberg
    2014, equation 6).

    NaN where the magnitude of the target is not known, or where there is no catalogue. Light of
    stars outside the mask does not count.
    """
    if not stamp.has_catalog:
        return np.nan
    tmag = stamp.target.tmag
    others = in_mask(stamp.catalog, mask) & (
        np.asarray(stamp.catalog["starid"]) != stamp.target.starid
    )
    total = total_magnitude([tmag, *np.asarray(stamp.catalog["tmag"])[others]])
    return float(max(1 - 10 ** (0.4 * (total - tmag)), 0.0))  # max: rounding errors; NaN stays NaN


def edge_flux(image, mask):
    """Flux of the pixels of a mask that lie on the edge of the stamp, e-/s."""
    edge = np.ones(mask.shape, bool)
    edge[1:-1, 1:-1] = False
    return float(np.nansum(image[edge & mask]))


def mask_pixels(images, mask):
    """The pixels of a mask, in the order of ``np.nonzero(mask)``.

    Parameters
    ----------
    images : (n_times, n_rows, n_columns) array
    mask : (n_rows, n_columns) bool array

    Returns
    -------
    (n_times, n_pixels) float64 array: single precision would lose parts per million in the sums
    """
    flat = images.reshape(len(images), mask.size)
    return np.take(flat, np.flatnonzero(mask), axis=1).astype(float)


def pixel_sum(pixels):
    """Sum over the pixels, e.g. the flux of an aperture: (n_times,) array; NaN where no pixel has a
    value.
    """
    total = pixels @ np.ones(pixels.shape[1])
    holes = np.flatnonzero(
        np.isnan(total)
    )  # few times: the sum that knows NaN is five times slower
    if len(holes):
        missing = np.isnan(pixels[holes])
        total[holes] = np.where(missing.all(axis=1), np.nan, np.nansum(pixels[holes], axis=1))
    return total


def flux_error(flux_err, background_err):
    """Error of a sum of pixels: (n_times,) array, e-/s; NaN where no pixel has an error.

    The root sum square of the pixels' errors and, because the background of neighbouring pixels is
    estimated together and errs together, of the sum of the background's errors. That reproduces the
    errors of the missions' own light curves (Kepler to 0.03 %, TESS to 0.8 %), which the pixels'
    errors alone do not (TESS: 11 %). Where the background has no error, that of the pixels is all
    there is.
    """
    return np.sqrt(pixel_sum(flux_err**2) + np.nan_to_num(pixel_sum(background_err)) ** 2)


def _centroid(weights, variances):
    """Flux-weighted mean of column and row, and its error from those of the pixels; NaN where no
    pixel is positive, or has no error.

    Parameters
    ----------
    weights : (n_times, 3) array, sums of the pixels' weights times 1, column, row
    variances : (n_times, 5) array, sums of their variances times 1, column, row, column^2, row^2
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        centroid = weights[:, 1:] / weights[:, :1]
        # sum of (x - centroid)^2 variance
        square = (
            variances[:, 3:] - 2 * centroid * variances[:, 1:3] + centroid**2 * variances[:, :1]
        )
        return centroid, np.sqrt(np.maximum(square, 0)) / weights[:, :1]


def pixel_quality(flux, quality, mission):
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
    diffuse = (quality & NO_FLUX_BITMASK[mission]) != 0
    flags = ARGABRIGHTENING * diffuse.astype(np.int32)
    total = flux @ np.ones(flux.shape[1])
    doubtful = np.flatnonzero(np.isnan(total) | (total == 0))
    missing = np.isnan(flux[doubtful])
    flags[doubtful] |= NOT_MEASURED * np.all(missing | (flux[doubtful] == 0), axis=1)
    flags[doubtful] |= PARTLY_MISSING * missing.any(axis=1)
    return flags
