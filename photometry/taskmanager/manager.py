"""`TaskManager`: keeps track of which targets are to do, which are running, and what became of them."""

import json
import logging
import os
import sqlite3
import time

import msgspec

from ..errors import ArgumentError, TryAgainError
from ..scheduler.protocol import DEFAULT_TASK_TIMEOUT, Limits
from ..status import STATUS
from .arguments import priorities, summary_path, whole_number
from .attempts import death, set_aside_changes
from .check import check_header, check_todo_file, find_todo_file
from .cleanup import cleanup_conditions, closing, forgiven, prepare, to_do_again
from .closed import Closed
from .constraints import LastConstraints
from .journal import DURABILITIES
from .ledger import Ledger
from .lock import Lock
from .memory import MemoryStore
from .opening import recover
from .result import Result
from .runs import Run
from .saving import in_turn, only_attempt, saving
from .store import Store
from .summary import Summary

_STARTED, _ERROR = int(STATUS.STARTED), int(STATUS.ERROR)


class TaskManager:
    """Keeps track of which targets to process.

    Use it as a context manager, or call `close`. One process at a time can have a TODO-file open.

    Parameters
    ----------
    todo_file : path of a TODO-file, or of a folder with a ``todo.sqlite``
    cleanup : bool
        Optimise the file (vacuum).
    overwrite : bool
        Restart from the beginning, discarding any previous results.
    cleanup_constraints : dict or list, optional
        Which unfinished and failed tasks (STARTED, ABORT, ERROR) are to be done again: arguments of
        `build_constraints`, or SQL conditions. All of them if None.
    summary : path, optional
        Where to write the progress as JSON.
    summary_interval : int
        Write the summary each time that so many results were saved.
    load_into_memory : bool
        Keep the database in memory and every change in a journal beside the TODO-file, which itself is replaced by
        `backup` and `close`. A crash loses nothing in either mode.
    backup_interval : int or None
        In memory mode, bring the TODO-file up to date each time that so many results were saved.
    durability : 'process', 'second' or 'record'
        What a crash of the machine may cost: what the operating system had not written yet, the last second, or
        nothing. A crash of the process costs nothing in any case.
    steal_lock : bool
        Take the file from a process on another host, which must have ended.
    max_attempts : int
        Also an attribute. How often a task may take its process down before it is set aside.

    Attributes
    ----------
    task_timeout : float or None, s
        Time limit of a task.
    task_timeouts : dict, s
        Time limits of the tasks of single methods, by name.
    conn : sqlite3.Connection
    cursor : sqlite3.Cursor, rows by name
        For SQL of your own, which is honoured by the next call. In memory mode it is safe from a crash as soon as the
        next result is saved, or after `backup`.
    run_info : dict, added to the summary
    summary_counter : int, results since the summary was last written
    logger : logging.Logger

    Raises
    ------
    FileNotFoundError : there is no such file
    TodoFileError : it is not a TODO-file, is damaged, or is in use; it is left as it was
    ValueError : an argument has a value that is not accepted
    """

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
    ):
        self.conn, self._pid = None, os.getpid()
        conditions = cleanup_conditions(cleanup_constraints)
        self.summary_interval = whole_number("summary_interval", summary_interval)
        self.backup_interval = (
            None if backup_interval is None else whole_number("backup_interval", backup_interval)
        )
        self.max_attempts = whole_number("max_attempts", max_attempts)
        if durability not in DURABILITIES:
            raise ArgumentError(
                f"durability={durability!r}: expected one of {', '.join(DURABILITIES)}"
            )
        self.logger = logging.getLogger(__name__)
        self.todo_file, self.summary_file = find_todo_file(todo_file), summary_path(summary)
        self.run_info = {}
        self.task_timeout, self.task_timeouts, self._limits = DEFAULT_TASK_TIMEOUT, {}, {}
        self.summary_counter = self._results_since_backup = 0
        self._run = None
        self._constraints = LastConstraints()
        self._lock = Lock(self.todo_file, steal=steal_lock)
        try:
            self._open(load_into_memory, durability)
            prepare(self._ledger, conditions, overwrite=overwrite, max_attempts=self.max_attempts)
            if cleanup:
                self._store.vacuum()
            self.write_summary()
        except BaseException:
            if self.conn is not None:
                self._store.abandon()
            self._give_up()
            raise

    # --- about a task ------------------------------------------------------------------------------------------------

    @staticmethod
    def id(task):
        """What the methods below call a task by: its priority."""
        return task["priority"]

    @staticmethod
    def label(task):
        """What people call a task: ``'TIC 25155310'``."""
        return f"TIC {task['starid']}"

    @staticmethod
    def kind(task):
        """Tasks of one kind take about equally long: those of one method, data source and brightness."""
        tmag = task["tmag"]
        brightness = tmag // 2 if isinstance(tmag, (int, float)) else None
        return task["method"], str(task["datasource"])[:3], brightness

    def limits(self, task):
        """What a task may take, as a `scheduler.protocol.Limits`."""
        seconds = self.task_timeouts.get(task["method"], self.task_timeout)
        if seconds not in self._limits:
            self._limits[seconds] = Limits(seconds)
        return self._limits[seconds]

    # --- what is to do -----------------------------------------------------------------------------------------------

    def get_number_tasks(self, **constraints):
        """How many tasks are to do; keyword arguments as for `build_constraints`."""
        self._ledger.notice()
        conditions = self._constraints.sql(constraints)
        if not conditions and self._ledger.tally.counts is not None:
            return self._ledger.tally[None]
        return self._ledger.handout.count(conditions)

    def get_number_failed(self, **constraints):
        """How many tasks are ERROR; keyword arguments as for `build_constraints`."""
        self._ledger.notice()
        conditions = self._constraints.sql(constraints)
        sql = f"SELECT COUNT(*) FROM todolist WHERE status = {_ERROR}{conditions}"
        return self._store.cursor.execute(sql).fetchone()[0]

    @staticmethod
    def next_eligible():
        """None: a task that cannot be done now can be done only after a result."""

    def get_task(self, **constraints):
        """The task to do with the lowest priority, as a dict, or None. It is not marked: see `start_task`.

        Keyword arguments as for `build_constraints`. The keys are priority, starid, method, sector, camera, ccd,
        cadence, datasource and tmag, and ``settings`` where the task has some of its own (see `overrides`).
        """
        tasks = self.get_tasks(1, **constraints)
        return tasks[0] if tasks else None

    def get_tasks(self, n, *, crashed_last=False, **constraints):
        """The ``n`` tasks to do with the lowest priorities, or as many as there are.

        ``crashed_last``: those that have taken their process down come after all others, so that what kills every run does
        not keep the run from the rest.
        """
        self._ledger.notice()
        last = self._ledger.deaths.suspects if crashed_last else ()
        tasks = self._ledger.handout.next(n, self._constraints.sql(constraints), last)
        return self._with_overrides(tasks)

    def get_random_task(self, **constraints):
        """Any task that is to do, as a dict, or None."""
        tasks = self.get_random_tasks(1, **constraints)
        return tasks[0] if tasks else None

    def get_random_tasks(self, n, **constraints):
        """Any ``n`` different tasks that are to do, or as many as there are."""
        self._ledger.notice()
        return self._with_overrides(self._ledger.handout.any(n, self._constraints.sql(constraints)))

    def _with_overrides(self, tasks):
        if self._ledger.has_overrides:
            for task in tasks:
                if overrides := self.overrides(task["priority"]):
                    task["settings"] = overrides
        return tasks

    # --- what became of it -------------------------------------------------------------------------------------------

    def start_task(self, taskid):
        """Mark a task, by its priority, as STARTED."""
        self.start_tasks((taskid,))

    def start_tasks(self, taskids):
        """Mark tasks as STARTED, all at once."""
        self._ledger.notice()
        self._ledger.write([("status", [(_STARTED, taskid) for taskid in priorities(taskids)])])

    @staticmethod
    def result_packer():
        """None: results travel as they are."""

    def save_result(self, result):
        """Save the result of a task: its status, its diagnostics, and which other targets it makes SKIPPED.

        Parameters
        ----------
        result : dict, see `result.Result.of`
        """
        self.save_results((result,))

    def save_results(self, results):
        """Save several results, all at once; when this returns they survive a crash."""
        self._ledger.notice()
        run = self._run and self._run.number
        results = [Result.of(result, run=run) for result in results]
        for together in in_turn(results, self._ledger.overtaken):
            self._save(together)
        self.summary_counter += len(results)
        self._results_since_backup += len(results)
        if self.summary_file is not None and self.summary_counter >= self.summary_interval:
            self.write_summary()
        if self.backup_interval is not None and self._results_since_backup >= self.backup_interval:
            self._results_since_backup = 0
            self._store.backup_soon()

    def release_tasks(self, taskids, why):
        """Take tasks back that were STARTED but not done, through no fault of theirs. No attempt is used up."""
        self._ledger.notice()
        released = [
            taskid for taskid in priorities(taskids) if self._ledger.status(taskid) == _STARTED
        ]
        if released:
            self.logger.info("%d tasks are to do again: %s", len(released), why)
            self._ledger.write([("status", [(None, taskid) for taskid in released])])

    def fail_attempt(self, taskid, why, **info):
        """A task took its process down: it has used up an attempt.

        Parameters
        ----------
        taskid : int
        why : str, what is known of the death
        **info : start, end, seconds, host, rank, peak_memory, error_class: columns of the table ``attempts``

        Returns
        -------
        again : bool
            True where it is to do again; False where it is set aside as ERROR, after ``max_attempts`` of these.
        """
        self._ledger.notice()
        (taskid,) = priorities((taskid,))
        status = self._ledger.status(taskid)
        row = death(
            taskid,
            info.pop("start", None) or time.time(),
            why,
            **{"run": self._run and self._run.number} | info,
        )
        changes = [("attempt", [row])]
        n_deaths = self._ledger.deaths[taskid] + 1
        is_unfinished = status in (_STARTED, None)
        again = is_unfinished and n_deaths < self.max_attempts
        if again:
            changes.append(("status", [(None, taskid)]))
        elif is_unfinished:
            changes += set_aside_changes(taskid, n_deaths, why, info.get("seconds"))
            self.logger.error(
                "Task %d took its worker down %d times and is set aside", taskid, n_deaths
            )
        self._ledger.write(changes)
        self._ledger.deaths.add(taskid)
        return again

    def crashes(self, taskid):
        """How many attempts of this task took their process down, since it was last reset."""
        return self._ledger.deaths[taskid]

    def crash_candidates(self):
        """Priorities of the tasks that may take their process down.

        Those that have done so, and those that were STARTED when the process that had the file open ended without closing it.
        """
        return {*self._ledger.deaths.suspects, *self._ledger.interrupted}

    def reset_tasks(self, taskids):
        """Put tasks back to "to do" as if they had never been tried; only the record of their attempts stays."""
        self._ledger.notice()
        taskids = priorities(taskids)
        self._ledger.write([*to_do_again(taskids), *forgiven(taskids)])
        self._ledger.deaths.forget()

    def retry_tasks(self, taskids, method=None, settings=None):
        """Put tasks back to "to do", perhaps with another method, or with settings of their own (see `overrides`)."""
        self._ledger.notice()
        taskids = priorities(taskids)
        changes = to_do_again(taskids)
        if method is not None:
            changes.append(("method", [(method, taskid) for taskid in taskids]))
        if settings:
            text = json.dumps(settings)
            changes.append(("override", [(taskid, text) for taskid in taskids]))
        self._ledger.write(changes)
        self._ledger.handout.forget()  # the tasks that it holds have the old method
        self._ledger.has_overrides = self._ledger.has_overrides or bool(settings)

    def overrides(self, taskid):
        """Settings that differ for this task from those of the run, as a dict."""
        if not self._ledger.has_overrides:
            return {}
        sql = "SELECT settings FROM overrides WHERE priority = ?"
        row = self._store.cursor.execute(sql, priorities((taskid,))).fetchone()
        return json.loads(row[0]) if row else {}

    # --- the run -----------------------------------------------------------------------------------------------------

    def begin_run(self, **info):
        """Record that a run begins: command, version, constraints, settings, …; returns its number."""
        self._ledger.notice()
        (last,) = self._store.cursor.execute("SELECT COALESCE(MAX(run), 0) FROM runs").fetchone()
        self._run = Run(last + 1, info)
        self._ledger.write([self._run.change()])
        return self._run.number

    def end_run(self, exit_code=None, reason=None):
        """Record how the run ended."""
        self._ledger.notice()
        self._run.end(exit_code, reason)
        self._ledger.write([self._run.change()])

    def write_summary(self):
        """Write the progress to the summary file, as JSON, if there is to be one."""
        self._ledger.notice()
        try:
            self._summary.write(self._ledger.tally, self.run_info)
        except OSError as error:
            raise TryAgainError(
                f"{self.summary_file}: cannot be written ({error.strerror})"
            ) from error
        self.summary_counter = 0

    def backup(self):
        """Bring the TODO-file up to date. Does something in memory mode only."""
        self._ledger.notice()
        self._store.backup()

    def close(self):
        """Write the summary, bring the TODO-file up to date, and give it free. Calling it again does no harm."""
        if self.conn is None or os.getpid() != self._pid:  # a forked child does not own the file
            return
        try:
            self.write_summary()
        finally:
            self._shut()

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

    # --- inside ------------------------------------------------------------------------------------------------------

    def _open(self, load_into_memory, durability):
        check_header(self.todo_file)
        recover(self.todo_file)
        check_todo_file(self.todo_file)
        kind = MemoryStore if load_into_memory else Store
        self._store = kind(self.todo_file, self._lock, durability)
        self.conn = self._store.conn
        self.cursor = self.conn.cursor()
        self._ledger = Ledger(self._store)
        self._summary = Summary(self.summary_file)

    def _save(self, results):
        if results[0].priority in self._ledger.overtaken:
            self._ledger.overtaken.remove(results[0].priority)
            self._ledger.write(only_attempt(results[0]))
            return
        changes, errors = saving(self._store.cursor, results)
        try:
            self._ledger.write(changes)
            self._ledger.overtaken.difference_update(
                [result.priority for result in results]
            )  # skipped by their own result
        except sqlite3.IntegrityError:  # two light-curve files of the same name; find out which
            if len(results) == 1:
                self._save_without_lightcurve(*results)
            else:
                for result in results:
                    self._save([result])
            return
        for result, text in zip(results, errors, strict=True):
            self._summary.add(text, result.elaptime, result.worker_wait_time)

    def _save_without_lightcurve(self, result):
        """Two tasks cannot have the same light-curve file. The one that comes second is an ERROR that says so."""
        lightcurve, *rest = result.diagnostics
        message = f"light-curve file {lightcurve} belongs to another task already"
        self.logger.error("Task %d: %s", result.priority, message)
        diagnostics, errors = (None, *rest), (*result.errors, message)
        self._save(
            [
                msgspec.structs.replace(
                    result, status=_ERROR, diagnostics=diagnostics, errors=errors, skip_targets=()
                )
            ]
        )

    def _shut(self):
        """Close the database in good order: what is still STARTED was not running when a process died."""
        try:
            self._ledger.notice()
            self._store.write(closing(self._ledger))
            self._store.close()
        finally:
            self._give_up()

    def _give_up(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = self.cursor = None
        self._ledger = self._store = Closed(self.todo_file)
        self._lock.release()
