import dataclasses

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from photometry.errors import BadInputError
from photometry.methods.aperture import (
    aperture_photometry,
    contamination,
    edge_flux,
    measure,
    own_mask,
)
from photometry.pixels.stamp import Stamp, Target
from photometry.settings import photometry_settings
from photometry.status import STATUS

OWN, PIPELINE = (photometry_settings({"aperture": {"mask": mask}}) for mask in ("own", "pipeline"))
STRICT = photometry_settings({"aperture": {"threshold": 5}})


def make_stamp(
    flux,
    *,
    flux_err=None,
    background=None,
    background_err=None,
    mission="TESS",
    stars=None,
    **changes,
):
    """A stamp with given images; the first star of ``stars`` (starid, row, column, tmag) is the
    target.
    """
    n_times = len(flux)
    stars = stars or [(1, (flux.shape[1] - 1) / 2, (flux.shape[2] - 1) / 2, 10.0)]
    starid, row, column, tmag = zip(*stars, strict=True)
    values = {
        "target": Target(starid=starid[0], ra=0.0, decl=0.0, tmag=tmag[0]),
        "mission": mission,
        "sector": 1,
        "camera": 1,
        "ccd": 1,
        "cadence": 120,
        "datasource": "tpf",
        "time": np.arange(n_times) / 720,
        "time_reference": 2457000,
        "timecorr": np.zeros(n_times),
        "cadenceno": np.arange(n_times),
        "quality": np.zeros(n_times, int),
        "flux": flux.astype("f4"),
        "flux_err": (np.ones(flux.shape) if flux_err is None else flux_err).astype("f4"),
        "background": (np.zeros(flux.shape) if background is None else background).astype("f4"),
        "background_err": (
            np.zeros(flux.shape) if background_err is None else background_err
        ).astype("f4"),
        "aperture": np.ones(flux.shape[1:], int),
        "row": 200,
        "column": 300,
        "wcs": WCS(naxis=2),
        "pos_corr": np.zeros((n_times, 2)),
        "catalog": Table({"starid": starid, "row": row, "column": column, "tmag": tmag}),
        "sumimage": flux.mean(axis=0),
    }
    return Stamp(**values | changes)


def disc(shape=(21, 23), row=10, column=11, radius=6.3):
    rows, columns = np.indices(shape)
    return np.hypot(rows - row, columns - column) <= radius


@pytest.fixture
def noisy():
    """Images of noise with holes, and a mask that is no rectangle."""
    rng = np.random.default_rng(5)
    shape = (7, 9, 8)
    images = {
        name: rng.normal(10, 4, shape)
        for name in ("flux", "flux_err", "background", "background_err")
    }
    images["flux"][2, 3:6, 3:5] = np.nan
    return make_stamp(**images), disc((9, 8), 4, 4, 2.5)


def test_flux_of_a_disc_of_ones_is_its_area():
    stamp = make_stamp(np.ones((3, 21, 23)))
    np.testing.assert_array_equal(measure(stamp, disc(), method="").flux, [disc().sum()] * 3)


def test_sums_are_those_of_a_loop_over_pixels(noisy):
    stamp, mask = noisy
    found = measure(stamp, mask, method="")
    for i in range(7):
        flux = background = variance = background_err = 0.0
        for j, k in np.argwhere(mask):
            if not np.isnan(stamp.flux[i, j, k]):
                flux += float(stamp.flux[i, j, k])
            background += float(stamp.background[i, j, k])
            variance += float(stamp.flux_err[i, j, k]) ** 2
            background_err += float(stamp.background_err[i, j, k])
        assert found.flux[i] == pytest.approx(flux, rel=1e-12)
        assert found.background[i] == pytest.approx(background, rel=1e-12)
        # errors are kept in the single precision that files have
        assert found.background_err[i] == pytest.approx(background_err, rel=1e-6)
        assert found.flux_err[i] == pytest.approx(np.sqrt(variance + background_err**2), rel=1e-6)


def test_sum_over_many_pixels_keeps_parts_per_million():
    flux = np.full(
        (1, 50, 50), 1e5 + 0.0078125
    )  # 2500 pixels: a sum in single precision is wrong by some 1e-5
    found = measure(make_stamp(flux), np.ones((50, 50), bool), method="")
    assert found.flux[0] == pytest.approx(2500 * flux[0, 0, 0], rel=1e-12)


def test_centroid_of_a_single_bright_pixel_is_that_pixel():
    flux = np.zeros((2, 9, 8))
    flux[0, 3, 5] = flux[1, 4, 2] = 7.0
    found = measure(make_stamp(flux), np.ones((9, 8), bool), method="")
    np.testing.assert_allclose(found.centroid, [[305, 203], [302, 204]])


