"""Real images: known sources are found, and catalogues given with them reproduced."""

import warnings

import numpy as np
import pytest
from astropy.io import fits

from photometry import sky
from photometry.errors import BadInputError
from photometry.transients.accessors import open_image
from photometry.transients.finder import find_sources
from photometry.transients.noisemaps import noise_maps
from photometry.transients.optical import find_stars, match_series
from photometry.transients.runner import Runner

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize(
    ("name", "snr", "rms"),
    [("GRB120422A-120429", 5.7, 1.3e-4), ("SWIFT_554620-130504", 8.2, 6.1e-5)],
)
def test_the_afterglow_is_found_within_a_beam_of_its_position(shared_data, name, snr, rms):
    image = open_image(shared_data / "radio" / f"{name}.fits")
    found = find_sources(image, detection_threshold=5, analysis_threshold=3)
    header = image.header
    distance = sky.separation(
        found.sources[:, 0], found.sources[:, 1], header["CRVAL1"], header["CRVAL2"]
    )
    nearest = np.argmin(distance)
    assert distance[nearest] < header["BMAJ"]
    # its highest pixel, over the noise of the whole image
    column, row = round(found.x[nearest]), round(found.y[nearest])
    peak = image.pixels[row - 2 : row + 3, column - 2 : column + 3].max()
    assert peak / rms == pytest.approx(snr, rel=0.1)
    assert image.telescope == "AMI-LA"
    assert image.freq_eff == pytest.approx(16.5e9, rel=0.03)


def test_a_snapshot_of_lofar_is_measured(shared_data):
    name = "GRB201006A_final_2min_srcs-t0002-image-pb_cutout.fits"
    image = open_image(shared_data / "radio" / name)
    found = find_sources(image, detection_threshold=6)
    assert 4e-3 < (found.rms_min + found.rms_max) / 2 < 9e-3
    assert len(found.sources) < 12


def test_the_catalogue_of_another_finder_is_reproduced(shared_data):
    """51 components of Aegean in a real map near the south pole."""
    image = open_image(shared_data / "radio" / "1904-66_SIN.fits")
    catalog = fits.getdata(shared_data / "radio" / "1904_comp.fits")
    found = find_sources(
        image,
        detection_threshold=5,
        analysis_threshold=4,
        margin=0,
        extraction_radius_pix=500,
        back_size_x=40,
        back_size_y=40,
    )
    ra, decl = np.asarray(catalog["ra"], float), np.asarray(catalog["dec"], float)
    first, second, _ = sky.match_all(ra, decl, found.sources[:, 0], found.sources[:, 1], 0.08)
    first, unique = np.unique(first, return_index=True)
    second = second[unique]
    # what is wider than the beam is several sources for one finder and one for the other; what lies
    # at the ragged edge of the map cannot be fitted
    x, y = image.wcs.world_to_pixel_values(ra, decl)
    maps = noise_maps(image, margin=0, extraction_radius_pix=500, back_size_x=40, back_size_y=40)
    inner = np.array(
        [
            maps.usable[round(b) - 3 : round(b) + 4, round(a) - 3 : round(a) + 4].all()
            for a, b in zip(x, y, strict=True)
        ]
    )
    compact = inner & (np.asarray(catalog["a"]) < 1.2 * np.asarray(catalog["psf_a"]))
    assert compact.sum() > 15
    assert np.isin(np.flatnonzero(compact), first).mean() >= 0.85
    keep = np.isin(first, np.flatnonzero(compact))
    first, second = first[keep], second[keep]
    ratio = found.sources[second, 4] / catalog["peak_flux"][first]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)
    error = np.hypot(found.sources[second, 5], np.asarray(catalog["err_peak_flux"], float)[first])
    pull = (found.sources[second, 4] - catalog["peak_flux"][first]) / error
    assert np.median(np.abs(pull)) < 1.5


def test_images_without_what_is_needed_are_refused_with_a_message(shared_data):
    with pytest.raises(BadInputError, match="no frequency"):
        open_image(shared_data / "radio" / "missing_metadata.fits")
    with pytest.raises(BadInputError, match="two axes"):
        open_image(shared_data / "radio" / "lofar.fits")


def test_stars_and_galaxies_of_sextractor_are_found(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = fits.getdata(shared_data / "optical" / "sep_image.fits").astype(float)
    catalog = np.loadtxt(shared_data / "optical" / "sep_image.cat")
    found = find_stars(pixels, threshold=1.5)
    # X_IMAGE, Y_IMAGE count from 1
    distance = np.hypot(
        found["x"][:, None] - catalog[:, 1] + 1, found["y"][:, None] - catalog[:, 2] + 1
    )
    bright = catalog[:, -4] > np.median(catalog[:, -4])
    assert (distance.min(axis=0) < 1.0)[bright].mean() > 0.85
    assert 40 < len(found["x"]) < 120


def test_two_real_frames_are_matched_and_agree(shared_data):
    paths = sorted(str(p) for p in (shared_data / "optical").glob("aligned_*.fit"))
    images, skipped, _ = match_series(paths, Runner("serial"))
    assert skipped == {}
    assert len(images) == 2
    x, y = np.meshgrid([100, 500, 900], [100, 340, 600])
    there = images[1].wcs.world_to_pixel_values(*images[0].wcs.pixel_to_world_values(x, y))
    # the frames are aligned already
    assert np.abs(there[0] - x).max() < 0.5
    assert np.abs(there[1] - y).max() < 0.5
