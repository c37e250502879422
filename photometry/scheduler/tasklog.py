"""What the work of each task logged, in one file for the whole run; and failures grouped by cause.

In the worker the records of a task are collected and travel with its result; the master appends
them, one JSON object a line. A million tasks make one file, and ``photometry log STARID`` finds a
target's lines in it.
"""

import contextlib
import json
import logging
import os
import re
from dataclasses import dataclass

from ..errors import WrongUseError

LOG_NAME = "photometry-log.jsonl"


class _Collector(logging.Handler):
    def emit(self, record):
        self.lines.append(
            (round(record.created, 3), record.levelname, record.name, record.getMessage())
        )


_collector = _Collector(logging.INFO)
_collector.lines = []


def collect_from_here(*, only=False):
    """Have this process collect what the package logs, and the warnings of libraries. Called once
    in each worker.

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
    """Appends what tasks logged to one file, until `close`.

    Parameters
    ----------
    path : path of the file; a symbolic link is not followed

    Raises
    ------
    WrongUseError : the file cannot be opened
    """

    def __init__(self, path):
        try:
            number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            problem = "is a symbolic link" if os.path.islink(path) else error.strerror
            raise WrongUseError(
                f"{path}: {problem}; expected a file that the log of the run can be appended to"
            ) from None
        self._file = open(number, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        with open(path, "rb") as file:  # a writer that was killed wrote half of the last line
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if size and file.read(1) != b"\n":
                self._file.write("\n")

    def write(self, logged, source):
        """Append log lines.

        Parameters
        ----------
        logged : list of (task, lines), as `dispatch.Dispatch.logged`
        source : `protocol.TaskSource` of the tasks
        """
        text = "".join(
            self._records(lines, {"task": source.id(task), "label": source.label(task)})
            for task, lines in logged
        )
        if text:
            self._file.write(text)
            self._file.flush()

    @staticmethod
    def _records(lines, head):
        return "".join(
            json.dumps(
                {"time": time, "level": level, **head, "logger": logger, "message": message},
                default=str,
            )
            + "\n"
            for time, level, logger, message in lines
        )

    def close(self):
        self._file.close()


def read_log(path, *, name=None):
    """Yield the records of a log file as dicts, of one task or of all.

    Parameters
    ----------
    path : path of the file
    name : str or int, the label of the task, as 'TIC 25155310', or the last word of it; None: all
        tasks
    """
    name = None if name is None else str(name)
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if name is not None and name not in line:
                continue
            # A line that a killed master did not finish is no record.
            with contextlib.suppress(json.JSONDecodeError):
                record = json.loads(line)
                label = str(record.get("label"))
                if name is None or name in (label, label.rpartition(" ")[2]):
                    yield record


# Failures by cause

# groups that are kept; what comes after goes into one last group, so that a summary stays a summary
MAX_GROUPS = 200


@dataclass
class FailureGroup:
    """Failures with the same error class, message (but for numbers and paths) and position in the
    code.
    """

    error_class: str
    message: str
    where: str
    count: int
    example: str  # label of a task
    example_text: str

    def as_dict(self):
        return dict(vars(self))


class FailureGroups:
    """Counts failures by cause as results come in, so that ten thousand of them read as the three
    things that are wrong.
    """

    def __init__(self):
        self._groups = {}

    def add(self, failure, label):
        """Count a `protocol.Failure` of the task with this label."""
        key = failure.error_class, without_numbers(failure.text), failure.where
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = "", "other causes", ""
        if key not in self._groups:
            self._groups[key] = FailureGroup(*key, 0, label, failure.text)
        self._groups[key].count += 1

    def as_list(self):
        """Groups as dicts, the most frequent first."""
        groups = sorted(self._groups.values(), key=lambda group: -group.count)
        return [group.as_dict() for group in groups]


# a path, or the bare name of a file in the folder of the run
_PATH = re.compile(
    r"(?<![\w.])(?:[\w.~-]*/)+[\w.~-]+"
    r"|(?<![\w./])[\w~-][\w.~-]*\.(?:fits?|gz|fz|hdf5|sqlite|ecsv|csv)(?!\w)"
)


def without_numbers(text):
    """The first line of a message with paths and numbers replaced, so that equal causes read the
    same.
    """
    line = text.strip().splitlines()[0] if text.strip() else ""
    line = _PATH.sub("PATH", line)
    return re.sub(r"(?<![A-Za-z_])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", "N", line)
