"""One thread per worker unless the user says otherwise."""

import os

from photometry.processes import THREAD_VARIABLES, limit_threads, threads_limited


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
