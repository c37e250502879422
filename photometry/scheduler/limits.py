"""How long things may take: time limits of tasks and of the run, and what is learned of the time tasks need."""

import math
import os
import re
import time
from dataclasses import dataclass, field

from ..errors import SettingsError

# s; no target of a survey should need an hour, a hanging one needs for ever
DEFAULT_TASK_TIMEOUT = 3600.0


@dataclass(frozen=True)
class TaskLimits:
    """Time limits of single tasks.

    The soft limit raises an exception inside the work. Where that does not help (compiled code that never returns),
    the hard limit ends the process that the task runs in.
    """

    timeout: float | None = DEFAULT_TASK_TIMEOUT  # s; None: no limit
    per_method: dict = field(default_factory=dict)  # method name -> s

    def soft(self, task):
        """Seconds after which an exception is raised inside the work of ``task``; None: never."""
        return self.per_method.get(task.get("method"), self.timeout)

    def hard(self, task):
        """Seconds after which the process of ``task`` is ended, or its rank given up; infinite without a limit."""
        return _hard(self.soft(task))

    @property
    def shortest(self):
        """The shortest hard limit that any task may have, s."""
        return min(map(_hard, (self.timeout, *self.per_method.values())))


def _hard(soft):
    """The hard limit that goes with a soft one, s."""
    return math.inf if soft is None else 1.2 * soft + 2.0


class Durations:
    """What is known of the time that tasks take, by method, data source and brightness, learned while they run."""

    def __init__(self):
        self._kinds = {}

    @staticmethod
    def kind(task):
        """Tasks of one kind are expected to take about equally long."""
        tmag = task.get("tmag")
        brightness = None if tmag is None or math.isnan(tmag) else tmag // 2
        return task.get("method"), str(task.get("datasource") or "")[:3], brightness

    def learn(self, task, seconds):
        """Note that ``task`` took ``seconds``. Running mean and mean deviation (Jacobson & Karels 1988, sect. 2)."""
        kind = self.kind(task)
        if kind not in self._kinds:
            self._kinds[kind] = (seconds, seconds / 2)
            return
        mean, deviation = self._kinds[kind]
        error = seconds - mean
        self._kinds[kind] = (mean + error / 8, deviation + (abs(error) - deviation) / 4)

    def expected(self, task):
        """Mean seconds of tasks of this kind; None before the first one has ended."""
        known = self._kinds.get(self.kind(task))
        return None if known is None else known[0]

    def upper(self, task):
        """Seconds in which a task of this kind should be done: mean plus four mean deviations.

        A kind not seen yet is taken to be as slow as the slowest that was; None before anything has ended.
        """
        known = self._kinds.get(self.kind(task))
        if known is not None:
            return known[0] + 4 * known[1]
        return max((mean + 4 * deviation for mean, deviation in self._kinds.values()), default=None)


def parse_duration(text):
    """Seconds from ``'90'``, ``'90s'``, ``'15m'``, ``'1.5h'``, ``'2d'``, ``'HH:MM:SS'`` or ``'D-HH:MM:SS'`` (SLURM's forms).

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
        f"duration {text!r}: expected seconds, or a form like 90s, 15m, 1.5h, 2d, 12:00:00, 1-12:00:00"
    )


def end_of_run(time_limit, *, environ=None, now=None):
    """When the run has to be over, in Unix seconds, or None.

    Parameters
    ----------
    time_limit : None, 'auto', or a duration as `parse_duration` reads it. ``'auto'`` takes the end of the job from the
        scheduler's environment: SLURM_JOB_END_TIME, or PBS_WALLTIME counted from now; without those there is no limit.
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
