"""Types that work on light curves: ``verify``, ``multiply``, ``binning``, ``detrend``,
``ingest_external_lcs``.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from ...constants import DAY
from ...errors import WrongUseError
from ..tasktype import Setting, TaskType


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


class Detrend(TaskType):
    """Divides by the trend (biweight in a sliding window); measures the residual noise."""

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
            return ["there is no good flux"]
        median = float(np.median(good))
        return [] if abs(median - 1) < 0.01 else [f"the median flux is {median:g}, expected 1"]


DEFAULT_PATTERN = "lightcurves_v2/csvs/bright/plato_bright*"


class IngestExternalLcs(TaskType):
    """Reads each file of a pattern below the folder for inputs; each becomes a product
    ``lightcurve_00000``, ..."""

    settings = {  # noqa: RUF012
        "lc_type": Setting("str", "kind of the files", default="lcsg", choices=("lcsg", "any")),
        "input_path": Setting(
            "str", "pattern below the folder for inputs", default=DEFAULT_PATTERN
        ),
        "max_files": Setting("int", "at most so many"),
        "require_match": Setting("bool", "fail where no file matches", default=False),
        "skip_existing": Setting("bool", "leave out names that the folder holds", default=True),
    }

    def run(self, task):
        from ...lightcurve import Lightcurve, read_lcsg_lightcurve

        read = read_lcsg_lightcurve if task.setting("lc_type") == "lcsg" else Lightcurve.read
        paths = self._matches(task)
        if not paths and task.setting("require_match"):
            raise WrongUseError(
                f"input_path={task.setting('input_path')!r}: no file of {task.input_folder} matches"
            )
        existing = set(task.task.get("existing") or ())
        ingested = skipped = 0
        for path in paths[: task.setting("max_files")]:
            if path.name in existing and task.setting("skip_existing"):
                skipped += 1
                continue
            lc = read(path)
            target = task.folder / "lightcurve"
            form = lc.to_file(target)
            role = f"lightcurve_{ingested:05d}"
            task.add_output(role, target, {**lc.metadata, **form}, filename=path.name)
            ingested += 1
        return {"ingested": ingested, "skipped": skipped, "matched": len(paths)}

    @staticmethod
    def _matches(task):
        pattern = task.setting("input_path")
        parts = PurePosixPath(pattern).parts
        if not parts or PurePosixPath(pattern).is_absolute() or ".." in parts:
            raise WrongUseError(
                f"input_path={pattern!r}: expected a pattern below the folder for inputs, "
                "without '..'"
            )
        root = Path(task.input_folder).resolve()
        return sorted(
            path for path in root.glob(pattern) if path.is_file() and root in path.resolve().parents
        )

    def qc(self, task, results):
        """Every file that was counted is in the store."""
        if len(task.products) != results["ingested"]:
            return [f"{len(task.products)} files stored, {results['ingested']} counted"]
        return []
