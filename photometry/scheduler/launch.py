"""Whether this process was started by mpiexec, srun or the like; tells without importing MPI."""

import os

# Variables that launchers set for each rank: (rank, size).
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),  # mpich, Intel MPI, MVAPICH, Cray
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("PMIX_RANK", "PMIX_SIZE"),
    ("PALS_RANKID", "PALS_SIZE"),  # HPE Cray
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
)

# names that mpi4py has for libraries that the mpiexec of Open MPI cannot start
MPICH_FAMILY = ("MPICH", "MPICH2", "MPICH1", "Intel MPI", "MVAPICH", "MVAPICH2")


def launcher(environ=None):
    """``'Open MPI'`` where its mpiexec started this process, else None: many others look alike."""
    environ = os.environ if environ is None else environ
    return "Open MPI" if "OMPI_COMM_WORLD_SIZE" in environ else None


def launched_ranks(environ=None):
    """(rank, size) that the launcher gave this process, or None where it was started without one.

    ``srun`` sets SLURM_PROCID and SLURM_NTASKS also for programs that do not use MPI; it counts
    only within a job step of more than one task.
    """
    environ = os.environ if environ is None else environ
    for rank, size in LAUNCHERS:
        if rank in environ and size in environ:
            return int(environ[rank]), int(environ[size])
    if "SLURM_STEP_NUM_TASKS" in environ and int(environ["SLURM_STEP_NUM_TASKS"]) > 1:
        return int(environ["SLURM_PROCID"]), int(environ["SLURM_STEP_NUM_TASKS"])
    return None


def is_master(environ=None):
    """True in rank 0, and where there are no ranks."""
    ranks = launched_ranks(environ)
    return ranks is None or ranks[0] == 0
