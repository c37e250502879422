"""Linear PSF photometry: `photometry.methods.psf`, `scene`, `prf`."""

import dataclasses

import numpy as np
import pytest
from psf_stamps import make_stamp

from photometry.errors import BadInputError
from photometry.methods.prf import TESS_LIKE, GaussianPRF, StretchedPRF, fit_prf
from photometry.methods.psf import fit_offset, linpsf_photometry, psf_photometry
from photometry.methods.scene import solver
from photometry.pixels.find import identify
from photometry.settings import photometry_settings
from photometry.status import STATUS
from photometry.target import StampSource

SETTINGS = photometry_settings(None)


def test_flux_of_a_star_between_others_is_that_of_the_truth():
    stamp, flux = make_stamp(
        tmag=[10.0, 10.5, 11.0, 12.0], row=[7.2, 9.4, 4.1, 7.9], column=[6.8, 8.1, 5.0, 4.2]
    )
    found = linpsf_photometry(stamp, SETTINGS)
    assert found.status is STATUS.OK
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.003)
    assert found.contamination > 0.1
    assert found.deblended


def test_errors_are_the_scatter_of_the_flux():
    stamp, _ = make_stamp(tmag=[11.0, 11.5], row=[7.2, 9.4], column=[6.8, 8.1], n_times=600)
    found = linpsf_photometry(stamp, SETTINGS)
    assert np.std(found.flux) == pytest.approx(np.median(found.flux_err), rel=0.15)


def test_a_neighbour_that_varies_does_not_leak_into_the_target():
    dip = 1 - 0.5 * (np.arange(200) % 40 < 8)
    stamp, flux = make_stamp(
        tmag=[11.0, 10.5], row=[7.0, 9.2], column=[7.0, 7.6], signal=[np.ones(200), dip]
    )
    found = linpsf_photometry(stamp, SETTINGS)
    inside = dip < 1
    leak = (np.mean(found.flux[inside]) - np.mean(found.flux[~inside])) / (0.5 * flux[1])
    assert abs(leak) < 0.01


def test_pointing_jitter_does_not_reach_the_flux():
    rng = np.random.default_rng(3)
    motion = 0.1 * rng.standard_normal((400, 2))
    stamp, flux = make_stamp(tmag=[9.0], row=[7.3], column=[6.6], n_times=400, motion=motion)
    found = linpsf_photometry(stamp, SETTINGS)
    assert np.std(found.flux) / flux[0] < 1.3 * np.median(found.flux_err) / flux[0]
    assert np.allclose(
        found.centroid - found.centroid.mean(axis=0), motion - motion.mean(axis=0), atol=1e-6
    )


def test_times_without_pixels_have_no_flux_and_others_are_not_touched():
    stamp, flux = make_stamp(tmag=[10.0], row=[7.0], column=[7.0])
    stamp.flux[5] = np.nan
    stamp.flux[6, 0, 0] = np.nan
    found = linpsf_photometry(stamp, SETTINGS)
    assert np.flatnonzero(np.isnan(found.flux)).tolist() == [5]
    assert np.flatnonzero(np.isnan(found.centroid).all(axis=1)).tolist() == [5]
    moving = psf_photometry(stamp, SETTINGS)
    assert moving.status is STATUS.OK
    assert np.flatnonzero(np.isnan(moving.centroid[:, 0])).tolist() == [5]
    assert found.flux[6] == pytest.approx(flux[0], rel=0.02)


def test_a_stamp_of_saturated_pixels_is_refused():
    stamp, _ = make_stamp(tmag=[10.0], row=[7.0], column=[7.0])
    with pytest.raises(BadInputError, match="halo"):
        linpsf_photometry(
            dataclasses.replace(stamp, sumimage=np.full(stamp.shape, 1.5e5)), SETTINGS
        )


@pytest.mark.real_data
def test_mission_prf_files_are_used_where_they_are(shared_data):
    settings = photometry_settings({"psf": {"prf": str(shared_data / "prf")}})
    from photometry.methods.prf import TessPRF

    prf = TessPRF.read(shared_data / "prf", 4, 1, 1)
    stamp, flux = make_stamp(
        tmag=[10.0, 11.0],
        row=[7.2, 9.4],
        column=[6.8, 8.1],
        prf=prf,
        n_times=50,
        corner=(300, 1800),
    )
    assert np.median(linpsf_photometry(stamp, settings).flux) == pytest.approx(flux[0], rel=0.003)


