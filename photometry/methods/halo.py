"""Halo photometry: the light around a saturated star, weighted so that its light curve is as quiet
as can be.

The flux is a weighted sum of pixels, with weights that are not negative and sum to 1, chosen so
that the total variation of the flux, the sum of its steps from one time to the next, is smallest
relative to its mean. Pixels whose charge comes and goes with the pointing get no weight; what is
common to all pixels, the star's own variation, cannot be weighted away. (White et al. 2017, MNRAS
471, 2882, equations 1 and 2.)

That holds for pixels whose light is the star's. Full ones, and those of neighbours, do not follow a
transit and would be the quietest. Charge stays in its column: one with full pixels counts as one
pixel, the sum of all, and is left out where the edge of the stamp cuts its charge off. Pixels with
light of neighbours are left out. It holds, too, for weights that the noise does not decide: there
are at most a fourth as many as times, and each result is tested with transits that are put into all
pixels.
"""

import dataclasses

import numpy as np

from ..catalog.ccd import target_position
from ..constants import MISSIONS
from ..errors import BadInputError
from ..pixels.stamp import good_times
from ..status import STATUS
from .aperture import (
    contamination,
    edge_flux,
    flux_error,
    mask_limits,
    mask_pixels,
    own_mask,
    pixel_quality,
    pixel_sum,
)
from .extraction import Extraction
from .pixelmask import UNKNOWN_TMAG, with_peaks
from .prf import GaussianPRF

MIN_TIMES = 10
MIN_PRESENT = 0.5  # fraction of the target's pixels with a value; times with fewer are left out
FULL = 0.8  # of the full well, flux and background together
EDGE_ROWS = 2  # of the stamp; full pixels there have lost charge
MAX_FOREIGN = 0.02  # fraction of a pixel's light that may be from other stars
TIMES_PER_UNIT = 4  # as many of the brightest units are used as have these times for each
MAX_UNITS = 1000
MAX_ROUNDS = 500
# of the mean flux: steps below it count with their square, so that the sum can be differentiated
SMOOTHING = 1e-7
# weights below this fraction of the largest do not count as part of the mask
NEGLIGIBLE = 1e-6
TEST_DEPTH, N_TEST_TRANSITS = 5e-4, 8  # of the transits that each result is tested with
MAX_DEPTH_ERROR = 0.05  # of that depth
_STAR = ("row", "column", "tmag")


