"""A pixel response for CCDs whose PRF files are not at hand: the analytic one, stretched until it fits the stars of a stamp."""

import numpy as np
from scipy.special import erf

from .prf import PRF, TESS_LIKE

LIMITS = (0.5, 3.0)  # of the stretch
ROUNDS = 20


class StretchedPRF(PRF):
    """Sum of Gaussians integrated over each pixel, with widths of their own in row and column.

    Parameters
    ----------
    stretch : (row, column), factors on the widths of `prf.TESS_LIKE`
    smear : (row, column), pixels, standard deviation of a motion that the image is a mean over
    """

    def __init__(self, stretch, smear=(0.0, 0.0)):
        self.fractions, self.sigmas = np.array(TESS_LIKE).T
        self.stretch = tuple(stretch)
        self.smear = tuple(smear)

    def evaluate(self, row, column, rows, columns):
        in_row = self._along(row, rows, self.stretch[0], self.smear[0])
        in_column = self._along(column, columns, self.stretch[1], self.smear[1])
        return np.einsum("k,k...i,k...j->...ij", self.fractions, in_row, in_column, optimize=True)

    def _along(self, star, pixels, stretch, smear):
        """Fraction of each Gaussian in each pixel of one axis, shape (n_gaussians,) + S + (n_pixels,)."""
        star = np.asarray(star, dtype=float)[..., None]
        edges = np.concatenate([pixels - 0.5, pixels[..., -1:] + 0.5], axis=-1)
        sigma = np.hypot(stretch * self.sigmas, smear)[(...,) + (None,) * star.ndim]
        return 0.5 * np.diff(erf((edges - star) / (np.sqrt(2) * sigma)), axis=-1)


def fit_prf(image, weight, row, column, rows, columns, smear=(0.0, 0.0), shares=None):
    """The stretched PRF that leaves least of an image, the fluxes of its stars being free.

    Parameters
    ----------
    image, weight : (n_rows, n_columns) arrays; weight 0 where a pixel is not to be used
    row, column : (n_stars,) arrays, places of the stars
    rows, columns : (n_rows,) and (n_columns,) arrays, numbers of the pixels
    smear : (row, column), pixels, standard deviation of the motion during the times that the image is the mean of
    shares : (n_stars, n_free) array, fluxes of the stars in each of the fluxes that are free; default: each on its own

    Returns
    -------
    StretchedPRF; not stretched where the image does not say
    """
    from scipy.optimize import least_squares

    used = weight > 0
    shares = np.eye(len(row)) if shares is None else shares
    if used.sum() <= shares.shape[1] + 2:
        return StretchedPRF((1.0, 1.0))
    scale = np.sqrt(weight[used])

    def left(log_stretch):
        """What the stars do not explain of the weighted pixels"""
        # and a constant: what the background was missed by
        stars = (
            StretchedPRF(np.exp(log_stretch), smear).evaluate(row, column, rows, columns)[:, used].T
        )
        response = np.column_stack([stars @ shares * scale[:, None], scale])
        flux = np.linalg.lstsq(response, image[used] * scale, rcond=None)[0]
        return image[used] * scale - response @ flux

    found = least_squares(
        left, [0.0, 0.0], bounds=np.log(LIMITS), x_scale=0.1, diff_step=1e-4, max_nfev=ROUNDS
    )
    return StretchedPRF(np.exp(found.x))
