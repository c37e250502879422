"""Cotrending: what the stars of a detector have in common is the instrument, and is taken out.

`fit` decides how much of each basis vector (`photometry.lightcurve.basis`) is in a star. Its flux
is modelled as ::

    flux = vectors @ weights + variation of the star + white noise

- the weights have a prior: what quiet neighbours have, with their scatter (`Prior`);
- the variation of the star is a Gaussian process: sines and cosines whose variances are estimated
  from the light curve itself (MacKay 1992, Neural Computation 4, 415). A star that varies slowly
  is so believed less where its variation and the vectors look alike: there the prior decides.

All arrays of flux are relative, about 0: flux over its median, minus 1.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import median_filter

from ..constants import MAD_TO_SIGMA

KEPT_PERIODS = (1.0, 3.0, 10.0)
"""d; of the weak sines whose part that stays in the light curve is reported."""

FINE_MODES, COARSE_MODES = 20, 24  # sines every 1/(2T), then every 1/T, of the star's variation
ROUNDS = 6  # of estimating their variances
SPIKE, SPIKE_WINDOW = 5.0, 49  # robust standard deviations; samples
CHUNK = 256  # stars at once, so that their matrices stay in the cache


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


def without_spikes(flux, trend):
    """The flux with NaN where, beside a trend, it leaves its running median by far: eclipses,
    flares.

    Found beside the trend, as steps of all stars are no spikes.
    """
    residual, _ = filled(flux - trend)
    deviation = residual - median_filter(residual, size=(1, SPIKE_WINDOW), mode="nearest")
    sigma = MAD_TO_SIGMA * np.median(np.abs(deviation), axis=1, keepdims=True)
    return np.where(np.abs(deviation) > SPIKE * sigma, np.nan, flux)


def filled(flux):
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


def spectral_fit(flux, vectors, prior, rounds=4):
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


def fit(vectors, time, flux, prior):
    """Fit the vectors to stars.

    Parameters
    ----------
    vectors : (n_vectors, n_times) array
    time : (n_times,) array, d
    flux : (n_stars, n_times) array, relative, about 0; NaN where a star has no value
    prior : Prior of these stars

    Returns
    -------
    Fit
    """
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
    start = spectral_fit(filled(flux)[0], design[:k], prior)
    flux = without_spikes(flux, start @ design[:k])
    start = spectral_fit(filled(flux)[0], design[:k], prior)
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
    # the uncertainty of the variances themselves, without which errors come out too small
    variances = _mode_variances(
        solution[:, k + 1 :] ** 2 + covariance[:, diagonal, diagonal], n_modes
    )
    matrix[:, diagonal, diagonal] = gram[:, diagonal, diagonal] / noise[:, None] ** 2 + 1 / (
        np.tile(variances, 2) + floor
    )
    covariance = np.linalg.inv(matrix)
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


def model(fit, vectors, error=0.0):
    """The trends of stars and their uncertainties.

    Parameters
    ----------
    fit : Fit
    vectors : (n_vectors, n_times) array
    error : (n_vectors,) array, noise of each value of a vector

    Returns
    -------
    trend, error : (n_stars, n_times) arrays, relative, about 0
    """
    variance = np.einsum("kt,skl,lt->st", vectors, fit.covariance, vectors)
    variance = variance + np.sum((fit.weights * error) ** 2, axis=1, keepdims=True)
    return fit.weights @ vectors, np.sqrt(np.maximum(variance, 0.0))


def shrunk(fit, factor):
    """The fit with all weights times a factor from 0 to 1."""
    return replace(fit, weights=fit.weights * factor, covariance=fit.covariance * factor**2)
