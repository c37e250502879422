"""`Handout`: which task is next, at the same cost for the first and the last row, whatever the constraints.

The index ``todolist_todo`` holds only rows that are still to do, so finished rows are never walked past. Rows that are to
do but do not match the constraints are walked past once: for each set of constraints a `Queue` remembers how far it has
looked, and holds the next tasks that it found there. Tasks that come back are put into the queues that they belong to.
What SQL of the user may have changed is forgotten (`Handout.forget`) and looked up again.
"""

import random
from array import array
from collections import OrderedDict
from itertools import islice

from .schema import TODO_INDEX_NAME

TASK_KEYS = (
    "priority",
    "starid",
    "method",
    "sector",
    "camera",
    "ccd",
    "cadence",
    "datasource",
    "tmag",
)
_COLUMNS = f"SELECT {', '.join('todolist.' + key for key in TASK_KEYS)}"
_SELECT = f"{_COLUMNS} FROM todolist"

_LOOK_AHEAD = 256  # tasks fetched at once: more makes the average cheaper and the single fetch slower (0.3 ms)
_LOOK_AHEAD_LISTED = 65536  # the same where the constraints list stars or priorities, which SQLite reads for each fetch
_MAX_QUEUES = 32
_MAX_AHEAD = 10_000  # tasks that a pool remembers to have handed out
_BEFORE_ALL = -(2**63)


class Handout:
    """Finds tasks that are to do.

    Parameters
    ----------
    conn : sqlite3.Connection
    rng : random.Random, optional
    """

    def __init__(self, conn, rng=None):
        self._cursor = conn.cursor()
        self._cursor.row_factory = None
        self._rng = rng or random.Random()
        self._queues = {}  # conditions -> Queue
        self._pools = {}  # conditions -> Pool

    @property
    def queues(self):
        """All that know tasks to do; one that is not to do any more has to be popped from the ``ahead`` of each."""
        return (*self._queues.values(), *self._pools.values())

    def next(self, n, conditions, last=()):
        """The ``n`` tasks with the lowest priority that match ``conditions`` (text of build_constraints).

        Those whose priority is in ``last`` come when there are no others.
        """
        queue = self._queues.get(conditions)
        if queue is None:
            if len(self._queues) >= _MAX_QUEUES:
                self._queues.pop(next(iter(self._queues)))
            queue = self._queues[conditions] = Queue(conditions)
        return queue.next_but(self._cursor, n, last) if last else queue.next(self._cursor, n)

    def count(self, conditions):
        """How many tasks match ``conditions``."""
        sql = f"SELECT COUNT(*) {_from(conditions)} WHERE todolist.status IS NULL{conditions}"
        return self._cursor.execute(sql).fetchone()[0]

    def any(self, n, conditions):
        """``n`` tasks that match ``conditions``, all with the same chance."""
        pool = self._pools.get(conditions)
        if pool is None:
            pool = self._pools[conditions] = Pool(self._cursor, conditions)
        return pool.sample(self._cursor, n, self._rng)

    def knows(self, priority):
        """True where this task is known to be still to do."""
        for queue in self.queues:  # noqa: SIM110 (any() takes three times as long)
            if priority in queue.ahead:
                return True
        return False

    def returned(self, priorities):
        """These tasks are to do again."""
        if len(priorities) > _LOOK_AHEAD:
            self.forget()
            return
        for found in self.queues:
            found.give_back(self._cursor, priorities)

    def forget(self):
        """Something unknown has changed: look again."""
        self._queues.clear()
        self._pools.clear()


