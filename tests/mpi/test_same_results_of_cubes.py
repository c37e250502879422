"""One process, local processes and MPI give the same rows and the same fluxes, also from an image
cube.
"""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from running import ENGINES, photometry, run_pipeline

from photometry.taskmanager import read_results

pytestmark = pytest.mark.slow

# `inputs`: times of change of each run's own copies
RUN_DEPENDENT = ("elaptime", "worker_wait_time", "inputs")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A small part of a CCD, prepared, with its TODO-file."""
    folder = tmp_path_factory.mktemp("cubes") / "origin"
    words = ["--size", 96, "--frames", 60, "--stars", 60, "--seed", 2, "--bright", 7]
    for command in (
        ["simulate", "ffi", folder, *words],
        ["catalog", folder],
        ["prepare", folder],
        ["todo", "ffi", folder],
    ):
        done = photometry(*command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module", params=["aperture", "linpsf"])
def runs(request, origin):
    """{engine: folder} of the same stars, measured by each engine."""
    folders = {}
    for engine in ENGINES:
        folders[engine] = origin.with_name(f"{engine}-{request.param}")
        folders[engine].mkdir()
        for path in (*origin.glob("*.hdf5"), *origin.glob("*.sqlite")):
            shutil.copy(path, folders[engine])
        done = run_pipeline(engine, folders[engine], "--method", request.param)
        assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.mpi
@pytest.mark.parametrize("engine", ["processes", "mpi"])
def test_rows_and_fluxes_of_a_cube_are_those_of_one_process(runs, engine):
    expected, found = (read_results(runs[name] / "todo.sqlite") for name in ("serial", engine))
    assert (expected["status"] == 1).sum() > 20
    for name in set(expected.colnames) - set(RUN_DEPENDENT):
        np.testing.assert_array_equal(
            np.ma.getdata(expected[name]), np.ma.getdata(found[name]), err_msg=name
        )
    for path in expected["lightcurve"][expected["status"] == 1]:
        one, other = (
            fits.getdata(runs[name] / "lightcurves" / path, "LIGHTCURVE")
            for name in ("serial", engine)
        )
        for name in one.names:
            np.testing.assert_array_equal(one[name], other[name], err_msg=f"{path} {name}")
