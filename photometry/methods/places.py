"""Where stars are in the sum image, against the catalogue: the mean pointing, and the place of the target alone."""

import dataclasses

import numpy as np

from .leastsquares import fit_parameters, pixel_weights, with_sky
from .psfmodel import make_scene
from .sums import inside

STEPS = 5
MAX_OFFSET = 0.6  # pixels; farther from the catalogue it is another star, or none


def mean_stamp(stamp):
    """A stamp of one time: the sum image, with the usual errors."""
    return dataclasses.replace(
        stamp,
        flux=stamp.sumimage[None],
        flux_err=np.nanmedian(stamp.flux_err, axis=0)[None],
        background_err=np.nanmedian(stamp.background_err, axis=0)[None],
    )


def with_usual_fluxes(scene, stamp, shift):
    """The scene with the fluxes that its stars have in the sum image.

    Parameters
    ----------
    scene : Scene
    stamp : Stamp with its sum image
    shift : (2,) array, pixels: column, row; where the stars are in the sum image, against the catalogue
    """
    mean = mean_stamp(stamp)
    pixels = inside(mean.flux, scene.used) - scene.fixed
    weight = pixel_weights(pixels, inside(mean.flux_err, scene.used))
    response = with_sky(scene.response(scene.weights(shift[None])[0]))
    (found,), _ = fit_parameters(response, weight, pixels, *scene.known(1))
    return dataclasses.replace(scene, usual=found[:-1])


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
    pixels = inside(mean.flux, scene.used) - scene.fixed
    weight = pixel_weights(pixels, inside(mean.flux_err, scene.used))
    place = shift.astype(float)
    for _ in range(STEPS):
        place = place + _step(scene, moving, place, shift, pixels, weight)
        if not np.all(np.abs(place - shift) < MAX_OFFSET):
            return np.zeros(2), False
    return place - shift, True


def _step(scene, moving, place, shift, pixels, weight):
    """What to add to the place of the moving stars: (2,) array, column, row."""
    value, by_row, by_column = scene.weights(place[None])
    still = scene.weights(shift[None])[0]
    response = np.where(moving, scene.response(value), scene.response(still))
    response = with_sky(response)
    flux = fit_parameters(response, weight, pixels, *scene.known(1))[0][0, :-1] * moving
    slopes = np.stack(
        [scene.response(weights)[0] @ flux for weights in (by_row, by_column)], axis=1
    )
    parts = np.concatenate([response, slopes[None]], axis=2)
    found = fit_parameters(parts, weight, pixels, *scene.known(3))[0][0]
    return np.clip(found[[-1, -2]], -0.3, 0.3)
