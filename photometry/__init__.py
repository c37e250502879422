"""From a survey's pixels to light curves and science, on a laptop or on a cluster, from one SQLite
file.

The names below are imported when they are first used, so that ``import photometry`` is quick.
"""

from ._version import __version__
from .lazy import lazy_names
from .status import STATUS

_HOMES = {
    "Lightcurve": "lightcurve",
    "TaskManager": "taskmanager",
    "build_constraints": "taskmanager",
    "photometry": "target",
    **dict.fromkeys(
        ("events", "lightcurve", "methods", "pixels", "simulate", "taskmanager", "transits"), ""
    ),
}

__all__ = ["STATUS", "Lightcurve", "TaskManager", "__version__", "build_constraints", "photometry"]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
