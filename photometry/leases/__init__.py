"""Items of work with a lease: taken by one process at a time, and given back when it dies or falls
silent.

`Leases` is the contract; `stores` are the databases that it works on. The queues of events and of
chains stand on it."""

from .holding import Holder
from .leases import Leases, backoff
from .view import STATES, Item

__all__ = ["STATES", "Holder", "Item", "Leases", "backoff"]
