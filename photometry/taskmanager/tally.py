"""`Tally`: how many tasks have which status, without counting them again for every summary."""

from collections import Counter

from ..status import STATUS

# One pass over the table without sorting it, half the time of GROUP BY.
_COUNT = "SELECT COUNT(*), COUNT(status), {} FROM todolist".format(
    ", ".join(f"COUNT(*) FILTER (WHERE status = {status:d})" for status in STATUS)
)


class Tally:
    """Number of tasks by status (None is to do), counted once and then kept up to date.

    Parameters
    ----------
    conn : sqlite3.Connection

    Attributes
    ----------
    counts : collections.Counter, or None where it has to be counted again; kept up to date by `ledger.Ledger`
    """

    def __init__(self, conn):
        self._cursor = conn.cursor()
        self._cursor.row_factory = None
        self.counts = None

    def __getitem__(self, status):
        return self._counted()[status]

    def total(self):
        return sum(self._counted().values())

    def forget(self):
        """Something unknown has changed: count again when next asked."""
        self.counts = None

    def _counted(self):
        if self.counts is None:
            total, touched, *numbers = self._cursor.execute(_COUNT).fetchone()
            self.counts = Counter(dict(zip(map(int, STATUS), numbers, strict=True)))
            self.counts |= Counter({None: total - touched, "unheard of": touched - sum(numbers)})
        return self.counts
