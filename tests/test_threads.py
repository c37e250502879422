"""One thread per worker unless the user says otherwise."""

import os
import subprocess
import sys

import pytest
from running import environment

from photometry.processes import THREAD_VARIABLES, limit_threads, threads_limited
from photometry.simulate.ensemble import ensemble, write_ensemble


def test_threads_are_limited_to_one_but_what_the_user_says_stays():
    environ = {"OMP_NUM_THREADS": "4"}
    limit_threads(environ)
    assert environ["OMP_NUM_THREADS"] == "4"
    assert environ["OPENBLAS_NUM_THREADS"] == "1"


def test_the_environment_of_the_starting_process_is_given_back(monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    before = dict(os.environ)
    with threads_limited():
        assert {os.environ[name] for name in THREAD_VARIABLES} >= {"3"}
        assert all(name in os.environ for name in THREAD_VARIABLES)
    assert dict(os.environ) == before


@pytest.fixture
def run_of_two_stars(tmp_path):
    write_ensemble(tmp_path, ensemble(7, n_stars=2, n_times=100))
    return tmp_path


# what a user types, then how many threads the process has
COMMAND = """
import os, sys
from photometry.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
assert "numpy" in sys.modules
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_vectors_are_made_in_one_thread(run_of_two_stars):
    environ = {k: v for k, v in environment().items() if k not in THREAD_VARIABLES}
    words = [sys.executable, "-c", COMMAND, "cotrend", str(run_of_two_stars)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, env=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1", done.stdout
