"""How far a run is: a bar on a terminal, a line a minute in a log file, and the summary for everybody else."""

import logging
import sys
import time
from datetime import datetime, timedelta, timezone

log = logging.getLogger(__name__)

LOG_SECONDS = 60.0
SUMMARY_SECONDS = 5.0


def timestamp(seconds=None):
    """``'2026-11-21T02:03:04Z'``: a Unix time, or now, as people and programs read it."""
    moment = (
        datetime.now(timezone.utc)
        if seconds is None
        else datetime.fromtimestamp(seconds, timezone.utc)
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Progress:
    """Tells how far a run is. A context manager.

    Parameters
    ----------
    source : `protocol.TaskSource`, whose ``run_info`` and summary are kept up to date
    total : number of tasks that this run is to do
    quiet : bool, no bar
    """

    def __init__(self, source, total, *, quiet=False):
        self._source = source
        self._total = total
        self._start = time.monotonic()
        self._logged = self._summarised = self._start
        self._bar = None if quiet or not sys.stderr.isatty() else _bar(total)
        self._workers = None

    def update(self, dispatch, now):
        """Tell; cheap to call often."""
        done = dispatch.counts["saved"]
        if self._bar:
            self._bar.update(0, completed=done, failed=dispatch.counts["failed"])
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.info(
                "%d of %d tasks, %d failed, %s",
                done,
                self._total,
                dispatch.counts["failed"],
                self._forecast(done, now),
            )
        if now - self._summarised >= SUMMARY_SECONDS or dispatch.workers != self._workers:
            self._summarised, self._workers = now, dispatch.workers
            self.note(dispatch, now)
            self._source.write_summary()

    def note(self, dispatch, now):
        """Bring the run's part of the summary up to date."""
        done = dispatch.counts["saved"]
        rate = done / max(now - self._start, 1e-9)
        left = (self._total - done) / rate if rate > 0 else None
        self._source.run_info.update(
            workers=dispatch.workers,
            workers_lost=dispatch.counts["lost"],
            tasks_this_run=done,
            tasks_total_this_run=self._total,
            rate=round(rate, 3),
            expected_end=None if left is None else timestamp(time.time() + left),
            updated=timestamp(),
            failures=dispatch.failures.as_list(),
        )

    def _forecast(self, done, now):
        if not done:
            return "none finished yet"
        rate = done / (now - self._start)
        return (
            f"{rate:.3g} tasks/s, done in {timedelta(seconds=round((self._total - done) / rate))}"
        )

    def __enter__(self):
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exc):
        if self._bar:
            self._bar.stop()


def _bar(total):
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("photometry"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    bar.add_task("photometry", total=total, failed=0)
    return bar
