"""Fixtures for runs that are killed, and for targets that kill them."""

import pytest
from jobs import Job

from photometry.taskmanager import create_todo


@pytest.fixture
def start():
    """``start(engine, folder, *words)``: a running Job, ended with the test."""
    jobs = []

    def _start(*args, **kwargs):
        jobs.append(Job(*args, **kwargs))
        return jobs[-1]

    yield _start
    for job in jobs:
        job.end()


@pytest.fixture
def todo(tmp_path):
    """``todo(n, {priority: fault})``: a folder with a TODO-file of n targets."""

    def make(n, faults=None):
        rows = [
            {
                "starid": 1000 + i,
                "sector": 1,
                "camera": 1,
                "ccd": 1,
                "cadence": 120,
                "datasource": "tpf",
                "tmag": 5 + i / n,
                "method": (faults or {}).get(i),
            }
            for i in range(1, n + 1)
        ]
        create_todo(tmp_path / "todo.sqlite", rows)
        return tmp_path

    return make
