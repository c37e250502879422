"""`TaskDatabaseConnection`: the public interface to tasks, attempts, products and metadata, with
the EAS pipeline's names."""

import time

import sqlalchemy as sa

from ..errors import WrongUseError
from . import states
from .objects import TaskExecutionAttempt
from .rows import allocate, chunks
from .schema import (
    ATTEMPTS,
    TASKS,
    VERSIONS,
)
from .taskrecords import TaskMethods

T, A = TASKS.c, ATTEMPTS.c
FINISHED = "FINISHED"  # of an attempt that ended and whose quality control is still to come
ATTEMPT_COLUMNS = {
    "queued_time": "queuedTime",
    "start_time": "startTime",
    "latest_heartbeat_time": "latestHeartbeat",
    "end_time": "endTime",
    "error_text": "errorText",
    "run_time_wall_clock": "runTimeWallClock",
    "run_time_cpu": "runTimeCpu",
    "run_time_cpu_inc_children": "runTimeCpuIncChildren",
}


class TaskDatabaseConnection(TaskMethods):
    """The task database and its file store. See `session.Session` for its ``with`` block."""

    # --- attempts

    def execution_attempt_exists_in_db(self, attempt_id):
        """Whether there is such an attempt."""
        return bool(self._value(sa.select(sa.exists().where(A.schedulingAttemptId == attempt_id))))

    def execution_attempt_register(self, task_id=None, queued_time=None, metadata=None):
        """Make an attempt of a task, queued; returns its id. A task has one active attempt at most.

        Parameters
        ----------
        task_id : int
        queued_time : s since 1970, by default now
        metadata : dict or None
        """
        db = self._changing()
        active = db.execute(
            sa.select(A.schedulingAttemptId).where(A.activeTask == task_id)
        ).scalar()
        if active is not None:
            raise WrongUseError(f"task {task_id} has an active attempt already: {active}")
        attempt_id = allocate(db, ATTEMPTS)
        db.execute(
            ATTEMPTS.insert().values(
                schedulingAttemptId=attempt_id,
                taskId=task_id,
                state=states.QUEUED,
                queuedTime=time.time() if queued_time is None else queued_time,
                errorFail=False,
            )
        )
        states.reopen(db, [task_id])
        db.execute(sa.update(TASKS).where(T.taskId == task_id).values(state=states.QUEUED))
        self.metadata_register(metadata or {}, scheduling_attempt_id=attempt_id)
        return attempt_id

    def execution_attempt_update(
        self, attempt_id=None, queued_time=None, start_time=None, latest_heartbeat_time=None,
        end_time=None, all_products_passed_qc=None, error_fail=None, error_text=None,
        run_time_wall_clock=None, run_time_cpu=None, run_time_cpu_inc_children=None,
        is_queued=None, is_running=None, is_finished=None, metadata=None,
    ):  # fmt: skip
        """Change an attempt, in one statement, and commit. What is None stays as it is.

        The flags change its state; one that passes or fails changes that of its task, and frees or
        blocks others.

        Parameters
        ----------
        attempt_id : int
        queued_time, start_time, latest_heartbeat_time, end_time : s since 1970
        all_products_passed_qc : bool; True is refused where the attempt has an error
        error_fail : bool
        error_text : str
        run_time_wall_clock, run_time_cpu, run_time_cpu_inc_children : s
        is_queued, is_running, is_finished : bool
        metadata : dict
        """
        given = locals()
        values = {
            column: given[name]
            for name, column in ATTEMPT_COLUMNS.items()
            if given[name] is not None
        }
        with self._undone_on_error():
            db = self._changing()
            query = sa.select(A.taskId, A.state, A.errorFail, A.allProductsPassedQc)
            row = db.execute(query.where(A.schedulingAttemptId == attempt_id)).first()
            if row is None:
                raise WrongUseError(f"there is no attempt {attempt_id}")
            has_error = bool(row.errorFail) if error_fail is None else error_fail
            if all_products_passed_qc and has_error:
                raise WrongUseError(f"attempt {attempt_id} ended with an error: it cannot pass")
            state = _new_state(
                row.state,
                has_error,
                error_fail,
                all_products_passed_qc,
                is_queued,
                is_running,
                is_finished,
            )
            values |= {"state": state, "errorFail": has_error}
            if all_products_passed_qc is not None:
                values["allProductsPassedQc"] = all_products_passed_qc
            db.execute(
                sa.update(ATTEMPTS).where(A.schedulingAttemptId == attempt_id).values(**values)
            )
            self.metadata_register(metadata or {}, scheduling_attempt_id=attempt_id)
            if state != row.state:
                self._follow(db, row.taskId, state, error_text)
        self.commit()

    @staticmethod
    def _follow(db, task_id, state, error_text):
        """The task of an attempt that has a new state."""
        task_state = db.execute(sa.select(T.state).where(T.taskId == task_id)).scalar()
        if state == states.PASSED and task_state != states.PASSED:
            states.reopen(db, [task_id])
            db.execute(sa.update(TASKS).where(T.taskId == task_id).values(state=states.PASSED))
            states.passed(db, [task_id], states.container_types(db))
        elif state in (states.FAILED, states.QC_FAILED) and task_state not in states.OVER:
            reason = (error_text or state).strip().splitlines()[-1]
            states.failed(db, {task_id: state}, {task_id: reason})
        elif state in (states.QUEUED, states.RUNNING) and task_state not in states.OVER:
            db.execute(sa.update(TASKS).where(T.taskId == task_id).values(state=state))

    def execution_attempt_lookup(self, attempt_id, embed_task_object=False):
        """A `TaskExecutionAttempt`, or None; ``embed_task_object``: with its `Task`."""
        rows = self._rows(sa.select(ATTEMPTS).where(A.schedulingAttemptId == attempt_id))
        if not rows:
            return None
        (attempt,) = self._attempts(rows)
        if embed_task_object:
            attempt.task_object = self.task_lookup(attempt.task_id)
        return attempt

    def _attempts(self, rows):
        ids = [row.schedulingAttemptId for row in rows]
        metadata = self._metadata_of("schedulingAttemptId", ids)
        files = self._output_files(ids)
        return [
            TaskExecutionAttempt(
                attempt_id=row.schedulingAttemptId,
                task_id=row.taskId,
                state=row.state,
                queued_time=row.queuedTime,
                start_time=row.startTime,
                latest_heartbeat_time=row.latestHeartbeat,
                end_time=row.endTime,
                all_products_passed_qc=None
                if row.allProductsPassedQc is None
                else bool(row.allProductsPassedQc),
                error_fail=bool(row.errorFail),
                error_text=row.errorText,
                run_time_wall_clock=row.runTimeWallClock,
                run_time_cpu=row.runTimeCpu,
                run_time_cpu_inc_children=row.runTimeCpuIncChildren,
                peak_memory=None if row.peakMemory is None else int(row.peakMemory),
                metadata=metadata[row.schedulingAttemptId],
                output_files=files[row.schedulingAttemptId],
            )
            for row in rows
        ]

    def execution_attempt_fetch_output_files(self, attempt_id):
        """Versions that an attempt made: dict role -> `FileProductVersion`."""
        return self._output_files([attempt_id])[attempt_id]

    def _output_files(self, attempt_ids):
        """dict attempt id -> dict role -> `FileProductVersion`, in as many queries for all as for
        one."""
        versions = []
        for some in chunks(attempt_ids):
            versions += self._versions(VERSIONS.c.generatedByTaskExecution.in_(some))
        products = self._products_by_id([version.product_id for version in versions])
        found = {id_: {} for id_ in attempt_ids}
        for version in versions:
            role = products[version.product_id].semantic_type
            found[version.generated_by_task_execution][role] = version
        return found

    def execution_attempt_register_output(
        self, execution_attempt, output_name, file_path, file_metadata, preserve=False
    ):
        """Put a planned output of an attempt into the store.

        Parameters
        ----------
        execution_attempt : TaskExecutionAttempt
        output_name : str, role
        file_path : path
        file_metadata : dict
        preserve : bool, leave the file where it is

        Raises
        ------
        AssertionError : the task has no such output planned
        """
        products = self.task_fetch_file_products(execution_attempt.task_id)
        if output_name not in products:
            raise AssertionError(
                f"task {execution_attempt.task_id} has no output {output_name!r} planned"
            )
        self.file_version_register(
            products[output_name].product_id,
            execution_attempt.attempt_id,
            file_path,
            preserve=preserve,
            metadata=file_metadata,
        )

    def execution_attempt_delete(self, attempt_id):
        """Delete an attempt with the files that it made."""
        for version in self.execution_attempt_fetch_output_files(attempt_id).values():
            self.file_version_delete(version.product_version_id)
        self._changing().execute(sa.delete(ATTEMPTS).where(A.schedulingAttemptId == attempt_id))


def _new_state(state, has_error, error_fail, passed, is_queued, is_running, is_finished):
    """The state of an attempt after flags were given, the strongest first.

    Parameters
    ----------
    state : str, what it was
    has_error : bool
    error_fail, passed, is_queued, is_running, is_finished : bool or None
    """
    if error_fail or (is_finished and has_error):
        return states.FAILED
    if passed is not None:
        return states.PASSED if passed else states.QC_FAILED
    if is_queued:
        return states.QUEUED
    if is_running:
        return states.RUNNING
    return FINISHED if is_finished else state
