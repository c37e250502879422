"""The tables of leases, and the little in which databases differ."""

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True)
class Dialect:
    """What differs between databases.

    Attributes
    ----------
    now : SQL, the database's clock in s since 1970
    skip_locked : SQL, ends a SELECT that locks rows and leaves out those that others have locked
    insert_new : SQL with ``{}`` for table, columns and values: an INSERT that leaves out what is
        there already
    one_at_a_time, unlocked : SQL, let one process at a time past, until the other statement or the
        end of the transaction
    partial : whether an index can be of some rows only
    single_host : whether all processes that see the database are on one host
    """

    now: str
    skip_locked: str
    insert_new: str
    one_at_a_time: str
    unlocked: str
    partial: bool
    single_host: bool
    types: dict

    def insert(self, table, columns, values):
        """SQL: an INSERT that leaves out a row that is there already, by its id or by kind and key.

        Parameters
        ----------
        table, columns, values : SQL, columns and values separated by commas
        """
        return self.insert_new.format(f"{table} ({columns}) VALUES ({values})")


DIALECTS = {
    "sqlite": Dialect(
        now="((julianday('now') - 2440587.5) * 86400.0)",
        skip_locked="",
        insert_new="INSERT OR IGNORE INTO {}",
        one_at_a_time="SELECT 1",
        unlocked="SELECT 1",
        partial=True,
        single_host=True,
        types={
            "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
            "name": "TEXT",
            "text": "TEXT",
            "number": "REAL",
            "options": "",
        },
    ),
    "postgresql": Dialect(
        now="EXTRACT(EPOCH FROM clock_timestamp())::double precision",
        skip_locked=" FOR UPDATE SKIP LOCKED",
        insert_new="INSERT INTO {} ON CONFLICT DO NOTHING",
        one_at_a_time="SELECT pg_advisory_xact_lock(1819045235)",
        unlocked="SELECT 1",
        partial=True,
        single_host=False,
        types={
            "serial": "BIGSERIAL PRIMARY KEY",
            "name": "VARCHAR(255)",
            "text": "TEXT",
            "number": "DOUBLE PRECISION",
            "options": "",
        },
    ),
    "mysql": Dialect(
        now="UNIX_TIMESTAMP(NOW(6))",
        skip_locked=" FOR UPDATE SKIP LOCKED",
        insert_new="INSERT IGNORE INTO {}",
        one_at_a_time="SELECT GET_LOCK('photometry.leases', 30)",
        unlocked="SELECT RELEASE_LOCK('photometry.leases')",
        partial=False,
        single_host=False,
        types={
            "serial": "BIGINT AUTO_INCREMENT PRIMARY KEY",
            "name": "VARCHAR(255)",
            "text": "LONGTEXT",
            "number": "DOUBLE",
            "options": " ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        },
    ),
}
DIALECTS["mariadb"] = DIALECTS["mysql"]

# lease_control comes last: where it is, the others are too
_TABLES = """
CREATE TABLE IF NOT EXISTS lease_items (
    position {serial}, id {name} NOT NULL UNIQUE, kind {name} NOT NULL, item_key {name},
    payload {text} NOT NULL, priority INTEGER NOT NULL, state {name} NOT NULL,
    attempt INTEGER NOT NULL, max_attempts INTEGER, not_before {number}, holder {name},
    error {text}, created {number} NOT NULL, taken {number}, finished {number},
    UNIQUE (kind, item_key)
){options};
CREATE INDEX lease_order ON lease_items (state, kind, priority, position){where_pending};
CREATE INDEX lease_delayed ON lease_items (not_before){where_delayed};
CREATE INDEX lease_held ON lease_items (holder){where_held};
CREATE TABLE IF NOT EXISTS lease_holders (
    id {name} PRIMARY KEY, host {name} NOT NULL, pid INTEGER NOT NULL, started {number} NOT NULL,
    boot {name} NOT NULL, registered {number} NOT NULL, seen {number} NOT NULL,
    lease_until {number} NOT NULL
){options};
CREATE TABLE IF NOT EXISTS lease_control (name {name} PRIMARY KEY, value INTEGER NOT NULL){options};
INSERT INTO lease_control VALUES ('version', {version}), ('stopping', 0)
"""


def statements(dialect):
    """The statements that make the tables of leases."""
    return _TABLES.format(
        version=VERSION,
        where_pending=" WHERE state='pending'" * dialect.partial,
        where_delayed=" WHERE not_before IS NOT NULL" * dialect.partial,
        where_held=" WHERE holder IS NOT NULL" * dialect.partial,
        **dialect.types,
    ).split(";\n")
