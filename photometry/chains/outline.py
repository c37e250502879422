"""What a chain would make: its tasks made as the engine makes them, but not stored. Counts them and
finds files that clash."""

import difflib
from collections import Counter
from dataclasses import dataclass, field, replace

from ..errors import WrongUseError
from .expansion import chain_scope, child_seed, children, inner_scope
from .expressions import is_expression
from .tasktype import task_type

SIMULATED = (
    20_000  # tasks that are made one by one; beyond, one round of a loop stands for the others
)
MAX_PROBLEMS = 20


@dataclass
class Node:
    """A task of the tree that `validate` returns: ``label``, how many tasks with it, and what is
    below one of it."""

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


class Stop(Exception):
    pass


class Simulation:
    """Makes the tasks of a chain, without storing them.

    Parameters
    ----------
    definition : definition.ChainDefinition
    is_planned : callable(directory, filename) -> bool
    allow_unavailable : bool, let tasks pass that only other hosts can run
    """

    def __init__(self, definition, is_planned, allow_unavailable):
        self.definition = definition
        self.problems = []
        self.types = Counter(execution_chain=1)
        self.exact = True
        self._is_planned = is_planned
        self._allow_unavailable = allow_unavailable
        self._planned = {}  # (directory, filename) -> path of the task that makes it
        self._made = 0

    def fail(self, path, message):
        self.problems.append(f"{self.definition.position(path)}: {message}")
        if len(self.problems) > MAX_PROBLEMS:
            raise Stop

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
                    other = self.definition.position(self._planned[key])
                    self.fail(here, f"the output {filename!r} is made by {other}, too")
                elif self._is_planned(*key):
                    self.fail(
                        here,
                        f"the output {filename!r} in {child.directory or '.'!r} is made by an "
                        "earlier "
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
                        f"the input {filename!r} is made inside an earlier loop or chain: name "
                        "that in "
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
            if reason := kind.refusal(self._allow_unavailable):
                self.fail((*path, "task"), f"{child.type} cannot run here: {reason}")
            for key, message in kind.problems(child.description):
                self.fail(path if key is None else (*path, key), message)
        inner = inner_scope(scope, child)
        if child.type == "execution_chain":
            self._list(child.description, inner, (*path, "task_list"), node, waits)
            return node
        try:
            description = scope.evaluation(child.seed).evaluate_in_structure(child.description)
            rounds = children(child.type, description, inner) if kind.is_container else []
        except WrongUseError as error:
            if not child.requires:
                self.fail(path, str(error))
            elif kind.is_container:  # what it makes depends on results that are not there yet
                self._unknown(child, inner, path, node)
            return node
        if kind.is_container:
            self._rounds(child.type, description, rounds, inner, path, node)
        elif problems := kind.problems(description):
            self.fail(path, problems[0][1])
        return node

    def _rounds(self, kind, description, rounds, scope, path, node):
        """The chains that a loop or conditional makes; beyond `SIMULATED` tasks one of them stands
        for the others."""
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
