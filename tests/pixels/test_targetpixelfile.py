import gzip

import numpy as np
import pytest
from astropy.io import fits

from photometry.errors import BadInputError
from photometry.pixels.targetpixelfile import read_target_pixel_file

FLUX = np.arange(4 * 5 * 6, dtype=float).reshape(4, 5, 6)
NOISE = np.random.default_rng(1).normal(size=(100, 5, 6))  # does not compress

REAL_FILES = {  # file -> mission, starid, sector, camera, ccd, cadence, shape
    "tess25155310-s01-first-cadences.fits.gz": ("TESS", 25155310, 1, 4, 1, 120, (11, 11)),
    "kic8462852-q08-100cad_tpf.fits": ("Kepler", 8462852, 8, 16, 4, 1800, (10, 11)),
    "kplr008462852-2009131105131_lpd-targ.fits": ("Kepler", 8462852, 0, 24, 4, 1800, (10, 12)),
    "kplr008462852-2013131215648_lpd-targ.fits": ("Kepler", 8462852, 17, 24, 4, 1800, (8, 7)),
    "kic12644712-q12-500cad_tpf.fits": ("Kepler", 12644712, 12, 2, 4, 1800, (4, 5)),
    "ktwo221312395-c91_lpd-targ.fits.gz": ("K2", 221312395, 91, 10, 4, 1800, (10, 11)),
}


@pytest.fixture
def tpf(tmp_path, make_tpf):
    return make_tpf(tmp_path / "tpf.fits", FLUX)


def test_every_column_arrives_where_it_belongs(tmp_path, make_tpf):
    stamp = read_target_pixel_file(
        make_tpf(tmp_path / "tpf.fits", FLUX, POS_CORR2=np.full(4, 0.25))
    )
    np.testing.assert_array_equal(stamp.flux, FLUX)
    np.testing.assert_array_equal(stamp.flux_err, np.full(FLUX.shape, 2.0))
    np.testing.assert_array_equal(stamp.background, np.full(FLUX.shape, 100.0))
    np.testing.assert_array_equal(stamp.background_err, np.full(FLUX.shape, 0.5))
    np.testing.assert_array_equal(stamp.cadenceno, [7000, 7001, 7002, 7003])
    np.testing.assert_array_equal(stamp.pos_corr, [[0, 0.25]] * 4)
    assert (stamp.row, stamp.column, stamp.shape) == (100, 45, (5, 6))
    assert (stamp.target.starid, stamp.target.tmag, stamp.sector, stamp.cadence) == (
        1234,
        10.0,
        5,
        120,
    )
    assert np.isnan(stamp.target.teff)  # an empty keyword
    assert stamp.flux.dtype.isnative


def test_gzipped_file_is_read_whatever_its_name(tpf, tmp_path):
    zipped = tmp_path / "no_gz_in_its_name.fits"
    zipped.write_bytes(gzip.compress(tpf.read_bytes()))
    np.testing.assert_array_equal(read_target_pixel_file(zipped).flux, FLUX)


def test_table_larger_than_the_buffer_is_read_in_the_right_order(tmp_path, make_tpf):
    flux = np.arange(9000, dtype=float)[:, None, None] * np.ones((5, 5))
    stamp = read_target_pixel_file(make_tpf(tmp_path / "tpf.fits", flux))
    np.testing.assert_array_equal(stamp.flux[:, 4, 4], np.arange(9000))
    np.testing.assert_array_equal(stamp.time, fits.getdata(tmp_path / "tpf.fits")["TIME"])


def test_wcs_puts_the_target_on_its_pixel(tpf):
    np.testing.assert_allclose(
        read_target_pixel_file(tpf).wcs.all_world2pix(100.0, -30.0, 0), [2, 2], atol=1e-9
    )


def test_one_by_one_pixel_is_a_stamp(tmp_path, make_tpf):
    assert read_target_pixel_file(make_tpf(tmp_path / "tpf.fits", np.ones((3, 1, 1)))).shape == (
        1,
        1,
    )


