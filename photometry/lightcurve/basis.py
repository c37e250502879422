"""Basis vectors: what the light curves of a detector's stars have in common, and how much of it
neighbours have.

`basis_vectors` finds the common trends of an ensemble: stars that are quiet for their brightness,
the half of them that correlates best, a singular value decomposition, and no vector that one star
carries (as Kepler's Presearch Data Conditioning: Smith et al. 2012, PASP 124, 1000; Stumpe et al.
2012, PASP 124, 985). `prior` lays a plane through the weights of a star's quiet neighbours.

Scattered light adds flux, where other trends multiply it: the weights of additive vectors, made
from the stars' own backgrounds, are compared between stars in e-/s. All flux is relative, about 0:
flux over its median, minus 1.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree

from ..constants import MAD_TO_SIGMA
from ..errors import BadInputError
from .cotrend import Prior, filled, spectral_fit, white_noise, without_spikes

MIN_QUIET = 150
"""Fewer quiet stars than this give no vectors that one could trust."""

MAX_VECTORS = 8
MAX_ADDITIVE = 2
MAX_STARS = 3000  # of an ensemble that vectors are made from; more change nothing and cost time
# of a vector's length that one star may contribute; above, it carries the vector
MAX_FRACTION = 0.1
NEIGHBOURS = 50
PASSES = 3  # vectors, fit, quieter stars, better vectors
SLOW = 0.27  # d (6.5 h); quiet is a star whose means over this scatter little
# mag of difference that makes stars as unlike as half a detector between them
MAGNITUDE_SCALE = 1.5
DETECTOR = 1024.0  # pixels, half a detector


@dataclass(frozen=True)
class BasisVectors:
    """The common trends of an ensemble, and what the weights of its quiet stars are.

    Attributes
    ----------
    cadenceno : (n_times,) int array
    time : (n_times,) float array, d
    vectors : (n_vectors, n_times) array, orthonormal, mean 0
    error : (n_vectors,) array, standard deviation of the noise in each value of a vector
    additive : (n_vectors,) bool array, True where a vector adds flux (scattered light)
    starid, column, row, tmag : (n_quiet,) arrays of the quiet stars
    weights : (n_quiet, n_vectors) array; of additive vectors in e-/s
    header : dict, what they are of: mission, sector, camera, ccd, cadence, area
    prediction : (n,) array, scatter of left-out stars beyond white noise for 0, 1, 2, … vectors
    """

    cadenceno: np.ndarray
    time: np.ndarray
    vectors: np.ndarray
    error: np.ndarray
    additive: np.ndarray
    starid: np.ndarray
    column: np.ndarray
    row: np.ndarray
    tmag: np.ndarray
    weights: np.ndarray
    header: dict = field(default_factory=dict)
    prediction: np.ndarray = field(default_factory=lambda: np.zeros(0))


# Vectors


def basis_vectors(flux, column, row, tmag, starid, time, *, level=None, background=None,
                  cadenceno=None, n_vectors=None, min_quiet=MIN_QUIET, header=None):  # fmt: skip
    """Make the basis vectors of an ensemble of stars.

    Parameters
    ----------
    flux : (n_stars, n_times) array, relative, about 0; NaN where a star has no value
    column, row : (n_stars,) arrays, pixels
    tmag : (n_stars,) array, mag
    starid : (n_stars,) int array
    time : (n_times,) array, d, increasing
    level : (n_stars,) array, e-/s, median flux; needed with ``background``
    background : (n_stars, n_times) array, e-/s in the aperture, or None: no additive vectors
    cadenceno : (n_times,) int array, or None: 0, 1, 2, …
    n_vectors : int, or None: as many as predict left-out stars best, at most `MAX_VECTORS`
    min_quiet : int
    header : dict

    Returns
    -------
    BasisVectors

    Raises
    ------
    BadInputError : fewer than ``min_quiet`` quiet stars
    """
    given = np.asarray(flux, dtype=float)
    flux, usable = filled(given)
    if usable.sum() < min_quiet:
        raise BadInputError(
            f"{usable.sum()} stars with values at more than half of {flux.shape[1]} times; "
            f"vectors need {min_quiet} quiet ones"
        )
    chosen = np.flatnonzero(usable)
    if len(chosen) > MAX_STARS:  # evenly over the magnitudes
        order = chosen[np.argsort(np.asarray(tmag)[chosen], kind="stable")]
        chosen = np.sort(order[np.linspace(0, len(order) - 1, MAX_STARS).astype(int)])
    given, flux = given[chosen], flux[chosen]
    position = _positions(column, row, tmag)[chosen]
    level = np.ones(len(chosen)) if level is None else np.asarray(level, dtype=float)[chosen]
    tmag = np.asarray(tmag, dtype=float)[chosen]
    additive, additive_error = flux[:0], np.zeros(0)
    if background is not None:
        additive, additive_error = _additive_vectors(background, chosen)
    prediction = np.zeros(0)
    noise = white_noise(flux)
    quiet = _quiet_for_brightness(flux, tmag, time)
    residual_quiet = quiet
    n_trial = n_vectors or MAX_VECTORS
    for number in range(PASSES):
        vectors, error = _decompose(
            flux, noise, quiet, additive, additive_error, n_trial, first=number == 0
        )
        if n_vectors is None and number == PASSES - 1:
            prediction = _prediction(vectors, flux, noise, quiet)
            n_trial = max(_fewest_as_good(prediction), len(additive))
            vectors, error = vectors[:n_trial], error[:n_trial]
        is_additive = np.arange(len(vectors)) < len(additive)
        scale = np.where(is_additive, 1 / level[:, None], 1.0)
        weights = flux @ vectors.T
        prior = _plane(weights / scale, scale, position, np.flatnonzero(quiet), own=True)
        trend = spectral_fit(flux, vectors, prior) @ vectors
        flux, _ = filled(without_spikes(given, trend))
        residual_quiet = _quiet_beside_noise(flux - trend, noise, time)
        if residual_quiet.sum() < min_quiet:
            raise BadInputError(
                f"{residual_quiet.sum()} quiet stars among {len(flux)}; vectors need {min_quiet}"
            )
        quiet = residual_quiet
    return BasisVectors(
        cadenceno=np.arange(flux.shape[1]) if cadenceno is None else np.asarray(cadenceno),
        time=np.asarray(time, dtype=float),
        vectors=vectors,
        error=error,
        additive=is_additive,
        starid=np.asarray(starid)[chosen][quiet],
        column=np.asarray(column, dtype=float)[chosen][quiet],
        row=np.asarray(row, dtype=float)[chosen][quiet],
        tmag=tmag[quiet],
        weights=(weights / scale)[quiet],
        header=dict(header or {}),
        prediction=prediction,
    )


def _slow_scatter(flux, time):
    """Scatter of the means over 6.5 h, and how many samples each is of."""
    n = max(round(SLOW / np.median(np.diff(time))), 1)
    bins = flux.shape[1] // n
    means = flux[:, : bins * n].reshape(len(flux), bins, n).mean(axis=2)
    return np.sqrt(np.mean((means - means.mean(axis=1, keepdims=True)) ** 2, axis=1)), n


def _quiet_for_brightness(flux, tmag, time):
    """Stars whose slow scatter is below or little above the typical one of their magnitude."""
    scatter = np.log(np.maximum(_slow_scatter(flux, time)[0], 1e-12))
    known = np.isfinite(tmag)
    spread = np.std(tmag[known]) if known.any() else 0.0
    x = np.where(known, tmag - np.mean(tmag[known]), 0.0) / spread if spread > 0 else 0 * scatter
    design, use = np.vander(x, 3), np.ones(len(scatter), bool)
    for _ in range(5):
        residual = scatter - design @ np.linalg.lstsq(design[use], scatter[use], rcond=None)[0]
        middle = np.median(residual[use])
        sigma = MAD_TO_SIGMA * np.median(np.abs(residual[use] - middle))
        use = residual <= middle + sigma
    return use


def _quiet_beside_noise(residual, noise, time):
    """Stars whose means over 6.5 h scatter little more than their white noise explains.

    At least a quarter of all stars: as long as vectors are poor, all stars look restless.
    """
    scatter, n = _slow_scatter(residual, time)
    excess = np.log(np.maximum(scatter, 1e-15) / (noise / np.sqrt(n)))
    return excess < max(np.percentile(excess, 25) + 0.3, 0.3)


def _decompose(flux, noise, quiet, additive, additive_error, n_vectors, *, first):
    """Singular vectors of the quiet stars, the additive ones before them, orthonormal."""
    index = np.flatnonzero(quiet)
    rms = np.sqrt(np.mean(flux[index] ** 2, axis=1))
    index, rms = index[rms > 0], rms[rms > 0]
    if first:  # the half that correlates best: later, variable stars are known by their residuals
        unit = flux[index] / rms[:, None]
        correlation = np.abs(unit @ unit.T) / flux.shape[1]
        np.fill_diagonal(correlation, np.nan)
        typical = np.nanmedian(correlation, axis=1)
        best = typical >= np.median(typical)
        index, rms = index[best], rms[best]
    # between equal trends (1 / rms) and equal noise (1 / noise): neither one bright star nor
    # the noise of the faint ones may shape a vector
    stars = flux[index] / np.sqrt(rms * noise[index])[:, None]
    if len(additive):
        stars = stars - (stars @ additive.T) @ additive
    while True:
        left, size, right = np.linalg.svd(stars, full_matrices=False)
        carried = (left[:, :n_vectors] ** 2 > MAX_FRACTION).any(axis=1)
        if not carried.any() or carried.sum() > len(stars) - 2 * n_vectors:
            break
        stars = stars[~carried]
    n_more = n_vectors - len(additive)
    vectors = np.vstack([additive, right[:n_more]])
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    error = np.concatenate([additive_error, _vector_error(stars, left, size, n_more)])
    return np.linalg.qr(vectors.T)[0].T, error


def _vector_error(stars, left, size, n_vectors):
    """Noise of each value of singular vectors: a vector is the stars' mean with these weights."""
    weights = left[:, :n_vectors] / size[:n_vectors]
    return np.sqrt(white_noise(stars) ** 2 @ weights**2)


