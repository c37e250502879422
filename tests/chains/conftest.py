"""A program in place of PSLS, which takes a second and not ten; `test_task_types` has PSLS."""

import os

import pytest

PSLS = """#!/usr/bin/env python3
import json, numpy as np
config = json.load(open("star.yaml"))
cadence = config["Instrument"]["Sampling"]
days = sum(config["Observation"]["QuarterDuration"])
times = np.arange(0, days * 86400, cadence) + 273.4
noise = np.random.default_rng(config["Observation"]["MasterSeed"]).normal(0, 30, len(times))
np.savetxt("0000000001.dat", np.column_stack([times, noise, np.zeros(len(times))]))
"""


@pytest.fixture
def psls(tmp_path, monkeypatch):
    """A program on the search path that makes white noise in place of a star."""
    program = tmp_path / "bin" / "psls"
    program.parent.mkdir()
    program.write_text(PSLS)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
