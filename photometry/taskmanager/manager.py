"""`TaskManager`: keeps track of which targets are to do, which are running, and what became of
them.
"""

import json
import operator
import sqlite3
import time

import msgspec

from ..errors import ArgumentError
from ..notebook import Shown, Task, counted
from ..scheduler.protocol import Limits
from ..status import STATUS
from .opening import damage_reported
from .result import NULL, Packed, Packer, Result
from .schema import BLOCK, star_label
from .selection import (
    build_constraints,
    crash_record,
    discarded,
    in_batches,
    saving,
    set_aside_record,
)
from .session import BULK_SUMMARY_SECONDS, Session
from .view import results_table

_STARTED, _ERROR = int(STATUS.STARTED), int(STATUS.ERROR)
_OK, _ABORT = int(STATUS.OK), int(STATUS.ABORT)


class TaskManager(Shown, Session):
    """Keeps track of which targets to process.

    Use it as a context manager, or call `close`. One process at a time can have a TODO-file open,
    but any number can look at it with ``read_only``.

    Parameters
    ----------
    todo_file : path of a TODO-file, or of a folder with a ``todo.sqlite``
    cleanup : bool
        Optimise the file (vacuum).
    overwrite : bool
        Restart from the beginning, discarding any previous results; only of tasks that match
        ``cleanup_constraints``.
    cleanup_constraints : dict or list, optional
        Which unfinished and failed tasks (STARTED, ABORT, ERROR) are to be done again: arguments of
        `build_constraints`, or SQL conditions. All of them if None. Diagnostics of what failed stay
        until a new result takes their place.
    summary : path, optional
        Where to write the progress as JSON. Its folder is made where it is missing.
    summary_interval : int
        Write the summary each time that so many results were saved.
    load_into_memory : bool
        Keep the database in memory and every change in a journal beside the TODO-file, which itself
        is replaced by `backup` and `close`. A crash loses nothing in either mode.
    backup_interval : int or None
        In memory mode, bring the TODO-file up to date each time that so many results were saved; a
        file of more than 1 MB not more often than that it takes 5 % of the time. It is for people
        who look at the file.
    durability : 'process', 'second' or 'record'
        What a crash of the machine may cost: what the operating system had not written yet, the
        last second, or nothing. A crash of the process costs nothing in any case.
    steal_lock : bool
        Take the file from a process on another host, which must have ended.
    max_attempts : int
        Also an attribute. How often a task may take its process down before it is set aside.
    read_only : bool
        Look at the file as the next run would find it, and change nothing, also nothing that
        opening it would put back to do. Whatever changes something raises a TodoFileError. Works
        beside a run. Of the other arguments none counts.

    Attributes
    ----------
    conn : sqlite3.Connection
    cursor : sqlite3.Cursor, rows by name
        For SQL of your own, which is honoured by the next call. In memory mode it is safe from a
        crash as soon as the next result is saved, or after `backup`.
    run_info : dict, added to the summary
    summary_counter : int, results since the summary was last written
    logger : logging.Logger
    n_discarded : int, tasks whose results ``overwrite`` has discarded
    task_timeout : float or None, s that a task may take; and ``task_timeouts``, dict, s by method

    Raises
    ------
    FileNotFoundError : there is no such file
    TodoFileError : it is not a TODO-file, is damaged, write-protected, or in use; it is left as it
        was
    ValueError : an argument has a value that is not accepted
    """

    def _shown(self):
        if self.conn is None:
            return "TaskManager", f"{self.todo_file}, closed", [("TODO-file", self.todo_file)]
        counts = self._cache.counts()
        numbers = [(status.name, counts[int(status)]) for status in STATUS]
        numbers = [(name, number) for name, number in numbers if number]
        numbers.append(("to do", counts[None]))
        total = sum(counts.values())
        line = ", ".join(f"{number} {name}" for name, number in numbers)
        pairs = [("TODO-file", self.todo_file), ("targets", total), *numbers]
        return "TaskManager", f"{self.todo_file}, {counted(total, 'target')}: {line}", pairs

    def to_table(self):
        """All targets with what became of them, as an astropy Table: see `read_results`."""
        self._cache.sync_external_changes()
        return results_table(self.conn)

    # --- what is to do

    @damage_reported()
    def get_number_tasks(self, **constraints):
        """How many tasks are to do; keyword arguments as for `build_constraints`."""
        self._cache.sync_external_changes()
        if not constraints:
            return self._cache.counts()[None]
        sql = f"SELECT COUNT(*) {self._cache.matching(constraints)}"
        return self._store.cursor.execute(sql).fetchone()[0]

    @damage_reported()
    def get_number_rows(self, **constraints):
        """How many tasks there are, whatever their status; keyword arguments as for
        `build_constraints`.
        """
        sql = f"SELECT COUNT(*) FROM todolist WHERE 1{build_constraints(**constraints)}"
        return self._store.cursor.execute(sql).fetchone()[0]

    @damage_reported()
    def get_number_failed(self, **constraints):
        """How many tasks have status ERROR; keyword arguments as for `build_constraints`."""
        self._cache.sync_external_changes()
        sql = f"SELECT COUNT(*) FROM todolist WHERE status = ?{build_constraints(**constraints)}"
        return self._store.cursor.execute(sql, (_ERROR,)).fetchone()[0]

    def get_task(self, **constraints):
        """The task to do with the lowest priority, as a dict, or None. It is not marked: see
        `start_task`.

        Keyword arguments as for `build_constraints`. The keys are priority, starid, method, sector,
        camera, ccd, cadence, datasource and tmag; and settings, a dict, where a retry gave it some
        of its own.
        """
        tasks = self.get_tasks(1, **constraints)
        return Task(tasks[0]) if tasks else None

    @damage_reported()
    def get_tasks(self, n, *, crashed_last=False, **constraints):
        """The tasks to do with the lowest priorities.

        Parameters
        ----------
        n : int, how many; fewer where there are no more
        crashed_last : bool
            Those that took their process down come after all others, so that what kills every run
            does not keep the run from the rest.
        **constraints : see `build_constraints`

        Returns
        -------
        tasks : list of dict, see `get_task`
        """
        self._cache.sync_external_changes()
        last = self._cache.crashes.keys() if crashed_last else ()
        tasks = self._cache.next(n, self._cache.matching(constraints), last)
        return self._with_settings(tasks) if self._cache.has_overrides else tasks

    def get_random_task(self, **constraints):
        """Any task that is to do, as a dict, or None."""
        tasks = self.get_random_tasks(1, **constraints)
        return Task(tasks[0]) if tasks else None

    @damage_reported()
    def get_random_tasks(self, n, **constraints):
        """Any ``n`` different tasks that are to do, or as many as there are."""
        self._cache.sync_external_changes()
        tasks = self._cache.any(n, self._cache.matching(constraints))
        return self._with_settings(tasks) if self._cache.has_overrides else tasks

    def next_eligible(self):
        """None: only results make tasks eligible (part of the contract of a task source)."""

    @damage_reported()
    def overrides(self, taskid):
        """Settings that differ for this task from those of the run, as a dict."""
        if not self._cache.has_overrides:
            return {}
        sql = "SELECT settings FROM overrides WHERE priority = ?"
        row = self._store.cursor.execute(sql, _priorities((taskid,))).fetchone()
        return json.loads(row[0]) if row else {}

    # --- about a task

    def id(self, task):
        """What the methods below call a task or a result by: its priority."""
        return task["priority"]

    def label(self, task):
        """What people call it: 'TIC 25155310'."""
        return star_label(task.get("starid"), task.get("datasource"), task.get("cadence"))

    def kind(self, task):
        """Tasks of one kind take about equally long."""
        tmag = task.get("tmag")
        is_number = isinstance(tmag, (int, float)) and tmag == tmag
        source = str(task.get("datasource") or "")[:3]
        return task.get("method"), source, tmag // 2 if is_number else None

    def limits(self, task):
        """What it may take, `scheduler.protocol.Limits`."""
        seconds = self.task_timeout
        if self.task_timeouts or "task_timeout" in task:
            seconds = self.task_timeouts.get(task.get("method"), seconds)
            seconds = task.get("task_timeout", seconds)
        if seconds not in self._limits:
            self._limits[seconds] = Limits(seconds)
        return self._limits[seconds]

    def crashes(self, taskid):
        """How many attempts of this task took their process down, since it was last reset."""
        return self._cache.crashes[taskid]

    def crash_candidates(self):
        """Set of priorities of tasks that may take their process down: those that have done so, and
        those that were STARTED when the process that had the file open before was killed. The
        latter counts as no attempt."""
        return self._interrupted | set(self._cache.crashes)

    # --- what became of it

    def start_task(self, taskid):
        """Mark a task, by its priority, as STARTED."""
        self.start_tasks((taskid,))

    @damage_reported()
    def start_tasks(self, taskids):
        """Mark tasks as STARTED, all at once."""
        self._cache.sync_external_changes()
        self._cache.write([(_STARTED, _priorities(taskids))])

    def save_result(self, result):
        """Save the result of a task: its status, its diagnostics, and which other targets it makes
        SKIPPED.

        Parameters
        ----------
        result : dict, see `result.Result.of`
        """
        self.save_results((result,))

    def result_packer(self):
        """What checks and packs results in the workers, for `save_results`."""
        return Packer(self._run and self._run["run"])

    @damage_reported()
    def save_results(self, results):
        """Save several results, all at once; when this returns they survive a crash.

        Parameters
        ----------
        results : list of dict, see `result.Result.of`, or of what `result_packer` made of such
            lists
        """
        self._cache.sync_external_changes()
        run = self._run and self._run["run"]
        packed = [one for one in results if isinstance(one, Packed)]
        single = [one for one in results if not isinstance(one, Packed)]
        single += [other for one in packed for other in one.others]
        single = [Result.of(one, run=run) for one in single]
        packed = [one for one in packed if one.priorities]
        n_results = len(single) + sum(len(one.priorities) for one in packed)
        if packed and not self._save_packed(packed):
            single = [result for one in packed for result in one.plain()] + single
        for batch in in_batches(single, self._cache.superseded):
            self._save(batch)
        self.summary_counter += n_results
        self._results_since_backup += n_results
        if (
            self.summary_file is not None
            and self.summary_counter >= self.summary_interval
            and (single or time.monotonic() >= self._summarised + BULK_SUMMARY_SECONDS)
        ):
            self.write_summary()
        if self.backup_interval is not None and self._results_since_backup >= self.backup_interval:
            self._results_since_backup = 0
            self._store.backup_soon()

    @damage_reported()
    def release_tasks(self, taskids, why):
        """Take tasks back that were STARTED but not done, through no fault of theirs. No attempt is
        used up.

        Parameters
        ----------
        taskids : iterable of int
        why : str, for the log
        """
        self._cache.sync_external_changes()
        released = [p for p in _priorities(taskids) if self._cache.status(p) == _STARTED]
        if released:
            self.logger.info("%d tasks are to do again: %s", len(released), why)
            self._cache.write([(None, released)])

    @damage_reported()
    def fail_attempt(self, taskid, why, **info):
        """A task took its process down: it has used up an attempt.

        Parameters
        ----------
        taskid : int
        why : str, what is known of the crash
        **info : start, end, seconds, host, rank, peak_memory, error_class: columns of the table
            ``attempts``

        Returns
        -------
        again : bool
            True where it is to do again; False where it is set aside as ERROR, after
            ``max_attempts`` of these.
        """
        self._cache.sync_external_changes()
        (taskid,) = _priorities((taskid,))
        is_unfinished = self._cache.status(taskid) in (_STARTED, None)
        n_crashes = self._cache.crashes[taskid] + 1
        again = is_unfinished and n_crashes < self.max_attempts
        changes = [crash_record(taskid, why, **{"run": self._run and self._run["run"]} | info)]
        if is_unfinished and not again:
            changes.append(set_aside_record(taskid, n_crashes, why, info.get("seconds")))
            self.logger.error(
                "Task %d took its worker down %d times and is set aside", taskid, n_crashes
            )
        self._cache.write([(None if again else _ERROR, [taskid])] if is_unfinished else [], changes)
        self._cache.crashes[taskid] += 1
        return again

    @damage_reported()
    def reset_tasks(self, taskids):
        """Put tasks back to "to do" as if they had never been tried; only the record of their
        attempts stays.
        """
        self._cache.sync_external_changes()
        taskids = _priorities(taskids)
        self._cache.write([(None, taskids)], discarded(taskids))
        self._cache.invalidate()

    @damage_reported()
    def retry_tasks(self, taskids, method=None, settings=None):
        """Put tasks back to "to do", perhaps in another way. What failed keeps its diagnostics
        until the new result.

        Parameters
        ----------
        taskids : iterable of int
        method : str or None, method to use from now on; `reset_tasks` takes it back
        settings : dict or None, settings of their own (see `overrides`)
        """
        self._cache.sync_external_changes()
        taskids = _priorities(taskids)
        finished = [p for p in taskids if self._cache.status(p) not in (_ERROR, _ABORT, None)]
        changes = [("no diagnostics", [(p,) for p in finished])]
        changes.append(("not skipped", [(p,) for p in taskids]))
        if method is not None:
            ask = "SELECT method FROM todolist WHERE priority = ?"
            old = [(p, *self._store.cursor.execute(ask, (p,)).fetchone()) for p in taskids]
            changes.append(("original method", old))
            changes.append(("method", [(method, p) for p in taskids]))
        if settings:
            changes.append(("override", [(p, json.dumps(settings)) for p in taskids]))
        self._cache.write([(None, taskids)], changes)
        self._cache.invalidate()

    # --- inside

    def _with_settings(self, tasks):
        for task in tasks:
            if settings := self.overrides(task["priority"]):
                if "task_timeout" in settings:  # the scheduler's business, not that of the work
                    task["task_timeout"] = settings.pop("task_timeout")
                task["settings"] = settings
        return tasks

    def _save_packed(self, packed):
        """Save the plain results of packed lists; False where each has to be looked at."""
        priorities = [priority for one in packed for priority in one.priorities]
        if not self._cache.superseded.isdisjoint(priorities):
            return False
        if len(set(priorities)) < len(priorities):
            return False
        contents = [msgspec.Raw(one.content) for one in packed]
        try:
            self._cache.write([(_OK, one.priorities) for one in packed], [(BLOCK, contents)])
        except sqlite3.IntegrityError:  # two light-curve files of the same name
            return False
        for one in packed:
            self._summary.add_packed(one)
        return True

    def _save(self, results):
        """Save results of different tasks, all or none of them."""
        superseded = self._cache.superseded
        if results[0].priority in superseded:  # it stays SKIPPED, as if it had never begun
            superseded.remove(results[0].priority)
            attempts = [result.attempt for result in results if result.attempt]
            self._cache.write([], [("attempt", attempts)] if attempts else [])
            return
        statuses, changes, errors = saving(self._store.cursor, results)
        try:
            self._cache.write(statuses, changes)
            superseded.difference_update([result.priority for result in results])  # by their own
        except sqlite3.IntegrityError:  # two light-curve files of the same name; find out which
            if len(results) == 1:
                self._save_without_lightcurve(*results)
            else:
                for result in results:
                    self._save([result])
            return
        for result, text in zip(results, errors, strict=True):
            row = result.diagnostics
            self._summary.add(text, row.elaptime, row.worker_wait_time)

    def _save_without_lightcurve(self, result):
        """Two tasks cannot have the same light-curve file. The one that comes second is an ERROR
        that says so.
        """
        row = result.diagnostics
        message = f"light-curve file {row.lightcurve} belongs to another task already"
        self.logger.error("Task %d: %s", result.priority, message)
        changed = {
            "status": _ERROR,
            "diagnostics": row._replace(lightcurve=NULL),
            "errors": (*result.errors, message),
            "skip_targets": (),
        }
        self._save([msgspec.structs.replace(result, **changed)])


def _priorities(taskids):
    """Priorities as a list of int, also where they come from an array."""
    return [taskid if type(taskid) is int else _priority(taskid) for taskid in taskids]


def _priority(taskid):
    try:
        return operator.index(taskid)
    except TypeError:
        raise ArgumentError(
            f"taskid={taskid!r}: expected a whole number, the priority of a task"
        ) from None
