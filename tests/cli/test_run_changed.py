"""`photometry run --changed`: what changed since it was measured is done again, and nothing else;
`--reproducible`: equal bytes; the record that each run leaves.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from types import SimpleNamespace

import pytest
from astropy.io import fits
from finished_run import lightcurves, target_pixel_files
from running import ENGINES, environment, pipeline_command, run_pipeline, wait_for

from photometry import target
from photometry.cli import main
from photometry.methods.aperture import aperture_photometry
from photometry.taskmanager import TaskManager, read_results

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def origin(tmp_path_factory, make_tpf):
    """A folder with six stars whose light curves are made."""
    folder = target_pixel_files(tmp_path_factory.mktemp("changed") / "origin", make_tpf)
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(origin, tmp_path):
    return shutil.copytree(origin, tmp_path / "stars")


def run(folder, *words):
    """`photometry run` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main(["run", str(folder), "--workers", "0", *map(str, words)])
    return SimpleNamespace(returncode=end.value.code, stdout=out.getvalue(), stderr=err.getvalue())


def changed(folder, *words):
    """Stars that ``--changed`` does again, and what it says."""
    before = content(folder)
    done = run(folder, "--changed", *words)
    assert done.returncode == 0, done.stderr
    after = content(folder)
    return [name[4:15] for name in after if after[name] != before.get(name)], done.stderr


def content(folder):
    """{name: content} of the light curves; each run writes its id into those that it makes."""
    return {path.name: path.read_bytes() for path in lightcurves(folder)}


def star(starid):
    return f"{starid:011d}"


def change_file(folder, starid):
    """Replace a target pixel file by one with more light, of the same size."""
    (path,) = folder.glob(f"*{starid}-0120-s_tp.fits")
    with fits.open(path, mode="update") as hdus:
        hdus["PIXELS"].data["FLUX"] *= 1.5
    return path


# --- --changed


def test_a_changed_input_file_is_measured_again_alone(folder):
    change_file(folder, 103)
    before = {row["starid"]: row["mean_flux"] for row in read_results(folder / "todo.sqlite")}
    stars, said = changed(folder)
    assert stars == [star(103)]
    assert "1 target has changed" in said
    assert "other input" in said
    after = {row["starid"]: row["mean_flux"] for row in read_results(folder / "todo.sqlite")}
    assert after.pop(103) == pytest.approx(1.5 * before.pop(103), rel=1e-5)
    assert after == before
    assert changed(folder)[0] == [], "the second time there is nothing to do"


def test_a_file_that_is_replaced_while_it_is_measured_has_changed(folder, tmp_path, monkeypatch):
    """What is recorded is what was there before the pixels were read."""

    def replaced_meanwhile(stamp, settings):
        change_file(folder, stamp.target.starid)
        return aperture_photometry(stamp, settings)

    task = {"priority": 3, "starid": 103, "sector": 5, "camera": 2, "ccd": 3, "cadence": 120,
            "datasource": "tpf", "method": None, "tmag": 10.3}  # fmt: skip
    with TaskManager(folder) as tm, monkeypatch.context() as patch:
        patch.setattr(target, "get_method", lambda name: replaced_meanwhile)
        output = folder / "lightcurves"
        tm.save_result(target.photometry(task, input_folder=folder, output_folder=output))
    assert changed(folder)[0] == [star(103)]
    assert changed(folder)[0] == []


@pytest.mark.mpi
def test_under_mpiexec_too_only_what_changed_is_done(folder):
    change_file(folder, 104)
    before = content(folder)
    done = run_pipeline("mpi", folder, "--changed")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 target has changed") == 1
    after = content(folder)
    assert [name[4:15] for name in after if after[name] != before[name]] == [star(104)]


def test_a_file_that_takes_the_place_of_another_counts_as_changed(folder):
    (path,) = folder.glob("*102-0120-s_tp.fits")
    shutil.copy2(path, path.with_name(path.name.replace("tess2018", "tess2019")))
    assert changed(folder)[0] == [star(102)]


