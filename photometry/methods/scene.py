"""The stars of a stamp as a model that is linear in their fluxes, and its weighted least squares,
at all times at once.

At one time, the image is ``A @ f``: column ``s`` of the design matrix ``A`` is the response of the
pixels to one electron from star ``s``. The stars move together, by fractions of a pixel, so ``A``
at any time follows from a grid of 5x5 responses around the mean position: a polynomial of fourth
degree in the movement, in row and column.
"""

import functools
import warnings
from dataclasses import dataclass

import numpy as np

from ..catalog.ccd import target_position
from ..constants import MISSIONS
from ..errors import BadInputError
from ..pixels.stamp import good_times
from .pixelmask import UNKNOWN_TMAG
from .prf import fit_prf, open_prf

# Stars fainter than the target by more are not fitted, but removed with the flux of their magnitude
# (mag)
MAX_FAINTER, MAX_FAINTER_FAR = 5.0, 2.0  # within `NEAR` of the target, and farther away
NEAR = 5.0  # pixels
MIN_SEPARATION = (
    0.25  # pixels; stars closer to a brighter one than this cannot be separated from it
)
FULL = 0.9  # of the full well; pixels above have lost or gained charge
# of the largest eigenvalue of the scaled normal matrix; below, stars cannot be separated
DEGENERATE = 1e-9
# pixels without much of the target's light, by their distance from it, and how many a residual
# background needs
SKY_DISTANCE, MIN_SKY = 4.0, 50
NODES = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
# of a star's flux, by its magnitude: less than the colours leave open, more than TIC 8 states
CATALOGUE_ERROR = 0.2
CLOSE = 1.0  # pixels
STEADY = 1e-3  # of their flux, what stars so close to the target may vary
# mag; while the PRF is fitted, the fluxes of stars fainter than the target by more are tied by
# their magnitudes
FREE = 2.0
MIN_FRACTION = 0.01  # of the target's flux in a pixel that counts as the target's


