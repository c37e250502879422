"""The contracts around the scheduler: where tasks come from, and what master and workers send.

`TaskSource` is the whole contract of a source: a class with its methods and nothing else runs
through `run.run` on every engine. The smallest one that does something::

    from photometry import STATUS
    from photometry.scheduler.protocol import Limits

    class Squares:
        def __init__(self, n):
            self.run_info, self.todo, self.squares = {}, list(range(n)), {}

        # about a task
        def id(self, task): return task["number"]
        def label(self, task): return f"number {task['number']}"
        def kind(self, task): return None
        def limits(self, task): return Limits()

        # what is to do
        def get_tasks(self, n, **_): return [{"number": number} for number in self.todo[:n]]
        def get_random_tasks(self, n, **_): return self.get_tasks(n)
        def get_number_tasks(self, **_): return len(self.todo)
        def get_number_failed(self, **_): return 0
        def next_eligible(self): return None

        # what becomes of it
        def start_tasks(self, ids): self.todo = [n for n in self.todo if n not in ids]
        def result_packer(self): return None
        def save_results(self, results):
            self.squares.update({r["number"]: r["square"] for r in results})
        def release_tasks(self, ids, why): self.todo += ids
        def fail_attempt(self, id_, why, **info): return False
        def crashes(self, id_): return 0
        def crash_candidates(self): return set()

        # the run
        def begin_run(self, **info): return 1
        def end_run(self, exit_code=None, reason=None): pass
        def write_summary(self): pass
        def close(self): pass

    def square(task):  # the handler, which runs in the workers
        return {"status": STATUS.OK, "square": task["number"] ** 2}

Messages are plain tuples whose first item is one of the words below: they are pickled by the
thousand. A ticket is a number that the master gives to a task each time that it assigns it.

========================================  =========  ==============================================
message                                   direction  meaning
========================================  =========  ==============================================
``(READY, host, pid)``                    to master  a worker has started and waits for tasks
``(RESULTS, report)``                     to master  a `Report`: finished tasks, and tickets given
                                                     back unbegun
``(SIGNAL, name)``                        to master  a worker received a signal that asks to stop
``(LOST, why, running)``                  to master  from the engine, in place of the worker: it has
                                                     crashed
``(BYE, why)``                            to master  the worker ends; nothing comes after this
``(BEGIN, packer)``                       to worker  the answer to READY, see
                                                     `TaskSource.result_packer`
``(TASKS, ticket, tasks, limits, n)``     to worker  do these, of tickets ``ticket``,
                                                     ``ticket + 1``, ...; ``n``: tasks for each
                                                     child process, None: in the worker itself
``(WITHDRAW, tickets)``                   to worker  these are not wanted any more: end the one that
                                                     runs, if it is in a child process; give them
                                                     back
``(FINISH,)``                             to worker  end the running task, give back the others, say
                                                     BYE
========================================  =========  ==============================================
"""

import functools
import math
import pickle
from dataclasses import dataclass, field
from importlib import import_module
from typing import NamedTuple, Protocol

from ..errors import SettingsError
from ..status import STATUS

READY, RESULTS, SIGNAL, BYE, LOST = "ready", "results", "signal", "bye", "lost"
BEGIN, TASKS, WITHDRAW, FINISH = "begin", "tasks", "withdraw", "finish"

# s; no target of a survey should need an hour, a hanging one needs for ever
DEFAULT_TASK_TIMEOUT = 3600.0


class Limits(NamedTuple):
    """What one task may take.

    Attributes
    ----------
    seconds : soft time limit, which raises an exception inside the work; None: no limit
    memory : bytes that the work may allocate beyond what its process had before; more raises
        MemoryError inside it (Linux). None: no limit
    """

    seconds: float | None = DEFAULT_TASK_TIMEOUT
    memory: int | None = None

    @property
    def hard(self):
        """Seconds after which the process of the task is ended: for compiled code, which the soft
        limit cannot interrupt.
        """
        return math.inf if self.seconds is None else 1.2 * self.seconds + 2.0


# --- what `dispatch.Dispatch` asks of an engine


@dataclass(frozen=True)
class Send:
    """Assign these tasks to a worker."""

    worker: int
    ticket: int  # of the first task; the others have those that follow
    tasks: list
    limits: list  # `protocol.Limits` of each
    per_child: int | None = None  # tasks for each child process; None: in the worker itself


@dataclass(frozen=True)
class Withdraw:
    """Ask a worker to give back these tasks, which are not wanted any more."""

    worker: int
    tickets: list


@dataclass(frozen=True)
class Finish:
    """Ask a worker to end: it has nothing more to do."""

    worker: int


@dataclass(frozen=True)
class Kill:
    """End a worker that does not answer any more, by force where the engine can."""

    worker: int
    why: str


# --- what becomes of tasks


