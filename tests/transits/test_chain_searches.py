"""The searches of task chains: settings, result keys, quality control; QATS against trying every
sequence.
"""

import itertools
import tarfile

import numpy as np
import pytest
from transit_examples import planet

from photometry.chains.quality_control import detection_details, transit_detection_quality_control
from photometry.chains.searches import SEARCHES, run_search
from photometry.errors import ArgumentError, WrongUseError
from photometry.lightcurve import LightcurveArbitraryRaster
from photometry.transits import quasi_periodic_search
from photometry.transits.qats import regular_flux, spacing_limits

KEYS = {
    "transit_search_tls": {"period", "transit_count", "depth", "duration", "sde"},
    "transit_search_bls_reference": {"period", "power"},
    "transit_search_bls_kovacs": {"period", "power", "depth"},
    "transit_search_qats": {
        "period",
        "transit_count",
        "period_span",
        "first_transit",
        "last_transit",
    },
}
COPIED = {"integrated_transit_power": 0.1, "pixels_in_transit": 95.0, "mes": 20.0}


@pytest.fixture(scope="module")
def lc():
    times, flux = planet(days=60, period=6.5, t0=1.9, depth=2000e-6)
    return LightcurveArbitraryRaster(
        times, flux, metadata={"orbital_period": 6.5, "t0": 1.9, **COPIED}
    )


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_finds_the_period_and_has_the_keys_of_the_specification(lc, name):
    result = run_search(name, lc, 50.0, {"period_min": 4.0})
    assert result["period"] == pytest.approx(6.5, rel=0.01)
    assert result["outcome"] == "PASS"
    assert result["target_period"] == 6.5
    assert KEYS[name] | {"outcome", "target_period"} | set(COPIED) <= set(result)
    assert {key: result[key] for key in COPIED} == COPIED
    assert all(isinstance(value, int | float | str) for value in result.values())


def test_only_samples_before_lc_duration_are_searched(lc):
    assert run_search("transit_search_tls", lc, 20.0)["transit_count"] == 3
    assert run_search("transit_search_tls", lc, None)["transit_count"] == 9


def test_depth_of_tls_is_the_flux_in_transit_and_depth_ppm_the_depth(lc):
    result = run_search("transit_search_tls", lc, 60.0)
    assert result["depth"] == pytest.approx(0.998, abs=2e-4)
    assert result["depth_ppm"] == pytest.approx(2000, rel=0.1)
    assert result["t0_offset"] == pytest.approx(0, abs=0.02)


def test_a_light_curve_without_noise_has_the_period_and_depth_it_was_made_with():
    """As ``synthesis_batman`` makes it unless it is asked for noise."""
    times = np.arange(0, 40, 900 / 86400)
    flux = np.where(np.abs((times - 1) % 4.1 - 0.1) <= 0.1, 0.99, 1.0)
    star = LightcurveArbitraryRaster(times, flux, metadata={"orbital_period": 4.1})
    result = run_search("transit_search_tls", star, 40.0, {"period_min": 2.0})
    assert result["period"] == pytest.approx(4.1, rel=1e-3)
    assert result["depth_ppm"] == pytest.approx(10_000, rel=0.1)
    assert np.isfinite([result[key] for key in ("depth", "duration", "t0", "snr")]).all()


def test_coarse_to_fine_gives_the_same_result(lc):
    full, fast = (
        run_search("transit_search_bls_reference", lc, 60.0, {"exact": exact})
        for exact in (True, False)
    )
    assert full == pytest.approx(fast)


@pytest.mark.parametrize("name", SEARCHES)
def test_flat_light_curve_fails_and_does_not_crash(name):
    times = np.arange(0, 30, 1 / 48)
    flat = LightcurveArbitraryRaster(times, np.ones(times.size), metadata={"orbital_period": 5.0})
    result = run_search(name, flat, 30.0)
    assert result["outcome"] == "FAIL"
    assert result["period"] == 0 if name == "transit_search_qats" else np.isnan(result["period"])


