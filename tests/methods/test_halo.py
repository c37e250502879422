"""Halo photometry: `photometry.methods.halo`."""

import dataclasses

import numpy as np
import pytest
from psf_stamps import make_stamp
from scipy.optimize import approx_fprime

from photometry.errors import BadInputError
from photometry.methods.aperture import measure
from photometry.methods.halo import halo_photometry, quietest_weights, total_variation
from photometry.settings import photometry_settings
from photometry.simulate.spacecraft import bleed
from photometry.status import STATUS
from photometry.target import HALO_EDGE, SWITCHED, expected_flux, extract

SETTINGS = photometry_settings(None)


@pytest.fixture(scope="module")
def saturated():
    """A star of tmag 4 whose charge moves with the pointing, and its signal of 500 ppm."""
    rng = np.random.default_rng(1)
    time = np.arange(400) / 48
    signal = 1 + 500e-6 * np.sin(2 * np.pi * time / 1.7)
    motion = 0.05 * rng.standard_normal((400, 2))
    stamp, flux = make_stamp(
        tmag=[4.0],
        row=[20.2],
        column=[14.1],
        n_times=400,
        shape=(41, 29),
        signal=[signal],
        motion=motion,
        bleed=bleed,
    )
    return stamp, flux[0], signal


def amplitude_of(flux, signal):
    """How much of the signal is in the flux, and the scatter around it (ppm)."""
    relative = flux / np.median(flux) - 1
    fit = np.polyfit(signal - 1, relative, 1)
    return fit[0], 1e6 * np.std(relative - np.polyval(fit, signal - 1))


def test_a_signal_of_500_ppm_survives_on_a_saturated_star(saturated):
    stamp, flux, signal = saturated
    found = halo_photometry(stamp, SETTINGS)
    fraction, scatter = amplitude_of(found.flux, signal)
    assert fraction == pytest.approx(1, abs=0.05)
    assert scatter < 100
    assert np.median(found.flux) == pytest.approx(flux, rel=1e-6)


def test_it_is_quieter_than_the_sum_of_an_aperture_that_cuts_the_bleeding_column(saturated):
    stamp, _, signal = saturated
    mask = np.zeros(stamp.shape, bool)
    mask[14:27, 8:21] = True
    assert (
        amplitude_of(halo_photometry(stamp, SETTINGS).flux, signal)[1]
        < 0.3 * amplitude_of(measure(stamp, mask, method="a").flux, signal)[1]
    )


def test_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(2)
    steps, x = rng.standard_normal((30, 8)), rng.standard_normal(8)
    assert np.allclose(
        total_variation(x, steps)[1],
        approx_fprime(x, lambda x: total_variation(x, steps)[0], 1e-7),
        atol=1e-4,
    )


def test_weights_are_positive_sum_to_one_and_avoid_noise_that_only_some_pixels_have():
    rng = np.random.default_rng(3)
    pixels = 1000 + rng.standard_normal((300, 10))
    pixels[:, 4:] += 50 * rng.standard_normal((300, 6))
    weights = quietest_weights(pixels)
    assert np.all(weights >= 0)
    assert weights.sum() == pytest.approx(1)
    assert weights[:4].sum() > 0.98


def test_weights_cancel_charge_that_moves_between_two_pixels():
    rng = np.random.default_rng(4)
    moved = 30 * rng.standard_normal(300)
    pixels = 1000 + np.column_stack([moved, -moved]) + 0.1 * rng.standard_normal((300, 2))
    assert np.allclose(quietest_weights(pixels), 0.5, atol=0.01)


def test_too_few_times_are_refused():
    stamp, _ = make_stamp(tmag=[5.0], row=[7.0], column=[7.0], n_times=5)
    with pytest.raises(BadInputError, match="there are 5 times"):
        halo_photometry(stamp, SETTINGS)


def test_pixels_of_a_neighbour_get_no_weight():
    time = np.arange(200)
    stamp, _ = make_stamp(
        tmag=[5.0, 8.5], row=[20.2, 33.0], column=[14.1, 25.0], shape=(41, 29), bleed=bleed,
        signal=[1 + 1e-3 * np.sin(time / 5), np.ones(200)],
    )  # fmt: skip
    mask = halo_photometry(stamp, SETTINGS).mask
    assert mask.any()
    assert not mask[32:35, 24:27].any()


def test_a_time_without_any_pixel_is_left_out_and_the_star_is_measured(saturated):
    stamp, _, signal = saturated
    empty = dataclasses.replace(stamp, flux=stamp.flux.copy())
    empty.flux[[3, 40, 41]] = np.nan
    found = halo_photometry(empty, SETTINGS)
    assert np.flatnonzero(np.isnan(found.flux)).tolist() == [3, 40, 41]
    assert np.isnan(found.centroid[[3, 40, 41]]).all()
    measured = np.isfinite(found.flux)
    assert amplitude_of(found.flux[measured], signal[measured])[0] == pytest.approx(1, abs=0.05)


