"""What objects look like in a notebook, and that the tutorial, which is one, runs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from finished_run import target_pixel_files

from photometry import Lightcurve, TaskManager, photometry
from photometry.errors import ArgumentError
from photometry.lightcurve import LightcurveArbitraryRaster, LightcurveFixedStep
from photometry.methods import get_method
from photometry.notebook import Task, table
from photometry.settings import photometry_settings
from photometry.target import StampSource
from photometry.taskmanager import read_results

TUTORIAL = Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def things(tmp_path_factory, make_tpf):
    """{name: object} of all kinds that a notebook meets."""
    folder = target_pixel_files(tmp_path_factory.mktemp("notebook") / "stars", make_tpf, n=2)
    tm = TaskManager(folder)
    task = tm.get_task()
    result = photometry(task, input_folder=folder, output_folder=folder / "out")
    stamp, _ = StampSource(task, folder, photometry_settings()).make()
    extraction = get_method("aperture")(stamp, photometry_settings())
    lc = Lightcurve.read(folder / "out" / result["details"]["filepath_lightcurve"])
    tm.save_result(result)
    yield {"TaskManager": tm, "task": task, "result": result, "stamp": stamp,
           "extraction": extraction, "lightcurve": lc, "folder": folder}  # fmt: skip
    tm.close()


ONE_LINE = {
    "TaskManager": "2 targets: 1 WARNING, 1 to do>",
    "task": "<Task 1: TIC 101, sector 5, 120 s, tpf, magnitude 10.10, method chosen by the target>",
    "result": "<Result 1: TIC 101, ",
    "stamp": "<Stamp: TIC 101, sector 5, 120 s, 20 times, 11 x 11 pixels, tpf>",
    "extraction": "<Extraction: aperture, ",
    "lightcurve": "<LightcurveArbitraryRaster: TIC 101 20 samples",
}


@pytest.mark.parametrize("name", ONE_LINE)
def test_each_object_is_one_line_and_a_table(things, name):
    line, page = repr(things[name]), things[name]._repr_html_()
    assert ONE_LINE[name] in line
    assert "\n" not in line
    assert len(line) < 250
    assert page.startswith("<table>")
    assert page.count("<tr>") >= 4


def test_the_table_escapes_what_files_say():
    task = Task({"priority": 1, "starid": 5, "method": "<script>alert(1)</script>"})
    assert "<script>" not in task._repr_html_()
    assert "&lt;script&gt;" in task._repr_html_()
    lc = LightcurveFixedStep(0.0, 0.1, np.ones(5), metadata={"object": "<b>x</b>", "a&b": '"<i>"'})
    assert "<b>" not in lc._repr_html_()
    assert "<i>" not in lc._repr_html_()
    assert table("<t>", [("<n>", "<v>")]).count("&lt;") == 3


def test_task_and_result_are_dicts_that_json_and_the_task_manager_take(things):
    assert isinstance(things["task"], dict)
    assert json.loads(json.dumps(things["task"])) == things["task"]
    assert things["TaskManager"].to_table()["status"][0] in (1, 3)


def test_a_closed_task_manager_says_so(things):
    tm = TaskManager(things["folder"], read_only=True)
    tm.close()
    assert "closed" in repr(tm)
    assert "closed" not in repr(things["TaskManager"])


def test_to_table_has_what_is_not_yet_on_disk(things):
    found = things["TaskManager"].to_table()
    expected = read_results(things["folder"] / "todo.sqlite")
    assert found.colnames == expected.colnames
    assert list(found["mean_flux"]) == pytest.approx(list(expected["mean_flux"]), nan_ok=True)


# --- plot and fold


def test_folding_brings_each_transit_to_the_middle():
    times = np.arange(0, 30, 0.01)
    flux = np.where(np.abs((times - 1.2 + 1.75) % 3.5 - 1.75) < 0.1, 0.99, 1.0)
    for lc in (LightcurveArbitraryRaster(times, flux), LightcurveFixedStep(0.0, 0.01, flux)):
        folded = lc.fold(3.5, 1.2)
        assert np.all(np.diff(folded.get_times()) >= 0)
        assert np.abs(folded.get_times()).max() <= 1.75
        inside = np.abs(folded.get_times()) < 0.095
        assert set(folded.fluxes[inside]) == {0.99}
        assert set(folded.fluxes[np.abs(folded.get_times()) > 0.105]) == {1.0}
        assert len(folded) == len(lc)


@pytest.mark.parametrize("period", [0, -1.0, np.nan, np.inf])
def test_a_period_that_is_none_is_refused(period):
    with pytest.raises(ArgumentError, match="expected days, above zero"):
        LightcurveFixedStep(0.0, 0.1, np.ones(5)).fold(period)


def test_plot_draws_what_the_light_curve_holds(things, tmp_path):
    pytest.importorskip("matplotlib")
    lc = things["lightcurve"]
    axes = lc.plot()
    drawn = np.concatenate([line.get_xdata() for line in axes.lines])
    assert len(drawn) == len(lc)
    axes.figure.savefig(tmp_path / "a.png")
    assert "folded at 0.01 d" in lc.fold(0.01).plot().get_xlabel()
    assert lc.plot(axes) is axes


# --- the tutorial


def test_the_tutorial_holds_no_outputs_and_no_path_of_a_machine():
    notebook = json.loads(TUTORIAL.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    text = TUTORIAL.read_text()
    assert not [word for word in ("/home/", "/work/", "/root/", "/Users/", "/tmp/") if word in text]


@pytest.mark.slow
def test_the_tutorial_runs_from_the_first_cell_to_the_last(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(TUTORIAL, as_version=4)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs if "data" in output]
    assert sum("text/html" in data for data in shown) >= 5, "tables"
    assert sum("image/png" in data for data in shown) >= 2, "pictures"
    assert "period" in json.dumps([output.get("text", "") for output in outputs])
