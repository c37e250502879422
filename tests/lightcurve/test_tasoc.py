import gzip
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.timeseries import TimeSeries
from astropy.wcs import WCS

from photometry.catalog.ccd import with_stars
from photometry.constants import MISSIONS
from photometry.flags import DEFAULT_BITMASK
from photometry.lightcurve import LightcurveArbitraryRaster, cdpp, correct_file, quick_cdpp
from photometry.lightcurve.tasoc import write_lightcurve
from photometry.methods.aperture import aperture_photometry
from photometry.pixels.find import identify
from photometry.pixels.targetpixelfile import read_target_pixel_file
from photometry.settings import photometry_settings
from photometry.target import StampSource

SETTINGS = photometry_settings(
    {"aperture": {"mask": "pipeline"}, "output": {"data_release": 7, "version": 3}}
)


@pytest.fixture
def stamp(tmp_path, make_tpf):
    flux = np.random.default_rng(1).normal(100, 1, (50, 5, 6))
    flux[3] = np.nan
    bits = np.array(
        [
            [1, 1, 1, 1, 1, 0],
            [1, 3, 3, 1, 1, 1],
            [1, 3, 3, 3, 1, 1],
            [1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1],
        ]
    )
    quality = np.arange(50) % 3 * 32
    stamp = with_stars(
        read_target_pixel_file(
            make_tpf(tmp_path / "tpf.fits", flux, APERTURE=bits, QUALITY=quality)
        )
    )
    return replace(stamp, sumimage=np.nanmean(flux, axis=0))


@pytest.fixture
def written(stamp, tmp_path):
    return tmp_path / write_lightcurve(
        tmp_path, stamp, aperture_photometry(stamp, SETTINGS), SETTINGS
    )


@pytest.mark.parametrize(
    ("mission", "name"),
    [
        ("TESS", "c0120/00000001/tess00000001234-s005-2-3-c0120-dr07-v03-tasoc_lc.fits.gz"),
        ("Kepler", "c0120/00000001/kplr00000001234-s005-2-3-c0120-dr07-v03-tasoc_lc.fits.gz"),
        ("K2", "c0120/00000001/ktwo00000001234-s005-2-3-c0120-dr07-v03-tasoc_lc.fits.gz"),
    ],
)
def test_name_tells_mission_star_sector_camera_ccd_cadence_release_and_version(
    stamp, mission, name, tmp_path
):
    stamp = replace(stamp, mission=mission)
    extraction = aperture_photometry(stamp, SETTINGS)
    assert write_lightcurve(tmp_path, stamp, extraction, SETTINGS) == name


def test_file_passes_verification_and_checksums(written):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(written, checksum=True) as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "LIGHTCURVE", "SUMIMAGE", "APERTURE"]
            assert all("CHECKSUM" in hdu.header and "DATASUM" in hdu.header for hdu in hdus)


def test_checksum_notices_a_changed_flux(written):
    content = bytearray(gzip.decompress(written.read_bytes()))
    with fits.open(written) as hdus:
        content[hdus["LIGHTCURVE"]._data_offset + 20] ^= 1
    changed = written.with_suffix("")
    changed.write_bytes(content)
    with (
        pytest.warns(UserWarning, match="[Cc]hecksum|Datasum verification failed"),
        fits.open(changed, checksum=True) as hdus,
    ):
        assert hdus["LIGHTCURVE"].data is not None


def test_table_holds_what_was_measured(written, stamp):
    extraction = aperture_photometry(stamp, SETTINGS)
    table = fits.getdata(written, "LIGHTCURVE")
    np.testing.assert_array_equal(table["TIME"], stamp.time)
    np.testing.assert_array_equal(table["CADENCENO"], stamp.cadenceno)
    np.testing.assert_array_equal(table["QUALITY"], stamp.quality)
    np.testing.assert_allclose(table["FLUX_RAW"], extraction.flux, rtol=1e-7)
    np.testing.assert_allclose(table["FLUX_RAW_ERR"], extraction.flux_err, rtol=1e-7)
    np.testing.assert_allclose(table["FLUX_BKG"], extraction.background, rtol=1e-7)
    np.testing.assert_array_equal(table["MOM_CENTR1"], extraction.centroid[:, 0])
    np.testing.assert_array_equal(table["MOM_CENTR2"], extraction.centroid[:, 1])
    np.testing.assert_array_equal(table["PIXEL_QUALITY"], extraction.pixel_quality)
    assert np.isnan(table["FLUX_RAW"][3])
    assert np.isnan(table["FLUX_CORR"]).all()


