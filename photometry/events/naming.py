"""From names to the modules and the code that they mean."""

import importlib
import re

from ..errors import PipelineError


def camel_case(name):
    """``fits2png_pipeline`` -> ``Fits2pngPipeline``: the first letter and every letter after ``_`` are capitalised."""
    return re.sub(r"(?:^|_)(.?)", lambda found: found[1].upper(), name)


def import_if_there(name):
    """The module of that name, or None if there is none.

    Raises
    ------
    PipelineError : it is there, but importing it fails; the reason is told
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            return None
        raise PipelineError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def import_action(name, path):
    """The action of a name that is neither a method nor in the module of the pipeline; None if there is none.

    For each package of ``path`` (``""``: none): the CamelCase class in module ``package.name``, then the last part of
    the name in the package before it.
    """
    for prefix in path:
        full = f"{prefix}.{name}" if prefix else name
        package, _, last = full.rpartition(".")
        for module, attribute in ((full, camel_case(last)), (package, last)):
            code = getattr(import_if_there(module), attribute, None) if module else None
            if callable(code):
                return code
    return None
