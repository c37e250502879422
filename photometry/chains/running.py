"""Run chains: one job from definition to exit code, the scheduler's loop, a worker."""

import logging
import time

from ..processes import draining
from ..scheduler.limits import is_master, launched_ranks
from ..scheduler.protocol import Handler
from ..scheduler.run import Plan, run
from ..settings import RunSettings
from . import jobs
from .queues import TaskQueueConnector, TaskScheduler
from .source import ChainSource, QueueSource
from .tasktype import task_type, task_type_names

log = logging.getLogger(__name__)

HANDLER = "photometry.chains.execution:run_chain_task"
CHILD_TASKS = 500  # tasks that one child process does


def handler(settings):
    """What workers call, with what they need to know of the settings."""
    return Handler(
        HANDLER,
        {
            "store": str(settings.file_store),
            "input_folder": str(settings.inputs),
            "options": {"null_sleep": settings.null_sleep},
        },
    )


def run_settings(*, isolate=False, time_limit=None, grace=60.0):
    """How tasks are carried out: in child processes of the workers, which are warm.

    Parameters
    ----------
    isolate : bool, each task in a child process of its own
    time_limit : str or None, see `RunSettings`
    grace : s that running tasks get to end
    """
    return RunSettings(
        isolate=isolate,
        recycle=None if isolate else CHILD_TASKS,
        time_limit=time_limit,
        grace=grace,
    )


def run_job(
    settings, open_root, *, workers=None, command="", quiet=False, report=None, options=None
):
    """Work until a job is done. Under mpiexec, rank 0 keeps the database and the others work.

    Parameters
    ----------
    settings : ChainSettings
    open_root : callable() -> id of the root task; called by the master only
    workers : processes; 0: all in this one; None: one per core
    command : str, for the records
    quiet : bool
    report : callable(root), called by the master at the end
    options : dict of arguments of `run_settings`

    Returns
    -------
    int : exit code
    """
    root = open_root() if is_master() else None

    def open_source():
        return ChainSource(jobs.open_database(settings), settings, root=root)

    plan = Plan(
        open_source=open_source,
        handler=handler(settings),
        output_folder=settings.home / "logs",
        settings=run_settings(**(options or {})),
        workers=workers,
        command=command,
        quiet=quiet,
        report=None if report is None else lambda: report(root),
    )
    return run(plan)


def available_types(names=None):
    """Names of the task types that can run on this host, containers left out; of those that are
    named, if any are."""
    found = []
    for name in names or task_type_names():
        kind = task_type(name)
        if not kind.is_container and kind.unavailable() is None:
            found.append(name)
    return found


def run_worker(settings, *, types=None, workers=1, until_idle=False, command="", options=None):
    """Do attempts that the scheduler has queued, until stopped; returns the exit code.

    Parameters
    ----------
    settings : ChainSettings
    types : names of task types, or None: all that can run here
    workers : processes
    until_idle : bool, end when nothing is to do
    command : str, for the records
    options : dict of arguments of `run_settings`
    """
    names = available_types(types)

    def open_source():
        database = jobs.open_database(settings)
        queue = TaskQueueConnector(settings=settings, database=database).interface()
        return QueueSource(database, settings, queue, types=names, until_idle=until_idle)

    ranks = launched_ranks()
    plan = Plan(
        open_source=open_source,
        handler=handler(settings),
        output_folder=settings.home / "logs",
        settings=run_settings(**(options or {})),
        workers=workers if ranks is None else None,
        command=command,
        quiet=True,
    )
    return run(plan)


def run_scheduler(settings, *, interval=1.0, once=False, until_idle=False):
    """Queue what can start, pass after pass, until a signal to stop; returns how many attempts were
    queued.

    Parameters
    ----------
    settings : ChainSettings
    interval : s between passes that found nothing
    once : bool, one pass
    until_idle : bool, end when nothing is to do
    """
    stopping = []
    count = 0
    with TaskScheduler(settings=settings) as scheduler, draining(stopping.append):
        while not stopping:
            queued = scheduler.schedule_all_waiting_jobs()
            count += queued
            if once or (until_idle and not queued and not scheduler.number_to_do()):
                break
            if not queued:
                _sleep(interval, stopping)
    return count


def _sleep(seconds, stopping):
    """Sleep, but no longer than until a signal comes."""
    end = time.monotonic() + seconds
    while not stopping and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
