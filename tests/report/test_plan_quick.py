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


def test_the_plan_is_within_a_factor_of_two_of_what_the_work_takes(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "run", make_tpf, n=20, n_times=400)
    found = planned(folder)
    assert found.targets == 20
    low, high = (3600 * hours for hours in found.core_hours)
    with TaskManager(folder, read_only=True) as tasks:
        rows = [dict(row) for row in tasks.cursor.execute("SELECT * FROM todolist").fetchall()]
    start = time.process_time()  # of the processor, not of a clock on a loaded machine
    sizes = 0
    for task in rows:
        result = photometry(task, input_folder=folder, output_folder=tmp_path / "out")
        sizes += (tmp_path / "out" / result["details"]["filepath_lightcurve"]).stat().st_size
    taken = time.process_time() - start
    assert low / 2 < taken < 2 * high
    assert sizes / 2 < found.bytes < 2 * sizes + 20 * 2000


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