class TestParts:
    def test_offset_of_all_stars_is_found_in_the_sum_image(self):
        stamp, _ = make_stamp(
            tmag=[10, 11, 12], row=[7.2, 9.4, 4.1], column=[6.8, 8.1, 5.0], offset=(0.12, -0.2)
        )
        offset, fitted = fit_offset(stamp, GaussianPRF(), np.zeros(2))
        assert fitted
        assert np.allclose(offset, (-0.2, 0.12), atol=0.002)  # column, row

    def test_an_offset_too_large_to_be_true_is_not_used(self):
        stamp, _ = make_stamp(tmag=[10.0], row=[7.0], column=[7.0], offset=(2.0, 2.0))
        offset, fitted = fit_offset(stamp, GaussianPRF(), np.zeros(2))
        assert not fitted
        assert not offset.any()

    def test_width_of_the_response_is_fitted(self):
        prf = GaussianPRF([(fraction, 1.3 * sigma) for fraction, sigma in TESS_LIKE])
        image = prf.render(
            np.array([5e4, 1e4]),
            np.array([7.3, 4.2]),
            np.array([6.6, 9.0]),
            np.arange(15),
            np.arange(15),
        )
        found = fit_prf(
            image,
            np.ones((15, 15)),
            np.array([7.3, 4.2]),
            np.array([6.6, 9.0]),
            np.arange(15),
            np.arange(15),
        )
        assert np.allclose(found.stretch, 1.3, rtol=0.01)

    def test_unstretched_response_is_the_analytic_one(self):
        position = np.array([7.3]), np.array([6.6]), np.arange(15), np.arange(15)
        assert np.allclose(
            StretchedPRF((1, 1)).evaluate(*position), GaussianPRF().evaluate(*position), atol=1e-12
        )

    def test_solver_agrees_with_least_squares_one_time_at_a_time(self):
        rng = np.random.default_rng(1)
        response = rng.standard_normal((6, 30, 4)) * [1, 1, 1e5, 1e-3]
        weight = rng.uniform(0.5, 2, (6, 30))
        weight[2, 5] = 0
        pixels = rng.standard_normal((6, 30))
        found = np.einsum("tsp,tp->ts", solver(response, weight), pixels)
        for t in range(6):
            root = np.sqrt(weight[t])
            expected = np.linalg.lstsq(response[t] * root[:, None], pixels[t] * root, rcond=None)[0]
            assert np.allclose(found[t], expected, rtol=1e-6)

    def test_two_stars_at_one_place_share_their_flux(self):
        response = np.ones((1, 5, 2))
        found = solver(response, np.ones((1, 5)))[0] @ np.full(5, 4.0)
        assert np.allclose(found, 2)


def test_a_background_that_was_missed_does_not_reach_the_flux():
    stamp, flux = make_stamp(tmag=[12.0, 12.5], row=[7.2, 10.4], column=[6.8, 8.1])
    missed = 3.0 + 2.0 * np.sin(np.arange(200) / 9)  # e-/s per pixel; the star has 2600
    wrong = dataclasses.replace(
        stamp,
        flux=stamp.flux + missed[:, None, None].astype(np.float32),
        sumimage=stamp.sumimage + missed.mean(),
    )
    found = linpsf_photometry(wrong, SETTINGS)
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.005)
    assert np.std(found.flux) < 1.2 * np.std(linpsf_photometry(stamp, SETTINGS).flux)


def test_a_crowd_of_faint_stars_that_no_pixels_could_tell_apart_does_not_drown_the_target():
    rng = np.random.default_rng(8)
    tmag = np.append(12.0, rng.uniform(15, 17, 40))
    row, column = (np.append(own, rng.uniform(0, 14, 40)) for own in (7.2, 6.8))
    stamp, flux = make_stamp(tmag=tmag, row=row, column=column)
    alone, _ = make_stamp(tmag=tmag[:1], row=row[:1], column=column[:1])
    found = linpsf_photometry(stamp, SETTINGS)
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.02)
    assert np.std(found.flux) < 2 * np.std(linpsf_photometry(alone, SETTINGS).flux)


def test_a_wrong_magnitude_of_a_neighbour_that_is_resolved_does_not_matter():
    stamp, flux = make_stamp(tmag=[11.0, 11.0], row=[7.2, 9.7], column=[6.8, 8.1])
    stamp.catalog["tmag"][1] = 12.0
    assert np.median(linpsf_photometry(stamp, SETTINGS).flux) == pytest.approx(flux[0], rel=0.005)


def test_a_star_within_a_pixel_adds_no_noise():
    stamp, flux = make_stamp(
        tmag=[11.0, 13.0, 12.0], row=[7.2, 7.5, 10.0], column=[6.8, 7.1, 8.1], n_times=600
    )
    alone, _ = make_stamp(tmag=[11.0], row=[7.2], column=[6.8], n_times=600)
    found = linpsf_photometry(stamp, SETTINGS)
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.01)
    assert np.std(found.flux) < 1.2 * np.std(linpsf_photometry(alone, SETTINGS).flux)
    assert np.std(found.flux) == pytest.approx(np.median(found.flux_err), rel=0.15)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", [linpsf_photometry, psf_photometry])
def test_pixels_without_errors_give_the_flux_and_no_errors(method):
    stamp, flux = make_stamp(tmag=[10.0, 10.5], row=[7.2, 9.4], column=[6.8, 8.1])
    found = method(dataclasses.replace(stamp, flux_err=stamp.flux_err * np.nan), SETTINGS)
    assert found.status is STATUS.OK
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.003)
    assert np.isnan(found.flux_err).all()


@pytest.mark.parametrize("shape", [(4, 6), (6, 6), (11, 11)])
def test_flux_is_that_of_the_truth_on_small_stamps_where_the_catalogue_is_off(shape):
    middle = [(shape[0] - 1) / 2 + 0.1], [(shape[1] - 1) / 2 - 0.2]
    stamp, flux = make_stamp([9.0], *middle, shape=shape, offset=(-0.5, 0.1), in_catalog=1)
    found = linpsf_photometry(stamp, SETTINGS)
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.01)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "error"), [("kic12644778", 0.05), ("kplr008462852-2009", 0.1), ("tess25155310", 0.08)]
)
def test_flux_of_a_lonely_real_star_is_the_official_one_over_its_fraction_in_the_aperture(
    shared_data, name, error
):
    (path,) = (shared_data / "tpf").glob(f"{name}*")
    task = {"priority": 1, "datasource": "tpf", "method": None, **identify(path)}
    stamp, good = StampSource(task, path.parent, SETTINGS).make()
    aperture = (stamp.aperture & 2) != 0
    official = np.nanmedian(stamp.flux[:, aperture].sum(axis=1)[good])
    official *= stamp.headers["CROWDSAP"] / stamp.headers["FLFRCSAP"]
    found = np.nanmedian(linpsf_photometry(stamp, SETTINGS).flux[good])
    assert found == pytest.approx(official, rel=error)
