"""Box least squares: at each period, the box-shaped dip that fits the folded light curve best.

The method is that of Kovács, Zucker & Mazeh (2002, A&A 391, 369) with the objective of astropy's
``BoxLeastSquares`` (log likelihood of the dip) and its bins: a tenth of the shortest duration by
default. Unlike astropy's, a box may cross the end of the folded light curve. Two things make it
fast: the packed sums of `folding`, and the loop over boxes, which takes all starts of one duration
at once and which the compiler turns into vector instructions.

`edge_effect_periodogram` is the method as the paper has it: few bins of phase, and for each period
the signal residue SR of the box that explains most of the variance; boxes may cross phase 1.
"""

from dataclasses import dataclass, replace

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
    segments,
)
from .transit_model import DURATIONS, uniform_frequencies

OVERSAMPLE = 10  # bins per shortest duration

# First pass of a search that need not be exact everywhere
COARSE_OVERSAMPLE = 4
# of the shortest duration: how far a transit at the end may shift between two periods
COARSE_DRIFT = 1 / 3
COARSE_TIME = 1 / 6  # of the shortest duration: bins of time
# of the highest power of the first pass: such periods, and those between them, are looked at
# exactly
KEEP = 0.6
# Periods of more bins, or with fewer neighbours alike, are folded one by one: it is no slower
MAX_NEAR_BINS, MIN_NEAR = 4000, 4

N_BINS = 10  # fewest bins of phase of `edge_effect_periodogram`
MIN_IN_BOX = 5  # samples in one of its boxes

_EPSILON = 1e-9  # keeps the objective of empty boxes finite; weights are about 1


@dataclass(frozen=True)
class BoxPeriodogram:
    """The best box at each period; names as in astropy's ``BoxLeastSquaresResults``."""

    period: np.ndarray  # (n,) d
    power: np.ndarray  # (n,) log likelihood of the box, relative to no transit
    depth: np.ndarray  # (n,) unit of the flux, above zero
    depth_err: np.ndarray  # (n,)
    duration: np.ndarray  # (n,) d
    transit_time: np.ndarray  # (n,) d, middle of the first transit
    exact: np.ndarray  # (n,) bool; False where the power is only that of the coarse pass

    @property
    def depth_snr(self):
        """(n,) depth over its error"""
        return self.depth / self.depth_err

    @property
    def best(self):
        """Index of the highest power"""
        return int(np.argmax(np.where(self.exact, self.power, -np.inf)))


def box_periodogram(
    times,
    flux,
    errors=None,
    periods=None,
    durations=DURATIONS,
    *,
    oversample=OVERSAMPLE,
    threads=None,
):
    """Best box at every period.

    Parameters
    ----------
    times : (n,) array, d
    flux : (n,) array, finite
    errors : (n,) array, optional, 1 sigma
    periods : (n_periods,) array, d; by default from twice the longest duration to the baseline, as
        astropy
    durations : (n_durations,) array, d, shorter than the shortest period
    oversample : int, bins of phase per shortest duration
    threads : int, optional; all cores by default

    Returns
    -------
    BoxPeriodogram
    """
    periods, durations = _checked(times, flux, periods, durations)
    return _periodogram(prepare(times, flux, errors), periods, durations, oversample, threads)


def search_boxes(
    times,
    flux,
    errors=None,
    periods=None,
    durations=DURATIONS,
    *,
    oversample=OVERSAMPLE,
    threads=None,
    progress=None,
):
    """Best box of the same grid as `box_periodogram`, found from coarse to fine.

    A first pass steps over periods between which transits hardly move, with wider bins. Where its
    power is at least 0.6 of its highest, all periods are then looked at exactly. Elsewhere the
    power is that of the first pass, and ``exact`` is False. ``benchmarks/bench_transits.py``
    counts how often the best period differs from that of the full search.

    Parameters
    ----------
    times, flux, errors, periods, durations, oversample, threads : as in `box_periodogram`
    progress : callable, optional, ``progress(done, total)``

    Returns
    -------
    BoxPeriodogram
    """
    periods, durations = _checked(times, flux, periods, durations)
    samples = prepare(times, flux, errors)
    chosen = _coarse_steps(periods, COARSE_DRIFT * durations.min() / np.ptp(times))
    coarse = coarse_boxes(samples, periods[chosen], durations, threads=threads, progress=progress)
    high = np.flatnonzero(coarse.power >= KEEP * coarse.power.max())
    fine = np.zeros(len(periods), dtype=bool)
    for k in high:
        fine[chosen[max(k - 1, 0)] : chosen[min(k + 1, len(chosen) - 1)] + 1] = True
    exact = _periodogram(samples, periods[fine], durations, oversample, threads)
    nearest = np.clip(np.searchsorted(chosen, np.arange(len(periods))), 0, len(chosen) - 1)
    columns = {}
    for name in ("power", "depth", "depth_err", "duration", "transit_time"):
        columns[name] = getattr(coarse, name)[nearest]
        columns[name][fine] = getattr(exact, name)
    return BoxPeriodogram(periods, **columns, exact=fine)