class Queue:
    """The tasks that match one set of conditions, in the order of priority."""

    def __init__(self, conditions):
        self.ahead = (
            OrderedDict()
        )  # priority -> row, ascending: all that is to do up to self._looked
        self._looked = _BEFORE_ALL
        self._at_end = False
        self._conditions = conditions
        self._step = _LOOK_AHEAD_LISTED if _is_listed(conditions) else _LOOK_AHEAD
        self._sql = (
            f"{_COLUMNS} {_from(conditions)} WHERE todolist.status IS NULL AND todolist.priority > ?{conditions}"
            " ORDER BY todolist.priority LIMIT ?"
        )

    def next(self, cursor, n):
        if len(self.ahead) < n and not self._at_end:
            self._look(cursor, n)
        if n == 1:
            for row in self.ahead.values():
                return [_task(row)]
            return []
        return [_task(row) for row in islice(self.ahead.values(), n)]

    def next_but(self, cursor, n, last):
        """As `next`, but with the tasks in ``last`` after all others. Each call walks past those; they are few."""
        while True:
            found = list(
                islice(
                    (_task(row) for priority, row in self.ahead.items() if priority not in last), n
                )
            )
            if len(found) == n or self._at_end:
                return found or self.next(cursor, n)
            self._look(cursor, n)

    def give_back(self, cursor, priorities):
        """Put returned tasks in their place; those further on than we have looked will be found there."""
        behind = [p for p in priorities if p <= self._looked or self._at_end]
        sql = f"{_SELECT} WHERE todolist.status IS NULL AND todolist.priority = ?{self._conditions}"
        for priority in behind:
            for row in cursor.execute(sql, (priority,)).fetchall():
                self.ahead[priority] = row
        if behind:
            self.ahead = OrderedDict(sorted(self.ahead.items()))

    def _look(self, cursor, n):
        limit = max(n, self._step)
        rows = cursor.execute(self._sql, (self._looked, limit)).fetchall()
        self._at_end = len(rows) < limit
        if rows:
            self._looked = rows[-1][0]
            self.ahead.update([(row[0], row) for row in rows])


class Pool:
    """The tasks that match one set of conditions, in no order. Made in one pass, 8 bytes for each."""

    _ONE = f"{_SELECT} WHERE todolist.status IS NULL AND todolist.priority = ?"

    def __init__(self, cursor, conditions):
        sql = f"SELECT todolist.priority {_from(conditions)} WHERE todolist.status IS NULL{conditions}"
        self._priorities = array("q", (row[0] for row in cursor.execute(sql)))
        self._matches = f"{self._ONE}{conditions}"
        self.ahead = {}  # priority -> row, of those that were handed out and not taken yet

    def sample(self, cursor, n, rng):
        """``n`` different tasks. Those that turn out to be taken are removed on the way."""
        priorities, found = self._priorities, {}
        while len(found) < n and len(found) < len(priorities):
            place = rng.randrange(len(found), len(priorities))
            priority = priorities[place]
            row = None if priority in found else cursor.execute(self._ONE, (priority,)).fetchone()
            if row is None:
                priorities[place] = priorities[-1]
                priorities.pop()
            else:
                priorities[place], priorities[len(found)] = priorities[len(found)], priority
                found[priority] = row
        if len(self.ahead) > _MAX_AHEAD:
            self.ahead.clear()
        self.ahead.update(found)
        return [_task(row) for row in found.values()]

    def give_back(self, cursor, priorities):
        known = [p for p in priorities if cursor.execute(self._matches, (p,)).fetchone()]
        self._priorities.extend(known)


def _is_listed(conditions):
    """True where the conditions name tasks or stars, which have an index of their own."""
    return "todolist.priority " in conditions or "todolist.starid " in conditions


def _from(conditions):
    return (
        "FROM todolist" if _is_listed(conditions) else f"FROM todolist INDEXED BY {TODO_INDEX_NAME}"
    )


def _task(row):
    priority, starid, method, sector, camera, ccd, cadence, datasource, tmag = row
    return {  # three times as fast as dict(zip(...))
        "priority": priority, "starid": starid, "method": method, "sector": sector, "camera": camera, "ccd": ccd,
        "cadence": cadence, "datasource": datasource, "tmag": tmag,
    }  # fmt: skip
