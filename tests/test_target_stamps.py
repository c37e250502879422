"""Which method, and on how large a stamp, and targets of image cubes: `photometry.target`."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from photometry.errors import TargetNotFoundError
from photometry.methods.aperture import aperture_photometry
from photometry.prepare.driver import prepare
from photometry.settings import photometry_settings
from photometry.simulate.fullframe import FullFrameSimulation, Sky, simulate_full_frames
from photometry.simulate.fullframe_scene import draw_stars
from photometry.status import STATUS
from photometry.target import SWITCHED, StampSource, expected_flux, extract, needs_halo, photometry

SETTINGS = photometry_settings(None)
SKY = Sky(scattered=0.0, glow=0.0)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A prepared CCD of 128 x 128 pixels with a star of magnitude 3.6 in the middle and one at the
    edge.
    """
    folder = tmp_path_factory.mktemp("simulated")
    empty = FullFrameSimulation(size=128, n_frames=40, stars=1)
    stars = draw_stars(60, empty.wcs, empty.shape, np.random.default_rng(3), bright=8.5, faint=13.0)
    stars["tmag"][0], stars["row"][0], stars["column"][0] = 3.6, 64.3, 70.2
    stars["tmag"][1], stars["row"][1], stars["column"][1] = 9.0, 1.2, 20.1
    stars["kind"] = "constant"
    from photometry.simulate.fullframe_scene import place_on_sky

    place_on_sky(stars, empty.wcs, empty.epoch)
    simulation = simulate_full_frames(folder, size=128, n_frames=40, stars=stars, sky=SKY)
    prepare(folder)
    return simulation, folder


def task(starid, **others):
    common = {"sector": 1, "camera": 1, "ccd": 1, "cadence": 1800, "datasource": "ffi"}
    return {"priority": 3, "starid": starid, "method": None, **common, **others}


def test_an_image_cube_gives_a_light_curve_with_the_flux_of_the_truth(simulated, tmp_path):
    simulation, folder = simulated
    star = simulation.truth()[8]
    result = photometry(
        task(star["starid"], method="linpsf"), input_folder=folder, output_folder=tmp_path
    )
    assert result["status"] is STATUS.OK
    assert result["method_used"] == "linpsf"
    assert result["details"]["mean_flux"] == pytest.approx(star["flux"], rel=0.02)
    with fits.open(tmp_path / result["details"]["filepath_lightcurve"]) as hdulist:
        assert hdulist[0].header["DATASRC"] == "ffi"
        curve = Table(hdulist["LIGHTCURVE"].data)
        # the WCS of the images has distortions; the stars have to be on the same pixels of the
        # light curve's images
        from astropy.wcs import WCS

        ra, decl = hdulist[0].header["RA_OBJ"], hdulist[0].header["DEC_OBJ"]
        column, row = WCS(hdulist["SUMIMAGE"].header).all_world2pix(ra, decl, 0)
    row1, _, column1, _ = result["details"]["stamp"]
    assert row + row1 - 1 == pytest.approx(star["row"], abs=0.02)
    assert column + column1 - 45 == pytest.approx(star["column"], abs=0.02)
    assert len(curve) == len(simulation.exposures)


def test_a_mask_at_the_edge_makes_the_stamp_grow_until_it_is_inside(simulated):
    def broad(stamp, settings):
        """A mask at a fixed position of the detector, larger than the first stamp."""
        mask = np.zeros((400, 400), bool)
        mask[40:75, 60:80] = True
        found = aperture_photometry(stamp, settings)
        row, column = stamp.row, stamp.column
        return dataclasses.replace(
            found, mask=mask[row : row + stamp.shape[0], column : column + stamp.shape[1]]
        )

    from photometry.target import grow

    simulation, folder = simulated
    near = np.hypot(simulation.stars["row"] - 57, simulation.stars["column"] - 25)
    star = simulation.stars[int(np.argmin(near))]
    stamp, _, extraction, complete = grow(
        StampSource(task(int(star["starid"])), folder, SETTINGS), broad
    )
    assert complete
    assert extraction.stamp_resizes > 0
    assert not extraction.mask[0].any()
    assert stamp.shape[0] in {15 + 10 * n for n in range(12)} or stamp.row == 1


