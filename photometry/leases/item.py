"""What an item is, and who holds it."""

import os
import platform
import uuid
from dataclasses import dataclass

from ..processes import ProcessId

STATES = ("pending", "delayed", "running", "done", "skipped", "failed", "cancelled")
"""``pending``: can be taken. ``delayed``: pending from a later moment on. ``running``: held. The
others are final."""

FINAL = ("done", "skipped", "failed", "cancelled")


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


@dataclass(frozen=True)
class Holder:
    """Who takes items: a process of a host. One process may take through more than one object,
    hence the random part."""

    host: str
    process: ProcessId
    random: str

    @classmethod
    def of_this_process(cls):
        """A new holder of this process."""
        return cls(platform.node(), ProcessId.of(), uuid.uuid4().hex[:6])

    @property
    def name(self):
        """host:pid:random"""
        return f"{self.host}:{self.process.pid}:{self.random}"

    @property
    def is_this_process(self):
        """Whether this is the process that asks, not the parent that it was forked from."""
        return self.process.pid == os.getpid()
