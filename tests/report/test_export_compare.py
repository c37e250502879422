"""What is exported is read back equal, units and all; two runs are told apart by what differs."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from finished_run import finished_run, lightcurves
from running import photometry as command

from photometry import TaskManager
from photometry.report.results import (
    compare,
    lightcurve_table,
    read_table,
    results_table,
    write_table,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_tpf):
    return finished_run(tmp_path_factory.mktemp("export") / "run", make_tpf)


def equal(first, second, *, units=True):
    assert first.colnames == second.colnames
    for name in first.colnames:
        one, other = np.ma.asarray(first[name]), np.ma.asarray(second[name])
        assert np.array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(other)), name
        known = ~np.ma.getmaskarray(one)
        same = np.asarray(one[known]) == np.asarray(other[known])
        if one.dtype.kind == "f":
            same |= np.isnan(np.asarray(one[known])) & np.isnan(np.asarray(other[known]))
        assert np.all(same), name
        if units:
            assert first[name].unit == second[name].unit, name


@pytest.mark.parametrize("ending", ["parquet", "ecsv", "csv"])
@pytest.mark.parametrize("rows_per_file", [None, 4])
def test_results_are_read_back_equal(made, tmp_path, ending, rows_per_file):
    table = results_table(made / "todo.sqlite")
    files = write_table(table, tmp_path / f"t.{ending}", rows_per_file=rows_per_file)
    assert len(files) == (1 if rows_per_file is None else 2)
    back = read_table(files)
    assert len(back) == 6
    assert list(back["label"]) == [f"TIC {n}" for n in range(101, 107)]
    if ending != "csv":  # which has room neither for units nor for text that is not there
        equal(table, back)
        assert str(back["mean_flux"].unit) == "electron / s"


def test_light_curves_are_those_of_the_files_and_bad_files_are_named(made, tmp_path):
    files = lightcurves(made)
    bad = tmp_path / "bad_lc.fits"
    bad.write_bytes(b"SIMPLE")
    table, failed = lightcurve_table([*files, bad, tmp_path / "none_lc.fits"])
    assert set(failed) == {str(bad), str(tmp_path / "none_lc.fits")}
    assert table.meta["time_reference"] == 2457000
    for path, starid in zip(files, range(101, 107), strict=True):
        rows = table[table["starid"] == starid]
        with fits.open(path) as hdulist:
            data = hdulist["LIGHTCURVE"].data
            assert np.array_equal(rows["time"], data["TIME"], equal_nan=True)
            assert np.array_equal(rows["flux"], data["FLUX_RAW"], equal_nan=True)
            assert np.array_equal(rows["quality"], data["QUALITY"])
    equal(table, read_table(write_table(table, tmp_path / "lc.parquet")))


def test_the_command_exports_and_refuses_other_formats(made, tmp_path):
    done = command("export", made, tmp_path / "r.ecsv")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'r.ecsv'}\n")
    assert len(Table.read(tmp_path / "r.ecsv")) == 6
    done = command("export", made, tmp_path / "lc.parquet", "--light-curves", "--rows-per-file", 50)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    done = command("export", made, tmp_path / "r.xlsx")
    assert done.returncode == 2
    assert "expected a name that ends in .parquet, .ecsv, .csv" in done.stderr


@pytest.fixture
def other(made, tmp_path):
    return shutil.copytree(made, tmp_path / "other")


def test_a_run_is_like_itself(made, other):
    assert compare(made / "todo.sqlite", other / "todo.sqlite").within(0, 0)
    done = command("compare", made, other)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "alike"


def test_each_kind_of_difference_is_found_and_the_exit_code_is_1(made, other):
    with TaskManager(other) as tm:
        tm.conn.execute("UPDATE diagnostics SET mean_flux = mean_flux * 1.01 WHERE priority = 2")
        tm.conn.execute("UPDATE diagnostics SET rms_hour = rms_hour * 2")
        tm.conn.execute("UPDATE todolist SET status = 5 WHERE priority = 3")
        tm.conn.execute("UPDATE todolist SET starid = 999 WHERE priority = 4")
        tm.conn.commit()
    found = compare(made / "todo.sqlite", other / "todo.sqlite")
    assert [key[0] for key in found.gained] == [999]
    assert [key[0] for key in found.lost] == [104]
    assert [[key[0] for key in keys] for keys in found.changes.values()] == [[103]]
    assert found.worst[0][0][0] == 102
    assert found.worst[0][1] == pytest.approx(1.01)
    (flux,) = found.flux.values()
    assert flux == (5, pytest.approx(1), pytest.approx(0.01))
    done = command("compare", made, other, "--json")
    assert done.returncode == 1
    assert '"alike": false' in done.stdout
    assert command("compare", made, other, "--flux-tolerance", 0.1).returncode == 1
    assert command("compare", made, "/nowhere").returncode == 2
