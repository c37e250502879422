"""The light-curve classes: rasters, slices, arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightcurve_strategies import lightcurves

from photometry.lightcurve import (
    Lightcurve,
    LightcurveArbitraryRaster,
    LightcurveFixedStep,
    LightcurveResampler,
    bin_to_cadence,
    verify,
)
from photometry.lightcurve.views import cadence_raster


def regular(n, seconds, flux=None):
    return LightcurveArbitraryRaster(
        np.arange(n) * seconds / 86400, np.ones(n) if flux is None else flux
    )


def test_missing_uncertainties_and_flags_are_zeros():
    lc = LightcurveArbitraryRaster(np.arange(3.0), np.ones(3))
    assert not lc.flags_set
    np.testing.assert_array_equal([lc.get_uncertainties(), lc.get_flags()], np.zeros((2, 3)))


def test_flags_are_the_flags_and_not_the_fluxes():
    lc = LightcurveArbitraryRaster(np.arange(3.0), np.full(3, 7.0), flags=np.array([0.0, 1, 0]))
    np.testing.assert_array_equal(lc.get_flags(), [0, 1, 0])


@pytest.mark.parametrize(
    "arguments",
    [([0, 1], np.ones(2)), (np.arange(2.0), [1, 1]), (np.arange(2.0), np.ones(2), [0, 0])],
)
def test_lists_are_refused_with_an_assertion(arguments):
    with pytest.raises(AssertionError, match="is a list; a light curve takes numpy arrays"):
        LightcurveArbitraryRaster(*arguments)


def test_different_lengths_and_times_without_value_are_refused():
    with pytest.raises(ValueError, match=r"times has shape \(2,\)"):
        LightcurveArbitraryRaster(np.arange(2.0), np.ones(3))
    with pytest.raises(ValueError, match=r"times\[1\] is not a finite number"):
        LightcurveArbitraryRaster(np.array([0, np.nan]), np.ones(2))


def test_flux_that_is_not_a_number_is_always_flagged():
    lc = LightcurveArbitraryRaster(np.arange(3.0), np.array([1, np.nan, np.inf]))
    np.testing.assert_array_equal(lc.flags, [0, 1, 1])


def test_metadata_items_become_plain_values():
    class Item:
        value = 3.5

    assert LightcurveArbitraryRaster(
        np.arange(2.0), np.ones(2), metadata={"a": Item(), "b": 1}
    ).metadata == {
        "a": 3.5,
        "b": 1,
    }


def test_time_of_point_is_nan_outside_an_arbitrary_raster_and_extrapolated_on_a_fixed_step():
    lc = regular(4, 86400)
    assert lc.get_time_of_point(3) == 3
    assert np.isnan([lc.get_time_of_point(4), lc.get_time_of_point(-1)]).all()
    assert LightcurveFixedStep(1.0, 0.5, np.ones(3)).get_time_of_point(10) == 6


def test_fixed_step_times_are_not_stretched():
    lc = LightcurveFixedStep(0.0, 1.0, np.ones(5))
    np.testing.assert_array_equal(lc.get_times(), [0, 1, 2, 3, 4])
    assert lc.duration() == 4
    assert lc.check_fixed_step() == 0


@pytest.mark.parametrize("cls", ["arbitrary", "fixed"])
def test_truncating_keeps_the_start_and_excludes_the_end(cls):
    lc = (
        regular(10, 86400) if cls == "arbitrary" else LightcurveFixedStep(0.0, 1.0, np.arange(10.0))
    )
    np.testing.assert_array_equal(lc.truncate_to_length(5, 2).get_times(), [2, 3, 4])
    assert len(lc.truncate_to_length(5)) == 5
    assert type(lc.truncate_to_length(5)) is type(lc)


def test_sampling_interval_survives_missing_samples_and_is_rounded_to_whole_seconds():
    times = np.delete(np.arange(2000) * 600.004, np.arange(100, 120)) / 86400
    assert (
        LightcurveArbitraryRaster(times, np.ones(times.size)).estimate_sampling_interval()
        == 600 / 86400
    )


def test_a_cadence_of_25_and_a_half_seconds_is_not_rounded_and_misses_nothing():
    lc = regular(2000, 25.5)
    assert lc.estimate_sampling_interval() * 86400 == pytest.approx(25.5, abs=1e-6)
    assert lc.check_fixed_step(verbose=False) == 0


def test_two_samples_have_no_sampling_interval():
    with pytest.raises(ValueError, match="2 samples are too few"):
        regular(2, 600).estimate_sampling_interval()


def test_five_samples_removed_are_five_errors_and_only_some_are_logged(caplog):
    times = np.delete(np.arange(2000.0), [7, 8, 500, 1000, 1500]) * 600 / 86400
    lc = LightcurveArbitraryRaster(times, np.ones(times.size))
    assert lc.check_fixed_step(max_errors=2) == 5
    assert [r.getMessage().split(" at")[0] for r in caplog.records] == [
        "no sample",
        "no sample",
        "and 3 more points without a sample",
    ]


def test_fixed_step_keeps_metadata_and_fills_gaps_with_the_flagged_median():
    times = np.delete(np.arange(10.0), 4)
    lc = LightcurveArbitraryRaster(times, times + 1, np.full(9, 0.1), np.zeros(9), {"a": 1})
    fixed = lc.to_fixed_step(verbose=False)
    np.testing.assert_array_equal(fixed.times, np.arange(9.0))  # the last time is excluded
    np.testing.assert_array_equal(fixed.fluxes, [1, 2, 3, 4, np.median(lc.fluxes), 6, 7, 8, 9])
    np.testing.assert_array_equal(np.flatnonzero(fixed.flags), [4])
    assert fixed.metadata == {"a": 1}


@pytest.mark.parametrize(
    ("x", "y", "onto", "expected"),
    [
        ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [0.5, 1.5, 2.5, 3.5], [1.5, 2.5, 3.5, 4.5]),
        ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [0, 2, 4], [1, 3, 3.5]),
        ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [-2, 0, 2, 4, 6], [0, 1, 3, 3.5, 0]),
        ([0, 1, 2, 4, 5], [1, 1, 1, 3, 3], [0, 1, 2, 3, 4, 5], [1, 1, 1, 2, 3, 3]),
    ],
)
def test_resampling_vectors_of_the_reference(x, y, onto, expected):
    lc = LightcurveArbitraryRaster(
        np.array(x, dtype=float), np.array(y, dtype=float), metadata={"a": 1}
    )
    new = LightcurveResampler(lc).onto_raster(np.array(onto, dtype=float))
    np.testing.assert_allclose(new.fluxes, expected, rtol=1e-14, atol=1e-14)
    assert new.metadata == {"a": 1}


@given(lightcurves(), st.integers(2, 40))
@settings(max_examples=60)
def test_resampling_conserves_flux(lc, n):
    """Onto any raster that covers the light curve, flux times width stays what it was."""
    edges = LightcurveResampler(lc).edges
    raster = np.linspace(edges[0] - 1, edges[-1] + 1, n)
    resampled = LightcurveResampler(lc).onto_raster(raster)
    scale = np.sum(np.abs(lc.fluxes) * np.diff(edges)) + 1
    assert np.sum(resampled.fluxes) * (raster[1] - raster[0]) == pytest.approx(
        np.sum(lc.fluxes * np.diff(edges)), abs=1e-9 * scale
    )


def test_resampled_uncertainties_are_propagated_and_flags_decided_by_the_majority():
    lc = LightcurveArbitraryRaster(
        np.arange(8.0), np.ones(8), np.full(8, 0.2), np.array([0, 0, 0, 1, 1, 1, 0, 0.0])
    )
    new = LightcurveResampler(lc).onto_raster(np.array([0.5, 2.5, 4.5, 6.5]))
    np.testing.assert_allclose(new.uncertainties, 0.2 / np.sqrt(2))
    np.testing.assert_array_equal(new.flags, [0, 0, 1, 0])
    assert (
        not LightcurveResampler(lc)
        .onto_raster(np.array([0.5, 2.5, 4.5]), resample_flags=False)
        .flags.any()
    )


def test_resampling_refuses_three_samples_and_unsorted_rasters():
    with pytest.raises(AssertionError, match="at least 4 samples"):
        LightcurveResampler(regular(3, 60))
    with pytest.raises(ValueError, match="each later than the one before"):
        LightcurveResampler(regular(5, 60)).onto_raster(np.array([0.0, 2, 1]))


@given(lightcurves(), lightcurves())
@settings(max_examples=60)
def test_adding_then_subtracting_gives_back_the_original(a, b):
    back = (a + b) - b
    np.testing.assert_array_equal(back.times, a.times)
    np.testing.assert_allclose(back.fluxes, a.fluxes, atol=1e-8)


def test_sum_takes_metadata_of_the_larger_mes_and_difference_those_of_the_right():
    x = np.arange(5.0)
    a = LightcurveArbitraryRaster(
        x, x + 1, np.full(5, 0.3), np.array([1, 0, 0, 0, 0.0]), {"mes": 9.0, "k": "a"}
    )
    b = LightcurveArbitraryRaster(
        x, x + 2, np.full(5, 0.4), np.array([0, 1, 0, 0, 0.0]), {"mes": 2.0, "k": "b", "only": 1}
    )
    total, difference = a + b, a - b
    assert total.metadata == {"mes": 9.0, "k": "a"}
    assert difference.metadata == {"mes": 2.0, "k": "b", "only": 1}
    np.testing.assert_allclose(total.uncertainties, 0.5)
    np.testing.assert_array_equal(total.flags, [1, 1, 0, 0, 0])


def test_product_on_an_arbitrary_raster_drops_its_ends_and_on_a_fixed_step_does_not():
    lc = regular(2880, 900)
    product = lc * lc
    assert len(product) == 2878
    assert product.times[0] * 86400 == 900
    assert len(LightcurveFixedStep(0.0, 0.1, np.ones(50)) * lc) == 50


def test_uncertainty_of_a_product_is_propagated():
    x = np.arange(6.0)
    a, b = (
        LightcurveArbitraryRaster(x, np.full(6, f), np.full(6, s))
        for f, s in ((2.0, 0.1), (3.0, 0.4))
    )
    np.testing.assert_allclose((a * b).uncertainties, np.hypot(0.1 * 3, 0.4 * 2))


def test_binning_has_the_row_counts_of_the_reference_without_its_diluted_edge():
    lc = regular(4320, 600)
    assert len(cadence_raster(lc, 1800)) == 1440
    assert LightcurveResampler(lc).onto_raster(cadence_raster(lc, 1800)).fluxes[0] == pytest.approx(
        2 / 3
    )
    binned = bin_to_cadence(lc, 1800)
    assert len(binned) == 1439
    np.testing.assert_allclose(binned.fluxes, 1)
    assert binned.metadata["sampling_cadence"] == 1800


def test_verify_reports_ranges_and_gaps():
    lc = regular(100, 600, flux=np.linspace(0.9, 1.1, 100))
    report = verify(lc)
    assert report["verification"] is True
    assert (report["verification_flux_min"], report["verification_flux_max"]) == pytest.approx(
        (0.9, 1.1)
    )
    assert verify(lc.select(np.delete(np.arange(100), 50)))["verification"] is False


def test_base_class_reads_files_and_holds_metadata():
    assert Lightcurve({"a": 1}).metadata == {"a": 1}


@pytest.mark.parametrize("n", [0, 1, 2])
def test_light_curve_too_short_to_tell_fails_verification_without_an_error(n):
    report = verify(regular(n, 600))
    assert report["verification"] is False
    assert np.isnan(report["verification_flux_max"]) == (n == 0)


def test_unsorted_times_fail_verification():
    assert (
        verify(LightcurveArbitraryRaster(np.array([0.0, 2, 1, 3, 4, 5]), np.ones(6)))[
            "verification"
        ]
        is False
    )
