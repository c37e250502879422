import dataclasses

import numpy as np
import pytest
from astropy.table import Table

from photometry.catalog.ccd import (
    catalog_for,
    mid_epoch,
    open_catalog,
    target_position,
    with_stars,
    with_target,
)
from photometry.catalog.tables import make_catalog
from photometry.errors import TargetNotFoundError
from photometry.pixels.targetpixelfile import read_target_pixel_file

PIXEL = 21 / 3600  # deg


@pytest.fixture
def stamp(tmp_path, make_tpf):
    return read_target_pixel_file(make_tpf(tmp_path / "tpf.fits", np.ones((3, 5, 6))))


@pytest.fixture
def catalog(tmp_path):
    """The target at pixel (2, 2), one star two rows up, one three columns off the stamp, one far
    away.
    """
    ra = 100 + np.array([0, 0, -6 * PIXEL, 1.0]) / np.cos(np.radians(30))
    stars = Table(
        {
            "starid": [1234, 5, 6, 7],
            "ra_J2000": ra,
            "decl_J2000": -30 + np.array([0, 2, 0, 0]) * PIXEL,
        }
    )
    stars["pm_ra"] = stars["pm_decl"] = 0.0
    stars["tmag"], stars["teff"] = [10.0, 12.0, 16.0, 8.0], 5000.0
    make_catalog(stars, tmp_path, 5, 2, 3)
    return open_catalog(tmp_path, 5, 2, 3)


def test_stars_on_and_near_the_stamp_get_their_pixels(stamp, catalog):
    stars = with_stars(stamp, catalog).catalog
    found = {int(star["starid"]): (star["row"], star["column"]) for star in stars}
    assert set(found) == {1234, 5, 6}
    assert found[1234] == pytest.approx((2, 2), abs=1e-6)
    assert found[5] == pytest.approx((4, 2), abs=1e-4)
    assert found[6] == pytest.approx((2, 8), abs=2e-3)


def test_faint_stars_are_left_out_but_never_the_target(stamp, catalog):
    assert list(with_stars(stamp, catalog, tmag_max=13).catalog["starid"]) == [1234, 5]
    assert list(with_stars(stamp, catalog, tmag_max=5).catalog["starid"]) == [1234]


def test_without_a_catalogue_the_target_is_the_only_star(stamp):
    alone = with_stars(stamp)
    assert list(alone.catalog["starid"]) == [1234]
    assert target_position(alone) == pytest.approx((2, 2), abs=1e-6)


def test_catalogue_of_the_input_folder_is_used(stamp, catalog, tmp_path):
    assert catalog_for(stamp, tmp_path).star(5)["tmag"] == 12
    assert catalog_for(dataclasses.replace(stamp, ccd=1), tmp_path) is None


def test_secondary_target_takes_position_and_magnitude_from_the_catalogue(stamp, catalog):
    secondary = with_stars(with_target(stamp, 5, catalog), catalog)
    assert secondary.target.tmag == 12
    assert target_position(secondary) == pytest.approx((4, 2), abs=1e-4)


def test_secondary_target_that_is_in_no_catalogue_is_not_found(stamp, catalog):
    with pytest.raises(
        TargetNotFoundError,
        match="star 99, tpf: its position is not known, it is not in the catalogue",
    ):
        with_target(stamp, 99, catalog)
    with pytest.raises(TargetNotFoundError, match="the input folder has no star catalogue"):
        with_target(stamp, 99, None)


def test_header_position_moves_with_the_proper_motion(stamp):
    fast = dataclasses.replace(stamp.target, pm_decl=1000.0 * 21)  # a pixel a year
    years = mid_epoch(stamp) - 2000
    row, column = target_position(with_stars(dataclasses.replace(stamp, target=fast)))
    assert (row, column) == pytest.approx((2 + years, 2), abs=0.01)


@pytest.mark.real_data
def test_moved_position_is_where_the_mission_s_wcs_has_the_target(shared_data):
    stamp = read_target_pixel_file(shared_data / "tpf" / "tess25155310-s01-first-cadences.fits.gz")
    # SPOC's reference pixel is the target, at the epoch of the sector
    reference = stamp.wcs.wcs.crpix[::-1] - 1
    assert target_position(with_stars(stamp)) == pytest.approx(reference, abs=0.01)


def test_another_star_in_the_stamp_has_times_of_its_own(stamp, catalog):
    """Outside truth: astropy's light travel time for the centre of the Earth."""
    from astropy import units
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time

    other = with_target(stamp, 6, catalog)
    geocentre = EarthLocation.from_geocentric(0, 0, 0, unit=units.m)
    times = Time(2457000, stamp.time, format="jd", scale="tdb", location=geocentre)
    expected = [
        times.light_travel_time(
            SkyCoord(star.ra * units.deg, star.decl * units.deg), ephemeris="builtin"
        ).to_value("s")
        for star in (other.target, stamp.target)
    ]
    moved = (other.time - stamp.time) * 86400
    assert np.abs(moved).max() > 0.05
    assert np.allclose(moved, expected[0] - expected[1], atol=1e-3)
    assert np.allclose(other.timecorr - stamp.timecorr, other.time - stamp.time)
    assert with_target(stamp, 1234, catalog).time == pytest.approx(stamp.time, abs=1e-9)
