"""Linear PSF photometry: the fluxes of all stars of a stamp at known places, by least squares, for all times at once.

The places are those of the catalogue, moved by the pointing, whose mean is fitted to the sum image. What is left is
linear in the fluxes and in a constant, what the background was missed by: weighted least squares, whose normal equations
are solved for every time. The errors follow from its covariance. The magnitudes of the target's neighbours count as
measurements too (to 20 %), because the pixels alone cannot tell apart stars that lie within one of them.
"""

import numpy as np

from ..pixels.quality import BAD_FRAME
from ..status import STATUS
from .aperture import edge_flux
from .extraction import Extraction
from .leastsquares import fit_parameters, parameter_error, pixel_weights, with_sky
from .places import fit_offset, with_usual_fluxes
from .psfmodel import TARGET_SHARE, make_scene, pointing, prf_for
from .sums import NO_FLUX, inside, judge_pixels


def linpsf(stamp, settings):
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
    scene = with_usual_fluxes(make_scene(stamp, prf, shift), stamp, mean + offset)
    flux, flux_err = fit_fluxes(stamp, scene, shift)
    return describe("linpsf", stamp, scene, shift, flux, flux_err)


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
    response = with_sky(scene.response(scene.weights(shift)[0]))
    pixels = inside(stamp.flux, scene.used) - scene.fixed
    errors = inside(stamp.flux_err, scene.used)
    weight = pixel_weights(pixels, errors)
    flux, solve = fit_parameters(response, weight, pixels, *scene.known(1))
    return flux[:, :-1], parameter_error(
        solve[:, 0], errors, inside(stamp.background_err, scene.used)
    )


def describe(method, stamp, scene, shift, flux, flux_err, errors=(), status=STATUS.OK):
    """The `Extraction` of a fit. Its mask is where the target gives more than 1 % of its flux to a pixel."""
    shares = np.zeros(stamp.shape)
    shares[scene.used] = scene.mean_response[:, 0]
    mask = shares > TARGET_SHARE
    if not mask.any():
        mask = shares == shares.max()
    pixel_quality = judge_pixels(inside(stamp.flux, mask), stamp.quality, stamp.mission)
    lost = (pixel_quality & NO_FLUX) != 0
    bad = lost | ((stamp.quality & BAD_FRAME.bit) != 0)
    background = np.nansum(inside(stamp.background, mask), axis=1)
    background_err = np.nansum(inside(stamp.background_err, mask), axis=1)
    return Extraction(
        method=method,
        flux=np.where(bad, np.nan, flux[:, 0]),
        flux_err=np.where(bad, np.nan, flux_err),
        background=np.where(lost, np.nan, background),
        background_err=np.where(lost, np.nan, background_err),
        centroid=np.array([scene.column[0], scene.row[0]]) + shift,
        mask=mask,
        position_mask=mask,
        pixel_quality=pixel_quality,
        status=status,
        contamination=foreign_share(scene, flux, mask),
        edge_flux=edge_flux(stamp.sumimage, mask),
        errors=errors,
    )


def foreign_share(scene, flux, mask):
    """Share of the light in the target's pixels that the fit gives to other stars."""
    usual = np.clip(np.nanmedian(flux, axis=0), 0, None)
    light = scene.mean_response[mask[scene.used]].sum(axis=0) * usual
    return float(1 - light[0] / light.sum()) if light.sum() > 0 else np.nan


linpsf.fixed_stamp = True
