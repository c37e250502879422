"""Fold samples into bins of phase: the innermost loop of every search, compiled and in
threads; and how far a peak stands out of the periodogram that comes of it.

When all samples have the same weight, or stand for a number of such samples, flux and count of a
sample are packed into one 64-bit integer, ``flux << 20 | 1``, so that one addition per sample
updates both the sum and the count of a bin. That halves the time, and sums of integers are exact.
The flux keeps 43 bits over the sum of all samples, about 1e-9 of the scatter.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.ndimage import median_filter

MIN_SAMPLES = 3
COUNT_BITS = 20
FLUX_BITS = 62 - COUNT_BITS
MAX_PACKED = 1 << COUNT_BITS  # samples
BLOCK = 512  # neighbouring periods that one thread takes at a time
SEGMENTS = 48  # of time, for folding at neighbouring periods
FIXED_POINT = float(1 << 32)  # of sums of flux and of weight that are not packed
# periods; running median that is subtracted from the spectrum, 30 times the oversampling of the
# grid (Hippke & Heller 2019)
KERNEL = 91


class Samples(NamedTuple):
    """What a search folds: times from 0 on, flux about zero (times weight) and weight, the mean
    weight being 1."""

    times: np.ndarray  # (n,) d
    flux: np.ndarray  # (n,) flux minus its weighted mean, times weight
    weight: np.ndarray  # (n,)
    packed: np.ndarray  # (n,) int64; empty where the weights are not whole numbers
    unit: float  # what one unit of the packed flux stands for
    start: float  # d, the time that became 0
    weight_unit: float  # 1/variance that a weight of 1 stands for


def check_samples(times, flux):
    """Refuse what cannot be searched."""
    if len(times) < MIN_SAMPLES or not np.ptp(times) > 0 or not np.isfinite(flux).all():
        raise ValueError(
            f"{len(times)} samples: a search needs at least {MIN_SAMPLES} at different times, all "
            f"finite"
        )


def prepare(times, flux, errors=None, *, level=None):
    """Samples to fold, from a light curve without NaN.

    Parameters
    ----------
    times : (n,) array, d
    flux : (n,) array
    errors : (n,) array, optional
        1 sigma; by default all samples weigh the same, and their scatter is taken as the error
    level : float, optional
        Flux outside transits; the weighted mean by default
    """
    times, flux = (np.asarray(values, dtype=float) for values in (times, flux))
    if errors is None or np.ptp(errors) == 0:
        variance = errors[0] ** 2 if errors is not None and errors[0] > 0 else np.var(flux)
        weight, weight_unit = np.ones(len(flux)), 1.0 / variance if variance > 0 else 1.0
    else:
        weight_unit = np.mean(errors**-2.0)
        weight = errors**-2.0 / weight_unit
    level = np.average(flux, weights=weight) if level is None else level
    if (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        times, flux, weight = times[order], flux[order], weight[order]
    return _samples(times, (flux - level) * weight, weight, times.min(), weight_unit)


def bin_in_time(samples, width):
    """The samples in bins of time of ``width`` [d]; themselves if that would not halve their
    number."""
    bins = np.floor(samples.times / width).astype(np.int64)
    _, first, bins = np.unique(bins, return_index=True, return_inverse=True)
    if len(first) > 0.5 * len(bins):
        return samples
    flux, weight, times = (
        np.bincount(bins, x) for x in (samples.flux, samples.weight, samples.weight * samples.times)
    )
    return _samples(
        times / weight + samples.start, flux, weight, samples.start, samples.weight_unit
    )


def _samples(times, flux, weight, start, weight_unit):
    packed, unit = pack(flux, weight)
    return Samples(
        np.ascontiguousarray(times - start),
        flux,
        weight,
        packed,
        unit,
        float(start),
        float(weight_unit),
    )


def pack(flux, weight):
    """Flux and weight of a sample in one integer; empty where weights are not whole, or too
    many."""
    total = np.abs(flux).sum()
    if weight.sum() >= MAX_PACKED or total == 0 or (weight != np.rint(weight)).any():
        return np.empty(0, np.int64), 1.0
    unit = total / 2.0**FLUX_BITS
    return (np.rint(flux / unit).astype(np.int64) << COUNT_BITS) + weight.astype(np.int64), unit


@njit(nogil=True, cache=True, error_model="numpy")
def fold(times, flux, weight, packed, unit, period, width, index, sums, flux_sum, weight_sum):
    """Sums of flux and of weight before each bin of phase, going around so that windows may cross
    the end.

    Parameters
    ----------
    times : (n,) array from 0 on; flux: (n,) array, already times weight; weight: (n,) array
    packed, unit : from `pack`; with an empty ``packed`` flux and weight are used
    period, width : period and bin width, in the unit of times
    index, sums : work space
    flux_sum, weight_sum : (>= n_bins + n_pad + 1,) arrays, filled: sums over the bins before each
        bin

    Returns
    -------
    n_bins : int, number of bins; the last one is narrower
    """
    n_bins = int(np.ceil(period / width))
    per_period, per_width = 1.0 / period, 1.0 / width
    # vectorised by the compiler: no table, no branch
    for i in range(len(times)):
        index[i] = np.int32((times[i] - period * np.floor(times[i] * per_period)) * per_width)
    if packed.size:
        _sum_packed(packed, unit, index, sums, n_bins, flux_sum, weight_sum)
    else:
        _sum_weighted(flux, weight, index, n_bins, flux_sum, weight_sum)
    for i in range(n_bins + 1, len(flux_sum)):  # the second time around
        flux_sum[i] = flux_sum[i - n_bins] + flux_sum[n_bins]
        weight_sum[i] = weight_sum[i - n_bins] + weight_sum[n_bins]
    return n_bins


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_packed(packed, unit, index, sums, n_bins, flux_sum, weight_sum):
    sums[: n_bins + 1] = 0
    for i in range(len(packed)):
        sums[index[i]] += packed[i]
    sums[n_bins - 1] += sums[n_bins]  # a sample that rounding put at phase 1
    total = np.int64(0)
    flux_sum[0] = weight_sum[0] = 0.0
    for b in range(n_bins):
        total += sums[b]
        flux_sum[b + 1] = (total >> COUNT_BITS) * unit
        weight_sum[b + 1] = total & (MAX_PACKED - 1)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_weighted(flux, weight, index, n_bins, flux_sum, weight_sum):
    flux_sum[: n_bins + 2] = 0.0
    weight_sum[: n_bins + 2] = 0.0
    for i in range(len(index)):
        b = index[i] + 1
        flux_sum[b] += flux[i]
        weight_sum[b] += weight[i]
    flux_sum[n_bins] += flux_sum[n_bins + 1]
    weight_sum[n_bins] += weight_sum[n_bins + 1]
    for b in range(n_bins):
        flux_sum[b + 1] += flux_sum[b]
        weight_sum[b + 1] += weight_sum[b]


def available_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_periods(work, periods, outputs, threads=None, progress=None):
    """Call ``work(periods, *outputs)`` on blocks of neighbouring periods, in threads.

    The compiled kernels release the lock of the interpreter. The blocks are the same for any number
    of threads, and so are the results.

    Parameters
    ----------
    work : function that fills the arrays it is given
    periods : (n,) array
    outputs : sequence of (n,) arrays, filled
    threads : int, optional
        By default as many as there are cores, and never more
    progress : callable, optional
        ``progress(done, total)``, periods, after each block
    """
    n, cores = len(periods), available_cores()
    starts = range(0, n, BLOCK)
    threads = min(threads or cores, cores, len(starts))
    done = 0

    def block(start):
        part = slice(start, start + BLOCK)
        work(periods[part], *(out[part] for out in outputs))
        return min(BLOCK, n - start)

    if threads <= 1:
        finished = map(block, starts)
        for count in finished:
            done += count
            if progress is not None:
                progress(done, n)
        return
    with ThreadPoolExecutor(threads) as pool:
        for count in pool.map(block, starts):
            done += count
            if progress is not None:
                progress(done, n)


class Segments(NamedTuple):
    """Samples in stretches of time, within which neighbouring periods fold alike; see
    `fold_near`."""

    first: np.ndarray  # (n_segments + 1,) int64: index of the first sample of each; the last is n
    middle: np.ndarray  # (n_segments,) d, the time that phases within it count from
    length: float  # d


def segments(times, count=SEGMENTS):
    """``count`` segments of equal length of sorted times that begin with 0."""
    length = float(times[-1]) / count * (1 + 1e-12)
    edges = length * np.arange(count + 1)
    first = np.searchsorted(times, edges[:-1])
    return Segments(np.append(first, len(times)), edges[:-1] + 0.5 * length, length)


@njit(nogil=True, cache=True, error_model="numpy")
def fold_segments(
    times, flux, weight, packed, first, middle, period, n_bins, index, profile, weights
):
    """Fold each segment on its own: the first half of folding at several periods near ``period``.

    Parameters
    ----------
    times, flux, weight, packed : as in `fold`
    first, middle : of `Segments`
    period : float, d
    n_bins : int, of the period
    index : (n,) int32 work space
    profile : (n_segments, >= n_bins) int64 array, filled with packed sums; flux where not packed
    weights : (n_segments, >= n_bins) int64 array, filled where the samples are not packed
    """
    per_period = 1.0 / period
    for s in range(len(middle)):
        profile[s, :n_bins] = 0
        if packed.size == 0:
            weights[s, :n_bins] = 0
        own_times, own_index = times[first[s] : first[s + 1]], index[first[s] : first[s + 1]]
        for i in range(len(own_times)):
            phase = (own_times[i] - middle[s]) * per_period
            own_index[i] = np.int32((phase - np.floor(phase)) * n_bins)
        row = profile[s]
        if packed.size:
            own = packed[first[s] : first[s + 1]]
            for i in range(len(own)):
                row[min(own_index[i], n_bins - 1)] += own[i]
        else:
            own_flux, own_weight = flux[first[s] : first[s + 1]], weight[first[s] : first[s + 1]]
            for i in range(len(own_flux)):
                b = min(own_index[i], n_bins - 1)
                row[b] += np.int64(own_flux[i] * FIXED_POINT)
                weights[s, b] += np.int64(own_weight[i] * FIXED_POINT)


@njit(nogil=True, cache=True, error_model="numpy")
def fold_near(
    profile, weights, is_packed, unit, middle, period, n_bins, sums, flux_sum, weight_sum
):
    """Folded light curve at a period near that of `fold_segments`, which shifts the segments only.

    Parameters
    ----------
    profile, weights : from `fold_segments`
    is_packed, unit : from `pack`
    middle : of `Segments`
    period : float, d
    n_bins : int, as in `fold_segments`
    sums : (2, >= n_bins) int64 work space
    flux_sum, weight_sum : (>= n_bins + 1,) arrays, filled as in `fold`
    """
    sums[:, :n_bins] = 0
    for s in range(len(middle)):
        cycles = middle[s] / period
        shift = int((cycles - np.floor(cycles)) * n_bins + 0.5) % n_bins
        _add_shifted(profile[s], shift, n_bins, sums[0])
        if not is_packed:
            _add_shifted(weights[s], shift, n_bins, sums[1])
    total = np.int64(0)
    flux_sum[0] = weight_sum[0] = 0.0
    for b in range(n_bins):
        if is_packed:
            total += sums[0, b]
            flux_sum[b + 1] = (total >> COUNT_BITS) * unit
            weight_sum[b + 1] = total & (MAX_PACKED - 1)
        else:
            flux_sum[b + 1] = flux_sum[b] + sums[0, b] / FIXED_POINT
            weight_sum[b + 1] = weight_sum[b] + sums[1, b] / FIXED_POINT
    for i in range(n_bins + 1, len(flux_sum)):  # the second time around
        flux_sum[i] = flux_sum[i - n_bins] + flux_sum[n_bins]
        weight_sum[i] = weight_sum[i - n_bins] + weight_sum[n_bins]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_shifted(row, shift, n_bins, total):
    # views that begin at 0: with an index that might be negative the compiler makes no vectors
    end = n_bins - shift
    before, after = row[:end], row[end:n_bins]
    late, early = total[shift:n_bins], total[:shift]
    for i in range(len(before)):
        late[i] += before[i]
    for i in range(len(after)):
        early[i] += after[i]


@njit(nogil=True, cache=True)
def near_count(periods, p, bins, length):
    """How many periods from ``p`` on fold as one segment of ``length`` does, within half a bin.

    The middle one of them is the period of `fold_segments`: from it to the first and the last, the
    phase at the ends of a segment moves by half a bin at most.

    Parameters
    ----------
    periods : (n,) array, d
    p : int, index of the first
    bins : int, of phase
    length : float, d, of a segment
    """
    allowed = 2.0 / (length * bins)  # of frequency, from the first to the last
    count = 1
    while p + count < len(periods) and abs(1.0 / periods[p + count] - 1.0 / periods[p]) <= allowed:
        count += 1
    return count


def sde_spectrum(chi2, kernel=KERNEL, regular=None):
    """Signal detection efficiency at each period, from the chi^2 of the best transit there.

    Hippke & Heller (2019, A&A 623, A39), equations 2-4 and section 2.5: the signal residue is
    min(chi2)/chi2; its running median is subtracted, and the residual is given in standard
    deviations about its mean.

    Parameters
    ----------
    chi2 : (n,) array, in the order of the periods
    kernel : int, odd, length of the running median
    regular : (n,) bool array, optional
        Periods that are evenly spread; only they shape median, mean and standard deviation

    Returns
    -------
    power : (n,) array, zeros where nothing was fitted at any period, or all was fitted exactly
    sde : float, its maximum; NaN where nothing was fitted
    """
    if len(chi2) == 0 or not np.isfinite(chi2).all() or np.ptp(chi2) == 0 or chi2.min() <= 0:
        return np.zeros(len(chi2)), float("nan")
    residue = chi2.min() / chi2
    at = np.arange(len(chi2)) if regular is None else np.flatnonzero(regular)
    if len(at) > 2 * kernel:
        trend = median_filter(residue[at], kernel, mode="nearest")
        residue = residue - np.interp(np.arange(len(chi2)), at, trend)
    power = (residue - residue[at].mean()) / residue[at].std()
    return power, float(power.max())


def sde_of_power(power):
    """(maximum - mean) / standard deviation: Kovács et al. (2002, A&A 391, 369), equation 6; NaN
    for a flat periodogram"""
    return (
        float((power.max() - power.mean()) / power.std())
        if len(power) and power.std() > 0
        else float("nan")
    )


def half_width(periods, power):
    """Half of the width of the highest peak at half its height [d]: how certain the period is."""
    top = int(np.argmax(power))
    low = np.flatnonzero(power < 0.5 * power[top])
    left, right = low[low < top], low[low > top]
    ends = [
        periods[left[-1]] if left.size else periods[0],
        periods[right[0]] if right.size else periods[-1],
    ]
    return float(0.5 * abs(ends[0] - ends[1]))
