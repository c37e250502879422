"""What is told of a run while it goes on and kept of it afterwards: `Summary`, a JSON file, and `Run`, a row of ``runs``."""

import datetime
import json
import os
import socket
import sys
from typing import NamedTuple

from .._version import __version__
from ..files import write_json
from ..status import STATUS
from .schema import RUNS_COLUMNS

_WEIGHT = 0.1  # of the newest result in the running means


class MeanOfMany(NamedTuple):
    """What many values do to a running mean, without the values.

    Attributes
    ----------
    n : how many values are known
    first : the first of them, or NaN
    weighted : the running mean that they would give after a mean of zero
    """

    n: int
    first: float
    weighted: float

    @classmethod
    def of(cls, values):
        """Of a list of float, in which NaN is not known."""
        n, first, weighted = 0, float("nan"), 0.0
        for value in values:
            if value == value:
                first = value if n == 0 else first
                n += 1
                weighted += _WEIGHT * (value - weighted)
        return cls(n, first, weighted)

    def after(self, mean):
        """The running mean after these values; ``mean`` is the one before them, or None."""
        if not self.n:
            return mean
        mean = self.first if mean is None else mean
        return mean * (1 - _WEIGHT) ** self.n + self.weighted


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
        """Take a result into account.

        Parameters
        ----------
        errors : str or None
        elaptime, worker_wait_time : float, s; NaN where it is not known
        """
        self.tasks_run += 1
        self.last_error = errors or self.last_error
        self.mean_elaptime = _running_mean(self.mean_elaptime, elaptime)
        self.mean_worker_waittime = _running_mean(self.mean_worker_waittime, worker_wait_time)

    def add_packed(self, packed):
        """Take the plain results of a `packing.Packed` into account."""
        self.tasks_run += len(packed.priorities)
        self.mean_elaptime = packed.elaptime.after(self.mean_elaptime)
        self.mean_worker_waittime = packed.worker_wait_time.after(self.mean_worker_waittime)

    def content(self, counts, run_info):
        """The summary as a dict that JSON can hold.

        Parameters
        ----------
        counts : pending.StatusCounts
        run_info : dict, what the scheduler adds
        """
        return {
            "slurm_jobid": os.environ.get("SLURM_JOB_ID"),
            "numtasks": counts.total(),
            "tasks_run": self.tasks_run,
            "last_error": self.last_error,
            "mean_elaptime": self.mean_elaptime,
            "mean_worker_waittime": self.mean_worker_waittime,
            **{status.name: counts[int(status)] for status in STATUS},
            **{key: _finite(value) for key, value in run_info.items()},
        }

    def write(self, counts, run_info):
        """Replace the summary file, if there is to be one; parameters as for `content`."""
        if self.path is not None:
            write_json(self.path, self.content(counts, run_info))


def _running_mean(mean, value):
    if value != value:  # NaN: not known
        return mean
    return value if mean is None else mean + _WEIGHT * (value - mean)


def _finite(value):
    """JSON knows no NaN and no infinity; unknown is null."""
    return None if isinstance(value, float) and value - value != 0.0 else value


class Run:
    """One run.

    Parameters
    ----------
    number : int
    info : dict
        Columns of the table ``runs``; where missing, this process is described. What is no column is kept as JSON.
    """

    def __init__(self, number, info):
        self.number = number
        columns = {key: value for key, value in info.items() if key in RUNS_COLUMNS}
        other = {key: value for key, value in info.items() if key not in RUNS_COLUMNS}
        self._row = dict.fromkeys(RUNS_COLUMNS) | {
            "command": " ".join(sys.argv),
            "version": __version__,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "start": _now(),
            "info": other or None,
        }
        self._row |= columns | {"run": number}

    def end(self, exit_code, reason):
        self._row |= {"end": _now(), "exit_code": exit_code, "reason": reason}

    def change(self):
        """The change (see `schema.apply`) that records this run as it is now."""
        return "run", [tuple(_cell(self._row[name]) for name in RUNS_COLUMNS)]


def _cell(value):
    if value is None or isinstance(value, (str, int, float)):
        return value
    return json.dumps(value, default=str)


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
