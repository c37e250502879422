import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky

from photometry.sky import angles, in_polygon, match_all, separation, unit_vectors

RNG = np.random.default_rng(11)


def random_sky(n):
    return RNG.uniform(0, 360, n), np.degrees(np.arcsin(RNG.uniform(-1, 1, n)))


def test_separation_agrees_with_astropy_at_every_angle():
    ra, decl = random_sky(500)
    for other_ra, other_decl in (random_sky(500), (ra, decl + 1e-9), (ra + 180, -decl)):
        truth = SkyCoord(ra, decl, unit="deg").separation(
            SkyCoord(other_ra, np.clip(other_decl, -90, 90), unit="deg")
        )
        got = separation(ra, decl, other_ra, np.clip(other_decl, -90, 90))
        assert got == pytest.approx(truth.deg, abs=1e-12)


def test_angles_invert_unit_vectors():
    ra, decl = random_sky(100)
    assert np.array(angles(3 * unit_vectors(ra, decl))) == pytest.approx(np.array([ra, decl]))


@pytest.mark.parametrize("centre", [(0.0, 0.0), (359.999, 45.0), (10.0, 90.0), (0.0, -89.99)])
def test_match_all_finds_the_pairs_that_astropy_finds(centre):
    centre = SkyCoord(*centre, unit="deg")
    first = centre.directional_offset_by(
        RNG.uniform(0, 360, 200) * u.deg, RNG.uniform(0, 0.1, 200) * u.deg
    )
    second = centre.directional_offset_by(
        RNG.uniform(0, 360, 300) * u.deg, RNG.uniform(0, 0.1, 300) * u.deg
    )
    i, j, apart, _ = search_around_sky(first, second, 0.01 * u.deg)
    ours = match_all(first.ra.deg, first.dec.deg, second.ra.deg, second.dec.deg, 0.01)
    assert set(zip(*ours[:2], strict=True)) == set(zip(i, j, strict=True))
    assert len(ours[0]) == len(i)
    assert np.sort(ours[2]) == pytest.approx(np.sort(apart.deg), abs=1e-12)


def test_match_all_takes_a_radius_of_each_and_no_stars_at_all():
    first, second, distance = match_all([0, 10], [0, 0], [0.5, 10.5], [0, 0], [0.4, 0.6])
    assert (list(first), list(second)) == ([1], [1])
    assert distance == pytest.approx([0.5])
    assert all(len(part) == 0 for part in match_all([], [], [1], [1], 1))


def test_a_polygon_around_the_pole_holds_the_pole_either_way_round():
    corners = [(0, 80), (90, 80), (180, 80), (270, 80)]
    for order in (corners, corners[::-1]):
        assert list(in_polygon([33, 45, 0], [90, 70, 85], order)) == [True, False, True]
