"""One process, local processes and MPI give the same rows and the same fluxes."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from running import ENGINES, photometry, run_pipeline

from photometry.taskmanager import read_results

pytestmark = pytest.mark.slow

RUN_DEPENDENT = ("elaptime", "worker_wait_time")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{engine: folder} of the same simulated stars, measured by each engine."""
    origin = tmp_path_factory.mktemp("same") / "origin"
    words = [
        "--targets",
        16,
        "--times",
        120,
        "--seed",
        5,
        "--neighbours",
        5,
        "--isolated",
        0.2,
        "--truncated",
        1,
    ]
    assert photometry("simulate", "tpf", origin, *words).returncode == 0
    assert photometry("todo", "tpf", origin).returncode == 0
    folders = {}
    for engine in ENGINES:
        folders[engine] = origin.with_name(engine)
        shutil.copytree(origin, folders[engine])
        done = run_pipeline(engine, folders[engine])
        assert done.returncode == 1, done.stderr  # of the truncated file
    return folders


def flux(folder, row):
    with fits.open(folder / "lightcurves" / row["lightcurve"]) as hdus:
        table = hdus["LIGHTCURVE"].data
        return {name: np.array(table[name]) for name in table.names} | {
            "mask": hdus["APERTURE"].data.copy()
        }


@pytest.mark.mpi
@pytest.mark.parametrize("engine", ["processes", "mpi"])
def test_rows_are_the_same_as_in_one_process(runs, engine):
    expected, found = (read_results(runs[name] / "todo.sqlite") for name in ("serial", engine))
    assert set(expected["status"]) >= {1, 2, 5}, (
        "the test should see targets that are done, failed and skipped"
    )
    for name in expected.colnames:
        if name in RUN_DEPENDENT:
            continue
        one, other = np.ma.getdata(expected[name]), np.ma.getdata(found[name])
        if name == "errors":
            one, other = (
                [str(text).replace(str(runs[key]), "DIR") for text in column]
                for key, column in (("serial", one), (engine, other))
            )
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.mpi
@pytest.mark.parametrize("engine", ["processes", "mpi"])
def test_fluxes_are_the_same_as_in_one_process(runs, engine):
    rows = [
        row
        for row in read_results(runs["serial"] / "todo.sqlite")
        if row["lightcurve"] and row["status"] in (1, 3)
    ]
    assert len(rows) > 10
    for row in rows:
        expected, found = flux(runs["serial"], row), flux(runs[engine], row)
        for name, values in expected.items():
            np.testing.assert_array_equal(
                values, found[name], err_msg=f"{row['lightcurve']} {name}"
            )
