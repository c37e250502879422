"""`BasePipeline` with its event table, `BasePrimitive`, and how names become code: of actions, and
of pipelines."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from ..errors import WrongUseError

SHORTEST_WAIT, LONGEST_WAIT = 5, 30
"""s, what no_event_wait_time is forced into."""


class BasePipeline:
    """Subclasses give an ``event_table``: event name -> (action name, new state or None, next event
    or None).

    An action is a method of the pipeline, a function or class of the pipeline's module, or
    something to import from ``config.primitive_path``. Functions and methods are called ``(action,
    context)`` and return Arguments; functions named ``pre_x`` and ``post_x`` are the conditions of
    ``x``. Classes are primitives, see `BasePrimitive`."""

    event_table: ClassVar[dict] = {}
    event_table0: ClassVar[dict] = {
        "noop": ("noop", None, None),
        "echo": ("echo", "stop", None),
        "info": ("info", None, None),
        "no_event": ("no_event", None, None),
    }
    context = None
    logger = None
    config = None

    def __init__(self, context=None):
        if context is not None:
            self.bind(context)

    def bind(self, context):
        """Make a context the pipeline's own."""
        self.context = context
        self.logger = context.logger
        self.config = context.config

    def event_to_action(self, event, context):
        """The row of the table for an event: (action name, new state, next event).

        Raises
        ------
        WrongUseError : the table has no such event
        """
        for table in (self.event_table, self.event_table0):
            if event.name in table:
                return table[event.name]
        raise WrongUseError(
            f"{type(self).__name__} has no event {event.name!r}; its events: "
            f"{', '.join(self.event_table)}"
        )

    def while_idle(self, context):
        """Called whenever there is nothing to do, also several times a second."""

    def finish_run(self, context):
        """Called once after the last item of a run, also after one that failed or was asked to
        stop."""

    # names to code

    def get_action(self, name):
        """The callable ``(action, context)`` for the name of an action.

        Raises
        ------
        WrongUseError : there is none; it says where it was looked for
        """
        code = self._code(name)
        if code is None:
            raise WrongUseError(
                f"no action {name!r}: not a method of {type(self).__name__}, not in "
                f"{', '.join(self._modules())},"
                f" and not to be imported from {self._primitive_path()} (primitive_path)"
            )
        return _run_primitive(code) if isinstance(code, type) else code

    def get_pre_action(self, name):
        """The pre-condition of a function action; always true where there is none."""
        return self._condition("pre_", name)

    def get_post_action(self, name):
        """The post-condition of a function action; always true where there is none."""
        return self._condition("post_", name)

    def _condition(self, prefix, name):
        code = (
            None if "." in name or isinstance(self._code(name), type) else self._near(prefix + name)
        )
        return code or _true

    def _code(self, name):
        return (None if "." in name else self._near(name)) or self._imported(name)

    def _near(self, name):
        """A method, or a name in the module of the pipeline or of one of its base classes."""
        homes = [self, *(sys.modules[module] for module in self._modules())]
        return next(
            (code for code in (getattr(home, name, None) for home in homes) if callable(code)),
            None,
        )

    def _modules(self):
        modules = [kind.__module__ for kind in type(self).__mro__ if issubclass(kind, BasePipeline)]
        return [name for name in dict.fromkeys(modules) if name != __name__]

    def _imported(self, name):
        known = self.__dict__.setdefault("_known_imports", {})
        if name not in known:
            known[name] = import_action(name, self._primitive_path())
        return known[name]

    def _primitive_path(self):
        path = (self.context.config.primitive_path if self.context else None) or ("",)
        return (path,) if isinstance(path, str) else path

    # checking

    def problems(self):
        """What is wrong with the event table, as a list of messages."""
        if not isinstance(self.event_table, dict):
            return [
                f"event_table={self.event_table!r} is not a dict of event: (action, new "
                "state, next event)"
            ]
        known = self.event_table0 | self.event_table
        # one that several rows have in common is reported once
        events = {}
        for event, row in self.event_table.items():
            for problem in self._problems_of(row, known):
                events.setdefault(problem, []).append(repr(event))
        return [f"event {', '.join(names)}: {problem}" for problem, names in events.items()]

    def _problems_of(self, row, known):
        if not isinstance(row, (tuple, list)) or len(row) != 3:
            return [f"{row!r} is not (action, new state or None, next event or None)"]
        action, state, following = row
        problems = []
        if not isinstance(action, str):
            problems.append(f"the action {action!r} is not a name")
        elif problem := self._problem_of_action(action):
            problems.append(problem)
        if state is not None and not isinstance(state, str):
            problems.append(f"the state {state!r} is neither text nor None")
        if following is not None and (not isinstance(following, str) or following not in known):
            problems.append(f"its next event {following!r} is not in the table")
        return problems

    def _problem_of_action(self, action):
        try:
            self.get_action(action)
        except WrongUseError as error:
            return str(error)
        return None

    # actions that every pipeline has

    def noop(self, action, context):
        """Return the arguments."""
        return action.args

    def echo(self, action, context):
        """Log the action."""
        context.logger.info("Echo: %s", action)
        return action.args

    def info(self, action, context):
        """Log the pending events."""
        context.logger.info("Pending events: %s", context.event_queue.get_pending())
        return action.args

    def no_event(self, action, context):
        """Wait for an event, for ``no_event_wait_time`` at most."""
        seconds = min(LONGEST_WAIT, max(SHORTEST_WAIT, context.config.no_event_wait_time))
        context.event_queue.wait(seconds)
        return action.args


