"""`Ledger`: the database, and beside it what we know of the tasks in it, kept in step.

That spares most questions to the database: which tasks are next, how many have which status, which ones are running. SQL of
the user makes it forget what it knows, and look again.
"""

import sqlite3

from ..errors import ArgumentError, PhotometryError
from ..status import STATUS
from .attempts import Deaths
from .handout import Handout
from .tally import Tally

_NOTHING_WRITTEN = (sqlite3.Error, PhotometryError)  # the store refused, and has rolled back
_STARTED, _SKIPPED = int(STATUS.STARTED), int(STATUS.SKIPPED)


class Ledger:
    """What we know of the tasks.

    Parameters
    ----------
    store : store.Store

    Attributes
    ----------
    handout : handout.Handout
    tally : tally.Tally
    deaths : attempts.Deaths
    running : set of int
        Priorities of tasks that are STARTED, by this process or by one that did not die.
    interrupted : set of int
        Priorities of tasks that were STARTED when a process died, and are to do again.
    unjudged : set of int
        Priorities of tasks that were STARTED when a process died, and did not match the cleanup conditions.
    overtaken : set of int
        Priorities of tasks that another result made SKIPPED while they were running.
    """

    def __init__(self, store):
        self.store = store
        self.handout, self.tally, self.deaths = (
            Handout(store.conn),
            Tally(store.conn),
            Deaths(store.conn),
        )
        self.running, self.interrupted, self.unjudged = set(), set(), set()
        self.overtaken = set()
        self.has_overrides = False

    def notice(self):
        """If SQL of the user has changed something, forget what we believe to know. Called at the begin of every call."""
        store = self.store
        if store.conn.total_changes != store.seen or store.conn.in_transaction:
            store.changed_by_user()
            self.forget()

    def forget(self):
        """Look at everything again."""
        self.handout.forget()
        self.tally.forget()
        self.deaths.forget()
        is_started = "SELECT 1 FROM todolist WHERE status = ? AND priority = ?"
        ask = self.store.cursor.execute
        self.running = {p for p in self.running if ask(is_started, (_STARTED, p)).fetchone()}
        (self.has_overrides,) = ask("SELECT EXISTS (SELECT 1 FROM overrides)").fetchone()

    def status(self, priority):
        """Status of a task, mostly without asking the database.

        Raises
        ------
        ArgumentError : there is no such task
        """
        if priority in self.running:
            return _STARTED
        if self.handout.knows(priority):
            return None
        row = self.store.cursor.execute(
            "SELECT status FROM todolist WHERE priority = ?", (priority,)
        ).fetchone()
        if row is None:
            raise ArgumentError(f"priority={priority!r}: {self.store.path} has no such task")
        return row[0]

    def write(self, changes):
        """Make changes (see `changes.apply`), all or none, and take note of them."""
        running, status = self.running, self.status
        moves = [
            (p, _STARTED if p in running else status(p), new)
            for name, rows in changes
            if name == "status"
            for new, p in rows
        ]
        try:
            self.store.write(changes)
            self._follow(moves if len(moves) == 1 else _shortened(moves))
        except BaseException as error:
            if not isinstance(error, _NOTHING_WRITTEN):  # interrupted: perhaps written, perhaps not
                self.store.seen = -1
            raise

    def _follow(self, moves):
        counts, running, queues = self.tally.counts, self.running, self.handout.queues
        returned = []
        for priority, old, new in moves:
            if counts is not None:
                counts[old] -= 1
                counts[new] += 1
            if new == _STARTED:
                running.add(priority)
                self.overtaken.discard(priority)
            elif priority in running:
                running.discard(priority)
                if new == _SKIPPED:
                    self.overtaken.add(priority)
            if new is None:
                returned.append(priority)
            elif old != _STARTED:
                for queue in queues:
                    queue.ahead.pop(priority, None)
        if returned:
            self.handout.returned(returned)


def _shortened(moves):
    """Each task once: from its first status to its last."""
    if len({priority for priority, _, _ in moves}) == len(moves):
        return moves
    first, last = {}, {}
    for priority, old, new in moves:
        first.setdefault(priority, old)
        last[priority] = new
    return [(priority, old, last[priority]) for priority, old in first.items()]
