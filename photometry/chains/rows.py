"""Small queries that all parts of the task database share: ids, registries, metadata with types,
sets of ids."""

import json
import math

import sqlalchemy as sa

from . import schema
from .schema import LOCK, METADATA_ITEMS, METADATA_KEYS

CHUNK = 500  # ids in one IN (...); SQLite takes 999 parameters at least


def allocate(db, table, n=1):
    """The first of ``n`` new ids of a table.

    Parameters
    ----------
    db : connection that holds the lock
    table : table
    n : int
    """
    name = table.name
    db.execute(sa.update(LOCK).where(LOCK.c.name == name).values(counter=LOCK.c.counter + n))
    return db.execute(sa.select(LOCK.c.counter).where(LOCK.c.name == name)).scalar_one() - n + 1


def chunks(values):
    """A list in pieces that fit into one IN (...)."""
    values = list(values)
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def select_in(db, query, column, values):
    """All rows of ``query`` where ``column`` is one of ``values``, which may be many.

    Parameters
    ----------
    db : connection
    query : select
    column : column of it
    values : ids
    """
    rows = []
    for some in chunks(values):
        rows += db.execute(query.where(column.in_(some))).all()
    return rows


def update_in(db, table, column, values, where=None, **changes):
    """Change rows whose ``column`` is one of ``values``; returns how many there were.

    Parameters
    ----------
    db : connection
    table : table
    column : column of it
    values : ids
    where : further condition, or None
    changes : new values by column
    """
    count = 0
    for some in chunks(values):
        statement = sa.update(table).where(column.in_(some)).values(**changes)
        count += db.execute(statement if where is None else statement.where(where)).rowcount
    return count


def many(db, statement, rows):
    """Execute a statement for each of some rows, if there are any.

    Parameters
    ----------
    db : connection
    statement : with named parameters
    rows : list of dict
    """
    if rows:
        db.execute(statement, rows)


class Registry:
    """Ids of names in a table of names, made where they are new.

    Only what was committed by an earlier change is remembered, so that a change which is undone
    leaves nothing wrong.

    Parameters
    ----------
    table : table
    id_column, name_column : names of its columns
    """

    def __init__(self, table, id_column, name_column):
        self._table, self._id, self._name = table, table.c[id_column], table.c[name_column]
        self._ids = {}
        self._names = {}

    def ids(self, db, names):
        """dict name -> id, all made where they are missing."""
        missing = {name for name in names if name not in self._ids}
        known = dict(self._ids) if missing else self._ids
        if missing:
            found = select_in(db, sa.select(self._name, self._id), self._name, sorted(missing))
            self._remember(found)
            known.update((name, id_) for name, id_ in found)
            new = sorted(missing - {name for name, _ in found})
            if new:
                first = allocate(db, self._table, len(new))
                rows = [
                    {self._name.name: name, self._id.name: first + i} for i, name in enumerate(new)
                ]
                db.execute(self._table.insert(), rows)
                known.update((row[self._name.name], row[self._id.name]) for row in rows)
        return known

    def id(self, db, name):
        """The id of one name, made where it is missing."""
        return self.ids(db, [name])[name]

    def find(self, db, name):
        """The id of a name, or None."""
        if name not in self._ids:
            self._remember(select_in(db, sa.select(self._name, self._id), self._name, [name]))
        return self._ids.get(name)

    def name(self, db, id_):
        """The name of an id, or None."""
        if id_ not in self._names:
            self._remember(select_in(db, sa.select(self._name, self._id), self._id, [id_]))
        return self._names.get(id_)

    def _remember(self, rows):
        for name, id_ in rows:
            self._ids[name] = id_
            self._names[id_] = name


class Registries:
    """The registries of one database."""

    def __init__(self):
        self.types = Registry(schema.TASK_TYPES, "taskTypeId", "taskTypeName")
        self.semantics = Registry(schema.SEMANTIC_TYPES, "semanticTypeId", "name")
        self.keys = Registry(METADATA_KEYS, "keyId", "name")
        self.hosts = Registry(schema.HOSTS, "hostId", "hostname")
        self.containers = Registry(schema.CONTAINERS, "containerId", "containerName")


# --- metadata: values keep their type


def encode_value(value):
    """(valueType, valueFloat, valueString) of a plain value."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a number of numpy
        value = value.item()
    if isinstance(value, bool):
        return "bool", float(value), None
    if isinstance(value, int):
        return "int", None, str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return "float", value, None
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf", None, None
    if isinstance(value, str):
        return "str", None, value.replace("\x00", "")
    if value is None:
        return "null", None, None
    return "json", None, json.dumps(value, default=_plain)


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)


def decode_value(kind, number, text):
    """The value that `encode_value` made these of.

    Parameters
    ----------
    kind : str, valueType
    number : valueFloat
    text : valueString
    """
    if kind == "float":
        return number
    if kind == "bool":
        return bool(number)
    if kind == "str":
        return text
    if kind in ("int", "json"):
        try:
            return json.loads(text)
        except (TypeError, ValueError):  # written by another program
            return "unknown"
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}.get(kind)


def insert_metadata(db, registries, owner, items, now):
    """Store new metadata.

    Parameters
    ----------
    db : connection
    registries : Registries
    owner : str, a key of `schema.OWNERS`
    items : list of (id of the owner, dict of values)
    now : s since 1970
    """
    names = {str(key) for _, values in items for key in values}
    if not names:
        return
    keys = registries.keys.ids(db, names)
    rows = []
    for owner_id, values in items:
        for key, value in values.items():
            kind, number, text = encode_value(value)
            rows.append(
                {
                    owner: owner_id,
                    "metadataKey": keys[str(key)],
                    "setAtTime": now,
                    "valueType": kind,
                    "valueFloat": number,
                    "valueString": text,
                }
            )
    first = allocate(db, METADATA_ITEMS, len(rows))
    for number, row in enumerate(rows):
        row["itemId"] = first + number
    db.execute(METADATA_ITEMS.insert(), rows)


def fetch_metadata(db, owner, ids):
    """Metadata of several owners: dict id -> list of (key, value, time).

    Parameters
    ----------
    db : connection
    owner : str, a key of `schema.OWNERS`
    ids : ids of owners
    """
    t = METADATA_ITEMS.c
    query = (
        sa.select(
            t[owner], METADATA_KEYS.c.name, t.valueType, t.valueFloat, t.valueString, t.setAtTime
        )
        .join(METADATA_KEYS, METADATA_KEYS.c.keyId == t.metadataKey)
        .order_by(t.itemId)
    )
    found = {id_: [] for id_ in ids}
    for id_, key, kind, number, text, moment in select_in(db, query, t[owner], found):
        found[id_].append((key, decode_value(kind, number, text), moment))
    return found


def fetch_values(db, owner, ids):
    """Metadata of several owners as plain values: dict id -> dict.

    Parameters
    ----------
    db : connection
    owner : 'taskId', 'schedulingAttemptId', 'productId' or 'productVersionId'
    ids : of the owners
    """
    return {
        id_: {key: value for key, value, _ in items}
        for id_, items in fetch_metadata(db, owner, ids).items()
    }