def test_centroid_is_that_of_a_loop_over_positive_pixels(noisy):
    stamp, mask = noisy
    for i, (column, row) in enumerate(measure(stamp, mask, method="").centroid):
        pixels = [
            (j, k, float(stamp.flux[i, j, k]))
            for j, k in np.argwhere(mask)
            if stamp.flux[i, j, k] > 0
        ]
        total = sum(flux for _, _, flux in pixels)
        assert column == pytest.approx(
            300 + sum(k * flux for _, k, flux in pixels) / total, rel=1e-12
        )
        assert row == pytest.approx(200 + sum(j * flux for j, _, flux in pixels) / total, rel=1e-12)


def test_centroid_without_a_positive_pixel_is_not_a_number():
    assert np.isnan(
        measure(make_stamp(np.full((1, 9, 8), -1.0)), np.ones((9, 8), bool), method="").centroid
    ).all()


def test_time_at_which_the_mask_is_empty_or_zero_has_no_flux():
    flux = np.ones((4, 9, 8))
    flux[1] = np.nan
    flux[2] = 0.0
    flux[3, 4, 4] = np.nan
    stamp = make_stamp(flux, aperture=np.full((9, 8), 3))
    result = aperture_photometry(stamp, PIPELINE)
    np.testing.assert_array_equal(np.isnan(result.flux), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(result.flux_err), [False, True, True, False])
    np.testing.assert_array_equal(
        np.isnan(result.centroid), [[False] * 2, [True] * 2, [True] * 2, [False] * 2]
    )
    np.testing.assert_array_equal(
        result.pixel_quality, [0, 3, 1, 2]
    )  # not measured 1, partly missing 2


@pytest.mark.parametrize(
    ("mission", "quality", "measured"),
    [
        ("Kepler", [0, 4160, 12352, 8192, 64], [True, False, False, True, True]),
        ("TESS", [0, 144, 180, 128, 4096], [True, False, False, True, True]),
    ],
)
def test_argabrightening_has_no_flux_as_in_the_official_light_curves(mission, quality, measured):
    stamp = make_stamp(
        np.ones((5, 9, 8)), mission=mission, quality=np.array(quality), aperture=np.full((9, 8), 3)
    )
    result = aperture_photometry(stamp, PIPELINE)
    np.testing.assert_array_equal(np.isfinite(result.flux), measured)
    np.testing.assert_array_equal(result.pixel_quality, np.where(measured, 0, 4))