class Failure(NamedTuple):
    """Why a task failed, or got a warning, for people and for counting equal causes."""

    error_class: str
    text: str
    where: str = ""  # 'methods/aperture.py:112 in aperture_flux'

    @classmethod
    def of(cls, error, where=""):
        """What is to be said of an exception, also of one that cannot say it itself."""
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - code of others
            text = "an exception whose text cannot be read"
        return cls(type(error).__name__, text, where)

    @property
    def message(self):
        return f"{self.error_class}: {self.text}" if self.text else self.error_class


class Report(NamedTuple):
    """What a worker reports of the tasks that it was given, by ticket."""

    tickets: list | tuple = ()  # of the results in ``packed``, in the same order
    packed: object = None  # what the packer of the source made of the results
    seconds: float = 0.0  # s of work in all
    slow: list | tuple = ()  # (ticket, s) of those that took long enough to matter to a time limit
    failures: list | tuple = ()  # (ticket, Failure) of the results with status ERROR
    warnings: list | tuple = ()  # the same of those with status WARNING
    log: list | tuple = ()  # (ticket, lines) of those that logged something
    crashed: list | tuple = ()  # (ticket, why, attempt): took their child process down; no result
    hindered: list | tuple = ()  # (ticket, why): met with a full disk or the like; no result
    returned: list | tuple = ()  # tickets of tasks that were not begun


class TaskSource(Protocol):
    """What the scheduler drains. `photometry.TaskManager` is one, the database of chains another.

    **A task** is a dict that can be pickled. The scheduler reads nothing in it; it asks the source
    for its `id`, `label`, `kind` and `limits`. A task is *to do* until `start_tasks`, *started*
    until its result is saved or it is taken back, and then *done* or to do again.

    **A result** is a dict too: what the handler returned in the worker, which has to hold
    ``status``, a member of STATUS, and may hold whatever else the source understands (diagnostics,
    products, metadata), with

    - the keys of its task, so that ``id(result)`` is the id of the task;
    - ``time``: s of work; ``worker_wait_time``: s that the worker waited for the task;
    - ``attempt``: dict with ``host``, ``rank``, ``start`` and ``end`` (Unix time), ``seconds``,
      ``peak_memory`` (bytes of the process), and after a failure ``error_class``, ``error_text``
      and ``where`` (line of code).

    Where the work raised an exception, status is ERROR (SKIPPED after `NothingToDoError`) and
    ``details`` is ``{'errors': [text]}``.

    **A source may grow.** While a run goes on, a result may make other tasks eligible, free them or
    skip them, and tasks may come from outside. Whenever workers are idle, results are saved at once
    and the source is asked again. The run ends when `get_tasks` has nothing to give after every
    result is saved, nothing is started, and `next_eligible` is None.

    All calls come from one process and one thread. A call that raises TryAgainError or OSError ends
    the run as unfinished.
    """

    run_info: dict
    """The scheduler keeps what it knows of the run in here (workers, rate, expected end, failures
    by cause); for `write_summary`.
    """

    # --- about a task

    def id(self, task) -> object:
        """What the methods below call the task by; hashable."""

    def label(self, task) -> str:
        """What people call it, in one line: 'TIC 25155310'."""

    def kind(self, task) -> object:
        """Tasks of one kind are expected to take about equally long; hashable. Asked for tasks of
        more than a millisecond.
        """

    def limits(self, task) -> Limits:
        """What it may take. Return the same object for tasks of the same limits: it travels once,
        not with each task.
        """

    # --- what is to do

    def get_tasks(self, n, *, crashed_last=False, **constraints) -> list[dict]:
        """The next up to ``n`` tasks that can be done now; they stay to do until `start_tasks`.

        ``crashed_last``: tasks that have crashed come after all others, so that what kills every
        run does not keep the run from the rest. ``constraints`` are those that the run was given,
        handed through as they are.
        """

    def get_random_tasks(self, n, **constraints) -> list[dict]:
        """Any up to ``n`` tasks that can be done now."""

    def get_number_tasks(self, **constraints) -> int:
        """How many tasks are to do, as far as is known now, eligible or not.

        A task that can never be done, as one that it builds on has failed, is not to do.
        """

    def get_number_failed(self, **constraints) -> int:
        """How many tasks have failed and are not to do again, in this run or before."""

    def next_eligible(self) -> float | None:
        """Seconds until it is worth asking again without a result: a back-off ends, for example.

        None: only a result can make a task eligible. Asked when `get_tasks` has nothing to give;
        the run does not end before.
        """

    # --- what becomes of it

    def start_tasks(self, ids) -> None:
        """These were assigned to a worker: `get_tasks` must not give them again."""

    def result_packer(self):
        """None, or for sources in a hurry a callable ``packer(results) -> packed``.

        It can be pickled, runs in the workers, on the list of the results of a message (dicts), and
        returns anything that can be pickled; it has to take failed results, too. Then
        `save_results` takes a list of what it returned instead of a list of dicts. Whatever it
        raises is the fault of a result: each is packed alone, and one that cannot be packed becomes
        an ERROR. Called after `begin_run`.
        """

    def save_results(self, results) -> None:
        """Store what became of tasks, which are not started any more; when this returns, it is
        safe.

        An exception that says that a result is odd (ValueError, TypeError, LookupError,
        ArithmeticError, AttributeError) must leave nothing of the list stored: the results are
        saved one by one then, and an odd one becomes an ERROR of its task.
        """

    def release_tasks(self, ids, why) -> None:
        """These were started but are not done now: they are to do again, no attempt is used up.

        Not to do again are those that were withdrawn. **Withdrawing** is optional: a source whose
        started tasks can be cancelled has a method ``withdrawn() -> set`` of the ids of started
        tasks that are not wanted any more. It is asked once a second; the child processes of these
        tasks are ended, and the tasks released.
        """

    def fail_attempt(self, id_, why, **info) -> bool:
        """The task took its process down, while it was being done for certain. True where it is to
        do again.

        ``info`` has what is known of ``host``, ``rank``, ``start``, ``end``, ``seconds`` and
        ``error_class``.
        """

    def crashes(self, id_) -> int:
        """How often this task took its process down. Asked for `crash_candidates` and for tasks
        that crashed in this run.
        """

    def crash_candidates(self):
        """Set of ids of tasks that may take their process down: those that have crashed, and those
        that were started when an earlier run ended without closing the source. They are done in
        child processes. Asked for after `begin_run`.
        """

    # --- the run

    def begin_run(self, **info) -> object:
        """A run begins; returns its number or name.

        ``info``: ``command``, ``version``, ``constraints`` and ``settings``, for the records.
        """

    def end_run(self, exit_code=None, reason=None) -> None:
        """The run has ended; called before `close`, but not where the source itself failed."""

    def write_summary(self) -> None:
        """Report to people how far it is; called every few seconds."""

    def close(self) -> None:
        """Leave everything safe on disk. Called once, however the run ended."""