def test_unknown_search_or_setting_is_reported_with_what_is_accepted(lc):
    with pytest.raises(
        WrongUseError, match="search 'dst' is not known; known are transit_search_tls"
    ):
        run_search("dst", lc, 10.0)
    with pytest.raises(
        WrongUseError, match="unknown search setting 'period'; accepted are period_min, period_max"
    ):
        run_search("transit_search_tls", lc, 10.0, {"period": 3})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "bls_reference",
            {"period_min": 0.1},
            r"period_min=0\.1, period_max=4.*: expected 0\.2 < period_min",
        ),
        ("bls_reference", {"period_min": 0}, "period_min=0, .* expected 0.2 < period_min"),
        (
            "bls_kovacs",
            {"period_max": float("nan")},
            "period_max=nan: expected a number, 0 or more",
        ),
        ("tls", {"period_min": "a"}, "transit_search_tls: period_min='a': expected a number"),
        (
            "tls",
            {"period_min": 5, "period_max": 2},
            "no period to search between period_min=5 and period_max=2",
        ),
        ("qats", {"period_min": 0.01}, "period_min=0.01, .* expected at least one sample"),
        ("qats", {"min_transit_count": 0}, "min_transit_count=0: expected .* at least 1"),
        (
            "qats",
            {"duration_min": 0.3},
            "duration_min=0.3, .* expected 0 < duration_min <= duration_max",
        ),
        ("qats", {"duration_count": 0}, "duration_count=0: expected .* at least 1"),
    ],
)
def test_setting_outside_its_range_gets_one_message(lc, name, settings, message):
    with pytest.raises(ArgumentError, match=message):
        run_search(f"transit_search_{name}", lc, 10.0, settings)


@pytest.mark.parametrize("name", SEARCHES)
def test_light_curve_without_good_samples_gets_one_message(name):
    empty = LightcurveArbitraryRaster(np.arange(50.0), np.full(50, np.nan))
    with pytest.raises(WrongUseError, match="0 good samples; a search needs at least 10"):
        run_search(name, empty, None)


@pytest.mark.parametrize("name", SEARCHES)
def test_no_limit_on_the_period_is_too_long(lc, name):
    settings = (
        {"period_max": 1e9} if "qats" not in name else {"duration_max": 1e3, "duration_count": 3}
    )
    assert run_search(name, lc, 20.0, {**settings, "period_min": 4.0})["period"] == pytest.approx(
        6.5, rel=0.03
    )


# Quality control


def outcome(target, observed, **more):
    times = np.arange(3.0)
    metadata = {} if target is None else {"orbital_period": target}
    lc = LightcurveArbitraryRaster(times, np.ones(3), metadata={**metadata, **more})
    return transit_detection_quality_control(lc, {} if observed is None else {"period": observed})


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (10.0, "PASS"),
        (10 / 1.0299, "PASS"),
        (10 / 0.9701, "PASS"),
        (10 / 1.0301, "FAIL"),
        (10 / 0.9699, "FAIL"),
        (0.0, "FAIL"),
        (float("nan"), "FAIL"),
        (20.0, "FAIL"),
    ],
)
def test_period_within_three_percent_passes(observed, expected):
    assert outcome(10.0, observed) == {"outcome": expected, "target_period": 10.0}


@pytest.mark.parametrize(("target", "observed"), [(None, 3.0), (3.0, None), (None, None)])
def test_without_both_periods_the_outcome_is_undefined(target, observed):
    result = outcome(target, observed)
    assert result["outcome"] == "UNDEFINED"
    assert np.isnan(result["target_period"])


