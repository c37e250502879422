"""Method ``roll`` of `correct`: K2's spacecraft rolls, and its stars cross the same pixels again
and again.

The flux is modelled as the star's variation plus what its position on the pixels explains:

- polynomials of the arc length along the path of its image (Vanderburg & Johnson 2014, PASP 126,
  948), whose coefficients change slowly with time (Aigrain et al. 2016, MNRAS 459, 2408);
- the fraction of the light in each pixel near the star, where the target pixel file is there
  and this lowers the noise (Deming et al. 2015, ApJ 805, 132; Luger et al. 2016, AJ 152, 100).

The star is a Gaussian process of sines (`photometry.lightcurve.cotrend.fit`), fitted together with
the position's weights. How large these may be is estimated from the light curve itself (MacKay
1992, Neural Computation 4, 415), so that a star that does not feel the roll stays as it is.
"""

import numpy as np

from ..constants import MAD_TO_SIGMA
from ..errors import BadInputError
from ..fitsfile import open_fits
from .cotrend import Prior, fit, model, remove
from .detrend import NOISE_HOURS

ORDER = 3  # of the polynomials of the arc length
PATH_ORDER = 5  # of the polynomial that the path of the image is (Vanderburg & Johnson 2014)
KNOTS = 10.0  # d, between which their coefficients change
SHORTEST = 1.0  # d, period of the star's variation in the model; the roll's is a quarter
MIN_SAMPLES = 100
ROUNDS = 8  # of estimating how large the weights are
SAME_TIME = 1e-4  # d; times of one exposure agree to rounding
CORE = 2.0  # pixels from the brightest
# of other stars' light in the mask: with more, a transit changes the fractions of the pixels
MAX_CONTAMINATION = 0.1
MORE_NOISE = 1.02  # of a sample, with pixels: with more, they follow the star's own dips
FAR = 8.0  # robust standard deviations of a position that does not shape the path


def roll(lc, *, pixels=None):
    """Take out what the roll of K2's spacecraft does to a star.

    Parameters
    ----------
    lc : light curve of good samples, e-/s, whose metadata say ``path``, ``mission``,
        ``pos_corr`` and ``centroid`` (n, 2) [pixels]; with pixels ``mask`` (n_rows, n_columns)
        and ``contamination``
    pixels : path of the star's target pixel file; None: positions alone

    Returns
    -------
    fluxes : (n,) array, relative, about 1; NaN where the position is not known
    uncertainties : (n,) array, those of the fit included
    cards : list of (keyword, value, comment)

    Raises
    ------
    BadInputError : not of K2, or too few samples with a position
    """
    star = lc.metadata
    if star["mission"] != "K2":
        raise BadInputError(
            f"{star['path']}: of {star['mission']}; the method roll is for K2 alone, whose "
            "spacecraft rolls; take --method cotrend or biweight"
        )
    if _position(star) is None:
        raise BadInputError(
            f"{star['path']}: no position in POS_CORR1, POS_CORR2 or MOM_CENTR1, MOM_CENTR2 at "
            "more than half of its good samples; the method roll needs it"
        )
    position, source = _position(star)
    removed, *tried = _unrolled(lc, position, None)
    n_pixels = 0
    if pixels is not None and not star.get("contamination", np.nan) > MAX_CONTAMINATION:
        fractions = pixel_fractions(pixels, lc.get_times(), star.get("mask"))
        if fractions is not None:
            with_pixels, *others = _unrolled(lc, position, fractions)
            quieter = with_pixels.after < removed.after
            if quieter and with_pixels.rise <= MORE_NOISE * removed.rise:
                removed, tried, n_pixels = with_pixels, others, fractions.shape[1]
    vectors, flux, size = tried
    cards = [
        ("CTNVEC", len(vectors), "number of vectors of the position"),
        ("CTPOS", source, "position of the image"),
        ("CTPIX", n_pixels, "pixels used; 0: positions alone"),
        ("CTSIZE", float(np.sqrt(size)), "size of the weights, from the light curve"),
        *removed.cards(vectors, flux),
    ]
    return removed.fluxes, removed.uncertainties, cards


def _unrolled(lc, position, fractions):
    """Removed, vectors, (n_known,) relative flux about 0, size of the weights."""
    known = np.isfinite(position).all(axis=1) & np.isfinite(lc.fluxes)
    if fractions is not None:
        known &= np.isfinite(fractions).all(axis=1)
    if known.sum() < MIN_SAMPLES:
        raise BadInputError(
            f"{lc.metadata['path']}: {known.sum()} good samples with a position; the method roll "
            f"needs {MIN_SAMPLES}"
        )
    times, level = lc.get_times()[known], float(np.median(lc.fluxes))
    groups = [arc_vectors(times, arc_length(position[known]))]
    if fractions is not None:
        groups.append(fractions[known].T)
    flux = lc.fluxes[known] / level
    vectors, fitted, size = fit_groups(groups, times, flux - 1)

    def corrected(part):
        trend, error = model(part, vectors)
        fluxes, errors = np.full((2, len(known)), np.nan)
        fluxes[known] = flux / (1 + trend[0])
        errors[known] = np.hypot(lc.uncertainties[known] / level, error[0])
        return fluxes / np.nanmedian(fluxes), errors

    removed = remove(lc.get_times(), lc.fluxes / level, fitted, corrected, NOISE_HOURS)
    return removed, vectors, flux - 1, size


def can_unroll(star):
    """Whether a light curve, by its metadata, is one that `roll` corrects."""
    return star["mission"] == "K2" and _position(star) is not None


