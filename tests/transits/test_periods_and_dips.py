"""A planet has transits: what one dip or single samples carry is no period; aliases are found."""

from dataclasses import replace

import numpy as np
import pytest
from transit_examples import planet

from photometry.lightcurve import Lightcurve, LightcurveArbitraryRaster, flatten
from photometry.transits import find_planets, find_transits, fit_transit, search_lightcurve
from photometry.transits import planets as planets_module
from photometry.transits.bls import coarse_boxes
from photometry.transits.fit import MIN_SAMPLES, PERIODIC, SINGLE_DIP, fold_phase, settle_period
from photometry.transits.folding import prepare
from photometry.transits.tls import best_transits, default_periods
from photometry.transits.transit_model import drift_periods

NOISE = 300e-6


def quiet(days=40.0, minutes=30, seed=5):
    times = np.arange(0, days, minutes / 1440)
    return times, 1 + NOISE * np.random.default_rng(seed).standard_normal(times.size)


def dip(times, middle, depth, duration=0.25):
    return depth * (np.abs(times - middle) < 0.5 * duration)


@pytest.mark.parametrize("method", ["tls", "bls"])
def test_one_deep_dip_is_reported_with_its_time_and_depth_and_is_no_planet(method):
    times, flux = quiet()
    found = search_lightcurve(
        LightcurveArbitraryRaster(times, flux - dip(times, 17.3, 7500e-6)), method=method
    )
    assert found.planets == []
    assert found.dips[0].time == pytest.approx(17.3, abs=0.03)
    assert found.dips[0].depth == pytest.approx(7500e-6, rel=0.2)
    assert found.dips[0].snr > 50


def test_two_single_samples_are_no_period():
    times, flux = quiet()
    flux[[300, 1500]] -= 20 * NOISE
    found = search_lightcurve(LightcurveArbitraryRaster(times, flux))
    assert found.planets == []
    at = sorted(round(one.time * 48) for one in found.dips)
    assert set(at) <= {299, 300, 301, 1499, 1500, 1501}


def test_two_unlike_dips_are_no_period():
    times, flux = quiet()
    flux -= dip(times, 9.0, 8000e-6) + dip(times, 27.0, 2000e-6)
    found = search_lightcurve(LightcurveArbitraryRaster(times, flux))
    assert found.planets == []
    assert [one.time for one in found.dips] == pytest.approx([9.0, 27.0], abs=0.05)


def test_each_transit_has_its_own_depth_and_signal_to_noise():
    times, flux = planet(depth=2000e-6, noise=100e-6)
    signal = fit_transit(times, flux, None, period=4.37, t0=1.9, duration=0.15)
    assert signal.kind == PERIODIC
    assert [event.number for event in signal.events] == list(range(9))
    np.testing.assert_allclose(
        [event.time for event in signal.events], 1.9 + 4.37 * np.arange(9), atol=0.02
    )
    # an independent sum: the depths, weighted, make the depth of all
    weight = np.array([event.depth_err for event in signal.events]) ** -2.0
    depth = np.array([event.depth for event in signal.events])
    assert np.sum(weight * depth) / weight.sum() == pytest.approx(signal.depth, rel=1e-9)
    assert np.sqrt(sum(event.snr**2 for event in signal.events)) == pytest.approx(
        signal.snr, rel=0.05
    )
    for event in signal.events:
        inside = np.abs(times - event.time) < 0.5 * signal.duration
        assert event.samples == inside.sum() >= MIN_SAMPLES


@pytest.mark.parametrize("factor", [0.5, 2.0, 1 / 3, 3.0])
def test_a_multiple_or_a_part_of_the_period_is_found_out(factor):
    times, flux = planet(depth=1500e-6)
    wrong = fit_transit(times, flux, None, period=4.37 * factor, t0=1.9, duration=0.15)
    assert settle_period(times, flux, None, wrong).period == pytest.approx(4.37, rel=1e-3)


