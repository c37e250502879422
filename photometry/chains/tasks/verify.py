"""``verify``: ranges of a light curve, and whether its raster is regular. A bad light curve is a
result, not a failure."""

from ..tasktype import TaskType


class Verify(TaskType):
    """Looks at a light curve; makes no file."""

    inputs = ("lightcurve",)

    def run(self, task):
        from ...lightcurve import verify

        return verify(task.lightcurve())

    def qc(self, task, results):
        """The ranges are in order."""
        found = []
        for name in ("time", "flux"):
            low, high = results[f"verification_{name}_min"], results[f"verification_{name}_max"]
            if low > high:
                found.append(f"the smallest {name}, {low:g}, is above the largest, {high:g}")
        if not isinstance(results["verification"], bool):
            found.append(f"verification={results['verification']!r}, expected true or false")
        return found