def _position(star):
    """(n, 2) array of positions, pixels, and which: POS_CORR, of many stars, where it is known.

    None where neither is known at more than half of the samples.
    """
    for position, column in ((star["pos_corr"], "POS_CORR"), (star["centroid"], "MOM_CENTR")):
        known = np.isfinite(position).all(axis=1)
        if known.mean() > 0.5 and np.ptp(position[known], axis=0).max() > 0:
            return position, column
    return None


def arc_length(position):
    """How far along its path a star's image is.

    Parameters
    ----------
    position : (n, 2) array, pixels, finite

    Returns
    -------
    (n,) array, pixels, from 0 on
    """
    centred = position - np.median(position, axis=0)
    spread = MAD_TO_SIGMA * np.median(np.abs(centred), axis=0)
    near = (np.abs(centred) <= FAR * spread).all(axis=1)
    if near.sum() < 2 * PATH_ORDER:
        near[:] = True
    _, axes = np.linalg.eigh(np.cov(centred[near].T))
    along, across = (centred @ axes[:, ::-1]).T
    limits = along[near].min(), along[near].max()
    if not limits[1] > limits[0]:
        return np.zeros(len(position))
    path = np.polynomial.Polynomial.fit(along[near], across[near], PATH_ORDER)
    grid = np.linspace(*limits, 1000)
    length = np.cumsum(np.hypot(np.diff(grid), np.diff(path(grid))))
    return np.interp(along, grid, np.concatenate([[0.0], length]))


def arc_vectors(times, arc):
    """Polynomials of the arc length, each at its own stretch of time.

    Parameters
    ----------
    times : (n,) array, d, increasing
    arc : (n,) array, pixels

    Returns
    -------
    (n_vectors, n) array, of the size of 1
    """
    low, high = np.percentile(arc, [0.5, 99.5])
    scaled = 2 * (arc - low) / (high - low) - 1 if high > low else np.zeros(len(arc))
    scaled = np.clip(scaled, -1.2, 1.2)  # beyond, polynomials run away
    stretches = max(int(np.ceil(np.ptp(times) / KNOTS)), 1)
    knots = np.linspace(times[0], times[-1], stretches + 1)
    hats = [np.interp(times, knots, row) for row in np.eye(len(knots))]
    powers = np.polynomial.legendre.legvander(scaled, ORDER).T[1:]
    return np.array([hat * power for hat in hats for power in powers])


def pixel_fractions(path, times, mask):
    """The fraction of the star's light that each of its pixels has.

    Parameters
    ----------
    path : path of a target pixel file
    times : (n,) array, d, as in the file
    mask : (n_rows, n_columns) bool array, or None

    Returns
    -------
    (n, n_pixels) array, of the pixels near the brightest of the mask; NaN where there are none;
    None where the file is of another stamp
    """
    with open_fits(path, memmap=False) as hdulist:
        table = hdulist[1].data
        images, theirs = (np.asarray(table[name], dtype=float) for name in ("FLUX", "TIME"))
    theirs, images = theirs[np.isfinite(theirs)], images[np.isfinite(theirs)]
    if mask is None or images.shape[1:] != mask.shape or not mask.any() or not len(theirs):
        return None
    at = np.minimum(np.searchsorted(theirs, times - SAME_TIME), len(theirs) - 1)
    same = np.abs(theirs[at] - times) <= SAME_TIME
    chosen = np.where(same[:, None], images[at][:, mask], np.nan)
    if np.isfinite(chosen).all(axis=1).mean() < 0.5:
        return None
    chosen = chosen[:, _core(np.nanmean(chosen, axis=0), mask)]
    total = chosen.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, chosen / total, np.nan)


def _core(mean, mask):
    """Which pixels of a mask are near its brightest one: farther out, neighbours shine, and the
    fraction of a pixel changes with the star's own flux.

    Parameters
    ----------
    mean : (n_pixels,) array, mean flux of the pixels of the mask
    mask : (n_rows, n_columns) bool array

    Returns
    -------
    (n_pixels,) bool array
    """
    positions = np.argwhere(mask)
    distance = np.hypot(*(positions - positions[np.argmax(mean)]).T)
    return distance <= CORE


def fit_groups(groups, times, flux):
    """Fit groups of vectors, each group as a whole weighing as much as another.

    Parameters
    ----------
    groups : list of (n_vectors, n) arrays, in the sizes that their weights have in common
    times : (n,) array, d
    flux : (n,) array, relative, about 0

    Returns
    -------
    vectors : (n_vectors, n) array, orthonormal
    fit : Fit
    size : float, variance of the weights of vectors of norm 1
    """
    parts = []
    for group in groups:
        group = group - group.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(group)
        if norm > 0:
            parts.append(group / norm)
    _, scale, vectors = np.linalg.svd(np.vstack(parts), full_matrices=False)
    kept = scale > 1e-5 * scale[0]
    scale, vectors = scale[kept] ** 2, vectors[kept]
    flux, size = flux[None], float(np.sum(flux**2))
    for _ in range(ROUNDS):
        covariance = np.diag(size * scale) + 1e-18 * np.eye(len(scale))
        prior = Prior(np.zeros((1, len(scale))), covariance[None])
        fitted = fit(vectors, times, flux, prior, shortest=SHORTEST)
        determined = 1 - np.diag(fitted.covariance[0]) / (size * scale + 1e-18)
        size = np.sum(fitted.weights[0] ** 2 / scale) / max(determined.sum(), 0.1)
    return vectors, fitted, size
