"""Cotrending: what the stars of a detector have in common is the instrument, and is taken out.

`basis_vectors` finds the common trends of an ensemble of light curves: stars that are quiet for
their brightness, the half of them that correlates best, a singular value decomposition, and no
vector that one star carries (as Kepler's Presearch Data Conditioning: Smith et al. 2012, PASP 124,
1000; Stumpe et al. 2012, PASP 124, 985).

`fit` decides how much of each vector is in one star. The flux is modelled as ::

    flux = vectors @ weights + variation of the star + white noise

- the weights have a prior: a plane through the weights of quiet neighbours in position and
  magnitude, with their scatter about it (`Prior`);
- the variation of the star is a Gaussian process: sines and cosines whose variances are estimated
  from the light curve itself by expectation maximization. A star that varies slowly is so believed
  less where its variation and the vectors look alike, and there the prior decides;
- scattered light adds flux, where other trends multiply it: the weights of additive vectors, made
  from the stars' own backgrounds, are compared between stars in e-/s.

All arrays of flux are relative, about 0: flux over its median, minus 1.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import median_filter
from scipy.spatial import cKDTree

from ..constants import MAD_TO_SIGMA
from ..errors import BadInputError

MIN_QUIET = 150
"""Fewer quiet stars than this give no vectors that one could trust."""

MAX_VECTORS = 8
MAX_ADDITIVE = 2
MAX_STARS = 3000  # of an ensemble that vectors are made from; more change nothing and cost time
MAX_FRACTION = 0.1  # of a vector's length that one star may contribute; above, it carries the vector
NEIGHBOURS = 50
PASSES = 3  # vectors, fit, quieter stars, better vectors
SLOW = 0.27  # d (6.5 h); quiet is a star whose means over this scatter little
MAGNITUDE_SCALE = 1.5  # mag of difference that makes stars as unlike as half a detector between them
DETECTOR = 1024.0  # pixels, half a detector
FINE_MODES, COARSE_MODES = 20, 24  # sines every 1/(2T), then every 1/T, of the star's variation
ROUNDS = 6  # of expectation maximization
SPIKE, SPIKE_WINDOW = 5.0, 49  # robust standard deviations; samples
CHUNK = 256  # stars at once, so that their matrices stay in the cache


@dataclass(frozen=True)
class BasisVectors:
    """The common trends of an ensemble, and what the weights of its quiet stars are.

    Attributes
    ----------
    cadenceno : (n_times,) int array
    time : (n_times,) float array, d
    vectors : (n_vectors, n_times) array, orthonormal, mean 0
    additive : (n_vectors,) bool array, True where a vector adds flux (scattered light)
    starid, column, row, tmag : (n_quiet,) arrays of the quiet stars
    weights : (n_quiet, n_vectors) array; of additive vectors in e-/s
    header : dict, what they are of: mission, sector, camera, ccd, cadence, area
    prediction : (n,) array, scatter of left-out stars beyond white noise for 0, 1, 2, … vectors
    """

    cadenceno: np.ndarray
    time: np.ndarray
    vectors: np.ndarray
    additive: np.ndarray
    starid: np.ndarray
    column: np.ndarray
    row: np.ndarray
    tmag: np.ndarray
    weights: np.ndarray
    header: dict = field(default_factory=dict)
    prediction: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Prior:
    """What the neighbours of stars say about their weights.

    Attributes
    ----------
    mean : (n_stars, n_vectors) array
    covariance : (n_stars, n_vectors, n_vectors) array
    """

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Fit:
    """How much of each vector is in each star.

    Attributes
    ----------
    weights : (n_stars, n_vectors) array, relative flux
    covariance : (n_stars, n_vectors, n_vectors) array
    noise : (n_stars,) array, white noise of a sample, relative
    kept : (n_stars, n_periods) array, fraction of a weak sine that stays, of `KEPT_PERIODS`
    """

    weights: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray
    kept: np.ndarray


KEPT_PERIODS = (1.0, 3.0, 10.0)  # d


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
    flux, usable = _filled(given)
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
    additive = _additive_vectors(background, chosen) if background is not None else flux[:0]
    noise = white_noise(flux)
    quiet = _quiet_for_brightness(flux, tmag, time)
    residual_quiet = quiet
    n_trial = n_vectors or MAX_VECTORS
    for number in range(PASSES):
        vectors, prediction = _decompose(flux, noise, quiet, additive, n_trial, first=number == 0)
        if n_vectors is None and number == PASSES - 1:
            vectors, prediction = _as_many_as_predict(vectors, flux, noise, quiet, len(additive))
        is_additive = np.arange(len(vectors)) < len(additive)
        scale = np.where(is_additive, 1 / level[:, None], 1.0)
        weights = flux @ vectors.T
        prior = _plane(weights / scale, scale, position, np.flatnonzero(quiet), own=True)
        trend = _spectral_fit(flux, vectors, prior) @ vectors
        flux, _ = _filled(_without_spikes(given, trend))
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
        additive=is_additive,
        starid=np.asarray(starid)[chosen][quiet],
        column=np.asarray(column, dtype=float)[chosen][quiet],
        row=np.asarray(row, dtype=float)[chosen][quiet],
        tmag=tmag[quiet],
        weights=(weights / scale)[quiet],
        header=dict(header or {}),
        prediction=prediction,
    )


def _without_spikes(flux, trend):
    """The flux with NaN where, beside a trend, it leaves its running median by far: eclipses, flares.

    Found beside the trend, as steps of all stars are no spikes.
    """
    residual, _ = _filled(flux - trend)
    deviation = residual - median_filter(residual, size=(1, SPIKE_WINDOW), mode="nearest")
    sigma = MAD_TO_SIGMA * np.median(np.abs(deviation), axis=1, keepdims=True)
    return np.where(np.abs(deviation) > SPIKE * sigma, np.nan, flux)


def _filled(flux):
    """Flux with gaps interpolated, mean 0, and which stars have values at more than half of times."""
    known = np.isfinite(flux)
    usable = known.mean(axis=1) > 0.5
    times = np.arange(flux.shape[1])
    flux = np.where(known, flux, 0.0)
    for star in np.flatnonzero(usable & ~known.all(axis=1)):
        flux[star] = np.interp(times, times[known[star]], flux[star, known[star]])
    return flux - flux.mean(axis=1, keepdims=True), usable


def white_noise(flux):
    """Standard deviation of the white noise of light curves, from the differences of neighbours.

    Parameters
    ----------
    flux : (n_stars, n_times) array

    Returns
    -------
    (n_stars,) array, in the unit of ``flux``
    """
    difference = np.diff(flux, axis=1)
    difference = np.abs(difference - np.median(difference, axis=1, keepdims=True))
    return np.maximum(MAD_TO_SIGMA * np.median(difference, axis=1) / np.sqrt(2), 1e-12)


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


def _decompose(flux, noise, quiet, additive, n_vectors, *, first):
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
        left, _, right = np.linalg.svd(stars, full_matrices=False)
        carried = (left[:, :n_vectors] ** 2 > MAX_FRACTION).any(axis=1)
        if not carried.any() or carried.sum() > len(stars) - 2 * n_vectors:
            break
        stars = stars[~carried]
    vectors = np.vstack([additive, right[: n_vectors - len(additive)]])
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return np.linalg.qr(vectors.T)[0].T, np.zeros(0)


def _as_many_as_predict(vectors, flux, noise, quiet, n_first):
    """The first vectors, as many as predict best what was left out of quiet stars.

    Weights are fitted to half of the time, in stretches as long as slow trends, and predict the
    other half.
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
            rest = scaled[:, ~fitted] - weights @ vectors[:n, ~fitted]
            errors.append(np.mean(rest**2, axis=1))
        excess.append(np.median(np.mean(errors, axis=0)))
    excess = np.array(excess)
    best = excess[1:].min()
    # the fewest that are as good as the best, within half a percent of the white noise
    count = int(np.flatnonzero(excess[1:] <= best + 0.005 * max(best, 1.0))[0]) + 1
    return vectors[: max(count, n_first, 1)], excess


