"""The stars of a stamp as a model that is linear in their fluxes, at all times at once.

At one time, the image is ``A @ f``: column ``s`` of ``A`` is the response of the pixels to one electron from star ``s``. The
stars move together, by fractions of a pixel, so ``A`` at any time follows from a grid of 5x5 responses around the mean
place: a polynomial of fourth degree in the movement, in row and column.
"""

import functools
from dataclasses import dataclass

import numpy as np

from ..errors import BadInputError
from ..pixels.quality import good_times
from .fittedprf import fit_prf
from .prf import open_prf

# Stars fainter than the target by more are not fitted, but removed with the flux of their magnitude (mag)
MAX_FAINTER, MAX_FAINTER_FAR = 5.0, 2.0  # within `NEAR` of the target, and farther away
NEAR = 5.0  # pixels
MIN_SEPARATION = 0.25  # pixels; stars closer to a brighter one than this cannot be told from it
FULL_WELL = 1e5  # e-/s; pixels near it have lost or gained charge
NODES = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
CATALOGUE_ERROR = 0.2  # of a star's flux, by its magnitude: less than the colours leave open, more than TIC 8 states
CLOSE = 1.0  # pixels
STEADY = 1e-3  # of their flux, what stars so close to the target may vary
FREE = 2.0  # mag; while the PRF is fitted, stars fainter than the target by more keep the shares of their magnitudes
TARGET_SHARE = 0.01  # of the target's flux in a pixel that counts as the target's


@dataclass(frozen=True)
class Scene:
    """The stars that are fitted, and how pixels respond to them. ``index`` 0 is the target."""

    row: np.ndarray  # (n_stars,) detector rows and columns at the mean pointing
    column: np.ndarray
    by_magnitude: np.ndarray  # (n_stars,) e-/s, flux that their magnitudes let expect
    responses: (
        np.ndarray
    )  # (25, n_pixels, n_stars): at row and column offsets of `NODES` times step each
    step: float  # pixels
    used: np.ndarray  # (n_rows, n_columns) bool, the pixels that are fitted
    fixed: np.ndarray  # (n_pixels,) e-/s, of faint stars that are not fitted
    # (n_stars,) e-/s, fluxes in the sum image; None: not fitted yet
    usual: np.ndarray | None = None

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

    def known(self, n_more=0):
        """What is known of the fluxes beforehand, and nothing of the target's or of ``n_more`` other parameters.

        The magnitudes tell them; without that, stars that lie within a pixel of each other could have any fluxes, as long as
        the sum is right. Of stars within a pixel of the target nobody can tell which one varies: once their fluxes in the
        sum image are fitted, they stay at these.

        Returns
        -------
        expected, certainty : (n_stars + n_more,) arrays, see `leastsquares.solver`
        """
        expected, error = self.by_magnitude.copy(), CATALOGUE_ERROR * self.by_magnitude
        if self.usual is not None:
            close = np.hypot(self.row - self.row[0], self.column - self.column[0]) < CLOSE
            expected[close], error[close] = self.usual[close], STEADY * self.by_magnitude[close]
        certainty = 1 / error**2
        certainty[0] = 0.0
        return np.append(expected, np.zeros(n_more)), np.append(certainty, np.zeros(n_more))

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
    shift : (n_times, 2) array, pixels, of all stars against their places in the catalogue
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
    flux = flux * _scale(together, stamp.sumimage[used])
    return Scene(
        row[fitted], column[fitted], flux[fitted], responses, step, used, faint @ flux[~fitted]
    )


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


def prf_for(stamp, folder, scatter=(0.0, 0.0)):
    """The PRF of a stamp: the mission's where there is a folder with its files, else one fitted to the sum image.

    Parameters
    ----------
    scatter : (2,) array, pixels: column, row; of the pointing while the sum image was made
    """
    if folder is not None and stamp.mission == "TESS":
        return _mission_prf(folder, stamp.camera, stamp.ccd, stamp.sector)
    stars = _stars(stamp)
    bright = stars["tmag"] <= stars["tmag"][0] + MAX_FAINTER
    used = usable_pixels(stamp)
    error = np.nanmedian(stamp.flux_err, axis=0)
    weight = np.where(used & (error > 0), 1 / np.where(error > 0, error, 1) ** 2, 0)
    rows, columns = (
        first + np.arange(size)
        for first, size in zip((stamp.row, stamp.column), stamp.shape, strict=True)
    )
    row, column = stars["row"][bright] + stamp.row, stars["column"][bright] + stamp.column
    smear = scatter[1], scatter[0]
    shares = _shares(stars["tmag"][bright])
    return fit_prf(np.nan_to_num(stamp.sumimage), weight, row, column, rows, columns, smear, shares)


def _shares(tmag):
    """Which stars are one in a fit: (n_stars, n_free) array. The target's magnitude is the first; fainter stars go together."""
    free = tmag <= tmag[0] + FREE
    shares = np.eye(len(tmag))[:, free]
    return (
        shares
        if free.all()
        else np.column_stack([shares, np.where(free, 0, 10 ** (-0.4 * (tmag - tmag[0])))])
    )


@functools.lru_cache(maxsize=4)
def _mission_prf(folder, camera, ccd, sector):
    """The PRF of a CCD; kept for the next target."""
    return open_prf(folder, camera, ccd, sector)


def usable_pixels(stamp):
    """(n_rows, n_columns) bool array: pixels with a value, below saturation."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(stamp.sumimage) & (stamp.sumimage < 0.9 * FULL_WELL)


def _stars(stamp):
    """Row, column, tmag of the stars, the target first; without those that a brighter star hides."""
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
        "tmag": np.where(np.isfinite(tmag), tmag, 20.0)[~hidden],
    }


def _is_fitted(stars):
    """Which stars are fitted; what the others add to the image follows from their magnitudes."""
    near = np.hypot(stars["row"] - stars["row"][0], stars["column"] - stars["column"][0]) <= NEAR
    return stars["tmag"] <= stars["tmag"][0] + np.where(near, MAX_FAINTER, MAX_FAINTER_FAR)


def _response(prf, stamp, used, row, column):
    """(n_pixels, n_stars) array"""
    rows, columns = stamp.row + np.arange(stamp.shape[0]), stamp.column + np.arange(stamp.shape[1])
    return prf.evaluate(row, column, rows, columns)[:, used].T


def _scale(light, image):
    """Flux of a star of magnitude 0 on this stamp, e-/s: how strong the stars' light together is in the sum image."""
    (scale, _), *_ = np.linalg.lstsq(
        np.column_stack([light, np.ones_like(light)]), image, rcond=None
    )
    return scale if scale > 0 else 10 ** (0.4 * 20.54)


def _lagrange(x):
    """The polynomials that are 1 at one of `NODES` and 0 at the others, and their slopes: two (n, 5) arrays."""
    value, slope = np.ones((2, len(x), len(NODES)))
    for i, node in enumerate(NODES):
        others = np.delete(NODES, i)
        polynomial = np.poly1d(others, r=True) / np.prod(node - others)
        value[:, i], slope[:, i] = polynomial(x), polynomial.deriv()(x)
    return value, slope
