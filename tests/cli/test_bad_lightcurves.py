"""Light curves and vectors that cannot be used: one line and exit code 1, or a status, and no file
is changed.
"""

import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from photometry.cli.correct import correct, cotrend, stitch
from photometry.cli.search import search
from photometry.errors import WrongUseError
from photometry.lightcurve.correct import correct_file, lightcurve_files
from photometry.simulate.ensemble import ensemble, write_ensemble

pytestmark = pytest.mark.slow
STARS, TIMES = 80, 300


def run(command, *words):
    """Exit code and lines of the error stream"""
    result = CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)
    if isinstance(result.exception, WrongUseError):  # what the program's entry makes of it
        return 2, [str(result.exception)]
    assert result.exception is None, result.exception
    return result.return_value, result.stderr.splitlines()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of few stars, with vectors"""
    folder = tmp_path_factory.mktemp("run")
    write_ensemble(folder, ensemble(301, n_stars=STARS, n_times=TIMES), sector=30)
    assert run(cotrend, folder, "--min-quiet", 20, "--no-plots", "--json")[0] == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def first(folder):
    return lightcurve_files(folder)[0]


def vectors(folder):
    (path,) = (folder / "lightcurves" / "cotrend").glob("*-cbv.fits")
    return path


def refused(path, *options, method="cotrend"):
    """Correct a file that cannot be corrected; the message."""
    before = path.read_bytes()
    code, lines = run(correct, path, "--method", method, *options)
    assert code == 1
    assert path.read_bytes() == before
    (line,) = lines
    assert line.startswith(f"photometry: {path}")
    return line


def change(path, extension, **columns):
    """Change columns of a file: name -> function of the values"""
    with fits.open(path, mode="update") as hdulist:
        for name, function in columns.items():
            hdulist[extension].data[name] = function(hdulist[extension].data[name])


@pytest.mark.parametrize("method", ["cotrend", "biweight"])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda flux: flux * np.nan, "the median of its good samples is nan"),
        (lambda flux: -flux, "the median of its good samples is -"),
        (lambda flux: 0 * flux, "the median of its good samples is 0"),
    ],
)
def test_flux_that_is_nan_or_not_above_zero_is_refused(folder, method, function, words):
    path = first(folder)
    change(path, "LIGHTCURVE", FLUX_RAW=function)
    assert words in refused(path, method=method)
    code, lines = run(stitch, path, "--flux", "FLUX_RAW", "-o", folder / "joined_lc.fits")
    assert (code, len(lines)) == (1, 1)
    code, lines = run(search, path, "--flux", "FLUX_RAW")
    assert (code, len(lines)) == (1, 1)


def test_a_light_curve_all_nan_is_left_out_of_the_vectors_and_the_others_are_used(folder):
    shutil.rmtree(folder / "lightcurves" / "cotrend")
    change(first(folder), "LIGHTCURVE", FLUX_RAW=lambda flux: flux * np.nan)
    assert run(cotrend, folder, "--min-quiet", 20, "--no-plots", "--json")[0] == 0
    with fits.open(vectors(folder)) as hdulist:
        assert len(hdulist["MEMBERS"].data) == STARS - 1
    assert "median of its good samples is nan" in refused(first(folder))


def test_one_part_only_is_said_to_be_one(folder, tmp_path):
    path = first(folder)
    result = CliRunner().invoke(stitch, [str(path), "-o", str(tmp_path / "joined_lc.fits")])
    assert "one part only: nothing was joined" in result.output


def test_parts_of_two_stars_are_refused(folder, tmp_path):
    one, other = lightcurve_files(folder)[:2]
    code, lines = run(stitch, one, other, "-o", tmp_path / "joined_lc.fits")
    assert code in (1, 2)
    assert "only parts of one star can be joined" in lines[0]


def test_flux_without_crowding_known_is_joined_as_unknown_and_zero_is_refused(folder, tmp_path):
    path, output = first(folder), tmp_path / "joined_lc.fits"
    with fits.open(path, mode="update") as hdulist:
        hdulist["LIGHTCURVE"].header["CROWDSAP"] = 0.0
    code, lines = run(stitch, path, "-o", output)
    assert code == 1
    assert "CROWDSAP is 0; expected a fraction above 0" in lines[0]
    with fits.open(path, mode="update") as hdulist:
        del hdulist["LIGHTCURVE"].header["CROWDSAP"]
    result = CliRunner().invoke(stitch, [str(path), "-o", str(output)])
    assert "crowding unknown" in result.output


def test_crowding_is_not_corrected_twice(folder, tmp_path):
    path, output, again = first(folder), tmp_path / "joined_lc.fits", tmp_path / "twice_lc.fits"
    with fits.open(path, mode="update") as hdulist:
        hdulist["LIGHTCURVE"].header["CROWDSAP"] = 0.5
    assert run(stitch, path, "-o", output)[0] == 0
    assert run(stitch, output, "-o", again)[0] == 0
    once, twice = (fits.getdata(p, "LIGHTCURVE")["PDCSAP_FLUX"] for p in (output, again))
    assert twice == pytest.approx(once, rel=1e-6)
    assert np.std(once) > 1.5 * np.std(fits.getdata(path, 1)["FLUX_RAW"]) / np.median(
        fits.getdata(path, 1)["FLUX_RAW"]
    )


def test_no_neighbours_no_vectors_and_the_exit_code_says_so(tmp_path):
    write_ensemble(tmp_path, ensemble(302, n_stars=2, n_times=TIMES))
    code, lines = run(cotrend, tmp_path, "--no-plots")
    assert code == 1
    assert "2 stars with values" in lines[0]
    assert "vectors need 150 quiet ones" in lines[0]
    assert "no basis vectors" in refused(first(tmp_path))


def test_an_area_of_variables_gets_no_vectors(tmp_path):
    write_ensemble(tmp_path, ensemble(303, n_stars=STARS, n_times=TIMES, fractions=(0, 1, 0, 0, 0)))
    code, lines = run(cotrend, tmp_path, "--min-quiet", STARS - 2, "--no-plots")
    assert code == 1
    assert "quiet stars" in lines[0]


@pytest.mark.parametrize(
    ("keyword", "extension", "value", "words"),
    [
        ("SECTOR", 0, 31, "sector 30, but .* has vectors of sector 31"),
        ("CADENCE", 1, 120, "a sample each 1800 s, but .* has vectors for 120 s"),
        ("TELESCOP", 0, "Kepler", "mission TESS, but .* has vectors of mission Kepler"),
    ],
)
def test_vectors_of_another_sector_cadence_or_mission_are_refused(
    folder, keyword, extension, value, words
):
    path = vectors(folder)
    with fits.open(path, mode="update") as hdulist:
        hdulist[extension].header[keyword] = value
    line = refused(first(folder), "--vectors", path)
    assert re.search(words, line), line


def test_vectors_of_another_length_are_refused(folder):
    path = vectors(folder)
    with fits.open(path, mode="update") as hdulist:
        hdulist[1].data["CADENCENO"] += 10 * TIMES
    line = refused(first(folder), "--vectors", path)
    assert "0% of its good samples are at cadences of the vectors" in line


def test_vectors_whose_times_do_not_increase_are_refused(folder):
    path = vectors(folder)
    change(path, 1, TIME=lambda time: time[::-1])
    code, lines = run(correct, first(folder), "--method", "cotrend", "--vectors", path)
    assert (code, len(lines)) == (1, 1)
    assert "times of the vectors do not increase" in lines[0]


def test_frames_out_of_order_are_corrected_as_in_order(folder):
    one = first(folder)
    shuffled = shutil.copy(one, folder / "lightcurves" / one.name.replace("-dr00", "-dr01"))
    order = np.random.default_rng(1).permutation(len(fits.getdata(one, 1)))
    with fits.open(shuffled, mode="update") as hdulist:
        hdulist[1].data[:] = hdulist[1].data[order]
    for path in (one, shuffled):
        correct_file(path, method="cotrend", vectors=vectors(folder))
    straight, mixed = (fits.getdata(path, 1)["FLUX_CORR"] for path in (one, shuffled))
    np.testing.assert_allclose(mixed, straight[order], rtol=1e-4, atol=1)


def test_gaps_of_more_than_half_are_refused(folder):
    path = first(folder)
    gap = np.arange(len(fits.getdata(path, 1))) < 0.6 * len(fits.getdata(path, 1))
    change(path, "LIGHTCURVE", FLUX_RAW=lambda flux: np.where(gap, np.nan, flux))
    line = refused(path)
    assert "good samples at 40% of the vectors' cadences; at least 50% are needed" in line