def test_a_star_catalogue_that_was_not_there_changes_all(folder):
    (folder / "catalog.csv").write_text("starid,ra,decl,tmag\n101,100.0,-30.0,10.1\n")
    assert len(changed(folder)[0]) == 6


def test_a_changed_setting_is_measured_again_where_it_matters(folder):
    (folder / "photometry.toml").write_text('[photometry.psf]\nprf = "none_at_all"\n')
    assert changed(folder)[0] == [], "aperture photometry does not read it"
    (folder / "photometry.toml").write_text("[photometry.aperture]\nthreshold = 0.9\n")
    stars, said = changed(folder)
    assert len(stars) == 6
    assert "6  other settings" in said
    assert changed(folder)[0] == []


def test_settings_of_one_target_change_that_target_alone(folder):
    with TaskManager(folder) as tm:
        tm.retry_tasks([2], settings={"aperture": {"threshold": 1.0}})
    assert run(folder).returncode == 0
    assert changed(folder)[0] == [], "its own settings are those that it was measured with"
    with TaskManager(folder) as tm:
        tm.cursor.execute("""UPDATE overrides SET settings = '{"aperture": {"threshold": 2.0}}'""")
    assert changed(folder)[0] == [star(102)]


def test_another_method_counts_as_another_setting(folder):
    with TaskManager(folder) as tm:
        tm.cursor.execute("UPDATE todolist SET method = 'linpsf' WHERE starid = 104")
    assert changed(folder)[0] == [star(104)]
    stars, _ = changed(folder, "--method", "psf", "--starid", "101,102")
    assert stars == [star(101), star(102)], "of the stars that the filters select"


def test_results_of_another_version_are_made_again(folder):
    with TaskManager(folder) as tm:
        tm.cursor.execute("UPDATE diagnostics SET version = '0.0.1' WHERE priority IN (1, 5)")
    stars, said = changed(folder)
    assert stars == [star(101), star(105)]
    assert "2  made by another version of the program (0.0.1; this is" in said


def test_rows_from_before_this_was_recorded_are_unknown_and_made_again(folder):
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
        for name in ("inputs", "method_hash", "version"):  # as an earlier version left them
            conn.execute(f"ALTER TABLE diagnostics DROP COLUMN {name}")
    done = run(folder, "--changed", "--dry-run")
    assert "6  measured by a version that did not record what from" in done.stdout
    stars, said = changed(folder)
    assert len(stars) == 6
    assert "did not record what from" in said
    assert changed(folder)[0] == []


def test_a_dry_run_says_why_and_changes_nothing(folder):
    change_file(folder, 103)
    with TaskManager(folder) as tm:
        tm.cursor.execute("UPDATE diagnostics SET version = '0.0.1' WHERE priority < 5")
    before = content(folder), (folder / "todo.sqlite").read_bytes()
    done = run(folder, "--changed", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:3] == [
        "4 targets have changed since measured",
        "        1  other input: its pixels or its star catalogue have changed, or another file is"
        " used",
        done.stdout.splitlines()[2],
    ]
    assert done.stdout.splitlines()[2].startswith("        4  made by another version")
    assert "4 targets would be done" in done.stdout
    assert (content(folder), (folder / "todo.sqlite").read_bytes()) == before


def test_a_result_whose_pixels_are_gone_is_kept(folder):
    (path,) = folder.glob("*106-0120-s_tp.fits")
    path.unlink()
    before = content(folder)
    stars, said = changed(folder, "--mask", "pipeline")
    assert len(stars) == 5
    assert "1  whose pixels are gone: left as they are" in said
    kept = [name for name, data in content(folder).items() if data == before[name]]
    assert [name[4:15] for name in kept] == [star(106)]


def test_who_was_skipped_by_a_changed_target_is_looked_at_again(folder):
    with TaskManager(folder) as tm:  # as if star 101 had had star 102 in its mask
        tm.cursor.execute("UPDATE todolist SET status = 5 WHERE starid = 102")
        tm.cursor.execute("DELETE FROM diagnostics WHERE priority = 2")
        tm.cursor.execute("INSERT INTO photometry_skipped VALUES (2, 1)")
    assert changed(folder)[0] == []
    change_file(folder, 101)
    stars, said = changed(folder)
    assert stars == [star(101), star(102)]
    assert "1  skipped by a target that is done again" in said


