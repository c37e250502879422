"""``multiply``: the product of two light curves, on the raster of the first."""

import numpy as np

from ..tasktype import TaskType


class Multiply(TaskType):
    """lightcurve = lightcurve_1 x lightcurve_2; metadata of both, that of the second goes first."""

    inputs = ("lightcurve_1", "lightcurve_2")
    outputs = ("lightcurve",)

    def run(self, task):
        product = task.lightcurve("lightcurve_1") * task.lightcurve("lightcurve_2")
        task.write_lightcurve(product)
        return dict(product.metadata)

    def qc(self, task, results):
        """The product lies within the time of the first one and has fluxes."""
        product, first = task.read_back(), task.lightcurve("lightcurve_1")
        found = []
        if not len(product) or not np.isfinite(product.fluxes[product.good()]).any():
            found.append("the product has no good flux")
        elif product.times[0] < first.times[0] - 1e-6 or product.times[-1] > first.times[-1] + 1e-6:
            found.append("the product reaches beyond the first light curve")
        return found
