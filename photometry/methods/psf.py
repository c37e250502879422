"""PSF photometry: fluxes of all stars of a stamp by least squares, at positions that are known or
fitted.

``linpsf``: the positions are those of the catalogue, moved by the pointing, whose mean is fitted to
the sum image. The residual is linear in the fluxes and in a constant, the residual background:
weighted least squares, whose normal equations are solved for every time. The errors follow from its
covariance. The magnitudes of the target's neighbours count as measurements too (to 20 %), because
the pixels alone cannot tell apart stars that lie within one of them.

``psf``: the target's own position is fitted in the sum image, then, at every time, the fluxes of
all stars and one shift of all of them together. The model is linear in the fluxes and nearly so in
the shift: a few steps of Gauss-Newton, for all times at once.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from ..flags import FOUND
from ..status import STATUS
from .aperture import (
    NO_FLUX,
    edge_flux,
    flux_error,
    mask_limits,
    mask_pixels,
    pixel_quality,
    pixel_sum,
)
from .extraction import Extraction
from .pixelmask import with_peaks
from .scene import (
    MIN_FRACTION,
    fit_parameters,
    make_scene,
    median,
    pixel_weights,
    pointing,
    prf_for,
)

BAD_FRAME = FOUND[0].bit
MAX_SHIFT_STEPS = 12
SMALL_STEP, LARGE_STEP = (
    1e-4,
    2e-3,
)  # pixels; a fit with no larger step is done, one with a larger step is not
MAX_MOVING = 0.02  # fraction of the times at which a fit of shifts may not be done
MAX_ERROR_RATIO = 2.0  # error of the flux with the shift fitted, over the one without
TEST_DEPTH, MAX_DEPTH_ERROR = 0.01, 0.02  # of the test that the flux follows the image
OFFSET_STEPS = 8
MAX_OFFSET = 0.8  # pixels; farther from the catalogue it is another star, or none


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
    stamp, prf, shift = at_mean_pointing(stamp, settings)
    scene = with_reference_fluxes(make_scene(stamp, prf, shift), stamp)
    flux, flux_err, _ = fit_fluxes(stamp, scene, shift)
    return to_extraction("linpsf", stamp, scene, shift, flux, flux_err)


def psf_photometry(stamp, settings):
    """PSF photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction; with status WARNING where positions could not be fitted: those of ``linpsf`` were
    used then, because a shift that cannot be separated from the flux would take a part of every
    transit

    Raises
    ------
    BadInputError : no pixel of the stamp can be used
    """
    stamp, prf, shift = at_mean_pointing(stamp, settings)
    offset, fitted = fit_offset(stamp, prf, np.zeros(2), target_only=True)
    message = "" if fitted else "the target's position could not be fitted in the sum image"
    centred = move_stars(stamp, offset, target_only=True)
    scene = with_reference_fluxes(make_scene(centred, prf, shift, min_step=0.3), centred)
    if fitted:
        fit = fit_shifts(scene, shift, *_data(centred, scene))
        message = why_unreliable(centred, scene, shift, fit)
    if not message:
        return to_extraction("psf", centred, scene, fit.shift, fit.flux, fit.flux_err)
    scene = with_reference_fluxes(make_scene(stamp, prf, shift), stamp)
    flux, flux_err, _ = fit_fluxes(stamp, scene, shift)
    messages = (f"{message}; the positions are those of the catalogue and the pointing",)
    return to_extraction("psf", stamp, scene, shift, flux, flux_err, messages, STATUS.WARNING)


linpsf_photometry.fixed_stamp = psf_photometry.fixed_stamp = True


def at_mean_pointing(stamp, settings):
    """The stars where the sum image shows them.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    stamp : Stamp whose catalogue has the stars at the mean pointing
    prf : PRF
    shift : (n_times, 2) array, pixels: column, row; movement around the mean pointing
    """
    shift, mean, scatter = pointing(stamp, settings.good_quality)
    if not stamp.has_catalog:
        stamp = with_stars_of_image(stamp, mean, settings.aperture)
    prf = prf_for(stamp, settings.psf.prf, mean, scatter)
    offset, _ = fit_offset(stamp, prf, mean)
    return move_stars(stamp, mean + offset), prf, shift - mean


def with_stars_of_image(stamp, mean, settings):
    """The stamp with the stars that its sum image shows beside the target, for input without a
    catalogue.

    Parameters
    ----------
    stamp : Stamp with its sum image
    mean : (2,) array, pixels: column, row; mean pointing against the catalogue
    settings : ApertureSettings
    """
    stars = with_peaks(stamp.catalog, stamp.sumimage, **mask_limits(stamp, settings))
    n_others = len(stars["row"]) - 1
    stars["column"][1:] -= mean[0]
    stars["row"][1:] -= mean[1]
    starid = np.append(stamp.target.starid, -1 - np.arange(n_others))
    catalog = Table({"starid": starid, **stars}, meta=stamp.catalog.meta)
    return dataclasses.replace(stamp, catalog=catalog)


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
    gain : (n_times, n_pixels) array, what each pixel adds to the flux of the target
    """
    pixels, errors, background_err = _data(stamp, scene)
    weight = pixel_weights(pixels, errors)
    design = scene.design(scene.weights(shift)[0])
    solution, solve = fit_parameters(design, weight, pixels, *scene.priors(design.shape[2]))
    gain = solve[:, 0]
    return solution[:, : scene.n_stars], flux_error(gain * errors, gain * background_err), gain


