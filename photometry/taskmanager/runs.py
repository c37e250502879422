"""`Run`: the record of one run of the program, in the table ``runs``."""

import datetime
import json
import os
import socket
import sys

from .._version import __version__
from . import schema


class Run:
    """One run.

    Parameters
    ----------
    number : int
    info : dict
        Columns of the table ``runs``; where missing, this process is described. What is no column is kept as JSON.
    """

    def __init__(self, number, info):
        self.number = number
        known = {key: value for key, value in info.items() if key in schema.RUNS_COLUMNS}
        other = {key: value for key, value in info.items() if key not in schema.RUNS_COLUMNS}
        self._row = dict.fromkeys(schema.RUNS_COLUMNS) | {
            "command": " ".join(sys.argv),
            "version": __version__,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "start": _now(),
            "info": other or None,
        }
        self._row |= known | {"run": number}

    def end(self, exit_code, reason):
        self._row |= {"end": _now(), "exit_code": exit_code, "reason": reason}

    def change(self):
        """The change (see `changes.apply`) that records this run as it is now."""
        return "run", [tuple(_cell(value) for value in self._row.values())]


def _cell(value):
    if value is None or isinstance(value, (str, int, float)):
        return value
    return json.dumps(value, default=str)


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
