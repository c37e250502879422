"""Optical series: frames without coordinates are matched by their stars, and stars measured against
one another."""

from dataclasses import replace

import numpy as np
import pytest
from series_helpers import rows

from photometry.lightcurve import Lightcurve
from photometry.simulate.opticalseries import OpticalSeries
from photometry.transients import configuration, main
from photometry.transients import database as db
from photometry.transients.accessors import open_image
from photometry.transients.ensemble import combine, ensemble_photometry, star_lightcurves
from photometry.transients.optical import find_stars, match, match_series, measure_psf
from photometry.transients.runner import Runner
from photometry.transients.settings import OPTICAL


def number_of(image):
    return int(image.url[-9:-5])


@pytest.fixture(scope="module", params=[101, 202, 303])
def series(request):
    return OpticalSeries(seed=request.param)


@pytest.fixture(scope="module")
def matched(series):
    frames = [series.frame(number) for number in range(series.n_frames)]
    return match_series(frames, Runner("serial"))


@pytest.mark.slow
def test_all_frames_are_matched_through_drift_flip_clouds_and_seeing(series, matched):
    images, skipped, reference = matched
    assert skipped == {}
    assert len(images) == series.n_frames
    reference = next(image for image in images if image.url == reference)
    sky = reference.wcs.pixel_to_world_values(*series.positions(number_of(reference)))
    for image in images:
        x, y = image.wcs.world_to_pixel_values(*sky)
        true_x, true_y = series.positions(number_of(image))
        assert np.median(np.hypot(x - true_x, y - true_y)) < 0.2


@pytest.mark.slow
def test_the_brightest_star_scatters_as_its_photons_and_its_transit_comes_back(series, matched):
    images, _, reference = matched
    reference = next(image for image in images if image.url == reference)
    x, y = series.positions(number_of(reference))
    found = ensemble_photometry(images, np.transpose(reference.wcs.pixel_to_world_values(x, y)))
    flux = found.flux[series.target]
    in_transit = series.in_transit()[[number_of(image) for image in images]]
    assert np.isfinite(flux).all()
    assert np.std(flux[~in_transit]) < 1.3 * series.noise_limit()
    depth = 1 - flux[in_transit].mean() / flux[~in_transit].mean()
    assert depth == pytest.approx(series.transit_depth, abs=0.002)
    # what it says of itself is what it scatters
    pull = (flux[~in_transit] - 1) / np.hypot(
        found.flux_err[series.target][~in_transit], series.scintillation
    )
    assert np.std(pull) == pytest.approx(1, abs=0.35)


@pytest.mark.slow
def test_a_frame_without_a_pattern_in_common_is_named_with_its_reason():
    series = OpticalSeries(n_frames=3, seed=5)
    other = OpticalSeries(n_frames=3, seed=6)
    rng = np.random.default_rng(1)
    dark = (series.header(2), rng.normal(300, 10, series.shape).astype(np.uint16))
    dark[0]["FILENAME"] = "dark.fits"
    header, pixels = other.frame(1)
    header["FILENAME"] = "elsewhere.fits"
    frames = [series.frame(0), series.frame(1), dark, (header, pixels)]
    images, skipped, reference = match_series(frames, Runner("serial"))
    assert [image.url for image in images] == ["frame0000.fits", "frame0001.fits"]
    assert reference == "frame0000.fits"
    assert set(skipped) == {"dark.fits", "elsewhere.fits"}
    assert "stars" in skipped["dark.fits"]


def test_the_map_between_two_frames_is_the_true_one():
    series = OpticalSeries(n_frames=2, seed=8, drift=150)
    first, last = (find_stars(series.frame(number)[1].astype(float)) for number in (0, 1))
    matrix, n, scatter = match(last, first)
    assert n > 30
    assert scatter < 0.3
    true = [np.transpose(series.positions(number)) for number in (0, 1)]
    mapped = true[1] @ matrix[:, :2].T + matrix[:, 2]
    inside = (true[1] > 0).all(axis=1) & (true[1] < 511).all(axis=1)
    assert np.abs(mapped - true[0])[inside].max() < 0.3


