"""Verdicts on signals of known nature: simulated ones, real planets, another program's."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from transit_examples import planet

from photometry.lightcurve import Lightcurve, LightcurveArbitraryRaster, flatten
from photometry.transits import (
    Verdict,
    centroid_offset,
    difference_offset,
    find_planets,
    fit_transit,
    signal_at,
    vet,
)
from photometry.transits.transit_model import stellar_density

REAL = {
    "WASP-126 b": "lc/tess2018206045859-s0001-0000000025155310-0120-s_lc.fits",
    "WASP-46 b": "lc/tess2018206045859-s0001-0000000231663901-0120-s_lc.fits",
    "Kepler-10 b": "lc/kplr011904151-2012179063303_llc.fits",
    "TrES-2 b": "lc/kplr011446443-2009131110544_slc.fits",
    "EPIC 206154641": "lc/EPIC206154641.csv",
}


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "vetting.py"
    spec = importlib.util.spec_from_file_location("vetting_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_planets_pass_and_false_signals_do_not(benchmark):
    """A sample of the benchmark, of a seed on which nothing was tuned"""
    rng, rows = np.random.default_rng(77), []
    for kind in benchmark.KINDS:
        for _ in range(8):
            target = benchmark.simulate(kind, rng)
            name, periods, snr = benchmark.verdict(target)
            rows.append((kind, name, float(target["period"]), periods, snr))
    rates = benchmark.rates(rows)
    assert rates["planet"][0] >= 7 / 8
    for kind in ("own eclipses", "blended eclipses", "noise", "pulsator"):
        assert rates[kind][0] >= 7 / 8


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_planet_passes_at_its_period_and_is_an_alias_at_half_and_twice(shared_data, name):
    lc = flatten(Lightcurve.read(shared_data / REAL[name]))
    signal = find_planets(lc, max_planets=1)[0][0]
    passed = vet(lc, signal)
    assert passed.verdict is Verdict.CANDIDATE, passed.reason
    for factor in (0.5, 2.0):
        if factor * signal.period > 0.7 * lc.duration():
            continue
        given = signal_at(lc, period=factor * signal.period, t0=signal.t0, duration=signal.duration)
        alias = vet(lc, given)
        assert alias.verdict is Verdict.ALIAS, alias.reason
        assert alias.right.period == pytest.approx(signal.period, rel=1e-3)


def binary(second=0.3, phase=0.5, depth=8000e-6, period=8.74, noise=2e-4, days=60.0):
    """Eclipses of two depths"""
    times, first = planet(days=days, depth=depth, period=period, t0=1.9, noise=noise)
    _, other = planet(
        days=days, depth=second * depth, period=period, t0=1.9 + phase * period, noise=0
    )
    return times, first * other


def verdict(times, flux, period, **options):
    lc = LightcurveArbitraryRaster(times, flux)
    return vet(lc, signal_at(lc, period=period, t0=1.9, duration=0.2), **options)


def test_secondary_eclipse_is_found_with_its_phase():
    times, flux = binary(phase=0.37)
    result = verdict(times, flux, 8.74)
    assert result.verdict is Verdict.BINARY
    assert result.secondary_phase == pytest.approx(0.37, abs=0.01)
    assert "phase 0.37" in result.reason


def test_odd_and_even_transits_of_two_depths_are_a_binary():
    result = verdict(*binary(second=0.7), 4.37)
    assert result.verdict is Verdict.BINARY
    assert "odd and even" in result.reason


def test_occultation_of_a_hot_planet_is_no_secondary_eclipse():
    result = verdict(*binary(second=0.03, noise=2e-5), 8.74)
    assert result.verdict is Verdict.CANDIDATE


def test_wave_is_variable():
    times = np.arange(0, 40, 1 / 48)
    flux = 1 + 1e-3 * np.sin(2 * np.pi * times / 0.7)
    flux += 1e-4 * np.random.default_rng(2).standard_normal(times.size)
    lc = LightcurveArbitraryRaster(times, flux)
    signal = find_planets(lc, max_planets=1)[0][0]
    assert vet(lc, signal).verdict is Verdict.VARIABLE


def test_weak_signal_is_reported_with_its_signal_to_noise():
    times, flux = planet(depth=1500e-6)
    result = verdict(times, flux, 4.37, snr_min=500.0)
    assert result.verdict is Verdict.WEAK
    assert "limit 500" in result.reason


def test_dip_seen_once_is_a_single_event():
    times = np.arange(0, 40, 1 / 48)
    flux = 1 + 1e-4 * np.random.default_rng(2).standard_normal(times.size)
    flux -= 3e-3 * (np.abs(times - 1.9) < 0.1)
    assert verdict(times, flux, 15.0).verdict is Verdict.SINGLE


def test_transit_too_long_for_its_star_and_too_large_for_a_planet():
    times, flux = planet(depth=10000e-6, noise=1e-4)
    dwarf = {"radius": 0.2, "logg": 5.0}  # central transits there last a third of those of the Sun
    assert verdict(times, flux, 4.37, star=dwarf).verdict is Verdict.BINARY
    giant = {"radius": 5.0, "logg": 3.0}
    large = verdict(times, flux, 4.37, star=giant)
    assert large.verdict is Verdict.BINARY
    assert "Jupiter" in large.reason
    sun = verdict(times, flux, 4.37, star={"radius": 1.0, "logg": 4.438})
    assert sun.verdict is Verdict.CANDIDATE
    duration = next(check for check in sun.checks if check.name == "duration")
    assert duration.value == pytest.approx(0.98, abs=0.1)  # of a central transit; impact is 0.2
    assert stellar_density({"radius": 1.0, "logg": 4.438}) == pytest.approx(1, rel=0.01)
    assert np.isnan(stellar_density({}))


def test_v_of_a_grazing_binary_is_no_transit():
    times = np.arange(0, 40, 10 / 1440)
    phase = np.abs((times - 1.9 + 2.185) % 4.37 - 2.185)
    flux = 1 - 0.02 * np.clip(1 - phase / 0.12, 0, None)
    flux += 2e-4 * np.random.default_rng(1).standard_normal(times.size)
    result = verdict(times, flux, 4.37)
    assert result.verdict is Verdict.BINARY
    assert "triangle" in result.reason


SOURCE = np.array([2.0, -1.5])  # pixels from the target


def blend(noise=1e-4):
    """A neighbour, 10 % of the light, with eclipses of 20 %: times, flux, centroid, images"""
    times, depth = planet(days=40, depth=0.2, noise=0)
    dip = 0.1 * (1 - depth)
    rng = np.random.default_rng(8)
    flux = 1 - dip + noise * rng.standard_normal(times.size)
    target = np.array([4.0, 5.0])
    light = (0.9 * target + (0.1 - dip)[:, None] * (target + SOURCE)) / (1 - dip)[:, None]
    centroid = light + 1e-4 * rng.standard_normal((times.size, 2))
    y, x = np.mgrid[:10, :10]

    def star(position):
        return np.exp(-0.5 * ((x - position[0]) ** 2 + (y - position[1]) ** 2) / 0.7**2) / 3.08

    images = 1e4 * (0.9 * star(target) + (0.1 - dip)[:, None, None] * star(target + SOURCE))
    return times, flux, centroid, images + rng.standard_normal(images.shape), target


def test_source_of_the_dips_is_found_from_centroids_and_from_pixels():
    times, flux, centroid, images, target = blend()
    signal = fit_transit(times, flux, None, period=4.37, t0=1.9, duration=0.2)
    by_shift = centroid_offset(times, centroid, signal, target)
    by_image, difference = difference_offset(times, images, signal, target)
    np.testing.assert_allclose(by_shift[:2], SOURCE, atol=0.25)
    np.testing.assert_allclose(by_image[:2], SOURCE, atol=0.25)
    assert np.unravel_index(np.argmax(difference), difference.shape) == (3, 6)  # half to even
    lc = LightcurveArbitraryRaster(times, flux)
    assert vet(lc, signal, offset=by_shift).verdict is Verdict.OFF_TARGET
    assert vet(lc, signal, offset=by_image).verdict is Verdict.OFF_TARGET
    still = np.tile(target, (times.size, 1)) + 1e-4 * np.random.default_rng(1).standard_normal(
        (times.size, 2)
    )
    quiet = centroid_offset(times, still, signal, target)
    assert vet(lc, signal, offset=quiet).verdict is Verdict.CANDIDATE


def test_every_verdict_has_the_number_that_decided_and_is_plain_json():
    import json

    result = verdict(*binary(), 8.74)
    values = json.loads(json.dumps(result.as_dict()))
    assert values["verdict"] == "eclipsing binary"
    assert any(check["passed"] is False for check in values["checks"])
    assert any(character.isdigit() for character in values["reason"])


@pytest.mark.filterwarnings("ignore")
def test_secondary_is_where_exovetter_sees_it():
    """Its ModShift takes flux about 0, not 1: with flux about 1 it answers something else"""
    modshift = pytest.importorskip("exovetter.modshift")
    times, flux = binary(phase=0.37)
    lc = LightcurveArbitraryRaster(times, flux)
    signal = signal_at(lc, period=8.74, t0=1.9, duration=0.2)
    model = signal.model(times) - 1
    ephemeris = signal.period, signal.t0, 24 * signal.duration
    theirs, convolved = modshift.compute_modshift_metrics(
        times, flux - 1, model, *ephemeris, show_plot=False
    )
    phase = (theirs["sec"] - theirs["pri"]) / len(convolved) % 1
    result = vet(lc, signal)
    assert result.secondary_phase == pytest.approx(phase, abs=0.02)
    assert -theirs["sigma_sec"] > theirs["false_alarm_threshold"]
    assert result.verdict is Verdict.BINARY
