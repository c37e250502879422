"""Stamps from image cubes: `photometry.pixels.cubestamp`."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time

from photometry.errors import TargetNotFoundError
from photometry.flags import bitmask
from photometry.pixels.cubestamp import (
    Area,
    _times,
    area_of,
    cube_of,
    default_area,
    grown_area,
    local_flags,
    max_resizes,
    stamp_from_cube,
    stamp_size,
    target_of,
)
from photometry.pixels.imagecube import find_cube
from photometry.pixels.stamp import Target
from photometry.pixels.tess import correction, earth_position, satellite_position
from photometry.prepare.driver import prepare
from photometry.simulate.fullframe import simulate_full_frames
from photometry.sky import unit_vectors


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A prepared simulation of 30 frames of 96 x 96 pixels, and its folder."""
    folder = tmp_path_factory.mktemp("simulated")
    simulation = simulate_full_frames(folder, size=96, n_frames=30, stars=60, seed=3, ccd=2)
    prepare(folder)
    return simulation, folder


@pytest.fixture(scope="module")
def cube(simulated):
    with find_cube(simulated[1], 1, 1, 2, 1800) as cube:
        yield cube


def star(row):
    return Target(
        **{name: row[name] for name in ("starid", "ra", "decl", "tmag", "pm_ra", "pm_decl")}
    )


@pytest.mark.parametrize(
    ("tmag", "columns", "rows"),
    [(15, 15, 15), (8, 15, 15), (4.7, 28, 28), (3.2, 38, 68), (1, 100, 344), (0, 100, 344)],
)
def test_stamps_have_the_sizes_of_the_specification(tmag, columns, rows):
    assert stamp_size(tmag) == (rows, columns)


def test_stamps_grow_with_brightness_and_are_small_where_it_is_not_known():
    sizes = np.array([stamp_size(tmag) for tmag in np.arange(0, 12, 0.25)])
    assert np.all(np.diff(sizes, axis=0) <= 0)
    assert stamp_size(np.nan) == (15, 15)


def test_area_is_centred_on_the_star_and_ends_at_the_detector():
    assert default_area((100, 100), 50.4, 60.6, 10) == Area(43, 58, 54, 69)
    assert default_area((100, 100), -0.5, 99.5, 10) == Area(0, 8, 93, 100)


@pytest.mark.parametrize(
    ("row", "column"), [(-0.6, 50), (99.6, 50), (50, -0.6), (50, 99.6), (np.nan, 50)]
)
def test_stars_off_the_detector_are_not_found(row, column):
    with pytest.raises(TargetNotFoundError, match="outside the images"):
        default_area((100, 100), row, column, 10)


def test_area_grows_where_the_mask_touches_its_edge_but_not_over_the_detector():
    area = Area(5, 20, 80, 95)
    mask = np.zeros((15, 15), bool)
    mask[5:9, 4:8] = True
    assert grown_area(area, mask, (100, 100)) == area
    mask[0, 5] = mask[5, 14] = True
    assert grown_area(area, mask, (100, 100)) == Area(0, 20, 80, 100)
    assert grown_area(Area(0, 20, 80, 100), np.ones((20, 20), bool), (100, 100)) == Area(
        0, 30, 70, 100
    )
    assert (max_resizes(9), max_resizes(5.9)) == (5, 10)


def test_stamp_lies_where_the_star_is_after_its_proper_motion(simulated, cube):
    simulation, _ = simulated
    truth = simulation.truth()
    truth["pm_ra"], truth["pm_decl"] = 900.0, -700.0  # mas/yr: 0.8 pixels in 18.6 years
    from photometry.simulate.fullframe_scene import place_on_sky

    place_on_sky(truth, simulation.wcs, cube.epoch)
    for row in truth[:10]:
        stamp = stamp_from_cube(cube, star(row), epoch=2000.0)
        at = np.rint([row["row"], row["column"]]).astype(int)
        area = area_of(stamp, cube)
        assert area == default_area(cube.shape, *at, row["tmag"])
        assert np.array_equal(
            stamp.flux, cube.read("flux")[:, slice(*area.rows), slice(*area.columns)]
        )


def test_stamp_wcs_and_detector_numbers_agree_with_those_of_the_images(simulated, cube):
    simulation, _ = simulated
    row = simulation.truth()[5]
    stamp = stamp_from_cube(cube, star(row), epoch=2000.0)
    ra, decl = simulation.wcs.all_pix2world(row["column"], row["row"], 0)
    column, line = stamp.wcs.all_world2pix(ra, decl, 0)
    assert column + stamp.column == pytest.approx(
        row["column"] + 45, abs=1e-4
    )  # TESS counts columns of the sky from 45
    assert line + stamp.row == pytest.approx(row["row"] + 1, abs=1e-4)


