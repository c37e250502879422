"""Containers, which only make other tasks (see `expansion`), and the types that test a chain:
``null`` and ``error``.
"""

import time

from ...errors import WrongUseError
from ..expansion import MAX_ITERATIONS, loop_values
from ..expressions import is_expression
from ..tasktype import Setting, TaskType


class ExecutionChain(TaskType):
    """Makes the tasks of its list, all or none."""

    is_container = True
    settings = {"task_list": Setting("tasks", "the tasks")}  # noqa: RUF012


class ExecutionConditional(TaskType):
    """Makes one chain with the list that the criterion chooses; nothing where that is not given."""

    is_container = True
    settings = {  # noqa: RUF012
        "criterion": Setting(
            "any", "an expression or a truth value, no plain string", required=True
        ),
        "task_list": Setting("tasks", "the tasks where it is true", required=True),
        "else_task_list": Setting("tasks", "the tasks where it is false"),
    }


class ExecutionForLoop(TaskType):
    """Makes one chain per value, with ``<parameter>`` and ``<parameter>_index`` in its metadata."""

    is_container = True
    settings = {  # noqa: RUF012
        "parameter": Setting("str", "name of the loop variable", required=True),
        "values": Setting("list", "its values"),
        "linear_range": Setting(
            "list", "[start, end, n]: n evenly spaced values, both ends included"
        ),
        "log_range": Setting("list", "[start, end, n]: the same on a logarithmic scale"),
        "task_list": Setting("tasks", "the tasks of each round", required=True),
    }

    def problems(self, description):
        found = super().problems(description)
        given = [key for key in ("values", "linear_range", "log_range") if key in description]
        if len(given) != 1:
            names = " and ".join(given) or "none"
            found.append(
                (None, f"found {names} of values, linear_range and log_range: expected one")
            )
        elif not found and not _has_expressions(description[given[0]]):
            try:
                loop_values(description)
            except WrongUseError as error:
                found.append((given[0], str(error)))
        return found


def _has_expressions(value):
    return is_expression(value) or (isinstance(value, list) and any(map(is_expression, value)))


class ExecutionDoWhileLoop(TaskType):
    """Makes a chain of its list and a check, which makes the next one; ``<iteration_name>_index``
    counts from 1."""

    is_container = True
    settings = {  # noqa: RUF012
        "iteration_name": Setting("str", "name of the loop variable", required=True),
        "repeat_criterion": Setting("any", "whether to go on after an iteration", required=True),
        "requires_metadata_from_child": Setting(
            "list", "names of tasks of the list whose results the criterion reads", required=True
        ),
        "max_iterations": Setting("int", "more than these are an error", default=MAX_ITERATIONS),
        "task_list": Setting("tasks", "the tasks of each iteration", required=True),
    }

    def problems(self, description):
        found = super().problems(description)
        body, names = (
            description.get("task_list"),
            description.get("requires_metadata_from_child"),
        )
        if isinstance(body, list) and isinstance(names, list):
            known = [entry.get("name") for entry in body if isinstance(entry, dict)]
            for name in names:
                if name not in known and not any(str(k).lstrip()[:1] in "('\"" for k in known if k):
                    found.append(
                        (
                            "requires_metadata_from_child",
                            f"requires_metadata_from_child names {name!r}, which no task of "
                            "the list has",
                        )
                    )
        return found


class Null(TaskType):
    """Sleeps for ``sleep`` seconds; makes the results that it is given."""

    settings = {  # noqa: RUF012
        "sleep": Setting("number", "s; none: the setting null_sleep"),
        "results": Setting("dict", "metadata that it returns as its results", default={}),
        "fail_attempts": Setting("int", "it fails in so many of its first attempts", default=0),
        "qc_failure": Setting("str", "what its quality control objects to"),
    }

    def run(self, task):
        sleep = task.setting("sleep")
        time.sleep(task.options.get("null_sleep", 0.0) if sleep is None else sleep)
        if task.task["attempt"] <= task.setting("fail_attempts"):
            raise RuntimeError(f"attempt {task.task['attempt']} fails as it was asked to")
        return dict(task.setting("results"))

    def qc(self, task, results):
        failure = task.setting("qc_failure")
        return [failure] if failure else []


class Error(TaskType):
    """Raises an exception in its only attempt, unless ``max_attempts`` asks for more."""

    max_attempts = 1

    def run(self, task):
        raise RuntimeError("this task fails on purpose")