def _additive_vectors(background, chosen):
    """What the stars' own backgrounds have in common beyond a constant, orthonormal, mean 0."""
    background, usable = _filled(np.asarray(background, dtype=float)[chosen])
    background = background[usable]
    scatter = np.std(background, axis=1)
    background = background[scatter > 0] / scatter[scatter > 0, None]
    if len(background) < 10:
        return background[:0]
    _, size, right = np.linalg.svd(background, full_matrices=False)
    common = size**2 / np.sum(size**2) > 0.05
    return right[: min(int(common.sum()), MAX_ADDITIVE)]


# The prior


def _positions(column, row, tmag):
    """Where stars are: position on the detector and magnitude, in units that make them comparable."""
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
    """A robust plane at each of ``mine``; the scatter of the neighbours about it is its covariance."""
    n = min(NEIGHBOURS, len(theirs) - 1)
    _, near = cKDTree(theirs).query(mine, k=n + 1)
    is_own = near == own[:, None]
    # without oneself, else without the farthest
    drop = np.where(is_own.any(axis=1), is_own.argmax(axis=1), n)
    near = near[np.arange(n + 1)[None, :] != drop[:, None]].reshape(len(mine), n)
    design = np.concatenate(
        [np.ones((len(mine), n, 1)), theirs[near] - mine[:, None, :]], axis=2
    )
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


