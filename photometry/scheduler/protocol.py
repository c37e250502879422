"""What the rooms around the scheduler agree on: where tasks come from, and what master and workers say to each other.

Messages are plain tuples whose first item is one of the words below: they are pickled by the thousand.

====================================  =========  =====================================================================
message                               direction  meaning
====================================  =========  =====================================================================
``(READY, host, pid)``                to master  a worker has started and waits for tasks
``(RESULTS, results, returned)``      to master  finished tasks, and ids of tasks that it gives back unbegun
``(SIGNAL, name)``                    to master  a worker received a signal that asks the run to stop
``(LOST, why, running)``              to master  from the engine, in place of the worker: it has died
``(BYE, why)``                        to master  the worker ends; nothing comes after this
``(TASKS, tasks, isolated)``          to worker  do these; ``isolated``: each in a child process of its own
``(FINISH,)``                         to worker  end the running task, give back the others, say BYE
====================================  =========  =====================================================================
"""

from typing import Protocol

READY, RESULTS, SIGNAL, BYE, LOST = "ready", "results", "signal", "bye", "lost"
TASKS, FINISH = "tasks", "finish"

DIED = "died"
"""Key of a result whose task took its process down: the value says how. Such a result carries no STATUS."""

TRY_AGAIN = "try_again"
"""Key of a result whose task met with something outside that may pass (disk full): the value is the sentence to tell.
Such a result carries no STATUS; the task goes back and the run stops, as the other tasks would meet with the same."""


class TaskSource(Protocol):
    """What the scheduler drains. `photometry.TaskManager` is one.

    A task is a dict with at least ``priority``, its id. A source is called from one process and one thread only.
    """

    run_info: dict  # merged into the summary

    def get_tasks(self, n, *, suspects_last=False, **constraints) -> list[dict]:
        """The next up to ``n`` tasks to do; they stay to do until `start_tasks`. See `TaskManager.get_tasks`."""

    def get_random_tasks(self, n, **constraints) -> list[dict]:
        """Any up to ``n`` tasks to do."""

    def start_tasks(self, taskids) -> None:
        """Mark as handed to a worker."""

    def save_results(self, results) -> None:
        """Store what became of tasks; when this returns, it is safe."""

    def release_tasks(self, taskids, why) -> None:
        """Take started tasks back, to be done later, without counting this as an attempt."""

    def fail_attempt(self, taskid, why, **info) -> bool:
        """Note that the task took its process down; True where it may be tried again."""

    def deaths(self, taskid) -> int:
        """How many attempts of this task took their process down."""

    def overrides(self, taskid) -> dict:
        """Settings of this task that differ from those of the run; they travel with it under the key ``settings``."""

    def get_number_tasks(self, **constraints) -> int:
        """How many tasks are to do."""

    def write_summary(self) -> None:
        """Tell people how far it is."""

    def close(self) -> None:
        """Leave everything safe on disk."""