class ShiftFit(NamedTuple):
    """Fluxes and common shifts of the stars, at all times."""

    shift: np.ndarray  # (n_times, 2) pixels: column, row
    flux: np.ndarray  # (n_times, n_stars) e-/s
    flux_err: np.ndarray  # (n_times,) e-/s, of the target; the uncertainty of the shift is in it
    step: np.ndarray  # (n_times,) pixels, of the last iteration
    gain: np.ndarray  # (n_times, n_pixels), what each pixel adds to the flux of the target


def fit_shifts(scene, shift, pixels, errors, background_err):
    """Fluxes of all stars and their common shift, at all times.

    Parameters
    ----------
    scene : Scene
    shift : (n_times, 2) array, pixels: column, row; where the iteration begins
    pixels, errors, background_err : (n_times, n_pixels) arrays, e-/s, of the pixels that the scene
        uses

    Returns
    -------
    ShiftFit
    """
    weight = pixel_weights(pixels, errors)
    shift = shift.copy()
    flux, step = None, np.zeros(1)
    for _ in range(MAX_SHIFT_STEPS):
        value, by_row, by_column = scene.weights(shift)
        design = scene.design(value)
        if flux is not None:
            design = np.concatenate([design, _slopes(scene, by_row, by_column, flux)], axis=2)
        priors = scene.priors(design.shape[2])
        solution, solve = fit_parameters(design, weight, pixels, *priors)
        if flux is not None:
            before = shift
            step = np.clip(solution[:, -2:][:, ::-1], -0.2, 0.2)  # the fit has row, column
            shift = np.clip(shift + step, -1.5 * scene.step, 1.5 * scene.step)
            step = np.hypot(*(shift - before).T)
        converged = flux is not None and step.max() < SMALL_STEP
        flux = solution[:, : scene.n_stars]
        if converged:
            break
    gain = solve[:, 0]
    return ShiftFit(shift, flux, flux_error(gain * errors, gain * background_err), step, gain)


def why_unreliable(stamp, scene, shift, fit):
    """Why fitted shifts cannot be trusted, as a message; empty where they can.

    Parameters
    ----------
    stamp : Stamp with its sum image
    scene : Scene
    shift : (n_times, 2) array, pixels: column, row; by the pointing
    fit : ShiftFit
    """
    moving = np.mean(fit.step > LARGE_STEP)
    if moving > MAX_MOVING:
        return f"the fit of the shifts did not come to rest at {100 * moving:.0f} % of the times"
    pixels, errors, background_err = _data(stamp, scene)
    sigma = 1 / np.sqrt(np.maximum(pixel_weights(pixels, errors), np.finfo(float).tiny))
    fixed_gain = fit_fluxes(stamp, scene, fit.shift)[2]
    free, fixed = (np.linalg.norm(gain * sigma, axis=1) for gain in (fit.gain, fixed_gain))
    ratio = np.median(free[fixed > 0] / fixed[fixed > 0])
    if not ratio < MAX_ERROR_RATIO:
        return (
            f"the shift cannot be separated from the flux, whose error it makes {ratio:.1f} times "
            "larger"
        )
    pixels, errors, background_err = _data(mean_stamp(stamp), scene)
    faint = (1 - TEST_DEPTH) * (pixels + scene.fixed) - scene.fixed
    bright, dimmed = (
        fit_shifts(scene, np.zeros((1, 2)), images, errors, background_err).flux[0, 0]
        for images in (pixels, faint)
    )
    depth = (1 - dimmed / bright) / TEST_DEPTH
    if not abs(depth - 1) < MAX_DEPTH_ERROR:
        return (
            f"where the whole image dims by {TEST_DEPTH:.0%}, the fitted flux dims by {depth:.2f} "
            "of that"
        )
    return ""


def _slopes(scene, by_row, by_column, flux):
    """How the images change with a shift in row and column: (n_times, n_pixels, 2) array, e-/s per
    pixel.
    """
    reference = np.broadcast_to(np.median(flux, axis=0), flux.shape)
    slopes = [
        np.einsum("tps,ts->tp", scene.response(weights), reference)
        for weights in (by_row, by_column)
    ]
    return np.stack(slopes, axis=2)


def _data(stamp, scene):
    """The pixels that a scene uses, without the stars that are not fitted, and their errors:
    (n_times, n_pixels) arrays.
    """
    pixels = mask_pixels(stamp.flux, scene.used) - scene.fixed
    return pixels, *(
        mask_pixels(errors, scene.used) for errors in (stamp.flux_err, stamp.background_err)
    )


