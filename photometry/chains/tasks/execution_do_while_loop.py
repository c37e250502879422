"""``execution_do_while_loop``: repeat while a criterion on the results holds. Made by
`photometry.chains.expansion`."""

from ..expansion import MAX_ITERATIONS
from ..tasktype import Setting, TaskType


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
                            f"requires_metadata_from_child names {name!r}, which no task of the list has",
                        )
                    )
        return found
