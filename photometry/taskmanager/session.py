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
from collections import Counter
from pathlib import Path

from .._version import __version__
from ..errors import ArgumentError, TryAgainError
from ..files import write_json
from ..scheduler.protocol import DEFAULT_TASK_TIMEOUT
from ..status import STATUS
from .journal import DURABILITIES
from .lock import Lock
from .opening import (
    check_header,
    check_todo_file,
    check_writable,
    damage_reported,
    find_todo_file,
    recover,
)
from .packing import WEIGHT
from .pending import TaskCache
from .schema import RUNS_COLUMNS
from .selection import CRASHES, cleanup_conditions, prepare
from .store import Closed, MemoryStore, Store
from .view import ViewStore, open_view

_STARTED = int(STATUS.STARTED)
BULK_SUMMARY_SECONDS = 0.5
"""Between two summaries while results come in bulk."""
_UNRESOLVED = "unresolved"  # key of todo_settings


class Session:
    """The part of `manager.TaskManager` that opens and closes; parameters and attributes are
    documented there.
    """

    @damage_reported
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
        self.backup_interval = (
            None if backup_interval is None else _whole_number("backup_interval", backup_interval)
        )
        self.max_attempts = _whole_number("max_attempts", max_attempts)
        if durability not in DURABILITIES:
            raise ArgumentError(
                f"durability={durability!r}: expected one of {', '.join(DURABILITIES)}"
            )
        self.logger = logging.getLogger("photometry.taskmanager")
        self.todo_file = find_todo_file(todo_file)
        self.summary_file = None if read_only or summary is None else summary
        if self.summary_file is not None:
            _make_folder_of(summary)
        self.run_info = {}
        self.summary_counter = self._results_since_backup = self.n_discarded = 0
        self.task_timeout, self.task_timeouts = DEFAULT_TASK_TIMEOUT, {}
        self._run, self._limits, self._summary = None, {}, Summary()
        self._summarised = -math.inf
        self._lock = None
        if read_only:
            self._use(ViewStore(self.todo_file, open_view(self.todo_file).conn), was_killed=False)
            self._invalidate()
            return
        check_header(self.todo_file)
        check_writable(self.todo_file)
        self._lock = Lock(self.todo_file, steal=steal_lock)
        try:
            was_killed = recover(self.todo_file) or self._lock.was_left_behind
            check_todo_file(self.todo_file)
            kind = MemoryStore if load_into_memory else Store
            store = kind(self.todo_file, self._lock, durability)
            self._use(store, was_killed=was_killed or store.replayed > 0)
            options = {"overwrite": overwrite, "max_attempts": self.max_attempts}
            self.n_discarded = prepare(store, conditions, **options)
            # of the tasks that were STARTED when the file was left, those that are to do again are
            # crash candidates
            started = self._started()
            self._unresolved = self._interrupted & started
            self._interrupted -= started
            self._invalidate()
            if cleanup:
                store.vacuum()
            self.write_summary()
        except BaseException:
            if self.conn is not None:
                self._store.abandon()
            self._give_up()
            raise
        if overwrite:
            self.logger.info("results that are discarded and made anew: %d", self.n_discarded)

    @damage_reported
    def begin_run(self, **info):
        """Record that a run begins; returns its number.

        ``info`` are columns of the table ``runs`` (command, version, constraints, settings, …);
        where missing, this process is described. What is no column is kept as JSON.
        """
        self._sync_external_changes()
        (last,) = self._store.cursor.execute("SELECT COALESCE(MAX(run), 0) FROM runs").fetchone()
        if "run_id" in self.run_info:
            info["run_id"] = self.run_info["run_id"]
        other = {key: value for key, value in info.items() if key not in RUNS_COLUMNS}
        ours = {"command": " ".join(sys.argv), "version": __version__, "pid": os.getpid()}
        ours |= {"host": socket.gethostname(), "info": other or None}
        self._run = dict.fromkeys(RUNS_COLUMNS) | ours | info | {"run": last + 1}
        self._record_run(start=info.get("start"))
        return last + 1

    @damage_reported
    def end_run(self, exit_code=None, reason=None):
        """Record how the run ended."""
        self._sync_external_changes()
        self._record_run(end=None, exit_code=exit_code, reason=reason)

    @damage_reported
    def write_summary(self):
        """Write the progress to the summary file, as JSON, if there is to be one."""
        self._sync_external_changes()
        try:
            if self.summary_file is not None:
                content = self._summary.content(self._cache.counts(), self.run_info)
                write_json(self.summary_file, content)
        except OSError as error:
            raise TryAgainError(
                f"{self.summary_file}: cannot be written ({error.strerror})"
            ) from error
        self.summary_counter, self._summarised = 0, time.monotonic()

    def backup(self):
        """Bring the TODO-file up to date. Does something in memory mode only."""
        self._sync_external_changes()
        self._store.backup()

    @damage_reported
    def close(self):
        """Write the summary, bring the TODO-file up to date, and give it free. Calling it again
        does no harm.
        """
        if self.conn is None or os.getpid() != self._pid:  # a forked child does not own the file
            return
        try:
            self.write_summary()
            if self._lock is not None:
                self._note_unresolved()
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

    def _record_run(self, **changed):
        """Store the row of the run, with ``changed`` columns; a time that is None is now."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        times = {key: now for key in ("start", "end") if key in changed and changed[key] is None}
        self._run |= changed | times
        row = [self._run[name] for name in RUNS_COLUMNS]
        is_json = [not (value is None or isinstance(value, (str, int, float))) for value in row]
        row = [json.dumps(v, default=str) if j else v for v, j in zip(row, is_json, strict=True)]
        self._cache.write([], [("run", [row])])

    def _use(self, store, *, was_killed):
        self._store, self.conn = store, store.conn
        self.cursor = self.conn.cursor()
        self._cache = TaskCache(store)
        self._interrupted = set(json.loads(store.setting(_UNRESOLVED) or "[]"))
        if was_killed:
            self._interrupted |= self._started()

    def _started(self):
        sql = "SELECT priority FROM todolist WHERE status = ?"
        return {priority for (priority,) in self._store.cursor.execute(sql, (_STARTED,)).fetchall()}

    def _note_unresolved(self):
        """Leave word of the tasks that no opening has put back to do since the process that had
        STARTED them was killed.
        """
        unresolved = (self._unresolved & self._started()) - self._cache.running
        if unresolved:
            text = json.dumps(sorted(unresolved))
            self._store.write([("setting", [(_UNRESOLVED, text)])])
        elif self._store.setting(_UNRESOLVED) is not None:
            self._store.write([("no setting", [(_UNRESOLVED,)])])

    def _sync_external_changes(self):
        """Where SQL of the user has changed something, look again; the begin of every call."""
        if self._store.sync_external_changes():
            self._invalidate()

    def _invalidate(self):
        self._cache.invalidate()
        ask = self._store.cursor.execute
        self._has_overrides = bool(ask("SELECT EXISTS (SELECT 1 FROM overrides)").fetchone()[0])
        # attempts that ended with the death of their process, by task; few, and they have an index
        self._crashes = Counter(dict(ask(CRASHES).fetchall()))

    def _give_up(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = self.cursor = None
        self._cache = self._crashes = self._store = Closed(self.todo_file)
        self._has_overrides = True
        if self._lock is not None:
            self._lock.release()


def _whole_number(name, value):
    """``value`` as int, at least 1."""
    is_whole = isinstance(value, numbers.Real) and not isinstance(value, bool) and value % 1 == 0
    if not is_whole or value < 1:
        raise ArgumentError(f"{name}={value!r}: expected a whole number, at least 1")
    return int(value)


def _make_folder_of(summary):
    folder = Path(summary).absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"summary={str(summary)!r}: {folder} cannot be made ({error.strerror}); choose "
            "another path"
        ) from None


class Summary:
    """What the summary file says of the results of this run."""

    def __init__(self):
        self.tasks_run, self.last_error = 0, None
        self.mean_elaptime = self.mean_worker_waittime = None  # s

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
        """Take the plain results of a `packing.Packed` into account."""
        self.tasks_run += len(packed.priorities)
        self.mean_elaptime = packed.elaptime.after(self.mean_elaptime)
        self.mean_worker_waittime = packed.worker_wait_time.after(self.mean_worker_waittime)

    def content(self, counts, run_info):
        """The summary as a dict that JSON can hold: no NaN and no infinity; unknown is null.

        Parameters
        ----------
        counts : collections.Counter, tasks by status
        run_info : dict, what the scheduler adds
        """
        return {
            "slurm_jobid": os.environ.get("SLURM_JOB_ID"),
            "numtasks": sum(counts.values()),
            **vars(self),
            **{status.name: counts[int(status)] for status in STATUS},
            **{
                key: None if isinstance(value, float) and value - value != 0.0 else value
                for key, value in run_info.items()
            },
        }
