"""The definition of a chain: JSON or TOML text, parsed and checked before anything is stored.

`validate` looks at every key and expression with its line, then makes the tasks without storing them, as the engine would: it
counts them and finds inputs that nobody makes and outputs that two tasks make.
"""

import contextlib
import difflib
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import WrongUseError
from .expansion import Scope, child_seed, children, inner_scope
from .expressions import (
    RAW_KEYS,
    built_in_constants,
    is_expression,
    names_used,
    nearest,
    parse,
)
from .filestore import check_directory
from .jsontext import parse_json
from .tasktype import task_type

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHAIN_KEYS = {
    "job_name": "label of all tasks",
    "working_directory": "folder of the outputs",
    "task_list": "the tasks",
    "constants": "numbers for expressions, besides the built-in ones",
    "metadata": "values for expressions of all tasks",
    "seed": "of the random numbers",
    "comment": "ignored",
}
SIMULATED = 20_000  # tasks that are made one by one to be checked; beyond, a loop's first round stands for the others
MAX_PROBLEMS = 20


@dataclass
class ChainDefinition:
    """A chain as it was written.

    Attributes
    ----------
    description : dict
    lines : dict, path of keys and indices -> (line, column); empty for TOML
    source : str, name of the file
    """

    description: dict
    lines: dict = field(default_factory=dict)
    source: str = "chain"

    @property
    def job_name(self):
        """The job's name, or None."""
        return self.description.get("job_name")

    def place(self, path):
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
        raise WrongUseError(f"{path}: cannot be read ({error.strerror})") from None
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
        try:
            description, lines = tomllib.loads(text), {}
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise WrongUseError(f"{source}: {str(error)[0].lower()}{str(error)[1:]}") from None
    else:
        description, lines = parse_json(text, source)
    if not isinstance(description, dict):
        raise WrongUseError(
            f"{source}: holds a {type(description).__name__}, expected an object with 'task_list'"
        )
    return ChainDefinition(description, lines, source)


@dataclass
class Node:
    """A task of the tree that `validate` returns: ``label``, how many tasks with it, and what is below one of it."""

    label: str
    count: int = 1
    below: list = field(default_factory=list)
    note: str = ""

    def lines(self, depth=0):
        """The tree as lines of text."""
        note = f"  ({self.note})" if self.note else ""
        yield "  " * depth + self.label + note
        for node in self.below:
            yield from node.lines(depth + 1)


@dataclass
class Outline:
    """What a chain would make: the tree, how many tasks, by type, and whether that is certain."""

    tree: Node
    count: int
    types: dict
    exact: bool


def validate(definition, *, is_planned=None, allow_unavailable=False):
    """Check a definition and count what it makes.

    Parameters
    ----------
    definition : ChainDefinition
    is_planned : callable(directory, filename) -> bool, whether an earlier chain makes a file; None: none does
    allow_unavailable : bool, let tasks pass that cannot run on this computer

    Returns
    -------
    Outline

    Raises
    ------
    WrongUseError : all that is wrong, one line each, with the line of the file and the nearest known name
    """
    checks = _Checks(definition, allow_unavailable)
    checks.chain()
    simulation = None
    if not checks.problems:
        simulation = _Simulation(definition, is_planned or (lambda *_: False), allow_unavailable)
        with contextlib.suppress(_Stop):
            root = simulation.run()
        checks.problems += simulation.problems
    if checks.problems:
        problems = list(dict.fromkeys(checks.problems))
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS:] = [f"and {len(problems) - MAX_PROBLEMS} more"]
        raise WrongUseError("\n".join(problems))
    return Outline(root, root.count, simulation.types, simulation.exact)


def chain_scope(description, seed):
    """The scope of the tasks of a chain's list.

    Parameters
    ----------
    description : dict of the chain
    seed : int of the root task
    """
    return Scope(
        metadata=dict(description.get("metadata") or {}),
        constants=dict(description.get("constants") or {}),
        job_name=description.get("job_name"),
        directory=check_directory(description.get("working_directory") or ""),
        seed=seed,
    )


