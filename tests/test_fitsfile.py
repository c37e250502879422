"""What kind of FITS file something is, its first image, and files that end early:
`photometry.fitsfile`.
"""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from photometry.errors import BadInputError
from photometry.fitsfile import Kind, kind_of_file, open_fits, read_image
from photometry.fitsstream import open_stream

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="real data are not here")


def image(**keywords):
    hdu = fits.ImageHDU(np.arange(12.0).reshape(3, 4))
    hdu.header.update(keywords)
    return hdu


def table(name, **columns):
    made = []
    for label, values in columns.items():
        values = np.asarray(values, dtype=float)
        dim = f"({values.shape[2]},{values.shape[1]})" if values.ndim == 3 else None
        form = f"{int(np.prod(values.shape[1:]))}D"
        made.append(fits.Column(label, form, dim=dim, array=values))
    return fits.BinTableHDU.from_columns(made, name=name)


def primary(data=None, **keywords):
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(keywords)
    return hdu


IMAGES = np.ones((2, 3, 4))
KINDS = {
    "TARGET_PIXELS": [primary(), table("PIXELS", TIME=[1, 2], FLUX=IMAGES)],
    "CUTOUT": [primary(), table("PIXELS", FLUX=IMAGES, FFI_FILE=[1, 2]), image()],
    "LIGHT_CURVE": [primary(), table("LIGHTCURVE", TIME=[1, 2], FLUX_RAW=[1, 2]), image()],
    "FULL_FRAME": [primary(TELESCOP="TESS"), image(), image()],
    "IMAGE": [primary(np.ones((3, 4)))],
    "TABLE": [primary(), table("STARS", RA=[1.0], DEC=[2.0])],
    "EMPTY": [primary()],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
def test_a_file_is_known_by_its_headers(tmp_path, kind, ending):
    path = tmp_path / f"file{ending}"
    fits.HDUList(KINDS[kind]).writeto(path)
    assert kind_of_file(path) is Kind[kind]


def test_an_image_of_tica_is_a_full_frame_and_a_compressed_one_is_an_image(tmp_path):
    primary(np.ones((3, 4)), MIDTJD=1325.3).writeto(tmp_path / "tica.fits")
    fits.HDUList([primary(), fits.CompImageHDU(np.ones((30, 40)))]).writeto(tmp_path / "fz.fits")
    assert kind_of_file(tmp_path / "tica.fits") is Kind.FULL_FRAME
    assert kind_of_file(tmp_path / "fz.fits") is Kind.IMAGE


@needs_data
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("tpf/*", Kind.TARGET_PIXELS),
        ("tpf_synthetic/*", Kind.TARGET_PIXELS),
        ("ffi/*astrocut*", Kind.CUTOUT),
        ("ffi/kplr*", Kind.FULL_FRAME),
        ("lc/*.fits*", Kind.LIGHT_CURVE),
        ("cbv/*", Kind.TABLE),
        ("prf/*", Kind.IMAGE),
        ("radio/1904-66*", Kind.IMAGE),
        ("optical/*.fit*", Kind.IMAGE),
        ("keck/*", Kind.IMAGE),
    ],
)
def test_files_of_the_archives_are_of_their_kind(pattern, kind):
    paths = [path for path in DATA.glob(pattern) if ".fit" in path.name]
    assert paths
    assert {path.name: kind_of_file(path) for path in paths} == {path.name: kind for path in paths}


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_ends_within_its_last_data_is_refused_with_how_much_is_there(tmp_path, packed):
    import gzip

    path = tmp_path / "cut.fits"
    fits.HDUList(
        [primary(), table("PIXELS", TIME=np.zeros(3000), FLUX=np.ones((3000, 3, 4)))]
    ).writeto(path)
    whole = path.read_bytes()
    begin = len(whole) - -(-3000 * 104 // 2880) * 2880
    cut = whole[: begin + 1234 * 104 + 50]
    path.write_bytes(gzip.compress(cut) if packed else cut)
    with pytest.raises(BadInputError, match="table PIXELS ends after 1234 of its 3000 rows"):
        kind_of_file(path)
    with open_stream(path) as stream, pytest.raises(BadInputError, match="after 1234 of its 3000"):
        stream.next_header()
        stream.read_columns(stream.next_header(), ["FLUX"])


def test_padding_that_a_writer_forgot_is_no_damage(tmp_path):
    path = tmp_path / "short.fits"
    fits.HDUList([primary(), table("STARS", RA=np.ones(10))]).writeto(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 2880 + 80])
    assert kind_of_file(path) is Kind.TABLE