def to_extraction(method, stamp, scene, shift, flux, flux_err, errors=(), status=STATUS.OK):
    """The `Extraction` of a fit. Its mask is where the target gives more than 1 % of its flux to a
    pixel.

    Parameters
    ----------
    method : str, name of the method
    stamp : Stamp
    scene : Scene
    shift : (n_times, 2) array, pixels: column, row
    flux : (n_times, n_stars) array, e-/s
    flux_err : (n_times,) array, e-/s, of the target
    errors : tuple of str
    status : STATUS
    """
    fraction = np.zeros(stamp.shape)
    fraction[scene.used] = scene.mean_response[:, 0]
    mask = fraction > MIN_FRACTION
    if not mask.any():
        mask = fraction == fraction.max()
    quality = pixel_quality(mask_pixels(stamp.flux, mask), stamp.quality, stamp.mission)
    lost = (quality & NO_FLUX) != 0
    bad = lost | ((stamp.quality & BAD_FRAME) != 0)
    background = pixel_sum(mask_pixels(stamp.background, mask))
    background_err = pixel_sum(mask_pixels(stamp.background_err, mask))
    return Extraction(
        method=method,
        flux=np.where(bad, np.nan, flux[:, 0]),
        flux_err=np.where(bad, np.nan, flux_err),
        background=np.where(lost, np.nan, background),
        background_err=np.where(lost, np.nan, background_err),
        centroid=np.where(bad[:, None], np.nan, np.array([scene.column[0], scene.row[0]]) + shift),
        mask=mask,
        position_mask=mask,
        pixel_quality=quality,
        status=status,
        contamination=contamination_of_fit(scene, flux, mask) if stamp.has_catalog else np.nan,
        deblended=True,
        edge_flux=edge_flux(stamp.sumimage, mask),
        errors=errors,
    )


def contamination_of_fit(scene, flux, mask):
    """Fraction of the light in the target's pixels that the fit gives to other stars.

    Parameters
    ----------
    scene : Scene
    flux : (n_times, n_stars) array, e-/s
    mask : (n_rows, n_columns) bool array
    """
    light = scene.mean_response[mask[scene.used]].sum(axis=0) * np.clip(median(flux), 0, None)
    return float(1 - light[0] / light.sum()) if light.sum() > 0 else np.nan


def move_stars(stamp, offset, *, target_only=False):
    """The stamp with the stars of its catalogue elsewhere.

    Parameters
    ----------
    stamp : Stamp
    offset : (2,) array, pixels: column, row
    target_only : bool
    """
    catalog = stamp.catalog.copy()
    moved = (np.asarray(catalog["starid"]) == stamp.target.starid) | (not target_only)
    catalog["column"] = np.asarray(catalog["column"], float) + offset[0] * moved
    catalog["row"] = np.asarray(catalog["row"], float) + offset[1] * moved
    return dataclasses.replace(stamp, catalog=catalog)


def mean_stamp(stamp):
    """A stamp of one time: the sum image, with the median errors."""
    return dataclasses.replace(
        stamp,
        flux=stamp.sumimage[None],
        flux_err=median(stamp.flux_err)[None],
        background_err=median(stamp.background_err)[None],
    )


def with_reference_fluxes(scene, stamp):
    """The scene with the fluxes that its stars have in the sum image.

    Parameters
    ----------
    scene : Scene
    stamp : Stamp with its sum image, and the stars at the mean pointing
    """
    flux, _, _ = fit_fluxes(mean_stamp(stamp), scene, np.zeros((1, 2)))
    return dataclasses.replace(scene, reference_flux=flux[0])


def fit_offset(stamp, prf, shift, *, target_only=False):
    """How far stars are from where the catalogue has them, in the sum image.

    Gauss-Newton: the image is linear in the fluxes of the stars, and nearly so in the offset.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    prf : PRF
    shift : (2,) array, pixels: column, row; expected position of the stars against the catalogue
    target_only : bool; the offset of the target alone, or one of all stars together

    Returns
    -------
    offset : (2,) array, pixels: column, row; zeros where it could not be fitted
    fitted : bool
    """
    mean = mean_stamp(move_stars(stamp, shift))
    scene = make_scene(mean, prf, np.zeros((1, 2)), min_step=0.3)
    moving = np.arange(scene.n_stars) < (1 if target_only else scene.n_stars)
    pixels, errors, _ = _data(mean, scene)
    weight = pixel_weights(pixels, errors)
    still = scene.response(scene.weights(np.zeros((1, 2)))[0])
    offset = np.zeros(2)
    for _ in range(OFFSET_STEPS):
        value, by_row, by_column = scene.weights(offset[None])
        design = scene.with_constant(np.where(moving, scene.response(value), still))
        priors = scene.priors(design.shape[2])
        flux = fit_parameters(design, weight, pixels, *priors)[0][:, : scene.n_stars] * moving
        design = np.concatenate([design, _slopes(scene, by_row, by_column, flux)], axis=2)
        priors = scene.priors(design.shape[2])
        solution = fit_parameters(design, weight, pixels, *priors)[0][0]
        offset = offset + np.clip(solution[[-1, -2]], -0.3, 0.3)
        if not np.all(np.abs(offset) < MAX_OFFSET):
            return np.zeros(2), False
    return offset, True
