"""What an item is, and looking at leases: what waits, what runs, what became of it. Nothing here
changes anything."""

import hashlib
import json
from dataclasses import dataclass

from .stores import EngineConnection

STATES = ("pending", "delayed", "running", "done", "skipped", "failed", "cancelled")
"""``pending``: can be taken. ``delayed``: pending from a later moment on. ``running``: held. The
others are final."""

FINAL = ("done", "skipped", "failed", "cancelled")


LONGEST_KEY = 200
"""Characters of a key that are stored as they are; of a longer one, its beginning and a hash are.
"""

COLUMNS = (
    *("id", "kind", "item_key", "payload", "priority", "state", "attempt", "max_attempts"),
    *("not_before", "holder", "error", "created", "taken", "finished"),
)


@dataclass(frozen=True)
class Item:
    """One item of work, as the database holds it. Times are s since 1970 by the database's clock.

    Attributes
    ----------
    id : str
    kind : str, the queue it waits in
    payload : what JSON can hold
    key : str or None, what the item is about; a kind accepts a key once
    priority : int, smaller ones are taken first
    state : one of `STATES`
    attempt : int, how many times it was taken
    max_attempts : int or None (then as its `Leases` says), how many holders it may lose
    not_before : float or None, when a delayed one becomes pending
    holder : str or None, the name of who holds it, and ``lease_until``, the end of the holder's
        lease
    error : str or None, why the last attempt ended
    created, taken, finished : float or None
    """

    id: str
    kind: str
    payload: object
    key: "str | None"
    priority: int
    state: str
    attempt: int
    max_attempts: "int | None"
    not_before: "float | None"
    holder: "str | None"
    lease_until: "float | None"
    error: "str | None"
    created: float
    taken: "float | None"
    finished: "float | None"


class LeaseView:
    """What can be seen of the items in a database; every method also works within a transaction of
    the caller.

    Parameters
    ----------
    store : stores.SqliteFile or stores.Engine
    """

    def __init__(self, store):
        self.store = store
        self._sql = store.dialect
        # transactions of this object that have ended: its own change no change number of a file
        self._writes = 0
        # change numbers, and what was asked then
        self._stopping = None, False

    def get(self, id, *, connection=None):
        """The item of an id, or None."""
        return self._read(lambda db: self._get(db, id), connection)

    def find(self, state=None, *, kinds=None, holder=None, since=None, limit=None, connection=None):
        """Items, first come first.

        Parameters
        ----------
        state : one of `STATES`, several of them, or None for all
        kinds : str or sequence of str, or None for all
        holder : str or None, the name of who holds it
        since : s since 1970 or None, leaves out what was finished before
        limit : int or None
        connection : SQLAlchemy connection or None

        Returns
        -------
        list of Item
        """
        where, names = in_list("i.kind", kinds)
        where_state, states = in_list("i.state", state, "state")
        where = f"{where} AND {where_state}"
        if holder is not None:
            where += " AND i.holder=:holder"
        if since is not None:
            where += " AND (i.finished IS NULL OR i.finished>=:since)"
        order = "i.position" + (f" LIMIT {int(limit)}" if limit is not None else "")
        values = {"holder": holder, "since": since}
        values = {name: value for name, value in values.items() if value is not None}

        def look(db):
            return [
                to_item(row) for row in db.rows(select(where, order), **names, **states, **values)
            ]

        return self._read(look, connection)

    def first(self, kinds, *, connection=None):
        """The item that `Leases.take` would take now, without taking it; None if there is none."""

        def look(db):
            positions = candidates(db, self._sql, as_tuple(kinds), 1, ripe=True)
            return to_item(db.rows(select("i.position=:p0"), **positions)[0]) if positions else None

        return self._read(look, connection)

    def next_ripe(self, kinds, *, connection=None):
        """When something can be taken.

        Returns
        -------
        float or None : s from now, 0 if there is something already, None if nothing is pending or
            delayed
        """

        def look(db):
            if candidates(db, self._sql, as_tuple(kinds), 1, ripe=True):
                return 0.0
            where, names = in_list("kind", kinds)
            sql = (
                f"SELECT MIN(not_before) - {self._sql.now} AS s FROM lease_items WHERE "
                f"not_before IS NOT NULL AND {where}"
            )
            ripe = db.rows(sql, **names)[0]["s"]
            return None if ripe is None else max(0.0, float(ripe))

        return self._read(look, connection)

    def counts(self, *, kinds=None, since=None, connection=None):
        """How many items are in which state, of the finished ones those since a time.

        Parameters
        ----------
        kinds : str or sequence of str, or None for all
        since : s since 1970 or None
        connection : SQLAlchemy connection or None

        Returns
        -------
        dict of state to int, all of `STATES`
        """
        by_kind = self.counts_by_kind(kinds=kinds, since=since, connection=connection)
        return {state: sum(counts[state] for counts in by_kind.values()) for state in STATES}

    def counts_by_kind(self, *, kinds=None, since=None, connection=None):
        """The same as `counts` for each kind: dict of kind to dict of state to int.

        Parameters
        ----------
        kinds : str or sequence of str, or None for all
        since : s since 1970, or None; finished items count only from this on
        connection : SQLAlchemy connection or None
        """
        where, names = in_list("kind", kinds)
        if since is not None:
            where += " AND (finished IS NULL OR finished>=:since)"
            names = names | {"since": since}
        sql = (
            f"SELECT kind, state, COUNT(*) AS n FROM lease_items WHERE {where} GROUP BY kind, state"
        )
        counts = {}
        for row in self._read(lambda db: db.rows(sql, **names), connection):
            counts.setdefault(row["kind"], dict.fromkeys(STATES, 0))[row["state"]] = row["n"]
        return counts

    def is_over(self, kinds=None, *, connection=None):
        """Whether nothing is pending or delayed, and nobody holds an item that might come back."""
        where, names = in_list("kind", kinds)
        # one look through each index, all of which hold few of the rows
        parts = ("state='pending'", "not_before IS NOT NULL", "holder IS NOT NULL")
        sql = " UNION ALL ".join(
            f"SELECT * FROM (SELECT 1 FROM lease_items WHERE {part} AND {where} LIMIT 1) AS {name}"
            for part, name in zip(parts, ("part1", "part2", "part3"), strict=True)
        )
        return not self._read(lambda db: db.rows(sql, **names), connection)

    def n_waiting(self, kinds=None, *, connection=None):
        """How many items are pending or delayed; its cost grows with these only."""
        where, names = in_list("kind", kinds)
        sql = (
            f"SELECT (SELECT COUNT(*) FROM lease_items WHERE state='pending' AND {where}) + "
            f"(SELECT COUNT(*) FROM lease_items WHERE not_before IS NOT NULL AND {where}) AS n"
        )
        return self._read(lambda db: db.rows(sql, **names)[0]["n"], connection)

    def holders(self, *, connection=None):
        """Who takes items: list of dicts of id, host, pid, registered, seen and lease_until (s
        since 1970)."""
        sql = (
            "SELECT id, host, pid, registered, seen, lease_until FROM lease_holders ORDER BY "
            "registered"
        )
        return self._read(lambda db: [dict(row) for row in db.rows(sql)], connection)

    @property
    def stopping(self):
        """Whether those who take have been asked to end; of a file, looked up again only when
        somebody has written to it."""
        change = self.store.change_number(), self._writes
        if change[0] is None or change != self._stopping[0]:
            sql = "SELECT value FROM lease_control WHERE name='stopping'"
            self._stopping = change, bool(self._read(lambda db: db.rows(sql)[0]["value"], None))
        return self._stopping[1]

    def _read(self, look, connection):
        if connection is not None:
            return look(EngineConnection(connection))
        with self.store.reading() as db:
            return look(db)

    def _get(self, db, id):
        rows = db.rows(select("i.id=:id"), id=id)
        return to_item(rows[0]) if rows else None


