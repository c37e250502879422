"""`Tally`: how many tasks have which status, without counting them again for every summary."""

from collections import Counter


class Tally:
    """Number of tasks by status (None is to do), counted once and then kept up to date.

    Parameters
    ----------
    conn : sqlite3.Connection
    """

    def __init__(self, conn):
        self._cursor = conn.cursor()
        self._cursor.row_factory = None
        self._counts = None

    def __getitem__(self, status):
        return self._counted()[status]

    def total(self):
        return sum(self._counted().values())

    def move(self, moves):
        """Tasks changed their status; ``moves`` is ``{(old, new): number of tasks}``."""
        if self._counts is not None:
            for (old, new), number in moves.items():
                self._counts[old] -= number
                self._counts[new] += number

    def forget(self):
        """Something unknown has changed: count again when next asked."""
        self._counts = None

    def _counted(self):
        if self._counts is None:
            self._counts = Counter(dict(self._cursor.execute("SELECT status, COUNT(*) FROM todolist GROUP BY status")))
        return self._counts
