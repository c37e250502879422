"""``execution_conditional``: one list or the other. Made by `photometry.chains.expansion`."""

from ..tasktype import Setting, TaskType


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
