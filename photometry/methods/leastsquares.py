"""Weighted linear least squares for many times at once, with what is known of the parameters beforehand."""

import numpy as np

# of the largest eigenvalue of the scaled normal matrix; below, stars cannot be told apart
DEGENERATE = 1e-9


def pixel_weights(pixels, errors):
    """Weights of pixels, 1 / error^2 with the usual error of each: errors at one time follow its noise and would bias.

    Zero where a pixel has no value.

    Parameters
    ----------
    pixels, errors : (n_times, n_pixels) arrays, e-/s

    Returns
    -------
    (n_times, n_pixels) array
    """
    usual = np.nanmedian(errors, axis=0)
    known = usual > 0
    usual = np.where(known, usual, np.median(usual[known]) if known.any() else 1.0)
    return np.isfinite(pixels) / usual**2


def with_sky(response):
    """The responses with one more, the same in all pixels: what the background was missed by."""
    return np.concatenate([response, np.ones((*response.shape[:2], 1))], axis=2)


def fit_parameters(response, weight, pixels, expected=0.0, certainty=None):
    """The parameters at every time.

    Parameters
    ----------
    response : (n_times, n_pixels, n_parameters) array
    weight, pixels : (n_times, n_pixels) arrays; pixels without weight may be NaN
    expected, certainty : (n_parameters,) arrays, what is known of the parameters beforehand, see `solver`

    Returns
    -------
    parameters : (n_times, n_parameters) array
    solve : (n_times, n_parameters, n_pixels) array, what each pixel adds to each parameter
    """
    solve = solver(response, weight, certainty)
    expected = np.broadcast_to(expected, response.shape[2])
    left = np.nan_to_num(pixels - response @ expected)
    return expected + np.einsum("tsp,tp->ts", solve, left), solve


def solver(response, weight, certainty=None):
    """The matrices that take pixels to parameters: (A^T W A + P)^-1 A^T W, for every time.

    Parameters that no pixel tells apart share what there is (the pseudo-inverse), parameters without any pixel get 0.

    Parameters
    ----------
    response : (n_times, n_pixels, n_parameters) array, A
    weight : (n_times, n_pixels) array, the diagonal of W
    certainty : (n_parameters,) array, the diagonal of P: 1 / variance of what is known of each parameter beforehand, which
        the pixels then are relative to; 0: nothing is known

    Returns
    -------
    (n_times, n_parameters, n_pixels) array
    """
    weighted = np.swapaxes(response * weight[:, :, None], 1, 2)
    normal = weighted @ response
    if certainty is not None:
        normal += np.diag(certainty)
    size = np.sqrt(
        np.einsum("tss->ts", normal)
    )  # parameters may differ by powers of ten: fluxes, and shifts in pixels
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    scaled = normal * scale[:, :, None] * scale[:, None, :]
    return (
        np.linalg.pinv(scaled, rcond=DEGENERATE, hermitian=True)
        * scale[:, None, :]
        * scale[:, :, None]
        @ weighted
    )


def parameter_error(solve, errors, background_err):
    """Error of one parameter: pixels err on their own, the background of all of them together.

    Parameters
    ----------
    solve : (n_times, n_pixels) array, what each pixel adds to the parameter
    errors, background_err : (n_times, n_pixels) arrays, e-/s

    Returns
    -------
    (n_times,) array
    """
    independent = np.nansum((solve * errors) ** 2, axis=1)
    return np.sqrt(independent + np.nansum(solve * background_err, axis=1) ** 2)
