from types import SimpleNamespace

import numpy as np
import pytest

from photometry.methods.extraction import diagnostics, flux_metrics, variability

TIME = np.arange(20000) / 720  # 2-minute cadence


def white(sigma=1e-3, mean=5000.0):
    return mean * (1 + np.random.default_rng(1).normal(0, sigma, len(TIME)))


def test_metrics_of_white_noise_are_those_of_theory():
    flux = white(1e-3)
    found = flux_metrics(TIME, flux, np.full(len(TIME), 5.0))
    assert found["mean_flux"] == np.median(flux)
    assert found["variance"] == pytest.approx(1e-6, rel=0.03)
    assert found["rms_hour"] == pytest.approx(1e-3 / np.sqrt(30), rel=0.1)  # 30 values an hour
    assert found["ptp"] == pytest.approx(
        1e-3 * np.sqrt(2) * 0.6745, rel=0.03
    )  # median of |difference of two normals|
    assert found["variability"] == pytest.approx(1.0, rel=0.03)  # flux_err is sigma


def test_variability_is_blind_to_a_cubic_and_sees_a_sine():
    x = TIME / TIME[-1] - 0.5
    cubic = 0.1 + x - 2 * x**2 + 3 * x**3
    sine = 0.01 * np.sin(2 * np.pi * TIME / 0.7)
    assert variability(TIME, cubic, np.full(len(TIME), 1e-3)) == pytest.approx(0, abs=1e-8)
    assert variability(TIME, cubic + sine, np.full(len(TIME), 1e-3)) == pytest.approx(
        10 / np.sqrt(2), rel=0.01
    )


def test_weights_keep_values_with_large_errors_out_of_the_cubic():
    errors = np.full(len(TIME), 1e-3)
    relative = np.zeros(len(TIME))
    relative[-3000:], errors[-3000:] = 100.0, 1e9
    cubic_free = np.std(relative) / 1e-3
    assert variability(TIME, relative, errors) == pytest.approx(cubic_free, rel=1e-6)


def test_bins_are_means_over_an_hour_and_gaps_make_none():
    time = np.array([0.0, 0.3, 0.6, 1.1, 7.2]) / 24
    flux = np.array([100.0, 103.0, 103.0, 96.0, 94.0])
    found = flux_metrics(time, flux, np.ones(5))
    assert found["rms_hour"] == pytest.approx(np.sqrt((2**2 + 4**2 + 6**2) / 3) / 100)


def test_too_few_values_give_what_they_can():
    assert flux_metrics(TIME[:0], TIME[:0], TIME[:0]) == {}
    one = flux_metrics(TIME[:1], np.array([5.0]), np.array([1.0]))
    assert one["mean_flux"] == 5
    assert np.isnan(one["variance"])
    assert np.isnan(one["variability"])


def test_centroid_is_the_median_of_what_was_measured():
    centroid = np.array([[1.0, 2.0], [3.0, 5.0], [np.nan, np.nan], [100.0, 3.0], [9.0, np.nan]])
    stamp = SimpleNamespace(time=TIME[:5], shape=(4, 3), row=10, column=20)
    values = {"flux": np.ones(5), "flux_err": np.ones(5), "mask": np.ones((4, 3), bool)}
    nothing = {"contamination": np.nan, "edge_flux": np.nan, "stamp_resizes": 0}
    others = values | nothing | {"skip_targets": (), "errors": ()}
    found = diagnostics(stamp, SimpleNamespace(centroid=centroid, **others), np.ones(5, bool))
    assert found["pos_centroid"] == (3.0, 3.0)
    missing = SimpleNamespace(centroid=np.full((5, 2), np.nan), **others)
    assert "pos_centroid" not in diagnostics(stamp, missing, np.ones(5, bool))


def test_variance_is_the_unbiased_one():
    flux = np.array([99.0, 100.0, 101.0])
    found = flux_metrics(np.arange(3.0), flux, np.ones(3))
    assert found["variance"] == pytest.approx(1e-4)  # the sum of squares, 2e-4, over n - 1