def test_right_period_stays():
    times, flux = planet(depth=1500e-6)
    signal = fit_transit(times, flux, None, period=4.37, t0=1.9, duration=0.15)
    settled = settle_period(times, flux, None, signal)
    assert settled.period == pytest.approx(signal.period, rel=1e-9)
    assert settled.possible_periods == (settled.period,)
    assert abs(settled.half_snr) < 4


def test_eclipses_of_two_depths_keep_the_period_of_the_binary():
    times, deep = planet(depth=8000e-6, period=8.74, t0=1.9, noise=1e-4)
    _, shallow = planet(depth=5600e-6, period=8.74, t0=1.9 + 4.37, noise=0)
    signal = fit_transit(times, deep * shallow, None, period=8.74, t0=1.9, duration=0.2)
    assert settle_period(times, deep * shallow, None, signal).period == pytest.approx(
        8.74, rel=1e-3
    )


def test_periods_that_a_gap_leaves_open_are_listed_and_the_longest_is_taken():
    times, flux = planet(days=40, period=15.0, t0=3.0, depth=3000e-6)
    seen = np.abs(times - 18) > 1  # the transits at 3 and at 33 d are left
    signal, _ = find_transits(LightcurveArbitraryRaster(times[seen], flux[seen]))
    assert signal.possible_periods == pytest.approx((30.0, 15.0), rel=1e-3)
    assert signal.period == signal.possible_periods[0]


def test_a_planet_of_half_a_day_is_found_where_period_min_asks_for_it():
    times, flux = planet(days=30, period=0.463, t0=0.2, depth=800e-6)
    lc = LightcurveArbitraryRaster(times, flux)
    found = search_lightcurve(lc, period_min=0.3, max_planets=3)
    assert [signal.period for signal, _ in found.planets] == pytest.approx([0.463], rel=1e-3)
    assert found.shortest_period == pytest.approx(0.3, rel=1e-3)
    by_boxes = search_lightcurve(lc, period_min=0.3, method="bls")
    assert by_boxes.planets[0][0].period == pytest.approx(0.463, rel=1e-3)


@pytest.mark.parametrize("limits", [(0.3, 0.9), (2.0, 30.0), (None, 35.0), (5.0, None)])
def test_limits_of_the_period_are_those_of_the_grid(limits):
    periods = default_periods(40.0, *limits)
    low, high = limits
    assert periods.min() == pytest.approx(low or 0.6019, rel=2e-3)
    assert periods.max() == pytest.approx(high or 20.0, rel=2e-3)


@pytest.mark.parametrize("method", ["tls", "bls"])
def test_one_train_of_dips_is_never_two_planets(method):
    """Far above the noise, where what the mask leaves of a transit would be a signal of its own"""
    times, flux = planet(days=40, period=0.926, t0=0.3, depth=20e-3, noise=50e-6)
    found = find_planets(LightcurveArbitraryRaster(times, flux), max_planets=4, method=method)
    assert [signal.period for signal, _ in found] == pytest.approx([0.926], rel=1e-3)


@pytest.mark.slow
def test_search_from_bounds_finds_what_searching_everything_again_finds(monkeypatch):
    times, a = planet(days=200, period=4.37, depth=700e-6)
    for period, depth in ((9.13, 600e-6), (23.7, 900e-6), (61.0, 1200e-6)):
        a = a * planet(days=200, period=period, t0=0.4 * period, depth=depth, noise=0)[1]
    lc = LightcurveArbitraryRaster(times, a)
    quick = search_lightcurve(lc, max_planets=6)
    monkeypatch.setattr(planets_module, "REGULAR", 1)
    everything = search_lightcurve(lc, max_planets=6)
    assert [s.period for s, _ in quick.planets] == [s.period for s, _ in everything.planets]
    assert sorted(s.period for s, _ in quick.planets) == pytest.approx(
        [4.37, 9.13, 23.7, 61.0], rel=1e-3
    )
    for (some, _), (all_of_it, _) in zip(quick.planets, everything.planets, strict=True):
        assert some.sde == pytest.approx(all_of_it.sde, rel=0.25)


