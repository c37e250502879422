"""The TODO-file: what there is to do, what became of it, and who may touch it.

>>> from photometry import TaskManager
>>> with TaskManager("input/todo.sqlite") as tm:
...     task = tm.get_task(camera=1)
"""

from ..lazy import lazy_names

_HOMES = {
    "TaskManager": "manager",
    "Result": "result",
    "build_constraints": "constraints",
    "create_todo": "create",
    "merge_todos": "split",
    "split_todo": "split",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
