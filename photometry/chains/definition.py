"""The definition of a chain: JSON or TOML text, parsed and checked before anything is stored.

`validate` looks at every key and expression with its line, then makes the tasks without storing
them, as the engine would: it counts them and finds inputs that nobody makes and outputs that two
tasks make.
"""

import contextlib
import difflib
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import WrongUseError
from .expressions import (
    RAW_KEYS,
    built_in_constants,
    is_expression,
    names_used,
    nearest,
    parse,
)
from .filestore import check_directory
from .outline import MAX_PROBLEMS, Outline, Simulation, Stop
from .reading import parse_json, parse_toml
from .tasktype import task_type

CHAIN_KEYS = {
    "job_name": "label of all tasks",
    "working_directory": "folder of the outputs",
    "task_list": "the tasks",
    "constants": "numbers for expressions, besides the built-in ones",
    "metadata": "values for expressions of all tasks",
    "seed": "of the random numbers",
    "comment": "ignored",
}


@dataclass
class ChainDefinition:
    """A chain as it was written.

    Attributes
    ----------
    description : dict
    lines : dict, path of keys and indices -> (line, column)
    source : str, name of the file
    """

    description: dict
    lines: dict = field(default_factory=dict)
    source: str = "chain"

    @property
    def job_name(self):
        """The job's name, or None."""
        return self.description.get("job_name")

    def position(self, path):
        """``'chain.json: line 7: task_list[2]'`` for a path of keys and indices."""
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        line = f": line {self.lines[known][0]}" if known in self.lines else ""
        text = ""
        for part in path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return f"{self.source}{line}" + (f": {text}" if text else "")


