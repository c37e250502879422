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
from .detrend import NOISE_HOURS, quick_cdpp

KEPT_PERIODS = (1.0, 3.0, 10.0)
"""d; of the weak sines whose part that stays in the light curve is reported."""

FINE_MODES, COARSE_MODES = 20, 24  # sines every 1/(2T), then every 1/T, of the star's variation
ROUNDS = 6  # of estimating their variances
SPIKE, SPIKE_WINDOW = 5.0, 49  # robust standard deviations; samples
MAX_RISE = 1.05  # of a star's noise by its correction; above, less is taken out
# of its slow scatter, unless its noise falls: where there are no trends, a fit may only add some
MAX_SLOW_RISE, CLEAR_GAIN = 1.0, 0.9
FACTORS = (1.0, 0.75, 0.5, 0.25, 0.0)
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
    # star by star: scipy's filter of one dimension takes a tenth of the time of that of two
    median = [median_filter(star, size=SPIKE_WINDOW, mode="nearest") for star in residual]
    deviation = residual - np.array(median).reshape(residual.shape)
    sigma = MAD_TO_SIGMA * np.median(np.abs(deviation), axis=1, keepdims=True)
    return np.where(np.abs(deviation) > SPIKE * sigma, np.nan, flux)


def filled(flux):
    """Flux with gaps interpolated, mean 0, and which stars have values at most of the times."""
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

    Parameters
    ----------
    flux : (n_stars, n_times) array, relative
    vectors : (n_vectors, n_times) array, orthonormal
    prior : Prior, of the weights
    rounds : int, how often the spectrum is taken again

    Returns
    -------
    weights : (n_stars, n_vectors) array
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


def fit(vectors, time, flux, prior, *, shortest=None):
    """Fit the vectors to stars.

    Parameters
    ----------
    vectors : (n_vectors, n_times) array
    time : (n_times,) array, d
    flux : (n_stars, n_times) array, relative, about 0; NaN where a star has no value
    prior : Prior of these stars
    shortest : float, d, optional
        Shortest period of the star's variation that is modelled; by default that of
        `COARSE_MODES`

    Returns
    -------
    Fit
    """
    flux = np.atleast_2d(np.asarray(flux, dtype=float))
    sines = _sines(time, shortest)
    probes = _probes(time)
    design = np.vstack([vectors, np.ones(len(time)) / np.sqrt(len(time)), sines])
    gram = design @ design.T
    parts = []
    for start in range(0, len(flux), CHUNK):
        part = slice(start, start + CHUNK)
        chunk = Prior(prior.mean[part], prior.covariance[part])
        parts.append(_fit_some(flux[part], design, gram, len(vectors), chunk, probes))
    return Fit(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _sines(time, shortest=None):
    """Sines and cosines of the star's variation: (2 n, n_times) array, amplitude 1."""
    length = time[-1] - time[0]
    fine = np.arange(1, FINE_MODES + 1) / (2 * length)
    n_coarse = COARSE_MODES
    if shortest is not None:
        n_coarse = max(int(np.ceil((1 / shortest - fine[-1]) * length)), 0)
    coarse = fine[-1] + np.arange(1, n_coarse + 1) / length
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
    """Fraction of a sine too weak to change the fit's variances that stays in the light curve."""
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


@dataclass(frozen=True)
class Removed:
    """What is taken out of a star, so that its noise does not rise.

    Attributes
    ----------
    fluxes, uncertainties : (n,) arrays, relative, about 1; NaN where nothing could be taken out
    fit : Fit, of one star, as it was fitted
    factor : float, part of the fit that is taken out
    hours : float, h; over which the noise is measured
    before, after : float, ppm, noise
    rise : float, white noise after over before
    """

    fluxes: np.ndarray
    uncertainties: np.ndarray
    fit: Fit
    factor: float
    hours: float
    before: float
    after: float
    rise: float

    def cards(self, vectors, flux):
        """What the header says of it: list of (keyword, value, comment).

        Parameters
        ----------
        vectors : (n_vectors, n_times) array
        flux : (n_times,) array, relative, about 0, NaN where it is not known
        """
        under = _remaining_trend(vectors, flux, self.factor * self.fit.weights[0])
        cards = [
            ("CTSHRINK", self.factor, "part of the fit taken out; 0: nothing"),
            ("CTHOURS", self.hours, "[h] of CTNOISE0 and CTNOISE1"),
            ("CTNOISE0", _number(self.before), "[ppm] noise before"),
            ("CTNOISE1", _number(self.after), "[ppm] noise after"),
            ("CTOVER", _number(self.rise), "white noise after over before, over 1: bad"),
            ("CTUNDER", _number(under), "part of the trends left in"),
        ]
        for days, kept in zip(KEPT_PERIODS, self.fit.kept[0], strict=True):
            kept = _number(1 - self.factor * (1 - kept))
            cards.append((f"CTKEPT{days:g}", kept, f"part kept of a weak sine of {days:g} d"))
        weights = self.factor * self.fit.weights[0]
        return cards + [
            (f"CTW{number}", _number(weight), f"weight of VECTOR_{number}")
            for number, weight in enumerate(weights, 1)
        ]


def remove(times, flux, fitted, corrected, hours):
    """Take out of a star as much of a fit as does not raise its noise by more than 5 %, nor its
    slow scatter at all where the noise hardly falls.

    Parameters
    ----------
    times : (n,) array, d
    flux : (n,) array, relative, about 1
    fitted : Fit of one star
    corrected : callable, Fit -> (fluxes, uncertainties), (n,) arrays, about 1, NaN for unknown
    hours : float, h, over which the noise is measured

    Returns
    -------
    Removed
    """
    before = None
    for factor in FACTORS:
        fluxes, uncertainties = corrected(shrunk(fitted, factor))
        known = np.isfinite(fluxes)
        if before is None:
            before = quick_cdpp(times[known], flux[known], hours)
            step = float(np.median(np.diff(times[known])))
            count = max(round(NOISE_HOURS / 24 / step), 1)
            slow_before = _slow_scatter(flux[known], count)
        after = quick_cdpp(times[known], fluxes[known], hours)
        rises = (
            _slow_scatter(fluxes[known], count) > MAX_SLOW_RISE * slow_before
            and not after < CLEAR_GAIN * before
        )
        if not (after > MAX_RISE * before or rises):
            break
    rise = white_noise(fluxes[None, known])[0] / white_noise(flux[None, known])[0]
    return Removed(fluxes, uncertainties, fitted, factor, hours, before, after, rise)


def _slow_scatter(flux, count):
    """Standard deviation of the means of so many samples, slow variation included."""
    total = np.cumsum(np.concatenate([[0.0], flux]))
    count = min(count, len(flux))
    return float(np.std((total[count:] - total[:-count]) / count))


def _remaining_trend(vectors, flux, weights):
    """rms of the trends that stay in the flux over that of the trends that were in it."""
    known = np.isfinite(flux)
    design = vectors[:, known].T
    total = np.linalg.lstsq(design, flux[known], rcond=None)[0]
    return np.std(design @ (total - weights)) / max(np.std(design @ total), 1e-15)


def _number(value):
    """A number for a header; None, an empty card, for what is not known."""
    return round(float(value), 7) if np.isfinite(value) else None