def _prediction(vectors, flux, noise, quiet):
    """How well the first 0, 1, 2, … vectors predict what was left out of quiet stars.

    Weights are fitted to half of the time, in stretches as long as slow trends, and predict the
    other half: (n_vectors + 1,) array, median variance of the residual, 1: white noise alone.
    """
    index = np.flatnonzero(quiet)[:: max(quiet.sum() // 500, 1)]
    n_times = flux.shape[1]
    odd = (np.arange(n_times) * 24 // n_times) % 2 == 1
    scaled = flux[index] / noise[index, None]
    excess = [np.median(np.mean(scaled**2, axis=1))]
    for n in range(1, len(vectors) + 1):
        errors = []
        for fitted in (odd, ~odd):
            design = vectors[:n, fitted].T
            ridge = 1e-3 * np.eye(n)  # vectors may be alike on half of the time
            weights = np.linalg.solve(design.T @ design + ridge, design.T @ scaled[:, fitted].T).T
            residual = scaled[:, ~fitted] - weights @ vectors[:n, ~fitted]
            errors.append(np.mean(residual**2, axis=1))
        excess.append(np.median(np.mean(errors, axis=0)))
    return np.array(excess)


def _fewest_as_good(prediction):
    """The fewest vectors that predict as well as the best number, within 0.5 % of the noise."""
    best = prediction[1:].min()
    return int(np.flatnonzero(prediction[1:] <= best + 0.005 * max(best, 1.0))[0]) + 1


def _additive_vectors(background, chosen):
    """What the stars' backgrounds have in common beyond a constant, orthonormal, and its noise."""
    background, usable = filled(np.asarray(background, dtype=float)[chosen])
    background = background[usable]
    scatter = np.std(background, axis=1)
    background = background[scatter > 0] / scatter[scatter > 0, None]
    if len(background) < 10:
        return background[:0], np.zeros(0)
    left, size, right = np.linalg.svd(background, full_matrices=False)
    n = min(int((size**2 / np.sum(size**2) > 0.05).sum()), MAX_ADDITIVE)
    return right[:n], _vector_error(background, left, size, n)


def with_stars(basis, flux, column, row, tmag, starid, *, level, min_quiet=MIN_QUIET):
    """Vectors of the mission with the weights that quiet stars of one's own have.

    Parameters
    ----------
    basis : BasisVectors
    flux : (n_stars, n_times) array, relative, about 0, at the times of the vectors; NaN for none
    column, row : (n_stars,) arrays, pixels
    tmag : (n_stars,) array, mag
    starid : (n_stars,) int array
    level : (n_stars,) array, e-/s, median flux
    min_quiet : int

    Returns
    -------
    BasisVectors; without stars where fewer than ``min_quiet`` are quiet
    """
    flux, usable = filled(np.asarray(flux, dtype=float))
    scale = np.where(basis.additive, 1 / np.asarray(level)[:, None], 1.0)
    weights = flux @ basis.vectors.T
    quiet = usable.copy()
    if usable.any():
        noise = white_noise(flux[usable])
        quiet[usable] = _quiet_beside_noise(
            flux[usable] - weights[usable] @ basis.vectors, noise, basis.time
        )
    if quiet.sum() < min_quiet:
        return basis
    return replace(
        basis,
        starid=np.asarray(starid)[quiet],
        column=np.asarray(column, dtype=float)[quiet],
        row=np.asarray(row, dtype=float)[quiet],
        tmag=np.asarray(tmag, dtype=float)[quiet],
        weights=(weights / scale)[quiet],
    )


# The prior


def _positions(column, row, tmag):
    """Position on the detector and magnitude of stars, in units that make them comparable."""
    tmag = np.asarray(tmag, dtype=float)
    return np.column_stack(
        [
            np.asarray(column, dtype=float) / DETECTOR,
            np.asarray(row, dtype=float) / DETECTOR,
            np.where(np.isfinite(tmag), tmag, np.nanmedian(tmag)) / MAGNITUDE_SCALE,
        ]
    )


def prior(basis, column, row, tmag, level, starid=None):
    """The prior of stars: a plane through the weights of their quiet neighbours.

    Parameters
    ----------
    basis : BasisVectors
    column, row : (n_stars,) arrays, pixels
    tmag : (n_stars,) array, mag
    level : (n_stars,) array, e-/s, median flux
    starid : (n_stars,) int array, or None; a star is never its own neighbour

    Returns
    -------
    Prior
    """
    level = np.atleast_1d(np.asarray(level, dtype=float))
    scale = np.where(basis.additive, 1 / level[:, None], 1.0)
    theirs = _positions(basis.column, basis.row, basis.tmag)
    mine = _positions(column, row, tmag)
    own = np.full(len(mine), -1)
    if starid is not None:
        index = {int(star): i for i, star in enumerate(basis.starid)}
        own = np.array([index.get(int(star), -1) for star in np.atleast_1d(starid)])
    return _regress(basis.weights, theirs, mine, own, scale)


def _plane(weights, scale, position, quiet, *, own):
    """The prior of all stars of an ensemble from the weights of the quiet ones."""
    index = np.full(len(position), -1)
    if own:
        index[quiet] = np.arange(len(quiet))
    return _regress(weights[quiet], position[quiet], position, index, scale)


def _regress(weights, theirs, mine, own, scale):
    """A robust plane at each of ``mine``; its covariance is the scatter of neighbours about it."""
    n = min(NEIGHBOURS, len(theirs) - 1)
    _, near = cKDTree(theirs).query(mine, k=n + 1)
    is_own = near == own[:, None]
    # without oneself, else without the farthest
    drop = np.where(is_own.any(axis=1), is_own.argmax(axis=1), n)
    near = near[np.arange(n + 1)[None, :] != drop[:, None]].reshape(len(mine), n)
    design = np.concatenate([np.ones((len(mine), n, 1)), theirs[near] - mine[:, None, :]], axis=2)
    values = weights[near]
    trust = np.ones((len(mine), n, 1))
    for _ in range(4):
        normal = np.swapaxes(design * trust, 1, 2) @ design + 1e-6 * np.eye(design.shape[2])
        plane = np.linalg.solve(normal, np.swapaxes(design * trust, 1, 2) @ values)
        residual = values - design @ plane
        sigma = MAD_TO_SIGMA * np.median(np.abs(residual), axis=1, keepdims=True) + 1e-12
        distance = np.mean((residual / sigma) ** 2, axis=2, keepdims=True)
        trust = 1 / (1 + distance / 4)
    degrees = np.maximum(trust.sum(axis=1, keepdims=True) - design.shape[2], 1.0)
    covariance = np.swapaxes(residual * trust, 1, 2) @ residual / degrees
    covariance = covariance * scale[:, :, None] * scale[:, None, :]
    return Prior(plane[:, 0] * scale, _positive(covariance))


def _positive(covariance):
    """A covariance that can be inverted, though some vector's weights hardly scatter."""
    size = np.trace(covariance, axis1=1, axis2=2) / covariance.shape[1]
    return covariance + (1e-6 * size[:, None, None] + 1e-18) * np.eye(covariance.shape[1])
