"""`run`: from a plan to an exit code, under mpiexec, in local processes, or in this one alone; and
`Master`, the loop in between.
"""

import contextlib
import errno
import functools
import gc
import logging
import math
import os
import platform
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .._version import __version__
from ..errors import PhotometryError, TryAgainError, WrongUseError
from ..processes import StopNow, StopRequests
from ..settings import RunSettings
from .dispatch import Dispatch
from .limits import end_of_run, launched_ranks
from .protocol import (
    BEGIN,
    BYE,
    FINISH,
    LOST,
    READY,
    RESULTS,
    SIGNAL,
    TASKS,
    WITHDRAW,
    Finish,
    Handler,
    Kill,
    Send,
    Withdraw,
    load_handler,
)  # fmt: skip
from .reporting import LOG_NAME, Progress, TaskLog, collect_from_here, timestamp
from .work import TaskRunner

if TYPE_CHECKING:
    from .engines import ProcessEngine, SerialEngine
    from .mpi import MpiEngine

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_WRONG_USE, EXIT_UNFINISHED = 0, 1, 2, 3
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h: an error in this program


TICK_SECONDS = 0.05  # the loop turns at least this often
PROGRESS_SECONDS = 0.2  # and reports the progress this often


@dataclass(frozen=True)
class Plan:
    """What to run and how.

    Attributes
    ----------
    open_source : callable() -> `protocol.TaskSource`; called by the master only
    handler : `protocol.Handler`, what the workers call for each task
    output_folder : Path; made where it is missing; the log of the tasks goes there
    settings : how the run is carried out
    records : what `protocol.TaskSource.begin_run` is given as ``settings``, for the records; JSON
        can hold it
    workers : local processes; 0: all in this process; None: one per core; no meaning under mpiexec
    constraints : dict, handed through to the source: which tasks
    randomly : bool, do the tasks in random order
    limit : int or None, do at most this many tasks
    quiet : bool, no bar
    command : the command line, for the records
    pdb : bool, stop in the debugger where a task fails; implies ``workers=0``
    report : callable() or None, called by the master when all is closed
    """

    open_source: Callable
    handler: Handler
    output_folder: Path
    settings: RunSettings = field(default_factory=RunSettings)
    records: dict = field(default_factory=dict)
    workers: int | None = None
    constraints: dict = field(default_factory=dict)
    randomly: bool = False
    limit: int | None = None
    quiet: bool = False
    command: str = ""
    pdb: bool = False
    report: Callable | None = None


def run(plan):
    """Carry out a plan.

    Returns
    -------
    exit code : 0 all done, 1 some failed, 3 unfinished (run again). MPI's worker ranks return 0.
    """
    ranks = launched_ranks()
    if ranks is None or ranks[1] == 1:
        code = _serve(plan)
        if plan.report is not None:
            plan.report()
        return code
    from . import mpi

    comm = mpi.world()
    handler = comm.bcast(plan.handler)  # rank 0's, which names the run
    if comm.rank > 0:
        mpi.run_worker(comm, handler, plan.settings.recycle)
        return EXIT_OK
    return _run_mpi(plan, mpi.MpiEngine(comm))


def _run_mpi(plan, engine):
    # This process is the master's alone. Tasks and results hold no cycles, but looking for some in
    # tens of thousands of them would take a seventh of its time.
    gc.freeze()
    gc.set_threshold(100_000)
    try:
        code = _serve(plan, engine)
    except (PhotometryError, KeyboardInterrupt) as error:
        engine.close()
        if engine.abandoned:  # no process could log it after the end of the job
            stopped = isinstance(error, KeyboardInterrupt)
            log.error("%s", f"stopped by {error}" if stopped else error)
            engine.end_job(EXIT_WRONG_USE if isinstance(error, WrongUseError) else EXIT_UNFINISHED)
        raise
    except BaseException:  # noqa: BLE001 - the edge of the rank: the others would wait for ever
        traceback.print_exc()
        engine.abort(EXIT_DEFECT)
    engine.close()
    if plan.report is not None:
        plan.report()
    engine.end_job(code)
    return code


def with_pdb(handler):
    """A handler that stops in the debugger where the work raises an exception."""

    def debugged(task):
        import pdb
        import sys

        try:
            return handler(task)
        except Exception:
            pdb.post_mortem(sys.exc_info()[2])
            raise

    return debugged


