"""`photometry run --inject`: what goes into the pixels comes out as deep, on every engine, apart
from real results; and the page of a run shows it.
"""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from running import ENGINES, photometry, run_pipeline

from photometry.errors import TodoFileError, WrongUseError
from photometry.injection.recovery import check_folder, collect, prepare_folder
from photometry.injection.signals import profile, signals_of
from photometry.injection.work import injected_photometry
from photometry.lightcurve import Lightcurve
from photometry.methods import BUILT_IN
from photometry.pixels.find import identify
from photometry.taskmanager import TaskManager, read_results

pytestmark = pytest.mark.slow

WHAT = ["--inject", "transits:depth=0.003..0.02,period=1..2",
        "--inject", "flares:amplitude=0.05,decay=0.08,number=1"]  # fmt: skip


def done(*words):
    finished = photometry(*words)
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Eight isolated stars that do not vary, 17 days of them, with their TODO-file."""
    folder = tmp_path_factory.mktemp("injection") / "stars"
    words = ["--mission", "Kepler", "--targets", 8, "--times", 800, "--isolated", 1]
    done("simulate", "tpf", folder, *words, "--transits", 0, "--variables", 0, "--tmag-max", 14)
    done("todo", "tpf", folder)
    return folder


@pytest.fixture(scope="module")
def injected(origin):
    """{method: table of what became of the signals}"""
    tables = {}
    for method in sorted(BUILT_IN):
        done("run", origin, "--workers", 0, "--method", method, *WHAT)
        tables[method] = Table.read(origin / f"injected-{method}" / "recovered.ecsv")
    return tables


@pytest.mark.parametrize("method", sorted(BUILT_IN))
@pytest.mark.parametrize("kind", ["transit", "flare"])
def test_signals_come_out_as_deep_as_they_went_in_within_the_errors(injected, method, kind):
    table = injected[method][injected[method]["kind"] == kind]
    assert len(table) == 8
    measured = table[np.isfinite(table["ratio"])]
    assert len(measured) >= 6
    pulls = (measured["ratio"] - 1) / np.hypot(measured["ratio_err"], 0.003)
    assert np.abs(pulls).max() < 4, f"{method}: {measured['ratio']} ± {measured['ratio_err']}"
    assert abs(pulls.sum()) / np.sqrt(len(pulls)) < 3


@pytest.mark.parametrize("method", sorted(BUILT_IN))
def test_a_search_finds_the_deep_ones(injected, method):
    pytest.importorskip("numba")
    transits = injected[method][injected[method]["kind"] == "transit"]
    assert np.sum(transits["found"] == 1) >= 6
    assert set(injected[method]["found"]) <= {0, 1}


def test_the_truth_is_the_same_for_all_methods(origin, injected):
    tables = [(origin / f"injected-{method}" / "injected.ecsv").read_text() for method in BUILT_IN]
    assert len(set(tables)) == 1


def test_light_curves_say_that_they_are_not_real(origin, injected):
    paths = sorted((origin / "injected-aperture" / "lightcurves").rglob("*_lc.fits.gz"))
    assert len(paths) == 8
    assert all(fits.getheader(path)["INJECTED"] for path in paths)
    assert not (origin / "lightcurves").exists()
    with pytest.raises(KeyError):
        done("run", origin, "--workers", 0, "--limit", 1)
        (real,) = (origin / "lightcurves").rglob("*_lc.fits.gz")
        fits.getheader(real)["INJECTED"]
    shutil.rmtree(origin / "lightcurves")


def test_the_transit_is_in_the_light_curve_where_the_truth_says(origin, injected):
    truth = Table.read(origin / "injected-aperture" / "injected.ecsv")
    (row, *_) = truth[(truth["kind"] == "transit") & (truth["depth"] > 0.006)]
    (path,) = (origin / "injected-aperture" / "lightcurves").rglob(f"*{row['starid']}*_lc.fits.gz")
    lc = Lightcurve.read(path)
    phase = (lc.get_times() - row["epoch"] + 0.5 * row["period"]) % row["period"]
    inside = np.abs(phase - 0.5 * row["period"]) < 0.2 * row["duration"]
    outside = np.abs(phase - 0.5 * row["period"]) > 0.7 * row["duration"]
    depth = 1 - np.nanmedian(lc.fluxes[inside]) / np.nanmedian(lc.fluxes[outside])
    assert depth == pytest.approx(row["depth"], rel=0.15)


@pytest.mark.mpi
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_recovers_the_same(origin, injected, engine):
    folder = origin / f"of-{engine}"
    for _ in range(2):  # the second time there is nothing to do
        finished = run_pipeline(
            engine, origin, "--method", "aperture", "--output", folder, *WHAT, timeout=600
        )
        assert finished.returncode == 0, finished.stderr
    assert json.loads((folder / "lightcurves" / "run.json").read_text())["tasks"] == 0
    assert (folder / "recovered.ecsv").read_text() == (
        origin / "injected-aperture" / "recovered.ecsv"
    ).read_text()
    shutil.rmtree(folder)


def test_the_page_of_the_run_shows_completeness_and_depths_by_method(origin, injected, tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.html"
    done("report", origin, "--page", page)
    text = page.read_text()
    assert "Injection and recovery" in text
    for words in ("completeness of transits against magnitude", "depth ratio of flares", "linpsf"):
        assert words in text
    done("report", origin / "injected-psf", "--page", page)
    assert "Injection and recovery" in page.read_text()


def test_a_dry_run_makes_nothing(origin):
    finished = done("run", origin, "--output", origin / "nothing", *WHAT, "--dry-run")
    assert "8 targets would be done" in finished.stdout
    assert not (origin / "nothing").exists()


def refused(*words):
    finished = photometry(*words)
    assert finished.returncode == 2, finished.stdout
    assert finished.stderr.count("\n") == 1, finished.stderr
    return finished.stderr


def test_real_results_and_injected_ones_never_meet(origin, injected, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (real / "todo.sqlite").write_bytes(b"real")
    assert "no injection" in refused("run", origin, "--output", real, *WHAT)
    assert (real / "todo.sqlite").read_bytes() == b"real"
    folder = origin / "injected-psf"
    assert "holds an injection" in refused("run", folder)
    assert "holds an injection" in refused("run", origin, "--output", folder / "lightcurves")
    assert "another injection" in refused(
        "run", origin, "--method", "psf", *WHAT, "--inject-seed", 2
    )
    assert "--handler" in refused("run", origin, *WHAT, "--handler", "noop")


def test_a_table_says_what_to_inject_and_unknown_stars_are_refused(origin, tmp_path):
    star = int(read_results(origin / "todo.sqlite")["starid"][0])
    planets = tmp_path / "planets.csv"
    planets.write_text(f"starid,period,epoch,depth\n{star},2.0,170.0,0.01\n")
    folder = tmp_path / "of-table"
    done("run", origin, "--workers", 0, "--output", folder, "--inject", planets,
         "--inject-search", "none")  # fmt: skip
    assert list(read_results(folder / "todo.sqlite")["starid"]) == [star]
    (row,) = collect(folder)
    assert (row["starid"], row["found"]) == (star, -1)
    assert row["ratio"] == pytest.approx(1, abs=4 * row["ratio_err"] + 0.01)
    planets.write_text("starid,period,epoch,depth\n1,2.0,170.0,0.01\n")
    assert "none of its stars" in refused("run", origin, "--output", tmp_path / "x", "--inject",
                                          planets)  # fmt: skip


def test_a_folder_that_was_killed_while_it_was_made_is_finished(origin, tmp_path):
    folder, todo, what = tmp_path / "killed", origin / "todo.sqlite", (("transits",), 1)
    (folder / "lightcurves").mkdir(parents=True)
    (folder / ".injected-abcdefgh.part.ecsv").write_text("# %ECSV 1.0\n# ---\n# da")
    check_folder(folder, *what)
    prepare_folder(folder, todo, *what)
    truth = (folder / "injected.ecsv").read_text()
    (folder / "todo.sqlite").unlink()  # as if killed between the two
    check_folder(folder, *what)
    prepare_folder(folder, todo, *what)
    assert (folder / "injected.ecsv").read_text() == truth
    assert len(read_results(folder / "todo.sqlite")) == 8


def test_another_injection_replaces_the_first_one_with_its_results(origin, tmp_path):
    folder, todo = tmp_path / "twice", origin / "todo.sqlite"
    prepare_folder(folder, todo, ("transits",), 1)
    with TaskManager(folder) as tm:
        tm.cursor.execute("UPDATE todolist SET status = 1")
        with pytest.raises(WrongUseError, match="another injection"):
            check_folder(folder, ("transits",), 2)
        with pytest.raises(TodoFileError, match="in use"):
            prepare_folder(folder, todo, ("transits",), 2)
    assert set(read_results(folder / "todo.sqlite")["status"]) == {1}
    prepare_folder(folder, todo, ("transits",), 2)
    assert np.isnan(read_results(folder / "todo.sqlite")["status"]).all()


def test_a_transit_goes_into_an_image_cube_too(tmp_path):
    folder = tmp_path / "ffi"
    words = ["--size", 96, "--frames", 60, "--stars", 40, "--seed", 2, "--bright", 8]
    done("simulate", "ffi", folder, *words)
    for verb in (["catalog"], ["prepare"], ["todo", "ffi"]):
        done(*verb, folder)
    words = ["--workers", 0, "--method", "linpsf", "--tmag-max", 13.5]
    what = ["--inject", "transits:depth=0.05,period=0.6,duration=0.15", "--inject-search", "none"]
    for more in ([], what):
        finished = photometry("run", folder, *words, *more)
        assert finished.returncode in (0, 1), finished.stderr
    truth = Table.read(folder / "injected-linpsf" / "injected.ecsv")
    n_seen = 0
    for path in (folder / "lightcurves").rglob("*_lc.fits.gz"):
        other = (
            folder / "injected-linpsf" / "lightcurves" / path.relative_to(folder / "lightcurves")
        )
        real, dimmed = (fits.getdata(name, "LIGHTCURVE") for name in (path, other))
        (signal,) = signals_of(truth, fits.getheader(path)["TICID"])
        shape = profile(signal, real["TIME"], 1800)
        added = dimmed["FLUX_RAW"] / real["FLUX_RAW"] - 1
        here = np.isfinite(added) & (shape < -0.04)
        # the star's own variation is in both; where a neighbour is as bright, both fits share it
        assert np.median(added[here] / shape[here]) == pytest.approx(1, abs=0.1), path.name
        n_seen += np.abs(np.median(added[here] / shape[here]) - 1) < 0.02
    assert n_seen >= 8


@pytest.mark.real_data
# a neighbour that no catalogue names gives a fifth of the light in the mask of the second one; both
# are too faint for halo
@pytest.mark.parametrize(
    ("star", "method"),
    [
        (12644712, "aperture"),
        (12644712, "linpsf"),
        (12644712, "psf"),
        (12644774, "linpsf"),
        (12644774, "psf"),
    ],
)
def test_a_transit_in_a_real_file_comes_out_as_deep(shared_data, tmp_path, star, method):
    path = shared_data / "tpf" / f"kic{star}-q12-500cad_tpf.fits"
    task = {"priority": 1, "datasource": "tpf", "method": method, "tmag": None, **identify(path)}
    with fits.open(path) as hdus:
        time = hdus[1].data["TIME"]
    folder = tmp_path / "input"
    folder.mkdir()
    shutil.copy(path, folder)
    truth = Table({
        "starid": [star], "signal": [1], "kind": ["transit"], "period": [1.3],
        "epoch": [np.nanmin(time) + 0.7], "depth": [0.01], "duration": [0.25], "impact": [0.2],
        "time": [np.nan], "amplitude": [np.nan], "decay": [np.nan],
    })  # fmt: skip
    truth.write(tmp_path / "injected.ecsv")
    options = {"input_folder": folder, "output_folder": tmp_path, "search": "none"}
    result = injected_photometry(task, truth=tmp_path / "injected.ecsv", **options)
    header = fits.getheader(tmp_path / result["details"]["filepath_lightcurve"])
    ratio, error = header["I01_RATI"], header["I01_RERR"]
    assert header["I01_NEVE"] >= 5
    assert ratio == pytest.approx(1, abs=4 * error + 0.02), error