@dataclass(frozen=True)
class Scene:
    """The stars that are fitted, and how pixels respond to them. ``index`` 0 is the target."""

    row: np.ndarray  # (n_stars,) detector rows and columns at the mean pointing
    column: np.ndarray
    by_magnitude: np.ndarray  # (n_stars,) e-/s, flux that their magnitudes let expect
    # (25, n_pixels, n_stars): at row and column offsets of `NODES` times step each
    responses: np.ndarray
    step: float  # pixels
    used: np.ndarray  # (n_rows, n_columns) bool, the pixels that are fitted
    fixed: np.ndarray  # (n_pixels,) e-/s, of faint stars that are not fitted
    constant: bool  # whether a residual background is fitted
    # (n_stars,) e-/s, fluxes in the sum image; None: not fitted yet
    reference_flux: np.ndarray | None = None

    def weights(self, shift):
        """How much each of the responses counts at a movement.

        Parameters
        ----------
        shift : (n_times, 2) array, pixels: column, row (the order of `Stamp.pos_corr`)

        Returns
        -------
        (n_times, 25) array, and its derivatives by row and by column, likewise
        """
        in_row, slope_row = _lagrange(shift[:, 1] / self.step)
        in_column, slope_column = _lagrange(shift[:, 0] / self.step)
        value, by_row, by_column = (
            np.einsum("ti,tj->tij", a, b).reshape(len(shift), -1)
            for a, b in ((in_row, in_column), (slope_row, in_column), (in_row, slope_column))
        )
        return value, by_row / self.step, by_column / self.step

    def response(self, weights):
        """The response of the pixels for rows of weights, (n_times, n_pixels, n_stars) array."""
        return np.tensordot(weights, self.responses, 1)

    def design(self, weights):
        """The design matrix for rows of weights, (n_times, n_pixels, n_stars + 1 with the residual
        background) array.
        """
        return self.with_constant(self.response(weights))

    def with_constant(self, response):
        """A design matrix with a constant, the same in all pixels, where a residual background is
        fitted.
        """
        if not self.constant:
            return response
        return np.concatenate([response, np.ones((*response.shape[:2], 1))], axis=2)

    def priors(self, n_parameters):
        """Prior means and inverse variances of the fluxes; none for the target's and for other
        parameters.

        They follow from the magnitudes; without that, stars that lie within a pixel of each other
        could have any fluxes, as long as the sum is right. Which of the stars within a pixel of the
        target varies cannot be known: once their fluxes in the sum image are fitted, they stay at
        these.

        Parameters
        ----------
        n_parameters : int, columns of the design matrix

        Returns
        -------
        prior_mean, inverse_variance : (n_parameters,) arrays, see `solver`
        """
        mean, error = self.by_magnitude.copy(), CATALOGUE_ERROR * self.by_magnitude
        if self.reference_flux is not None:
            close = np.hypot(self.row - self.row[0], self.column - self.column[0]) < CLOSE
            mean[close], error[close] = (
                self.reference_flux[close],
                STEADY * self.by_magnitude[close],
            )
        inverse_variance = 1 / error**2
        inverse_variance[0] = 0.0
        no_prior = np.zeros(n_parameters - len(mean))
        return np.append(mean, no_prior), np.append(inverse_variance, no_prior)

    @property
    def n_stars(self):
        """Number of stars that are fitted."""
        return len(self.row)

    @property
    def mean_response(self):
        """(n_pixels, n_stars) array, without movement"""
        return self.responses[len(self.responses) // 2]


def make_scene(stamp, prf, shift, *, min_step=0.1):
    """The stars on and near a stamp.

    Parameters
    ----------
    stamp : Stamp with its stars and its sum image
    prf : PRF
    shift : (n_times, 2) array, pixels, of all stars against their positions in the catalogue
    min_step : float, pixels; movements up to this size are well described

    Returns
    -------
    Scene

    Raises
    ------
    BadInputError : no pixel of the stamp can be used
    """
    stars = _stars(stamp)
    fitted = _is_fitted(stars)
    used = usable_pixels(stamp)
    if not used.any():
        raise BadInputError(
            f"{stamp.path}: no pixel of the stamp is below saturation; use method 'halo'"
        )
    step = max(min_step, 1.2 * float(np.nanpercentile(np.abs(shift), 99)))
    offsets = step * np.array([(dy, dx) for dy in NODES for dx in NODES])
    row, column = stars["row"] + stamp.row, stars["column"] + stamp.column
    responses = np.array(
        [_response(prf, stamp, used, row[fitted] + dy, column[fitted] + dx) for dy, dx in offsets]
    )
    faint = _response(prf, stamp, used, row[~fitted], column[~fitted])
    flux = 10 ** (-0.4 * stars["tmag"])
    together = responses[len(offsets) // 2] @ flux[fitted] + faint @ flux[~fitted]
    flux = flux * _scale(together, stamp.sumimage[used], stamp.mission)
    return Scene(
        row=row[fitted],
        column=column[fitted],
        by_magnitude=flux[fitted],
        responses=responses,
        step=step,
        used=used,
        fixed=faint @ flux[~fitted],
        constant=has_sky(stamp, used),
    )


def has_sky(stamp, used):
    """Whether so many pixels lie far from the target that a residual background can be separated
    from its wings.

    Parameters
    ----------
    stamp : Stamp with its stars
    used : (n_rows, n_columns) bool array, the pixels that are fitted
    """
    row, column = target_position(stamp)
    rows, columns = np.nonzero(used)
    return np.sum(np.hypot(rows - row, columns - column) > SKY_DISTANCE) >= MIN_SKY


def pointing(stamp, bitmask=None):
    """Where the stars are against the catalogue, as far as the pointing is known.

    Returns
    -------
    shift : (n_times, 2) array, pixels: column, row
    mean, scatter : (2,) arrays, likewise, over the times that the sum image is the mean of
    """
    shift = np.nan_to_num(stamp.pos_corr)
    good = good_times(stamp, bitmask)
    in_sum = shift[good] if good.any() else shift
    return shift, in_sum.mean(axis=0), in_sum.std(axis=0)


def prf_for(stamp, folder, mean=(0.0, 0.0), scatter=(0.0, 0.0)):
    """The PRF of a stamp: the mission's where there is a folder with its files, else one fitted to
    the sum image.

    Parameters
    ----------
    stamp : Stamp with its stars and its sum image
    folder : folder with the mission's PRF files, or None
    mean, scatter : (2,) arrays, pixels: column, row; of the pointing while the sum image was made
    """
    if folder is not None and stamp.mission == "TESS":
        return _mission_prf(folder, stamp.camera, stamp.ccd, stamp.sector)
    stars = _stars(stamp)
    bright = stars["tmag"] <= stars["tmag"][0] + MAX_FAINTER
    used = usable_pixels(stamp)
    weight = used * pixel_weights(stamp.sumimage[None], median(stamp.flux_err)[None])[0]
    rows, columns = (
        first + np.arange(size)
        for first, size in zip((stamp.row, stamp.column), stamp.shape, strict=True)
    )
    return fit_prf(
        np.nan_to_num(stamp.sumimage),
        weight,
        stars["row"][bright] + stamp.row + mean[1],
        stars["column"][bright] + stamp.column + mean[0],
        rows,
        columns,
        smear=(scatter[1], scatter[0]),
        flux_ratios=_flux_ratios(stars["tmag"][bright]),
        constant=has_sky(stamp, used),
    )


def _flux_ratios(tmag):
    """Which stars are one in a fit: (n_stars, n_free) array. The target's magnitude is the first;
    fainter stars go together.
    """
    free = tmag <= tmag[0] + FREE
    ratios = np.eye(len(tmag))[:, free]
    if free.all():
        return ratios
    return np.column_stack([ratios, np.where(free, 0, 10 ** (-0.4 * (tmag - tmag[0])))])


@functools.lru_cache(maxsize=4)
def _mission_prf(folder, camera, ccd, sector):
    """The PRF of a CCD; kept for the next target."""
    return open_prf(folder, camera, ccd, sector)


def usable_pixels(stamp):
    """(n_rows, n_columns) bool array: pixels with a value, below saturation."""
    limit = FULL * MISSIONS[stamp.mission].full_well
    with np.errstate(invalid="ignore"):
        return np.isfinite(stamp.sumimage) & (stamp.sumimage < limit)


def _stars(stamp):
    """Row, column, tmag of the stars, the target first; without those hidden by a brighter one."""
    table = stamp.catalog
    is_target = np.asarray(table["starid"]) == stamp.target.starid
    order = np.lexsort([np.asarray(table["tmag"]), ~is_target])
    row, column, tmag = (
        np.asarray(table[name], dtype=float)[order] for name in ("row", "column", "tmag")
    )
    distance = np.hypot(row[:, None] - row, column[:, None] - column)
    hidden = np.tril(distance < MIN_SEPARATION, -1).any(axis=1)
    return {
        "row": row[~hidden],
        "column": column[~hidden],
        "tmag": np.where(np.isfinite(tmag), tmag, UNKNOWN_TMAG)[~hidden],
    }


def _is_fitted(stars):
    """Which stars are fitted; what the others add to the image follows from their magnitudes."""
    near = np.hypot(stars["row"] - stars["row"][0], stars["column"] - stars["column"][0]) <= NEAR
    return stars["tmag"] <= stars["tmag"][0] + np.where(near, MAX_FAINTER, MAX_FAINTER_FAR)


def _response(prf, stamp, used, row, column):
    """(n_pixels, n_stars) array"""
    rows, columns = stamp.row + np.arange(stamp.shape[0]), stamp.column + np.arange(stamp.shape[1])
    return prf.evaluate(row, column, rows, columns)[:, used].T


def _scale(light, image, mission):
    """Flux of a star of magnitude 0 on this stamp, e-/s: how strong the stars' light together is in
    the sum image.
    """
    design = np.column_stack([light, np.ones_like(light)])
    (scale, _), *_ = np.linalg.lstsq(design, image, rcond=None)
    return scale if scale > 0 else 10 ** (0.4 * MISSIONS[mission].zero_point)


def _lagrange(x):
    """The polynomials that are 1 at one of `NODES` and 0 at the others, and their slopes: two (n,
    5) arrays.
    """
    value, slope = np.ones((2, len(x), len(NODES)))
    for i, node in enumerate(NODES):
        others = np.delete(NODES, i)
        polynomial = np.poly1d(others, r=True) / np.prod(node - others)
        value[:, i], slope[:, i] = polynomial(x), polynomial.deriv()(x)
    return value, slope


def pixel_weights(pixels, errors):
    """Weights of pixels, 1 / error^2 with the median error of each: errors at one time follow its
    noise and would bias.

    Parameters
    ----------
    pixels, errors : (n_times, n_pixels) arrays, e-/s

    Returns
    -------
    (n_times, n_pixels) array, zero where a pixel has no value
    """
    sigma = median(errors)
    positive = sigma > 0
    sigma = np.where(positive, sigma, np.median(sigma[positive]) if positive.any() else 1.0)
    return np.isfinite(pixels) / sigma**2


def median(values):
    """Median over the first axis; NaN where there is no value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # slices without any value
        return np.nanmedian(values, axis=0)


def fit_parameters(design, weight, pixels, prior_mean=0.0, inverse_variance=None):
    """The parameters at every time.

    Parameters
    ----------
    design : (n_times, n_pixels, n_parameters) array
    weight, pixels : (n_times, n_pixels) arrays; pixels without weight may be NaN
    prior_mean, inverse_variance : (n_parameters,) arrays, prior of the parameters, see `solver`

    Returns
    -------
    parameters : (n_times, n_parameters) array
    solve : (n_times, n_parameters, n_pixels) array, what each pixel adds to each parameter
    """
    solve = solver(design, weight, inverse_variance)
    prior_mean = np.broadcast_to(prior_mean, design.shape[2])
    residual = np.nan_to_num(pixels - design @ prior_mean)
    return prior_mean + np.einsum("tsp,tp->ts", solve, residual), solve


def solver(design, weight, inverse_variance=None):
    """The matrices that take pixels to parameters: (A^T W A + P)^-1 A^T W, for every time.

    Parameters that no pixel can separate divide the flux between them (the pseudo-inverse),
    parameters without any pixel get 0.

    Parameters
    ----------
    design : (n_times, n_pixels, n_parameters) array, A
    weight : (n_times, n_pixels) array, the diagonal of W
    inverse_variance : (n_parameters,) array, the diagonal of P: 1 / variance of each parameter's
        prior, whose mean the pixels then are relative to; 0: no prior

    Returns
    -------
    (n_times, n_parameters, n_pixels) array
    """
    weighted = np.swapaxes(design * weight[:, :, None], 1, 2)
    normal = weighted @ design
    if inverse_variance is not None:
        normal += np.diag(inverse_variance)
    # parameters may differ by powers of ten: fluxes, and shifts in pixels
    size = np.sqrt(np.einsum("tss->ts", normal))
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    scaled = normal * scale[:, :, None] * scale[:, None, :]
    return (
        np.linalg.pinv(scaled, rcond=DEGENERATE, hermitian=True)
        * scale[:, None, :]
        * scale[:, :, None]
        @ weighted
    )