def _serve(plan, engine=None):
    """The master's part: open the source, run, close, and say how it went."""
    limit = plan.settings.time_limit
    end = None if limit is None else end_of_run(limit)
    is_working = threading.Event()

    def interrupt(name):
        # before it works; from then on the master sees to signals, and later ones are ignored
        if not is_working.is_set():
            raise KeyboardInterrupt(name)

    made = not plan.output_folder.exists()
    with StopRequests(interrupt).active():
        try:
            _make_folder(plan.output_folder)
            with contextlib.closing(plan.open_source()) as source:
                return _serve_source(plan, source, engine, end, is_working)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # for the user to mend: one message and exit code 3, not a traceback
            file = error.filename or "the file of the tasks, its journal or the summary"
            raise TryAgainError(
                f"{error.strerror} while writing {file}; make room and run the same command again"
            ) from error
        finally:
            if made:
                with contextlib.suppress(OSError):  # an empty one, where nothing could be done
                    plan.output_folder.rmdir()


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WrongUseError(
            f"{folder}: cannot be made ({error.strerror}); expected a folder for the output"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WrongUseError(f"{folder}: may not be written to; expected a folder for the output")


def _serve_source(plan, source, engine, end, is_working):
    most = math.inf if plan.limit is None else plan.limit
    total = min(source.get_number_tasks(**plan.constraints), most)
    run_id = source.begin_run(
        command=plan.command, version=__version__, constraints=plan.constraints,
        settings=plan.records,
    )  # fmt: skip
    source.run_info.update(
        run=run_id, version=__version__, host=platform.node(), pid=os.getpid(),
        started=timestamp(), tasks_total_this_run=total, failures=[], warnings=[],
    )  # fmt: skip
    deadline = None
    if end is not None:
        deadline = time.monotonic() + end - time.time() - closing_time(plan.settings, end)
    dispatch = Dispatch(
        source, constraints=plan.constraints, randomly=plan.randomly, limit=plan.limit,
        isolate=plan.settings.isolate, deadline=deadline,
    )  # fmt: skip
    try:
        if total or source.next_eligible() is not None:
            _work(plan, dispatch, engine, total, end, is_working)
        n_to_do = source.get_number_tasks(**plan.constraints)
        n_failed = source.get_number_failed(**plan.constraints)
        code, reason = verdict(dispatch, n_to_do, n_failed, plan.limit)
    except (PhotometryError, OSError):
        raise
    except Exception as error:  # on record in summary and table of runs, not only as a traceback
        reason = f"ended by an error in photometry itself: {type(error).__name__}: {error}"
        source.run_info.update(
            ended=timestamp(), exit_code=EXIT_DEFECT, reason=reason, expected_end=None
        )
        source.end_run(exit_code=EXIT_DEFECT, reason=reason)
        raise
    source.run_info.update(ended=timestamp(), exit_code=code, reason=reason, expected_end=None)
    source.end_run(exit_code=code, reason=reason)
    source.write_summary()
    (log.warning if code == EXIT_UNFINISHED else log.info)("%s", reason)
    return code


def closing_time(settings, end):
    """Seconds to keep free before ``end`` (Unix time) for saving and closing; of a short time, a
    fifth.
    """
    return min(settings.closing_time, 0.2 * max(end - time.time(), 0.0))


def _work(plan, dispatch, engine, total, end, is_working):
    """Drain the source on an engine; None: one of this computer, started here."""
    settings, source = plan.settings, dispatch.source
    workers = 0 if plan.pdb else (os.cpu_count() or 1) if plan.workers is None else plan.workers
    if engine is None and workers > 0:
        from .engines import ProcessEngine

        engine = ProcessEngine(workers, plan.handler, settings.recycle)
    elif engine is None:
        from .engines import SerialEngine

        collect_from_here()
        handler = load_handler(plan.handler)
        handler = with_pdb(handler) if plan.pdb else handler
        engine = SerialEngine(TaskRunner(handler, recycle=settings.recycle))
    last_call = count = None
    if end is not None:
        last_call = time.monotonic() + end - time.time() - closing_time(settings, end) / 2
    if plan.limit is None:
        count = functools.partial(source.get_number_tasks, **plan.constraints)
    progress = Progress(source, total, count=count, quiet=plan.quiet)
    try:
        with contextlib.closing(TaskLog(plan.output_folder / LOG_NAME)) as log, progress.display:
            is_working.set()
            Master(dispatch, engine, settings.grace, last_call, log, progress).run()
            progress.note(dispatch, time.monotonic())
    finally:
        engine.close()


def verdict(dispatch, n_to_do, n_failed, limit):
    """How a run has ended.

    Parameters
    ----------
    dispatch : `dispatch.Dispatch`
    n_to_do : how many of its tasks are still to do
    n_failed : how many of its tasks have failed, in this run or before
    limit : how many it was to do at most, or None

    Returns
    -------
    code : exit code
    reason : str, a message
    """
    counts = dispatch.counts
    attempted = counts["saved"] + counts["set aside"]
    if n_to_do and (dispatch.stopping or dispatch.out_of_time):
        why = dispatch.stopping or "the time limit of the run is near"
    elif n_to_do and (limit is None or attempted < limit):
        why = "what is still to do cannot be done now"
        if counts["lost"]:
            why = f"{counts['lost']} workers were lost, the last one: {dispatch.last_loss}"
    elif n_failed or counts["failed"]:
        before = max(n_failed - counts["failed"], 0)
        if not counts["failed"]:
            return EXIT_FAILED, f"done, {attempted} tasks, but {before} failed in earlier runs"
        also = f", and {before} in earlier runs" if before else ""
        return EXIT_FAILED, f"done, but {counts['failed']} of {attempted} tasks failed{also}"
    else:
        return EXIT_OK, f"done, {attempted} tasks"
    return (
        EXIT_UNFINISHED,
        f"unfinished, run again: {why}; {n_to_do} of the tasks are still to do",
    )


@dataclass
class Master:
    """Runs a dispatch on an engine.

    Attributes
    ----------
    dispatch : `dispatch.Dispatch`
    engine : `engines.SerialEngine`, `engines.ProcessEngine` or `mpi.MpiEngine`
    grace : s that running tasks get to end after a request to stop
    last_call : time of the monotonic clock by which the loop ends whatever is running, or None
    task_log : `reporting.TaskLog` or None
    progress : `reporting.Progress` or None
    """

    dispatch: Dispatch
    engine: "SerialEngine | ProcessEngine | MpiEngine"
    grace: float = 60.0
    last_call: float | None = None
    task_log: TaskLog | None = None
    progress: Progress | None = None
    # signals by worker: mpiexec sends each signal to all ranks
    _from_workers: Counter = field(default_factory=Counter, init=False)
    _give_up_at: float | None = field(default=None, init=False)

    def run(self):
        """Work until all is done, or until asked to stop. Nothing that was saved is lost by any way
        out of here.
        """
        dispatch, engine, reported = self.dispatch, self.engine, -math.inf
        self._signals = StopRequests(self._interrupt)
        engine.meanwhile = lambda: self._perform(dispatch.withdraw(time.monotonic()))
        with self._signals.active():
            try:
                while engine.alive:
                    events, now = engine.receive(TICK_SECONDS), time.monotonic()
                    for worker, message in events:
                        self._perform(self._handle(worker, message, now))
                    if self._signals.names:
                        self._perform(dispatch.stop(f"received {self._signals.names[0]}", now))
                    self._perform(dispatch.tick(now))
                    if self.progress and now - reported > PROGRESS_SECONDS:
                        reported = now
                        self.progress.update(dispatch, now)
                    if dispatch.stopping is not None and self._grace_is_over():
                        break
            except StopNow:
                dispatch.stop(f"received {self._signals.names[0]}", time.monotonic())
                log.warning("the running task is interrupted")
            finally:
                dispatch.give_up("the run ended before it was done")

    def _handle(self, worker, message, now):
        kind = message[0]
        if kind == RESULTS:
            actions = self.dispatch.results(worker, message[1], now=now)
            if logged := self.dispatch.logged:
                self.dispatch.logged = []
                if self.task_log:
                    self.task_log.write(logged, self.dispatch.source)
            return actions
        if kind == READY:
            self.engine.send(worker, (BEGIN, self.dispatch.packer))
            return self.dispatch.joined(worker, now, host=message[1], pid=message[2])
        if kind == LOST:
            return self.dispatch.lost(worker, now, message[1], running=message[2])
        if kind == BYE:
            return self.dispatch.ended(worker, now)
        if kind == SIGNAL:
            self._from_workers[worker] += 1
            return self.dispatch.stop(f"worker {worker} received {message[1]}", now)
        raise AssertionError(f"message {kind!r} from worker {worker}")

    def _perform(self, actions):
        for action in actions:
            if isinstance(action, Send):
                message = TASKS, action.ticket, action.tasks, action.limits, action.per_child
                self.engine.send(action.worker, message)
            elif isinstance(action, Withdraw):
                self.engine.send(action.worker, (WITHDRAW, action.tickets))
            elif isinstance(action, Finish):
                self.engine.send(action.worker, (FINISH,))
            elif isinstance(action, Kill):
                self.engine.kill(action.worker, action.why)

    def _interrupt(self, name):
        """In the signal handler: a task that runs in this very process gets its grace, or none the
        second time.
        """
        self.engine.stop_within(self.grace if len(self._signals.names) == 1 else 0)

    def _grace_is_over(self):
        """True when the running tasks have had their grace."""
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = min(now + self.grace, self.last_call or float("inf"))
        if max([len(self._signals.names), *self._from_workers.values()]) > 1:
            log.warning("received a second signal: stopping at once")
            return True
        if now > self._give_up_at:
            log.warning(
                "tasks still running after a grace of %g s are given back: %d",
                self.grace,
                self.dispatch.running,
            )
            return True
        return False