class _Checks:
    """Looks at every key, setting and expression where it stands."""

    def __init__(self, definition, allow_unavailable):
        self.definition = definition
        self.problems = []
        self._allow_unavailable = allow_unavailable
        self._constants = set(built_in_constants())

    def add(self, path, sentence):
        self.problems.append(f"{self.definition.place(path)}: {sentence}")

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
            if (reason := kind.unavailable()) and not self._allow_unavailable:
                self.add((*path, "task"), f"{kind_name} cannot run here: {reason}")
            for key, sentence in kind.problems(entry):
                self.add(path if key is None else (*path, key), sentence)
            inner = self._inner_scope(kind_name, entry, scope)
        if "repeat_criterion" in entry:
            self.expressions(entry["repeat_criterion"], (*path, "repeat_criterion"), inner, None)
        for key in ("criterion", "repeat_criterion"):
            if isinstance(entry.get(key), str) and not is_expression(entry[key]):
                self.add(
                    (*path, key),
                    f"{key}={entry[key]!r:.60}: is a string, which is always true; put an expression in brackets",
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


class _Stop(Exception):
    pass


class _Simulation:
    """Makes the tasks of a chain, without storing them."""

    def __init__(self, definition, is_planned, allow_unavailable):
        self.definition = definition
        self.problems = []
        self.types = Counter(execution_chain=1)
        self.exact = True
        self._is_planned = is_planned
        self._allow_unavailable = allow_unavailable
        self._planned = {}  # (directory, filename) -> path of the task that makes it
        self._made = 0

    def fail(self, path, sentence):
        self.problems.append(f"{self.definition.place(path)}: {sentence}")
        if len(self.problems) > MAX_PROBLEMS:
            raise _Stop

    def run(self):
        chain = self.definition.description
        node = Node(f"execution_chain {chain.get('job_name') or ''}".rstrip())
        scope = chain_scope(chain, chain.get("seed", 0))
        self._list(chain, scope, ("task_list",), node, False)
        return node

    def _list(self, description, scope, path, node, waits):
        """The children of a chain, below ``node``.

        Parameters
        ----------
        description : dict with ``task_list``
        scope : Scope
        path : tuple, where the list stands
        node : Node
        waits : bool, whether a task around it waits for earlier ones
        """
        try:
            made = children("execution_chain", description, scope)
        except WrongUseError as error:
            self.fail(path, str(error))
            return
        own = self._plan_outputs(made, path)
        for number, child in enumerate(made):
            here = (*path, number)
            child_waits = waits or bool(child.waits or child.requires)
            self._inputs(child, here, own, child_waits)
            below = self._task(child, scope, here, child_waits)
            node.below.append(below)
            node.count += below.count

    def _plan_outputs(self, made, path):
        """Note the outputs of a list; returns those of its own tasks: file -> position."""
        own = {}
        for number, child in enumerate(made):
            here = (*path, number)
            for filename in child.outputs.values():
                key = (child.directory, filename)
                if self._planned.get(key) == here:
                    self.fail(
                        here, f"the output {filename!r} is the same in each round of the loop"
                    )
                elif key in self._planned:
                    other = self.definition.place(self._planned[key])
                    self.fail(here, f"the output {filename!r} is made by {other}, too")
                elif self._is_planned(*key):
                    self.fail(
                        here,
                        f"the output {filename!r} in {child.directory or '.'!r} is made by an earlier "
                        "chain; use --replace or --new-run",
                    )
                self._planned[key] = here
                own[key] = number
        return own

    def _inputs(self, child, path, own, waits):
        for role, filename in child.inputs.items():
            key = (child.directory, filename)
            if key in own:
                if own[key] >= path[-1]:
                    self.fail(
                        path, f"the input {filename!r} is made by this or a later task of the list"
                    )
            elif key in self._planned:
                makers = self._planned[key][:-1]
                is_around = path[: len(makers)] == makers
                if not is_around and not waits:
                    self.fail(
                        path,
                        f"the input {filename!r} is made inside an earlier loop or chain: name that in "
                        "wait_for",
                    )
            elif not self._is_planned(*key):
                names = [name for folder, name in self._planned if folder == key[0]]
                close = difflib.get_close_matches(filename, names, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                self.fail(path, f"nobody makes the input {role!r}: {filename!r}{hint}")

    def _task(self, child, scope, path, waits):
        node = Node(f"{child.type} {child.name or ''}".rstrip())
        self._made += 1
        self.types[child.type] += 1
        try:
            kind = task_type(child.type)
        except WrongUseError as error:
            self.fail((*path, "task"), str(error))
            return node
        if is_expression(child.description.get("task")):
            if (reason := kind.unavailable()) and not self._allow_unavailable:
                self.fail((*path, "task"), f"{child.type} cannot run here: {reason}")
            for key, sentence in kind.problems(child.description):
                self.fail(path if key is None else (*path, key), sentence)
        inner = inner_scope(scope, child)
        if child.type == "execution_chain":
            self._list(child.description, inner, (*path, "task_list"), node, waits)
            return node
        try:
            description = scope.evaluation(child.seed).evaluate_in_structure(child.description)
            rounds = children(child.type, description, inner) if kind.is_container else []
        except WrongUseError as error:
            if child.requires:  # it depends on results that are not there yet
                self._unknown(child, inner, path, node)
            else:
                self.fail(path, str(error))
            return node
        if kind.is_container:
            self._rounds(child.type, description, rounds, inner, path, node)
        elif problems := kind.problems(description):
            self.fail(path, problems[0][1])
        return node

    def _rounds(self, kind, description, rounds, scope, path, node):
        """The chains that a loop or conditional makes; beyond `SIMULATED` tasks one of them stands for the others."""
        key = "task_list"
        if kind == "execution_for_loop":
            node.note = f"{len(rounds)} values of {description['parameter']}"
        elif kind == "execution_do_while_loop":
            node.note = "one iteration counted"
            self.exact = False
        elif rounds and rounds[0].description["task_list"] is not description.get("task_list"):
            key = "else_task_list"
        below, types = Node("execution_chain"), Counter()
        for number, one in enumerate(rounds):
            if number and self._made > SIMULATED:
                more = len(rounds) - number
                node.count += below.count * more
                self.types.update({name: count * more for name, count in types.items()})
                break
            before = self.types.copy()
            below = Node("execution_chain")
            self._made += 1
            self.types["execution_chain"] += 1
            body = one.description
            if (
                kind == "execution_do_while_loop"
            ):  # the check that is added is counted, not followed
                body = {"task_list": body["task_list"][:-1]}
                self.types[kind] += 1
                below.count += 1
            self._list(body, inner_scope(scope, one), (*path, key), below, True)
            types = self.types - before
            node.count += below.count
            if not number:
                node.below.append(below)

    def _unknown(self, child, scope, path, node):
        """A container whose choice depends on results: each of its lists is looked at once."""
        self.exact = False
        node.note = "depends on results"
        parameter = child.description.get("parameter")
        if isinstance(parameter, str):
            values = {parameter: 1, f"{parameter}_index": 0}
            scope = replace(scope, metadata=scope.metadata | values)
        for key in ("task_list", "else_task_list"):
            entries = child.description.get(key)
            if isinstance(entries, list):
                below = Node("execution_chain")
                self._made += 1
                self.types["execution_chain"] += 1
                inner = replace(scope, seed=child_seed(scope.seed, 0))
                self._list({"task_list": entries}, inner, (*path, key), below, True)
                node.below.append(below)
                node.count += below.count
