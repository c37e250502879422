"""The how-to in docs/adding-a-method.md, done: its package is installed by pip and used by the program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from photometry.report.results import read_results

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that pip installed the page's package into."""
    source, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    text = PAGE.read_text()
    for name, language in (("pyproject.toml", "toml"), ("brightest_pixel.py", "python")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        (source / name).write_text(block)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=120)
    return target


def run(installed, *words):
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "photometry", *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )


def test_method_of_the_page_measures_one_pixel_of_each_target(installed, tmp_path):
    for words in (
        ["simulate", "tpf", tmp_path, "--targets", 3, "--times", 60],
        ["todo", "tpf", tmp_path],
        ["run", tmp_path, "--method", "brightest", "--plot", "--workers", 0],
    ):
        done = run(installed, *words)
        assert done.returncode == 0, done.stderr
    rows = read_results(tmp_path / "todo.sqlite")
    made = rows[rows["status"] == 1]
    assert len(made)
    assert set(made["method_used"]) == {"brightest"}
    assert set(made["mask_size"]) == {1}
    assert len(list((tmp_path / "lightcurves").rglob("*.png"))) == len(made)


def test_a_method_that_is_not_installed_is_refused_with_the_names_of_those_that_are(
    installed, tmp_path
):
    assert (
        run(installed, "simulate", "tpf", tmp_path, "--targets", 1, "--times", 10).returncode == 0
    )
    assert run(installed, "todo", "tpf", tmp_path).returncode == 0
    done = run(installed, "run", tmp_path, "--method", "dimmest")
    assert done.returncode == 2
    assert "'aperture' or 'brightest' or 'halo'" in done.stderr