def halo_photometry(stamp, settings):
    """Halo photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction, whose flux is scaled to the mean that the target's magnitude lets expect; with
    status ERROR where test transits do not come out as deep as they went in, and WARNING where
    neighbours may be in it, or where the star is too faint for this method

    Raises
    ------
    BadInputError : too few times have values, or no pixel can be used
    """
    good = good_times(stamp, settings.good_quality)
    mask, status, messages = own_mask(stamp, settings.aperture)
    target = mask if status is STATUS.OK else np.ones(stamp.shape, bool)
    units, target = light_units(stamp, target, good, settings.aperture)
    present = np.isfinite(stamp.flux[:, target])
    good &= present.mean(axis=1) > MIN_PRESENT if target.any() else False
    usable = np.zeros(stamp.shape, bool)
    usable[target] = present[good].all(axis=0)
    if good.sum() < MIN_TIMES or not usable.any():
        raise BadInputError(
            f"{stamp.path}: halo photometry needs {MIN_TIMES} good times and pixels with values "
            f"at all of them, with charge that the stamp holds and light of the target alone; "
            f"there are {good.sum()} times and {usable.sum()} pixels"
        )
    brightness = np.bincount(units[usable], stamp.sumimage[usable])
    n_units = min(max(good.sum() // TIMES_PER_UNIT, 1), MAX_UNITS)
    usable &= np.isin(units, np.argsort(-brightness)[:n_units])
    _, unit_of, count = np.unique(units[usable], return_inverse=True, return_counts=True)
    in_order = mask_pixels(stamp.flux, usable)[good][:, np.argsort(unit_of, kind="stable")]
    pixels = np.add.reduceat(in_order, np.cumsum(count) - count, axis=1)
    weights = quietest_weights(pixels)
    extraction = _to_extraction(stamp, usable, weights[unit_of], good)
    depth, depth_err = transit_test(pixels, weights)
    if not abs(depth - TEST_DEPTH) + 2 * depth_err < MAX_DEPTH_ERROR * TEST_DEPTH:
        message = (
            f"halo photometry makes {1e6 * depth:.0f} +- {1e6 * depth_err:.0f} ppm of test "
            f"transits of {1e6 * TEST_DEPTH:.0f} ppm, expected are {MAX_DEPTH_ERROR:.0%} or less "
            "of difference: noise decides the weights; use method 'aperture'"
        )
        return dataclasses.replace(extraction, status=STATUS.ERROR, errors=(message,))
    doubts = list(messages if status is STATUS.WARNING else ())
    if status is not STATUS.OK:
        doubts.append("halo photometry used pixels of the whole stamp, not of one mask")
    limit = mask_limits(stamp, settings.aperture)["saturation_limit"]
    if stamp.target.tmag > limit:
        doubts.append(f"halo photometry is for saturated stars, brighter than {limit:g}")
    status = STATUS.WARNING if doubts else STATUS.OK
    return dataclasses.replace(extraction, status=status, errors=tuple(doubts))


def light_units(stamp, target, good, settings):
    """What may get a weight of its own: single pixels, and columns with full ones.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    target : (n_rows, n_columns) bool array, pixels of the target's mask
    good : (n_times,) bool array, times of good quality
    settings : ApertureSettings

    Returns
    -------
    units : (n_rows, n_columns) int array, the number of each pixel's unit
    own : (n_rows, n_columns) bool array, pixels of units that follow the target: columns as a
        whole, without charge that is lost over the edge of the stamp, and little light of others
    """
    sky = np.nan_to_num(stamp.background[good].mean(axis=0)) if good.any() else 0.0
    full = target & (stamp.sumimage + sky > FULL * MISSIONS[stamp.mission].full_well)
    cut = (full[:EDGE_ROWS] | full[-EDGE_ROWS:]).any(axis=0)
    rows, columns = map(np.arange, stamp.shape)
    single = len(columns) + np.arange(full.size).reshape(full.shape)
    units = np.where(full.any(axis=0), columns, single)
    target = (target | full.any(axis=0)) & (stamp.sumimage > 0)
    stars = stamp.catalog
    if not stamp.has_catalog:
        stars = with_peaks(stars, stamp.sumimage, **mask_limits(stamp, settings))
    stars = {name: np.asarray(stars[name], float) for name in _STAR}
    flux = 10 ** (-0.4 * np.nan_to_num(stars["tmag"], nan=UNKNOWN_TMAG))
    light = target * np.einsum(
        "s,sij->sij", flux, GaussianPRF().evaluate(stars["row"], stars["column"], rows, columns)
    )
    row, column = target_position(stamp)
    light[np.argmin(np.hypot(stars["row"] - row, stars["column"] - column))] *= -1
    total, foreign = (
        np.bincount(units.ravel(), part.sum(axis=0).ravel())
        for part in (np.abs(light), np.maximum(light, 0))
    )
    return units, target & ~cut & (foreign <= MAX_FOREIGN * total)[units]


def transit_test(pixels, weights):
    """How deep transits of `TEST_DEPTH` in all pixels come out, when the weights are made anew.

    Parameters
    ----------
    pixels : (n_times, n_pixels) array, e-/s
    weights : (n_pixels,) array, of the pixels as they are

    Returns
    -------
    depth, error : floats, relative to the flux without them; the error is that of the change of the
        weights
    """
    n_times = len(pixels)
    fifth = np.arange(n_times) * 5 * N_TEST_TRANSITS // n_times
    in_transit = fifth % 5 == 2
    dimmed = pixels * (1 - TEST_DEPTH * in_transit)[:, None]
    ratio = (dimmed @ quietest_weights(dimmed)) / (pixels @ weights)
    inside, outside = ratio[in_transit], ratio[~in_transit]
    error = np.std(outside) * np.sqrt(1 / len(inside) + 1 / len(outside)) / np.mean(outside)
    return 1 - np.mean(inside) / np.mean(outside), error


def quietest_weights(pixels):
    """The weights that minimise the total variation of the weighted sum over its mean.

    The problem is made free of bounds by weights = exp(x) / sum(exp(x)).

    Parameters
    ----------
    pixels : (n_times, n_pixels) array, e-/s, whose means are positive

    Returns
    -------
    (n_pixels,) array, not negative, of sum 1
    """
    from scipy.optimize import minimize

    mean = pixels.mean(axis=0)
    # in units of each pixel's mean: all pixels start with a weight by their flux
    relative = pixels / mean
    steps = np.diff(relative, axis=0)
    start = np.log(mean / mean.sum())
    optimum = minimize(
        total_variation,
        start,
        args=(steps,),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ROUNDS, "maxfun": 2 * MAX_ROUNDS},
    )
    weights = _softmax(optimum.x) / mean  # the softmax: fractions of the mean flux
    return weights / weights.sum()


def total_variation(x, steps):
    """Total variation of the flux relative to its mean, and its gradient.

    Parameters
    ----------
    x : (n_pixels,) array; a pixel's fraction of the mean flux is its fraction of the sum of exp(x)
    steps : (n_times - 1, n_pixels) array, steps of the pixels' fluxes over their means

    Returns
    -------
    value : float
    gradient : (n_pixels,) array
    """
    fractions = _softmax(x)
    step = steps @ fractions
    size = np.sqrt(step**2 + SMOOTHING**2)
    slope = steps.T @ (step / size)
    return size.sum(), fractions * (slope - fractions @ slope)


def _softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def _to_extraction(stamp, usable, weights, good):
    """The flux is scaled to the magnitude; the centroid is the target's position by the catalogue
    and the pointing, as charge that bleeds says nothing about it.
    """
    pixels = mask_pixels(stamp.flux, usable)
    flux = np.where(np.isfinite(pixels).all(axis=1), np.nan_to_num(pixels) @ weights, np.nan)
    expected = 10 ** (-0.4 * (stamp.target.tmag - MISSIONS[stamp.mission].zero_point))
    scale = expected / np.median(flux[good]) if np.isfinite(expected) else 1.0
    mask = np.zeros(stamp.shape, dtype=bool)
    mask[usable] = weights > NEGLIGIBLE * weights.max()
    flux_err, background, background_err = (
        scale * weights * mask_pixels(images, usable)
        for images in (stamp.flux_err, stamp.background, stamp.background_err)
    )
    row, column = target_position(stamp)
    at = np.array([stamp.column + column, stamp.row + row])
    centroid = at + np.nan_to_num(stamp.pos_corr)
    return Extraction(
        method="halo",
        flux=scale * flux,
        flux_err=np.where(np.isnan(flux), np.nan, flux_error(flux_err, background_err)),
        background=pixel_sum(background),
        background_err=pixel_sum(background_err),
        centroid=np.where(np.isnan(flux)[:, None], np.nan, centroid),
        mask=mask,
        position_mask=mask,
        pixel_quality=pixel_quality(mask_pixels(stamp.flux, mask), stamp.quality, stamp.mission),
        contamination=contamination(stamp, mask),
        edge_flux=edge_flux(stamp.sumimage, mask),
    )


halo_photometry.fixed_stamp = True