def broken(tpf, how):
    """Break a target pixel file in one way."""
    content = tpf.read_bytes()
    with fits.open(tpf) as hdus:
        starts = [hdu._header_offset for hdu in hdus] + [len(content)]
        data = [hdu._data_offset for hdu in hdus]
        data_end = data[1] + hdus[1].header["NAXIS1"] * hdus[1].header["NAXIS2"]
    if how == "empty":
        tpf.write_bytes(b"")
    elif how == "text":
        tpf.write_text("<html>404: there is no such file</html>" * 200)
    elif how == "cut in the table":
        tpf.write_bytes(content[: data[1] + 5 * (data_end - data[1]) // 8])
    elif how == "cut in a header":
        tpf.write_bytes(content[: starts[1] + 300])
    elif how == "cut in the aperture":
        tpf.write_bytes(content[: data[2] + 10])
    elif how == "no aperture":
        tpf.write_bytes(content[: starts[2]])
    elif how == "primary only":
        tpf.write_bytes(content[: starts[1]])
    elif how == "gzip cut":
        tpf.write_bytes(gzip.compress(content)[:-200])
    elif how == "other telescope":
        tpf.write_bytes(content.replace(b"'TESS    '", b"'HST     '"))
    elif how == "no star":
        tpf.write_bytes(content.replace(b"TICID   =", b"TICIX   ="))
    elif how == "column missing":
        tpf.write_bytes(content.replace(b"'FLUX_BKG_ERR'", b"'SOMETHING_X' "))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "the file is empty"),
        ("text", "not a FITS file"),
        ("cut in the table", "truncated, table PIXELS ends after 2 of its 4 rows"),
        ("cut in a header", "truncated, it ends within a header"),
        ("cut in the aperture", "truncated, it ends within image APERTURE"),
        ("no aperture", "no APERTURE extension"),
        ("primary only", "holds a primary header and nothing else"),
        ("gzip cut", "damaged, it cannot be decompressed"),
        ("other telescope", "TELESCOP in the primary header is 'HST'"),
        ("no star", "TICID in the primary header is None: expected a star's number"),
        ("column missing", "lacks FLUX_BKG_ERR"),
    ],
)
def test_broken_file_is_refused_with_its_own_message(tpf, how, message):
    broken(tpf, how)
    with pytest.raises(BadInputError, match=message) as raised:
        read_target_pixel_file(tpf)
    assert str(raised.value).startswith(str(tpf))


def test_damaged_gzip_is_refused(tmp_path, make_tpf):
    path = make_tpf(tmp_path / "tpf.fits", NOISE)
    zipped = bytearray(gzip.compress(path.read_bytes()))
    zipped[len(zipped) // 2] ^= 255
    path.write_bytes(zipped)
    with pytest.raises(BadInputError, match="damaged, it cannot be decompressed"):
        read_target_pixel_file(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"FLUX": np.full((4, 5, 6), np.nan)}, "no pixel of FLUX has a value at any time"),
        ({"TIME": np.full(4, np.nan)}, "no row has a TIME"),
        ({"APERTURE": np.ones((5, 5))}, "APERTURE is \\(5, 5\\) pixels"),
        ({"FLUX": np.ones(4)}, "column FLUX of table 'PIXELS' holds no images"),
    ],
)
def test_useless_stamp_is_refused_with_its_own_message(tmp_path, make_tpf, changes, message):
    path = make_tpf(tmp_path / "tpf.fits", FLUX, **changes)
    with pytest.raises(BadInputError, match=message):
        read_target_pixel_file(path)


def test_table_without_rows_is_refused(tpf):
    with fits.open(tpf) as hdus:
        hdus[1].data = hdus[1].data[:0]
        hdus.writeto(tpf, overwrite=True)
    with pytest.raises(BadInputError, match="the table has no rows"):
        read_target_pixel_file(tpf)


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_file_is_read_as_its_archive_describes_it(shared_data, name):
    path = shared_data / "tpf" / name
    stamp = read_target_pixel_file(path)
    found = (
        stamp.mission,
        stamp.target.starid,
        stamp.sector,
        stamp.camera,
        stamp.ccd,
        stamp.cadence,
        stamp.shape,
    )
    assert found == REAL_FILES[name]
    with fits.open(path) as hdus:  # astropy's own reading as the truth
        np.testing.assert_array_equal(stamp.flux, hdus[1].data["FLUX"])
        np.testing.assert_array_equal(stamp.background_err, hdus[1].data["FLUX_BKG_ERR"])
        np.testing.assert_array_equal(stamp.time, hdus[1].data["TIME"])
        np.testing.assert_array_equal(stamp.pos_corr[:, 1], hdus[1].data["POS_CORR2"])
        np.testing.assert_array_equal(stamp.aperture, hdus[2].data)
        assert (stamp.column, stamp.row) == (hdus[1].header["1CRV5P"], hdus[1].header["2CRV5P"])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "test-tpf-kplr-tabby-corrupted.fits",
            "truncated, table TARGETTABLES ends after 0 of its 1 rows",
        ),
        ("test-tpf-tess-pimen-corrupted-at-header.fits", "truncated, it ends within a header"),
        ("test-lc-tess-pimen-corrupted.fits", "this is a light curve"),
    ],
)
def test_real_broken_file_is_refused_with_its_own_message(shared_data, name, message):
    with pytest.raises(BadInputError, match=message):
        read_target_pixel_file(shared_data / "tpf_broken" / name)
