"""QATS: transits that need not be strictly periodic.

Carter & Agol (2013, ApJ 765, 132): of all sequences of transits whose spacings lie between two
limits, find by dynamic programming the one that takes most light away. The limits step through all
periods.
"""

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from ..errors import ArgumentError
from ..files import atomic_write
from .folding import available_cores


@dataclass(frozen=True)
class QuasiPeriodicSearch:
    """The best sequence of transits, and the best of every pair of limits and duration."""

    transit_times: np.ndarray  # (count,) d, middles; empty where nothing was found
    duration: float  # d
    score: float  # S: light missing in the transits over its noise
    table: np.ndarray  # (n, 5): S, M (transits), dmin, dmax, q (samples), best first

    @property
    def period(self):
        """Mean spacing [d]; 0 with fewer than two transits"""
        count = len(self.transit_times)
        return (
            float((self.transit_times[-1] - self.transit_times[0]) / (count - 1))
            if count > 1
            else 0.0
        )

    def write_debugging(self, path):
        """Write the table and the transits as ``tar.gz``, atomically."""
        files = {
            "table.txt": (self.table, "S M dmin dmax q"),
            "transits.txt": (self.transit_times, "middle [d]"),
        }
        with atomic_write(path) as part, tarfile.open(part, "w:gz") as archive:
            for name, (values, header) in files.items():
                text = io.StringIO()
                np.savetxt(text, values, fmt="%.10g", header=header)
                info = tarfile.TarInfo(name)
                info.size = len(text.getvalue())
                archive.addfile(info, io.BytesIO(text.getvalue().encode()))


def quasi_periodic_search(
    lc,
    *,
    duration_min=0.05,
    duration_max=0.2,
    duration_count=16,
    period_min=4.0,
    min_transit_count=2,
    max_ttv_mag=0.0005,
    threads=None,
):
    """Search a light curve for quasi-periodic transits.

    Parameters
    ----------
    lc : Lightcurve; put onto a regular raster first, gaps and flagged samples count as no transit
    duration_min, duration_max : float, d; ``duration_count`` values between them
    period_min : float, d; the longest period is the length over ``min_transit_count``
    max_ttv_mag : float, f: the spacings of one trial differ by the factor 1 + f/2 at most

    Returns
    -------
    QuasiPeriodicSearch
    """
    if not (0 < duration_min <= duration_max and duration_count >= 1):
        raise ArgumentError(
            f"duration_min={duration_min!r}, duration_max={duration_max!r}, "
            f"duration_count={duration_count!r}: expected "
            "0 < duration_min <= duration_max (days), and at least 1"
        )
    flux, step, start = regular_flux(lc)
    limits = spacing_limits(len(flux), step, period_min, min_transit_count, max_ttv_mag)
    durations = np.unique(
        np.maximum(
            np.rint(np.linspace(duration_min, duration_max, duration_count) / step), 1
        ).astype(np.int64)
    )
    durations = durations[durations <= len(flux)]
    if len(limits) == 0 or len(durations) == 0 or np.std(flux) == 0:
        return QuasiPeriodicSearch(np.empty(0), float("nan"), 0.0, np.empty((0, 5)))
    trials = [(np.convolve(-flux, np.ones(q), "valid"), q) for q in durations]

    def one_duration(trial):
        box, q = trial
        score, count = _scores(box, q, limits)
        return np.column_stack([score, count, limits, np.full(len(limits), q)])

    with ThreadPoolExecutor(min(threads or len(trials), available_cores())) as pool:
        table = np.concatenate(list(pool.map(one_duration, trials)))
    table = table[np.argsort(-table[:, 0], kind="stable")]
    score, count, dmin, dmax, q = table[0]
    box = next(box for box, length in trials if length == q)
    transits = (
        _sequence(box, int(count), int(dmin), int(dmax)) if score > 0 else np.empty(0, np.int64)
    )
    return QuasiPeriodicSearch(
        start + (transits + 0.5 * (q - 1)) * step, q * step, float(score), table
    )


