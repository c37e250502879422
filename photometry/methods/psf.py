"""PSF photometry: fluxes of all stars of a stamp by least squares, at positions that are known or fitted.

``linpsf``: the positions are those of the catalogue, moved by the pointing, whose mean is fitted to the sum image. The
residual is linear in the fluxes and in a constant, the residual background: weighted least squares, whose normal
equations are solved for every time. The errors follow from its covariance. The magnitudes of the target's neighbours count as
measurements too (to 20 %), because the pixels alone cannot tell apart stars that lie within one of them.

``psf``: the target's own position is fitted in the sum image, then, at every time, the fluxes of all stars and one shift of all
of them together. The model is linear in the fluxes and nearly so in the shift: a few steps of Gauss-Newton, for all
times at once.
"""

import dataclasses

import numpy as np

from ..flags import FOUND
from ..status import STATUS
from .aperture import NO_FLUX, edge_flux, mask_pixels, pixel_quality
from .extraction import Extraction
from .scene import (
    MIN_FRACTION,
    fit_parameters,
    make_scene,
    parameter_error,
    pixel_weights,
    pointing,
    prf_for,
    with_constant,
)

BAD_FRAME = FOUND[0].bit
SHIFT_STEPS = 4
OFFSET_STEPS = 5
MAX_OFFSET = 0.6  # pixels; farther from the catalogue it is another star, or none


def linpsf_photometry(stamp, settings):
    """Linear PSF photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction

    Raises
    ------
    BadInputError : no pixel of the stamp can be used
    """
    shift, mean, scatter = pointing(stamp, settings.good_quality)
    prf = prf_for(stamp, settings.psf.prf, scatter)
    offset, _ = fit_offset(stamp, prf, mean)
    shift = shift + offset
    scene = with_reference_fluxes(make_scene(stamp, prf, shift), stamp, mean + offset)
    flux, flux_err = fit_fluxes(stamp, scene, shift)
    return to_extraction("linpsf", stamp, scene, shift, flux, flux_err)


def psf_photometry(stamp, settings):
    """PSF photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction; with status WARNING where the target's position could not be fitted and that of the catalogue was used

    Raises
    ------
    BadInputError : no pixel of the stamp can be used
    """
    shift, mean, scatter = pointing(stamp, settings.good_quality)
    prf = prf_for(stamp, settings.psf.prf, scatter)
    offset, _ = fit_offset(stamp, prf, mean)
    stamp, moved = recenter(stamp, prf, mean + offset)
    shift = shift + offset
    scene = with_reference_fluxes(make_scene(stamp, prf, shift, min_step=0.3), stamp, mean + offset)
    shift, flux, flux_err = fit(stamp, scene, shift)
    message = "the target's position could not be fitted, that of the catalogue was used"
    errors, status = ((), STATUS.OK) if moved else ((message,), STATUS.WARNING)
    return to_extraction("psf", stamp, scene, shift, flux, flux_err, errors, status)


linpsf_photometry.fixed_stamp = psf_photometry.fixed_stamp = True


def fit_fluxes(stamp, scene, shift):
    """Fluxes of all stars at all times.

    Parameters
    ----------
    stamp : Stamp
    scene : Scene
    shift : (n_times, 2) array, pixels: column, row

    Returns
    -------
    flux : (n_times, n_stars) array, e-/s
    flux_err : (n_times,) array, e-/s, of the target
    """
    response = with_constant(scene.response(scene.weights(shift)[0]))
    pixels = mask_pixels(stamp.flux, scene.used) - scene.fixed
    errors = mask_pixels(stamp.flux_err, scene.used)
    weight = pixel_weights(pixels, errors)
    flux, solve = fit_parameters(response, weight, pixels, *scene.priors(1))
    return flux[:, :-1], parameter_error(
        solve[:, 0], errors, mask_pixels(stamp.background_err, scene.used)
    )


def to_extraction(method, stamp, scene, shift, flux, flux_err, errors=(), status=STATUS.OK):
    """The `Extraction` of a fit. Its mask is where the target gives more than 1 % of its flux to a pixel."""
    fraction = np.zeros(stamp.shape)
    fraction[scene.used] = scene.mean_response[:, 0]
    mask = fraction > MIN_FRACTION
    if not mask.any():
        mask = fraction == fraction.max()
    quality = pixel_quality(mask_pixels(stamp.flux, mask), stamp.quality, stamp.mission)
    lost = (quality & NO_FLUX) != 0
    bad = lost | ((stamp.quality & BAD_FRAME) != 0)
    background = np.nansum(mask_pixels(stamp.background, mask), axis=1)
    background_err = np.nansum(mask_pixels(stamp.background_err, mask), axis=1)
    return Extraction(
        method=method,
        flux=np.where(bad, np.nan, flux[:, 0]),
        flux_err=np.where(bad, np.nan, flux_err),
        background=np.where(lost, np.nan, background),
        background_err=np.where(lost, np.nan, background_err),
        centroid=np.array([scene.column[0], scene.row[0]]) + shift,
        mask=mask,
        position_mask=mask,
        pixel_quality=quality,
        status=status,
        contamination=contamination_of_fit(scene, flux, mask),
        edge_flux=edge_flux(stamp.sumimage, mask),
        errors=errors,
    )


def contamination_of_fit(scene, flux, mask):
    """Fraction of the light in the target's pixels that the fit gives to other stars."""
    median = np.clip(np.nanmedian(flux, axis=0), 0, None)
    light = scene.mean_response[mask[scene.used]].sum(axis=0) * median
    return float(1 - light[0] / light.sum()) if light.sum() > 0 else np.nan