@pytest.mark.parametrize("weighted", [False, True])
def test_folding_neighbours_together_moves_a_sample_by_a_bin_at_most(weighted):
    """Against every period folded on its own"""
    times, flux = planet(days=300, period=7.7, depth=500e-6)
    errors = np.where(np.arange(times.size) % 3, 3e-4, 4e-4) if weighted else None
    samples = prepare(times, flux, errors, level=1.0)
    periods = default_periods(300.0, 2.0, 12.0)
    together = best_transits(samples, periods).gain
    # a block of one period has no neighbour
    alone = np.concatenate([best_transits(samples, p[None]).gain for p in periods[::40]])
    # noise moves by some per cent either way with the bins; nothing is lost on the average
    np.testing.assert_allclose(together[::40], alone, rtol=0.35)
    assert np.mean(together[::40] / alone) == pytest.approx(1, abs=0.02)
    boxes = prepare(times, flux, errors)
    grid = drift_periods(300.0, 2.0, 12.0)
    joined = coarse_boxes(boxes, grid).power[::400]
    single = np.concatenate([coarse_boxes(boxes, p[None]).power for p in grid[::400]])
    assert np.mean(joined / single) == pytest.approx(1, abs=0.03)


def test_number_of_periods_grows_with_the_length_not_with_its_square():
    four, one = (drift_periods(T, 0.5, 40.0) for T in (400.0, 100.0))
    assert len(four) / len(one) == pytest.approx(4, rel=0.01)
    # between two periods a transit at the end moves by a third of the shortest duration
    step = np.abs(np.diff(four)) / four[1:] * 400.0
    assert step.max() <= 0.05 / 3 * 1.01


def test_progress_is_reported_up_to_the_last_period():
    times, flux = planet(days=30)
    seen = []
    _, periodogram = find_transits(
        LightcurveArbitraryRaster(times, flux),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (len(periodogram.period), len(periodogram.period))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 2


@pytest.mark.real_data
def test_third_planet_of_k2_3_says_that_its_period_is_ambiguous(shared_data):
    lc = flatten(Lightcurve.read(shared_data / "lc/EPIC201367065.csv"))
    third = find_planets(lc, max_planets=3)[2][0]
    assert third.possible_periods == pytest.approx((44.56, 22.28), rel=1e-3)


@pytest.mark.real_data
def test_dip_of_kic_8462852_in_quarter_17_is_reported_once(shared_data):
    from photometry.catalog.ccd import with_stars
    from photometry.methods.aperture import aperture_photometry
    from photometry.pixels.targetpixelfile import read_target_pixel_file
    from photometry.settings import photometry_settings

    stamp = with_stars(
        read_target_pixel_file(shared_data / "tpf/kplr008462852-2013131215648_lpd-targ.fits")
    )
    stamp = replace(stamp, sumimage=np.nan_to_num(stamp.flux).mean(axis=0))
    settings = photometry_settings({"aperture": {"mask": "pipeline"}})
    lc = aperture_photometry(stamp, settings).lightcurve(stamp)
    found = search_lightcurve(flatten(lc))
    assert found.planets == []
    # the README of the data: the flux falls to 0.923 at BKJD 1568.48
    assert min(abs(one.time - 1568.48) for one in found.dips) < 0.5
    assert max(one.snr for one in found.dips) > 50


def test_kind_of_a_signal_that_one_transit_carries():
    times, flux = quiet()
    flux -= dip(times, 5.0, 5000e-6)
    signal = fit_transit(times, flux, None, period=20.0, t0=5.0, duration=0.25)
    assert signal.kind == SINGLE_DIP
    assert np.abs(fold_phase(np.array([5.0]), signal.period, signal.t0)) < 0.05