def regular_flux(lc):
    """Flux on a regular raster, minus its median, over its standard deviation; 0 in gaps.

    Returns
    -------
    flux : (n,) array
    step, start : float, d
    """
    step = lc.estimate_sampling_interval()
    times, good = lc.get_times(), lc.good()
    index = np.rint((times - times[0]) / step).astype(np.int64)
    values = lc.fluxes[good] - np.median(lc.fluxes[good])
    flux = np.zeros(index[-1] + 1)
    flux[index[good]] = values / (np.std(values) or 1.0)
    return flux, step, times[0]


def spacing_limits(n, step, period_min, min_transit_count, max_ttv_mag):
    """Smallest and largest spacing of each trial.

    Parameters
    ----------
    n : int, samples of the raster
    step, period_min : float, d
    min_transit_count : int
    max_ttv_mag : float, as in `quasi_periodic_search`

    Returns
    -------
    (n_trials, 2) int array, samples
    """
    if not (max_ttv_mag > 0 and period_min >= step and min_transit_count >= 1):
        raise ArgumentError(
            f"period_min={period_min!r}, max_ttv_mag={max_ttv_mag!r}, "
            f"min_transit_count={min_transit_count!r}: expected at least "
            f"one sample ({step:.4g} d), above zero, and at least 1"
        )
    growth = 1 + 0.5 * max_ttv_mag
    base, longest = period_min / step, n / min_transit_count
    count = int(np.floor(np.log(longest / base) / np.log(growth))) if longest > base else 0
    edges = (base * growth ** np.arange(count + 1)).astype(np.int64)
    return np.column_stack([edges[:-1], edges[1:]])[np.diff(edges) > 0]


@njit(nogil=True, cache=True)
def _scores(box, q, limits):
    """For each pair of limits the best score S = sum / sqrt(M q), and the number M of transits.

    ``box[i]`` is the light missing in a transit that begins at sample i.
    """
    n = len(box)
    score, count = np.zeros(len(limits)), np.zeros(len(limits))
    before, now = np.empty(n), np.empty(n)
    for k in range(len(limits)):
        dmin, dmax = limits[k]
        most = (n - 1) // dmin + 1
        low, high = 0, min(dmax, n)  # the first transit begins within the first spacing
        for i in range(high):  # not slices: to compile their check of shapes takes seconds
            before[i] = box[i]
        for m in range(1, most + 1):
            if m > 1:
                new_low, new_high = low + dmin, min(high + dmax, n)
                if new_low >= n:
                    break
                _extend(box, before, now, low, high, new_low, new_high, dmin, dmax)
                low, high = new_low, new_high
                before, now = now, before
            for i in range(
                max(low, n - dmax), high
            ):  # the last transit lies within the last spacing
                here = before[i] / np.sqrt(m * q)
                if m >= 2 and here > score[k]:
                    score[k], count[k] = here, m
    return score, count


@njit(nogil=True, cache=True, inline="always")
def _extend(box, before, now, low, high, new_low, new_high, dmin, dmax):
    """now[i] = box[i] + the best of before[i - dmax .. i - dmin]"""
    for i in range(new_low, new_high):
        top = -np.inf
        for j in range(max(i - dmax, low), min(i - dmin + 1, high)):
            top = max(top, before[j])
        now[i] = box[i] + top


@njit(nogil=True, cache=True)
def _sequence(box, count, dmin, dmax):
    """First samples of the ``count`` transits that the best sequence has; as `_scores`, but
    remembering all of it."""
    n = len(box)
    total = np.full((count, n), -np.inf)
    for i in range(min(dmax, n)):
        total[0, i] = box[i]
    for m in range(1, count):
        for i in range(m * dmin, n):
            top = -np.inf
            for j in range(max(i - dmax, 0), i - dmin + 1):
                top = max(top, total[m - 1, j])
            total[m, i] = box[i] + top
    found = np.empty(count, np.int64)
    end = max(n - dmax, 0)
    found[-1] = end + np.argmax(total[count - 1, end:])
    for m in range(count - 2, -1, -1):
        first = max(found[m + 1] - dmax, 0)
        found[m] = first + np.argmax(total[m, first : found[m + 1] - dmin + 1])
    return found
