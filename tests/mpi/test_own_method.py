"""``--method module:function``, with a section of settings of its own, on each engine."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from running import ENGINES, environment, photometry, run_pipeline

from photometry.taskmanager import read_results

pytestmark = [pytest.mark.slow, pytest.mark.mpi]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"
FRACTION = 0.3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_method_of_a_file_gets_its_settings_on_every_engine(tmp_path, engine):
    data = tmp_path / "data"
    assert photometry("simulate", "tpf", data, "--targets", 2, "--times", 60).returncode == 0
    assert photometry("todo", "tpf", data).returncode == 0
    source = re.search(r"```python\n(import numpy.*?)```", PAGE.read_text(), re.DOTALL)[1]
    (tmp_path / "mine.py").write_text(source)
    (data / "photometry.toml").write_text(f"[photometry.mine]\nfraction = {FRACTION}\n")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = run_pipeline(engine, data, "--method", "mine:mine", env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    rows = [row for row in read_results(data) if row["status"] in (1, 3)]
    assert len(rows) >= 2
    for row in rows:
        assert row["method_used"] == "mine"
        with fits.open(data / "lightcurves" / row["lightcurve"]) as hdus:
            mask = hdus["APERTURE"].data & 2 > 0  # in the mask of the light curve
            image = hdus["SUMIMAGE"].data
        np.testing.assert_array_equal(mask, image >= FRACTION * np.nanmax(image))


def test_a_wrong_value_of_its_section_is_refused_once_under_mpi(tmp_path):
    data = tmp_path / "data"
    assert photometry("simulate", "tpf", data, "--targets", 1, "--times", 60).returncode == 0
    assert photometry("todo", "tpf", data).returncode == 0
    source = re.search(r"```python\n(import numpy.*?)```", PAGE.read_text(), re.DOTALL)[1]
    (tmp_path / "mine.py").write_text(source)
    (data / "photometry.toml").write_text('[photometry.mine]\nfraction = "much"\n')
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = run_pipeline("mpi", data, "--method", "mine:mine", env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert done.stderr.count("fraction") == 1
    assert "Traceback" not in done.stderr
