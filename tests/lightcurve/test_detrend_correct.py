"""Detrending, noise, and the corrected columns of our own files."""

import gzip
import json

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from photometry.cli.correct import correct as command
from photometry.errors import BadInputError, WrongUseError
from photometry.lightcurve import (
    Lightcurve,
    LightcurveArbitraryRaster,
    cdpp,
    correct_file,
    flatten,
    transit_mask,
)
from photometry.lightcurve.correct import lightcurve_files
from photometry.simulate.ensemble import ensemble, write_ensemble

PERIOD, DEPTH, DURATION = 3.3, 2000e-6, 0.15


def trending(n_days=27.0, minutes=10, noise=2e-4, seed=3):
    """A star with a slow wave of 0.1 % and transits of 2000 ppm; returns times, flux, mask of the
    transits.
    """
    times = np.delete(np.arange(0, n_days, minutes / 1440), slice(1000, 1150))
    inside = transit_mask(times, PERIOD, DURATION, t0=1.1)
    flux = (1 + 0.001 * np.sin(2 * np.pi * times / 9)) * (1 - DEPTH * inside)
    return times, flux + noise * np.random.default_rng(seed).standard_normal(times.size), inside


def test_trend_goes_and_transits_stay():
    times, flux, inside = trending()
    flat, trend = flatten(
        LightcurveArbitraryRaster(times, 4000 * flux, np.full(times.size, 8.0)),
        1.5,
        return_trend=True,
    )
    depth = np.median(flat.fluxes[~inside]) - np.median(flat.fluxes[inside])
    assert depth == pytest.approx(DEPTH, rel=0.05)
    assert np.std(flat.fluxes[~inside]) < 2.5e-4
    assert trend.max() / trend.min() == pytest.approx(1.001 / 0.999, rel=3e-4)
    np.testing.assert_allclose(flat.uncertainties, 8.0 / trend)


def test_masked_transits_do_not_shape_the_trend():
    times, flux, inside = trending(noise=1e-6)
    lc = LightcurveArbitraryRaster(times, flux)
    assert np.median(1 - flatten(lc, 0.5, mask=inside).fluxes[inside]) == pytest.approx(
        DEPTH, rel=0.05
    )


def test_flagged_samples_do_not_shape_the_trend():
    times, flux, _ = trending()
    wrong = flux.copy()
    wrong[200:215] = 5
    flags = np.zeros(times.size)
    flags[200:215] = 1
    good = flatten(LightcurveArbitraryRaster(times, wrong, flags=flags), return_trend=True)[1]
    np.testing.assert_allclose(
        good, flatten(LightcurveArbitraryRaster(times, flux), return_trend=True)[1], rtol=1e-3
    )


def test_transit_mask_is_centred_on_every_transit():
    times = np.arange(0, 10, 0.01)
    inside = transit_mask(times, 3.0, 0.2, 1.0)
    assert times[inside].min() == pytest.approx(0.91)
    assert np.all(np.abs((times[inside] - 1.0 + 1.5) % 3.0 - 1.5) < 0.1)
    assert inside.sum() == pytest.approx(
        3.5 * 20, abs=4
    )  # transits at 1, 4, 7 d and half of the one at 10 d


def test_light_curve_without_positive_flux_and_bad_window_are_refused():
    times = np.arange(100.0)
    for flux in (np.zeros(100), np.where(times < 10, 1.0, -1.0), np.full(100, np.nan)):
        with pytest.raises(
            WrongUseError, match=r"median of its good samples is .* cannot be divided by its trend"
        ):
            flatten(LightcurveArbitraryRaster(times, flux))
    with pytest.raises(WrongUseError, match="window=0"):
        flatten(LightcurveArbitraryRaster(times, np.ones(100)), 0)


@pytest.mark.parametrize("hours", [1, 6.5, 13])
def test_cdpp_of_white_noise_is_sigma_over_the_root_of_the_samples(hours):
    times = np.arange(0, 400, 1 / 48)
    flux = 1 + 1e-3 * np.random.default_rng(1).standard_normal(times.size)
    expected = 1000 / np.sqrt(hours * 2)
    assert cdpp(LightcurveArbitraryRaster(times, flux), hours, window=None) == pytest.approx(
        expected, rel=0.05
    )


