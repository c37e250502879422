"""``execution_chain``: the tasks of a list. Made by `photometry.chains.expansion`."""

from ..tasktype import Setting, TaskType


class ExecutionChain(TaskType):
    """Makes the tasks of its list, all or none."""

    is_container = True
    settings = {"task_list": Setting("tasks", "the tasks")}  # noqa: RUF012
