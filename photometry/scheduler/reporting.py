"""What a run reports: how far it is, what the work of each task logged, and failures by cause.

`Progress` is a live display on a terminal, a line a minute in a log file, and the summary for all
others. The log of all tasks is one file. In the worker the records of a task are collected and
travel with its result; the master appends them, one JSON object a line. A million tasks make one
file, and ``photometry log STARID`` finds a target's lines in it.
"""

import contextlib
import heapq
import json
import logging
import math
import os
import re
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ..errors import WrongUseError
from .limits import launched_ranks

log = logging.getLogger(__name__)

LOG_NAME = "photometry-log.jsonl"
LOG_SECONDS = 60.0
SUMMARY_SECONDS = 5.0
DISPLAY_SECONDS = 0.5
MAX_CAUSES, MAX_WORKERS = 4, 8  # that are displayed
LAUNCHER = re.compile(r"mpiexec|mpirun|orterun|prterun|srun")


def timestamp(seconds=None):
    """``'2026-11-21T02:03:04Z'``: a Unix time, or now, as people and programs read it."""
    moment = (
        datetime.now(timezone.utc)
        if seconds is None
        else datetime.fromtimestamp(seconds, timezone.utc)
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Forecast:
    """The time that a run still needs, as a range: from the rate of the whole run and that of its
    last third, each with two standard deviations of a count of independent events.
    """

    SAMPLES = 300

    def __init__(self, start):
        self._samples = deque([(start, 0)])  # (time, tasks done), the newest last

    def note(self, now, done):
        """``done`` tasks had been finished at the time ``now``."""
        self._samples.append((now, done))
        if len(self._samples) > self.SAMPLES:  # half as many, over the whole run
            self._samples = deque(list(self._samples)[::2])

    def remaining(self, n):
        """(least, most) s that ``n`` more tasks take; None where too little is known."""
        (start, _), (now, done) = self._samples[0], self._samples[-1]
        third = now - (now - start) / 3
        since, before = next(sample for sample in self._samples if sample[0] >= third)
        rates = []
        for seconds, number in ((now - start, done), (now - since, done - before)):
            if number >= 9 and seconds > 0:
                rates += [(number + sign * 2 * math.sqrt(number)) / seconds for sign in (-1, 1)]
        return (n / max(rates), n / min(rates)) if rates else None


class Progress:
    """Reports how far a run is.

    Parameters
    ----------
    source : `protocol.TaskSource`, whose ``run_info`` and summary are kept up to date
    total : number of tasks that this run is to do, as far as is known at its beginning
    count : callable() -> how many tasks are still to do, as sources may grow; None: the total is
        final
    quiet : bool, no display

    Attributes
    ----------
    display : context manager within which a terminal shows it
    """

    def __init__(self, source, total, *, count=None, quiet=False):
        self._source = source
        self._total = total
        self._count = count
        self._start = time.monotonic()
        self._logged = self._summarised = self._start
        self._count_again = self._start + SUMMARY_SECONDS
        self._forecast = Forecast(self._start)
        self._n_workers = None
        self._displayed = -math.inf
        file = None if quiet else terminal()
        self._live = None if file is None else _live(file)
        self.display = self._live or contextlib.nullcontext()

    def update(self, dispatch, now):
        """Report; cheap to call often."""
        if self._count is not None and now >= self._count_again:
            self._recount(dispatch, now)
        if self._live is not None and now - self._displayed >= DISPLAY_SECONDS:
            self._displayed = now
            self._forecast.note(now, dispatch.counts["saved"])
            self._live.update(self._picture(dispatch, now), refresh=True)
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            counts = dispatch.counts
            self._forecast.note(now, counts["saved"])
            words = counts["saved"], self._total, counts["failed"], *self._words(counts, now)
            log.info("%d of %d tasks, %d failed, %s, %s", *words)
        if now - self._summarised >= SUMMARY_SECONDS or len(dispatch.workers) != self._n_workers:
            self._summarised, self._n_workers = now, len(dispatch.workers)
            self.note(dispatch, now)
            self._source.write_summary()

    def _recount(self, dispatch, now):
        """Bring the total up to date; counting may take 1 % of the time."""
        begin = time.perf_counter()
        self._total = dispatch.counts["saved"] + dispatch.running + self._count()
        seconds = time.perf_counter() - begin
        self._count_again = now + max(SUMMARY_SECONDS, 100 * seconds)

    def note(self, dispatch, now):
        """Bring the run's part of the summary up to date."""
        done = dispatch.counts["saved"]
        total = max(self._total, done)
        rate = done / max(now - self._start, 1e-9)
        seconds = (total - done) / rate if rate > 0 else None
        self._source.run_info.update(
            workers=len(dispatch.workers),
            workers_lost=dispatch.counts["lost"],
            tasks_this_run=done,
            tasks_total_this_run=total,
            rate=round(rate, 3),
            expected_end=None if seconds is None else timestamp(time.time() + seconds),
            updated=timestamp(),
            failures=dispatch.failures.as_list(),
            warnings=dispatch.warnings.as_list(),
        )

    def _words(self, counts, now):
        """Rate and time left, for people."""
        rate = f"{counts['saved'] / max(now - self._start, 1e-9):.3g} tasks/s"
        left = self._forecast.remaining(max(self._total - counts["saved"], 0))
        if left is None:
            return rate, "time left unknown"
        least, most = (timedelta(seconds=round(seconds)) for seconds in left)
        return rate, f"{least} left" if least == most else f"{least} to {most} left"

    def _picture(self, dispatch, now):
        """What is displayed: bar, causes of failures, what each worker does."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts, head = dispatch.counts, Table.grid(padding=(0, 2))
        bar = ProgressBar(max(self._total, 1), counts["saved"], width=24)
        head.add_row(bar, f"{counts['saved']} of {self._total} tasks, {counts['failed']} failed")
        elapsed = f"{timedelta(seconds=round(now - self._start))} elapsed"
        lines, causes = (
            [", ".join((*self._words(counts, now), elapsed))],
            dispatch.failures.as_list(),
        )
        for cause in causes[:MAX_CAUSES]:
            name = ": ".join(filter(None, (cause["error_class"], cause["message"])))
            lines.append(f"{cause['count']:>8} failed  {name}")
        if len(causes) > MAX_CAUSES:
            lines.append(f"{'':>8} and {len(causes) - MAX_CAUSES} other causes")
        working = [item for item in dispatch.workers.items() if item[1].tasks]
        longest = heapq.nsmallest(MAX_WORKERS, working, key=lambda item: item[1].heard)
        for number, state in longest:
            label = dispatch.source.label(next(iter(state.tasks.values())))
            lines.append(f"  worker {number:<5} {label}  {now - state.heard:.0f} s")
        if len(working) > MAX_WORKERS:
            lines.append(f"  and {len(working) - MAX_WORKERS} other workers, at quicker tasks")
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        return Group(head, *texts)


def terminal():
    """The terminal that a person watches: a text file that can be written to, or None.

    A rank writes into a pipe of its launcher's. The terminal is the one that the launcher itself
    writes its errors to, if it runs on this computer.
    """
    if sys.stderr.isatty():
        return sys.stderr
    if launched_ranks() is None:
        return None
    try:
        pid = os.getppid()
        while pid > 1:
            process = Path(f"/proc/{pid}")
            name = (process / "comm").read_text()
            if LAUNCHER.match(name):
                path = os.readlink(process / "fd/2")
                return open(path, "w") if path.startswith("/dev/pts/") else None
            pid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # no Linux, or not our process
        return None
    return None


def _live(file):
    from rich.console import Console
    from rich.live import Live

    # of a terminal that is none of our own streams, rich does not know the width
    width = None if file is sys.stderr else os.get_terminal_size(file.fileno()).columns
    return Live(console=Console(file=file, width=width), auto_refresh=False, transient=True)


# The log of the tasks


class _Collector(logging.Handler):
    """Puts what is logged into the list ``lines``: (time, level, logger, message)."""

    def emit(self, record):
        self.lines.append(
            (round(record.created, 3), record.levelname, record.name, record.getMessage())
        )


collector = _Collector(logging.INFO)  # the one of this process; each task gives it another list
collector.lines = []


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
        if collector not in logger.handlers:
            logger.addHandler(collector)
    ours = logging.getLogger("photometry")
    ours.setLevel(min(ours.level or logging.INFO, logging.INFO))


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
        self.close = self._file.close
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


class FailureGroups(dict):
    """Counts failures by cause as results come in, so that ten thousand of them read as the three
    things that are wrong: (error class, message, position) -> `FailureGroup`.
    """

    def add(self, failure, label):
        """Count a `protocol.Failure` of the task with this label."""
        key = failure.error_class, without_numbers(failure.text), failure.where
        if key not in self and len(self) >= MAX_GROUPS:
            key = "", "other causes", ""
        if key not in self:
            self[key] = FailureGroup(*key, 0, label, failure.text)
        self[key].count += 1

    def as_list(self):
        """Groups as dicts, the most frequent first."""
        groups = sorted(self.values(), key=lambda group: -group.count)
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
