"""What ranks do besides work: wait without burning their core, and end with the others."""

import subprocess
import sys
import time

import pytest
from running import MPIEXEC, environment, pipeline_command

from photometry.taskmanager import create_todo

BAD_RANK = """
import sys
from photometry.scheduler import mpi
from photometry.scheduler.handlers import Handler
comm = mpi.world()
if comm.rank == 1:
    mpi.run_worker(comm, Handler("no_such_module:work"), {"task_limits": None, "recycle": None})
mpi.run_worker(comm, Handler("noop"), {"task_limits": None, "recycle": None})
"""


@pytest.mark.mpi
def test_a_waiting_rank_uses_less_than_a_tenth_of_its_core(tmp_path):
    import psutil

    create_todo(
        tmp_path / "todo.sqlite",
        [{"starid": 1, "sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "tmag": 9.0}],
    )
    command = pipeline_command("mpi", tmp_path, "--handler", "faulty_work:work")
    job = subprocess.Popen(
        command,
        env=environment(FAULTY_WORK_SECONDS="5"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(2.0)
        ranks = [
            process
            for process in psutil.Process(job.pid).children(recursive=True)
            if process.environ().get("PMI_RANK")
        ]
        before = {process.pid: sum(process.cpu_times()[:2]) for process in ranks}
        time.sleep(2.0)
        used = [sum(process.cpu_times()[:2]) - before[process.pid] for process in ranks]
    finally:
        job.wait(timeout=30)
    assert len(used) == 3
    assert max(used) < 0.1 * 2.0


@pytest.mark.mpi
def test_an_exception_in_one_rank_ends_the_job_instead_of_hanging_it():
    done = subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, "-c", BAD_RANK],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "no_such_module" in done.stderr


@pytest.mark.mpi
def test_an_mpi_of_another_launcher_is_noticed(tmp_path):
    create_todo(
        tmp_path / "todo.sqlite",
        [{"starid": 1, "sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "tmag": 9.0}],
    )
    command = pipeline_command("serial", tmp_path, "--handler", "noop")
    env = environment(OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="4")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "built for another MPI" in done.stderr
