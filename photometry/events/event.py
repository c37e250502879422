"""`Event`: a name plus `Arguments`, the one bag of values that goes from primitive to primitive.
`Action`: what an event becomes by the event table. `OUTCOME`: what became of it."""

import enum
import math
import os
from datetime import datetime, timezone
from itertools import chain

from ..errors import WrongUseError


class Arguments:
    """Positional values and keywords in one bag.

    Keywords are attributes, and also ``args["key"]``; positional values are ``args[0]``, slices
    allowed. ``name`` always exists, ``"undef"`` where nothing was said. ``len()`` and iteration see
    the positional values only."""

    def __init__(self, *positional, **keywords):
        self.name = "undef"
        self._args = list(positional)
        self.__dict__.update(keywords)

    def __getitem__(self, index):
        return self.__dict__[index] if isinstance(index, str) else self._args[index]

    def __setitem__(self, index, value):
        if isinstance(index, str):
            self.__dict__[index] = value
        else:
            self._args[index] = value

    def __len__(self):
        return len(self._args)

    def __iter__(self):
        return iter(self._args)

    def iter_kw(self):
        """The names of the keywords, ``name`` first."""
        return (key for key in self.__dict__ if key != "_args")

    def len_kw(self):
        """How many keywords there are, ``name`` among them."""
        return len(self.__dict__) - 1

    def insert(self, index, value):
        """Put a positional value before ``index``."""
        self._args.insert(index, value)

    def append(self, value):
        """Add one positional value."""
        self._args.append(value)

    def extend(self, *values):
        """Add several positional values."""
        self._args.extend(values)

    def pop(self):
        """Take the last positional value out and return it."""
        return self._args.pop()

    def update(self, **keywords):
        """Set several keywords."""
        self.__dict__.update(keywords)

    def __str__(self):
        positional = (f"{i}: {value}" for i, value in enumerate(self._args))
        keywords = (f'"{key}": {self[key]}' for key in self.iter_kw())
        return ", ".join(chain(positional, keywords))

    __repr__ = __str__

    def to_json(self):
        """The bag as a dict that JSON can hold: ``{"args": [...], "kwargs": {...}}``.

        Raises
        ------
        WrongUseError : a value is not JSON-like; its key is named
        """
        content = {"args": self._args, "kwargs": {key: self[key] for key in self.iter_kw()}}
        _check(content["args"], "positional value ")
        for key, value in content["kwargs"].items():
            _check(value, key)
        return content

    @classmethod
    def from_json(cls, content):
        """The inverse of `to_json`; tuples have become lists."""
        return cls(*content["args"], **content["kwargs"])


def _check(value, key):
    """Refuse what would not come back from JSON as it went in, naming the key."""
    if isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            _check(part, f"{key}[{i}]")
    elif isinstance(value, dict) and all(isinstance(part, str) for part in value):
        for part, inner in value.items():
            _check(inner, f"{key}[{part!r}]")
    elif not (
        value is None or (isinstance(value, (str, int, float)) and not _is_not_a_number(value))
    ):
        raise WrongUseError(
            f"Arguments: {key}={value!r} ({type(value).__name__}) cannot go into a shared "
            "queue; accepted are text, finite"
            " numbers, True, False, None, and lists and dicts (with text keys) of those. "
            "Pass a file name instead"
        )


def _is_not_a_number(value):
    return isinstance(value, float) and not math.isfinite(value)


class OUTCOME(str, enum.Enum):
    """What became of an item, i.e. of a low-priority event with all the steps that followed from
    it.

    ``DONE``: every step ran.

    ``SKIPPED``: there was nothing to do: a pre-condition was not met, or a primitive raised
    `NothingToDoError`.

    ``RETRY``: the cause lies outside and may pass (`TryAgainError`): the item went back to the
    queue.

    ``FAILED``: a step raised an exception, its post-condition was not met, or the item ran out of
    attempts."""

    DONE = "done"
    SKIPPED = "skipped"
    RETRY = "retry"
    FAILED = "failed"

    __str__ = str.__str__


class Event:
    """Something that happened, for instance that a file has arrived.

    Parameters
    ----------
    name : str, looked up in the pipeline's event table; the event's id if None
    args : Arguments, or None
    recurrent : bool
        Once done, a new event with the same name and arguments is appended.
    key : str, optional
        Identity of what the event is about. A queue on disk accepts a key once and remembers it
        when the item is done.
    """

    def __init__(self, name, args=None, recurrent=False, key=None):
        self.id = os.urandom(16).hex()
        self.name = self.id if name is None else name
        self.args = args
        self.key = key
        self.attempt = 0  # how many times it was taken
        self.repeats = 0  # how many times it recurred
        self.error = None  # why the last attempt ended
        self.queue = None  # the queue that it was taken from
        # as a shared queue reports them
        self.state = self.worker = self.lease_until = self.taken = None
        self._recurrent = recurrent
        self._timestamp = datetime.now(timezone.utc)

    def set_recurrent(self, recurrent):
        """Make the event recur, or end its recurrence."""
        self._recurrent = recurrent

    def successor(self):
        """A new event with the same name and arguments, one repeat later."""
        event = Event(self.name, self.args, self._recurrent)
        event.repeats = self.repeats + 1
        return event

    def args_json(self):
        """The arguments as a dict that JSON can hold; those of an event without any are empty.

        Raises
        ------
        WrongUseError : they are not Arguments, or hold a value that is not JSON-like; its key is
            named
        """
        if self.args is None:
            return Arguments().to_json()
        if not isinstance(self.args, Arguments):
            raise WrongUseError(
                f"event {self.name!r}: args is {type(self.args).__name__}; a shared queue "
                "accepts Arguments"
            )
        return self.args.to_json()

    def to_dict(self):
        """What a tool shows of the event of a shared queue, as a dict that JSON can hold."""
        shown = ("id", "name", "state", "attempt", "worker", "taken", "lease_until", "error")
        return {key: getattr(self, key) for key in shown} | {
            "args": self.args_json(),
            "recurrent": self._recurrent,
        }

    def __str__(self):
        return f"{self.name}, {self.args}"

    def __repr__(self):
        return f"Event({self.name!r}, {self.args})"


class Action:
    """One call to make: the action, the state afterwards and the next event of a row of the event
    table.

    Attributes
    ----------
    output : what the action returned; None before
    outcome : OUTCOME, and ``error``, the message that says why where it is not DONE
    """

    def __init__(self, event, event_info, args):
        self.name, self.next_state, self.new_event = event_info
        self.event = event
        self.args = args
        self.output = None
        self.outcome = None
        self.error = None
        # 'pre' or 'post', set by a primitive class that checks for itself
        self.failed_check = None
        # left out, since the pre-condition of its class is not met, while its chain goes on
        self.skipped = False

    def __str__(self):
        return f"{self.name}, {self.args}, {self.next_state}, {self.new_event}"
