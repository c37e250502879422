"""`Summary`: the progress of a run as a JSON file that can be read at any moment."""

import os

from ..files import write_json
from ..status import STATUS

_WEIGHT = 0.1  # of the newest result in the running means


class Summary:
    """What the summary file says of the results of this run.

    Parameters
    ----------
    path : path of the summary file, or None
    """

    def __init__(self, path):
        self.path = path
        self.tasks_run = 0
        self.last_error = None
        self.mean_elaptime = None  # s
        self.mean_worker_waittime = None  # s

    def add(self, errors, elaptime, worker_wait_time):
        """Take a result into account."""
        self.tasks_run += 1
        self.last_error = errors or self.last_error
        self.mean_elaptime = _running_mean(self.mean_elaptime, elaptime)
        self.mean_worker_waittime = _running_mean(self.mean_worker_waittime, worker_wait_time)

    def content(self, tally, run_info):
        """The summary as a dict that JSON can hold."""
        return {
            "slurm_jobid": os.environ.get("SLURM_JOB_ID"),
            "numtasks": tally.total(),
            "tasks_run": self.tasks_run,
            "last_error": self.last_error,
            "mean_elaptime": self.mean_elaptime,
            "mean_worker_waittime": self.mean_worker_waittime,
            **{status.name: tally[int(status)] for status in STATUS},
            **{key: _finite(value) for key, value in run_info.items()},
        }

    def write(self, tally, run_info):
        """Replace the summary file, if there is to be one."""
        if self.path is not None:
            write_json(self.path, self.content(tally, run_info))


def _running_mean(mean, value):
    if value != value:  # NaN: not known
        return mean
    return value if mean is None else mean + _WEIGHT * (value - mean)


def _finite(value):
    """JSON knows no NaN and no infinity; unknown is null."""
    return None if isinstance(value, float) and value - value != 0.0 else value
