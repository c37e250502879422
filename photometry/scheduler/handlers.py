"""Handlers: what a worker calls for a task, looked up by name so that only a name has to travel to
the workers.
"""

import functools
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from ..errors import SettingsError
from ..status import STATUS

ENTRY_POINTS = "photometry.handlers"  # other packages add handlers of their own under this group
BUILT_IN = {
    "photometry": "photometry.target:photometry",
    "injection": "photometry.injection.work:injected_photometry",
    "noop": "photometry.scheduler.handlers:noop",
}


@dataclass(frozen=True)
class Handler:
    """A handler's name and the keyword arguments that it gets with every task."""

    name: str
    options: dict = field(default_factory=dict)


def load_handler(handler):
    """The callable(task) -> result for a `Handler`.

    Its name is one of the built-in ones, of the entry points of installed packages, or
    ``'package.module:function'``.

    Raises
    ------
    SettingsError : if there is none of this name
    """
    module, function = _location(handler.name)
    handle = getattr(import_module(module), function, None)
    if not callable(handle):
        raise SettingsError(f"handler {handler.name!r}: {module} has no function {function!r}")
    return functools.partial(handle, **handler.options)


def check_handler(name):
    """Refuse the name of a handler that does not exist, or whose module cannot be imported, before
    workers are started. A built-in one is not imported.
    """
    module, _ = _location(name)
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # the package that the module should be in
        spec = None
    if spec is None:
        raise SettingsError(f"handler {name!r}: there is no module {module!r} that can be imported")
    if name in BUILT_IN:
        return
    try:
        load_handler(Handler(name))
    except SettingsError:
        raise
    except Exception as error:  # importing a module runs it
        raise SettingsError(
            f"handler {name!r}: {module} cannot be imported: {error!r}; expected 'module:function'"
        ) from error


def _location(name):
    """(module, function) of a handler's name."""
    location = BUILT_IN.get(name) or _installed().get(name) or name
    module, _, function = location.partition(":")
    if not module or not function:
        names = ", ".join(sorted({*BUILT_IN, *_installed()}))
        raise SettingsError(
            f"handler {name!r}: expected one of {names}, or 'package.module:function'"
        )
    return module, function


def _installed():
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def noop(task):
    """Do nothing, successfully. Measures the scheduler itself."""
    return {**task, "status": STATUS.OK, "method_used": "noop", "details": {}}
