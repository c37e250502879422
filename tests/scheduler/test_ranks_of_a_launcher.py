"""How a process knows that it was started by an MPI launcher."""

import pytest

from photometry.scheduler.limits import is_master, launched_ranks


@pytest.mark.parametrize(
    ("environ", "ranks"),
    [
        ({}, None),
        ({"PMI_RANK": "2", "PMI_SIZE": "8"}, (2, 8)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, (0, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "64"}, None),  # inside a batch script, before srun
    ],
)
def test_ranks_are_read_from_what_launchers_set(environ, ranks):
    assert launched_ranks(environ) == ranks


def test_rank_0_and_a_lone_process_are_masters():
    assert is_master({})
    assert is_master({"PMI_RANK": "0", "PMI_SIZE": "2"})
    assert not is_master({"PMI_RANK": "1", "PMI_SIZE": "2"})
