"""``execution_for_loop``: a chain for each value of a variable. Made by
`photometry.chains.expansion`."""

from ...errors import WrongUseError
from ..expansion import loop_values
from ..expressions import is_expression
from ..tasktype import Setting, TaskType


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
