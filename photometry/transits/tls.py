"""Transit least squares: at each period, the limb-darkened transit that fits the folded light
curve best.

The search is that of Hippke & Heller (2019, A&A 623, A39): their grids of periods and durations,
their template and their detection statistic (SDE). It is computed otherwise. The folded light curve
is summed into bins of phase once, and the template is a staircase: a few nested boxes of different
height. The fit of a box needs only the sums before each bin, so a template costs as much as a few
boxes, however many samples are in transit, and all starts of one duration are taken at once by
vector instructions. Durations are grouped in octaves; each octave bins the folded light curve anew,
by adding neighbours, such that a transit always has 12 to 23 bins.

For flux r below the mean, weights w and template s (1 at most, 0 outside), the best depth is
sum(w r s) / sum(w s^2), and it lowers chi^2 by sum(w r s)^2 / sum(w s^2).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from ..errors import ArgumentError
from .folding import (
    bin_in_time,
    check_samples,
    fold,
    fold_near,
    fold_segments,
    near_count,
    over_periods,
    prepare,
    sde_spectrum,
    segments,
)
from .transit_model import optimal_periods, transit_duration, transit_flux

BINS = 12  # of phase, in the shortest transit of an octave
LENGTHS = np.unique(
    np.rint(BINS * 1.1 ** np.arange(8)).astype(np.int64)
)  # of the transits of an octave, in bins
SCAN = 2  # every so many lengths are tried at all starts; the others near the best of these:
SHIFTS = 3  # bins to either side
NEAR = 0.9  # of the best drop of chi^2 so far: worth the closer look
INSETS = np.array(
    [0.0, 0.1, 0.2, 0.35]
)  # of the transit, by which the boxes of the template are shorter, at either side
# of the shortest duration at the shortest period: samples closer than this are joined
TIME_BIN = 1 / 16

EXACT_ABOVE = 0.9  # of the highest gain: such periods are folded exactly
# Periods of more bins, or with fewer neighbours alike, are folded one by one: it is no slower
MAX_NEAR_BINS, MIN_NEAR = 2500, 4

# Stars between these decide how short and how long transits may be (Hippke & Heller 2019, section
# 2.2)
SMALL_STAR = {"radius": 0.13, "mass": 0.1}
LARGE_STAR = {"radius": 3.5, "mass": 1.0, "planet_radius": 2.0}

# The template: a transit of a Sun in Kepler's band (Claret & Bloemen 2011), the median of Kepler's
# planets
TEMPLATE = {"radius_ratio": 0.03, "u1": 0.4804, "u2": 0.1867}
TEMPLATE_IMPACT = 0.32

_EPSILON = 1e-9  # keeps empty windows finite; weights are about 1


@dataclass(frozen=True)
class TransitPeriodogram:
    """The best transit at each period."""

    period: np.ndarray  # (n,) d, from the longest to the shortest
    power: np.ndarray  # (n,) SDE at each period, trend removed; its maximum is `sde`
    delta_chi2: np.ndarray  # (n,) by how much the best transit lowers chi2
    depth: np.ndarray  # (n,) of the middle of the transit, relative
    duration: np.ndarray  # (n,) d
    transit_time: np.ndarray  # (n,) d, middle of a transit, not before the first sample
    sde: float  # signal detection efficiency; NaN where nothing was fitted

    @property
    def best(self):
        """Index of the highest power"""
        return int(np.argmax(self.power))


def transit_periodogram(
    times,
    flux,
    errors=None,
    periods=None,
    *,
    period_min=0.0,
    period_max=np.inf,
    threads=None,
    progress=None,
):
    """Best transit at every period.

    Parameters
    ----------
    times : (n,) array, d
    flux : (n,) array, finite, relative: about 1 outside transits
    errors : (n,) array, optional
        1 sigma; by default the standard deviation of the flux
    periods : (n_periods,) array, d, optional, as `transit_model.optimal_periods` makes them
    period_min, period_max : float, d; limits of the default periods
    threads : int, optional; all cores by default
    progress : callable, optional, ``progress(done, total)``

    Returns
    -------
    TransitPeriodogram
    """
    check_samples(times, flux)
    if periods is None:
        periods = default_periods(np.ptp(times), period_min, period_max)
    periods = np.ascontiguousarray(periods, dtype=float)
    if len(periods) == 0 or not periods.min() > 0:
        raise ArgumentError("no period to search: expected periods above zero")
    samples = prepare(times, flux, errors, level=1.0)
    trials = best_transits(samples, periods, threads=threads, progress=progress)
    return to_periodogram(samples, trials)


def default_periods(baseline, period_min=None, period_max=None):
    """Periods of a search by TLS; see `transit_model.optimal_periods`.

    Parameters
    ----------
    baseline : float, d
    period_min, period_max : float, d, optional; by default from an orbit of 3 stellar radii to half
        the baseline, or whatever the limits say, up to the whole baseline

    Returns
    -------
    (n,) array, d, from the longest to the shortest
    """
    periods = optimal_periods(
        baseline,
        period_min=period_min or 0.0,
        period_max=np.inf if period_max is None else period_max,
    )
    if len(periods) == 0:
        raise ArgumentError(
            f"no period to search between period_min={period_min or 0:g} and "
            f"period_max={np.inf if period_max is None else period_max:g}: "
            f"the light curve has {baseline:.3f} days"
        )
    return periods


class Trials(NamedTuple):
    """The best transit at each of many periods; arrays of one value per period."""

    period: np.ndarray  # d
    gain: np.ndarray  # by how much it lowers chi2, in units of the samples' weight
    depth: np.ndarray  # relative, in the middle of the transit
    start: np.ndarray  # d after the first sample, first contact
    duration: np.ndarray  # d


def best_transits(samples, periods, *, threads=None, progress=None):
    """Fit the best transit at every period.

    Neighbouring periods are folded together (`folding.fold_near`), which may move a sample by a
    bin, 1/12 of the shortest transit; then those near the highest gain are folded exactly.

    Parameters
    ----------
    samples : Samples of `folding.prepare`, with the level 1
    periods : (n_periods,) array, d
    threads : int, optional
    progress : callable, optional, ``progress(done, total)``

    Returns
    -------
    Trials
    """
    shortest, _ = duration_limits(periods)
    joined = bin_in_time(samples, TIME_BIN * shortest.min())
    stretches, whole = segments(joined.times), segments(joined.times, 1)
    trials = Trials(periods, *(np.zeros(len(periods)) for _ in range(4)))

    def work_on(stretches, periods, outputs, progress=None):
        def work(periods, *outputs):
            _best_transits(
                *joined[:5],
                *stretches[:2],
                stretches.length,
                periods,
                *duration_limits(periods),
                LENGTHS,
                *staircases(),
                *outputs,
            )

        over_periods(work, periods, outputs, threads, progress)

    work_on(stretches, periods, trials[1:], progress)
    high = np.flatnonzero(trials.gain >= EXACT_ABOVE * trials.gain.max())
    exact = [np.zeros(len(high)) for _ in range(4)]
    work_on(whole, periods[high], exact)
    for values, better in zip(trials[1:], exact, strict=True):
        values[high] = better
    return trials


def to_periodogram(samples, trials, regular=None):
    """Periodogram from trials at all periods, or at those that were searched again.

    Parameters
    ----------
    samples : Samples of `folding.prepare`
    trials : Trials
    regular : (n_periods,) bool array, optional
        The trials that are evenly spread over the grid: mean, median and scatter are theirs
    """
    delta_chi2 = trials.gain * samples.weight_unit
    total = np.sum(samples.flux**2 / samples.weight) * samples.weight_unit
    power, sde = sde_spectrum(total - delta_chi2, regular=regular)
    middle = np.mod(trials.start + 0.5 * trials.duration, trials.period) + samples.start
    return TransitPeriodogram(
        trials.period, power, delta_chi2, trials.depth, trials.duration, middle, sde
    )


def duration_limits(periods):
    """Shortest and longest duration to be tried at each period, d"""
    return transit_duration(periods, **SMALL_STAR), transit_duration(periods, **LARGE_STAR)


def template(phase):
    """Depth of the template, 1 at its deepest, at ``phase``: -1 at first contact, 0 in the middle,
    1 at last contact."""
    half = np.sqrt((1 + TEMPLATE["radius_ratio"]) ** 2 - TEMPLATE_IMPACT**2)
    blocked = 1 - transit_flux(np.hypot(TEMPLATE_IMPACT, np.asarray(phase) * half), **TEMPLATE)
    deepest = 1 - transit_flux(np.array([TEMPLATE_IMPACT]), **TEMPLATE)[0]
    return blocked / deepest


@lru_cache(maxsize=1)
def staircases():
    """The template as nested boxes, for all lengths of the octave.

    Returns
    -------
    insets : (n, n_boxes) int array, by how many bins each box is shorter than the transit, at
        either side
    heights, squares : (n, n_boxes) arrays, what each box adds to the template, and to its square
    """
    rows = [_staircase(length) for length in LENGTHS]
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def _staircase(length):
    edges = np.linspace(-1, 1, length * 20 + 1)
    half = (length + 1) // 2
    value = template(0.5 * (edges[1:] + edges[:-1])).reshape(length, 20).mean(axis=1)[:half]
    insets = np.minimum(np.rint(INSETS * length).astype(np.int64), half - 1)
    level = np.array([value[a:b].mean() for a, b in zip(insets, [*insets[1:], half], strict=True)])
    return insets, np.diff(level, prepend=0), np.diff(level**2, prepend=0)


@njit(nogil=True, cache=True, error_model="numpy")
def _best_transits(
    times,
    flux,
    weight,
    packed,
    unit,
    first,
    middle,
    segment_length,
    periods,
    shortest,
    longest,
    lengths,
    insets,
    heights,
    squares,
    gain,
    depth,
    start,
    duration,
):
    """For each period the transit that lowers chi^2 most: by how much, depth, start, duration."""
    widths = shortest / BINS
    most = (
        int(np.ceil((periods / widths).max()))
        + int(np.ceil((longest / widths).max())) * 2
        + 4 * BINS
        + 4
    )
    index, sums = np.empty(len(times), np.int32), np.empty(most, np.int64)
    flux_sum, weight_sum, best = np.empty(most), np.empty(most), np.empty(most)
    coarse_flux, coarse_weight = np.empty(most), np.empty(most)
    near_sums = np.empty((2, MAX_NEAR_BINS), np.int64)
    profile = np.empty((len(middle), MAX_NEAR_BINS), np.int64)
    weights = np.empty((1 if packed.size else len(middle), MAX_NEAR_BINS), np.int64)
    p = 0
    while p < len(periods):
        n, count = int(np.ceil(periods[p] / widths[p])), 1
        if len(middle) > 1 and n <= MAX_NEAR_BINS:
            count = near_count(periods, p, n, segment_length)
        together = count >= MIN_NEAR
        if together:
            period = periods[p + count // 2]
            fold_segments(
                times, flux, weight, packed, first, middle, period, n, index, profile, weights
            )
        for k in range(p, p + count):
            width = periods[k] / n if together else widths[k]
            end = int(np.ceil(periods[k] / width)) + int(np.ceil(longest[k] / width)) * 2 + 4 * BINS
            to_fill = flux_sum[:end], weight_sum[:end]
            if together:
                fold_near(
                    profile,
                    weights,
                    packed.size > 0,
                    unit,
                    middle,
                    periods[k],
                    n,
                    near_sums,
                    *to_fill,
                )
            else:
                n = fold(
                    times, flux, weight, packed, unit, periods[k], width, index, sums, *to_fill
                )
            step = 1
            while BINS * step * width <= longest[k] or step == 1:
                n_starts = (n + step - 1) // step
                n_sums = min(n_starts + 2 * BINS, (end - 1) // step + 1)
                for i in range(
                    n_sums
                ):  # not slices: to compile their check of shapes takes seconds
                    coarse_flux[i], coarse_weight[i] = flux_sum[i * step], weight_sum[i * step]
                _best_at_each_start(
                    coarse_flux, coarse_weight, n_starts, lengths, insets, heights, squares, best
                )
                i = np.argmax(best[:n_starts])
                if best[i] > NEAR * gain[k]:
                    for j in range(max(i - SHIFTS, 0), min(i + SHIFTS + 1, n_starts)):
                        for m in range(len(lengths)):
                            dip, norm = _fit(
                                coarse_flux,
                                coarse_weight,
                                j,
                                lengths[m],
                                insets[m],
                                heights[m],
                                squares[m],
                            )
                            here = dip * dip / (norm + _EPSILON)
                            if here > gain[k]:
                                gain[k], depth[k] = here, -dip / norm
                                start[k], duration[k] = j * step * width, lengths[m] * step * width
                step *= 2
        p += count


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _best_at_each_start(flux_sum, weight_sum, n, lengths, insets, heights, squares, best):
    """The largest drop of chi^2 of every other length, for transits that start at each bin."""
    best[:n] = 0.0
    for k in range(0, len(lengths), SCAN):
        length = lengths[k]
        a, b, c = insets[k, 1], insets[k, 2], insets[k, 3]
        f, w = flux_sum, weight_sum
        f0, f1, f2, f3 = f[:n], f[a : n + a], f[b : n + b], f[c : n + c]
        f7, f6, f5, f4 = (
            f[length : n + length],
            f[length - a : n + length - a],
            f[length - b : n + length - b],
            f[length - c : n + length - c],
        )
        w0, w1, w2, w3 = w[:n], w[a : n + a], w[b : n + b], w[c : n + c]
        w7, w6, w5, w4 = (
            w[length : n + length],
            w[length - a : n + length - a],
            w[length - b : n + length - b],
            w[length - c : n + length - c],
        )
        h0, h1, h2, h3 = heights[k, 0], heights[k, 1], heights[k, 2], heights[k, 3]
        s0, s1, s2, s3 = squares[k, 0], squares[k, 1], squares[k, 2], squares[k, 3]
        for i in range(n):
            dip = (
                h0 * (f7[i] - f0[i])
                + h1 * (f6[i] - f1[i])
                + h2 * (f5[i] - f2[i])
                + h3 * (f4[i] - f3[i])
            )
            norm = (
                s0 * (w7[i] - w0[i])
                + s1 * (w6[i] - w1[i])
                + s2 * (w5[i] - w2[i])
                + s3 * (w4[i] - w3[i])
            )
            dip = min(dip, 0.0)
            best[i] = max(best[i], dip * dip / (norm + _EPSILON))


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _fit(flux_sum, weight_sum, i, length, insets, heights, squares):
    """sum(w r s), not above 0, and sum(w s^2) of a transit of ``length`` bins from bin ``i`` on."""
    dip = norm = 0.0
    for k in range(len(insets)):
        a, b = i + insets[k], i + length - insets[k]
        dip += heights[k] * (flux_sum[b] - flux_sum[a])
        norm += squares[k] * (weight_sum[b] - weight_sum[a])
    return min(dip, 0.0), norm
