"""Simulated full-frame images: `photometry.simulate.fullframe`."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from photometry.catalog.ccd import open_catalog
from photometry.prepare.ffi import read_frames
from photometry.prepare.frames import headers_of
from photometry.simulate.fullframe import FullFrameSimulation, simulate_full_frames
from photometry.simulate.fullframe_scene import Sky, relative_flux

DARK = Sky(level=0.0, gradient=(0.0, 0.0), glow=0.0, scattered=0.0)


def one_star(tmag=9.0, row=30.0, column=33.0, **signal):
    stars = Table(
        {"starid": [1], "tmag": [tmag], "row": [row], "column": [column], "kind": ["constant"]}
    )
    for name in ("ra", "decl", "pm_ra", "pm_decl", "teff", "period", "t0", "duration", "amplitude"):
        stars[name] = [signal.get(name, np.nan)]
    stars["kind"] = [signal.get("kind", "constant")]
    return stars


def test_all_light_of_a_star_falls_on_pixels_around_it():
    simulation = FullFrameSimulation(size=64, n_frames=3, stars=one_star(), sky=DARK)
    image = simulation.star_image(1)
    assert image.sum() == pytest.approx(10 ** (-0.4 * (9 - 20.54)), rel=1e-3)  # e-/s of tmag 9
    rows, columns = np.indices(image.shape)
    motion = simulation.pointing.motion[1]
    assert (image * rows).sum() / image.sum() == pytest.approx(30 + motion[0], abs=0.005)
    assert (image * columns).sum() / image.sum() == pytest.approx(33 + motion[1], abs=0.005)


def test_noise_is_that_of_photons_and_readouts():
    simulation = FullFrameSimulation(size=64, n_frames=3, stars=one_star(), cosmic_rays=False)
    flux, error = simulation.image(1)
    signal = simulation.star_image(1) + simulation.background(1)
    pulls = (flux - signal) / error
    assert pulls.std() == pytest.approx(1, abs=0.03)
    exposure = 1800 * 0.99 * 0.8  # s of light
    photons = np.sqrt(signal * exposure) / exposure
    assert np.all(error > photons)
    assert np.all(error < np.hypot(photons, 1.1 * 10.05 * np.sqrt(exposure / 1.98) / exposure))


def test_saturated_charge_runs_along_the_column_and_none_is_lost():
    simulation = FullFrameSimulation(
        size=96,
        n_frames=3,
        stars=one_star(tmag=4.5, row=48, column=48),
        sky=DARK,
        cosmic_rays=False,
    )
    flux, _ = simulation.image(1)
    assert flux.sum() == pytest.approx(10 ** (-0.4 * (4.5 - 20.54)), rel=3e-3)
    assert flux.max() == pytest.approx(200000 / 1.98, rel=0.01)  # full well
    bright = flux > 50000
    assert np.ptp(np.nonzero(bright)[0]) > 2 * np.ptp(np.nonzero(bright)[1])


@pytest.mark.parametrize(
    ("kind", "deepest"), [("transit", 0.99), ("eclipse", 0.8), ("pulsation", 0.99)]
)
def test_injected_signals_have_the_depth_and_period_of_the_truth(kind, deepest):
    duration = np.nan if kind == "pulsation" else 0.1
    amplitude = 1 - deepest
    stars = one_star(kind=kind, period=2.0, t0=0.7, duration=duration, amplitude=amplitude)
    time = np.arange(0, 10, 0.01)
    flux = np.array([relative_flux(stars, t)[0] for t in time])
    assert flux.min() == pytest.approx(deepest, abs=1e-6)
    assert np.allclose(flux[:-200], flux[200:], atol=1e-9)  # two days later the same
    if kind != "pulsation":
        assert np.allclose(flux[np.abs(time - 2.7) < 0.02], deepest)
        assert np.allclose(flux[np.abs(time - 1.2) < 0.2], 1)
    if kind == "eclipse":
        assert flux[np.argmin(np.abs(time - 1.7))] == pytest.approx(1 - amplitude / 3)


def test_an_image_is_the_same_in_any_order_and_another_seed_makes_another():
    first = FullFrameSimulation(size=48, n_frames=8, stars=20, seed=4)
    again = FullFrameSimulation(size=48, n_frames=8, stars=20, seed=4)
    again.image(2)
    assert np.array_equal(first.image(5)[0], again.image(5)[0])
    assert not np.array_equal(
        first.image(5)[0], FullFrameSimulation(size=48, n_frames=8, stars=20, seed=5).image(5)[0]
    )


def test_the_far_corner_glows_and_scattered_light_rises_at_the_end():
    simulation = FullFrameSimulation(
        size=128, n_frames=100, stars=1, ccd=4, sky=Sky(gradient=(0, 0))
    )
    begin, end = simulation.background(1), simulation.background(99)
    assert begin[0, -1] - begin[64, 64] == pytest.approx(
        20, rel=0.05
    )  # the centre of the camera is at row 127, column 0
    assert begin[-1, 0] - begin[64, 64] == pytest.approx(0, abs=0.01)
    assert (end - begin)[64, 64] == pytest.approx(60 * 0.75, rel=0.15)


def test_moving_objects_move():
    simulation = FullFrameSimulation(
        size=128, n_frames=100, stars=one_star(tmag=16), asteroids=1, seed=2, sky=DARK, fainter=0
    )
    places = [np.unravel_index(np.argmax(simulation.star_image(i)), (128, 128)) for i in (5, 40)]
    assert np.hypot(*np.subtract(*places)) > 5


def test_response_is_wider_far_from_the_centre_of_the_camera():
    stars = one_star(row=5.0, column=5.0)
    far = (
        FullFrameSimulation(size=64, n_frames=3, stars=stars, sky=DARK, ccd=1, jitter=0.0)
        .star_image(1)
        .max()
    )
    near = FullFrameSimulation(
        size=64, n_frames=3, stars=one_star(row=58.0, column=58.0), sky=DARK, ccd=1, jitter=0.0
    )
    assert far < 0.85 * near.star_image(1).max()


@pytest.fixture(scope="module", params=[False, True], ids=["bare", "collateral"])
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ffi")
    return simulate_full_frames(
        folder, size=64, n_frames=6, stars=20, collateral=request.param
    ), folder


class TestFiles:
    def test_images_read_as_those_of_tess(self, written):
        simulation, folder = written
        paths = sorted((folder / "ffi").glob("tess*_ffic.fits"))
        assert len(paths) == len(simulation.exposures) == 5  # the first one is not exposed
        for path, i in zip(paths, simulation.exposures, strict=True):
            (frame,) = read_frames(path)
            flux, error = simulation.image(i)
            assert frame.group == ("TESS", 1, 1, 1, 1800)
            assert np.array_equal(frame.read_flux(), flux)
            assert np.array_equal(frame.read_error(), error)
            assert (frame.first_row, frame.first_column) == (1, 45)
            times, corrections = simulation.pointing.barycentric(simulation.ra, simulation.decl)
            assert (frame.time, frame.timecorr) == pytest.approx((times[i], corrections[i]))

    def test_wcs_puts_the_stars_of_the_truth_on_their_pixels(self, written):
        from astropy.wcs import WCS

        _, folder = written
        (frame,) = read_frames(next(iter((folder / "ffi").iterdir())))
        truth = Table.read(folder / "truth.ecsv")
        moved = open_catalog(folder, 1, 1, 1).stars()  # at the epoch of the images
        moved.sort("starid")
        moved = moved[: len(truth)]  # then come stars below the faint limit
        column, row = WCS(headers_of(frame)[1]).all_world2pix(moved["ra"], moved["decl"], 0)
        assert np.allclose(row, truth["row"], atol=1e-3)
        assert np.allclose(column, truth["column"], atol=1e-3)
        assert headers_of(frame)[1]["CTYPE1"] == "RA---TAN-SIP"

    def test_collateral_pixels_see_no_sky(self, written):
        simulation, folder = written
        image = fits.getdata(next(iter((folder / "ffi").iterdir())), 1)
        if not simulation.collateral:
            assert image.shape == (64, 64)
            return
        assert image.shape == (64 + 30, 64 + 88)
        assert np.median(image[:64, 44:-44]) > 50
        assert not image[:, :44].any()
        assert not image[64:].any()


def test_stars_go_on_below_the_faint_limit_as_the_luminosity_function():
    plain = FullFrameSimulation(size=128, n_frames=3, stars=200, seed=6, sky=DARK, fainter=0.0)
    deep = FullFrameSimulation(size=128, n_frames=3, stars=200, seed=6, sky=DARK, fainter=2.0)
    more = (deep.star_image(1) - plain.star_image(1)).sum()
    # 10^0.35 times as many stars per magnitude, each 10^-0.4 as bright: the light of one magnitude
    # below 15 and the next
    n = 200 * (10**0.35 - 1), 200 * (10**0.7 - 10**0.35)
    expected = sum(
        number * 10 ** (-0.4 * (mag - 20.54)) for number, mag in zip(n, (15.52, 16.52), strict=True)
    )
    assert more == pytest.approx(expected, rel=0.1)
    assert np.array_equal(plain.truth()["tmag"], deep.truth()["tmag"])


def test_faint_stars_move_with_the_others_and_the_brighter_ones_are_in_the_catalogue():
    deep = FullFrameSimulation(size=96, n_frames=60, stars=30, seed=7, sky=DARK, jitter=0.05)
    faint = deep.faint_stars
    motion = deep.pointing.motion[9]
    moved, still = (
        deep._render(faint["flux"].data, faint["row"] + dy, faint["column"] + dx, 6)
        for dy, dx in (motion, (0, 0))
    )
    found = deep._floor[0] + motion @ deep._floor[1:]
    assert np.std(found - moved) < 0.2 * np.std(
        moved - still
    )  # a straight line, where 0.1 pixels matter a little
    assert deep.catalog()["tmag"].max() == pytest.approx(18, abs=0.01)
    assert deep.faint_stars["tmag"].max() == pytest.approx(20, abs=0.01)
