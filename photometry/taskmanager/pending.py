"""Which task is next, how many have which status, which ones run: known beside the database, and
kept in step with it.

`TaskCache` finds the next task at the same cost for the first and the last row, whatever the
constraints. The index ``todolist_todo`` holds only rows that are still to do, so finished rows are
never walked past. Rows that are to do but do not match the constraints are walked past once: for
each set of constraints a `Queue` remembers how far it has looked, and holds the next tasks that it
found there. Tasks that come back are put into the queues that they belong to. What SQL of the user
may have changed is looked up again.
"""

import random
import sqlite3
from array import array
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter

import msgspec

from ..errors import ArgumentError, PhotometryError
from ..status import STATUS
from .schema import TODO_INDEX_NAME
from .selection import CRASHES, build_constraints

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

# tasks fetched at once: more makes the average cheaper and the single fetch slower (0.3 ms)
_LOOK_AHEAD = 256
# the same where the constraints list stars or priorities, which SQLite reads for each fetch
_LOOK_AHEAD_LISTED = 65536
_MAX_QUEUES = 32
_MAX_SAMPLED = 10_000  # tasks that a pool remembers to have sampled

_NOTHING_WRITTEN = (sqlite3.Error, PhotometryError)  # the store refused, and has rolled back
# One pass over the table without sorting it, half the time of GROUP BY.
_COUNT = "SELECT COUNT(*), COUNT(status), {} FROM todolist".format(
    ", ".join(f"COUNT(*) FILTER (WHERE status = {status:d})" for status in STATUS)
)
_DATA_VERSION = "PRAGMA data_version"  # changes when another program has changed the file
_STARTED, _SKIPPED = int(STATUS.STARTED), int(STATUS.SKIPPED)
_encode = msgspec.json.Encoder().encode


class TaskCache:
    """What is known of the tasks without asking the database; the way by which their status
    changes.

    Parameters
    ----------
    store : store.Store

    Attributes
    ----------
    running : set of int
        Priorities of tasks that are STARTED.
    superseded : set of int
        Priorities of tasks that another result made SKIPPED while they were running.
    crashes : Counter
        Attempts that ended with the death of their process, by task.
    has_overrides : bool, some tasks have settings of their own
    """

    def __init__(self, store):
        self.store, self._cursor = store, store.cursor
        self.running, self.superseded = set(), set()
        self._counts = None  # Counter by status; None where it has to be counted again
        self._queues = {}  # matching -> Queue, or (Pool, matching) -> Pool
        self._rng = random.Random()
        self._constraints, self._lengths, self._matching = None, [], ""  # of the last call
        self._version = self._cursor.execute(_DATA_VERSION).fetchone()

    def sync_external_changes(self):
        """Where SQL of the user, or another program, has changed something or is about to, look at
        everything again; the begin of every call.
        """
        store, conn = self.store, self.store.conn
        if conn.total_changes != store.seen or conn.in_transaction:
            store.seen = -1 if conn.in_transaction else conn.total_changes
            store.is_journal_complete = store.journal is None
            self.invalidate()
        elif store.is_on_disk:
            version = self._cursor.execute(_DATA_VERSION).fetchone()
            is_changed, self._version = version != self._version, version
            if is_changed:
                self.invalidate()

    def invalidate(self):
        """Something unknown has changed: look at everything again."""
        self._queues.clear()
        self._counts = None
        is_started = "SELECT 1 FROM todolist WHERE status = ? AND priority = ?"
        ask = self._cursor.execute
        self.running = {p for p in self.running if ask(is_started, (_STARTED, p)).fetchone()}
        self.has_overrides = bool(ask("SELECT EXISTS (SELECT 1 FROM overrides)").fetchone()[0])
        self.crashes = Counter(dict(ask(CRASHES).fetchall()))  # few, and they have an index

    # --- what is to do

    def matching(self, constraints):
        """SQL from FROM on: the tasks to do that match a dict of arguments of `build_constraints`;
        those of the last call mostly come again.

        A list of a million stars is not looked at again if it is the same object with the same
        length.
        """
        try:
            is_last = constraints == self._constraints
        except ValueError:  # two different arrays
            is_last = False
        if not (is_last and all(len(value) == n for value, n in self._lengths)):
            conditions = build_constraints(**constraints)
            # conditions that list tasks or stars have an index of their own
            has_index = "todolist.priority " in conditions or "todolist.starid " in conditions
            table = "todolist" if has_index else f"todolist INDEXED BY {TODO_INDEX_NAME}"
            self._matching = f"FROM {table} WHERE todolist.status IS NULL{conditions}"
            lists = [value for value in constraints.values() if hasattr(value, "__len__")]
            self._constraints, self._lengths = constraints, [(value, len(value)) for value in lists]
        return self._matching

    def next(self, n, matching, last=()):
        """The tasks to do with the lowest priorities, as dicts.

        Parameters
        ----------
        n : int, how many
        matching : str, see `matching`
        last : container of priorities, few, of tasks that come when there are no others
        """
        queue = self._queues.get(matching)
        if queue is None:
            if len(self._queues) >= _MAX_QUEUES:
                self._queues.pop(next(iter(self._queues)))
            queue = self._queues[matching] = Queue(matching)
        while True:
            rows = queue.ahead.items()
            if last:
                rows = (item for item in rows if item[0] not in last)
            rows = [row for _, row in islice(rows, n)]
            if len(rows) == n or queue.is_at_end:
                break
            limit = max(n, _LOOK_AHEAD if "INDEXED" in matching else _LOOK_AHEAD_LISTED)
            sql = (
                f"{_COLUMNS} {matching} AND todolist.priority > ? ORDER BY todolist.priority "
                "LIMIT ?"
            )
            more = self._cursor.execute(sql, (queue.looked, limit)).fetchall()
            queue.is_at_end = len(more) < limit
            if more:
                queue.looked = more[-1][0]
                queue.ahead.update(zip(map(itemgetter(0), more), more, strict=True))
        return [
            {  # three times as fast as dict(zip(...))
                "priority": priority, "starid": starid, "method": method, "sector": sector,
                "camera": camera, "ccd": ccd, "cadence": cadence, "datasource": datasource,
                "tmag": tmag,
            }
            for priority, starid, method, sector, camera, ccd, cadence, datasource, tmag
            in rows or islice(queue.ahead.values(), n)
        ]  # fmt: skip

    def any(self, n, matching):
        """``n`` tasks that match, see `matching`, all with the same chance."""
        pool = self._queues.get((Pool, matching))
        if pool is None:
            pool = self._queues[Pool, matching] = Pool(self._cursor, matching)
        return pool.sample(self._cursor, n, self._rng)

    def counts(self):
        """Number of tasks by status (None is to do), a Counter; counted once and then kept up to
        date.
        """
        if self._counts is None:
            total, touched, *numbers = self._cursor.execute(_COUNT).fetchone()
            self._counts = Counter(dict(zip(map(int, STATUS), numbers, strict=True)))
            self._counts |= Counter({None: total - touched, "no STATUS": touched - sum(numbers)})
        return self._counts

    def status(self, priority):
        """Status of a task, mostly without asking the database.

        Raises
        ------
        ArgumentError : there is no such task
        """
        if priority in self.running:
            return _STARTED
        for queue in self._queues.values():
            if priority in queue.ahead:
                return None
        sql = "SELECT status FROM todolist WHERE priority = ?"
        row = self._cursor.execute(sql, (priority,)).fetchone()
        if row is None:
            raise ArgumentError(f"priority={priority!r}: {self.store.path} has no such task")
        return row[0]

    # --- what changes

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
        status_changes = []
        for status, ids in statuses:
            if len(ids) == 1:
                status_changes.append(("status", [(status, ids[0])]))
            elif ids and ids == list(range(ids[0], ids[0] + len(ids))):  # only its ends
                status_changes.append(("status of range", [(status, ids[0], ids[-1])]))
            elif ids:
                status_changes.append(("status of list", [(status, _encode(ids).decode())]))
        try:
            self.store.write([*status_changes, *changes])
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
            for queue in self._queues.values():
                if queue.ahead.keys() >= set(ids):
                    return None
        return [self.status(priority) for priority in ids]

    def _follow(self, moves):
        """Bring what is known up to date with moves (new status, priorities, old status of all or
        a list of them) that were written.
        """
        if len(moves) != 1 or len(moves[0][1]) != 1:
            ids = [priority for _, moved, _ in moves for priority in moved]
            if len(set(ids)) < len(ids):
                moves = _first_to_last(moves)
        returned = []
        for new, ids, old in moves:
            if self._counts is not None:
                if not isinstance(old, list):
                    self._counts[old] -= len(ids)
                else:
                    for status in old:
                        self._counts[status] -= 1
                self._counts[new] += len(ids)
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
                for queue in self._queues.values():
                    for priority in ids:
                        queue.ahead.pop(priority, None)
        if len(returned) > _LOOK_AHEAD:
            self._queues.clear()
        elif returned:
            for queue in self._queues.values():
                queue.give_back(self._cursor, returned)