def test_cdpp_ignores_trends_and_outliers():
    times, flux, inside = trending()
    flux[::97] += 0.05
    clean = cdpp(LightcurveArbitraryRaster(times[~inside], flux[~inside]), 2)
    assert clean == pytest.approx(200 / np.sqrt(12), rel=0.15)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "hours"),
    [
        ("kplr011904151-2012179063303_llc", 6.5),
        ("hlsp_tess-spoc_tess_phot_0000000188589164-s0024_tess_v1_lc", 2),
    ],
)
def test_cdpp_agrees_with_lightkurve(shared_data, name, hours):
    lightkurve = pytest.importorskip("lightkurve")
    theirs = lightkurve.read(shared_data / f"lc/{name}.fits").remove_nans()
    samples = round(hours / 24 / np.median(np.diff(theirs.time.value)))
    ours = cdpp(Lightcurve.read(shared_data / f"lc/{name}.fits"), hours)
    assert ours == pytest.approx(theirs.estimate_cdpp(transit_duration=samples).value, rel=0.15)


def our_file(path, times=None, flux=None):
    """A light-curve file with the columns that `photometry correct` needs, and some that it must
    not touch
    """
    if times is None:
        times, flux, _ = trending()
    n = len(times)
    rows = np.zeros(
        n,
        [
            ("TIME", "f8"),
            ("FLUX_RAW", "f4"),
            ("FLUX_RAW_ERR", "f4"),
            ("FLUX_CORR", "f4"),
            ("FLUX_CORR_ERR", "f4"),
            ("QUALITY", "i4"),
        ],
    )
    rows["TIME"], rows["FLUX_RAW"], rows["FLUX_RAW_ERR"] = times, 4000 * flux, 4.0
    rows["FLUX_CORR"] = rows["FLUX_CORR_ERR"] = np.nan
    rows["QUALITY"][5] = 128
    rows["TIME"][9] = np.nan
    primary = fits.PrimaryHDU(
        header=fits.Header({"TELESCOP": "TESS", "OBJECT": "TIC 7", "TICID": 7})
    )
    table = fits.BinTableHDU(rows, name="LIGHTCURVE", header=fits.Header({"BJDREFI": 2457000}))
    hdulist = fits.HDUList(
        [primary, table, fits.ImageHDU(np.arange(6).reshape(2, 3), name="SUMIMAGE")]
    )
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    hdulist.writeto(plain, checksum=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


@pytest.mark.parametrize("name", ["a_lc.fits.gz", "a_lc.fits"])
def test_corrected_columns_are_filled_in_place_and_all_else_stays(tmp_path, name):
    path = our_file(tmp_path / name)
    before = fits.open(path)
    report = correct_file(path)
    with fits.open(path, checksum=True) as after:
        for column in ("TIME", "FLUX_RAW", "FLUX_RAW_ERR", "QUALITY"):
            np.testing.assert_array_equal(after[1].data[column], before[1].data[column])
        np.testing.assert_array_equal(after["SUMIMAGE"].data, before["SUMIMAGE"].data)
        corrected = after[1].data["FLUX_CORR"]
        assert (after[1].header["CORRMETH"], after[1].header["CORRWIN"]) == ("biweight", 1.5)
    before.close()
    times, _, inside = trending()
    depth = np.nanmedian(corrected[~inside]) - np.nanmedian(corrected[inside])
    assert depth == pytest.approx(2000, rel=0.06)  # ppm
    assert np.flatnonzero(np.isnan(corrected)).tolist() == [5, 9]
    assert report["corrected"]
    assert report["cdpp"] == pytest.approx(200 / np.sqrt(39), rel=0.4)
    lc = Lightcurve.read(path)
    assert (lc.metadata["pipeline"], lc.metadata["flux_column"], len(lc)) == (
        "TASOC",
        "FLUX_CORR",
        times.size - 1,
    )
    np.testing.assert_allclose(lc.fluxes[20], 1 + corrected[21] * 1e-6)


def test_same_input_gives_the_same_bytes_and_a_second_run_changes_nothing(tmp_path):
    a, b = our_file(tmp_path / "a_lc.fits.gz"), our_file(tmp_path / "b_lc.fits.gz")
    correct_file(a), correct_file(b)
    content = a.read_bytes()
    assert gzip.decompress(content) == gzip.decompress(b.read_bytes())
    assert correct_file(a)["corrected"] is False
    assert a.read_bytes() == content


def test_verb_corrects_a_folder_reports_failures_and_ends_with_1(tmp_path):
    (tmp_path / "c0120").mkdir()
    good, bad = (
        our_file(tmp_path / "c0120/x_lc.fits.gz"),
        our_file(tmp_path / "y_lc.fits", np.arange(50.0), np.zeros(50)),
    )
    result = CliRunner().invoke(command, [str(tmp_path)], standalone_mode=False)
    assert result.return_value == 1
    assert "1 light curves corrected, 0 were corrected before, 1 failed" in result.output
    assert f"{bad}: the median of its good samples is 0" in result.output
    assert Lightcurve.read(good).metadata["flux_column"] == "FLUX_CORR"


def test_dry_run_writes_nothing_and_json_has_one_object_per_file(tmp_path):
    path = our_file(tmp_path / "x_lc.fits.gz")
    content = path.read_bytes()
    result = CliRunner().invoke(
        command, [str(tmp_path), "--dry-run", "--json", "--jobs", "2"], standalone_mode=False
    )
    assert result.return_value == 0
    assert json.loads(result.output)["corrected"] is True
    assert path.read_bytes() == content


def test_folder_without_light_curves_is_wrong_use(tmp_path):
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 2
    assert "no light curves" in result.output


def test_truncated_files_are_reported_and_do_not_stop_the_others(tmp_path):
    """Cut within the table, and within the image after it, which only a full read notices."""
    good, *cut = (our_file(tmp_path / f"{name}_lc.fits") for name in "abc")
    content = good.read_bytes()
    for path, end in zip(cut, (len(content) // 2, len(content) - 2880), strict=True):
        path.write_bytes(content[:end])
    result = CliRunner().invoke(command, [str(tmp_path)], standalone_mode=False)
    assert result.return_value == 1
    assert "1 light curves corrected, 0 were corrected before, 2 failed" in result.output
    assert result.output.count("get the file again") == 2


def test_a_lone_good_sample_has_no_noise(tmp_path):
    times = np.arange(50) / 48
    path = our_file(tmp_path / "x_lc.fits", times, np.where(times == times[3], 1.0, np.nan))
    assert correct_file(path)["cdpp"] is None
    assert np.isnan(cdpp(LightcurveArbitraryRaster(np.ones(20), 1 + 1e-3 * np.arange(20))))


def test_files_of_others_are_not_corrected(tmp_path):
    (tmp_path / "a_lc.fits").write_bytes(b"garbage")
    fits.HDUList(
        [fits.PrimaryHDU(), fits.BinTableHDU(np.ones(3, [("TIME", "f8")]), name="LIGHTCURVE")]
    ).writeto(tmp_path / "b_lc.fits")
    with pytest.raises(BadInputError, match="not a FITS file") as caught:
        correct_file(tmp_path / "a_lc.fits")
    assert "ignore_missing_simple" not in str(caught.value)
    with pytest.raises(
        BadInputError, match=r"no column FLUX_RAW, .*only light curves that this package wrote"
    ):
        correct_file(tmp_path / "b_lc.fits")


def test_a_light_curve_that_is_cut_short_says_so(tmp_path):
    write_ensemble(tmp_path, ensemble(7, n_stars=1, n_times=400))
    (path,) = lightcurve_files(tmp_path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(BadInputError, match="damaged, it cannot be decompressed"):
        correct_file(path)