def flat_prior(flux, vectors):
    """A prior for vectors of which no star's weights are known: none in particular.

    Parameters
    ----------
    flux : (n_stars, n_times) array
    vectors : (n_vectors, n_times) array

    Returns
    -------
    Prior, mean 0, as wide as all of the star's variation
    """
    power = np.nansum(flux**2, axis=1)
    eye = np.eye(len(vectors))
    return Prior(np.zeros((len(flux), len(vectors))), power[:, None, None] * eye)


# The fit


def _spectral_fit(flux, vectors, prior, rounds=4):
    """Weights by least squares, believed as far as the residual's spectrum allows; for ensembles.

    The covariance of the least-squares weights is V C V^T, with C from the smoothed periodogram of
    the residual. It needs no matrix of a star's variation and so is quick, though less exact.
    """
    n_times = flux.shape[1]
    spectrum = np.fft.rfft(vectors, n=2 * n_times, axis=1)
    sides = np.full(spectrum.shape[1], 2.0)
    sides[[0, -1]] = 1.0
    k = len(vectors)
    cross = np.real(spectrum[:, None] * spectrum[None].conj()) * sides / (2 * n_times)
    cross = cross.reshape(k * k, -1).T
    direct = flux @ vectors.T
    weights = prior.mean
    for _ in range(rounds):
        power = np.abs(np.fft.rfft(flux - weights @ vectors, n=2 * n_times, axis=1)) ** 2 / n_times
        covariance = (_running_mean(power, 9) @ cross).reshape(-1, k, k)
        gain = prior.covariance @ np.linalg.inv(prior.covariance + covariance)
        weights = prior.mean + np.einsum("ijk,ik->ij", gain, direct - prior.mean)
    return weights