def test_columns_and_units_are_those_of_the_format(written):
    columns = fits.getheader(written, "LIGHTCURVE")
    found = {
        columns[f"TTYPE{i}"]: columns.get(f"TUNIT{i}") for i in range(1, columns["TFIELDS"] + 1)
    }
    assert found == {
        "TIME": "BJD - 2457000, days",
        "TIMECORR": "d",
        "CADENCENO": None,
        "FLUX_RAW": "e-/s",
        "FLUX_RAW_ERR": "e-/s",
        "FLUX_BKG": "e-/s",
        "FLUX_CORR": "ppm",
        "FLUX_CORR_ERR": "ppm",
        "QUALITY": None,
        "PIXEL_QUALITY": None,
        "MOM_CENTR1": "pixels",
        "MOM_CENTR2": "pixels",
        "POS_CORR1": "pixels",
        "POS_CORR2": "pixels",
        "SAP_BKG_ERR": "e-/s",
        "MOM_CENTR1_ERR": "pixels",
        "MOM_CENTR2_ERR": "pixels",
        "PDCSAP_FLUX": "e-/s",
        "PDCSAP_FLUX_ERR": "e-/s",
    }


def test_keywords_tell_star_instrument_method_and_time(written):
    primary, table = fits.getheader(written, 0), fits.getheader(written, "LIGHTCURVE")
    expected = {
        "TELESCOP": "TESS",
        "OBJECT": "TIC 1234",
        "TICID": 1234,
        "SECTOR": 5,
        "CAMERA": 2,
        "CCD": 3,
    }
    expected |= {
        "TESSMAG": 10.0,
        "PHOTMET": "aperture",
        "MASKTYPE": "pipeline",
        "MASKSIZE": 5,
        "DATA_REL": 7,
    }
    assert {key: primary[key] for key in expected} == expected
    assert primary["TEFF"] is None  # not known
    expected = {
        "BJDREFI": 2457000,
        "INT_TIME": 1.98,
        "FRAMETIM": 2.0,
        "READTIME": 0.02,
        "NUM_FRM": 60,
        "TIMEPIXR": 0.5,
    }
    assert {key: table[key] for key in expected} == expected
    assert table["TIMEDEL"] == pytest.approx(120 / 86400)


def test_messages_about_doubts_are_in_the_header(stamp, tmp_path):
    message = "no pixel mask found for the target, and this message is longer than a card"
    message += " of a FITS header can hold…"
    extraction = replace(aperture_photometry(stamp, SETTINGS), errors=(message, "another"))
    path = tmp_path / write_lightcurve(tmp_path, stamp, extraction, SETTINGS)
    comments = list(fits.getheader(path)["COMMENT"])
    assert "".join(comments[:-1]) == message.replace("…", "?")
    assert comments[-1] == "another"


def test_aperture_image_has_its_bits(written, stamp):
    bits = fits.getdata(written, "APERTURE")
    np.testing.assert_array_equal(bits & 1 != 0, stamp.aperture & 1 != 0)
    np.testing.assert_array_equal(bits & 2 != 0, stamp.aperture & 2 != 0)
    np.testing.assert_array_equal(bits & 8 != 0, stamp.aperture & 2 != 0)
    assert set(np.unique(bits)) == {0, 1, 11}


