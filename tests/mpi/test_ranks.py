"""What ranks do besides work: wait without burning their core, and end with the others."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from running import MPIEXEC, environment, pipeline_command, wait_for

from photometry.taskmanager import create_todo

BAD_RANK = """
import sys
from photometry.scheduler import mpi
from photometry.scheduler.protocol import Handler
comm = mpi.world()
if comm.rank == 1:
    mpi.run_worker(comm, Handler("no_such_module:work"))
mpi.run_worker(comm, Handler("noop"))
"""


SLOW_TO_OPEN = """
import pathlib, sys, time
from photometry.scheduler import run
from photometry.scheduler.protocol import Handler

def open_source():
    pathlib.Path("opening").touch()
    time.sleep(600)

plan = run.Plan(open_source, Handler("noop"), pathlib.Path("out"))
try:
    code = run.run(plan)
except KeyboardInterrupt:
    code = 3
sys.exit(code)
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_a_signal_while_the_source_is_opened_ends_the_job_as_unfinished(tmp_path):
    psutil = pytest.importorskip("psutil")
    job = subprocess.Popen(
        [MPIEXEC, "-n", "3", sys.executable, "-c", SLOW_TO_OPEN],
        env=environment(),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for((tmp_path / "opening").exists)
        (master,) = [
            process
            for process in psutil.Process(job.pid).children(recursive=True)
            if process.environ().get("PMI_RANK") == "0"
        ]
        master.send_signal(signal.SIGTERM)
        _, err = job.communicate(timeout=600)
        assert job.returncode == 3, err
    finally:
        job.kill()
        job.wait()


@pytest.mark.mpi
@pytest.mark.slow
def test_a_waiting_rank_uses_less_than_a_tenth_of_its_core(tmp_path):
    psutil = pytest.importorskip("psutil")
    one_star(tmp_path)
    command = pipeline_command("mpi", tmp_path, "--handler", "faulty_work:work")
    job = subprocess.Popen(
        command,
        env=environment(FAULTY_WORK_SECONDS="600"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    mpiexec = psutil.Process(job.pid)
    try:
        # once all have started, none works: one sleeps, the others wait; however loaded the
        # machine is, a second comes in which they are idle, unless they poll without a pause
        wait_for(lambda: len(seconds_used(mpiexec)) == 3)
        wait_for(lambda: all(used < 0.1 for used in used_within_a_second(mpiexec)))
    finally:
        processes = mpiexec.children(recursive=True)
        os.killpg(job.pid, signal.SIGKILL)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=30)
        job.wait()


def seconds_used(mpiexec):
    """s of processor time of each rank so far, by process."""
    return {
        process.pid: sum(process.cpu_times()[:2])
        for process in mpiexec.children(recursive=True)
        if process.environ().get("PMI_RANK")
    }


def used_within_a_second(mpiexec):
    before = seconds_used(mpiexec)
    time.sleep(1.0)
    return [used - before[pid] for pid, used in seconds_used(mpiexec).items()]


def one_star(folder):
    """A TODO-file with one star."""
    star = {"starid": 1, "sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "tmag": 9.0}
    create_todo(folder / "todo.sqlite", [star])


@pytest.mark.mpi
def test_an_exception_in_one_rank_ends_the_job_instead_of_hanging_it():
    done = subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, "-c", BAD_RANK],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode != 0
    assert "no_such_module" in done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), "the mpiexec of Open MPI, but mpi4py"),
        (("PALS_RANKID", "PALS_SIZE"), "the launcher started 4 ranks, but mpi4py sees 1"),
    ],
)
def test_an_mpi_of_another_launcher_is_wrong_use_in_one_line(tmp_path, variables, text):
    one_star(tmp_path)
    command = pipeline_command("serial", tmp_path, "--handler", "noop")
    env = environment(**dict(zip(variables, ("0", "4"), strict=True)))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
