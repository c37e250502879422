"""Transit least squares: against a loop that can be read, and for what it should find or not."""

import numpy as np
import pytest
from transit_examples import planet

from photometry.errors import WrongUseError
from photometry.lightcurve import LightcurveArbitraryRaster
from photometry.transits import find_planets, find_transits, fit_transit, transit_periodogram
from photometry.transits.fit import transit_shape
from photometry.transits.folding import half_width, sde_of_power, sde_spectrum
from photometry.transits.tls import BINS, LENGTHS, duration_limits, staircases, template


def test_template_is_a_transit_that_touches_at_first_and_last_contact():
    phase = np.linspace(-1.5, 1.5, 301)
    shape = template(phase)
    assert shape.max() == pytest.approx(1)
    assert shape[150] == pytest.approx(1)
    np.testing.assert_allclose(shape, shape[::-1], atol=1e-12)
    assert not shape[np.abs(phase) > 1.001].any()


def test_staircase_keeps_nearly_all_of_the_signal_to_noise_of_the_template():
    insets, heights, squares = staircases()
    for k, length in enumerate(LENGTHS):
        steps, square = np.zeros(length), np.zeros(length)
        for inset, height, s in zip(insets[k], heights[k], squares[k], strict=True):
            steps[inset : length - inset] += height
            square[inset : length - inset] += s
        np.testing.assert_allclose(square, steps**2, atol=1e-12)
        exact = template((np.arange(length) + 0.5) / length * 2 - 1)
        assert np.dot(steps, exact) / np.sqrt(np.dot(steps, steps) * np.dot(exact, exact)) > 0.995


def slow_search(times, flux, period):
    """The largest drop of chi^2 at one period: every duration, every start, template fitted to the
    samples themselves.
    """
    shortest, longest = (limit[0] for limit in duration_limits(np.array([period])))
    weight, best = 1 / np.var(flux), 0.0
    for duration in shortest * 1.05 ** np.arange(0, np.log(longest / shortest) / np.log(1.05)):
        for t0 in np.arange(0, period, duration / 24):
            shape = transit_shape(times, period, t0, duration)
            best = max(
                best,
                max(np.dot(shape, 1 - flux), 0) ** 2 / max(np.dot(shape, shape), 1e-9) * weight,
            )
    return best


@pytest.mark.parametrize("period", [4.37, 2.9])
def test_search_finds_what_a_fit_of_every_transit_to_every_sample_finds(period):
    times, flux = planet(days=30, depth=1200e-6)
    ours = transit_periodogram(times, flux, None, np.array([period])).delta_chi2[0]
    assert ours == pytest.approx(slow_search(times, flux, period), rel=0.06)


def test_weights_count():
    times, flux = planet(depth=900e-6)
    errors = np.where(np.arange(times.size) % 2, 3e-4, 3e-2)
    noisy = flux + errors * np.random.default_rng(3).standard_normal(times.size)
    found = transit_periodogram(times, noisy, errors)
    assert found.period[found.best] == pytest.approx(4.37, rel=0.01)
    assert found.sde > 9


def test_dense_light_curve_is_binned_without_loss():
    times, flux = planet(days=15, minutes=2, depth=800e-6, noise=600e-6, period=2.2)
    found = transit_periodogram(times, flux)
    assert found.period[found.best] == pytest.approx(2.2, rel=0.003)
    assert found.depth[found.best] == pytest.approx(800e-6, rel=0.15)


def test_white_noise_has_a_detection_efficiency_of_about_six():
    sde = [transit_periodogram(*planet(days=30, depth=0, seed=seed)).sde for seed in range(8)]
    assert 5 < np.median(sde) < 7.5


def test_flat_light_curve_has_no_period():
    times = np.arange(0, 30, 0.02)
    found = transit_periodogram(times, np.ones(times.size))
    assert np.isnan(found.sde)
    assert np.isnan(find_transits(LightcurveArbitraryRaster(times, np.ones(times.size)))[0].period)


def test_sde_of_a_lone_peak_is_its_height_in_standard_deviations():
    chi2 = np.full(1001, 1000.0) + np.random.default_rng(1).standard_normal(1001)
    chi2[500] = 900.0
    power, sde = sde_spectrum(chi2)
    assert np.argmax(power) == 500
    residue = 900 / chi2
    assert sde == pytest.approx((residue[500] - residue.mean()) / residue.std(), rel=0.02)
    assert np.isnan(sde_spectrum(np.ones(10))[1])
    assert sde_of_power(np.array([0.0, 0, 0, 4])) == pytest.approx(np.sqrt(3))
    assert half_width(np.arange(10.0), np.array([0, 0, 1, 3, 4, 3, 1, 0, 0, 0.0])) == 2


def test_fit_recovers_period_time_duration_depth_and_their_error():
    times, flux = planet(depth=2000e-6, noise=100e-6)
    signal = fit_transit(times, flux, None, period=4.374, t0=1.95, duration=0.12)
    assert signal.period == pytest.approx(4.37, abs=1e-3)
    assert signal.t0 == pytest.approx(1.9, abs=0.005)
    assert signal.depth == pytest.approx(2000e-6, rel=0.06)
    assert signal.snr == pytest.approx(signal.depth / signal.depth_err)
    assert signal.transit_count == 9
    assert signal.odd_even < 3.5
    np.testing.assert_allclose(signal.times(0, 40), 1.9 + 4.37 * np.arange(9), atol=0.01)
    assert signal.model(times).min() == pytest.approx(1 - signal.depth, rel=0.01)


def test_eclipsing_binary_at_half_its_period_shows_odd_and_even_transits():
    times, a = planet(depth=3000e-6, period=8.74, t0=1.9, noise=0)
    _, b = planet(depth=1500e-6, period=8.74, t0=1.9 + 4.37, noise=1e-4)
    assert fit_transit(times, a * b, None, period=4.37, t0=1.9, duration=0.15).odd_even > 10


@pytest.mark.parametrize("method", ["tls", "bls"])
def test_two_planets_are_found_one_after_the_other_and_no_third(method):
    times, a = planet(days=60, period=4.37, depth=1500e-6)
    _, b = planet(days=60, period=9.13, t0=3.3, depth=900e-6, noise=0)
    flags = np.zeros(times.size)
    flux = a * b
    flux[100], flags[100] = 0.5, 1
    found = find_planets(LightcurveArbitraryRaster(times, 1000 * flux, flags=flags), method=method)
    assert [s.period for s, _ in found] == pytest.approx([4.37, 9.13], rel=0.002)
    assert [s.depth for s, _ in found] == pytest.approx([1500e-6, 900e-6], rel=0.15)


def test_too_few_samples_unknown_method_and_no_period_are_reported():
    times = np.arange(5.0)
    with pytest.raises(WrongUseError, match="5 good samples; a search needs at least 10"):
        find_transits(LightcurveArbitraryRaster(times, np.ones(5)))
    with pytest.raises(WrongUseError, match="method='lomb': expected tls or bls"):
        find_transits(LightcurveArbitraryRaster(times, np.ones(5)), method="lomb")
    with pytest.raises(
        WrongUseError, match="median of its good samples is 0; a search needs flux above zero"
    ):
        find_transits(LightcurveArbitraryRaster(np.arange(20.0), np.zeros(20)))
    with pytest.raises(ValueError, match="no period to search"):
        transit_periodogram(np.arange(50.0), np.ones(50), period_min=40.0)


def test_bins_of_the_shortest_transit_are_as_many_as_the_text_says():
    assert LENGTHS[0] == BINS
    assert LENGTHS[-1] < 2 * BINS
