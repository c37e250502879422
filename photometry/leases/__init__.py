"""Items of work with a lease: taken by one process at a time, and given back when it dies or falls
silent.

`Leases` is the contract; `stores` are the databases that it works on. The queues of events and of
chains stand on it."""

from .item import STATES, Holder, Item
from .leases import Leases, backoff

__all__ = ["STATES", "Holder", "Item", "Leases", "backoff"]
