"""`Arguments`: the one bag of values that an event carries from primitive to primitive."""

import math
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
