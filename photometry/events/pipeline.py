"""`BasePipeline`: an event table, and how the names of actions in it become code."""

import sys
from typing import ClassVar

from ..errors import PipelineError
from .naming import import_action

SHORTEST_WAIT, LONGEST_WAIT = 5, 30  # s, what no_event_wait_time is forced into


class BasePipeline:
    """Subclasses give an ``event_table``: event name -> (action name, new state or None, next event or None).

    An action is a method of the pipeline, a function or class of the pipeline's module, or something to import from
    ``config.primitive_path``. Functions and methods are called ``(action, context)`` and return Arguments; functions
    named ``pre_x`` and ``post_x`` are the conditions of ``x``. Classes are primitives, see `BasePrimitive`.
    """

    event_table: ClassVar[dict] = {}
    event_table0: ClassVar[dict] = {
        "noop": ("noop", None, None),
        "echo": ("echo", "stop", None),
        "info": ("info", None, None),
        "no_event": ("no_event", None, None),
    }
    context = None
    logger = None

    def __init__(self, context=None):
        if context is not None:
            self.bind(context)

    def bind(self, context):
        """Make a context the pipeline's own."""
        self.context = context
        self.logger = context.logger

    def event_to_action(self, event, context):
        """The row of the table for an event: (action name, new state, next event).

        Raises
        ------
        PipelineError : the table has no such event
        """
        for table in (self.event_table, self.event_table0):
            if event.name in table:
                return table[event.name]
        raise PipelineError(
            f"{type(self).__name__} has no event {event.name!r}; its events: {', '.join(self.event_table)}"
        )

    # names to code

    def get_action(self, name):
        """The callable ``(action, context)`` for the name of an action.

        Raises
        ------
        PipelineError : there is none; it says where it was looked for
        """
        code = self._code(name)
        if code is None:
            raise PipelineError(
                f"no action {name!r}: not a method of {type(self).__name__}, not in {', '.join(self._modules())},"
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
        places = [self, *(sys.modules[module] for module in self._modules())]
        return next(
            (code for code in (getattr(place, name, None) for place in places) if callable(code)),
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
        """What is wrong with the event table, as a list of sentences."""
        if not isinstance(self.event_table, dict):
            return [
                f"event_table={self.event_table!r} is not a dict of event: (action, new state, next event)"
            ]
        known = self.event_table0 | self.event_table
        return [
            problem
            for event, row in self.event_table.items()
            for problem in self._problems_of(event, row, known)
        ]

    def _problems_of(self, event, row, known):
        if not isinstance(row, (tuple, list)) or len(row) != 3:
            return [
                f"event {event!r}: {row!r} is not (action, new state or None, next event or None)"
            ]
        action, state, following = row
        found = []
        if not isinstance(action, str):
            found.append(f"event {event!r}: the action {action!r} is not a name")
        elif problem := self._problem_of_action(action):
            found.append(f"event {event!r}: {problem}")
        if state is not None and not isinstance(state, str):
            found.append(f"event {event!r}: the state {state!r} is neither text nor None")
        if following is not None and (not isinstance(following, str) or following not in known):
            found.append(f"event {event!r}: its next event {following!r} is not in the table")
        return found

    def _problem_of_action(self, action):
        try:
            self.get_action(action)
        except PipelineError as error:
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
