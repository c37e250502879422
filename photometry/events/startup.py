"""`run`: a pipeline from start to end, as the start-up script of every pipeline does it; and
`WorkerPool`: several processes of this host that work on one shared queue, and the parent that
looks after them.

A worker that dies is replaced, and what it held goes to others at once. A worker that has done
enough items ends by itself and is replaced too, so that memory which a library does not give back
cannot grow for ever.
"""

import contextlib
import logging
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from multiprocessing.connection import wait

from ..errors import PhotometryError, TryAgainError, WrongUseError
from ..processes import describe_exit, draining, stderr_handler, threads_limited
from .config import ConfigClass
from .event import OUTCOME
from .framework import EXIT_FAILED, EXIT_OK, EXIT_UNFINISHED, Framework
from .interface import shared_queue
from .loop import MAX_REASONS, STOPPING
from .watcher import patterns_of, why_nothing

EXIT_USAGE = 2

LOOK = 0.5
"""s between looks at the workers."""

MAX_CRASHES = 10
"""In a row without any item finished: then the fault is not in an item."""


def run(
    pipeline,
    config=None,
    *,
    files=(),
    directory=None,
    monitor=False,
    ingest_only=False,
    wait_for_event=False,
    continuous=False,
    queue_only=False,
    ncpus=1,
    clobber=False,
):
    """Ingest files and run a pipeline on them.

    Parameters
    ----------
    pipeline : what `Framework` takes; with ``ncpus`` > 1 a name or a Python file
    config : file name, ConfigClass or None
    files : names of files to ingest
    directory : its files are ingested that match ``file_type``
    monitor : bool, go on taking files as they arrive there; implies ``continuous``
    ingest_only : bool, put the events on the shared queue and leave them to others
    wait_for_event, continuous, queue_only : as of `Framework.start`
    ncpus : int, worker processes
    clobber : bool, take files again that the shared queue remembers as done

    Returns
    -------
    int : exit status; 0 all done, 1 some failed, in this run or in an earlier one on the same
        queue, 3 something is left to do

    Raises
    ------
    WrongUseError : a file or the directory is missing, or there is nothing to do and nothing to
        wait for
    """
    if directory is not None and not os.path.isdir(directory):
        raise WrongUseError(f"{directory}: there is no such directory")
    if missing := [str(name) for name in files if not os.path.isfile(name)]:
        raise WrongUseError(f"no such file: {', '.join(missing)}")
    config = (
        ConfigClass(config) if config is None or isinstance(config, (str, os.PathLike)) else config
    )
    if ncpus > 1 or ingest_only or queue_only:
        config.want_multiprocessing = True
    framework = Framework(pipeline, config)
    framework.on_exit = lambda status: None
    continuous = continuous or monitor
    try:
        if files or directory is not None:
            framework.ingest_data(directory, files, monitor, clobber)
        if not (continuous or wait_for_event or queue_only):
            _refuse_nothing(framework, directory)
        if ncpus == 1 or ingest_only or queue_only:
            status = framework.start(queue_only, ingest_only, wait_for_event, continuous)
        else:
            pool = WorkerPool(
                pipeline, config, ncpus, continuous=continuous, logger=framework.logger
            )
            status = pool.run()
        if status == EXIT_OK and framework.event_queue.shared and not (ingest_only or queue_only):
            return _status_of_queue(framework)
        return status
    finally:
        if framework.context.data_set is not None:
            framework.context.data_set.stop_monitor()
        framework.end()


def _status_of_queue(framework):
    """The exit status of a run without failures: what failed in an earlier one, and has not been
    tried again, counts."""
    failed = framework.event_queue.counts()["failed"]
    if failed:
        framework.logger.error(
            "%d items failed in earlier runs; 'photometry watch --retry-failed' or "
            "'photometry events retry -q %s' tries them again",
            failed,
            framework.event_queue.path,
        )
    return EXIT_FAILED if failed else EXIT_OK


def _refuse_nothing(framework, directory):
    """Say so where neither files nor events are there to work on."""
    data_set = framework.context.data_set
    if (data_set is None or not data_set.get_size()) and not framework.event_queue.qsize():
        what = (
            "no files were named"
            if directory is None
            else why_nothing(directory, patterns_of(framework.config.file_type))
        )
        raise WrongUseError(
            f"nothing to do: {what}, and no events are pending; name files, or --monitor a folder"
        )


