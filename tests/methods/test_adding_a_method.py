"""The how-to in docs/adding-a-method.md, done: its file and its package are used by the program."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from photometry import TaskManager
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files
from photometry.taskmanager import read_results

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"


def blocks(language):
    """The code blocks of the page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that pip installed the page's package into."""
    source, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    for name, language in (("pyproject.toml", "toml"), ("brightest_pixel.py", "python")):
        (source / name).write_text(blocks(language)[1 if language == "python" else -1])
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
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=600)
    return target


def run(installed, *words, cwd=None):
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "photometry", *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        cwd=cwd,
    )


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """An input folder of two targets."""
    folder = tmp_path_factory.mktemp("simulated") / "data"
    simulate_target_pixel_files(folder, TargetPixelSettings(targets=2, times=20))
    done = run("", "todo", "tpf", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def with_file(simulated, tmp_path):
    """A folder with the page's file, and the input folder in it."""
    (tmp_path / "mine.py").write_text(blocks("python")[0])
    return tmp_path, shutil.copytree(simulated, tmp_path / "data")


def mask_sizes(folder):
    rows = read_results(folder / "todo.sqlite")
    rows = rows[(rows["status"] == 1) & (rows["datasource"] == "tpf")]
    assert len(rows) == 2
    assert set(rows["method_used"]) == {"mine"}
    return list(rows["mask_size"])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_file_of_the_page_is_a_method_with_a_section_of_the_settings(with_file, workers):
    here, folder = with_file
    words = ["run", folder, "--method", "mine:mine", "--workers", workers]
    assert run("", *words, cwd=here).returncode == 0
    sizes = mask_sizes(folder)
    (folder / "photometry.toml").write_text(blocks("toml")[0].replace("0.3", "0.001"))
    assert run("", *words, "--overwrite", cwd=here).returncode == 0
    assert all(more > some for more, some in zip(mask_sizes(folder), sizes, strict=True))


@pytest.mark.slow
def test_section_of_a_method_that_only_the_todo_file_names_is_known(with_file):
    here, folder = with_file
    with TaskManager(folder) as tm:
        tm.conn.execute("UPDATE todolist SET method = 'mine:mine'")
        tm.conn.commit()
    (folder / "photometry.toml").write_text("[photometry.mine]\nfraction = 0.001\n")
    done = run("", "run", folder, "--workers", 0, cwd=here)
    assert done.returncode == 0, done.stderr
    assert min(mask_sizes(folder)) > 4


@pytest.mark.slow
def test_a_wrong_name_in_the_section_of_a_method_ends_the_run_before_it_begins(with_file):
    here, folder = with_file
    (folder / "photometry.toml").write_text("[photometry.mine]\nfractoin = 0.3")
    done = run("", "run", folder, "--method", "mine:mine", cwd=here)
    assert done.returncode == 2
    assert "photometry.toml: unknown setting 'photometry.mine.fractoin'" in done.stderr
    assert "did you mean 'fraction'?" in done.stderr
    assert "Traceback" not in done.stderr
