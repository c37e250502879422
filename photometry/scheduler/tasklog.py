"""What the work of each target logged, in one file for the whole run.

In the worker the records of a task are collected and travel with its result; the master appends them, one JSON object
a line. A million targets make one file, and ``photometry log STARID`` finds a target's lines in it.
"""

import contextlib
import json
import logging
import os

LOG_NAME = "photometry-log.jsonl"


class _Collector(logging.Handler):
    def __init__(self):
        super().__init__(logging.INFO)
        self.lines = []

    def emit(self, record):
        self.lines.append(
            (round(record.created, 3), record.levelname, record.name, record.getMessage())
        )


_collector = _Collector()


def collect_from_here(*, only=False):
    """Have this process collect what the package logs, and the warnings of libraries. Called once in each worker.

    Parameters
    ----------
    only : bool; what is collected is not written to standard error as well
    """
    logging.captureWarnings(True)
    for name in ("photometry", "py.warnings"):
        logger = logging.getLogger(name)
        logger.propagate = not only
        if _collector not in logger.handlers:
            logger.addHandler(_collector)
    ours = logging.getLogger("photometry")
    ours.setLevel(min(ours.level or logging.INFO, logging.INFO))


def collected():
    """A new list that receives what is logged from now on: (time, level, logger, message)."""
    _collector.lines = lines = []
    return lines


class TaskLog:
    """Appends what tasks logged to one file. A context manager."""

    def __init__(self, path):
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        if _torn(path):
            self._file.write("\n")

    def write(self, results):
        """Take the log lines out of results and append them."""
        text = "".join(self._lines(result) for result in results if "log" in result)
        if text:
            self._file.write(text)
            self._file.flush()

    @staticmethod
    def _lines(result):
        head = {
            "starid": result.get("starid"),
            "priority": result["priority"],
            "rank": result["attempt"].get("rank"),
        }
        return "".join(
            json.dumps({"time": time, "level": level, **head, "logger": logger, "message": message})
            + "\n"
            for time, level, logger, message in result.pop("log")
        )

    def close(self):
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _torn(path):
    """Whether a writer that died left half a line at the end."""
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_log(path, *, starid=None):
    """Yield the records of a log file as dicts, of one target or of all."""
    needle = "" if starid is None else f'"starid": {starid},'
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if needle in line:
                # A line that a killed master left unfinished is no record.
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)
