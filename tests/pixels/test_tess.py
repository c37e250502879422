"""Where TESS is: `photometry.pixels.tess`."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from photometry.pixels.tess import (
    MAX_DISTANCE,
    ORBIT_ERROR,
    correction,
    earth_position,
    satellite_position,
)
from photometry.sky import unit_vectors

LIGHTCURVES = Path(__file__).parents[2] / ".." / "shared" / "data" / "lc"


def from_earth(days):
    return satellite_position(days, 2457000)[0] - earth_position(days, 2457000)


@pytest.mark.real_data
@pytest.mark.skipif(not LIGHTCURVES.exists(), reason="real data are not here")
@pytest.mark.parametrize(
    "name",
    [
        "tess2018206045859-s0001-0000000025155310-0120-s_lc.fits",
        "tess2018206045859-s0001-0000000231663901-0120-s_lc.fits",
        "hlsp_tess-spoc_tess_phot_0000000188589164-s0024_tess_v1_lc.fits",
    ],
)
def test_light_travel_times_are_those_of_the_mission(name):
    """Outside truth: TIMECORR of official light curves, made with the mission's own ephemeris."""
    header, table = fits.getheader(LIGHTCURVES / name), fits.getdata(LIGHTCURVES / name, 1)
    table = table[np.isfinite(table["TIME"])]
    timecorr = table["TIMECORR"].astype(float)
    days = table["TIME"] - timecorr
    star = unit_vectors(header["RA_OBJ"], header["DEC_OBJ"])
    position, error = satellite_position(days, 2457000)
    assert error == ORBIT_ERROR
    assert np.abs(correction(position, star) - timecorr).max() * 86400 < 0.02
    by_earth = correction(earth_position(days, 2457000), star)
    assert np.abs(by_earth - timecorr).max() * 86400 > 0.4


def test_the_orbit_is_that_which_the_mission_announced():
    """13.7 days, half the Moon's period; 17 to 59 Earth radii, which the Moon changes."""
    days = np.arange(1285, 1565, 0.05)
    distance = np.linalg.norm(from_earth(days), axis=1) * 299792.458 / 6378
    inner = (distance[1:-1] < distance[:-2]) & (distance[1:-1] < distance[2:])
    assert np.diff(days[1:-1][inner]).mean() == pytest.approx(13.7, abs=0.1)
    assert distance.min() == pytest.approx(17, abs=5)
    assert distance.max() == pytest.approx(59, abs=4)


@pytest.mark.parametrize("day", range(1530, 4800, 250))
def test_the_orbit_goes_on_where_its_next_piece_begins(day):
    """A sector that begins before and one that begins after find the satellite at one place."""
    before = from_earth(np.array([day - 1.0, day + 10.0]))[1]
    after = from_earth(np.array([day + 10.0]))[0]
    assert np.linalg.norm(before - after) < ORBIT_ERROR


@pytest.mark.parametrize("days", [[1200.0, 1300.0], [4960.0, 4990.0], [1400.0, 1800.0]])
def test_where_the_orbit_is_not_known_the_earth_stands_for_the_satellite(days):
    position, error = satellite_position(days, 2457000)
    assert error == MAX_DISTANCE
    assert np.array_equal(position, earth_position(days, 2457000))


def test_times_without_value_have_no_position():
    position, error = satellite_position([np.nan, 1400.0], 2457000)
    assert np.isnan(position[0]).all()
    assert np.isfinite(position[1]).all()
    assert error == ORBIT_ERROR
    assert np.isnan(satellite_position([np.nan], 2457000)[0]).all()