def fit(stamp, scene, shift):
    """Fluxes of all stars and their common shift, at all times.

    Returns
    -------
    shift : (n_times, 2) array, pixels: column, row
    flux : (n_times, n_stars) array, e-/s
    flux_err : (n_times,) array, e-/s, of the target; the uncertainty of the shift is in it
    """
    pixels = mask_pixels(stamp.flux, scene.used) - scene.fixed
    errors = mask_pixels(stamp.flux_err, scene.used)
    weight = pixel_weights(pixels, errors)
    shift = shift.copy()
    flux = None
    for _ in range(SHIFT_STEPS):
        response, slopes = _linearised(scene, shift, flux)
        design = with_constant(response)
        design = design if slopes is None else np.concatenate([design, slopes], axis=2)
        priors = scene.priors(1 if slopes is None else 3)
        solution, solve = fit_parameters(design, weight, pixels, *priors)
        flux = solution[:, : response.shape[2]]
        if slopes is not None:
            step = np.clip(solution[:, -2:][:, ::-1], -0.2, 0.2)  # the fit has row, column
            shift = np.clip(shift + step, -1.5 * scene.step, 1.5 * scene.step)
    return (
        shift,
        flux,
        parameter_error(solve[:, 0], errors, mask_pixels(stamp.background_err, scene.used)),
    )


def _linearised(scene, shift, flux):
    """Responses at a shift, and how the image changes with it in row and column (None before the first fit)."""
    value, by_row, by_column = scene.weights(shift)
    response = scene.response(value)
    if flux is None:
        return response, None
    median = np.broadcast_to(np.median(flux, axis=0), flux.shape)
    changes = [
        np.einsum("tps,ts->tp", scene.response(weights), median) for weights in (by_row, by_column)
    ]
    return response, np.stack(changes, axis=2)


def recenter(stamp, prf, shift):
    """The stamp with the target where the sum image shows it.

    Parameters
    ----------
    shift : (2,) array, pixels: column, row; of all stars against the catalogue

    Returns
    -------
    stamp : Stamp
    moved : bool, False where that position could not be fitted
    """
    offset, moved = fit_offset(stamp, prf, shift, target_only=True)
    catalog = stamp.catalog.copy()
    (index,) = np.flatnonzero(catalog["starid"] == stamp.target.starid)
    catalog["column"][index] += offset[0]
    catalog["row"][index] += offset[1]
    return dataclasses.replace(stamp, catalog=catalog), moved


def mean_stamp(stamp):
    """A stamp of one time: the sum image, with the median errors."""
    return dataclasses.replace(
        stamp,
        flux=stamp.sumimage[None],
        flux_err=np.nanmedian(stamp.flux_err, axis=0)[None],
        background_err=np.nanmedian(stamp.background_err, axis=0)[None],
    )


def with_reference_fluxes(scene, stamp, shift):
    """The scene with the fluxes that its stars have in the sum image.

    Parameters
    ----------
    scene : Scene
    stamp : Stamp with its sum image
    shift : (2,) array, pixels: column, row; where the stars are in the sum image, against the catalogue
    """
    mean = mean_stamp(stamp)
    pixels = mask_pixels(mean.flux, scene.used) - scene.fixed
    weight = pixel_weights(pixels, mask_pixels(mean.flux_err, scene.used))
    response = with_constant(scene.response(scene.weights(shift[None])[0]))
    (flux,), _ = fit_parameters(response, weight, pixels, *scene.priors(1))
    return dataclasses.replace(scene, reference_flux=flux[:-1])


def fit_offset(stamp, prf, shift, *, target_only=False):
    """How far stars are from where the catalogue has them, in the sum image.

    Gauss-Newton: the image is linear in the fluxes of the stars, and nearly so in the offset.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    prf : PRF
    shift : (2,) array, pixels: column, row; where they are believed to be, against the catalogue
    target_only : bool; the offset of the target alone, or one of all stars together

    Returns
    -------
    offset : (2,) array, pixels: column, row; zeros where it could not be fitted
    fitted : bool
    """
    mean = mean_stamp(stamp)
    scene = make_scene(mean, prf, shift[None], min_step=0.3)
    moving = np.arange(len(scene.row)) < (1 if target_only else len(scene.row))
    pixels = mask_pixels(mean.flux, scene.used) - scene.fixed
    weight = pixel_weights(pixels, mask_pixels(mean.flux_err, scene.used))
    position = shift.astype(float)
    for _ in range(OFFSET_STEPS):
        position = position + _step(scene, moving, position, shift, pixels, weight)
        if not np.all(np.abs(position - shift) < MAX_OFFSET):
            return np.zeros(2), False
    return position - shift, True


def _step(scene, moving, position, shift, pixels, weight):
    """What to add to the position of the moving stars: (2,) array, column, row."""
    value, by_row, by_column = scene.weights(position[None])
    still = scene.weights(shift[None])[0]
    response = np.where(moving, scene.response(value), scene.response(still))
    response = with_constant(response)
    flux = fit_parameters(response, weight, pixels, *scene.priors(1))[0][0, :-1] * moving
    slopes = np.stack(
        [scene.response(weights)[0] @ flux for weights in (by_row, by_column)], axis=1
    )
    design = np.concatenate([response, slopes[None]], axis=2)
    solution = fit_parameters(design, weight, pixels, *scene.priors(3))[0][0]
    return np.clip(solution[[-1, -2]], -0.3, 0.3)