# --- what becomes of a result that cannot be sent or stored

ODD_TEXT = "what the work returned cannot be stored: "


def pickled(results):
    """The packer of a source that has none: each result by itself, so that one that cannot be
    unpickled costs only itself.
    """
    return [pickle.dumps(result, pickle.HIGHEST_PROTOCOL) for result in results]


def failed_result(task, status, text):
    """The result of a task whose work brought none.

    Parameters
    ----------
    task : dict
    status : STATUS
    text : str, its one error
    """
    return {**task, "status": status, "time": 0.0, "details": {"errors": [text]}}


# --- handlers: what a worker calls for a task, looked up by name so that only a name has to travel

ENTRY_POINTS = "photometry.handlers"  # other packages add handlers of their own under this group
BUILT_IN = {
    "photometry": "photometry.target:photometry",
    "noop": "photometry.scheduler.protocol:noop",
}


@dataclass(frozen=True)
class Handler:
    """A handler's name and the keyword arguments that it gets with every task."""

    name: str
    options: dict = field(default_factory=dict)


def load_handler(handler):
    """The callable(task) -> result for a `Handler`.

    Its name is one of the built-in ones, of the entry points of installed packages, or
    ``'package.module:function'``.

    Raises
    ------
    SettingsError : if there is none of this name
    """
    name = handler.name
    location = BUILT_IN.get(name) or _installed().get(name) or name
    module, _, function = location.partition(":")
    if not module or not function:
        names = ", ".join(sorted({*BUILT_IN, *_installed()}))
        raise SettingsError(
            f"handler {name!r}: expected one of {names}, or 'package.module:function'"
        )
    try:
        handle = getattr(import_module(module), function, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):  # one that the module itself needs
            raise
        raise SettingsError(
            f"handler {name!r}: there is no module {module!r} that can be imported"
        ) from None
    if not callable(handle):
        raise SettingsError(f"handler {name!r}: {module} has no function {function!r}")
    return functools.partial(handle, **handler.options)


def check_handler(name):
    """Refuse the name of a handler that does not exist, or whose module cannot be imported, before
    workers are started. A built-in one is not imported.
    """
    try:
        if name not in BUILT_IN:
            load_handler(Handler(name))
    except SettingsError:
        raise
    except Exception as error:  # importing a module runs it
        raise SettingsError(
            f"handler {name!r}: its module cannot be imported: {error!r}; expected "
            "'module:function'"
        ) from error


def _installed():
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def noop(task):
    """Do nothing, successfully. Measures the scheduler itself."""
    return {**task, "status": STATUS.OK, "method_used": "noop", "details": {}}