@pytest.mark.parametrize("image", ["SUMIMAGE", "APERTURE"])
def test_images_have_the_coordinates_of_the_stamp(written, stamp, image):
    header = fits.getheader(written, image)
    sky = WCS(header).all_pix2world([[0, 0], [5, 4]], 0)
    np.testing.assert_allclose(sky, stamp.wcs.all_pix2world([[0, 0], [5, 4]], 0), atol=1e-12)
    detector = WCS(header, key="P").all_pix2world([[0, 0], [5, 4]], 0)
    np.testing.assert_allclose(detector, [[45, 100], [50, 104]])


def test_sum_image_is_the_stamp_s(written, stamp):
    np.testing.assert_allclose(fits.getdata(written, "SUMIMAGE"), stamp.sumimage, rtol=1e-6)


def test_the_stars_on_the_stamp_are_in_the_file_where_they_are_known(written, stamp, tmp_path):
    assert "CATALOG" not in [
        row[1] for row in fits.info(written, output=False)
    ]  # no catalogue was given
    stars = Table(
        {
            "starid": [1234, 2**40, 7, 8],
            "tmag": [9.5, 12.25, 14.0, np.nan],
            "column": [2.0, 4.5, 5.6, -0.4],
            "row": [2.0, 0.25, 2.0, 4.4],
        },
        meta={"path": "made here"},
    )
    known = replace(stamp, catalog=stars)
    extraction = aperture_photometry(stamp, SETTINGS)
    path = tmp_path / write_lightcurve(tmp_path, known, extraction, SETTINGS)
    with fits.open(path, checksum=True) as hdus:
        table, band = hdus["CATALOG"].data, hdus["CATALOG"].header["MAGBAND"]
        assert list(table["STARID"]) == [1234, 2**40, 8]  # star 7 is beyond the edge
        np.testing.assert_array_equal(table["MAG"], np.float32([9.5, 12.25, np.nan]))
        np.testing.assert_allclose(table["COLUMN"], [47.0, 49.5, 44.6])  # on the detector
        np.testing.assert_allclose(table["ROW"], [102.0, 100.25, 104.4])
        assert band == "Tmag"


def test_same_input_gives_the_same_bytes(written, stamp):
    first = written.read_bytes()
    write_lightcurve(written.parents[2], stamp, aperture_photometry(stamp, SETTINGS), SETTINGS)
    assert written.read_bytes() == first


MISSION_TIMES = {"TESS": 2457000, "Kepler": 2454833, "K2": 2454833}


