"""PSF photometry: fluxes and places are fitted.

First the target's own place is fitted in the sum image, then, at every time, the fluxes of all stars and one shift of all of
them together. The model is linear in the fluxes and nearly so in the shift: a few steps of Gauss-Newton, for all times
at once.
"""

import dataclasses

import numpy as np

from ..status import STATUS
from .leastsquares import fit_parameters, parameter_error, pixel_weights, with_sky
from .linpsf import describe
from .places import fit_offset, with_usual_fluxes
from .psfmodel import make_scene, pointing, prf_for
from .sums import inside

STEPS = 4


def psf(stamp, settings):
    """PSF photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction; with status WARNING where the target's place could not be fitted and that of the catalogue was used

    Raises
    ------
    BadInputError : no pixel of the stamp can be used
    """
    shift, mean, scatter = pointing(stamp, settings.good_quality)
    prf = prf_for(stamp, settings.psf.prf, scatter)
    offset, _ = fit_offset(stamp, prf, mean)
    stamp, moved = move_target(stamp, prf, mean + offset)
    shift = shift + offset
    scene = with_usual_fluxes(make_scene(stamp, prf, shift, min_step=0.3), stamp, mean + offset)
    shift, flux, flux_err = fit(stamp, scene, shift)
    sentence = "the target's place could not be fitted, that of the catalogue was used"
    errors, status = ((), STATUS.OK) if moved else ((sentence,), STATUS.WARNING)
    return describe("psf", stamp, scene, shift, flux, flux_err, errors, status)


def fit(stamp, scene, shift):
    """Fluxes of all stars and their common shift, at all times.

    Returns
    -------
    shift : (n_times, 2) array, pixels: column, row
    flux : (n_times, n_stars) array, e-/s
    flux_err : (n_times,) array, e-/s, of the target; the uncertainty of the shift is in it
    """
    pixels = inside(stamp.flux, scene.used) - scene.fixed
    errors = inside(stamp.flux_err, scene.used)
    weight = pixel_weights(pixels, errors)
    shift = shift.copy()
    flux = None
    for _ in range(STEPS):
        response, slopes = _linearised(scene, shift, flux)
        parts = with_sky(response)
        parts = parts if slopes is None else np.concatenate([parts, slopes], axis=2)
        found, solve = fit_parameters(
            parts, weight, pixels, *scene.known(1 if slopes is None else 3)
        )
        flux = found[:, : response.shape[2]]
        if slopes is not None:
            step = np.clip(found[:, -2:][:, ::-1], -0.2, 0.2)  # the fit has row, column
            shift = np.clip(shift + step, -1.5 * scene.step, 1.5 * scene.step)
    return (
        shift,
        flux,
        parameter_error(solve[:, 0], errors, inside(stamp.background_err, scene.used)),
    )


def _linearised(scene, shift, flux):
    """Responses at a shift, and how the image changes with it in row and column (None as long as no flux is known)."""
    value, by_row, by_column = scene.weights(shift)
    response = scene.response(value)
    if flux is None:
        return response, None
    usual = np.broadcast_to(np.median(flux, axis=0), flux.shape)
    changes = [
        np.einsum("tps,ts->tp", scene.response(weights), usual) for weights in (by_row, by_column)
    ]
    return response, np.stack(changes, axis=2)


def move_target(stamp, prf, shift):
    """The stamp with the target where the sum image shows it.

    Parameters
    ----------
    shift : (2,) array, pixels: column, row; of all stars against the catalogue

    Returns
    -------
    stamp : Stamp
    moved : bool, False where that place could not be fitted
    """
    offset, moved = fit_offset(stamp, prf, shift, target_only=True)
    catalog = stamp.catalog.copy()
    (index,) = np.flatnonzero(catalog["starid"] == stamp.target.starid)
    catalog["column"][index] += offset[0]
    catalog["row"][index] += offset[1]
    return dataclasses.replace(stamp, catalog=catalog), moved


psf.fixed_stamp = True
