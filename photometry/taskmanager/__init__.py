"""The TODO-file: what there is to do, what became of it, and who may touch it.

>>> from photometry import TaskManager
>>> with TaskManager("input/todo.sqlite") as tm:
...     task = tm.get_task(camera=1)
"""

from importlib import import_module

_HOMES = {
    "TaskManager": "manager",
    "Result": "result",
    "build_constraints": "constraints",
    "create_todo": "create",
    "merge_todos": "split",
    "split_todo": "split",
}

__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
