"""Halo photometry: the light around a saturated star, weighted so that its light curve is as quiet
as can be.

The flux is a weighted sum of all pixels of its mask, with weights that are not negative and sum to
1, chosen so that the total variation of the flux, the sum of its steps from one time to the next,
is smallest relative to its mean. Pixels whose charge comes and goes with the pointing get no
weight; what all pixels share, the star's own variation, cannot be weighted away. (White et al.
2017, MNRAS 471, 2882, equations 1 and 2.) That holds for signals not much larger than the noise:
full pixels, and those of faint neighbours, do not follow deep eclipses, and are then the quietest.
"""

import dataclasses

import numpy as np

from ..constants import MISSIONS
from ..errors import BadInputError
from ..pixels.quality import good_times
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

MIN_TIMES = 10
MIN_PRESENT = 0.5  # fraction of the target's pixels with a value; times with fewer are left out
MAX_ROUNDS = 500
# of the mean flux: steps below it count with their square, so that the sum can be differentiated
SMOOTHING = 1e-7
# weights below this fraction of the largest do not count as part of the mask
NEGLIGIBLE = 1e-6


def halo_photometry(stamp, settings):
    """Halo photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction, whose flux is scaled to the mean that the target's magnitude lets expect; with
    status WARNING where neighbours may be in it, or where the star is too faint for this method

    Raises
    ------
    BadInputError : too few times or pixels have values
    """
    good = good_times(stamp, settings.good_quality)
    mask, status, messages = own_mask(stamp, settings.aperture)
    target = mask if status is STATUS.OK else np.ones(stamp.shape, bool)
    target &= stamp.sumimage > 0
    present = np.isfinite(stamp.flux[:, target])
    good &= present.mean(axis=1) > MIN_PRESENT if target.any() else False
    usable = np.zeros(stamp.shape, bool)
    usable[target] = present[good].all(axis=0)
    if good.sum() < MIN_TIMES or not usable.any():
        raise BadInputError(
            f"{stamp.path}: halo photometry needs {MIN_TIMES} good times and pixels with values "
            "at all of them; "
            f"there are {good.sum()} times and {usable.sum()} pixels"
        )
    weights = quietest_weights(mask_pixels(stamp.flux, usable)[good])
    extraction = _to_extraction(stamp, usable, weights, good)
    doubts = list(messages if status is STATUS.WARNING else ())
    if status is not STATUS.OK:
        doubts.append("halo photometry used all pixels of the stamp, those of neighbours too")
    limit = mask_limits(stamp, settings.aperture)["saturation_limit"]
    if stamp.target.tmag > limit:
        doubts.append(
            f"halo photometry is for saturated stars, brighter than {limit:g}: the weights of "
            "others follow the noise, and take "
            "from signals that are not far above it"
        )
    status = STATUS.WARNING if doubts else STATUS.OK
    return dataclasses.replace(extraction, status=status, errors=tuple(doubts))


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
    return Extraction(
        method="halo",
        flux=scale * flux,
        flux_err=np.where(np.isnan(flux), np.nan, flux_error(flux_err, background_err)),
        background=pixel_sum(background),
        background_err=pixel_sum(background_err),
        centroid=np.where(np.isnan(flux)[:, None], np.nan, _centroid(stamp)),
        mask=mask,
        position_mask=mask,
        pixel_quality=pixel_quality(mask_pixels(stamp.flux, mask), stamp.quality, stamp.mission),
        contamination=contamination(stamp, mask),
        edge_flux=edge_flux(stamp.sumimage, mask),
    )


def _centroid(stamp):
    """The target's position by the catalogue and the pointing: charge that bleeds says nothing
    about it.
    """
    (index,) = np.flatnonzero(stamp.catalog["starid"] == stamp.target.starid)
    position = np.array(
        [stamp.column + stamp.catalog["column"][index], stamp.row + stamp.catalog["row"][index]],
        dtype=float,
    )
    return position + np.nan_to_num(stamp.pos_corr)


halo_photometry.fixed_stamp = True
