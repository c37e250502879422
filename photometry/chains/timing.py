"""Signs of life and run times of attempts that are carried out by scripts; the scheduler's workers
do without these."""

import logging
import threading
import time

from .execution import measure_time

log = logging.getLogger(__name__)

FIRST_BEAT = 1.0  # s; then at 3, 7, 15 s, ... until the cadence is reached


class TaskHeartbeat:
    """Writes the time of the latest sign of life of an attempt, within a ``with`` block.

    A thread with a connection of its own. It beats at about 0, 1, 3, 7, 15, ... s, then every
    ``heartbeat_cadence``.

    Parameters
    ----------
    task_attempt_id : int or None; None: nothing is written
    heartbeat_cadence : s
    """

    def __init__(self, task_attempt_id=None, heartbeat_cadence=60):
        self.task_attempt_id = task_attempt_id
        self.heartbeat_cadence = heartbeat_cadence
        self._ended = threading.Event()
        self._thread = None

    def __enter__(self):
        if self.task_attempt_id is not None:
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self):
        from ..errors import TryAgainError
        from .database import TaskDatabaseConnection

        start = time.monotonic()
        while True:
            try:
                with TaskDatabaseConnection() as tasks:
                    tasks.execution_attempt_update(
                        self.task_attempt_id, latest_heartbeat_time=time.time()
                    )
            except TryAgainError as error:
                log.warning("no heartbeat of attempt %d: %s", self.task_attempt_id, error)
            wait = min(time.monotonic() - start + FIRST_BEAT, self.heartbeat_cadence)
            if self._ended.wait(wait):
                return


class TaskTimer:
    """Records start, end and run times of an attempt, within a ``with`` block; of quality control
    nothing.

    Parameters
    ----------
    task_attempt_id : int
    is_qc_task : bool
    """

    measure_time = staticmethod(measure_time)

    def __init__(self, task_attempt_id, is_qc_task):
        self.task_attempt_id, self.is_qc_task = task_attempt_id, is_qc_task
        self._before = None

    def __enter__(self):
        self._before = measure_time()
        if not self.is_qc_task:
            now = time.time()
            self._update(
                start_time=now, latest_heartbeat_time=now, is_queued=False, is_running=True
            )
        return self

    def __exit__(self, kind, *_):
        if self.is_qc_task:
            return
        times = measure_time()
        self._update(
            end_time=time.time(),
            run_time_wall_clock=times["wall_clock"] - self._before["wall_clock"],
            run_time_cpu=times["cpu"] - self._before["cpu"],
            run_time_cpu_inc_children=times["cpu_inc_children"] - self._before["cpu_inc_children"],
            is_running=False,
            is_finished=True,
        )

    def _update(self, **values):
        from .database import TaskDatabaseConnection

        with TaskDatabaseConnection() as tasks:
            tasks.execution_attempt_update(self.task_attempt_id, **values)


class TemporaryDirectory:
    """A private folder, removed when the ``with`` block ends; ``tmp_dir`` is its path, None once it
    is gone."""

    def __init__(self):
        import os
        import tempfile

        self.tmp_dir = tempfile.mkdtemp(prefix=f"eas_{os.getpid()}_")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clean_up()

    def __del__(self):
        self.clean_up()

    def clean_up(self):
        """Remove the folder and what is in it."""
        import shutil

        if getattr(self, "tmp_dir", None) is not None:
            shutil.rmtree(self.tmp_dir, ignore_errors=True)
            self.tmp_dir = None
