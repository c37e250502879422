"""Full-frame images as files: `photometry.prepare.ffi`, `frame`."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from ffi_files import star_image, write_spoc, write_tica

from photometry.errors import BadInputError
from photometry.prepare.ffi import is_packed, read_frames, unpack
from photometry.prepare.frames import headers_of, nominal_cadence

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.exists(), reason="real data are not here"),
]
NAME = "tess2018234235059-s0003-1-2-0123-s_ffic.fits"


def test_spoc_image_is_recognised_with_its_times_and_numbers(tmp_path):
    flux = star_image()
    (frame,) = read_frames(write_spoc(tmp_path / NAME, flux, 0.1 * flux, quality=32))
    assert frame.group == ("TESS", 3, 1, 2, 1800)
    assert frame.time == pytest.approx(1330.0)
    assert frame.time_stop - frame.time_start == pytest.approx(1800 / 86400)
    assert (frame.cadenceno, frame.quality, frame.timecorr, frame.time_reference) == (
        4700,
        32,
        0.001,
        2457000,
    )
    assert np.array_equal(frame.read_flux(), flux)
    assert np.array_equal(frame.read_error(5, 7), (0.1 * flux)[5:7])


def test_whole_tess_ccd_keeps_the_2048_pixels_that_see_the_sky(tmp_path):
    image = np.arange(2078 * 2136, dtype=np.float32).reshape(2078, 2136)
    (frame,) = read_frames(write_spoc(tmp_path / NAME, image))
    assert frame.shape == (2048, 2048)
    assert (frame.first_row, frame.first_column) == (1, 45)  # as target pixel files count them
    assert np.array_equal(frame.read_flux(2040), image[2040:2048, 44:2092])


def test_science_pixels_follow_the_header_and_the_wcs_moves_with_them(tmp_path):
    image = star_image((40, 50))
    (frame,) = read_frames(write_spoc(tmp_path / NAME, image, science=(1, 35, 11, 45)))
    assert np.array_equal(frame.read_flux(), image[:35, 10:45])
    _, header = headers_of(frame)
    whole = WCS(fits.getheader(tmp_path / NAME, 1))
    assert np.allclose(
        WCS(header).all_pix2world(0, 0, 0), whole.all_pix2world(10, 0, 0), atol=1e-12
    )
    assert np.allclose(
        WCS(header).all_pix2world(30, 20, 0), whole.all_pix2world(40, 20, 0), atol=1e-12
    )


def test_of_a_cropped_image_the_pixels_that_are_there_are_taken(tmp_path):
    image = star_image((128, 173))
    (frame,) = read_frames(write_spoc(tmp_path / NAME, image, science=(1, 2048, 45, 2092)))
    assert frame.cropped
    assert (frame.first_row, frame.first_column) == (1, 45)
    assert np.array_equal(frame.read_flux(), image[:, 44:])


def test_of_an_image_cropped_to_what_sees_no_sky_that_is_said(tmp_path):
    path = write_spoc(tmp_path / NAME, star_image((40, 40)), science=(1, 2048, 45, 2092))
    with pytest.raises(BadInputError, match=r"40 x 40 pixels, none of which sees the sky.*cropped"):
        read_frames(path)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("CAMERA", "one"), ("TSTART", "now"), ("CCD", -3), ("EXPOSURE", 0.0), ("DQUALITY", 0.5)],
)
def test_numbers_without_sense_in_a_header_are_refused_by_name(tmp_path, keyword, value):
    path = write_spoc(tmp_path / NAME, star_image())
    fits.setval(path, keyword, value=value, ext=1)
    with pytest.raises(BadInputError, match="damaged"):
        read_frames(path)


def test_tica_electrons_become_electrons_per_second(tmp_path):
    electrons = (475.2 * star_image((60, 2136))).astype(np.float32)
    path = tmp_path / "hlsp_tica_tess_ffi_s0027-o1-00116470-cam3-ccd1_tess_v01_img.fits"
    (frame,) = read_frames(write_tica(path, electrons, SCIPIXS="[45:2092,1:50]"))
    assert frame.group == ("TESS", 27, 3, 1, 600)
    assert frame.times_for == "spacecraft"
    assert np.allclose(frame.read_flux(), electrons[:50, 44:2092] / 475.2, rtol=1e-6)


def test_tica_statements_become_the_bits_of_spoc(tmp_path):
    path = tmp_path / "hlsp_tica_tess_ffi_s0070-o1-00116470-cam3-ccd1_tess_v01_img.fits"
    more = {"SCIPIXS": "[1:72,1:80]", "COARSE": 1, "RW_DESAT": True, "STRAYLT3": 1, "STRAYLT2": 1}
    (frame,) = read_frames(write_tica(path, star_image(), **more))
    assert frame.quality == 4 | 32 | 4096


def test_files_without_errors_get_those_of_photons_and_read_noise(tmp_path):
    image = np.full((60, 70), 50.0, np.float32)
    (frame,) = read_frames(write_spoc(tmp_path / NAME, image))
    electrons = 50 * 1425.6
    expected = np.sqrt(electrons + 900 * 10.0**2) / 1425.6  # 900 readouts of 10 e- each
    assert np.allclose(frame.read_error(), expected, rtol=1e-5)


def test_scaled_integers_are_read_as_astropy_reads_them(tmp_path):
    path = write_spoc(tmp_path / NAME, np.arange(60 * 70, dtype=np.uint16).reshape(60, 70))
    (frame,) = read_frames(path)
    assert frame.flux.bzero == 32768
    assert np.array_equal(frame.read_flux(), fits.getdata(path, 1))


def test_compressed_image_unpacks_to_the_same_pixels(tmp_path):
    image = star_image()
    path = write_spoc(tmp_path / (NAME + ".gz"), image, image)
    assert is_packed(path)
    (frame,) = read_frames(unpack(path, tmp_path))
    assert np.array_equal(frame.read_flux(), image)


def test_other_fits_files_hold_no_frames(tmp_path):
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(tmp_path / "other.fits")
    assert read_frames(tmp_path / "other.fits") == []


@pytest.mark.parametrize("length", [10, 2900, 6000])
def test_file_cut_within_its_headers_is_refused_with_its_name(tmp_path, length):
    path = write_spoc(tmp_path / NAME, star_image())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BadInputError, match=NAME):
        if not read_frames(path):
            raise BadInputError(
                f"{NAME}: no frames"
            )  # cut between two HDUs: a FITS file that holds nothing


def test_pixels_cut_off_are_refused_when_read(tmp_path):
    path = write_spoc(tmp_path / NAME, star_image())
    (frame,) = read_frames(path)
    path.write_bytes(path.read_bytes()[:-10000])
    with pytest.raises(BadInputError, match="truncated"):
        frame.read_flux()
    with pytest.raises(BadInputError, match="truncated"):
        read_frames(path)


def test_file_that_lost_its_errors_is_refused(tmp_path):
    path = write_spoc(tmp_path / NAME, star_image(), star_image())
    size = path.stat().st_size
    content = path.read_bytes()
    path.write_bytes(
        content[: size - 23040 - 100]
    )  # 23040 bytes of pixels: cut in the header of the errors
    with pytest.raises(BadInputError, match="truncated, it ends within image of HDU"):
        read_frames(path)


def test_image_without_sector_is_refused(tmp_path):
    path = write_spoc(tmp_path / "image.fits", star_image())
    with pytest.raises(BadInputError, match="-sNNNN-"):
        read_frames(path)


@pytest.mark.parametrize(
    ("seconds", "nominal"), [(1799.97, 1800), (1755, 1800), (600.1, 600), (199.9, 200), (350, 350)]
)
def test_cadence_is_the_nominal_one_nearby(seconds, nominal):
    assert nominal_cadence(seconds / 86400) == nominal


class TestRealFiles:
    pytestmark = real_data

    def test_every_image_of_a_tesscut_cutout_is_that_of_its_table(self):
        path = DATA / "ffi" / "tess-s0001-4-3_107.27_-70.0_5x5_astrocut.fits"
        frames = read_frames(path)
        table = fits.getdata(path, 1)
        assert len(frames) == 1282
        assert frames[0].group == ("TESS", 1, 4, 3, 1800)
        for frame, row in zip(frames[::100], table[::100], strict=True):
            assert frame.time == row["TIME"]
            assert np.array_equal(frame.read_flux(), row["FLUX"])
            assert np.array_equal(frame.read_error(), row["FLUX_ERR"])

    def test_kepler_image_loses_its_collateral_pixels(self):
        path = DATA / "ffi" / "kplr2009114174833_ffi_ch01_corner200.fits"
        (frame,) = read_frames(path)
        assert frame.group == ("Kepler", 0, 2, 1, 1800)
        assert np.array_equal(frame.read_flux(), fits.getdata(path, 1)[20:, 12:])
        assert np.median(frame.read_flux()) > 100  # e-/s; the collateral pixels are around zero

    def test_target_pixel_files_are_no_full_frame_images(self):
        assert read_frames(DATA / "tpf" / "kic8462852-q08-100cad_tpf.fits") == []
