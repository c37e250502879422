"""From a folder of real target pixel files to light curves, by the commands that a user types."""

import json
import shutil

import pytest
from running import photometry, run_pipeline

from photometry.taskmanager import read_results

OK, ERROR, WARNING = 1, 2, 3


@pytest.fixture
def folder(shared_data, tmp_path):
    """All real target pixel files, and the broken ones."""
    for name in ("tpf", "tpf_broken"):
        shutil.copytree(shared_data / name, tmp_path / "data" / name, copy_function=shutil.copyfile)
    (tmp_path / "data").chmod(0o755)
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert photometry("todo", "tpf", tmp_path / "data").returncode == 0
    return tmp_path / "data"


@pytest.mark.real_data
def test_every_good_file_gives_a_light_curve_and_each_broken_one_a_clear_error(folder):
    done = run_pipeline("processes", folder)
    assert done.returncode == 1, done.stderr
    results = read_results(folder / "todo.sqlite")
    good = [row for row in results if row["status"] in (OK, WARNING)]
    bad = [row for row in results if row["status"] == ERROR]
    assert len(good) == 10
    assert all((folder / "lightcurves" / row["lightcurve"]).is_file() for row in good)
    assert len(bad) == 3
    for row in bad:
        assert row["errors"].startswith("BadInputError: ")
        assert "Traceback" not in row["errors"]
        assert "\n" not in row["errors"]
    assert json.loads(photometry("status", folder, "--json").stdout)["ERROR"] == 3


@pytest.mark.real_data
def test_the_pipeline_mask_is_taken_where_the_file_has_one(folder):
    assert run_pipeline("processes", folder, "--mask", "pipeline").returncode == 1
    results = read_results(folder / "todo.sqlite")
    failed = [(int(row["starid"]), row["errors"]) for row in results if row["status"] == ERROR]
    assert len(failed) == 4
    assert "mask='own'" in dict(failed)[221312395], "K2 campaign 9a has no official aperture"