def test_the_width_of_stars_is_measured():
    for seeing in (2.6, 4.5):
        series = OpticalSeries(n_frames=1, seed=4, seeing=(seeing, seeing), clouds=0.0)
        # half of the light of a Moffat profile lies farther out than that of a Gaussian
        assert measure_psf(series.frame(0)[1].astype(float)) == pytest.approx(
            1.2 * seeing, rel=0.08
        )


def test_clouds_cancel_and_a_variable_star_does_not_bend_the_others():
    rng = np.random.default_rng(3)
    clouds = np.exp(-rng.uniform(0, 1, 80))
    truth = np.ones((20, 80))
    truth[4] = 1 + 0.3 * np.sin(np.arange(80) / 5)
    flux = 1e5 * rng.uniform(1, 9, (20, 1)) * truth * clouds
    error = 1e-3 * flux
    flux = flux + error * rng.standard_normal(flux.shape)
    flux[7, ::3] = np.nan
    found = combine(flux, error)
    assert not found.used[4]
    steady = np.delete(found.flux, 4, axis=0)
    assert np.nanstd(steady) == pytest.approx(1e-3, rel=0.15)
    assert np.nanstd(found.flux[4] / truth[4]) < 2e-3
    assert found.zero_point / np.median(found.zero_point) == pytest.approx(
        clouds / np.median(clouds), abs=2e-3
    )


@pytest.mark.slow
def test_the_pipeline_runs_on_frames_without_coordinates_and_finds_a_new_star(tmp_path):
    series = OpticalSeries(n_frames=8, seed=21, drift=60, transit_depth=0.0)
    paths = series.write(tmp_path)
    from astropy.io import fits

    from photometry.simulate.opticalseries import add_moffats

    with fits.open(paths[5], mode="update") as hdus:
        pixels = hdus[0].data.astype(float)
        # a place without stars near the target, in that frame
        x, y = series.positions(5)
        px, py = x[0] + 22, y[0]
        add_moffats(pixels, [px], [py], [60_000], series.conditions()["seeing"][5])
        hdus[0].data = pixels.clip(0, 65535).astype(np.uint16)
    db.connect(tmp_path / "optical.sqlite")
    job = configuration.job_settings(**OPTICAL)
    dataset = db.insert_dataset("optical")
    db.insert_config(dataset, job)
    summary = main.run_batch(paths, job, Runner("serial"), dataset, False)
    assert (summary.done, summary.skipped) == (8, {})
    likely = [row for row in rows("newsource") if row.newsource_type == 1]
    assert len(likely) == 1
    (image,) = (row for row in rows("image") if row.url == str(paths[5]))
    trigger = next(row for row in rows("extractedsource") if row.id == likely[0].trigger_xtrsrc)
    assert trigger.image == image.id
    # clouds are gone from the fluxes of the catalogue: bright stars are steady
    scale = [row.flux_scale for row in rows("image")]
    assert max(scale) / min(scale) > 1.1
    bright = sorted(rows("varmetric"), key=lambda row: -row.lightcurve_avg)[:15]
    assert np.median([row.v_int for row in bright]) < 0.02
    curves = star_lightcurves(db.current(), tmp_path / "curves")
    assert len(curves) > 20
    name = sorted((tmp_path / "curves").iterdir())[0]
    assert len(Lightcurve.read(name)) >= 4
    db.disconnect()


def test_frames_with_coordinates_need_no_matching():
    series = replace(OpticalSeries(n_frames=2, seed=9, flip=True, drift=30), with_wcs=True)
    images = [open_image(series.frame(number)) for number in range(2)]
    assert all(image.is_optical for image in images)
    sky = images[0].wcs.pixel_to_world_values(*series.positions(0))
    x, y = images[1].wcs.world_to_pixel_values(*sky)
    true_x, true_y = series.positions(1)
    assert np.abs(x - true_x).max() < 0.01
    assert np.abs(y - true_y).max() < 0.01
