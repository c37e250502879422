"""What a run would do and cost: `plan`. Looks only; measures a few targets into a folder of its
own.
"""

import math
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np

from ..errors import PhotometryError
from ..status import STATUS
from ..target import photometry
from .machine import LOG_ROW, TODO_ROW

MEASURED = 12  # targets of each kind that are measured, spread over the magnitudes
SECONDS = 30.0  # after this, no further target is measured
KNOWN = 30  # finished targets of a kind from which its cost is taken instead


@dataclass(frozen=True)
class Kind:
    """Targets that take about equally long."""

    datasource: str  # 'ffi' or 'tpf'
    cadence: int  # s
    method: str  # '' where the program chooses
    targets: int
    seconds: float  # CPU seconds each; NaN: could not be measured
    error: float  # of the mean, s
    bytes: float  # of a light curve; NaN: could not be measured
    source: str  # 'measured' or 'from earlier results', and of how many
    problems: tuple = ()  # messages of the measured ones that failed


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    kinds : list of Kind
    left_out : dict, why -> number of targets that would not be done
    """

    kinds: list
    left_out: dict = field(default_factory=dict)

    @property
    def targets(self):
        return sum(kind.targets for kind in self.kinds)

    @property
    def core_hours(self):
        """(low, high), 95 %: twice the error of the means, and a tenth for the machine's mood."""
        mean = sum(kind.targets * kind.seconds for kind in self.kinds)
        spread = 2 * math.sqrt(sum((kind.targets * kind.error) ** 2 for kind in self.kinds))
        spread += 0.1 * mean
        return max(mean - spread, 0.2 * mean) / 3600, (mean + spread) / 3600

    @property
    def bytes(self):
        """Disk that light curves, TODO-file and log would take; NaN where not known."""
        return sum(kind.targets * (kind.bytes + TODO_ROW + LOG_ROW) for kind in self.kinds)


def plan(view, folder, settings, constraints=None, *, measure=True):
    """Say what a run would do and cost.

    Parameters
    ----------
    view : `taskmanager.view.View`
    folder : the input folder
    settings : Settings of the run
    constraints : dict of build_constraints arguments, or None
    measure : bool, whether to do a few targets, into a folder that is removed

    Returns
    -------
    Plan
    """
    to_do = view.to_do(constraints, max_attempts=settings.run.max_attempts)
    groups = view.query(
        "SELECT SUBSTR(datasource, 1, 3), cadence, COALESCE(method, ''), COUNT(*) FROM todolist"
        f" WHERE {to_do} GROUP BY 1, 2, 3 ORDER BY 4 DESC"
    )
    deadline = time.monotonic() + SECONDS
    kinds = []
    for source, cadence, method, number in groups:
        cost = _known_cost(view, source, cadence, method)
        if cost is None and measure:
            condition = (
                f"{to_do} AND SUBSTR(datasource, 1, 3) = '{source}' AND cadence = {int(cadence)}"
                f" AND COALESCE(method, '') = '{method}'"
            )
            cost = _measured_cost(view, condition, folder, settings, deadline)
        cost = cost or (math.nan, math.nan, math.nan, "not measured", ())
        kinds.append(Kind(source, cadence, method, number, *cost))
    return Plan(kinds, _left_out(view, to_do, settings.run.max_attempts))


def _left_out(view, to_do, max_attempts):
    rows = view.query(
        f"SELECT status, COUNT(*) FROM todolist WHERE NOT {to_do} GROUP BY status ORDER BY 2 DESC"
    )
    names = {
        STATUS.OK: "done",
        STATUS.WARNING: "done, with a warning",
        STATUS.SKIPPED: "in the mask of a brighter star",
        STATUS.ERROR: f"took its process down {max_attempts} times, or not selected",
    }
    left_out = {}
    for status, number in rows:
        why = names.get(status, "not selected")
        left_out[why] = left_out.get(why, 0) + number
    return left_out


def _known_cost(view, source, cadence, method):
    """(seconds, error, bytes, source, problems) from finished targets of the kind; None where there
    are too few.
    """
    rows = view.query(
        "SELECT elaptime FROM todolist JOIN diagnostics USING (priority) WHERE status IN (1, 3)"
        " AND SUBSTR(datasource, 1, 3) = ? AND cadence = ? AND COALESCE(method, '') = ?"
        " ORDER BY RANDOM() LIMIT 1000",
        [source, cadence, method],
    )
    if len(rows) < KNOWN:
        return None
    seconds = np.array(rows, dtype=float)[:, 0]
    error = np.std(seconds) / math.sqrt(len(seconds))
    return float(seconds.mean()), float(error), math.nan, f"{len(rows)} earlier results", ()


def _measured_cost(view, condition, folder, settings, deadline):
    """The same from targets that are done here and now."""
    tasks = _spread(view, condition)
    seconds, sizes, problems = [], [], []
    with tempfile.TemporaryDirectory(prefix="photometry-plan-") as output:
        for number, task in enumerate([tasks[0], *tasks] if tasks else []):
            if number > 1 and time.monotonic() > deadline:
                break
            start = time.process_time()
            try:
                result = photometry(
                    task, input_folder=folder, output_folder=output, settings=settings.photometry
                )
                path = result["details"].get("filepath_lightcurve")
                if path:
                    sizes.append(_size(output, path))
            except (PhotometryError, OSError) as error:
                problems.append(str(error))
            if number:  # the first one loads what all others find loaded
                seconds.append(time.process_time() - start)
    if not seconds:
        return None
    error = np.std(seconds) / math.sqrt(len(seconds)) if len(seconds) > 1 else seconds[0]
    size = float(np.mean(sizes)) if sizes else math.nan
    return (
        float(np.mean(seconds)),
        float(error),
        size,
        f"measured on {len(seconds)}",
        tuple(problems),
    )


def _size(output, path):
    from pathlib import Path

    return Path(output, path).stat().st_size


def _spread(view, condition):
    """Tasks of a kind, evenly over their order, that is over magnitude."""
    priorities = [
        p
        for (p,) in view.query(f"SELECT priority FROM todolist WHERE {condition} ORDER BY priority")
    ]
    chosen = {
        priorities[int(i)]
        for i in np.linspace(0, len(priorities) - 1, min(MEASURED, len(priorities)))
    }
    return [view.tasks(f"priority = {priority}")[0] for priority in sorted(chosen)]
