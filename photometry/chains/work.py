"""The work of one task, in a worker: run, quality control, result. The scheduler's handler."""

import errno
import logging

from ..errors import NothingToDoError, TryAgainError, WrongUseError
from .execution import collect_messages, failed_task, finish_task, measure_time
from .filestore import FileStore
from .tasktype import RunningTask, task_type

log = logging.getLogger(__name__)


def run_chain_task(task, *, store, input_folder, options=None):
    """Handler of the scheduler: run a task, then its quality control.

    Parameters
    ----------
    task : dict, see `source.ChainSource`
    store : path of the file store
    input_folder : path
    options : dict, see `RunningTask`

    Returns
    -------
    dict with ``status``, ``qc`` (list of messages), ``results``, ``products``, ``messages``,
    ``cpu``; after an error ``details``
    """
    running = RunningTask(task, FileStore(store), input_folder, options)
    kind = task_type(task["type"])
    before = measure_time()
    with collect_messages() as messages:
        try:
            if reason := kind.unavailable():
                raise WrongUseError(f"{kind.name} cannot run here: {reason}")
            if problems := kind.problems(task["description"]):
                raise WrongUseError(f"{kind.name}: {problems[0][1]}")
            results = kind.run(running) or {}
            qc = running.missing_outputs() + list(kind.qc(running, results))
            for message in qc:
                log.warning("quality control: %s", message)
            return finish_task(running, results, qc, messages, before)
        except BaseException as error:
            running.discard_products()
            is_outside = isinstance(error, TryAgainError | NothingToDoError) or (
                isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            )
            if is_outside or not isinstance(error, Exception):
                raise
            # Here as well as at the scheduler's edge, so that messages and times of the failure are
            # kept.
            return failed_task(error, messages, before)
        finally:
            running.close()


def pack_results(results):
    """What the scheduler carries of results: all but what the database knows anyway."""
    known = ("description", "metadata", "requested_metadata", "inputs", "collected", "existing")
    return [
        {
            **{key: value for key, value in result.items() if key not in known},
            "metadata": result.get("results"),
        }
        for result in results
    ]
