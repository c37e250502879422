"""What is injected: its shape, how it is read and drawn, and into which light it goes."""

import numpy as np
import pytest
from astropy.table import Table
from psf_stamps import PRFS, make_stamp
from scipy.stats import binomtest

from photometry.errors import WrongUseError
from photometry.injection.recovery import cards, depth_ratio, from_header
from photometry.injection.signals import (
    complete,
    draw_signals,
    join,
    parse,
    profile,
    radius_ratio,
    read_signals,
    relative_flux,
    signals_of,
)
from photometry.injection.work import inject, own_fraction
from photometry.methods.prf import GaussianPRF
from photometry.report.injection import binomial
from photometry.settings import photometry_settings

SETTINGS = photometry_settings(None)
TRANSIT = {"starid": 1, "kind": "transit", "period": 3.0, "epoch": 1.5, "depth": 0.01,
           "duration": 0.2, "impact": 0.3}  # fmt: skip
FLARE = {"starid": 1, "kind": "flare", "time": 5.0, "amplitude": 0.05, "decay": 0.1}
TIME = np.arange(0, 12, 1 / 1440)


def test_a_transit_is_as_deep_and_as_long_as_asked_and_comes_back():
    added = profile(TRANSIT, TIME, 20)
    for middle in (1.5, 4.5, 7.5, 10.5):
        assert np.interp(middle, TIME, added) == pytest.approx(-0.01, rel=1e-3)
        assert np.all(added[np.abs(TIME - middle) < 0.0999 * 0.95] < 0)
    far = np.min(np.abs(TIME[:, None] - np.array([1.5, 4.5, 7.5, 10.5])), axis=1) > 0.1001
    assert np.all(added[far] == 0)


def test_a_transit_has_the_light_curve_that_batman_has_for_it():
    batman = pytest.importorskip("batman")
    orbit = batman.TransitParams()
    ratio = radius_ratio(0.01, 0.3)
    sine = np.sin(np.pi * 0.2 / 3.0)
    orbit.t0, orbit.per, orbit.rp, orbit.ecc, orbit.w = 1.5, 3.0, ratio, 0.0, 90.0
    orbit.a = np.sqrt(((1 + ratio) ** 2 - 0.09) / sine**2 + 0.09)
    orbit.inc = np.degrees(np.arccos(0.3 / orbit.a))
    orbit.limb_dark, orbit.u = "quadratic", [0.1, 0.3]
    expected = batman.TransitModel(orbit, TIME).light_curve(orbit)
    np.testing.assert_allclose(1 + profile(TRANSIT, TIME, 20), expected, atol=2e-7)


def test_a_flare_has_its_height_and_its_decay():
    added = profile(FLARE, TIME, 20)
    assert added.max() == pytest.approx(0.05, rel=0.02)
    assert np.interp(5.1, TIME, added) == pytest.approx(0.05 / np.e, rel=1e-3)
    assert np.all(added[TIME < 4.85] == 0)


def test_a_long_exposure_averages_the_light_within_it():
    coarse = np.arange(0.25, 11.75, 1800 / 86400)
    fine = profile(TRANSIT, TIME, 20)
    half = 0.5 * 1800 / 86400
    expected = [fine[np.abs(TIME - time) <= half].mean() for time in coarse]
    np.testing.assert_allclose(profile(TRANSIT, coarse, 1800), expected, atol=2e-4)


def test_a_transit_without_a_duration_is_that_of_a_star_like_the_sun():
    # Earth: 13 hours, 84 ppm
    earth = complete({"starid": 1, "kind": "transit", "period": 365.25, "epoch": 0, "depth": 84e-6})
    assert earth["duration"] * 24 == pytest.approx(13.0, abs=0.2)


def test_drawn_signals_do_not_depend_on_other_stars_and_keep_their_ranges():
    spans = {starid: (1000.0, 1027.0) for starid in range(1, 60)}
    text = "transits:depth=0.001..0.01,period=2..8"
    drawn = draw_signals(text, spans, seed=3)
    alone = draw_signals(text, {17: spans[17]}, seed=3)
    assert repr(signals_of(drawn, 17)) == repr(signals_of(alone, 17))
    assert len(drawn) == 59
    assert drawn["depth"].min() > 0.001
    assert drawn["depth"].max() < 0.01
    assert np.median(drawn["depth"]) == pytest.approx(0.00316, rel=0.3)  # log-uniform
    assert np.all((drawn["epoch"] >= 1000) & (drawn["epoch"] < 1000 + drawn["period"]))
    other = draw_signals(text, spans, seed=4)
    assert not np.any(other["depth"] == drawn["depth"])


def test_signals_of_several_tables_are_numbered_anew():
    spans = {5: (0.0, 10.0)}
    both = join([draw_signals("transits", spans), draw_signals("flares:number=2", spans)])
    assert list(both["signal"]) == [1, 2, 3]
    assert list(both["kind"]) == ["transit", "flare", "flare"]