@pytest.fixture(params=MISSION_TIMES)
def mission_file(request, stamp, tmp_path):
    """Stamp and light-curve file of each mission, with quality flags of different weight"""
    quality = np.zeros(50, int)
    # Kepler: 2 SafeMode, in all masks; 16 ZeroCrossing, in none but hardest; 128 ApertureCosmic and
    # 8192 CollateralCosmic: in hard
    quality[:4] = 2, 16, 128, 8192
    stamp = replace(
        stamp,
        mission=request.param,
        time_reference=MISSION_TIMES[request.param],
        quality=quality,
        headers={**stamp.headers, "CHANNEL": 36, "SEASON": 3},
    )
    return stamp, tmp_path / write_lightcurve(
        tmp_path, stamp, aperture_photometry(stamp, SETTINGS), SETTINGS
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("corrected", [False, True])
def test_lightkurve_reads_values_times_and_flags_without_an_option(mission_file, corrected):
    lightkurve = pytest.importorskip("lightkurve")
    stamp, path = mission_file
    flux = aperture_photometry(stamp, SETTINGS).flux
    good = np.isfinite(flux) & (stamp.quality & DEFAULT_BITMASK[stamp.mission] == 0)
    if corrected:
        correct_file(path, method="biweight")
    curve = lightkurve.read(str(path), quality_bitmask="none")
    assert type(curve).__name__ == (
        "TessLightCurve" if stamp.mission == "TESS" else "KeplerLightCurve"
    )
    assert curve.meta["OBJECT"] == MISSIONS[stamp.mission].label(1234)
    assert curve.meta["TARGETID"] == 1234
    assert str(curve.flux.unit) == "electron / s"
    np.testing.assert_allclose(curve.time.jd, stamp.time + stamp.time_reference, rtol=0, atol=1e-8)
    # 50 samples of white noise in 100 minutes: the biweight takes out no more than their mean
    np.testing.assert_allclose(curve.flux.value[good], flux[good], rtol=0.02)
    np.testing.assert_array_equal(curve.quality, stamp.quality)
    utils = lightkurve.utils
    flags = utils.TessQualityFlags if stamp.mission == "TESS" else utils.KeplerQualityFlags
    for bitmask in ("default", "hard", "hardest"):
        expected = flags.create_quality_mask(stamp.quality, bitmask)
        assert len(lightkurve.read(str(path), quality_bitmask=bitmask)) == expected.sum()
        assert expected.sum() < 50
    assert (
        len(lightkurve.read(str(path))) == flags.create_quality_mask(stamp.quality, "default").sum()
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", ["kepler.fits", "tess.fits"])
def test_astropy_reads_it_as_a_time_series(mission_file, reader):
    stamp, path = mission_file
    series = TimeSeries.read(path, format=reader)
    np.testing.assert_allclose(series.time.jd, stamp.time + stamp.time_reference, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        series["pdcsap_flux"].value, aperture_photometry(stamp, SETTINGS).flux, rtol=1e-7
    )


def test_what_the_pixels_say_of_star_and_instrument_is_handed_on(mission_file):
    stamp, path = mission_file
    primary, table = fits.getheader(path, 0), fits.getheader(path, "LIGHTCURVE")
    mission = MISSIONS[stamp.mission]
    for header in (primary, table):
        assert header["ORIGIN" if header is primary else "EXTNAME"] in ("photometry", "LIGHTCURVE")
        assert header["TELESCOP"] == ("TESS" if stamp.mission == "TESS" else "Kepler")
        assert header["OBJECT"] == mission.label(1234)
        assert header[mission.id_keyword] == 1234
        assert (header["RA_OBJ"], header["DEC_OBJ"]) == (100.0, -30.0)
        assert header["EXTVER"] == 1
    assert (primary["CHANNEL"], primary["SEASON"]) == (36, 3)
    assert ("SAP_QUALITY" in fits.getdata(path, 1).names) == (stamp.mission != "TESS")


def test_errors_of_background_and_centroid_are_handed_on(stamp, tmp_path):
    extraction = aperture_photometry(stamp, SETTINGS)
    table = fits.getdata(tmp_path / write_lightcurve(tmp_path, stamp, extraction, SETTINGS), 1)
    np.testing.assert_allclose(table["SAP_BKG_ERR"], extraction.background_err, rtol=1e-6)
    # 5 pixels with a background error of 0.5 e-/s each, which err together
    assert table["SAP_BKG_ERR"][0] == pytest.approx(2.5)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("pixels", "official"),
    [("tess25155310-s01-first-cadences.fits.gz", "*0000000025155310*_lc.fits*")],
)
def test_errors_of_the_centroid_are_those_of_the_official_file(
    shared_data, tmp_path, pixels, official
):
    path = shared_data / "tpf" / pixels
    (light_curve,) = (shared_data / "lc").glob(official)
    task = {"priority": 1, "datasource": "tpf", "method": None, **identify(path)}
    stamp, _ = StampSource(task, path.parent, SETTINGS).make()
    relative = write_lightcurve(tmp_path, stamp, aperture_photometry(stamp, SETTINGS), SETTINGS)
    ours, theirs = fits.getdata(tmp_path / relative, 1), fits.getdata(light_curve, 1)
    rows = np.searchsorted(theirs["CADENCENO"], ours["CADENCENO"])
    for name in ("MOM_CENTR1_ERR", "MOM_CENTR2_ERR"):
        np.testing.assert_allclose(ours[name], theirs[name][rows], rtol=1e-5)
    # columns and rows cannot be exchanged without a failure
    assert np.all(ours["MOM_CENTR2_ERR"] > 1.1 * ours["MOM_CENTR1_ERR"])


def test_crowding_is_that_of_the_mask_that_was_summed(stamp, tmp_path):
    headers = {**stamp.headers, "CROWDSAP": 0.91, "FLFRCSAP": 0.84}
    stamp = replace(stamp, headers=headers)
    extraction = replace(aperture_photometry(stamp, SETTINGS), contamination=0.2)
    own = photometry_settings({"aperture": {"mask": "own"}})
    for settings, expected in ((SETTINGS, (0.91, 0.84)), (own, (0.8, None))):
        path = tmp_path / write_lightcurve(tmp_path, stamp, extraction, settings)
        header = fits.getheader(path, "LIGHTCURVE")
        assert (header["CROWDSAP"], header["FLFRCSAP"]) == pytest.approx(expected)
        assert (header["SRC_CROW"], header["SRC_FLFR"]) == (0.91, 0.84)
    fitted = replace(extraction, deblended=True)  # CONTAM is of the pixels, the flux has none of it
    path = tmp_path / write_lightcurve(tmp_path, stamp, fitted, own)
    assert fits.getheader(path, "LIGHTCURVE")["CROWDSAP"] == 1
    assert fits.getheader(path)["CONTAM"] == pytest.approx(0.2)
    unknown = replace(extraction, contamination=np.nan)
    path = tmp_path / write_lightcurve(tmp_path, stamp, unknown, own)
    assert fits.getheader(path, "LIGHTCURVE")["CROWDSAP"] is None


def test_noise_is_in_the_header_before_any_correction(stamp, tmp_path):
    time = 1500 + np.arange(13 * 96) / 96  # 13 days of 15 minutes: 26 samples in 6.5 hours
    rng = np.random.default_rng(3)
    flux = 1000 * (1 + 1e-3 * rng.standard_normal(len(time)) + 0.02 * np.sin(time / 2))
    long = LightcurveArbitraryRaster(time, flux)
    assert quick_cdpp(time, flux) == pytest.approx(cdpp(long), rel=0.1)
    header = fits.getheader(
        tmp_path
        / write_lightcurve(tmp_path, stamp, aperture_photometry(stamp, SETTINGS), SETTINGS),
        1,
    )
    assert header["CDPP"] is None  # 100 minutes hold no stretch of 6.5 hours
    # the same stamp over 40 days of 30 minutes, all of them good
    n_times = 40 * 48
    index = 4 + np.arange(n_times) % 46
    series = {
        name: getattr(stamp, name)[index]
        for name in ("timecorr", "cadenceno", "flux_err", "background", "background_err")
    }
    stamp = replace(
        stamp,
        **series,
        time=1500 + np.arange(n_times) / 48,
        quality=np.zeros(n_times, int),
        flux=rng.normal(100, 1, (n_times, 5, 6)),
        pos_corr=np.zeros((n_times, 2)),
    )
    extraction = aperture_photometry(stamp, SETTINGS)
    path = tmp_path / write_lightcurve(tmp_path / "long", stamp, extraction, SETTINGS)
    # white noise of 5 pixels of 100 +- 1, in the mean of 13
    expected = 1e6 * np.sqrt(5) / 500 / np.sqrt(13)
    assert fits.getheader(tmp_path / "long" / path.relative_to(tmp_path), 1)["CDPP"] == (
        pytest.approx(expected, rel=0.15)
    )


def test_distortion_of_the_coordinates_comes_along(stamp, tmp_path):
    header = stamp.wcs.to_header()
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2})
    header.update({"A_2_0": 1e-3, "A_1_1": 2e-4, "B_0_2": -2e-3})
    distorted = replace(stamp, wcs=WCS(header))
    path = tmp_path / write_lightcurve(
        tmp_path, distorted, aperture_photometry(distorted, SETTINGS), SETTINGS
    )
    sky = WCS(fits.getheader(path, "SUMIMAGE")).all_pix2world([[0, 0], [5, 4]], 0)
    np.testing.assert_allclose(sky, distorted.wcs.all_pix2world([[0, 0], [5, 4]], 0), atol=1e-12)
    assert not np.allclose(sky, stamp.wcs.all_pix2world([[0, 0], [5, 4]], 0), rtol=0, atol=1e-8)
