"""From light curves of a run to vectors to corrected flux, by the commands that a user types."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
from astropy.io import fits
from astropy.table import Table
from running import environment, photometry, wait_for

from photometry.lightcurve.correct import correct_file, lightcurve_files
from photometry.simulate.ensemble import ensemble, write_ensemble

N = 160
LONG = 900  # s, in which a command ends however busy the machine is


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of 160 stars, with vectors."""
    folder = tmp_path_factory.mktemp("run")
    write_ensemble(folder, ensemble(201, n_stars=N, n_times=400))
    done = photometry("cotrend", folder, "--min-quiet", 40, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["missing"] == []
    assert all(os.path.exists(made["file"]) for made in report["made"])
    return folder


@pytest.fixture
def folder(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def contents(folder):
    return {path.name: path.read_bytes() for path in lightcurve_files(folder)}


@pytest.mark.slow
def test_light_curves_are_corrected_with_their_vectors_once_whoever_does_it(
    folder, run_folder, tmp_path
):
    files = lightcurve_files(folder)
    for path in files[:40]:  # as if killed after these
        correct_file(path)
    done = photometry("correct", folder, timeout=LONG)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{N - 40} light curves corrected, 40 were corrected before" in done.stdout
    alone = contents(folder)
    other = shutil.copytree(run_folder, tmp_path / "other")
    assert photometry("correct", other, "--jobs", 2, timeout=LONG).returncode == 0
    assert contents(other) == alone
    again = photometry("correct", folder, timeout=LONG)
    assert f"0 light curves corrected, {N} were corrected before" in again.stdout
    assert contents(folder) == alone


@pytest.mark.slow
def test_eight_processes_that_are_killed_and_continued_give_what_one_gives(
    folder, run_folder, tmp_path
):
    original = {path.name: path.stat().st_mtime_ns for path in lightcurve_files(folder)}
    command = [sys.executable, "-m", "photometry", "correct", str(folder), "--jobs", "8"]
    process = subprocess.Popen(command, env=environment(), start_new_session=True)

    def corrected():
        """Files that were replaced: {name: time of change}"""
        times = {path.name: path.stat().st_mtime_ns for path in lightcurve_files(folder)}
        return {name: time for name, time in times.items() if time != original[name]}

    try:
        wait_for(lambda: len(corrected()) >= 5, seconds=LONG)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_for(lambda: not processes_of(process.pid))
    before = corrected()
    assert 5 <= len(before) < N
    again = photometry("correct", folder, "--jobs", 8, timeout=LONG)
    assert (again.returncode, again.stderr) == (0, "")
    assert f"{N - len(before)} light curves corrected, {len(before)} were" in again.stdout
    after = corrected()
    assert len(after) == N
    assert {name: after[name] for name in before} == before
    alone = shutil.copytree(run_folder, tmp_path / "alone")
    assert photometry("correct", alone, "--jobs", 1, timeout=LONG).returncode == 0
    assert contents(folder) == contents(alone)


def processes_of(group):
    """Processes of a group that are alive."""
    alive = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != "zombie":
                alive.append(process.pid)
        except ProcessLookupError:
            continue
    return alive


@pytest.mark.slow
def test_the_file_says_how_and_its_flux_is_the_star(folder):
    truth = Table.read(folder / "truth.ecsv")
    ratios = []
    for path in lightcurve_files(folder)[:40]:
        report = correct_file(path)
        assert report["method"] == "cotrend"
        with fits.open(path) as hdulist:
            header, table = hdulist["LIGHTCURVE"].header, hdulist["LIGHTCURVE"].data
            hdulist.verify("exception")
            assert header["CORRMETH"] == "cotrend"
            assert header["CTFILE"].endswith("-cbv.fits")
            assert header["CTNVEC"] == len([key for key in header if key.startswith("CTW")])
            assert header["CTNOISE1"] <= 1.05 * header["CTNOISE0"]
            assert {"CTKEPT1", "CTKEPT3", "CTKEPT10", "CTOVER", "CTUNDER", "CTSHRINK"} <= set(
                header
            )
            corrected, error = table["FLUX_CORR"], table["FLUX_CORR_ERR"]
            assert np.isfinite(corrected).all()
            raw_error = 1e6 * table["FLUX_RAW_ERR"] / np.median(table["FLUX_RAW"])
            assert (error >= 0.98 * raw_error).all()
        star = truth[truth["starid"] == int(path.name[4:15])][0]
        if star["kind"] == "quiet":
            means = corrected[: len(corrected) // 13 * 13].reshape(-1, 13).mean(axis=1)
            ratios.append(np.std(means) / (1e6 * star["noise"] / np.sqrt(13)))
    assert np.median(ratios) < 1.5


@pytest.mark.slow
def test_biweight_can_be_asked_for_and_replaces_what_the_other_says(folder):
    path = lightcurve_files(folder)[0]
    correct_file(path)
    correct_file(path, method="biweight", overwrite=True, window=2.0)
    header = fits.getheader(path, "LIGHTCURVE")
    assert (header["CORRMETH"], header["CORRWIN"]) == ("biweight", 2.0)
    assert not [key for key in header if key.startswith("CT") and key != "CTYPE1"]


@pytest.mark.slow
def test_vectors_that_do_not_belong_are_refused_in_one_line(folder, shared_data):
    path = lightcurve_files(folder)[0]
    before = path.read_bytes()
    mission = shared_data / "cbv" / "tess2019085135100-s0010-2-4-0140-s_cbv.fits"
    done = photometry("correct", path, "--method", "cotrend", "--vectors", mission)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "no vectors of detector 1, 2" in line
    assert path.read_bytes() == before
    shutil.rmtree(folder / "lightcurves" / "cotrend")
    done = photometry("correct", path, "--method", "cotrend")
    (line,) = done.stderr.splitlines()
    assert "no basis vectors" in line
    assert path.read_bytes() == before
    damaged = folder / "damaged-cbv.fits"
    damaged.write_bytes(mission.read_bytes()[:9000])
    done = photometry("correct", path, "--method", "cotrend", "--vectors", damaged)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.slow
def test_an_area_with_too_few_quiet_stars_gets_no_vectors_and_the_exit_code_says_so(folder):
    shutil.rmtree(folder / "lightcurves" / "cotrend")
    done = photometry("cotrend", folder)
    assert done.returncode == 1
    assert "quiet" in done.stderr
    assert not list((folder / "lightcurves").rglob("*-cbv.fits"))


def test_no_run_no_vectors(tmp_path):
    done = photometry("cotrend", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_two_stars_of_a_ccd_get_their_own_flags_of_scattered_light(tmp_path):
    stars = ensemble(202, n_stars=2, n_times=400)
    stars.background[0, 100:130] = stars.background[0].mean() + 3 * stars.flux[0].mean()
    paths = write_ensemble(tmp_path, stars, sector=7)
    for path in paths:  # the mission's flag, of the whole CCD
        with fits.open(path, mode="update") as hdulist:
            hdulist["LIGHTCURVE"].data["QUALITY"][200:240] |= 4096
    flagged = []
    for path in paths:
        correct_file(path, method="biweight")
        table = fits.getdata(path, "LIGHTCURVE")
        flagged.append(np.flatnonzero(table["QUALITY"] & 4096).tolist())
        assert np.array_equal(np.isnan(table["FLUX_CORR"]), table["QUALITY"] & 4096 > 0)
    assert flagged == [list(range(100, 130)), []]