def test_pipeline_mask_is_bit_2_of_the_aperture():
    bits = np.random.default_rng(1).integers(0, 256, (9, 8))
    mask = aperture_photometry(make_stamp(np.ones((2, 9, 8)), aperture=bits), PIPELINE).mask
    np.testing.assert_array_equal(mask, [[bool(int(b) // 2 % 2) for b in line] for line in bits])


def test_file_without_pipeline_mask_is_refused():
    with pytest.raises(BadInputError, match="APERTURE marks no pixel as the pipeline's aperture"):
        aperture_photometry(make_stamp(np.ones((2, 9, 8))), PIPELINE)


@pytest.mark.parametrize(("mission", "label"), [("TESS", "TIC"), ("Kepler", "KIC"), ("K2", "EPIC")])
def test_the_pipeline_mask_of_another_star_is_refused_by_the_name_of_this_one(mission, label):
    stamp = dataclasses.replace(
        make_stamp(np.ones((2, 9, 8))), mission=mission, datasource="tpf:1234"
    )
    with pytest.raises(BadInputError, match=f"not for {label} {stamp.target.starid}, a secondary"):
        aperture_photometry(stamp, PIPELINE)


def star_images(stars, shape=(15, 15), noise=1.0):
    rows, columns = np.indices(shape)
    flux = sum(
        f * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 2) / (2 * np.pi)
        for r, c, f in (
            (row, column, 10 ** (-0.4 * (tmag - 20.54))) for _, row, column, tmag in stars
        )
    )
    return flux + np.random.default_rng(4).normal(0, noise, (30, *shape))


def test_isolated_star_gives_its_flux_with_own_mask():
    stars = [(1, 7.2, 6.8, 9.0)]
    result = aperture_photometry(make_stamp(star_images(stars), stars=stars), OWN)
    assert result.status is STATUS.OK
    assert np.median(result.flux) == pytest.approx(10 ** (-0.4 * (9.0 - 20.54)), rel=0.01)
    np.testing.assert_allclose(np.median(result.centroid, axis=0), [306.8, 207.2], atol=0.02)
    assert result.contamination == 0
    assert result.skip_targets == ()


def test_star_within_the_mask_is_reported_and_contaminates():
    stars = [(1, 7.0, 7.0, 9.0), (2, 8.0, 7.0, 11.5), (3, 1.0, 1.0, 16.0)]
    result = aperture_photometry(make_stamp(star_images(stars[:1]), stars=stars), OWN)
    assert result.skip_targets == (2,)
    other = 10 ** (-0.4 * (11.5 - 9.0))
    assert result.contamination == pytest.approx(other / (1 + other))


def test_target_without_a_mask_gets_a_minimum_mask_and_a_warning():
    stars = [(1, 3.5, 3.5, 17.0), (2, 10.0, 10.0, 8.0)]
    mask, status, errors = own_mask(
        make_stamp(star_images(stars[1:]), stars=stars), STRICT.aperture
    )
    assert status is STATUS.WARNING
    assert mask.sum() == 4
    assert mask[3:5, 3:5].all()
    assert "minimum mask of 4 pixels" in errors[0]


def test_target_in_two_masks_is_an_error():
    stars = [(1, 2.0, 8.0, 12.0), (2, 7.0, 8.0, 5.0)]
    flux = np.zeros((15, 17))
    flux[4:11] = 3e4 * np.exp(-np.abs(np.arange(17) - 8) / 2)
    flux[0:14, 8] = [9.5e4, 9.5e4, 9.8e4, 9.5e4, 9.2e4, *(1e5 + 10 * np.arange(9))]
    flux[1:4, 7] = flux[1:4, 9] = 2e4
    flux += np.random.default_rng(1).normal(0, 0.5, flux.shape)
    _, status, errors = own_mask(make_stamp(flux[None], stars=stars), STRICT.aperture)
    assert status is STATUS.ERROR
    assert errors == ("the target lies in 2 pixel masks at the same time",)


def test_target_off_the_stamp_is_refused():
    stars = [(1, -4.0, 3.0, 9.0)]
    with pytest.raises(
        BadInputError, match=r"the target lies at row -4\.0, column 3\.0 of the stamp"
    ):
        own_mask(make_stamp(np.ones((3, 9, 8)), stars=stars), OWN.aperture)


def test_contamination_of_equal_stars_is_one_half():
    stars = [(1, 4.0, 4.0, 12.0), (2, 4.0, 5.0, 12.0), (3, 0.0, 0.0, 2.0)]
    mask = disc((9, 8), 4, 4, 2)
    stamp = make_stamp(np.ones((2, 9, 8)), stars=stars)
    assert contamination(stamp, mask) == pytest.approx(0.5)
    unknown = dataclasses.replace(stamp, target=dataclasses.replace(stamp.target, tmag=np.nan))
    assert np.isnan(contamination(unknown, mask))


def test_edge_flux_counts_only_mask_pixels_on_the_edge():
    image = np.arange(20.0).reshape(4, 5)
    mask = np.zeros((4, 5), bool)
    mask[0:3, 3:5] = True  # on the edge: 3, 4, 9, 14
    assert edge_flux(image, mask) == 3 + 4 + 9 + 14


def test_flux_without_errors_has_no_errors_and_without_those_of_the_background_the_pixels_errors():
    ones = np.ones((3, 9, 8))
    mask = disc((9, 8), 4, 4, 2)
    found = measure(make_stamp(ones, flux_err=ones * np.nan), mask, method="")
    assert np.isnan(found.flux_err).all()
    assert np.isnan(found.centroid_err).all()
    np.testing.assert_array_equal(found.flux, mask.sum())
    some = ones.copy()
    some[:, 4, 4] = np.nan
    found = measure(make_stamp(ones, flux_err=some, background_err=ones * np.nan), mask, method="")
    np.testing.assert_allclose(found.flux_err, np.sqrt(mask.sum() - 1))
    assert np.isnan(found.background_err).all()


def test_error_of_the_centroid_is_its_scatter():
    rng = np.random.default_rng(3)
    rows, columns = np.indices((9, 8))
    star = 5000 * np.exp(-((rows - 4.2) ** 2 + (columns - 3.7) ** 2) / 3)
    errors = 2 + np.sqrt(star) / 4
    flux = star + 50 + errors * rng.standard_normal((20000, 9, 8))
    found = measure(
        make_stamp(flux, flux_err=np.broadcast_to(errors, flux.shape)),
        disc((9, 8), 4, 4, 3),
        method="",
    )
    np.testing.assert_allclose(
        np.median(found.centroid_err, axis=0), np.std(found.centroid, axis=0), rtol=0.02
    )
