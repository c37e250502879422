"""`Session`: a TODO-file from opening to closing, what the user does with SQL meanwhile, the record
of the run.
"""

import datetime
import json
import logging
import math
import numbers
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .._version import __version__
from ..errors import ArgumentError, TryAgainError
from ..files import write_json
from ..scheduler.protocol import DEFAULT_TASK_TIMEOUT
from ..status import STATUS
from .journal import DURABILITIES
from .lock import Lock
from .opening import check_file, check_todo_file, damage_reported, find_todo_file, recover
from .pending import TaskCache
from .result import WEIGHT
from .schema import RUNS_COLUMNS
from .selection import cleanup_conditions, prepare
from .store import Closed, MemoryStore, Store
from .view import ViewStore, open_view

_ARE_STARTED = f"SELECT priority FROM todolist WHERE status = {STATUS.STARTED:d}"
BULK_SUMMARY_SECONDS = 0.5
"""Between two summaries while results come in bulk."""
_UNRESOLVED = "unresolved"  # key of todo_settings


class Session:
    """The part of `manager.TaskManager` that opens and closes; parameters and attributes are
    documented there.
    """

    @damage_reported()
    def __init__(
        self,
        todo_file,
        cleanup=False,
        overwrite=False,
        cleanup_constraints=None,
        summary=None,
        summary_interval=200,
        load_into_memory=False,
        backup_interval=10000,
        *,
        durability="process",
        steal_lock=False,
        max_attempts=3,
        read_only=False,
    ):
        self.conn, self._pid = None, os.getpid()
        conditions = cleanup_conditions(cleanup_constraints)
        self.summary_interval = _whole_number("summary_interval", summary_interval)
        self.backup_interval = backup_interval
        if backup_interval is not None:
            self.backup_interval = _whole_number("backup_interval", backup_interval)
        self.max_attempts = _whole_number("max_attempts", max_attempts)
        if durability not in DURABILITIES:
            raise ArgumentError(
                f"durability={durability!r}: expected one of {', '.join(DURABILITIES)}"
            )
        self.logger = logging.getLogger("photometry.taskmanager")
        self.todo_file = find_todo_file(todo_file)
        self.summary_file = None if read_only or summary is None else summary
        if self.summary_file is not None:
            folder = Path(summary).absolute().parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ArgumentError(
                    f"summary={str(summary)!r}: {folder} cannot be made ({error.strerror}); choose "
                    "another path"
                ) from None
        self.run_info = {}
        self.summary_counter = self._results_since_backup = self.n_discarded = 0
        self.task_timeout, self.task_timeouts = DEFAULT_TASK_TIMEOUT, {}
        self._run, self._limits, self._summary = None, {}, Summary()
        self._summarised = -math.inf
        self._lock = None
        if not read_only:
            check_file(self.todo_file, to_write=True)
            self._lock = Lock(self.todo_file, steal=steal_lock)
        try:
            kind = MemoryStore if load_into_memory else Store
            self._open(kind, durability, conditions, overwrite)
            if cleanup and not read_only:
                self._store.vacuum()
            self.write_summary()
        except BaseException:
            if self.conn is not None:
                self._store.abandon()
            self._give_up()
            raise
        if overwrite and not read_only:
            self.logger.info("results that are discarded and made anew: %d", self.n_discarded)

    def _open(self, kind, durability, conditions, overwrite):
        """Open the file, to be looked at only where it is not locked, and give its tasks their
        chances.

        Parameters
        ----------
        kind : class of the store
        durability : str
        conditions : str, see `selection.prepare`
        overwrite : bool
        """
        if self._lock is None:
            store, was_killed = ViewStore(self.todo_file, open_view(self.todo_file).conn), False
        else:
            was_killed = recover(self.todo_file) or self._lock.was_left_behind
            check_todo_file(self.todo_file)
            store = kind(self.todo_file, self._lock, durability)
            was_killed = was_killed or store.replayed > 0
        self._store, self.conn, self.cursor = store, store.conn, store.conn.cursor()
        self._cache = TaskCache(store)
        ask = store.cursor.execute
        row = ask("SELECT value FROM todo_settings WHERE key = ?", (_UNRESOLVED,)).fetchone()
        self._interrupted, self._has_noted = set(json.loads(row[0]) if row else ()), bool(row)
        if was_killed:
            self._interrupted |= {priority for (priority,) in ask(_ARE_STARTED).fetchall()}
        if self._lock is not None:
            options = {"overwrite": overwrite, "max_attempts": self.max_attempts}
            self.n_discarded = prepare(store, conditions, **options)
            # of the tasks that were STARTED when the file was left, those that are to do again are
            # crash candidates
            started = {priority for (priority,) in ask(_ARE_STARTED).fetchall()}
            self._unresolved = self._interrupted & started
            self._interrupted -= started
        self._cache.invalidate()

    @damage_reported()
    def begin_run(self, **info):
        """Record that a run begins; returns its number.

        ``info`` are columns of the table ``runs`` (command, version, constraints, settings, …);
        where missing, this process is described. What is no column is kept as JSON.
        """
        self._cache.sync_external_changes()
        (last,) = self._store.cursor.execute("SELECT COALESCE(MAX(run), 0) FROM runs").fetchone()
        if "run_id" in self.run_info:
            info["run_id"] = self.run_info["run_id"]
        other = {key: info.pop(key) for key in [*info] if key not in RUNS_COLUMNS}
        ours = {"command": " ".join(sys.argv), "version": __version__, "pid": os.getpid()}
        ours |= {"host": socket.gethostname(), "info": other or None}
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        ours["start"] = info.pop("start", None) or now
        self._run = dict.fromkeys(RUNS_COLUMNS) | ours | info | {"run": last + 1}
        for name, value in self._run.items():
            if value is not None and not isinstance(value, (str, int, float)):
                self._run[name] = json.dumps(value, default=str)
        self._cache.write([], [("run", [list(self._run.values())])])
        return last + 1

    @damage_reported()
    def end_run(self, exit_code=None, reason=None):
        """Record how the run ended."""
        self._cache.sync_external_changes()
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self._run |= {"end": now, "exit_code": exit_code, "reason": reason}
        self._cache.write([], [("run", [list(self._run.values())])])

    @damage_reported()
    def write_summary(self):
        """Write the progress to the summary file, as JSON, if there is to be one."""
        self._cache.sync_external_changes()
        try:
            if self.summary_file is not None:
                counts = self._cache.counts()
                content = {
                    "slurm_jobid": os.environ.get("SLURM_JOB_ID"),
                    "numtasks": sum(counts.values()),
                    **vars(self._summary),
                    **{status.name: counts[int(status)] for status in STATUS},
                }
                for key, value in self.run_info.items():  # JSON has no NaN and no infinity
                    is_finite = not isinstance(value, float) or value - value == 0.0
                    content[key] = value if is_finite else None
                write_json(self.summary_file, content)
        except OSError as error:
            raise TryAgainError(
                f"{self.summary_file}: cannot be written ({error.strerror})"
            ) from error
        self.summary_counter, self._summarised = 0, time.monotonic()

    def backup(self):
        """Bring the TODO-file up to date. Does something in memory mode only."""
        self._cache.sync_external_changes()
        self._store.backup()

    @damage_reported()
    def close(self):
        """Write the summary, bring the TODO-file up to date, and give it free. Calling it again
        does no harm.
        """
        if self.conn is None or os.getpid() != self._pid:  # a forked child does not own the file
            return
        try:
            self.write_summary()
            if self._lock is not None and (self._unresolved or self._has_noted):
                # leave word of the tasks that no opening has put back to do since the process that
                # had STARTED them was killed
                started = self._store.cursor.execute(_ARE_STARTED).fetchall()
                unresolved = self._unresolved.intersection(p for (p,) in started)
                unresolved = sorted(unresolved - self._cache.running)
                row = _UNRESOLVED, json.dumps(unresolved)
                self._store.write([("setting", [row]) if unresolved else ("no setting", [row[:1]])])
        finally:
            try:
                self._store.close()
            finally:
                self._give_up()

    def discard(self):
        """Close without keeping anything that was changed in memory mode since the last backup."""
        self._store.abandon()
        self._give_up()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __del__(self):
        if getattr(self, "conn", None) is not None:
            self.close()

    # --- inside ---

    def _give_up(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = self.cursor = None
        self._cache = self._store = Closed(self.todo_file)
        if self._lock is not None:
            self._lock.release()


def _whole_number(name, value):
    """``value`` as int, at least 1."""
    is_whole = isinstance(value, numbers.Real) and not isinstance(value, bool) and value % 1 == 0
    if not is_whole or value < 1:
        raise ArgumentError(f"{name}={value!r}: expected a whole number, at least 1")
    return int(value)


@dataclass
class Summary:
    """What the summary file says of the results of this run.

    Attributes
    ----------
    tasks_run : int
    last_error : str or None
    mean_elaptime, mean_worker_waittime : float, s, or None
    """

    tasks_run: int = 0
    last_error: "str | None" = None
    mean_elaptime: "float | None" = None
    mean_worker_waittime: "float | None" = None

    def add(self, errors, elaptime, worker_wait_time):
        """Take a result into account.

        Parameters
        ----------
        errors : str or None
        elaptime, worker_wait_time : float, s; NaN where it is not known
        """
        self.tasks_run += 1
        self.last_error = errors or self.last_error
        if elaptime == elaptime:
            mean = self.mean_elaptime
            self.mean_elaptime = elaptime if mean is None else mean + WEIGHT * (elaptime - mean)
        if worker_wait_time == worker_wait_time:
            mean = (
                worker_wait_time if self.mean_worker_waittime is None else self.mean_worker_waittime
            )
            self.mean_worker_waittime = mean + WEIGHT * (worker_wait_time - mean)

    def add_packed(self, packed):
        """Take the plain results of a `result.Packed` into account."""
        self.tasks_run += len(packed.priorities)
        self.mean_elaptime = packed.elaptime.after(self.mean_elaptime)
        self.mean_worker_waittime = packed.worker_wait_time.after(self.mean_worker_waittime)