def _first_to_last(moves):
    """Moves in which a task occurs twice, with each once: from its first status to its last."""
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


@dataclass
class Queue:
    """The tasks that match one set of conditions, in the order of priority.

    Attributes
    ----------
    matching : str, see `TaskCache.matching`
    ahead : OrderedDict, priority -> row, ascending: all that is to do as far as the queue has
        looked
    looked : int, the last priority up to there
    is_at_end : bool, there are none after it
    """

    matching: str
    ahead: OrderedDict = field(default_factory=OrderedDict)
    looked: int = -(2**63)
    is_at_end: bool = False

    def give_back(self, cursor, priorities):
        """Put returned tasks in their position; those further on than we have looked will be found
        there.
        """
        behind = [p for p in priorities if p <= self.looked or self.is_at_end]
        sql = f"{_COLUMNS} {self.matching} AND todolist.priority = ?"
        for priority in behind:
            for row in cursor.execute(sql, (priority,)).fetchall():
                self.ahead[priority] = row
        if behind:
            self.ahead = OrderedDict(sorted(self.ahead.items()))


class Pool:
    """The tasks that match one set of conditions, in no order. Made in one pass, 8 bytes for each.

    Attributes
    ----------
    ahead : dict, priority -> row, of those that were sampled and not taken yet
    """

    _ONE = f"{_COLUMNS} FROM todolist WHERE todolist.status IS NULL AND todolist.priority = ?"

    def __init__(self, cursor, matching):
        rows = cursor.execute(f"SELECT todolist.priority {matching}").fetchall()
        self._priorities = array("q", (row[0] for row in rows))
        self._matches = f"SELECT 1 {matching} AND todolist.priority = ?"
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
        return [dict(zip(_KEYS, row, strict=True)) for row in sampled.values()]

    def give_back(self, cursor, priorities):
        """These are to do again."""
        matching = [p for p in priorities if cursor.execute(self._matches, (p,)).fetchone()]
        self._priorities.extend(matching)
