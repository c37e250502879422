"""What every method promises: a transit comes out as deep as it went in, whatever the mission and
however small the stamp.
"""

import dataclasses

import numpy as np
import pytest
from psf_stamps import ZERO_POINTS, make_stamp

from photometry.errors import TargetError
from photometry.methods import BUILT_IN, get_method
from photometry.methods.aperture import aperture_photometry, own_mask
from photometry.methods.psf import linpsf_photometry, psf_photometry
from photometry.pixels.find import identify
from photometry.pixels.stamp import mean_image
from photometry.settings import photometry_settings
from photometry.status import STATUS
from photometry.target import StampSource

SETTINGS = photometry_settings(None)
BRIGHT = {"TESS": 7.5, "Kepler": 12.0, "K2": 12.0}
IN_TRANSIT = np.arange(200) % 25 < 5
ALL = np.ones(200, bool)


def depth_over_truth(method, stamp, dimmed, depth, in_transit):
    """Measured over injected depth; 1 for a target that the method gives up. Both stamps have the
    same noise.
    """
    try:
        before, after = (get_method(method)(images, SETTINGS) for images in (stamp, dimmed))
    except TargetError:
        return 1.0
    if STATUS.ERROR in (before.status, after.status):
        return 1.0
    ratio = after.flux / before.flux
    outside = np.nanmedian(ratio[~in_transit])
    return (1 - np.nanmean(ratio[in_transit]) / outside) / depth


def dimmed_as_a_whole(stamp, depth, in_transit, good):
    """The stamp with a transit in all of its pixels."""
    flux = stamp.flux * (1 - depth * in_transit)[:, None, None].astype(np.float32)
    return dataclasses.replace(stamp, flux=flux, sumimage=mean_image(flux, good))


@pytest.mark.parametrize("mission", ZERO_POINTS)
@pytest.mark.parametrize("shape", [(4, 6), (6, 6), (11, 11)])
@pytest.mark.parametrize("method", sorted(BUILT_IN))
@pytest.mark.parametrize("depth", [5e-4, 0.05])
def test_transit_of_the_target_is_as_deep_as_injected(mission, shape, method, depth):
    rng = np.random.default_rng(5)
    motion = {"TESS": 0.02, "Kepler": 0.004, "K2": 0.15}[mission] * rng.standard_normal((200, 2))
    star = {
        "tmag": [BRIGHT[mission]],
        "row": [(shape[0] - 1) / 2 + 0.2],
        "column": [(shape[1] - 1) / 2 - 0.3],
        "offset": (0.2, -0.25),
        "motion": motion,
        "shape": shape,
        "mission": mission,
        "in_catalog": 1,
    }
    stamp, _ = make_stamp(**star)
    dimmed, _ = make_stamp(**star, signal=[1 - depth * IN_TRANSIT])
    found = depth_over_truth(method, stamp, dimmed, depth, IN_TRANSIT)
    assert found == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("method", sorted(BUILT_IN))
def test_transit_is_as_deep_where_an_unknown_brighter_star_lies_at_the_edge(method):
    # the two stars and the offset of one catalogue position are those of a Kepler stamp where a
    # free shift took a part of the flux
    rng = np.random.default_rng(7)
    row, column = 1.5 + rng.uniform(-0.6, 0.6), 2.5 + rng.uniform(-1, 1)
    tmag = [14.9, 14.9 - rng.uniform(-0.5, 1)]
    neighbour = 1 + rng.uniform(-1, 1), -0.3 + rng.uniform(-0.5, 0.3)
    stamp, _ = make_stamp(
        tmag, [row, neighbour[0]], [column, neighbour[1]], shape=(4, 6), mission="Kepler",
        offset=tuple(rng.uniform(-0.6, 0.6, 2)), in_catalog=1, seed=7,
    )  # fmt: skip
    dimmed = dimmed_as_a_whole(stamp, 5e-4, IN_TRANSIT, ALL)
    assert depth_over_truth(method, stamp, dimmed, 5e-4, IN_TRANSIT) == pytest.approx(1, abs=0.05)