def coarse_boxes(samples, periods, durations=DURATIONS, *, threads=None, progress=None):
    """Best box at every period, with wide bins and neighbouring periods folded together.

    Parameters
    ----------
    samples : Samples of `folding.prepare`
    periods, durations : (n,) arrays, d
    threads : int, optional
    progress : callable, optional, ``progress(done, total)``

    Returns
    -------
    BoxPeriodogram; ``exact`` is False everywhere
    """
    joined = bin_in_time(samples, COARSE_TIME * durations.min())
    stretches = segments(joined.times)
    result = _periodogram(
        joined, periods, durations, COARSE_OVERSAMPLE, threads, stretches, progress
    )
    return replace(result, exact=np.zeros(len(periods), dtype=bool))


def _checked(times, flux, periods, durations):
    durations = np.atleast_1d(np.asarray(durations, dtype=float))
    check_samples(times, flux)
    if periods is None:
        periods = uniform_frequencies(
            np.ptp(times), durations.min(), 2 * durations.max(), np.ptp(times), frequency_factor=1.0
        )
    periods = np.ascontiguousarray(periods, dtype=float)
    if len(periods) == 0 or not 0 < durations.min() <= durations.max() < periods.min():
        raise ArgumentError(
            "durations must be above zero and shorter than the shortest period, and there must be "
            "a period"
        )
    return periods, durations


def _coarse_steps(periods, drift):
    """Indices of periods such that between two of them the cycle at the end of the baseline moves
    by ``drift`` days.

    The phase after time T moves by T |df| cycles of P days; drift is given per day of T.
    """
    frequency = 1.0 / periods
    moved = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(frequency)) * periods[1:])]) / drift
    steps = np.unique(np.searchsorted(moved, np.arange(0, moved[-1] + 1)))
    return np.unique(np.concatenate([steps[steps < len(periods)], [len(periods) - 1]]))


