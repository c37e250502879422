"""Running the real thing from tests: the command line in this process alone, in local processes,
and under mpiexec.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = [sys.executable, str(ROOT / "run_scripts" / "run_pipeline.py")]
MPIEXEC = shutil.which(
    "mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
)
ENGINES = {
    "serial": ([*PIPELINE], ["--workers", "0"]),
    "processes": ([*PIPELINE], ["--workers", "2"]),
    "mpi": ([MPIEXEC, "-n", "3", *PIPELINE], []),
}


def environment(**more):
    """The environment with the tests' own work (faulty_work) importable."""
    path = os.pathsep.join([str(ROOT / "tests" / "scheduler"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, **more}


def photometry(*words, timeout=600, **kwargs):
    """``photometry VERB ...`` as a finished process with its output as text."""
    words = [sys.executable, "-m", "photometry", *map(str, words)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=timeout, env=environment(), **kwargs
    )


def pipeline_command(engine, *words):
    """The command line of run_pipeline.py with one of the ENGINES."""
    start, options = ENGINES[engine]
    return [*start, *map(str, words), *options]


def run_pipeline(engine, *words, timeout=600, env=None):
    """run_pipeline.py with one of the ENGINES as a finished process with its output as text."""
    command = pipeline_command(engine, *words)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment(**(env or {}))
    )


def wait_for(condition, seconds=60):
    """Wait until ``condition()`` holds; fails after a time in which it has to, however loaded the
    machine is.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
