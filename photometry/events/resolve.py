"""`find_pipeline`: the pipeline that a name, a module, a class or a file means."""

import sys
from pathlib import Path
from types import ModuleType

from ..errors import PipelineError
from .naming import camel_case, import_if_there
from .pipeline import BasePipeline


def find_pipeline(pipeline_name, pipeline_path=("",), context=None, logger=None):
    """The pipeline that an instance, a class, a module, a dotted or bare name or a Python file means, as an instance.

    Raises
    ------
    PipelineError : there is none; it says where it was looked for
    """
    if isinstance(pipeline_name, str):
        kind = _from_text(pipeline_name, _several(pipeline_path))
    elif isinstance(pipeline_name, ModuleType):
        kind = _class_in(pipeline_name)
    else:
        kind = pipeline_name
    if kind is None:
        raise PipelineError(
            f"no pipeline {pipeline_name!r}: {_looked_for(pipeline_name, _several(pipeline_path))}"
        )
    if not callable(getattr(kind, "event_to_action", None)):
        raise PipelineError(
            f"{pipeline_name!r} is not a pipeline: a subclass of BasePipeline is needed"
        )
    return kind(context) if isinstance(kind, type) else kind


def _several(path):
    return (path,) if isinstance(path, str) else path


def _from_text(name, path):
    if name.endswith(".py"):
        return _class_in(load_file(name))
    if "." in name:
        package, _, last = name.rpartition(".")
        module = import_if_there(package)
        found = getattr(module, camel_case(last), None)
        return found if isinstance(found, type) else _class_in(import_if_there(name))
    found = (_class_in(import_if_there(f"{prefix}.{name}" if prefix else name)) for prefix in path)
    return next((kind for kind in found if kind is not None), None)


def _class_in(module):
    """The class named like the module; for a module with an ``event_table`` but no class, one made of its functions."""
    if module is None:
        return None
    name = camel_case(module.__name__.rpartition(".")[2])
    found = getattr(module, name, None)
    if found is None and isinstance(getattr(module, "event_table", None), dict):
        return type(
            name,
            (BasePipeline,),
            {"event_table": module.event_table, "__module__": module.__name__},
        )
    return found


def load_file(path):
    """The module in a Python file; modules beside it can be imported from then on."""
    path = Path(path).resolve()
    if not path.is_file():
        raise PipelineError(f"{path}: there is no such file")
    loaded = sys.modules.get(path.stem)
    if path.stem in sys.stdlib_module_names or (
        loaded and Path(getattr(loaded, "__file__", None) or "").resolve() != path
    ):
        raise PipelineError(f"{path}: another module is called {path.stem}; rename the file")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return import_if_there(path.stem)


def _looked_for(name, path):
    if isinstance(name, ModuleType):
        return f"the module has neither a class {camel_case(name.__name__.rpartition('.')[2])} nor an event_table"
    last = camel_case(Path(name).stem if name.endswith(".py") else name.rpartition(".")[2])
    if name.endswith(".py"):
        return f"the file has neither a class {last} nor an event_table"
    if "." in name:
        return f"looked for class {last} in module {name.rpartition('.')[0]} and in module {name}"
    places = ", ".join(f"{prefix}.{name}" if prefix else name for prefix in path)
    return f"looked for class {last} in the modules {places} (pipeline_path)"
