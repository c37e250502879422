"""From a survey's pixels to light curves and science, on a laptop or on a cluster, from one SQLite file.

The names below are imported when they are first used, so that ``import photometry`` is quick.
"""

from importlib import import_module

from ._version import __version__
from .status import STATUS

_HOMES = {
    "TaskManager": "taskmanager",
    "build_constraints": "taskmanager",
    "photometry": "target",
}

__all__ = ["STATUS", "__version__", *_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
