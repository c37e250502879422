"""What is loaded, and what is not, before it is needed: the start of a program that runs on
hundreds of ranks.
"""

import json
import subprocess
import sys

import pytest

HEAVY = [
    "numpy",
    "scipy",
    "astropy",
    "h5py",
    "skimage",
    "photutils",
    "matplotlib",
    "pydantic",
    "rich",
    "pandas",
    "lightkurve",
    "mpi4py",
    "numba",
    "sqlalchemy",
]
NOT_FOR_A_TARGET = [
    "matplotlib",
    "photutils",
    "pandas",
    "lightkurve",
    "numba",
    "sqlalchemy",
    "IPython",
    "dask",
    "mpi4py",
]


def loaded_by(program):
    """Top-level names of the modules that a program, in a process of its own, loaded."""
    tell = (
        "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in "
        "sys.modules})))"
    )
    command = [sys.executable, "-c", f"{program}\n{tell}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["todo", "--help"], ["status", "--help"]]
)
def test_help_loads_nothing_heavy(arguments):
    program = f"""
from photometry.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code"""
    assert loaded_by(program).isdisjoint(HEAVY)


def test_import_loads_nothing_heavy():
    assert loaded_by("import photometry").isdisjoint(HEAVY)


def test_names_of_the_package_load_what_they_need():
    loaded = loaded_by("from photometry import TaskManager, build_constraints")
    assert loaded.isdisjoint({"astropy", "scipy", "h5py", "skimage", "pydantic", "mpi4py"})
    assert "astropy" in loaded_by("from photometry import photometry")


def test_the_work_on_a_target_loads_no_library_for_plots_or_searches():
    assert loaded_by("import photometry.target").isdisjoint(NOT_FOR_A_TARGET)
