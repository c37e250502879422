"""What the job gives: its ranks, found without importing MPI, and its end; and what is learned of
the time that tasks need.
"""

import os
import re
import time

from ..errors import SettingsError, WrongUseError


class Durations(dict):
    """What is known of the time that tasks take, learned while they run: kind (see
    `protocol.TaskSource.kind`) -> (mean, mean deviation), s.
    """

    def learn(self, kind, seconds):
        """Note that a task took ``seconds``. Running mean and mean deviation (Jacobson & Karels
        1988, sect. 2).
        """
        if kind not in self:
            self[kind] = (seconds, seconds / 2)
            return
        mean, deviation = self[kind]
        error = seconds - mean
        self[kind] = (mean + error / 8, deviation + (abs(error) - deviation) / 4)

    def expected(self, kind):
        """Mean seconds of tasks of this kind; None before the first one has ended."""
        mean, _ = self.get(kind, (None, None))
        return mean

    def upper(self, kind):
        """Seconds in which a task of this kind should be done: mean plus four mean deviations.

        A kind not seen yet is taken to be as slow as the slowest that was; None before anything has
        ended.
        """
        if kind in self:
            mean, deviation = self[kind]
            return mean + 4 * deviation
        return max((mean + 4 * deviation for mean, deviation in self.values()), default=None)


def parse_duration(text):
    """Seconds from ``'90'``, ``'90s'``, ``'15m'``, ``'1.5h'``, ``'2d'``, ``'HH:MM:SS'`` or
    ``'D-HH:MM:SS'`` (SLURM's forms).

    Raises
    ------
    SettingsError : if it is none of these
    """
    text = str(text).strip()
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text):
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?", text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        if match[4] is None and match[1] is None:
            return hours * 60 + minutes  # SLURM reads A:B as minutes:seconds
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    raise SettingsError(
        f"duration {text!r}: expected seconds, or a form like 90s, 15m, 1.5h, 2d, 12:00:00, "
        "1-12:00:00"
    )


def end_of_run(time_limit, *, environ=None, now=None):
    """When the run has to be over, in Unix seconds, or None.

    Parameters
    ----------
    time_limit : None, 'auto', or a duration as `parse_duration` reads it. ``'auto'`` takes the end
        of the job from the scheduler's environment: SLURM_JOB_END_TIME, or PBS_WALLTIME counted
        from now; without those there is no limit.
    """
    environ = os.environ if environ is None else environ
    now = time.time() if now is None else now
    if time_limit is None:
        return None
    if time_limit != "auto":
        return now + parse_duration(time_limit)
    for name, start in (("SLURM_JOB_END_TIME", 0.0), ("PBS_WALLTIME", now)):
        if name in environ:
            try:
                return start + float(environ[name])
            except ValueError:
                raise SettingsError(
                    f"{name}={environ[name]!r} in the environment: expected a number of seconds"
                ) from None
    return None


# --- whether this process was started by mpiexec, srun or the like

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


def on_all_ranks(prepare):
    """Do what comes before a run; where one rank of an MPI job cannot, all of them end.

    A rank that ended alone would leave the others waiting in MPI for ever: a node may lack a
    library or a file that the others have.

    Parameters
    ----------
    prepare : callable()

    Returns
    -------
    what ``prepare`` returns

    Raises
    ------
    WrongUseError : on rank 0, where only another rank cannot
    """
    ranks = launched_ranks()
    if ranks is None or ranks[1] == 1:
        return prepare()
    from . import mpi
    from .run import EXIT_WRONG_USE

    prepared = error = None
    try:
        prepared = prepare()
    except Exception as own:  # noqa: BLE001 - raised below, when all ranks know
        error = own
    errors = mpi.world().allgather(None if error is None else str(error) or type(error).__name__)
    if error is not None:
        raise error
    failed = [rank for rank, message in enumerate(errors) if message is not None]
    if failed and ranks[0] > 0:
        raise SystemExit(EXIT_WRONG_USE)
    if failed:
        raise WrongUseError(f"rank {failed[0]}: {errors[failed[0]]}")
    return prepared


def is_master(environ=None):
    """True in rank 0, and where there are no ranks."""
    ranks = launched_ranks(environ)
    return ranks is None or ranks[0] == 0
