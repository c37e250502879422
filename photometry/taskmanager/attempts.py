"""Attempts: how often a task has taken its process down, and when it is set aside for that."""

from collections import Counter

from ..status import STATUS
from . import schema

# A task at or above the limit of deaths; it is not tried again until it is reset.
SET_ASIDE = "SELECT priority FROM attempts WHERE died = 1 GROUP BY priority HAVING COUNT(*) >= {max_attempts:d}"


class Deaths:
    """How many attempts of each task ended with the death of its process.

    Parameters
    ----------
    conn : sqlite3.Connection
    """

    def __init__(self, conn):
        self._conn = conn
        self.forget()

    def __getitem__(self, priority):
        return self._counts[priority]

    @property
    def suspects(self):
        """Priorities of the tasks with at least one death."""
        return self._counts.keys()

    def add(self, priority):
        self._counts[priority] += 1

    def forget(self):
        """Something unknown has changed: count again. Few tasks die, and they have an index."""
        cursor = self._conn.cursor()
        cursor.row_factory = None
        rows = cursor.execute(
            "SELECT priority, COUNT(*) FROM attempts WHERE died = 1 GROUP BY priority"
        )
        self._counts = Counter(dict(rows.fetchall()))


def death(priority, start, why, *, run=None, host=None, rank=None, end=None, seconds=None, peak_memory=None,
          error_class="WorkerDied"):  # fmt: skip
    """Row of the table ``attempts`` for a task that took its process down."""
    return (priority, start, run, host, rank, end, seconds, peak_memory, None, 1, error_class, why)


def set_aside_changes(priority, n_deaths, why, seconds=None):
    """Changes that make a task an ERROR which is not tried again until it is reset."""
    times = "once" if n_deaths == 1 else f"{n_deaths} times"
    message = f"took its worker down {times}; left alone until `photometry reset` ({why})"
    diagnostics = dict.fromkeys(schema.DIAGNOSTICS_COLUMNS)
    diagnostics |= {
        "priority": priority,
        "method_used": "none",
        "elaptime": seconds or 0.0,
        "errors": message,
    }
    return [
        ("status", [(int(STATUS.ERROR), priority)]),
        ("diagnostics", [tuple(diagnostics.values())]),
    ]
