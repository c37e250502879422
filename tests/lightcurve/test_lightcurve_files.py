"""Round trips through every format, and what is said of a bad file."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from lightcurve_strategies import lightcurves

from photometry.errors import BadInputError
from photometry.lightcurve import Lightcurve, LightcurveArbitraryRaster, read_lcsg_lightcurve

ANY_FORM = [(False, True), (False, False), (True, False)]


def assert_same(a, b):
    """Equal to the last bit; times in seconds on disk may change by one unit in the last place."""
    np.testing.assert_array_max_ulp(a.times, b.times, maxulp=1)
    for name in ("fluxes", "uncertainties", "flags"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize(("binary", "gzipped"), ANY_FORM)
@given(lc=lightcurves(nan=True))
@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_archive_round_trip_changes_nothing(tmp_path, lc, binary, gzipped):
    settings = lc.to_file(tmp_path / "x", binary=binary, gzipped=gzipped)
    assert settings == {"binary": binary, "gzipped": gzipped}
    assert_same(LightcurveArbitraryRaster.from_file(tmp_path / "x", settings), lc)
    assert_same(Lightcurve.read(tmp_path / "x"), lc)


def test_file_metadata_becomes_the_metadata_of_the_light_curve_as_plain_values(tmp_path):
    class Item:
        def __init__(self, value):
            self.value = value

    lc = LightcurveArbitraryRaster(np.arange(3.0), np.ones(3))
    lc.to_file(tmp_path / "x.dat")
    read = LightcurveArbitraryRaster.from_file(
        tmp_path / "x.dat", {"binary": Item(0.0), "gzipped": Item(1.0), "mes": Item(3.0)}
    )
    assert read.metadata == {"binary": 0.0, "gzipped": 1.0, "mes": 3.0}


def test_cut_off_time_drops_later_samples(tmp_path):
    LightcurveArbitraryRaster(np.arange(5.0), np.ones(5)).to_file(tmp_path / "x")
    assert (
        LightcurveArbitraryRaster.from_file(tmp_path / "x", {}, cut_off_time=2.5).times.max() == 2
    )
    assert Lightcurve.read(tmp_path / "x", cut_off_time=2.5).times.max() == 2


def test_text_archive_holds_seconds_flux_flag_uncertainty(tmp_path):
    lc = LightcurveArbitraryRaster(
        np.array([0, 0.5]), np.array([1, 0.9]), np.array([0.1, 0.2]), np.array([0.0, 1])
    )
    lc.to_file(tmp_path / "x", gzipped=False)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "x"), [[0, 1, 0, 0.1], [43200, 0.9, 1, 0.2]])


def test_legacy_file_with_flux_as_flag_has_only_good_samples(tmp_path):
    (tmp_path / "x").write_text("# comment\n0 1.01 1.01 0\n\n900 0.99 0.99 0\n")
    assert not Lightcurve.read(tmp_path / "x").flags.any()


def test_legacy_file_with_a_missing_flux_has_only_that_sample_flagged(tmp_path):
    (tmp_path / "x").write_text("0 1.01 1.01 0\n900 nan nan 0\n1800 0.99 0.99 0\n")
    np.testing.assert_array_equal(Lightcurve.read(tmp_path / "x").flags, [0, 1, 0])


def test_fixed_step_light_curve_is_read_back_as_samples(tmp_path):
    from photometry.lightcurve import LightcurveFixedStep

    lc = LightcurveFixedStep(1.0, 900 / 86400, np.linspace(1, 2, 20))
    lc.to_file(tmp_path / "x", binary=True)
    assert_same(Lightcurve.read(tmp_path / "x"), lc.to_arbitrary_raster())


@given(lc=lightcurves(nan=True))
@settings(max_examples=20)
def test_timeseries_round_trip_changes_nothing(lc):
    lc.metadata["time_reference"] = 2457000
    back = Lightcurve.from_timeseries(lc.to_timeseries())
    np.testing.assert_allclose(back.times, lc.times, rtol=1e-15, atol=1e-15)
    assert_same(
        back.select(slice(None)),
        LightcurveArbitraryRaster(back.times, lc.fluxes, lc.uncertainties, lc.flags),
    )
    assert back.metadata == lc.metadata


def test_lightkurve_round_trip_changes_nothing_but_adds_its_own_keys():
    pytest.importorskip("lightkurve")
    lc = LightcurveArbitraryRaster(
        np.linspace(1325, 1352, 50),
        np.linspace(0.9, 1.1, 50),
        np.full(50, 1e-3),
        np.r_[np.zeros(49), 1],
        {"time_reference": 2457000, "mes": 2.5},
    )
    back = Lightcurve.from_lightkurve(lc.to_lightkurve())
    np.testing.assert_allclose(back.times, lc.times, rtol=1e-15)
    np.testing.assert_array_equal(back.fluxes, lc.fluxes)
    np.testing.assert_array_equal(back.flags, lc.flags)
    assert back.metadata["mes"] == 2.5


def test_lcsg_reads_metadata_blanks_uncertainties_and_comments(tmp_path):
    text = "# stitched\n# #mission=PLATO\n# #nsr=73.5\n0.0, 1.0, 0\n\n0.5, 0.99, 1, \n".replace(
        ", \n", "\n"
    )
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    lc = read_lcsg_lightcurve(tmp_path / "a.csv.gz")
    assert lc.metadata == {"mission": "PLATO", "nsr": 73.5, "filename": "a.csv.gz"}
    np.testing.assert_array_equal(
        [lc.times, lc.fluxes, lc.flags, lc.uncertainties], [[0, 0.5], [1, 0.99], [0, 1], [0, 0]]
    )
    assert len(read_lcsg_lightcurve(tmp_path / "a.csv.gz", gzipped=True, cut_off_time=0.2)) == 1
    assert_same(Lightcurve.read(tmp_path / "a.csv.gz"), lc)
    (tmp_path / "b.csv").write_text("0,1,0,0.1\n1,1,0,0.2\n")
    np.testing.assert_array_equal(
        read_lcsg_lightcurve(tmp_path / "b.csv").uncertainties, [0.1, 0.2]
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lcsg_metadata_without_a_value_is_empty_and_takes_no_sample(tmp_path, end):
    (tmp_path / "a.csv").write_bytes(
        f"# #note={end}# # P = 3 {end}0.0,1.0,0{end}0.5,1.0,0{end}".encode()
    )
    lc = read_lcsg_lightcurve(tmp_path / "a.csv")
    assert lc.metadata == {"note": "", "P": 3.0, "filename": "a.csv"}
    assert len(lc) == 2


def test_plain_tables_are_time_flux_and_perhaps_error(tmp_path):
    (tmp_path / "a.csv").write_text("time,flux,flux_err\n1.0,1.0,0.01\n2.0,0.9,0.02\n")
    (tmp_path / "b.txt").write_text("1.0 1.0\n2.0 0.9\n")
    np.testing.assert_array_equal(Lightcurve.read(tmp_path / "a.csv").uncertainties, [0.01, 0.02])
    np.testing.assert_array_equal(Lightcurve.read(tmp_path / "b.txt").fluxes, [1, 0.9])


BAD = {
    "wrong columns": (b"1 2 3 4 5\n2 3 4 5 6\n", "5 columns; expected 2 or 3 or 4"),
    "ragged": (b"0 1 0 0\n900 1 0\n", "line 2: 3 columns where the lines before have 4"),
    "word": (b"# head\n0 1 0 0\n900 one 0 0\n", "line 3: 'one' is not a number"),
    "nan time": (b"0 1 0 0\nnan 1 0 0\n", "time of sample 2 is not a finite number"),
    "nan flux": (
        b"0 1 0 0\n900 nan 0 0\n",
        "flux of sample 2 is not a finite number and its flag does not say bad",
    ),
    "unsorted": (b"900 1 0 0\n0 1 0 0\n", "sample 2 .* is earlier than the one before it"),
    "empty": (b"", "no samples in this file"),
    "comments only": (b"# nothing\n\n", "no samples in this file"),
    "binary garbage": (bytes(range(256)) * 8, "neither FITS, numpy's binary format nor text"),
    "zero bytes": (b"0 1\0 0 0\n" * 20, "text with zero bytes"),
    "cut gzip": (gzip.compress(b"0 1 0 0\n" * 500)[:30], "gzip data is damaged or cut short"),
    "cut npy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "damaged numpy file"),
    "header only": (
        b"SIMPLE  =                    T",
        "truncated, it ends within a header|but no light curve",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_gets_one_message_that_names_it(tmp_path, case):
    content, message = BAD[case]
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(BadInputError, match=message) as caught:
        Lightcurve.read(tmp_path / "bad")
    assert str(tmp_path / "bad") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_pickled_array_and_wrong_shape_get_one_message(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "shape.npy", np.ones((3, 5)))
    for name, message in (
        ("absent", "no such file"),
        (".", "not a file"),
        ("objects.npy", "damaged numpy file"),
        ("shape.npy", r"shape \(3, 5\)"),
    ):
        with pytest.raises(BadInputError, match=message):
            Lightcurve.read(tmp_path / name)


def fits_lightcurve(path, **columns):
    columns = {
        "TIME": np.arange(5.0),
        "SAP_FLUX": np.ones(5),
        "PDCSAP_FLUX": np.full(5, 2.0),
        "QUALITY": np.zeros(5, int),
        **columns,
    }
    table = fits.BinTableHDU.from_columns(
        [fits.Column(k, "K" if k == "QUALITY" else "D", array=v) for k, v in columns.items()],
        name="LIGHTCURVE",
    )
    table.header["BJDREFI"] = 2457000
    primary = fits.PrimaryHDU()
    primary.header.update(TELESCOP="TESS", OBJECT="TIC 1", TICID=1, SECTOR=3)
    fits.HDUList([primary, table]).writeto(path)
    return path


def test_fits_flux_can_be_chosen_and_bad_samples_are_flagged_or_left_out(tmp_path):
    path = fits_lightcurve(
        tmp_path / "a.fits",
        TIME=np.array([0, 1, np.nan, 3, 4]),
        QUALITY=np.array([0, 4096, 0, 16, 0]),
    )
    lc = Lightcurve.read(path)
    np.testing.assert_array_equal(
        [lc.times, lc.fluxes, lc.flags], [[0, 1, 3, 4], [2, 2, 2, 2], [0, 1, 0, 0]]
    )
    assert Lightcurve.read(path, flux="sap_flux").fluxes[0] == 1
    assert (lc.metadata["object"], lc.metadata["sector"], lc.metadata["time_reference"]) == (
        "TIC 1",
        3,
        2457000,
    )
    with pytest.raises(BadInputError, match="no column 'FLUX'; this file has TIME, SAP_FLUX"):
        Lightcurve.read(path, flux="FLUX")


def test_pdcsap_without_any_value_falls_back_to_sap(tmp_path):
    lc = Lightcurve.read(fits_lightcurve(tmp_path / "a.fits", PDCSAP_FLUX=np.full(5, np.nan)))
    assert lc.metadata["flux_column"] == "SAP_FLUX"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "pipeline", "samples", "good"),
    # samples with a time; those of them without a default quality bit and with a flux: counted with
    # astropy from the files
    [
        ("lc/tess2018206045859-s0001-0000000025155310-0120-s_lc.fits", "SPOC", 19261, 18104),
        ("lc/hlsp_tess-spoc_tess_phot_0000000188589164-s0024_tess_v1_lc.fits", "SPOC", 1226, 972),
        ("lc/hlsp_qlp_tess_ffi_s0024-0000000188589164_tess_v01_llc.fits", "QLP", 1226, 1146),
        ("lc/kplr011904151-2012179063303_llc.fits", "Kepler", 4343, 4242),
        ("lc/kplr011446443-2009131110544_slc.fits", "Kepler", 14280, 14234),
        ("lc/ktwo211117077-c04_llc.fits", "K2", 3463, 3282),
        ("lc/hlsp_k2sc_k2_llc_211117077-c04_kepler_v2_lc.fits", "K2SC", 3424, 3282),
        ("lc/hlsp_k2sff_k2_lightcurve_221312395-c91_kepler_v1_llc.fits", "K2SFF", 1119, 1015),
        ("lc/EPIC201367065.csv", None, 3632, 3632),
        ("plato/demo_superearth.gz", None, 23040, 23040),
    ],
)
def test_real_light_curves_of_every_pipeline_are_read(shared_data, name, pipeline, samples, good):
    lc = Lightcurve.read(shared_data / name)
    assert (lc.metadata.get("pipeline"), len(lc), int(lc.good().sum())) == (pipeline, samples, good)
    assert np.isfinite(lc.fluxes[lc.good()]).all()


@pytest.mark.real_data
def test_real_broken_files_get_one_message(shared_data):
    for path in sorted((shared_data / "tpf_broken").glob("*.fits")):
        with pytest.raises(BadInputError) as caught:
            Lightcurve.read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.real_data
def test_lightkurve_light_curve_of_a_real_file_is_taken_over(shared_data):
    lightkurve = pytest.importorskip("lightkurve")
    path = shared_data / "lc/tess2018206045859-s0001-0000000025155310-0120-s_lc.fits"
    theirs, ours = Lightcurve.from_lightkurve(lightkurve.read(path)), Lightcurve.read(path)
    shared = np.isin(ours.times, theirs.times)
    np.testing.assert_array_equal(ours.fluxes[shared], theirs.fluxes)
    assert theirs.metadata["time_reference"] == 2457000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("mission", "kind", "reference", "time_format"),
    [
        ("TESS", "TessLightCurve", 2457000, "btjd"),
        ("Kepler", "KeplerLightCurve", 2454833, "bkjd"),
        ("K2", "KeplerLightCurve", 2454833, "bkjd"),
        (None, "LightCurve", 0, "jd"),
    ],
)
def test_light_curve_becomes_the_class_of_its_mission(mission, kind, reference, time_format):
    pytest.importorskip("lightkurve")
    metadata = {"object": "TIC 7", "starid": 7, "flux_unit": "e-/s", "time_reference": reference}
    metadata |= {"mission": mission} if mission else {}
    lc = LightcurveArbitraryRaster(
        1500 + np.arange(5.0), np.full(5, 100.0), np.full(5, 2.0), metadata=metadata
    )
    converted = lc.to_lightkurve()
    assert type(converted).__name__ == kind
    assert converted.time.format == time_format
    np.testing.assert_allclose(converted.time.value, lc.times)
    assert str(converted.flux.unit) == str(converted.flux_err.unit) == "electron / s"
    assert (converted.label, converted.targetid) == ("TIC 7", 7)


@pytest.mark.real_data
def test_a_file_of_another_kind_is_named_by_its_kind(shared_data):
    with pytest.raises(BadInputError, match="target pixel file") as caught:
        Lightcurve.read(shared_data / "tpf/kic8462852-q08-100cad_tpf.fits")
    assert "ignore_missing_simple" not in str(caught.value)
