"""BLS as Kovács, Zucker & Mazeh (2002, A&A 391, 369) wrote it, with the edge effect removed: boxes may cross phase 1.

Few bins of phase, and for each period the signal residue SR of the box that explains most of the variance.
"""

import numpy as np
from numba import njit

from .folding import check_samples, fold, prepare
from .parallel import over_periods

N_BINS = 10  # fewest bins of phase
MIN_SAMPLES = 5  # in a box


def edge_effect_periodogram(times, flux, periods, *, q_min, q_max, n_bins=N_BINS, threads=None):
    """Signal residue at each period.

    Parameters
    ----------
    times, flux : (n,) arrays, finite
    periods : (n_periods,) array, d
    q_min, q_max : float or (n_periods,) arrays, shortest and longest transit, as a fraction of the period
    n_bins : int or (n_periods,) int array, bins of phase

    Returns
    -------
    power : (n_periods,) array, SR: sqrt(s^2 / (r (1 - r))), s and r being the means of flux and of being in transit
    depth : (n_periods,) array, unit of the flux; negative where the box is brighter than the rest
    fraction : (n_periods,) array, part of the samples in the box
    """
    check_samples(times, flux)
    samples = prepare(times, flux)
    periods = np.ascontiguousarray(periods, dtype=float)
    # in: the limits, out: the results
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
        _signal_residue(*samples[:5], periods, MIN_SAMPLES, *outputs)

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
