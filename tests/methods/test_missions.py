"""What differs between the missions: each number against its source, and wherever it is used."""

import dataclasses

import numpy as np
import pytest
from psf_stamps import make_stamp

from photometry.constants import MISSIONS
from photometry.methods.aperture import mask_limits
from photometry.methods.halo import halo_photometry
from photometry.methods.prf import GaussianPRF
from photometry.methods.scene import make_scene, usable_pixels
from photometry.settings import photometry_settings
from photometry.target import expected_flux

SETTINGS = photometry_settings(None)
# flux of a star of magnitude 12: Handberg et al. 2021, AJ 162, 170; Kepler Instrument Handbook,
# KSCI-19033, section 5.1
FLUX_AT_12 = {"TESS": 10 ** (0.4 * 8.54), "Kepler": 1.74e5, "K2": 1.74e5}
# magnitude of the stars that saturate: TESS Instrument Handbook; Kepler Instrument Handbook,
# section 6.10
SATURATION = {"TESS": 7.0, "Kepler": 11.5, "K2": 11.5}
# e-/s that a pixel holds: 2e5 e- in 1.98 s, TESS Instrument Handbook; 1.05e6 e- in 6.02 s, Kepler
# Instrument Handbook
FULL_WELL = {"TESS": 1.01e5, "Kepler": 1.744e5, "K2": 1.744e5}


@pytest.mark.parametrize("mission", MISSIONS)
class TestNumbers:
    def test_flux_of_a_magnitude_is_that_of_the_handbook(self, mission):
        stamp, _ = make_stamp([12.0], [7.0], [7.0], mission=mission, n_times=20)
        assert expected_flux(stamp) == pytest.approx(FLUX_AT_12[mission], rel=0.05)

    def test_halo_photometry_scales_to_that_flux(self, mission):
        stamp, _ = make_stamp([12.0], [7.0], [7.0], mission=mission, n_times=20)
        found = halo_photometry(stamp, SETTINGS)
        assert np.median(found.flux) == pytest.approx(FLUX_AT_12[mission], rel=0.05)

    def test_the_prior_of_a_star_that_gives_no_light_is_that_flux(self, mission):
        stamp, _ = make_stamp([12.0], [7.0], [7.0], mission=mission, n_times=20)
        dark = dataclasses.replace(stamp, sumimage=-stamp.sumimage)
        scene = make_scene(dark, GaussianPRF(), np.zeros((1, 2)))
        assert scene.by_magnitude[0] == pytest.approx(FLUX_AT_12[mission], rel=0.05)

    def test_masks_follow_columns_from_the_saturation_limit_on(self, mission):
        stamp, _ = make_stamp([12.0], [7.0], [7.0], mission=mission, n_times=20)
        assert mask_limits(stamp, SETTINGS.aperture)["saturation_limit"] == SATURATION[mission]
        own = photometry_settings({"aperture": {"saturation_limit": 3.0}})
        assert mask_limits(stamp, own.aperture)["saturation_limit"] == 3.0

    def test_pixels_that_are_nearly_full_are_fitted_by_no_psf(self, mission):
        stamp, _ = make_stamp([12.0], [7.0], [7.0], mission=mission, n_times=20)
        image = np.full(stamp.shape, 100.0)
        image[3, 4:6] = 0.92 * FULL_WELL[mission], 0.88 * FULL_WELL[mission]
        usable = usable_pixels(dataclasses.replace(stamp, sumimage=image))
        assert np.argwhere(~usable).tolist() == [[3, 4]]

    def test_names_and_times_are_those_of_the_archive(self, mission):
        expected = {
            "TESS": ("TIC 7", "Tmag", "sector", 2457000, "BTJD", "TICID", "TESSMAG", "SECTOR"),
            "Kepler": ("KIC 7", "Kp", "quarter", 2454833, "BKJD", "KEPLERID", "KEPMAG", "QUARTER"),
            "K2": ("EPIC 7", "Kp", "campaign", 2454833, "BKJD", "KEPLERID", "KEPMAG", "CAMPAIGN"),
        }[mission]
        found = MISSIONS[mission]
        assert expected == (
            found.label(7), found.band, found.period_name, found.time_reference, found.time_name,
            found.id_keyword, found.magnitude_keyword, found.period_keyword,
        )  # fmt: skip