def test_growth_ends_at_the_detector(simulated):
    def everything(stamp, settings):
        return dataclasses.replace(
            aperture_photometry(stamp, settings), mask=np.ones(stamp.shape, bool)
        )

    from photometry.target import grow

    _, folder = simulated
    stamp, _, extraction, complete = grow(StampSource(task(2), folder, SETTINGS), everything)
    assert extraction.stamp_resizes == 5
    assert not complete
    assert stamp.row == 1  # the star is at row 1.2 of the image: nothing below


def test_the_brightest_star_switches_to_halo_and_says_so(simulated):
    simulation, folder = simulated
    source = StampSource(task(int(simulation.stars["starid"][0])), folder, SETTINGS)
    stamp, _, extraction = extract(source)
    by_aperture = extract(source, "aperture")[2]
    switched = needs_halo(stamp, by_aperture, True)
    assert extraction.method == ("halo" if switched else "aperture")
    narrow = dataclasses.replace(by_aperture, edge_flux=0.02 * expected_flux(stamp))
    assert needs_halo(stamp, narrow, True)
    assert not needs_halo(stamp, dataclasses.replace(by_aperture, edge_flux=0.0), True)
    assert needs_halo(stamp, dataclasses.replace(by_aperture, edge_flux=0.0), False)


def test_halo_switch_is_noted_in_the_diagnostics(simulated, tmp_path, monkeypatch):
    from photometry import target as module

    simulation, folder = simulated
    monkeypatch.setattr(module, "HALO_EDGE", -1.0)  # any flux at the edge is too much
    starid = int(simulation.stars["starid"][0])
    result = photometry(task(starid), input_folder=folder, output_folder=tmp_path)
    assert result["method_used"] == "halo"
    assert result["details"]["errors"] == [SWITCHED]
    named = photometry(task(starid, method="aperture"), input_folder=folder, output_folder=tmp_path)
    assert named["method_used"] == "aperture"


def test_faint_stars_and_secondary_targets_never_switch(simulated):
    _, folder = simulated
    stamp, _, extraction = extract(StampSource(task(2), folder, SETTINGS))
    assert not needs_halo(stamp, dataclasses.replace(extraction, edge_flux=1e9), False)


def test_stars_off_the_images_or_the_catalogue_are_not_found(simulated):
    simulation, folder = simulated
    with pytest.raises(TargetNotFoundError, match="not in the catalogue"):
        extract(StampSource(task(99999), folder, SETTINGS))
    with pytest.raises(TargetNotFoundError, match="no such image cube"):
        extract(StampSource(task(2, sector=7), folder, SETTINGS))
    assert len(simulation.stars) == 60


@pytest.mark.parametrize(("size", "status"), [(16, STATUS.WARNING), (32, STATUS.OK)])
def test_a_cube_too_small_for_a_background_of_its_own_gives_warnings(
    tmp_path, caplog, size, status
):
    """The sky of 16 x 16 pixels is the star itself: a light curve from them is no OK."""
    parameters = {"size": size, "n_frames": 8, "bright": 9.0, "faint": 9.5, "fainter": 0.0}
    simulation = simulate_full_frames(tmp_path, stars=1, sky=SKY, cosmic_rays=False, **parameters)
    prepare(tmp_path)
    assert ("make cut-outs of 32 x 32 pixels or more" in caplog.text) == (size < 32)
    result = photometry(
        task(simulation.truth()["starid"][0], method="aperture"),
        input_folder=tmp_path,
        output_folder=tmp_path / "out",
    )
    assert result["status"] is status
    assert any("32 x 32" in error for error in result["details"].get("errors", [])) == (size < 32)