def _run_primitive(kind):
    def run(action, context):
        return kind(action, context).apply()

    return run


def _true(action, context):
    return True


class BasePrimitive:
    """Subclasses override `_perform` and, if they like, `_pre_condition` and `_post_condition`.

    Attributes
    ----------
    action : Action, with ``action.args``
    context : ProcessingContext
    output : what `_perform` returned; the action's arguments before
    """

    def __init__(self, action, context):
        self.action = action
        self.context = context
        self.output = action.args
        self.logger = context.logger
        self.config = context.config

    def _pre_condition(self):
        return True

    def _perform(self):
        """Do the work and return Arguments, new ones or those of the action, for the next event."""
        raise NotImplementedError(f"{type(self).__name__} does not define _perform()")

    def _post_condition(self):
        return True

    def apply(self):
        """Check, perform, check. Returns the output; None if one of the checks said no.

        An exception is raised as it is; the framework logs it.
        """
        if not self._pre_condition():
            self.action.failed_check = "pre"
            return None
        self.output = self._perform()
        if not self._post_condition():
            self.action.failed_check = "post"
            return None
        return self.output

    __call__ = apply


def camel_case(name):
    """``fits2png_pipeline`` -> ``Fits2pngPipeline``: the first letter and every letter after ``_``
    are capitalised."""
    return re.sub(r"(?:^|_)(.?)", lambda match: match[1].upper(), name)


def import_if_there(name):
    """The module of that name, or None if there is none.

    Raises
    ------
    WrongUseError : it is there, but importing it fails; the message says why
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            return None
        raise WrongUseError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def import_action(name, path):
    """The action of a name that is neither a method nor in the module of the pipeline; None if
    there is none.

    For each package of ``path`` (``""``: none): the CamelCase class in module ``package.name``,
    then the last part of the name in the package before it, then in the package of the path itself.

    Parameters
    ----------
    name : str
    path : sequence of str

    Returns
    -------
    callable or None
    """
    for prefix in path:
        full = f"{prefix}.{name}" if prefix else name
        package, _, last = full.rpartition(".")
        for module, attribute in ((full, camel_case(last)), (package, last), (prefix, last)):
            code = getattr(import_if_there(module), attribute, None) if module else None
            if callable(code):
                return code
    return None


def find_pipeline(pipeline_name, pipeline_path=("",), context=None, logger=None):
    """The pipeline that an instance, a class, a module, a dotted or bare name or a Python file
    means, as an instance.

    Parameters
    ----------
    pipeline_name : the one or the other
    pipeline_path : str or sequence of str, packages in which a bare name is looked for
    context : ProcessingContext of the instance, or None
    logger : not used; the original has it

    Raises
    ------
    WrongUseError : there is none; it says where it was looked for
    """
    if isinstance(pipeline_name, str):
        kind = _from_text(pipeline_name, _several(pipeline_path))
    elif isinstance(pipeline_name, ModuleType):
        kind = _class_in(pipeline_name)
    else:
        kind = pipeline_name
    if kind is None:
        raise WrongUseError(
            f"no pipeline {pipeline_name!r}: "
            f"{_looked_for(pipeline_name, _several(pipeline_path))}; "
            "expected a class, its module, or a file with it"
        )
    if not callable(getattr(kind, "event_to_action", None)):
        raise WrongUseError(
            f"{pipeline_name!r} is not a pipeline: a subclass of BasePipeline is needed"
        )
    return kind(context) if isinstance(kind, type) else kind


def _several(path):
    return (path,) if isinstance(path, str) else path


def _from_text(name, path):
    if name.endswith(".py"):
        return _class_in(load_file(name))
    if "." in name:
        package, _, last = name.rpartition(".")
        kind = getattr(import_if_there(package), camel_case(last), None)
        return kind if isinstance(kind, type) else _class_in(import_if_there(name))
    kinds = (_class_in(import_if_there(f"{prefix}.{name}" if prefix else name)) for prefix in path)
    return next((kind for kind in kinds if kind is not None), None)


def _class_in(module):
    """The class named like the module; for a module with an ``event_table`` but no class, one made
    of its functions."""
    if module is None:
        return None
    name = camel_case(module.__name__.rpartition(".")[2])
    kind = getattr(module, name, None)
    if kind is None and isinstance(getattr(module, "event_table", None), dict):
        return type(
            name,
            (BasePipeline,),
            {"event_table": module.event_table, "__module__": module.__name__},
        )
    return kind


def load_file(path):
    """The module in a Python file; modules beside it can be imported from then on."""
    path = Path(path).resolve()
    if not path.is_file():
        raise WrongUseError(f"{path}: there is no such file")
    loaded = sys.modules.get(path.stem)
    if path.stem in sys.stdlib_module_names or (
        loaded and Path(getattr(loaded, "__file__", None) or "").resolve() != path
    ):
        raise WrongUseError(f"{path}: another module is called {path.stem}; rename the file")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return import_if_there(path.stem)


def _looked_for(name, path):
    if isinstance(name, ModuleType):
        return (
            f"the module has neither a class {camel_case(name.__name__.rpartition('.')[2])} "
            "nor an event_table"
        )
    last = camel_case(Path(name).stem if name.endswith(".py") else name.rpartition(".")[2])
    if name.endswith(".py"):
        return f"the file has neither a class {last} nor an event_table"
    if "." in name:
        return f"looked for class {last} in module {name.rpartition('.')[0]} and in module {name}"
    modules = ", ".join(f"{prefix}.{name}" if prefix else name for prefix in path)
    return f"looked for class {last} in the modules {modules} (pipeline_path)"