def candidates(db, dialect, kinds, n, *, ripe=False):
    """The positions of the first items that are pending, as named parameters.

    Each kind is looked at through the index that is ordered as items are taken, so that the cost
    does not grow with their number.

    Parameters
    ----------
    db : connection of a store
    dialect : stores.Dialect
    kinds : tuple of str
    n : int, how many at most
    ripe : bool, also the delayed ones whose time has come, which nobody has made pending yet
    """
    if not kinds:
        return {}
    ordered = (
        "SELECT position, priority FROM lease_items WHERE state='pending' AND kind=:k{} "
        "ORDER BY priority, position LIMIT {}"
    )
    names = {f"k{i}": kind for i, kind in enumerate(kinds)}
    if len(kinds) == 1 and not ripe:
        sql = ordered.format(0, int(n))
    else:
        # a sub-select each, since SQLite knows no brackets around the parts of a UNION
        parts = [
            f"SELECT * FROM ({ordered.format(i, int(n))}) AS part{i}" for i in range(len(kinds))
        ]
        if ripe:
            where, delayed = in_list("kind", kinds)
            names |= delayed
            due = f"not_before <= {dialect.now} AND {where}"
            parts.append(f"SELECT position, priority FROM lease_items WHERE {due}")
        union = " UNION ALL ".join(parts)
        order = f"ORDER BY priority, position LIMIT {int(n)}"
        sql = f"SELECT position FROM ({union}) AS first_ones {order}"
    return positions(row["position"] for row in db.rows(sql, **names))


def select(where, order="i.position"):
    """SQL: items with the end of their holder's lease."""
    columns = ", ".join(f"i.{column}" for column in COLUMNS)
    return (
        f"SELECT i.position, {columns}, h.lease_until FROM lease_items i LEFT JOIN "
        "lease_holders h ON h.id=i.holder "
        f"WHERE {where} ORDER BY {order}"
    )


def to_item(row):
    """The Item in a row of `select`; a payload that is damaged is None."""
    values = {column: row[column] for column in COLUMNS} | {"lease_until": row["lease_until"]}
    try:
        values["payload"] = json.loads(values["payload"])
    except (TypeError, ValueError):
        values["payload"] = None
    return Item(key=values.pop("item_key"), **values)


def positions(numbers):
    """Named parameters of a list of positions."""
    return {f"p{i}": number for i, number in enumerate(numbers)}


def marks(names):
    """SQL: the named parameters, for ``IN (...)``."""
    return ", ".join(f":{name}" for name in names)


def in_list(column, values, prefix="kind"):
    """A condition that a column has one of some values, and its named parameters.

    Parameters
    ----------
    column : str
    values : str or sequence of str; None: no condition
    prefix : of the names of the parameters
    """
    if values is None:
        return "1=1", {}
    names = {f"{prefix}_{i}": value for i, value in enumerate(as_tuple(values))}
    return (f"{column} IN ({marks(names)})", names) if names else ("1=0", {})


def as_tuple(values):
    """A tuple of one text or of several."""
    return (values,) if isinstance(values, str) else tuple(values)


def stored_text(text):
    """A text that databases can hold: names of files need not be UTF-8, and what is not is spelled
    out."""
    return None if text is None else str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def stored_key(key):
    """A key as it is stored."""
    key = stored_text(key)
    if key is None or len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 50]}#{hashlib.sha1(key.encode()).hexdigest()}"