def test_flux_of_a_star_without_errors_has_none(saturated):
    stamp, _, _ = saturated
    found = halo_photometry(dataclasses.replace(stamp, flux_err=stamp.flux_err * np.nan), SETTINGS)
    assert np.isfinite(found.flux).all()
    assert np.isnan(found.flux_err).all()


def test_a_star_that_is_not_saturated_is_a_warning():
    stamp, _ = make_stamp(tmag=[8.0], row=[7.0], column=[7.0], n_times=400)
    found = halo_photometry(stamp, SETTINGS)
    assert found.status is STATUS.WARNING
    assert found.errors == ("halo photometry is for saturated stars, brighter than 7",)


def test_a_star_whose_noise_decides_the_weights_is_an_error_that_says_so():
    stamp, _ = make_stamp(tmag=[13.0], row=[7.0], column=[7.0])
    found = halo_photometry(stamp, SETTINGS)
    assert found.status is STATUS.ERROR
    assert "ppm of test transits of 500 ppm" in found.errors[0]
    assert "use method 'aperture'" in found.errors[0]


IN_TRANSIT = np.arange(400) % 25 < 5


@pytest.mark.parametrize("depth", [5e-4, 0.01, 0.2])
@pytest.mark.parametrize(
    ("tmag", "shape"),
    [(3.0, (21, 21)), (4.0, (21, 21)), (4.0, (41, 29)), (6.0, (11, 11)), (6.8, (4, 6))],
)
@pytest.mark.parametrize("n_stars", [1, 2])
def test_transits_of_a_saturated_star_are_as_deep_as_injected_or_an_error(
    tmag, shape, depth, n_stars
):
    star = {
        "tmag": [tmag, tmag + 2.5][:n_stars],
        "row": [shape[0] / 2 + 0.2, 0.8 * shape[0]][:n_stars],
        "column": [shape[1] / 2 + 0.1, 0.85 * shape[1]][:n_stars],
        "shape": shape,
        "bleed": bleed,
        "n_times": 400,
        "motion": 0.02 * np.random.default_rng(3).standard_normal((400, 2)),
    }
    signal = np.ones((n_stars, 400))
    signal[0] -= depth * IN_TRANSIT
    before, after = (
        halo_photometry(make_stamp(**star, signal=values)[0], SETTINGS)
        for values in (np.ones((n_stars, 400)), signal)
    )
    if STATUS.ERROR not in (before.status, after.status):
        ratio = after.flux / before.flux
        found = 1 - np.mean(ratio[IN_TRANSIT]) / np.median(ratio[~IN_TRANSIT])
        assert found == pytest.approx(depth, rel=0.05)
    # not by giving up: a star that the stamp holds, alone, is measured
    assert before.status is STATUS.OK or n_stars == 2 or shape == (21, 21)


def test_a_column_whose_charge_runs_over_the_edge_gets_no_weight():
    stamp, _ = make_stamp(tmag=[3.0], row=[10.2], column=[10.1], shape=(21, 21), bleed=bleed)
    full = stamp.sumimage > 0.99e5
    cut = full[[0, -1]].any(axis=0)
    assert 2 <= cut.sum() < full.any(axis=0).sum()  # and there are columns that hold their charge
    found = halo_photometry(stamp, SETTINGS)
    assert found.mask[full & ~cut].all()
    assert not found.mask[:, cut].any()


class OneStamp:
    """A source of one stamp, as `photometry.target.extract` wants it."""

    settings = SETTINGS

    def __init__(self, stamp):
        self.stamp = stamp

    def make(self, area=None):
        return self.stamp, np.ones(len(self.stamp.time), bool)

    def larger(self, stamp, mask):
        return None


@pytest.mark.parametrize(
    ("n_times", "method", "said"), [(400, "halo", SWITCHED), (8, "aperture", "needs 10 good times")]
)
def test_a_bright_star_that_halo_cannot_do_keeps_its_aperture_with_a_warning(n_times, method, said):
    stamp, _ = make_stamp(
        tmag=[3.0], row=[10.2], column=[10.1], shape=(21, 21), bleed=bleed, n_times=n_times
    )
    by_aperture, extraction = (extract(OneStamp(stamp), name)[2] for name in ("aperture", None))
    assert by_aperture.edge_flux > HALO_EDGE * expected_flux(stamp)
    assert extraction.method == method
    assert said in extraction.errors[-1]
    assert (extraction.status is STATUS.WARNING) == (method == "aperture")
