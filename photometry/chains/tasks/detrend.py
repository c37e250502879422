"""``detrend``: take slow variation out of a light curve and keep its transits."""

import numpy as np

from ..tasktype import Setting, TaskType


class Detrend(TaskType):
    """Divides by the trend (biweight in a sliding window); measures the noise that is left."""

    inputs = ("lightcurve",)
    outputs = ("lightcurve",)
    settings = {  # noqa: RUF012
        "window": Setting("number", "d, about 3 times the longest transit to be kept", default=1.5),
        "edge_cutoff": Setting("number", "d beside each gap that become NaN", default=0.0),
    }

    def run(self, task):
        from ...lightcurve import flatten

        flat = flatten(
            task.lightcurve(), task.setting("window"), edge_cutoff=task.setting("edge_cutoff")
        )
        task.write_lightcurve(flat)
        good = flat.fluxes[flat.good()]
        return {
            **flat.metadata,
            "scatter_ppm": 1e6 * float(np.std(good)) if good.size else float("nan"),
        }

    def qc(self, task, results):
        """The flux is relative to the trend: its median is 1 within 1 %."""
        flat = task.read_back()
        good = flat.fluxes[flat.good()]
        if not good.size:
            return ["no good flux is left"]
        median = float(np.median(good))
        return [] if abs(median - 1) < 0.01 else [f"the median flux is {median:g}, expected 1"]
