"""``synthesis_psls``: a light curve of PSLS with our transits, where PSLS is installed."""

from ..tasktype import Setting
from .synthesis_batman import Synthesis, spec_names


class SynthesisPsls(Synthesis):
    """A star by the program PSLS, transits by us."""

    settings = {  # noqa: RUF012
        "specs": Setting("dict", "what to make", default={}, keys=spec_names("PslsSpecs")),
    }
    containers = ("eas_worker_synthesis_psls_batman",)
    seed_name = "master_seed"
    runs_elsewhere = True

    def unavailable(self):
        from ...transits.psls import psls_program

        if psls_program() is None:
            return "the program psls is not installed: pip install psls (GPL); synthesis_simple does without"
        return None

    def make(self, specs):
        from ...transits import synthesize_psls

        return synthesize_psls(specs)
