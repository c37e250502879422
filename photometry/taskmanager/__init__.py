"""The TODO-file: what there is to do, what became of it, and who may touch it.

>>> from photometry import TaskManager
>>> with TaskManager("input/todo.sqlite") as tm:
...     task = tm.get_task(camera=1)

To look at it and change nothing, whatever state it is in:

>>> with TaskManager("input/todo.sqlite", read_only=True) as tm:
...     failed = tm.cursor.execute("SELECT COUNT(*) FROM todolist WHERE status = 2").fetchone()
"""

from .. import lazy_names

_HOMES = {
    "TaskManager": "manager",
    "Result": "result",
    "build_constraints": "selection",
    "create_todo": "create",
    "merge_todos": "create",
    "open_view": "view",
    "read_results": "view",
    "select_tasks": "view",
    "split_todo": "create",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