@pytest.mark.parametrize(
    ("ratio", "harmonic"), [(1.0, 1.0), (2.02, 2.0), (0.5, 0.5), (1 / 3, 1 / 3), (1.4, None)]
)
def test_harmonics_are_named(ratio, harmonic):
    lc = LightcurveArbitraryRaster(
        np.arange(3.0), np.ones(3), metadata={"orbital_period": 10.0, "t0": 1.0}
    )
    details = detection_details(lc, {"period": 10 * ratio, "t0": 20.5})
    assert (
        details["harmonic"] == pytest.approx(harmonic)
        if harmonic
        else np.isnan(details["harmonic"])
    )
    assert details["t0_offset"] == pytest.approx(-0.5)


# QATS


def best_by_trying_all(box, q, dmin, dmax):
    """Carter & Agol (2013), section 2, without dynamic programming"""
    n, best = len(box), 0.0
    for m in range(2, (n - 1) // dmin + 2):
        for spacing in itertools.product(range(dmin, dmax + 1), repeat=m - 1):
            for first in range(dmax):
                transits = first + np.concatenate([[0], np.cumsum(spacing)]).astype(int)
                if n - dmax <= transits[-1] < n:
                    best = max(best, box[transits].sum() / np.sqrt(m * q))
    return best


@pytest.mark.parametrize("seed", range(3))
def test_dynamic_programme_finds_the_best_of_all_sequences(seed):
    from photometry.transits.qats import _scores, _sequence

    rng = np.random.default_rng(seed)
    box = rng.standard_normal(31)
    for dmin, dmax in ((7, 8), (6, 9), (11, 12)):
        score, count = _scores(box, 3, np.array([[dmin, dmax]]))
        assert score[0] == pytest.approx(best_by_trying_all(box, 3, dmin, dmax))
        transits = _sequence(box, int(count[0]), dmin, dmax)
        assert box[transits].sum() / np.sqrt(count[0] * 3) == pytest.approx(score[0])
        assert ((np.diff(transits) >= dmin) & (np.diff(transits) <= dmax)).all()


def test_spacings_step_by_half_of_f_and_skip_equal_limits():
    limits = spacing_limits(1000, 0.1, 4.0, 2, 0.05)
    assert limits[0, 0] == 40
    assert (limits[:, 1] > limits[:, 0]).all()
    assert limits.max() <= 500
    assert (limits[1:, 0] >= limits[:-1, 1]).all()


def test_transits_with_timing_variations_are_each_found(tmp_path):
    rng = np.random.default_rng(5)
    times = np.arange(0, 80, 1 / 48)
    middles = 2.0 + 7.3 * np.arange(11) + 0.12 * np.sin(np.arange(11))
    flux = 1 + 2e-4 * rng.standard_normal(times.size)
    for middle in middles:
        flux[np.abs(times - middle) < 0.1] -= 1e-3
    keep = np.delete(np.arange(times.size), slice(500, 600))
    found = quasi_periodic_search(
        LightcurveArbitraryRaster(times[keep], flux[keep]), max_ttv_mag=0.06
    )
    assert len(found.transit_times) == 11
    np.testing.assert_allclose(found.transit_times, middles, atol=0.08)
    assert found.period == pytest.approx(7.3, rel=0.01)
    found.write_debugging(tmp_path / "debugging.tar.gz")
    with tarfile.open(tmp_path / "debugging.tar.gz") as archive:
        assert archive.getnames() == ["table.txt", "transits.txt"]
        rows = np.loadtxt(archive.extractfile("table.txt"))
    assert rows[0, 0] == rows[:, 0].max() == pytest.approx(found.score)


def test_regular_flux_has_zeros_in_gaps_and_for_flagged_samples():
    times = np.delete(np.arange(20.0), [5, 6])
    flags = np.zeros(18)
    flags[0] = 1
    flux, step, start = regular_flux(LightcurveArbitraryRaster(times, np.arange(18.0), flags=flags))
    assert (len(flux), step, start) == (20, 1.0, 0.0)
    assert flux[[0, 5, 6]].tolist() == [0, 0, 0]
    assert np.count_nonzero(flux) >= 16
