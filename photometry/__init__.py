"""From a survey's pixels to light curves and science, on a laptop or on a cluster, from one SQLite
file.

Most names, here and in the packages below, are imported when they are first used, so that ``import
photometry`` is quick.
"""

from importlib import import_module

from ._version import __version__
from .status import STATUS


def lazy_names(package, homes):
    """``__getattr__`` and ``__dir__`` for the ``__init__`` of a package (PEP 562).

    Parameters
    ----------
    package : str, its ``__name__``
    homes : dict, name -> module of the package that it lives in; ``''``: the name is a module
        itself
    """

    def getter(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not homes[name]:
            return import_module(f".{name}", package)
        return getattr(import_module(f".{homes[name]}", package), name)

    return getter, lambda: sorted(homes)


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
