"""`run`: a pipeline from start to end, as the start-up script of every pipeline does it."""

import os

from ..errors import WrongUseError
from .config import ConfigClass
from .framework import EXIT_FAILED, EXIT_OK, Framework
from .watcher import patterns_of, why_nothing
from .workers import WorkerPool


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
