"""Planets injected into real noise come back; the benchmark does it with 200, beside other
programs.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from photometry.lightcurve import LightcurveArbitraryRaster
from photometry.transits import search_lightcurve, transit_periodogram


def load(name):
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    return load("transit_completeness")


@pytest.mark.slow
def test_grid_limited_by_drift_finds_as_many_planets_of_half_a_day_to_400_days_as_the_full_one():
    """The benchmark does it with 200"""
    snr = load("bench_long").completeness(25, seed=5)
    ours, full = (snr >= 7.1).sum(axis=0)
    assert ours >= full
    assert np.median(snr[:, 0] / snr[:, 1]) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("seed", [22])
def test_six_planets_of_seventeen_quarters_are_found_and_no_seventh(seed):
    bench = load("bench_long")
    times, flux = bench.quarters(seed)
    found = search_lightcurve(
        LightcurveArbitraryRaster(times, flux), method="bls", max_planets=8, threads=1
    )
    periods = sorted(signal.period for signal, _ in found.planets)
    assert periods == pytest.approx([period for period, _ in bench.PLANETS], rel=1e-4)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["WASP-126, TESS", "K2-3, K2"])
def test_planets_of_signal_to_noise_twelve_and_more_in_real_noise_are_all_found(
    benchmark, shared_data, monkeypatch, name
):
    monkeypatch.setattr(benchmark, "SNR_RANGE", (12.5, 20.0))
    star, rng = benchmark.noise_light_curve(shared_data, name), np.random.default_rng(11)
    for _ in range(4):
        lc, period, _ = benchmark.inject(star, rng)
        good = lc.good() & np.isfinite(lc.fluxes)
        found = transit_periodogram(lc.times[good], lc.fluxes[good])
        assert found.period[found.best] == pytest.approx(period, rel=0.01)
        assert found.sde > 7


def test_signal_to_noise_at_half_completeness_is_where_the_step_is(benchmark):
    snr = np.linspace(3, 20, 400)
    right = np.random.default_rng(1).uniform(size=400) < 1 / (1 + np.exp(-(snr - 9.0)))
    assert benchmark.half(snr, right) == pytest.approx(9.0, abs=0.5)
