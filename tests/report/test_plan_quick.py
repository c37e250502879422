"""`plan` predicts what a run then takes; `quick` does all of it in one go."""

import json
import shutil
import time

import pytest
from finished_run import everything_below, finished_run, target_pixel_files
from running import photometry as command

from photometry import TaskManager
from photometry.report.plan import plan
from photometry.settings import Settings
from photometry.target import photometry
from photometry.taskmanager import open_view


def planned(folder, **options):
    with open_view(folder) as view:
        return plan(view, folder, Settings(), **options)


def check_plan(folder, output):
    """That a plan is within a factor of two of what the work takes of the processor, and of its
    disk; not of a clock on a loaded machine.
    """
    found = planned(folder)
    low, high = (3600 * hours for hours in found.core_hours)
    with TaskManager(folder, read_only=True) as tasks:
        rows = [dict(row) for row in tasks.cursor.execute("SELECT * FROM todolist").fetchall()]
    assert found.targets == len(rows)
    start, sizes = time.process_time(), 0
    for task in rows:
        result = photometry(task, input_folder=folder, output_folder=output)
        sizes += (output / result["details"]["filepath_lightcurve"]).stat().st_size
    taken = time.process_time() - start
    assert low / 2 < taken < 2 * high
    assert sizes / 2 < found.bytes < 2 * sizes + len(rows) * 2000


def test_the_plan_is_within_a_factor_of_two_of_what_the_work_takes(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "run", make_tpf, n=20, n_times=400)
    check_plan(folder, tmp_path / "out")


@pytest.mark.slow
def test_the_plan_of_image_cubes_is_within_a_factor_of_two_too(tmp_path):
    pytest.importorskip("h5py")
    folder = tmp_path / "ccd"
    for words in (
        ("simulate", "ffi", folder, "--size", 160, "--frames", 100, "--stars", 100, "--seed", 2),
        ("catalog", folder), ("prepare", folder, "--workers", 1), ("todo", "ffi", folder),
    ):  # fmt: skip
        done = command(*words)
        assert done.returncode == 0, done.stderr
    check_plan(folder, tmp_path / "out")


def test_planning_leaves_nothing_behind_and_says_what_is_left_out(tmp_path, make_tpf):
    folder = finished_run(tmp_path / "run", make_tpf)
    with TaskManager(folder) as tm:
        tm.conn.execute("UPDATE todolist SET status = NULL WHERE priority > 4")
        tm.conn.execute("UPDATE todolist SET status = 5 WHERE priority = 2")
        tm.conn.commit()
    before = everything_below(folder)
    done = command("plan", folder, "--json")
    found = json.loads(done.stdout)
    assert found["targets"] == 2
    assert sum(found["left_out"].values()) == 4
    assert found["left_out"]["in the mask of a brighter star"] == 1
    assert found["core_hours"][0] < found["core_hours"][1]
    assert everything_below(folder) == before
    selected = json.loads(command("plan", folder, "--starid", 106, "--json").stdout)
    assert (selected["targets"], selected["left_out"]["not selected"]) == (1, 1)


def test_what_is_not_measured_is_unknown(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "run", make_tpf)
    text = command("plan", folder, "--no-measure").stdout
    assert "time: unknown" in text
    assert "disk: unknown" in text
    assert json.loads(command("plan", folder, "--no-measure", "--json").stdout)["bytes"] is None
    shutil.rmtree(folder / "lightcurves", ignore_errors=True)


def test_a_missing_file_is_a_problem_of_the_plan_not_its_end(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "run", make_tpf)
    for path in folder.glob("*_tp.fits"):
        path.unlink()
    found = planned(folder)
    assert found.kinds[0].problems
    assert command("plan", folder).returncode == 0


@pytest.mark.slow
def test_quick_goes_from_a_folder_of_files_to_light_curves_and_a_sheet(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "run", make_tpf)
    (folder / "todo.sqlite").unlink()
    done = command("quick", folder, "--workers", 0)
    assert done.returncode == 0, done.stderr
    for verb in ("todo tpf", "doctor", "run", "plot --sheet"):
        assert f"$ photometry {verb}" in done.stdout
    assert (folder / "lightcurves" / "sheet.png").exists()
    assert len(list((folder / "lightcurves").rglob("*_lc.fits.gz"))) == 6
    again = command("quick", folder, "--workers", 0)
    assert again.returncode == 0


def test_quick_says_what_is_wrong_with_an_empty_folder(tmp_path):
    done = command("quick", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
