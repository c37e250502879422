"""Box searches against astropy, and against loops that can be read."""

import numpy as np
import pytest
from astropy.timeseries import BoxLeastSquares
from transit_examples import planet

from photometry.transits import box_periodogram, edge_effect_periodogram, search_boxes
from photometry.transits.bls import DURATIONS
from photometry.transits.folding import bin_in_time, over_periods, pack, prepare
from photometry.transits.transit_model import optimal_periods, transit_duration, uniform_frequencies


def grid(times, period_min=0.5):
    return uniform_frequencies(np.ptp(times), 0.05, period_min, 0.5 * np.ptp(times))


def test_grid_is_astropys():
    times, flux = planet()
    theirs = BoxLeastSquares(times, flux).autoperiod(
        DURATIONS, minimum_period=0.5, maximum_period=0.5 * np.ptp(times), frequency_factor=2
    )
    np.testing.assert_allclose(grid(times), theirs, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_best_box_is_astropys_in_every_number(weighted):
    times, flux = planet(seed=7)
    errors = (
        np.full(times.size, 3e-4)
        if not weighted
        else np.random.default_rng(1).uniform(2e-4, 6e-4, times.size)
    )
    theirs = BoxLeastSquares(times, flux, dy=errors).power(grid(times), DURATIONS)
    ours = box_periodogram(times, flux, errors, grid(times))
    best = np.argmax(theirs.power)
    assert ours.best == best
    for name in ("power", "depth", "depth_err", "duration", "depth_snr", "transit_time"):
        assert getattr(ours, name)[ours.best] == pytest.approx(
            getattr(theirs, name)[best], rel=1e-8
        )


def test_power_differs_from_astropys_only_where_a_box_crosses_the_end_of_the_folded_light_curve():
    """astropy copies a tenth of what such boxes need beyond the end; samples exactly on the edge of
    a bin may fall either way.
    """
    times, flux = planet(seed=7, days=40.0001)
    times = times + np.random.default_rng(0).uniform(0, 1e-3, times.size)
    errors = np.full(times.size, 3e-4)
    theirs = BoxLeastSquares(times, flux, dy=errors).power(grid(times), DURATIONS)
    ours = box_periodogram(times, flux, errors, grid(times))
    start = [
        (np.mod(r.transit_time - times[0] - 0.5 * r.duration, r.period), r.duration)
        for r in (theirs, ours)
    ]
    crosses = np.any(
        [s + d > theirs.period - 0.005 for s, d in start] + [s < 0.006 for s, d in start], axis=0
    )
    assert crosses.mean() < 0.4
    np.testing.assert_allclose(ours.power[~crosses], theirs.power[~crosses], rtol=1e-7)


def test_a_box_across_the_end_is_found_whole():
    times = np.arange(0, 30, 0.02)
    flux = 1 - 1e-3 * (np.abs((times + 1.5) % 3 - 1.5) < 0.1)
    flux += 1e-5 * np.random.default_rng(1).standard_normal(times.size)
    ours = box_periodogram(times, flux, None, np.array([3.0]), np.array([0.2]))
    assert ours.depth[0] == pytest.approx(1e-3, rel=0.05)
    assert min(ours.transit_time[0], 3 - ours.transit_time[0]) < 0.02


def test_packed_and_weighted_sums_agree():
    times, flux = planet()
    periods = grid(times)[::50]
    equal = box_periodogram(times, flux, np.full(times.size, 1e-3), periods)
    nearly = np.full(times.size, 1e-3)
    nearly[0] *= 1 + 1e-9  # no longer equal: the other way to sum
    weighted = box_periodogram(times, flux, nearly, periods)
    np.testing.assert_allclose(equal.power, weighted.power, rtol=1e-6)
    np.testing.assert_array_equal(equal.duration, weighted.duration)


def test_packing_keeps_flux_and_count_exactly():
    flux = np.array([1.0, -2.0, 0.5, 1e-9])
    packed, unit = pack(flux, np.array([1.0, 2, 3, 1]))
    total = packed.sum()
    assert total & 0xFFFFF == 7
    assert (total >> 20) * unit == pytest.approx(flux.sum(), abs=4 * unit)
    assert pack(flux, np.array([1.0, 2, 3, 0.5]))[0].size == 0


def test_light_curve_in_single_precision_is_summed_in_double():
    times, flux = planet(days=5)
    samples = prepare(times.astype("f4"), flux.astype("f4"))
    assert all(values.dtype == float for values in (samples.times, samples.flux, samples.weight))


def test_bins_of_time_keep_sums_and_are_not_made_where_they_would_not_help():
    times, flux = planet(minutes=2, days=5)
    samples = prepare(times, flux)
    binned = bin_in_time(samples, 10 / 1440)
    assert len(binned.times) <= len(times) / 4
    assert binned.flux.sum() == pytest.approx(samples.flux.sum(), abs=1e-12)
    assert binned.weight.sum() == len(times)
    assert binned.packed.size
    assert bin_in_time(samples, 3 / 1440) is samples


@pytest.mark.parametrize("seed", range(4))
def test_coarse_to_fine_finds_the_best_of_the_whole_grid(seed):
    times, flux = planet(seed=seed, depth=700e-6, period=3.1 + seed)
    full, fast = (
        box_periodogram(times, flux, None, grid(times)),
        search_boxes(times, flux, None, grid(times)),
    )
    assert fast.best == full.best
    for name in ("power", "depth", "duration", "transit_time"):
        assert getattr(fast, name)[fast.best] == getattr(full, name)[full.best]
    assert fast.exact.mean() < 0.3


def test_threads_do_not_change_anything():
    times, flux = planet()
    one, three = (box_periodogram(times, flux, None, grid(times), threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.power, three.power)
    shares = np.zeros(200)
    over_periods(
        lambda periods, out: np.copyto(out, periods * 2), np.arange(200.0), [shares], threads=3
    )
    np.testing.assert_array_equal(shares, np.arange(200) * 2)


def test_flat_light_curve_has_no_power():
    times = np.arange(0, 20, 0.02)
    assert not box_periodogram(times, np.ones(times.size), None, grid(times)[::50]).power.any()


@pytest.mark.parametrize(
    ("n", "periods", "durations", "message"),
    [
        (2, [1.0], [0.1], "at least 3"),
        (100, [], [0.1], "there must be a period"),
        (100, [1.0], [1.5], "shorter than the shortest period"),
    ],
)
def test_searches_that_make_no_sense_are_refused(n, periods, durations, message):
    with pytest.raises(ValueError, match=message):
        box_periodogram(np.arange(n) / 10, np.ones(n), None, np.array(periods), durations)


def test_optimal_periods_are_uniform_in_the_cube_root_of_frequency_and_number_as_tls():
    periods = optimal_periods(90.0)
    steps = np.diff(periods ** (-1 / 3))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert periods.max() == pytest.approx(45, rel=1e-3)
    assert abs(len(periods) - 9678) < 20  # Hippke & Heller's program: 9678 for 90 days
    assert transit_duration(365.25) * 24 == pytest.approx(13.0, abs=0.1)  # Earth and Sun, hours
    assert transit_duration(0.1) == pytest.approx(0.012)


def slow_signal_residue(times, flux, period, n_bins, q_min, q_max):
    """Kovács et al. (2002), equations 4 and 5, as a loop over boxes; boxes may cross phase 1."""
    n, y = len(times), flux - flux.mean()
    bins = np.minimum((((times - times.min()) / period) % 1 * n_bins).astype(int), n_bins - 1)
    best = (0.0, 0.0)
    for i in range(n_bins):
        for length in range(max(int(q_min * n_bins), 1), int(q_max * n_bins) + 2):
            inside = np.isin(bins, [(i + k) % n_bins for k in range(length)])
            r, s = inside.sum() / n, y[inside].sum() / n
            if inside.sum() >= max(5, int(n * q_min)):
                best = max(best, (np.sqrt(s**2 / (r * (1 - r))), -s / (r * (1 - r))))
    return best


def test_edge_effect_bls_is_the_loop_of_the_paper():
    times, flux = planet(days=20, depth=5e-3)
    periods = np.array([1.3, 2.1, 4.37, 7.7])
    power, depth, _ = edge_effect_periodogram(
        times, flux, periods, q_min=0.05, q_max=0.2, n_bins=10
    )
    expected = [slow_signal_residue(times, flux, p, 10, 0.05, 0.2) for p in periods]
    np.testing.assert_allclose(np.column_stack([power, depth]), expected, rtol=1e-6)
    assert np.argmax(power) == 2