def read_definition(path):
    """The definition in a file, by its ending: ``.toml``, else JSON.

    Raises
    ------
    WrongUseError : the file cannot be read, or is no JSON or TOML; with line and column
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WrongUseError(
            f"{path}: cannot be read ({error.strerror}); expected a chain in JSON or TOML"
        ) from None
    except UnicodeDecodeError:
        raise WrongUseError(f"{path}: is not text in UTF-8") from None
    return parse_definition(text, source=str(path), is_toml=path.suffix.lower() == ".toml")


def parse_definition(text, *, source="chain", is_toml=False):
    """The definition in a text.

    Parameters
    ----------
    text : str
    source : str, for messages
    is_toml : bool

    Raises
    ------
    WrongUseError : as `read_definition`
    """
    if is_toml:
        description, lines = parse_toml(text, source)
    else:
        description, lines = parse_json(text, source)
    if not isinstance(description, dict):
        raise WrongUseError(
            f"{source}: holds a {type(description).__name__}, expected an object with 'task_list'"
        )
    return ChainDefinition(description, lines, source)


def validate(definition, *, is_planned=None, allow_unavailable=False):
    """Check a definition and count what it makes.

    Parameters
    ----------
    definition : ChainDefinition
    is_planned : callable(directory, filename) -> bool, whether an earlier chain makes a file; None:
        none does
    allow_unavailable : bool, let tasks pass that cannot run on this computer but may on others

    Returns
    -------
    Outline

    Raises
    ------
    WrongUseError : all that is wrong, one line each, with the line of the file and the nearest
        known name
    """
    checks = _Checks(definition, allow_unavailable)
    checks.chain()
    simulation = None
    if not checks.problems:
        simulation = Simulation(definition, is_planned or (lambda *_: False), allow_unavailable)
        with contextlib.suppress(Stop):
            root = simulation.run()
        checks.problems += simulation.problems
    if checks.problems:
        problems = list(dict.fromkeys(checks.problems))
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS:] = [f"and {len(problems) - MAX_PROBLEMS} more"]
        raise WrongUseError("\n".join(problems))
    return Outline(root, root.count, simulation.types, simulation.exact)


class _Checks:
    """Looks at every key, setting and expression where it stands."""

    def __init__(self, definition, allow_unavailable):
        self.definition = definition
        self.problems = []
        self._allow_unavailable = allow_unavailable
        self._constants = set(built_in_constants())

    def add(self, path, message):
        self.problems.append(f"{self.definition.position(path)}: {message}")

    def chain(self):
        chain = self.definition.description
        for key in chain:
            if key not in CHAIN_KEYS:
                self.add((key,), f"unknown key {key!r}; {nearest(key, CHAIN_KEYS)}")
        if "task_list" not in chain:
            close = difflib.get_close_matches("task_list", list(chain), 1)
            hint = f"; did you mean it by {close[0]!r}?" if close else ""
            self.add((), f"has no 'task_list', the list of tasks{hint}")
        for key, kind, name in (
            ("job_name", str, "a string"),
            ("constants", dict, "an object"),
            ("metadata", dict, "an object"),
            ("seed", int, "a whole number"),
        ):
            if key in chain and (not isinstance(chain[key], kind) or isinstance(chain[key], bool)):
                self.add((key,), f"{key}={chain[key]!r:.60}: expected {name}")
                return
        if isinstance(chain.get("seed"), int) and not 0 <= chain["seed"] < 2**63:
            self.add(("seed",), f"seed={chain['seed']}: expected 0 to 2**63 - 1")
        if len(str(chain.get("job_name") or "")) > 255:
            self.add(("job_name",), "more than 255 characters")
        for key, value in (chain.get("constants") or {}).items():
            if not isinstance(value, int | float | str) or not key.isidentifier() or key[0] == "_":
                self.add(("constants", key), f"{key}={value!r:.60}: expected a name and a number")
            self._constants.add(key)
        try:
            check_directory(chain.get("working_directory") or "")
        except WrongUseError as error:
            self.add(("working_directory",), str(error))
        self.tasks(chain.get("task_list", []), ("task_list",), set(chain.get("metadata") or {}))

    def tasks(self, entries, path, scope):
        """Check a task list.

        Parameters
        ----------
        entries : the list
        path : tuple, where it stands
        scope : set of names in ``metadata``, or None where they cannot be known
        """
        if not isinstance(entries, list):
            self.add(path, f"is a {type(entries).__name__}, expected a list of tasks")
            return
        for number, entry in enumerate(entries):
            here = (*path, number)
            if not isinstance(entry, dict):
                self.add(here, f"is a {type(entry).__name__}, expected an object")
            elif "task" not in entry:
                close = difflib.get_close_matches("task", list(entry), 1)
                hint = f"; did you mean it by {close[0]!r}?" if close else ""
                self.add(here, f"has no 'task', the type of the task{hint}")
            else:
                self.task(entry, here, scope)

    def task(self, entry, path, scope):
        self.expressions(
            {key: value for key, value in entry.items() if key not in RAW_KEYS}, path, scope, entry
        )
        inner = scope
        kind_name = entry["task"]
        if not is_expression(kind_name):
            try:
                kind = task_type(kind_name if isinstance(kind_name, str) else repr(kind_name))
            except WrongUseError as error:
                self.add((*path, "task"), str(error))
                return
            if reason := kind.refusal(self._allow_unavailable):
                self.add((*path, "task"), f"{kind_name} cannot run here: {reason}")
            for key, message in kind.problems(entry):
                self.add(path if key is None else (*path, key), message)
            inner = self._inner_scope(kind_name, entry, scope)
        if "repeat_criterion" in entry:
            self.expressions(entry["repeat_criterion"], (*path, "repeat_criterion"), inner, None)
        for key in ("criterion", "repeat_criterion"):
            if isinstance(entry.get(key), str) and not is_expression(entry[key]):
                self.add(
                    (*path, key),
                    f"{key}={entry[key]!r:.60}: is a string, which is always true; put an "
                    "expression in brackets",
                )
        for key in ("task_list", "else_task_list"):
            if key in entry:
                self.tasks(entry[key], (*path, key), inner)

    @staticmethod
    def _inner_scope(kind, entry, scope):
        names = {
            "execution_for_loop": entry.get("parameter"),
            "execution_do_while_loop": entry.get("iteration_name"),
        }
        if kind not in names or scope is None:
            return scope
        name = names[kind]
        if not isinstance(name, str) or is_expression(name):
            return None
        return scope | ({name} if kind == "execution_for_loop" else set()) | {f"{name}_index"}

    def expressions(self, value, path, scope, entry):
        """Check the expressions in a value.

        Parameters
        ----------
        value : anything
        path : tuple, where it stands
        scope : set of names, or None
        entry : the task with ``requires_metadata_from``; None: its names are not looked at
        """
        if isinstance(value, dict):
            for key, item in value.items():
                self.expressions(key, (*path, key), scope, entry)
                if key not in RAW_KEYS:
                    self.expressions(item, (*path, key), scope, entry)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self.expressions(item, (*path, number), scope, entry)
        elif is_expression(value):
            try:
                parse(value)
                metadata, requested, constants = names_used(value)
            except WrongUseError as error:
                self.add(path, str(error))
                return
            if scope is not None:
                for name in sorted(map(str, metadata - scope)):
                    self.add(path, f"metadata has no {name!r} here; {nearest(name, scope)}")
            for name in sorted(constants - self._constants):
                self.add(path, f"there is no constants.{name}; {nearest(name, self._constants)}")
            known = entry.get("requires_metadata_from") if entry else None
            if isinstance(known, list | None) and entry is not None:
                for name in sorted(map(str, requested - set(known or []))):
                    self.add(
                        path,
                        f"requested_metadata[{name!r}] needs {name!r} in requires_metadata_from; "
                        + nearest(name, known or []),
                    )
