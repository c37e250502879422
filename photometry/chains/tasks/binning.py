"""``binning``: resample a light curve to another cadence."""

import numpy as np

from ...constants import DAY
from ...errors import WrongUseError
from ..tasktype import Setting, TaskType


class Binning(TaskType):
    """Area-weighted means at a fixed step; pixels that the input covers only in part are left
    out."""

    inputs = ("lightcurve",)
    outputs = ("lightcurve",)
    settings = {"cadence": Setting("number", "s, of the output", required=True)}  # noqa: RUF012

    def run(self, task):
        from ...lightcurve import bin_to_cadence

        cadence = task.setting("cadence")
        if not cadence > 0:
            raise WrongUseError(f"cadence={cadence!r}: expected seconds, above 0")
        binned = bin_to_cadence(task.lightcurve(), cadence)
        task.write_lightcurve(binned)
        return dict(binned.metadata)

    def qc(self, task, results):
        """The output has the cadence that was asked for."""
        times = task.read_back().times
        if len(times) < 2:
            return [f"{len(times)} samples in the output, expected several"]
        step = float(np.median(np.diff(times))) * DAY
        if abs(step / task.setting("cadence") - 1) > 1e-3:
            return [f"the samples are {step:g} s apart, expected {task.setting('cadence'):g} s"]
        return []