def test_a_table_is_read_with_what_it_leaves_open(tmp_path):
    path = tmp_path / "planets.ecsv"
    columns = {"period": [3.0, np.nan], "epoch": [1.0, np.nan], "depth": [1e-3, np.nan]}
    columns |= {"time": [np.nan, 5.0], "amplitude": [np.nan, 0.1]}
    Table({"starid": [7, 3], **columns}).write(path)
    table = read_signals(path)
    assert list(table["starid"]) == [3, 7]
    assert list(table["kind"]) == ["flare", "transit"]
    assert table["decay"][0] == pytest.approx(0.02)
    assert 0.05 < table["duration"][1] < 0.2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"star": [1]}, "no column starid"),
        ({"starid": [1], "perod": [3.0]}, "did you mean 'period'"),
        ({"starid": [1], "period": [3.0], "epoch": [0.0]}, "row 1: has no depth"),
        ({"starid": [1], "time": [3.0]}, "row 1: has no amplitude"),
        ({"starid": [1], "period": [3.0], "epoch": [0.0], "depth": [2.0]}, "depth=2: expected 0"),
        (
            {"starid": [1], "period": [1.0], "epoch": [0.0], "depth": [0.1], "duration": [0.7]},
            "half",
        ),
    ],
)
def test_a_table_that_is_no_injection_is_refused(tmp_path, columns, message):
    path = tmp_path / "planets.ecsv"
    Table(columns).write(path)
    with pytest.raises(WrongUseError, match=message):
        read_signals(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("planets.ecsv", "no such file"),
        ("transits:dept=0.1", "did you mean 'depth'"),
        ("transits:depth=deep", "expected a number"),
        ("transits:depth=0.1..0.01", "expected a number, or two"),
        ("flares:amplitude=-1", "amplitude=-1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(text, message):
    with pytest.raises(WrongUseError, match=message):
        parse(text)


# --- pixels


def test_the_fraction_of_the_light_that_is_the_targets_is_that_of_the_scene():
    stars = {"tmag": [10.0, 10.5, 12.0], "row": [7.0, 8.0, 4.0], "column": [7.0, 9.5, 3.0]}
    stamp, flux = make_stamp(**stars)
    light = GaussianPRF(PRFS["TESS"]).evaluate(
        500 + np.array(stars["row"]), 600 + np.array(stars["column"]),
        500 + np.arange(15), 600 + np.arange(15),
    ) * flux[:, None, None]  # fmt: skip
    expected = light[0] / light.sum(axis=0)
    bright = light.sum(axis=0) > 20
    np.testing.assert_allclose(own_fraction(stamp, SETTINGS)[bright], expected[bright], atol=0.05)


def test_a_star_alone_varies_in_all_of_its_pixels_and_nothing_else_does():
    stamp, _ = make_stamp([10.0], [7.0], [7.0])
    signal = {**TRANSIT, "epoch": float(stamp.time[50])}
    dimmed = inject(stamp, np.ones(200, bool), [signal], SETTINGS)
    factor = relative_flux([signal], stamp.time, stamp.cadence)
    assert factor.min() < 0.991
    np.testing.assert_allclose(dimmed.flux, stamp.flux * factor[:, None, None], rtol=1e-6)
    assert dimmed.sumimage.sum() < stamp.sumimage.sum()


# --- recovery


def test_the_depth_ratio_and_its_error_are_right_for_white_noise():
    rng = np.random.default_rng(1)
    time = np.arange(0, 20, 600 / 86400)
    pulls = []
    for _ in range(60):
        trend = 1000 * (1 + 0.01 * np.sin(time / 3))
        flux = 0.8 * profile(TRANSIT, time, 600) + 1  # as in a mask that holds other stars' light
        ratio, error, n = depth_ratio(
            time, trend * flux + rng.normal(0, 1.5, len(time)), TRANSIT, 600
        )
        assert n == 7
        pulls.append((ratio - 0.8) / error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(60) + 0.3  # the line below a transit is no sine
    assert 0.7 < np.std(pulls) < 1.3


def test_a_signal_that_was_not_observed_has_no_ratio():
    time = np.arange(2.0, 4.0, 0.01)  # between two transits
    ratio, error, n = depth_ratio(time, np.ones(len(time)), TRANSIT, 864)
    assert np.isnan(ratio)
    assert np.isnan(error)
    assert n == 0


def test_what_is_in_the_header_comes_back():
    signals = [
        TRANSIT | {"ratio": 0.98, "ratio_err": 0.01, "n_events": 4, "found": True},
        FLARE | {"ratio": np.nan, "ratio_err": np.nan, "n_events": 0, "found": None},
    ]
    header = {keyword: value for keyword, value, _ in cards(signals)}
    assert header["INJECTED"] is True
    assert max(map(len, header)) <= 8
    first, second = from_header(header)
    assert first | {"starid": 1} == signals[0] | {"signal": 1, "time": None, "amplitude": None,
                                                  "decay": None}  # fmt: skip
    assert (second["kind"], second["ratio"], second["found"]) == ("flare", None, None)


@pytest.mark.parametrize(("found", "n"), [(0, 5), (3, 7), (40, 41), (12, 12)])
def test_binomial_intervals_are_those_of_wilson(found, n):
    expected = binomtest(found, n).proportion_ci(0.6826895, method="wilson")
    fraction, low, high = binomial(found, n)
    assert fraction == found / n
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-4)