class WorkerPool:
    """Run ``ncpus`` worker processes until the shared queue is empty, or a signal comes.

    Parameters
    ----------
    pipeline : name of a pipeline, or a Python file; each worker makes its own
    config : ConfigClass
    ncpus : int
    continuous : bool, go on when the queue is empty
    logger : for what the parent has to say
    """

    def __init__(self, pipeline, config, ncpus, *, continuous=False, logger=None):
        self.pipeline, self.config, self.ncpus, self.continuous = (
            pipeline,
            config,
            ncpus,
            continuous,
        )
        self.log = logger or logging.getLogger("DRPF")
        self.queue = shared_queue(config)
        # process number -> process
        self.workers = {}
        self._spawn = multiprocessing.get_context("spawn")
        self._signals = 0
        self._kill_at = None
        self._crashes = 0
        self._finished = 0
        self._wrong_use = False

    def run(self):
        """Work until there is nothing left to do. Returns the exit status, from the outcomes in the
        queue."""
        start = time.time()
        try:
            with draining(self._on_signal):
                if self.queue.stopping:
                    self.log.warning(STOPPING)
                self._fill()
                while self.workers:
                    try:
                        self._look()
                    except TryAgainError as error:
                        # the workers wait for the queue too, and give up when it stays away
                        self.log.warning("%s; waiting for it to come back", error)
                        time.sleep(LOOK)
        finally:
            self._kill(signal.SIGKILL)
            self._reap()
        status = self._report(start)
        self.queue.close()
        return status

    def _on_signal(self, name):
        self._signals += 1

    def _look(self):
        wait([process.sentinel for process in self.workers.values()], timeout=LOOK)
        self._reap()
        self._stop_overdue()
        if self._signals and self._kill_at is None:
            self.log.warning(
                "Stopping: the workers get %s s to finish their items", self.config.stop_grace
            )
            self._kill_at = time.monotonic() + self.config.stop_grace
            self._kill(signal.SIGTERM)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill(signal.SIGKILL)
        self._fill()

    def _fill(self):
        """Start workers where some are missing and there is something to do for them."""
        ending = (
            self._signals or self._wrong_use or self._crashes >= MAX_CRASHES or self.queue.stopping
        )
        if ending or not (self.continuous or not self.queue.is_over()):
            return
        while len(self.workers) < self.ncpus:
            arguments = (self.pipeline, self.config, self.continuous, self.log.getEffectiveLevel())
            process = self._spawn.Process(target=_work, args=arguments, name="event_worker")
            with threads_limited():
                process.start()
            self.workers[process.pid] = process

    def _reap(self):
        for pid, process in list(self.workers.items()):
            if process.is_alive():
                continue
            process.join()
            del self.workers[pid]
            if process.exitcode == EXIT_USAGE:
                self._wrong_use = True
            elif process.exitcode != EXIT_OK:
                self._crashed(pid, process.exitcode)
            process.close()

    def _crashed(self, pid, code):
        given_back = self.queue.release_worker(pid)
        finished = sum(self.queue.counts()[state] for state in ("done", "skipped", "failed"))
        self._crashes = 1 if finished > self._finished else self._crashes + 1
        self._finished = finished
        self.log.error(
            "Worker %d: %s; %d items go to other workers", pid, describe_exit(code), given_back
        )

    def _stop_overdue(self):
        """Kill workers whose item takes longer than ``item_time_limit``; such an item has
        failed."""
        limit = self.config.item_time_limit
        if limit is None:
            return
        for event in self.queue.get_in_progress().values():
            host, pid, _ = event.worker.rsplit(":", 2)
            if (
                host == platform.node()
                and (pid := int(pid)) in self.workers
                and time.time() - event.taken > limit
            ):
                reason = f"took longer than item_time_limit={limit} s"
                self.queue.finish(event.id, OUTCOME.FAILED, reason, worker=event.worker)
                self.log.error("%s, %s: %s", event.name, event.args.name, reason)
                os.kill(pid, signal.SIGKILL)

    def _kill(self, number):
        for pid in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _report(self, start):
        counts = self.queue.counts(since=start)
        self.log.info(
            "Items: %s", ", ".join(f"{number} {state}" for state, number in counts.items())
        )
        for event in self.queue.find("failed", MAX_REASONS, since=start):
            self.log.info("failed: %s, %s: %s", event.name, event.args.name, event.error)
        if self._wrong_use:
            return EXIT_USAGE
        if counts["failed"] or self._crashes >= MAX_CRASHES:
            return EXIT_FAILED
        return EXIT_UNFINISHED if counts["pending"] or counts["running"] else EXIT_OK


def _work(pipeline, config, continuous, level):
    """What a worker process runs. It ends with 0 when its loop has ended, with 2 for wrong use;
    else it has died."""
    # a terminal's Ctrl-C goes to the parent alone, which asks the workers to drain
    os.setsid()
    logging.basicConfig(level=logging.WARNING, handlers=[stderr_handler()])
    logging.getLogger("DRPF").setLevel(level)
    try:
        framework = Framework(pipeline, config)
        threading.Thread(target=_end_with_parent, args=(framework,), daemon=True).start()
        # what became of the items is in the queue
        framework.on_exit = lambda status: None
        framework.start(continuous=continuous)
    except PhotometryError as error:
        print(f"photometry: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def _end_with_parent(framework):
    """Finish the present item and end when the parent has died: its death is no evidence against an
    item."""
    multiprocessing.parent_process().join()
    framework.stop()
