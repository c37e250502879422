"""``null``: do nothing, for a while. Measures the engine and tests chains."""

import time

from ..tasktype import Setting, TaskType


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
