"""PSF photometry: `photometry.methods.psf`."""

import dataclasses

import numpy as np
import pytest
from psf_stamps import make_stamp

from photometry.methods.psf import psf_photometry
from photometry.settings import photometry_settings
from photometry.status import STATUS

SETTINGS = photometry_settings(None)


def test_flux_and_position_are_found_where_the_catalogue_is_wrong():
    stamp, flux = make_stamp(
        tmag=[10.0, 10.7], row=[7.2, 10.4], column=[6.8, 9.1], offset=(0.15, -0.1)
    )
    found = psf_photometry(stamp, SETTINGS)
    assert found.status is STATUS.OK
    assert np.median(found.flux) == pytest.approx(flux[0], rel=0.003)
    position = np.median(found.centroid, axis=0) - (stamp.column, stamp.row)
    assert np.allclose(position, (6.7, 7.35), atol=0.005)


def test_unknown_motion_is_measured_at_every_time():
    rng = np.random.default_rng(2)
    motion = np.clip(0.08 * rng.standard_normal((200, 2)), -0.25, 0.25)
    stamp, flux = make_stamp(tmag=[9.0, 9.5], row=[7.2, 10.4], column=[6.8, 9.1], motion=motion)
    found = psf_photometry(dataclasses.replace(stamp, pos_corr=np.zeros_like(motion)), SETTINGS)
    moved = found.centroid - found.centroid.mean(axis=0)
    assert np.allclose(moved, motion - motion.mean(axis=0), atol=0.01)
    assert np.std(found.flux) / flux[0] < 1.5 * np.median(found.flux_err) / flux[0]


def test_a_position_that_cannot_be_fitted_is_a_warning():
    stamp, _ = make_stamp(tmag=[10.0], row=[7.0], column=[7.0], offset=(2.5, 2.5))
    found = psf_photometry(stamp, SETTINGS)
    assert found.status is STATUS.WARNING
    assert "could not be fitted" in found.errors[0]
