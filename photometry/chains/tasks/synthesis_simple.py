"""``synthesis_simple``: a star of scaling relations (granulation, oscillations, white noise) with
transits."""

from ..tasktype import Setting
from .synthesis_batman import Synthesis, spec_names


class SynthesisSimple(Synthesis):
    """The small stand-in for PSLS, under a name of its own."""

    settings = {  # noqa: RUF012
        "specs": Setting("dict", "what to make", default={}, keys=spec_names("StarSpecs")),
    }
    seed_name = "master_seed"

    def make(self, specs):
        from ...transits import synthesize_star

        return synthesize_star(specs)
