"""Parts of one star become one light curve: levels, crowding once, weights, and what is refused."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.timeseries import TimeSeries

from photometry.errors import BadInputError, WrongUseError
from photometry.lightcurve import (
    Lightcurve,
    LightcurveArbitraryRaster,
    stitch,
    transit_mask,
    write_stitched,
)
from photometry.transits import fit_transit, part_depths
from photometry.transits.planets import agreement, good_samples

PERIOD, T0, DURATION, DEPTH = 5.0, 2.0, 0.25, 3000e-6


def part(number, *, minutes=30.0, noise=4e-4, level=1000.0, depth=DEPTH, seed=0, **metadata):
    """27 days with transits; ``depth`` is that of the star alone, ``crowding`` dilutes it"""
    times = 28.0 * number + np.arange(0, 27, minutes / 1440)
    rng = np.random.default_rng(100 * seed + number)
    flux = 1 - depth * transit_mask(times, PERIOD, DURATION, T0)
    crowding = metadata.get("crowding")
    if crowding and not metadata.get("crowding_applied"):
        flux = crowding * flux + (1 - crowding)
    flux = level * (flux + noise * rng.standard_normal(times.size))
    metadata = {
        "mission": "TESS",
        "starid": 7,
        "sector": number,
        "time_reference": 2457000,
    } | metadata
    return LightcurveArbitraryRaster(times, flux, metadata=metadata)


def fitted(lc):
    times, flux, errors = good_samples(lc)
    return fit_transit(times, flux, errors, period=PERIOD, t0=T0, duration=DURATION)


def test_levels_of_the_parts_become_one():
    joined = stitch([part(1, level=5000.0), part(0, level=20.0)])
    assert (np.diff(joined.times) > 0).all()
    for number in (0, 1):
        own = (joined.times >= 28 * number) & (joined.times < 28 * number + 27)
        assert np.median(joined.fluxes[own]) == pytest.approx(1, abs=1e-4)
    assert [p.name for p in joined.metadata["parts"]] == ["sector 0", "sector 1"]
    assert [p.level for p in joined.metadata["parts"]] == pytest.approx([20, 5000], rel=1e-3)


def test_light_of_other_stars_is_taken_off_once():
    """The depth of the star itself comes out whatever the crowding, and is not made deeper twice"""
    plain, crowded, done = (
        fitted(stitch([part(0, noise=1e-5, **metadata)])).depth
        for metadata in ({}, {"crowding": 0.6}, {"crowding": 0.6, "crowding_applied": True})
    )
    assert crowded == pytest.approx(plain, rel=0.01)
    assert done == pytest.approx(plain, rel=0.01)
    again = stitch([stitch([part(0, noise=1e-5, crowding=0.6)])])
    assert fitted(again).depth == pytest.approx(plain, rel=0.01)


def test_unknown_crowding_is_unknown_and_not_one():
    joined = stitch([part(0), part(1, crowding=0.9)])
    crowding = [p.crowding for p in joined.metadata["parts"]]
    assert np.isnan(crowding[0])
    assert crowding[1] == 0.9


def test_signal_to_noise_grows_as_the_root_of_the_parts():
    snr = [fitted(stitch([part(k, seed=3) for k in range(n)])).snr for n in (4, 16)]
    assert snr[1] / snr[0] == pytest.approx(2, rel=0.05)


def test_cadences_weigh_as_their_noise_and_give_the_same_depth():
    """White noise of 2, 10 and 30 minutes of one star: each part says as much as the others"""
    cadences = (30.0, 10.0, 2.0)
    parts = [
        part(k, minutes=minutes, noise=4e-4 * np.sqrt(30 / minutes), seed=5)
        for k, minutes in enumerate(cadences)
    ]
    joined = stitch(parts)
    signal = fitted(joined)
    depths = part_depths(joined, signal)
    errors = [error for _, _, error in depths]
    np.testing.assert_allclose(errors, np.mean(errors), rtol=0.15)
    for _, depth, error in depths:
        assert abs(depth - signal.depth) < 3 * error
    assert signal.depth == pytest.approx(
        1.15 * DEPTH, rel=0.1
    )  # the template is deepest in the middle


def test_parts_that_disagree_are_distinguished_from_parts_that_agree():
    alike = stitch([part(k) for k in range(4)])
    unlike = stitch([part(k, depth=DEPTH * (1.6 if k == 2 else 1)) for k in range(4)])
    assert agreement(part_depths(alike, fitted(alike))) > 0.01
    assert agreement(part_depths(unlike, fitted(unlike))) < 1e-4
    assert np.isnan(agreement(part_depths(alike, fitted(alike))[:1]))


def test_no_trend_is_carried_across_an_edge():
    """A step between parts, and a slope in one: the other is as it is alone"""
    sloped = part(1)
    sloped = sloped.with_fluxes(sloped.fluxes * (1 + 0.01 * (sloped.times - 28)))
    first = part(0)
    alone, joined = stitch([first], window=1.5), stitch([first, sloped], window=1.5)
    np.testing.assert_array_equal(joined.fluxes[: len(first)], alone.fluxes)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([part(0), part(1, starid=8)], WrongUseError, "only parts of one star"),
        ([part(0), part(0)], WrongUseError, "give each observing period once"),
        ([part(0, crowding=0.0)], BadInputError, "CROWDSAP is 0"),
        ([part(0, crowding=1.2)], BadInputError, "CROWDSAP is 1.2"),
        ([part(0, level=-5.0)], BadInputError, "flux above zero"),
        ([part(0, level=np.nan)], BadInputError, "0 good samples"),
        ([], WrongUseError, "no light curve"),
        (
            [part(0), part(1, mission="Kepler", time_reference=2454833)],
            WrongUseError,
            "of two missions, and without coordinates",
        ),
        (
            [part(0, ra=10.0, decl=5.0), part(200, mission="K2", ra=10.1, decl=5.0)],
            WrongUseError,
            "stars 359 arcsec apart",
        ),
    ],
)
def test_what_cannot_be_one_light_curve_is_refused_in_one_message(parts, error, message):
    with pytest.raises(error, match=message) as caught:
        stitch(parts)
    assert "\n" not in str(caught.value)


def test_times_of_two_missions_are_counted_from_one_zero():
    position = {"ra": 10.0, "decl": 5.0}
    kepler = part(0, mission="Kepler", time_reference=2454833, **position)
    joined = stitch([part(0, **position), kepler])
    assert joined.metadata["time_reference"] == 2454833
    assert joined.times[0] == kepler.times[0]
    assert joined.times[-1] == pytest.approx(part(0).times[-1] + 2457000 - 2454833)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mission", ["TESS", "Kepler"])
def test_stitched_file_opens_here_in_lightkurve_and_in_astropy(tmp_path, mission):
    lightkurve = pytest.importorskip("lightkurve")
    joined = stitch([part(k, mission=mission, crowding=0.8) for k in range(3)], window=1.5)
    joined.flags[5] = 1
    path = tmp_path / "joined_lc.fits"
    write_stitched(joined, path)
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
    read = Lightcurve.read(path)
    np.testing.assert_array_equal(read.times, joined.times)
    np.testing.assert_array_equal(read.fluxes, joined.fluxes)
    np.testing.assert_array_equal(read.good(), joined.good())
    for ours, theirs in zip(read.metadata["parts"], joined.metadata["parts"], strict=True):
        assert ours.name == theirs.name
        assert ours[1:] == pytest.approx(theirs[1:], rel=1e-12)
    assert read.metadata["joined"]
    assert read.metadata["crowding_applied"]
    curve = lightkurve.read(str(path), quality_bitmask="default")
    assert len(curve) == len(joined) - 1
    np.testing.assert_allclose(curve.flux.value, joined.fluxes[joined.good()], rtol=1e-12)
    assert len(TimeSeries.read(path, format="kepler.fits")) == len(joined)