def _periodogram(samples, periods, durations, oversample, threads, stretches=None, progress=None):
    stretches = segments(samples.times, 1) if stretches is None else stretches
    width = durations.min() / oversample
    lengths = np.rint(durations / width).astype(np.int64)
    power, flux, weight, start, length = outputs = [np.zeros(len(periods)) for _ in range(5)]

    def work(periods, *outputs):
        _best_boxes(
            *samples[:5], *stretches[:2], stretches.length, periods, lengths, width, *outputs
        )

    over_periods(work, periods, outputs, threads, progress)
    total, unit = samples.weight.sum(), samples.weight_unit
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(weight > 0, -flux * total / (weight * (total - weight)), np.nan)
        depth_err = np.sqrt(1 / (weight * unit) + 1 / ((total - weight) * unit))
    middle = np.mod(start + 0.5 * length, periods) + samples.start
    return BoxPeriodogram(
        periods,
        0.5 * power * total**2 * unit,
        depth,
        depth_err,
        length,
        middle,
        np.ones(len(periods), dtype=bool),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _best_boxes(
    times,
    flux,
    weight,
    packed,
    unit,
    first,
    middle,
    segment_length,
    periods,
    lengths,
    width,
    power,
    box_flux,
    box_weight,
    box_start,
    box_length,
):
    """For each period the box of highest power: sums of flux and weight, first bin and length."""
    pad = lengths.max() + 3
    max_bins = int(np.ceil(periods.max() / width)) + pad + 1
    index, sums = np.empty(len(times), np.int32), np.empty(max_bins, np.int64)
    flux_sum, weight_sum, best = np.empty(max_bins), np.empty(max_bins), np.empty(max_bins)
    near_sums = np.empty((2, MAX_NEAR_BINS), np.int64)
    profile = np.empty((len(middle), MAX_NEAR_BINS), np.int64)
    weights = np.empty((1 if packed.size else len(middle), MAX_NEAR_BINS), np.int64)
    total = weight.sum()
    p = 0
    while p < len(periods):
        n, count = int(np.ceil(periods[p] / width)), 1
        if len(middle) > 1 and n <= MAX_NEAR_BINS:
            count = near_count(periods, p, n, segment_length)
        together = count >= MIN_NEAR
        if together:
            fold_segments(
                times, flux, weight, packed, first, middle, periods[p + count // 2], n, index,
                profile, weights,
            )  # fmt: skip
        for k in range(p, p + count):
            own_width = periods[k] / n if together else width
            end = int(np.ceil(periods[k] / own_width)) + pad
            to_fill = flux_sum[:end], weight_sum[:end]
            if together:
                fold_near(
                    profile, weights, packed.size > 0, unit, middle, periods[k], n, near_sums,
                    *to_fill,
                )  # fmt: skip
            else:
                n = fold(
                    times, flux, weight, packed, unit, periods[k], width, index, sums, *to_fill
                )
            _best_at_each_start(flux_sum, weight_sum, n, total, lengths, best)
            i = np.argmax(best[:n])
            for length in lengths:
                in_flux = flux_sum[i + length] - flux_sum[i]
                in_weight = weight_sum[i + length] - weight_sum[i]
                here = _objective(in_flux, in_weight, total)
                if here > power[k]:
                    power[k], box_flux[k], box_weight[k] = here, in_flux, in_weight
                    box_start[k], box_length[k] = i * own_width, length * own_width
        p += count


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _best_at_each_start(flux_sum, weight_sum, n, total, lengths, best):
    """The highest objective of all durations, for boxes that start at each bin."""
    best[:n] = 0.0
    for length in lengths:
        flux_end, weight_end = flux_sum[length : length + n], weight_sum[length : length + n]
        flux_start, weight_start = flux_sum[:n], weight_sum[:n]
        for i in range(n):
            here = _objective(flux_end[i] - flux_start[i], weight_end[i] - weight_start[i], total)
            best[i] = max(best[i], here)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")
def _objective(in_flux, in_weight, total):
    """Log likelihood of a box, up to a constant; 0 for one that is brighter than the rest.

    With the mean flux being zero: depth = -s W / (r (W - r)), and log L = r depth**2 / 2, s and r
    being the sums of flux and weight within the box and W that of all weights.
    """
    dip, out_weight = min(in_flux, 0.0), total - in_weight
    return dip * dip / (in_weight * out_weight * out_weight + _EPSILON)


def edge_effect_periodogram(times, flux, periods, *, q_min, q_max, n_bins=N_BINS, threads=None):
    """Signal residue at each period.

    Parameters
    ----------
    times, flux : (n,) arrays, finite
    periods : (n_periods,) array, d
    q_min, q_max : float or (n_periods,) arrays, shortest and longest transit, as a fraction of the
        period
    n_bins : int or (n_periods,) int array, bins of phase

    Returns
    -------
    power : (n_periods,) array, SR: sqrt(s^2 / (r (1 - r))), s and r being the means of flux and of
        being in transit
    depth : (n_periods,) array, unit of the flux; negative where the box is brighter than the rest
    fraction : (n_periods,) array, part of the samples in the box
    """
    check_samples(times, flux)
    samples = prepare(times, flux)
    periods = np.ascontiguousarray(periods, dtype=float)
    # these arrays hold the limits when the kernel begins, the results when it ends
    limits = [
        np.broadcast_to(np.asarray(x, dtype=float), periods.shape) for x in (q_min, q_max, n_bins)
    ]
    if not (
        limits[0].min() > 0
        and (limits[0] <= limits[1]).all()
        and limits[1].max() < 1
        and limits[2].min() >= 2
    ):
        raise ValueError("expected 0 < q_min <= q_max < 1, and at least 2 bins")
    power, depth, fraction = outputs = [x.copy() for x in limits]

    def work(periods, *outputs):
        _signal_residue(*samples[:5], periods, MIN_IN_BOX, *outputs)

    over_periods(work, periods, outputs, threads)
    return power, depth, fraction


@njit(nogil=True, cache=True, error_model="numpy")
def _signal_residue(
    times, flux, weight, packed, unit, periods, min_samples, power, depth, fraction
):
    """``power, depth, fraction`` hold q_min, q_max and n_bins when it begins."""
    most = 2 * int(fraction.max()) + 4
    index, sums = np.empty(len(times), np.int32), np.empty(most, np.int64)
    flux_sum, weight_sum = np.empty(most), np.empty(most)
    n = weight.sum()
    for p in range(len(periods)):
        n_bins, q_min, q_max = int(fraction[p]), power[p], depth[p]
        shortest = max(int(q_min * n_bins), 1)
        longest = min(int(q_max * n_bins) + 1, n_bins - 1)
        fewest = max(min_samples, int(n * q_min))
        width = periods[p] / n_bins * (1 + 1e-12)
        fold(
            times,
            flux,
            weight,
            packed,
            unit,
            periods[p],
            width,
            index,
            sums,
            flux_sum[: 2 * n_bins + 1],
            weight_sum[: 2 * n_bins + 1],
        )
        top = best_s = 0.0
        best_r = 1.0
        for i in range(n_bins):
            for length in range(shortest, longest + 1):
                r = weight_sum[i + length] - weight_sum[i]
                if fewest <= r < n:
                    s = flux_sum[i + length] - flux_sum[i]
                    here = s * s / (r * (n - r))
                    if here > top:
                        top, best_s, best_r = here, s, r
        power[p] = np.sqrt(top)
        depth[p] = -best_s * n / (best_r * (n - best_r))
        fraction[p] = best_r / n
