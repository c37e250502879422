"""MPI: is it there, is it one and the same, and do two ranks find each other?"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .check import FAIL, OK, WARN, Check

_HELLO = """
from mpi4py import MPI
ranks = MPI.COMM_WORLD.allreduce(1)
if MPI.COMM_WORLD.rank == 0:
    print(ranks, MPI.Get_library_version().splitlines()[0])
"""
# What launchers tell their ranks: two ranks of our own must not take it for theirs, where this is
# one itself.
LAUNCHED = ("PMI_", "PMIX_", "PALS_", "OMPI_", "MV2_COMM_WORLD_", "HYDI_", "MPI_LOCAL")
_LOCAL = "without MPI 'photometry run' uses local processes of one computer"


def check_mpi(timeout=20.0):
    """Start two ranks that say how many they are, and by which library."""
    alone = _run([sys.executable, "-c", _HELLO], timeout)
    if alone is None:
        return Check(
            "MPI",
            FAIL,
            f"mpi4py did not start within {timeout:.0f} s; on a login node MPI may be forbidden",
        )
    if alone.returncode != 0:
        why = (alone.stderr.strip().splitlines() or ["no message"])[-1]
        return Check(
            "MPI", WARN, f"mpi4py cannot be used ({why}): {_LOCAL}; pip install 'photometry[mpi]'"
        )
    library = " ".join(alone.stdout.split()[1:])
    launcher = find_launcher()
    if launcher is None:
        return Check(
            "MPI",
            WARN,
            f"{library}, but no mpiexec or srun in PATH: {_LOCAL}; load your site's MPI module",
        )
    return check_two_ranks(launcher, library, timeout)


def check_two_ranks(launcher, library, timeout):
    """Start two ranks with a launcher, with the MPI library that mpi4py is for."""
    done = _run([launcher, "-n", "2", sys.executable, "-c", _HELLO], timeout)
    if done is None:
        return Check(
            "MPI", FAIL, f"{launcher} -n 2 did not end within {timeout:.0f} s; try it by hand"
        )
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Check("MPI", FAIL, f"{launcher} -n 2 ended with exit code {done.returncode}: {why}")
    if not done.stdout.startswith("2 "):
        way_out = "use the mpiexec of that MPI, or install mpi4py against this one: pip install --no-binary mpi4py mpi4py"
        return Check(
            "MPI",
            FAIL,
            f"each rank believes to be alone: mpi4py is for {library}, {launcher} is of another MPI; {way_out}",
        )
    return Check("MPI", OK, f"{library}; {launcher} starts two ranks that find each other")


def find_launcher():
    """Path of mpiexec, beside this Python or in PATH; of srun in a SLURM job without mpiexec; else
    None.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    in_slurm = shutil.which("srun") if "SLURM_JOB_ID" in os.environ else None
    return shutil.which("mpiexec", path=path) or in_slurm


def _run(words, timeout):
    """A finished process, or None where it took too long; all that it started is ended then."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHED)}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, **pipes, text=True, env=env, start_new_session=True)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    return subprocess.CompletedProcess(words, process.returncode, out, err)
