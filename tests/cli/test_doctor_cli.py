"""`photometry doctor`: exit codes and lines."""

import json
import os

import pytest
from finished_run import everything_below, target_pixel_files
from running import MPIEXEC, photometry

STATES = {"ok", "warn", "fail"}


def test_nothing_fails_is_exit_code_0_and_a_line_for_each_check(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "data", make_tpf, n=1)
    before = everything_below(tmp_path)
    done = photometry("doctor", folder, "--no-mpi")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    *lines, last = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= STATES
    assert last.endswith("0 fail")
    assert everything_below(tmp_path) == before
    assert os.listdir(tmp_path) == ["data"]


def test_a_failure_is_exit_code_1_also_as_json(tmp_path):
    done = photometry("doctor", tmp_path, "--no-mpi", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [check["name"] for check in found["checks"] if check["state"] == "fail"] == ["TODO-file"]
    assert found["fail"] == 1
    assert "MPI" not in {check["name"] for check in found["checks"]}


def test_a_folder_that_is_not_there_is_exit_code_2_and_one_message(tmp_path):
    done = photometry("doctor", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such folder" in done.stderr


@pytest.mark.mpi
def test_under_mpiexec_one_rank_prints_and_mpi_is_still_found(tmp_path):
    import subprocess
    import sys

    words = [MPIEXEC, "-n", "2", sys.executable, "-m", "photometry", "doctor", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.stdout.count("TODO-file  ") == 1
    assert "two ranks that find each other" in done.stdout
