"""The keys of the framework's configuration: name, default, what is accepted, what it means."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """One key of the configuration."""

    name: str
    default: Any
    accepted: str  # one of the names in _ACCEPTS
    meaning: str

    def accepts(self, value):
        """Whether a value is within what the key accepts."""
        return _ACCEPTS[self.accepted](value)


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _positive(value):
    return _number(value) and value > 0


def _count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_METHODS = ("auto", "native", "polling")

_ACCEPTS = {
    "text": lambda v: isinstance(v, str),
    "text or None": lambda v: v is None or isinstance(v, str),
    "text, or several": lambda v: (
        isinstance(v, str) or (isinstance(v, (list, tuple)) and all(isinstance(p, str) for p in v))
    ),
    "True or False": lambda v: isinstance(v, bool),
    "a number >= 0": _number,
    "a number >= 0 or None": lambda v: v is None or _number(v),
    "a number > 0": _positive,
    "a whole number >= 1": _count,
    "1..65535": lambda v: _count(v) and v <= 65535,
    "a whole number >= 1 or None": lambda v: v is None or _count(v),
    "bytes, text or None": lambda v: v is None or isinstance(v, (bytes, str)),
    f"one of {', '.join(_METHODS)}": lambda v: v in _METHODS,
    "the name of an event, an Event, or None": lambda v: (
        v is None or isinstance(v, str) or hasattr(v, "name")
    ),
}

KEYS = [
    Key("name", "DRP-Example", "text", "label of the run"),
    Key(
        "logger_config_file",
        "logger.cfg",
        "text or None",
        "logging configuration; without the file: the console",
    ),
    Key("print_trace", True, "True or False", "tracebacks in the log"),
    Key("pipeline_path", ("", "pipelines"), "text, or several", "packages searched for pipelines"),
    Key(
        "primitive_path", ("", "primitives"), "text, or several", "packages searched for primitives"
    ),
    Key("output_directory", "output", "text", "where results go"),
    Key("temp_directory", "temp", "text", "where pipelines may put intermediate files"),
    Key(
        "event_timeout",
        1,
        "a number >= 0",
        "s to wait for an item before looking whether the run is over",
    ),
    Key(
        "no_event_event",
        None,
        "the name of an event, an Event, or None",
        "event to run while there is none; None: end when the queues are empty",
    ),
    Key(
        "no_event_wait_time",
        5,
        "a number >= 0",
        "s that no_event waits at most, forced into 5..30; an arriving event ends it",
    ),
    Key("default_ingestion_event", "next_file", "text", "event per ingested file"),
    Key(
        "pre_condition_failed_stop",
        False,
        "True or False",
        "stop the run when a pre-condition is not met",
    ),
    Key("file_type", "*.fits", "text, or several", "patterns of the files to ingest"),
    Key("recursive", False, "True or False", "also look into sub-directories"),
    Key(
        "settle_time",
        2,
        "a number >= 0",
        "s for which a file must not change before it is ingested",
    ),
    Key(
        "monitor_interval",
        10,
        "a number > 0",
        "s between looks at the data directory where it has to be polled",
    ),
    Key(
        "monitor_method",
        "auto",
        f"one of {', '.join(_METHODS)}",
        "auto: the system's notifications, polling on network disks",
    ),
    Key(
        "want_multiprocessing",
        False,
        "True or False",
        "share the low-priority queue between processes",
    ),
    Key(
        "queue_file",
        None,
        "text or None",
        "SQLite file of the queue; None: in memory, or events.sqlite in output_directory",
    ),
    Key(
        "queue_patience",
        60,
        "a number >= 0",
        "s to wait for a shared queue that is gone to come back",
    ),
    Key(
        "lease_time",
        60,
        "a number > 0",
        "s after which an item of a silent worker is handed out again",
    ),
    Key(
        "max_attempts",
        3,
        "a whole number >= 1",
        "how often an item is handed out before it has failed",
    ),
    Key(
        "retry_delay",
        5,
        "a number >= 0",
        "s before an item is tried again, doubled with every attempt",
    ),
    Key(
        "max_chain_length",
        1000,
        "a whole number >= 1",
        "steps of one item, beyond which it has failed",
    ),
    Key(
        "max_repeats",
        None,
        "a whole number >= 1 or None",
        "how often a recurrent event recurs; None: no limit",
    ),
    Key(
        "max_items_per_worker",
        None,
        "a whole number >= 1 or None",
        "items after which a worker is replaced by a fresh one",
    ),
    Key(
        "item_time_limit",
        None,
        "a number >= 0 or None",
        "s after which an item of a worker process is stopped and has failed",
    ),
    Key(
        "stop_grace",
        30,
        "a number >= 0",
        "s that worker processes get to finish their items after a signal",
    ),
    Key("queue_manager_hostname", "localhost", "text", "host of the queue's network front end"),
    Key("queue_manager_portnr", 50101, "1..65535", "its port"),
    Key(
        "queue_manager_auth_code",
        None,
        "bytes, text or None",
        "its secret; there is no default, None: no network",
    ),
]


def as_file():
    """A configuration file with all keys, each with its meaning and default, for the user to change."""
    lines = ["# Every key may be left out; what is here are the defaults.", "[DEFAULT]"]
    for key in KEYS:
        lines += ["", f"# {key.meaning} ({key.accepted})", f"{key.name} = {key.default!r}"]
    return "\n".join(lines) + "\n"
