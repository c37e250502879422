"""Light curves from a few numbers: ``synthesis_batman``, ``synthesis_psls``, "
"``synthesis_simple``."""

import dataclasses

import numpy as np

from ...constants import DAY
from ..tasktype import Setting, TaskType


def spec_names(name):
    """A function that returns the fields of a class of `photometry.transits`, which is imported
    when it is called."""

    def names():
        from ... import transits

        return [item.name for item in dataclasses.fields(getattr(transits, name))]

    return names


class Synthesis(TaskType):
    """What the types share that make a light curve from a few numbers."""

    outputs = ("lightcurve",)
    seed_name = "seed"

    def make(self, specs):
        """The light curve of ``specs``."""
        raise NotImplementedError

    def run(self, task):
        specs = dict(task.setting("specs"))
        if specs.get(self.seed_name) is None:
            specs[self.seed_name] = task.seed % 2**32  # kept with the task: each run makes the same
        lc = self.make(specs)
        task.write_lightcurve(lc)
        return dict(lc.metadata)

    def qc(self, task, results):
        """The file holds what was asked for: samples from 0 to the duration at the cadence, finite,
        about 1."""
        lc = task.read_back()
        cadence, duration = results["sampling_cadence"], results["duration"]
        expected = duration * DAY / cadence
        found = []
        if abs(len(lc) - expected) > 1 + 1e-6 * expected:
            found.append(f"{len(lc)} samples in the file, expected {expected:.0f}")
        if not np.isfinite(lc.fluxes).all():
            found.append(f"{np.count_nonzero(~np.isfinite(lc.fluxes))} fluxes are not finite")
        elif len(lc) and not 0.5 < np.median(lc.fluxes) < 1.5:
            found.append(f"the median flux is {np.median(lc.fluxes):g}, expected about 1")
        return found


class SynthesisBatman(Synthesis):
    """Transits by the model of Mandel & Agol, in our own implementation; white noise."""

    settings = {  # noqa: RUF012
        "specs": Setting("dict", "what to make", default={}, keys=spec_names("TransitSpecs")),
    }
    containers = ("eas_worker_synthesis_psls_batman",)

    def make(self, specs):
        from ...transits import synthesize_transits

        return synthesize_transits(specs)


class SynthesisPsls(Synthesis):
    """A star by the program PSLS, transits by us."""

    settings = {  # noqa: RUF012
        "specs": Setting("dict", "what to make", default={}, keys=spec_names("PslsSpecs")),
    }
    containers = ("eas_worker_synthesis_psls_batman",)
    seed_name = "master_seed"
    runs_elsewhere = True

    def unavailable(self):
        from ...transits.stars import psls_program

        if psls_program() is None:
            return (
                "the program psls is not installed: pip install psls (GPL); "
                "synthesis_simple does without"
            )
        return None

    def make(self, specs):
        from ...transits import synthesize_psls

        return synthesize_psls(specs)


class SynthesisSimple(Synthesis):
    """The small stand-in for PSLS, under a name of its own."""

    settings = {  # noqa: RUF012
        "specs": Setting("dict", "what to make", default={}, keys=spec_names("StarSpecs")),
    }
    seed_name = "master_seed"

    def make(self, specs):
        from ...transits import synthesize_star

        return synthesize_star(specs)
