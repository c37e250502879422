"""Which task is next, how many have which status, which ones run: known beside the database, and
kept in step with it.

`PendingTasks` finds the next task at the same cost for the first and the last row, whatever the
constraints. The index ``todolist_todo`` holds only rows that are still to do, so finished rows are
never walked past. Rows that are to do but do not match the constraints are walked past once: for
each set of constraints a `Queue` remembers how far it has looked, and holds the next tasks that it
found there. Tasks that come back are put into the queues that they belong to.

`TaskCache` has all that spares questions to the database. What SQL of the user may have changed is
looked up again.
"""

import random
import sqlite3
from array import array
from collections import Counter, OrderedDict
from itertools import groupby, islice
from operator import itemgetter

import msgspec

from ..errors import ArgumentError, PhotometryError
from ..status import STATUS
from .schema import TODO_INDEX_NAME

_KEYS = (
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
_COLUMNS = f"SELECT {', '.join('todolist.' + key for key in _KEYS)}"
_SELECT = f"{_COLUMNS} FROM todolist"

# tasks fetched at once: more makes the average cheaper and the single fetch slower (0.3 ms)
_LOOK_AHEAD = 256
# the same where the constraints list stars or priorities, which SQLite reads for each fetch
_LOOK_AHEAD_LISTED = 65536
_MAX_QUEUES = 32
_MAX_SAMPLED = 10_000  # tasks that a pool remembers to have sampled
_BEFORE_ALL = -(2**63)

_NOTHING_WRITTEN = (sqlite3.Error, PhotometryError)  # the store refused, and has rolled back
_STARTED, _SKIPPED = int(STATUS.STARTED), int(STATUS.SKIPPED)
_encode = msgspec.json.Encoder().encode


class PendingTasks:
    """Finds tasks that are to do.

    Parameters
    ----------
    conn : store.Connection
    rng : random.Random, optional
    """

    def __init__(self, conn, rng=None):
        self._cursor = conn.own_cursor()
        self._rng = rng or random.Random()
        self._queues = {}  # conditions -> Queue
        self._pools = {}  # conditions -> Pool

    @property
    def queues(self):
        """All that hold tasks to do; one that is not to do any more has to be popped from the
        ``ahead`` of each.
        """
        return (*self._queues.values(), *self._pools.values())

    def next(self, n, conditions, last=()):
        """The tasks to do with the lowest priorities.

        Parameters
        ----------
        n : int, how many
        conditions : str, as `build_constraints` makes them
        last : container of priorities of tasks that come when there are no others
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

    def holds(self, priority):
        """True where this task is known to be still to do."""
        for queue in self.queues:  # noqa: SIM110 (any() takes three times as long)
            if priority in queue.ahead:
                return True
        return False

    def returned(self, priorities):
        """These tasks are to do again."""
        if len(priorities) > _LOOK_AHEAD:
            self.invalidate()
            return
        for queue in self.queues:
            queue.give_back(self._cursor, priorities)

    def invalidate(self):
        """Something unknown has changed: look again."""
        self._queues.clear()
        self._pools.clear()


class Queue:
    """The tasks that match one set of conditions, in the order of priority.

    Attributes
    ----------
    ahead : OrderedDict, priority -> row, ascending: all that is to do as far as the queue has
        looked
    """

    def __init__(self, conditions):
        self.ahead = OrderedDict()
        self._looked = _BEFORE_ALL
        self._at_end = False
        self._conditions = conditions
        self._step = _LOOK_AHEAD_LISTED if _is_listed(conditions) else _LOOK_AHEAD
        self._sql = (
            f"{_COLUMNS} {_from(conditions)} WHERE todolist.status IS NULL AND todolist.priority > ?{conditions}"
            " ORDER BY todolist.priority LIMIT ?"
        )

    def next(self, cursor, n):
        """The first ``n`` tasks."""
        if len(self.ahead) < n and not self._at_end:
            self._look(cursor, n)
        if n == 1:
            for row in self.ahead.values():
                return [_task(row)]
            return []
        return [_task(row) for row in islice(self.ahead.values(), n)]

    def next_but(self, cursor, n, last):
        """As `next`, but with the tasks in ``last`` after all others. Each call walks past those;
        they are few.
        """
        while True:
            others = (row for priority, row in self.ahead.items() if priority not in last)
            tasks = [_task(row) for row in islice(others, n)]
            if len(tasks) == n or self._at_end:
                return tasks or self.next(cursor, n)
            self._look(cursor, n)

    def give_back(self, cursor, priorities):
        """Put returned tasks in their position; those further on than we have looked will be found
        there.
        """
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
            self.ahead.update(zip(map(itemgetter(0), rows), rows, strict=True))


class Pool:
    """The tasks that match one set of conditions, in no order. Made in one pass, 8 bytes for each.

    Attributes
    ----------
    ahead : dict, priority -> row, of those that were sampled and not taken yet
    """

    _ONE = f"{_SELECT} WHERE todolist.status IS NULL AND todolist.priority = ?"

    def __init__(self, cursor, conditions):
        sql = f"SELECT todolist.priority {_from(conditions)} WHERE todolist.status IS NULL{conditions}"
        self._priorities = array("q", (row[0] for row in cursor.execute(sql).fetchall()))
        self._matches = f"{self._ONE}{conditions}"
        self.ahead = {}

    def sample(self, cursor, n, rng):
        """Different tasks. Those that turn out to be taken are removed on the way.

        Parameters
        ----------
        cursor : sqlite3.Cursor, rows as tuples
        n : int, how many
        rng : random.Random
        """
        priorities, sampled = self._priorities, {}
        while len(sampled) < n and len(sampled) < len(priorities):
            index = rng.randrange(len(sampled), len(priorities))
            priority = priorities[index]
            row = None if priority in sampled else cursor.execute(self._ONE, (priority,)).fetchone()
            if row is None:
                priorities[index] = priorities[-1]
                priorities.pop()
            else:
                priorities[index], priorities[len(sampled)] = priorities[len(sampled)], priority
                sampled[priority] = row
        if len(self.ahead) > _MAX_SAMPLED:
            self.ahead.clear()
        self.ahead.update(sampled)
        return [_task(row) for row in sampled.values()]

    def give_back(self, cursor, priorities):
        """These are to do again."""
        matching = [p for p in priorities if cursor.execute(self._matches, (p,)).fetchone()]
        self._priorities.extend(matching)


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


class StatusCounts:
    """Number of tasks by status (None is to do), counted once and then kept up to date.

    Parameters
    ----------
    conn : store.Connection

    Attributes
    ----------
    counts : collections.Counter, or None where it has to be counted again; kept up to date by
        `TaskCache`
    """

    # One pass over the table without sorting it, half the time of GROUP BY.
    _COUNT = "SELECT COUNT(*), COUNT(status), {} FROM todolist".format(
        ", ".join(f"COUNT(*) FILTER (WHERE status = {status:d})" for status in STATUS)
    )

    def __init__(self, conn):
        self._cursor = conn.own_cursor()
        self.counts = None

    def __getitem__(self, status):
        return self._counted()[status]

    def total(self):
        return sum(self._counted().values())

    def invalidate(self):
        """Something unknown has changed: count again when next asked."""
        self.counts = None

    def _counted(self):
        if self.counts is None:
            total, touched, *numbers = self._cursor.execute(self._COUNT).fetchone()
            self.counts = Counter(dict(zip(map(int, STATUS), numbers, strict=True)))
            self.counts |= Counter({None: total - touched, "no STATUS": touched - sum(numbers)})
        return self.counts


class TaskCache:
    """What is known of the tasks without asking the database; the way by which their status
    changes.

    Parameters
    ----------
    store : store.Store

    Attributes
    ----------
    pending : PendingTasks
    counts : StatusCounts
    running : set of int
        Priorities of tasks that are STARTED.
    superseded : set of int
        Priorities of tasks that another result made SKIPPED while they were running.
    """

    def __init__(self, store):
        self.store = store
        self.pending, self.counts = PendingTasks(store.conn), StatusCounts(store.conn)
        self.running, self.superseded = set(), set()

    def invalidate(self):
        """Look at everything again."""
        self.pending.invalidate()
        self.counts.invalidate()
        is_started = "SELECT 1 FROM todolist WHERE status = ? AND priority = ?"
        ask = self.store.cursor.execute
        self.running = {p for p in self.running if ask(is_started, (_STARTED, p)).fetchone()}

    def status(self, priority):
        """Status of a task, mostly without asking the database.

        Raises
        ------
        ArgumentError : there is no such task
        """
        if priority in self.running:
            return _STARTED
        if self.pending.holds(priority):
            return None
        row = self.store.cursor.execute(
            "SELECT status FROM todolist WHERE priority = ?", (priority,)
        ).fetchone()
        if row is None:
            raise ArgumentError(f"priority={priority!r}: {self.store.path} has no such task")
        return row[0]

    def write(self, statuses, changes=()):
        """Change the status of tasks, and whatever else, all or none.

        Parameters
        ----------
        statuses : list of (status, priorities), in the order in which they are made
        changes : list, as in `schema.apply`
        """
        if len(statuses) == 1 and len(statuses[0][1]) == 1:
            moves = [(*statuses[0], [self.status(statuses[0][1][0])])]
        else:
            moves = [(status, ids, self._old_statuses(ids)) for status, ids in statuses if ids]
        try:
            self.store.write([*_status_changes(statuses), *changes])
            self._follow(moves)
        except BaseException as error:
            if not isinstance(error, _NOTHING_WRITTEN):  # interrupted: perhaps written, perhaps not
                self.store.seen = -1
            raise

    def _old_statuses(self, ids):
        """The one status that all these tasks have, or a list of one for each."""
        if len(ids) > 1:
            if self.running.issuperset(ids):
                return _STARTED
            for queue in self.pending.queues:
                if queue.ahead.keys() >= set(ids):
                    return None
        return [self.status(priority) for priority in ids]

    def _follow(self, moves):
        is_one = len(moves) == 1 and len(moves[0][1]) == 1
        if not is_one and _has_doublets(moves):
            moves = _first_to_last(moves)
        returned = []
        for new, ids, old in moves:
            self._count(new, ids, old)
            if new == _STARTED:
                self.running.update(ids)
                self.superseded.difference_update(ids)
            elif new == _SKIPPED:
                self.superseded.update(self.running.intersection(ids))
                self.running.difference_update(ids)
            else:
                self.running.difference_update(ids)
            if new is None:
                returned += ids
            elif old != _STARTED:
                for queue in self.pending.queues:
                    for priority in ids:
                        queue.ahead.pop(priority, None)
        if returned:
            self.pending.returned(returned)

    def _count(self, new, ids, old):
        counts = self.counts.counts
        if counts is None:
            return
        if not isinstance(old, list):
            counts[old] -= len(ids)
        elif len(old) == 1:
            counts[old[0]] -= 1
        else:
            counts.subtract(old)
        counts[new] += len(ids)


def _status_changes(statuses):
    """Changes for lists of priorities: of a block of numbers without gaps, its ends."""
    for status, ids in statuses:
        if len(ids) == 1:
            yield "status", [(status, ids[0])]
        elif ids and ids == list(range(ids[0], ids[0] + len(ids))):
            yield "status of range", [(status, ids[0], ids[-1])]
        elif ids:
            yield "status of list", [(status, _encode(ids).decode())]


def _has_doublets(moves):
    return sum(len(ids) for _, ids, _ in moves) > len({p for _, ids, _ in moves for p in ids})


def _first_to_last(moves):
    """Moves in which a task occurs twice, with each task once: from its first status to its last."""
    first, last = {}, {}
    for new, ids, old in moves:
        for priority, before in zip(
            ids, old if isinstance(old, list) else [old] * len(ids), strict=True
        ):
            first.setdefault(priority, before)
            last[priority] = new
    pairs = sorted(last.items(), key=lambda pair: -1 if pair[1] is None else pair[1])
    groups = [(new, [p for p, _ in group]) for new, group in groupby(pairs, itemgetter(1))]
    return [(new, ids, [first[p] for p in ids]) for new, ids in groups]
