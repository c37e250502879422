"""The work of one task, in a worker: run, quality control, result, with time and messages; and the
EAS pipeline's ways to run programs and scripts.
"""

import contextlib
import errno
import functools
import logging
import os
import resource
import subprocess
import sys
import time
import traceback

from ..errors import NothingToDoError, PhotometryError, TargetError, TryAgainError, WrongUseError
from ..status import STATUS
from .filestore import FileStore
from .tasktype import RunningTask, task_type

log = logging.getLogger(__name__)

MAX_MESSAGES = 1000  # of one task that are kept
PERMANENT = (WrongUseError, TargetError)  # trying again would give the same


def measure_time():
    """``wall_clock`` (s of a clock that is never set), ``cpu`` of this process,
    ``cpu_inc_children`` with ended children."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    cpu = own.ru_utime + own.ru_stime
    return {
        "wall_clock": time.monotonic(),
        "cpu": cpu,
        "cpu_inc_children": cpu + children.ru_utime + children.ru_stime,
    }


class _Collector(logging.Handler):
    def __init__(self, messages):
        super().__init__(logging.INFO)
        self._messages = messages

    def emit(self, record):
        if len(self._messages) < MAX_MESSAGES:
            self._messages.append((record.created, record.levelno, record.getMessage()))


@contextlib.contextmanager
def collect_messages():
    """A list to which what is logged within this block is appended: (time, level, message)."""
    messages = []
    handler = _Collector(messages)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield messages
    finally:
        root.removeHandler(handler)


def finish_task(running, results, qc, messages, before):
    """The result of a task that ran through, as the scheduler carries it.

    Parameters
    ----------
    running : tasktype.RunningTask
    results : dict, metadata of the attempt
    qc : list of messages of quality control, empty where it has passed
    messages : list of (time, level, message)
    before : what `measure_time` gave at the start
    """
    return {
        "status": STATUS.OK,
        "qc": qc,
        "results": results,
        "products": running.products,
        "messages": messages,
        "cpu": _since(before),
    }


def failed_task(error, messages, before):
    """The result of a task that raised an exception.

    Parameters
    ----------
    error : the exception
    messages : list of (time, level, message)
    before : what `measure_time` gave at the start
    """
    is_ours = isinstance(error, PhotometryError)
    trace = "".join(traceback.format_exception(error)).rstrip()
    return {
        "status": STATUS.ERROR,
        "details": {"errors": [f"{type(error).__name__}: {error}" if is_ours else trace]},
        "retry": not isinstance(error, PERMANENT),
        "messages": messages,
        "cpu": _since(before),
    }


def _since(before):
    return {name: value - before[name] for name, value in measure_time().items()}


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
        except BaseException as error:  # a task that is interrupted leaves no files either
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


# --- the EAS pipeline's ways


def call_subprocess_and_catch_stdout(arguments, shell=None):
    """Run a program.

    Parameters
    ----------
    arguments : list, turned into strings
    shell : bool, or None for no

    Returns
    -------
    ok : bool, whether it ended with code 0; else an error is logged
    stdout : bytes; what it says on stderr is logged as a warning
    """
    command = [str(item) for item in arguments]
    done = subprocess.run(
        " ".join(command) if shell else command, shell=bool(shell), capture_output=True, check=False
    )
    if done.stderr.strip():
        log.warning("%s: %s", command[0], done.stderr.decode(errors="replace").strip())
    if done.returncode:
        log.error("%s ended with code %d", command[0], done.returncode)
    return done.returncode == 0, done.stdout


def call_subprocess_and_log_output(arguments, shell=None):
    """As `call_subprocess_and_catch_stdout`, with its output printed; returns whether it ended with
    code 0."""
    ok, stdout = call_subprocess_and_catch_stdout(arguments, shell)
    sys.stdout.write(stdout.decode(errors="replace"))
    return ok


def eas_pipeline_task(task_handler):
    """Make a script of the EAS pipeline of a handler: a function without arguments that reads
    ``--job-id`` and runs it.

    A script below a folder ``task_qc_implementations`` is quality control. A failure ends the
    process with code 1.
    """

    @functools.wraps(task_handler)
    def main():
        import argparse

        from .logs import EasLoggingHandler

        parser = argparse.ArgumentParser(description=task_handler.__doc__)
        parser.add_argument("--job-id", type=int, required=True, help="id of the attempt")
        job_id = parser.parse_args().job_id
        handler = EasLoggingHandler()
        logging.getLogger().addHandler(handler)
        is_qc = "task_qc_implementations" in os.path.abspath(sys.argv[0]).split(os.sep)
        try:
            ok = do_pipeline_task(job_id, is_qc, task_handler, handler)
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()
        if not ok:
            sys.exit(1)

    return main


def do_pipeline_task(job_id, is_qc_task, task_handler, eas_logger):
    """Run a handler for an attempt; returns whether it succeeded, and records that. An attempt with
    an error never passes.

    Parameters
    ----------
    job_id : int, id of the attempt
    is_qc_task : bool, this is the quality control of the attempt; the handler's False objects
    task_handler : callable(TaskExecutionAttempt), with the evaluated description in
        ``task_object.task_description``
    eas_logger : logs.EasLoggingHandler
    """
    from .database import TaskDatabaseConnection
    from .timing import TaskHeartbeat, TaskTimer

    eas_logger.set_task_attempt_id(job_id)
    error, verdict = None, None
    with TaskTimer(job_id, is_qc_task), TaskHeartbeat(job_id):
        try:
            with TaskDatabaseConnection() as tasks:
                attempt = tasks.execution_attempt_lookup(job_id, embed_task_object=True)
                if attempt is None:
                    raise WrongUseError(f"there is no attempt {job_id}")
                if is_qc_task and attempt.error_fail:
                    raise WrongUseError(f"attempt {job_id} ended with an error: it cannot pass")
                attempt.task_object.task_description = tasks.evaluated_description(attempt.task_id)
            verdict = task_handler(attempt)
        except Exception as raised:  # noqa: BLE001 - the edge of a script: recorded, and the exit code says it
            error = "".join(traceback.format_exception(raised)).rstrip()
            log.error("%s", error)
    with TaskDatabaseConnection() as tasks:
        if is_qc_task:
            passed = error is None and verdict is not False
            for version in tasks.execution_attempt_fetch_output_files(job_id).values():
                tasks.file_version_update(version.product_version_id, passed_qc=passed)
            tasks.execution_attempt_update(job_id, all_products_passed_qc=passed)
        elif error is not None:
            tasks.execution_attempt_update(job_id, error_fail=True, error_text=error)
    eas_logger.set_task_attempt_id(None)
    return error is None


log = logging.getLogger(__name__)
