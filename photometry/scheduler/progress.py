"""How far a run is: a bar on a terminal, a line a minute in a log file, and the summary for
everybody else.
"""

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
    """Reports how far a run is. A context manager.

    Parameters
    ----------
    source : `protocol.TaskSource`, whose ``run_info`` and summary are kept up to date
    total : number of tasks that this run is to do, as far as is known at its beginning
    count : callable() -> how many tasks are still to do, as sources may grow; None: the total is
        final
    quiet : bool, no bar
    """

    def __init__(self, source, total, *, count=None, quiet=False):
        self._source = source
        self._total = total
        self._count = count
        self._start = time.monotonic()
        self._logged = self._summarised = self._start
        self._count_again = self._start + SUMMARY_SECONDS
        self._bar = None if quiet or not sys.stderr.isatty() else _bar(total)
        self._workers = None

    def update(self, dispatch, now):
        """Report; cheap to call often."""
        done = dispatch.counts["saved"]
        if self._count is not None and now >= self._count_again:
            self._recount(dispatch, now)
        if self._bar:
            failed = dispatch.counts["failed"]
            self._bar.update(0, completed=done, total=self._total, failed=failed)
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
            workers=dispatch.workers,
            workers_lost=dispatch.counts["lost"],
            tasks_this_run=done,
            tasks_total_this_run=total,
            rate=round(rate, 3),
            expected_end=None if seconds is None else timestamp(time.time() + seconds),
            updated=timestamp(),
            failures=dispatch.failures.as_list(),
            warnings=dispatch.warnings.as_list(),
        )

    def _forecast(self, done, now):
        if not done:
            return "none finished yet"
        rate = done / (now - self._start)
        seconds = round((self._total - done) / rate)
        return f"{rate:.3g} tasks/s, done in {timedelta(seconds=seconds)}"

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
        TextColumn("tasks"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    bar.add_task("tasks", total=total, failed=0)
    return bar