def _running_mean(values, n):
    padded = np.pad(values, ((0, 0), (n // 2 + 1, n // 2)), mode="reflect")
    total = np.cumsum(padded, axis=1)
    return (total[:, n:] - total[:, :-n]) / n


def fit(basis, flux, prior):
    """Fit the vectors to stars.

    Parameters
    ----------
    basis : BasisVectors, or the (n_vectors, n_times) array of vectors and the times [d] as a tuple
    flux : (n_stars, n_times) array, relative, about 0; NaN where a star has no value
    prior : Prior of these stars

    Returns
    -------
    Fit
    """
    vectors, time = (basis.vectors, basis.time) if isinstance(basis, BasisVectors) else basis
    flux = np.atleast_2d(np.asarray(flux, dtype=float))
    sines = _sines(time)
    probes = _probes(time)
    design = np.vstack([vectors, np.ones(len(time)) / np.sqrt(len(time)), sines])
    gram = design @ design.T
    parts = []
    for start in range(0, len(flux), CHUNK):
        part = slice(start, start + CHUNK)
        chunk = Prior(prior.mean[part], prior.covariance[part])
        parts.append(_fit_some(flux[part], design, gram, len(vectors), chunk, probes))
    return Fit(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _sines(time):
    """Sines and cosines of the star's variation: (2 n, n_times) array, amplitude 1."""
    length = time[-1] - time[0]
    fine = np.arange(1, FINE_MODES + 1) / (2 * length)
    coarse = fine[-1] + np.arange(1, COARSE_MODES + 1) / length
    frequencies = np.concatenate([fine, coarse])
    sampled = frequencies < 0.25 / np.median(np.diff(time))
    angle = 2 * np.pi * frequencies[sampled, None] * (time - time[0])
    return np.vstack([np.cos(angle), np.sin(angle)])


def _probes(time):
    """Sines of `KEPT_PERIODS` in two phases; NaN where the light curve is shorter than a period."""
    angle = 2 * np.pi * (time - time[0]) / np.array(KEPT_PERIODS)[:, None]
    probes = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    probes[np.array(KEPT_PERIODS) > time[-1] - time[0]] = np.nan
    return probes


def _fit_some(flux, design, gram, k, prior, probes):
    """Expectation maximization for a few stars: weights and variances of the modes in turn."""
    start = _spectral_fit(_filled(flux)[0], design[:k], prior)
    flux = _without_spikes(flux, start @ design[:k])
    start = _spectral_fit(_filled(flux)[0], design[:k], prior)
    known = np.isfinite(flux)
    flux = np.where(known, flux, 0.0)
    gram = _without_gaps(gram, design, known)
    projected = flux @ design.T
    precision = np.linalg.inv(prior.covariance)
    n_modes = (len(design) - k - 1) // 2
    diagonal = np.arange(k + 1, len(design))
    residual = projected - np.einsum("ij,ijk->ik", start, gram[:, :k])
    amplitudes = residual[:, k + 1 :] / gram[:, diagonal, diagonal]
    variances = _mode_variances(amplitudes**2, n_modes)
    noise = _noise_beside(flux, known)
    for _ in range(ROUNDS):
        matrix = gram / noise[:, None, None] ** 2
        matrix[:, :k, :k] += precision
        matrix[:, k, k] += 1e-12  # the constant is free
        floor = 1e-4 * noise[:, None] ** 2 / len(design)
        matrix[:, diagonal, diagonal] += 1 / (np.tile(variances, 2) + floor)
        target = projected / noise[:, None] ** 2
        target[:, :k] += np.einsum("ijk,ik->ij", precision, prior.mean)
        covariance = np.linalg.inv(matrix)
        solution = np.einsum("ijk,ik->ij", covariance, target)
        # MacKay (1992, Neural Computation 4, 415): the square of an amplitude over the part of it
        # that the data determine; the same end as expectation maximization in fewer rounds
        determined = 1 - covariance[:, diagonal, diagonal] / (np.tile(variances, 2) + floor)
        variances = _mode_variances(solution[:, k + 1 :] ** 2, n_modes) / np.maximum(
            _mode_variances(determined, n_modes), 0.02
        )
    kept = _kept(covariance[:, :k] / noise[:, None, None] ** 2, design, k, probes)
    return solution[:, :k], covariance[:, :k, :k], noise, kept


def _without_gaps(gram, design, known):
    """The products of the design with itself for each star, over the times at which it is known."""
    grams = np.repeat(gram[None], len(known), axis=0)
    for star in np.flatnonzero(~known.all(axis=1)):
        missing = design[:, ~known[star]]
        grams[star] -= missing @ missing.T
    return grams


def _mode_variances(squares, n_modes):
    """One variance for the sine and cosine of each frequency, smoothed with its neighbours'."""
    both = (squares[:, :n_modes] + squares[:, n_modes:]) / 2
    padded = np.pad(both, ((0, 0), (1, 1)), mode="edge")
    return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3


def _noise_beside(flux, known):
    """White noise of a sample; from the differences of neighbours that are both known."""
    difference = np.diff(flux, axis=1)
    difference[~(known[:, 1:] & known[:, :-1])] = np.nan
    middle = np.nanmedian(difference, axis=1, keepdims=True)
    spread = np.nanmedian(np.abs(difference - middle), axis=1)
    return np.maximum(MAD_TO_SIGMA * spread / np.sqrt(2), 1e-12)


def _kept(response, design, k, probes):
    """Fraction of a sine too weak to change the fit's variances that is left in the light curve."""
    kept = np.full((len(response), len(probes)), np.nan)
    for number, phases in enumerate(probes):
        if np.isfinite(phases).all():
            taken = [
                ((response @ (design @ phase)) @ (design[:k] @ phase)) / (phase @ phase)
                for phase in phases
            ]
            kept[:, number] = 1 - np.mean(taken, axis=0)
    return kept


def model(fit, basis):
    """The trends of stars and their uncertainties.

    Parameters
    ----------
    fit : Fit
    basis : BasisVectors

    Returns
    -------
    trend, error : (n_stars, n_times) arrays, relative, about 0
    """
    trend = fit.weights @ basis.vectors
    variance = np.einsum("kt,skl,lt->st", basis.vectors, fit.covariance, basis.vectors)
    return trend, np.sqrt(np.maximum(variance, 0.0))


def shrunk(fit, factor):
    """The fit with all weights times a factor from 0 to 1."""
    return replace(fit, weights=fit.weights * factor, covariance=fit.covariance * factor**2)
