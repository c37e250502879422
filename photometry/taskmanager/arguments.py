"""Checks of the arguments of `manager.TaskManager`; what is not accepted is an ArgumentError, which is a ValueError."""

import numbers
import operator
from pathlib import Path

from ..errors import ArgumentError


def whole_number(name, value):
    """``value`` as int, at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name}={value!r}: expected a whole number, at least 1")
    return int(value)


def summary_path(path):
    """``path``, whose folder has to be there."""
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise ArgumentError(f"summary={str(path)!r}: there is no such folder")
    return path


def priorities(taskids):
    """Priorities as int, also where they come from an array."""
    return [taskid if type(taskid) is int else _priority(taskid) for taskid in taskids]


def _priority(taskid):
    try:
        return operator.index(taskid)
    except TypeError:
        raise ArgumentError(
            f"taskid={taskid!r}: expected a whole number, the priority of a task"
        ) from None