def damaged_table(path, **changes):
    fits.HDUList([primary(), table("PIXELS", TIME=np.zeros(9), FLUX=np.ones((9, 3, 4)))]).writeto(
        path
    )
    content = path.read_bytes()
    for old, new in changes.values():
        before, found, after = content.rpartition(old)
        assert found
        content = before + new + after
    path.write_bytes(content)
    with open_stream(path) as stream:
        stream.next_header()
        return stream.read_columns(stream.next_header(), ["FLUX"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # NAXIS2 = 2**40: more than any memory
        (b"NAXIS2  =                    9", b"NAXIS2  =        1099511627776", "after 27 of its "
                                                                               "1099511627776 "
                                                                               "rows"),
        (b"NAXIS2  =                    9", b"NAXIS2  =                   -9", "NAXIS2 is -9"),
        (b"NAXIS2  =                    9", b"NAXIS2  =                 '9' ", "NAXIS2 is '9'"),
        (b"NAXIS1  =                  "
         b"104", b"NAXIS1  =                  105", "take 104 bytes a row"),
        (b"TFORM2  = '12D     '", b"TFORM2  = '12?     '", "TFORM2 is '12\\?'"),
        (
            b"BITPIX  =                    8 / arr",
            b"BITPIX  =                    7 / arr",
            "BITPIX is 7",
        ),
    ],
)  # fmt: skip
def test_headers_without_sense_are_one_message(tmp_path, old, new, message):
    with pytest.raises(BadInputError, match=message) as raised:
        damaged_table(tmp_path / "bad.fits", change=(old, new))
    assert "bad.fits: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_gzipped_table_that_cannot_fit_into_memory_is_refused(tmp_path):
    import gzip

    path = tmp_path / "bomb.fits.gz"
    with pytest.raises(BadInputError):
        damaged_table(
            path.with_suffix(""),
            change=(b"NAXIS2  =                    9", b"NAXIS2  =     4398046511104000"),
        )
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    with (
        open_stream(path) as stream,
        pytest.raises(BadInputError, match="more than fits into memory"),
    ):
        stream.next_header()
        stream.read_columns(stream.next_header(), ["FLUX"])


@pytest.mark.parametrize("content", [b"", b"SIMPLE", b"hello" * 1000, b"SIMPLE  =" + b" " * 10])
def test_what_is_no_fits_file_is_refused_without_words_of_the_library(tmp_path, content):
    path = tmp_path / "x.fits"
    path.write_bytes(content)
    for read in (kind_of_file, read_image):
        with pytest.raises(BadInputError) as raised:
            read(path)
        assert "ignore_missing_simple" not in str(raised.value)
        assert str(path) in str(raised.value)


def test_the_first_image_comes_with_its_coordinates_and_both_headers(tmp_path):
    sky = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0,
        "CRVAL1": 84.0, "CRVAL2": -66.0, "CDELT1": -0.01, "CDELT2": 0.01,
    }  # fmt: skip
    path = tmp_path / "x.fits"
    fits.HDUList([primary(OBJECT="M31"), table("STARS", RA=[1.0]), image(**sky), image()]).writeto(
        path
    )
    found = read_image(path)
    assert found.extension == 2
    assert found.pixels[2, 3] == 11
    assert found.pixels.dtype == float
    assert found.header["OBJECT"] == "M31"
    assert found.wcs.all_pix2world(0, 0, 0) == pytest.approx((84, -66))


def test_more_dimensions_give_the_first_plane_and_no_coordinates_none(tmp_path):
    fits.PrimaryHDU(np.arange(24.0).reshape(2, 1, 3, 4)).writeto(tmp_path / "x.fits")
    found = read_image(tmp_path / "x.fits")
    assert np.array_equal(found.pixels, np.arange(12.0).reshape(3, 4))
    assert found.wcs is None


def test_an_image_of_unsigned_integers_is_read(tmp_path):
    """As cameras write them: scaled by BZERO, so that the file cannot be mapped into memory."""
    pixels = np.arange(6, dtype="uint16").reshape(2, 3) + 40_000
    fits.PrimaryHDU(pixels).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits").pixels, pixels)


def test_a_file_without_image_has_none(tmp_path):
    fits.HDUList([primary(), table("STARS", RA=[1.0])]).writeto(tmp_path / "x.fits")
    with pytest.raises(BadInputError, match="holds no image"):
        read_image(tmp_path / "x.fits")


def test_missing_files_stay_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError), open_fits(tmp_path / "nothing.fits"):
        pass
