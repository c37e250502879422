"""A connection of the public interface, and what it shares: transactions, registries, metadata of
any owner."""

import contextlib
import json
import time

import sqlalchemy as sa

from ..errors import WrongUseError
from .connect import Database, take_lock
from .lookups import metadata_of_scope, parsed
from .objects import MetadataItem
from .rows import Registries, allocate, chunks, encode_value, fetch_metadata
from .schema import METADATA_ITEMS, OWNERS, SCOPES, TASKS
from .settings import Settings, load_chain_settings


class Session:
    """Reads see the newest state; the first change begins a transaction that no other change
    overlaps.

    Leaving the ``with`` block commits and closes; leaving it by an exception undoes what was not
    committed.

    Parameters
    ----------
    file_store_path : path of the file store, by default that of the settings
    database : connect.Database, by default that of the settings
    settings : ChainSettings, by default from file and environment
    """

    def __init__(self, file_store_path=None, *, database=None, settings=None):
        from .filestore import FileStore

        chain_settings = settings or load_chain_settings()
        self.settings = Settings(chain_settings).settings
        self._owns_database = database is None
        self.db_handle = database or Database(chain_settings.database_url)
        if self._owns_database:
            self.db_handle.migrate()
        self.file_store_path = str(file_store_path or chain_settings.file_store)
        self.store = FileStore(self.file_store_path)
        self.registries = Registries()
        self._db = self.db_handle.engine.connect()
        self._is_changing = False

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.commit()
        else:
            self.rollback()
        self.close_db()

    def commit(self):
        """Make the changes last."""
        self._db.commit()
        self._is_changing = False

    def rollback(self):
        """Undo the changes since the last commit."""
        self._db.rollback()
        self._is_changing = False
        self.registries = Registries()

    def close_db(self):
        """End the connection; what was not committed is undone."""
        self._db.close()
        if self._owns_database:
            self.db_handle.close()

    def _reading(self):
        """The connection, for a query; a server's snapshot of an earlier query is given up."""
        if not self._is_changing:
            self._db.rollback()
        return self._db

    def _changing(self):
        """The connection, for a change."""
        if not self._is_changing:
            self._db.rollback()
            if self.db_handle.is_sqlite:
                self._db.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                take_lock(self._db)
            self._is_changing = True
        return self._db

    def _rows(self, query):
        return self._reading().execute(query).all()

    def _value(self, query):
        return self._reading().execute(query).scalar()

    # --- registries

    def hostname_get_id(self, name):
        """Id of a host, made where it is new."""
        return self.registries.hosts.id(self._changing(), name)

    def semantic_type_get_id(self, name):
        """Id of a role of files, made where it is new."""
        return self.registries.semantics.id(self._changing(), name)

    def metadata_keyword_id(self, keyword):
        """Id of a key of metadata, made where it is new."""
        return self.registries.keys.id(self._changing(), keyword)

    # --- metadata

    @staticmethod
    def _owner(task_id, scheduling_attempt_id, product_id, product_version_id):
        ids = dict(
            zip(
                OWNERS,
                (task_id, scheduling_attempt_id, product_id, product_version_id),
                strict=True,
            )
        )
        given = {owner: id_ for owner, id_ in ids.items() if id_ is not None}
        if len(given) != 1:
            raise WrongUseError(
                f"metadata belong to one of {', '.join(OWNERS)}; {len(given)} ids were given"
            )
        return next(iter(given.items()))

    def metadata_fetch_all(
        self, task_id=None, scheduling_attempt_id=None, product_id=None, product_version_id=None
    ):
        """Metadata of a task (with what it inherits), an attempt, a product or a version: dict of
        `MetadataItem`.

        Parameters
        ----------
        task_id, scheduling_attempt_id, product_id, product_version_id : exactly one of these
        """
        owner, id_ = self._owner(task_id, scheduling_attempt_id, product_id, product_version_id)
        inherited = self._inherited(id_) if owner == "taskId" else {}
        return inherited | self._metadata_of(owner, [id_])[id_]

    def _metadata_of(self, owner, ids):
        """Metadata of several owners in one query: dict id -> dict of `MetadataItem`."""
        return {
            id_: {key: MetadataItem(key, value, moment) for key, value, moment in items}
            for id_, items in fetch_metadata(self._reading(), owner, ids).items()
        }

    def _inherited(self, task_id):
        query = (
            sa.select(SCOPES.c.scope, TASKS.c.createdTime)
            .join(TASKS, TASKS.c.scopeId == SCOPES.c.scopeId)
            .where(TASKS.c.taskId == task_id)
        )
        row = self._reading().execute(query).first()
        if row is None:
            return {}
        values = metadata_of_scope(row.scope)
        return {key: MetadataItem(key, value, row.createdTime) for key, value in values.items()}

    def metadata_fetch_item(
        self,
        keyword,
        task_id=None,
        scheduling_attempt_id=None,
        product_id=None,
        product_version_id=None,
    ):
        """One item of metadata, or None.

        Parameters
        ----------
        keyword : str
        task_id, scheduling_attempt_id, product_id, product_version_id : exactly one of these
        """
        found = self.metadata_fetch_all(
            task_id, scheduling_attempt_id, product_id, product_version_id
        )
        return found.get(keyword)

    def metadata_register(
        self,
        metadata,
        task_id=None,
        scheduling_attempt_id=None,
        product_id=None,
        product_version_id=None,
    ):
        """Set metadata; what has the same key is replaced.

        Parameters
        ----------
        metadata : dict of plain values or `MetadataItem`
        task_id, scheduling_attempt_id, product_id, product_version_id : exactly one of these
        """
        owner, id_ = self._owner(task_id, scheduling_attempt_id, product_id, product_version_id)
        db, t = self._changing(), METADATA_ITEMS.c
        if not metadata:
            return
        keys = self.registries.keys.ids(db, set(metadata))
        for some in chunks(keys[key] for key in metadata):
            db.execute(sa.delete(METADATA_ITEMS).where(t[owner] == id_, t.metadataKey.in_(some)))
        first = allocate(db, METADATA_ITEMS, len(metadata))
        rows = []
        for number, (key, item) in enumerate(metadata.items()):
            is_item = isinstance(item, MetadataItem)
            kind, value, text = encode_value(item.value if is_item else item)
            rows.append(
                {
                    "itemId": first + number,
                    owner: id_,
                    "metadataKey": keys[key],
                    "setAtTime": item.timestamp if is_item else time.time(),
                    "valueType": kind,
                    "valueFloat": value,
                    "valueString": text,
                }
            )
        db.execute(METADATA_ITEMS.insert(), rows)
        if owner == "taskId":
            self._extend_scope(db, id_, metadata)

    def _extend_scope(self, db, task_id, metadata):
        """What is set on a task row is there for its expressions, too: the task gets a scope of its
        own."""
        query = (
            sa.select(SCOPES.c.scope)
            .join(TASKS, TASKS.c.scopeId == SCOPES.c.scopeId)
            .where(TASKS.c.taskId == task_id)
        )
        text = db.execute(query).scalar()
        if text is None:
            return
        scope = parsed(text)
        plain = {key: getattr(item, "value", item) for key, item in metadata.items()}
        scope = {**scope, "metadata": scope.get("metadata", {}) | plain}
        scope_id = allocate(db, SCOPES)
        db.execute(SCOPES.insert().values(scopeId=scope_id, scope=json.dumps(scope, default=str)))
        db.execute(sa.update(TASKS).where(TASKS.c.taskId == task_id).values(scopeId=scope_id))

    @contextlib.contextmanager
    def _undone_on_error(self):
        try:
            yield
        except BaseException:  # also when interrupted: whole or not at all
            self.rollback()
            raise
