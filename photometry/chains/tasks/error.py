"""``error``: fail at once. Tests what becomes of failures."""

from ..tasktype import TaskType


class Error(TaskType):
    """Raises an exception in its only attempt, unless ``max_attempts`` asks for more."""

    max_attempts = 1

    def run(self, task):
        raise RuntimeError("this task fails on purpose")