def test_stamp_holds_what_methods_need(simulated, cube):
    stamp = stamp_from_cube(cube, star(simulated[0].truth()[3]), epoch=2000.0)
    n_times = len(simulated[0].exposures)
    for name in ("flux", "flux_err", "background", "background_err"):
        assert getattr(stamp, name).shape == (n_times, *stamp.shape)
    for name in ("time", "timecorr", "cadenceno", "quality"):
        assert getattr(stamp, name).shape == (n_times,)
    assert stamp.pos_corr.shape == (n_times, 2)
    assert (stamp.datasource, stamp.cadence, stamp.time_reference) == ("ffi", 1800, 2457000)
    assert stamp.collected.all()
    assert stamp.headers["INT_TIME"] == 1.98


def light_travel(days, star):
    """Light travel time from the centre of the Earth to the barycentre by astropy, s, at times
    since 2457000 (TDB).
    """
    geocentre = EarthLocation.from_geocentric(0, 0, 0, unit=units.m)
    times = Time(2457000, days, format="jd", scale="tdb", location=geocentre)
    return times.light_travel_time(star, ephemeris="builtin").to_value("s")


def test_times_are_barycentric_for_the_star_not_for_the_middle_of_the_image(cube):
    middle = cube.wcs.pixel_to_world(47.5, 47.5)
    star = middle.directional_offset_by(30 * units.deg, 0.25 * units.deg)
    stamp = stamp_from_cube(cube, Target(1, star.ra.deg, star.dec.deg, 10.0))
    # the middle is light_travel away from the Earth, which is near the satellite
    expected = [light_travel(cube.time, place) for place in (star, middle)]
    difference = expected[0] - expected[1]
    assert np.abs(difference).max() > 0.5  # s
    assert np.allclose((stamp.time - cube.time) * 86400, difference, atol=0.01)
    assert np.allclose(stamp.timecorr - cube.timecorr, stamp.time - cube.time)


@pytest.mark.parametrize("degrees", [0.0, 2.0, 4.3, 8.4])
@pytest.mark.parametrize("made_by", ["the mission", "the orbit"])
def test_times_are_the_stars_to_a_tenth_of_a_second(degrees, made_by):
    """Outside truth: astropy's light travel time to the Earth, and from there to a satellite that
    this test puts within the error of the orbit that the program knows.
    """
    days = np.linspace(1325, 1352, 500)
    middle = SkyCoord(90 * units.deg, -66 * units.deg)
    star = SkyCoord(90 * units.deg, (-66 + degrees) * units.deg)
    known, position_error = satellite_position(days, 2457000)
    phase = 2 * np.pi * days / 13.7
    wrong_by = position_error * np.array([np.cos(phase), np.sin(phase), 0 * phase]).T
    from_earth = known + wrong_by - earth_position(days, 2457000)
    assert np.linalg.norm(from_earth, axis=1).min() > 0.3
    assert np.linalg.norm(from_earth, axis=1).max() < 1.45
    expected, at_middle = (
        light_travel(days, place) + from_earth @ place.cartesian.xyz.value
        for place in (star, middle)
    )
    by_orbit = correction(known, unit_vectors(90.0, -66.0))
    cube = SimpleNamespace(
        time=days,
        timecorr=by_orbit if made_by == "the orbit" else at_middle / 86400,
        satellite=known,
        time_direction=(90.0, -66.0),
        time_errors=(position_error, 0.0),
    )
    _, found, error = _times(cube, 90.0, -66.0 + degrees)
    wrong = np.abs(found * 86400 - expected).max()
    assert wrong <= error * 86400 + 1e-4
    assert wrong < 0.1
    share = 1 if made_by == "the orbit" else np.radians(degrees)
    assert error * 86400 == pytest.approx(position_error * share, rel=0.01)


def test_the_header_of_a_stamp_says_how_far_its_times_may_be_off(cube):
    assert cube.time_errors == (0.05, 0.0)
    stamp = stamp_from_cube(cube, Target(1, *cube.time_direction, 10.0))
    assert stamp.headers["TIERABSO"] * 86400 == pytest.approx(0.05)


def test_scattered_light_and_jumps_are_flagged_from_the_targets_own_background():
    level = 100 + np.random.default_rng(1).normal(0, 0.1, 300)
    level[250:] += 60
    level[100] += 20
    flags = local_flags(np.broadcast_to(level[:, None, None], (300, 4, 4)))
    high, jump = bitmask(["HighLocalBackground"]), bitmask(["BackgroundJump"])
    assert np.flatnonzero(flags & high).tolist() == list(range(250, 300))
    assert np.flatnonzero(flags & jump).tolist() == [100]


def test_task_finds_its_cube_once_and_refuses_another_cadence(simulated):
    _, folder = simulated
    task = {"starid": 5, "sector": 1, "camera": 1, "ccd": 2, "cadence": 1800}
    assert cube_of(task, folder) is cube_of(task, folder)
    with pytest.raises(TargetNotFoundError, match="1800 s apart, the task asks for 600 s"):
        cube_of(task | {"cadence": 600}, folder)
    with pytest.raises(TargetNotFoundError, match="not known"):
        target_of(task, None, folder)