@pytest.mark.real_data
@pytest.mark.parametrize("method", sorted(BUILT_IN))
@pytest.mark.parametrize("star", [12644712, 12644774, 12644778, 12644783, 12644822])
def test_transit_injected_into_small_kepler_stamps_is_as_deep(shared_data, star, method):
    path = shared_data / "tpf" / f"kic{star}-q12-500cad_tpf.fits"
    task = {"priority": 1, "datasource": "tpf", "method": None, **identify(path)}
    stamp, good = StampSource(task, path.parent, SETTINGS).make()
    in_transit = np.arange(len(stamp.time)) % 20 < 4
    depth = 5e-4
    dimmed = dimmed_as_a_whole(stamp, depth, in_transit, good)
    found = depth_over_truth(method, stamp, dimmed, depth, in_transit & good)
    assert found == pytest.approx(1, abs=0.05)


def test_psf_keeps_the_positions_where_a_shift_cannot_be_separated_from_the_flux():
    stamp, _ = make_stamp([15.0], [1.0], [-0.4], shape=(4, 6), mission="Kepler", in_catalog=1)
    found = psf_photometry(stamp, SETTINGS)
    assert found.status is STATUS.WARNING
    assert "the positions are those of the catalogue and the pointing" in found.errors[0]
    np.testing.assert_array_equal(found.flux, linpsf_photometry(stamp, SETTINGS).flux)


# Neighbours that no catalogue names


@pytest.mark.parametrize("mission", ZERO_POINTS)
@pytest.mark.parametrize("fraction", [2 / 3, 1.5])
@pytest.mark.parametrize("in_catalog", [1, 2])
def test_own_mask_holds_less_than_a_tenth_of_a_neighbour_with_and_without_a_catalogue(
    mission, fraction, in_catalog
):
    tmag = BRIGHT[mission] + 2
    stars = {
        "tmag": [tmag, tmag - 2.5 * np.log10(fraction)],
        "row": [7.2, 8.1],
        "column": [5.1, 9.0],  # 4 pixels from each other
        "mission": mission,
    }
    stamp, flux = make_stamp(**stars, in_catalog=in_catalog)
    one, both = make_stamp(**{**stars, "tmag": [tmag, 99]})[0], stamp
    mask, status, _ = own_mask(stamp, SETTINGS.aperture)
    assert status is STATUS.OK
    foreign = np.mean((both.flux - one.flux)[:, mask].sum(axis=1)) / flux[1]
    assert foreign < 0.1
    assert np.mean(one.flux[:, mask].sum(axis=1)) / flux[0] > 0.9


def test_mask_over_two_stars_without_peaks_of_their_own_is_a_warning():
    stamp, _ = make_stamp([9, 8.5], [7, 7.6], [6, 7.6], in_catalog=1)
    found = aperture_photometry(stamp, SETTINGS)
    assert found.status is STATUS.WARNING
    assert "another star may be in it, and there is no star catalogue" in found.errors[0]


@pytest.mark.parametrize("mission", ZERO_POINTS)
def test_mask_of_a_lonely_star_is_the_same_without_a_catalogue(mission):
    stamp, _ = make_stamp([BRIGHT[mission]], [7.2], [6.8], mission=mission)
    alone = dataclasses.replace(stamp, catalog=stamp.catalog.copy())
    alone.catalog.meta["path"] = ""
    masks = [own_mask(images, SETTINGS.aperture)[0] for images in (stamp, alone)]
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize("method", [linpsf_photometry, psf_photometry])
def test_fit_has_the_neighbours_that_the_image_shows(method):
    stamp, flux = make_stamp([10.0, 10.4], [7.2, 8.1], [5.1, 9.0], in_catalog=1)
    found = method(stamp, SETTINGS)
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.02)
    assert np.isnan(found.contamination)


def test_contamination_is_unknown_without_a_catalogue_and_that_of_the_file_with_its_mask():
    stamp, _ = make_stamp([9.0], [7.2], [6.8], in_catalog=1)
    assert np.isnan(aperture_photometry(stamp, SETTINGS).contamination)
    pipeline = photometry_settings({"aperture": {"mask": "pipeline"}})
    stamp = dataclasses.replace(stamp, aperture=np.full(stamp.shape, 3))
    assert np.isnan(aperture_photometry(stamp, pipeline).contamination)
    stamp.headers["CROWDSAP"] = 0.912
    assert aperture_photometry(stamp, pipeline).contamination == pytest.approx(0.088)
    assert np.isnan(aperture_photometry(stamp, SETTINGS).contamination)
