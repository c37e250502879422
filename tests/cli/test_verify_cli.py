"""`photometry verify`: exit codes, messages and JSON."""

import json
import os
import shutil

import pytest
from finished_run import everything_below, finished_run, lightcurves
from running import photometry

from photometry import TaskManager


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_tpf):
    return finished_run(tmp_path_factory.mktemp("run") / "data", make_tpf, n=3)


@pytest.fixture
def folder(run, tmp_path):
    return shutil.copytree(run, tmp_path / "data", symlinks=True)


def test_all_good_is_exit_code_0_and_one_line(folder):
    done = photometry("verify", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder / 'lightcurves'}: 3 light curves checked, 0 of them bad\n"


def test_a_bad_one_is_exit_code_1_with_star_file_reason_and_way_out(folder):
    path = lightcurves(folder)[1]
    path.write_bytes(path.read_bytes()[:-100])
    before = everything_below(folder)
    done = photometry("verify", folder)
    assert done.returncode == 1
    assert "1 of them bad (1 truncated)" in done.stdout
    assert "priority 2, star 102" in done.stdout
    assert path.name in done.stdout
    assert "--reset puts back to do: 1" in done.stdout
    assert everything_below(folder) == before


def test_reset_says_how_many_are_to_do_again(folder):
    lightcurves(folder)[0].unlink()
    done = photometry("verify", folder, "--reset")
    assert done.returncode == 1
    assert "Targets to do again: 1" in done.stdout
    with TaskManager(folder, cleanup_constraints=["0"]) as tm:
        assert [task["starid"] for task in tm.get_tasks(9)] == [101]


def test_json_has_all_and_marks_what_was_reset(folder):
    lightcurves(folder)[2].write_bytes(b"")
    for words, reset in (([], False), (["--reset"], True)):
        found = json.loads(photometry("verify", folder, "--json", *words).stdout)
        (bad,) = found["bad"]
        assert (bad["starid"], bad["kind"], bad["reset"]) == (103, "truncated", reset)
        assert (found["checked"], found["kinds"]) == (3, {"truncated": 1})


def test_wrong_usage_is_exit_code_2_and_one_message(folder, tmp_path):
    for words, said in (
        ([tmp_path / "nowhere"], "no such TODO-file"),
        ([folder, "--output", tmp_path / "nowhere"], "no such folder"),
        ([folder, "--output", tmp_path], "none of the 3 light curves"),
    ):
        done = photometry("verify", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_while_a_run_works_it_is_named_and_nothing_is_read(folder):
    with TaskManager(folder):
        done = photometry("verify", folder)
    assert done.returncode == 2
    assert f"in use by process {os.getpid()}" in done.stderr