def test_a_killed_run_goes_on_where_it_was(folder):
    change_file(folder, 102)
    change_file(folder, 105)
    command = pipeline_command("serial", folder, "--changed", "--handler", "photometry")
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: (folder / "lightcurves" / "run.json").stat().st_mtime > started(folder))
        process.send_signal(signal.SIGKILL)
    run(folder, "--changed")
    fluxes = {row["starid"]: row["mean_flux"] for row in read_results(folder / "todo.sqlite")}
    assert fluxes[102] == pytest.approx(1.5 * fluxes[101], rel=1e-5)
    assert fluxes[105] == pytest.approx(1.5 * fluxes[101], rel=1e-5)
    assert changed(folder)[0] == []


def started(folder):
    """When the first run of the folder began, to the file system's clock."""
    return min(path.stat().st_mtime for path in (folder / "lightcurves" / "runs").iterdir())


@pytest.mark.parametrize("words", [("--overwrite",), ("--handler", "noop")])
def test_what_it_cannot_go_with_is_refused_in_one_line(folder, words):
    done = run(folder, "--changed", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


# --- equal bytes, and the record of a run


@pytest.mark.mpi
def test_reproducible_runs_give_equal_bytes_on_every_engine(origin, tmp_path):
    found = []
    for number, engine in enumerate([*ENGINES, "serial"]):
        folder = shutil.copytree(origin, tmp_path / f"{engine}{number}")
        shutil.rmtree(folder / "lightcurves")
        done = run_pipeline(engine, folder, "--overwrite", "--reproducible")
        assert done.returncode == 0, done.stderr
        found.append(content(folder))
    assert len(found[0]) == 6
    assert found[1:] == found[:1] * 3
    assert all(data[4:8] == b"\0\0\0\0" for data in found[0].values()), "gzip's time of writing"


@pytest.mark.mpi
@pytest.mark.parametrize("engine", ENGINES)
def test_every_header_names_the_run_whose_record_has_its_settings(folder, engine):
    done = run_pipeline(engine, folder, "--overwrite", "--mask", "pipeline")
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "lightcurves" / "run.json").read_text())
    headers = [fits.getheader(path) for path in lightcurves(folder)]
    assert {header["RUNID"] for header in headers} == {record["run_id"]}
    assert {header["SETHASH"] for header in headers} == {record["settings_hash"]}
    assert {header["COMMIT"] for header in headers} == {record["commit"]}
    assert record["settings"]["photometry"]["aperture"]["mask"] == "pipeline"
    assert record["tasks"] == 6
    assert (record["ranks"], record["workers"]) == {
        "serial": (None, 0), "processes": (None, 2), "mpi": (3, None)
    }[engine]  # fmt: skip
    with TaskManager(folder, read_only=True) as tm:
        rows = tm.cursor.execute("SELECT info FROM runs ORDER BY run").fetchall()
    assert json.loads(rows[-1]["info"])["run_id"] == record["run_id"]


def test_every_run_leaves_its_record(folder):
    output = folder / "lightcurves"
    run(folder, "--limit", 1, "--overwrite")
    run(folder)
    paths = sorted((output / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    records = [json.loads(path.read_text()) for path in paths]
    assert len(records) == 3, "that of the first run, and of these two"
    assert records[-1] == json.loads((output / "run.json").read_text())
    assert [record["tasks"] for record in records] == [6, 1, 0]
    assert records[1]["options"]["limit"] == 1
    assert records[1]["options"]["overwrite"]


def test_a_killed_run_has_left_its_record(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "stars", make_tpf, n=1)
    with TaskManager(folder) as tm:
        tm.cursor.execute("UPDATE todolist SET method = 'hang'")
    command = pipeline_command("serial", folder, "--handler", "faulty_work:work")
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        record = folder / "lightcurves" / "run.json"
        wait_for(record.is_file)
        os.kill(process.pid, signal.SIGKILL)
    assert json.loads(record.read_text())["tasks"] == 1
