"""Expressions of task chains: text that is computed when a task is made or started, by a checked
evaluator.

A string is an expression where its first character that is no blank is ``(``, ``'`` or ``"``. It is
parsed by `ast` and walked node by node; what is not on the lists below is refused, so nothing of
Python can be reached from it. Every operation is bounded: an expression has no loops, and its
values are bounded (`bounded`).

Random numbers come from a generator seeded by the task's seed and the position of the expression in
the description: the same task gives the same numbers whenever, wherever and however often it is
evaluated.
"""

import ast
import functools
import random

from ..errors import WrongUseError
from .syntax import (
    BINARY,
    COMPARE,
    FUNCTIONS,
    MATHS,
    NUMBERS,
    SCOPE,
    UNARY,
    BoundedFormatter,
    bounded,
    multiplied,
    name_of,
    names_used,
    nearest,
    parse,
    power,
    remainder,
    shown,
)

RAW_KEYS = frozenset(["task_list", "else_task_list", "repeat_criterion"])
"""Keys whose values are kept as they are, at any depth: what they refer to does not exist yet."""


def is_expression(value):
    """Whether a value of a description is an expression rather than a literal."""
    return isinstance(value, str) and value.lstrip()[:1] in ("(", "'", '"') and bool(value.strip())


class TaskExpressionEvaluation:
    """Evaluates the expressions of one task's description.

    Parameters
    ----------
    metadata : dict, name -> plain value: loop variables and what ancestors put on task rows
    requested_metadata : dict, task name -> dict of that task's results
    constants : dict, name -> number; by default those of `photometry.constants.EASConstants`
    seed : int, of the random numbers

    Raises
    ------
    WrongUseError : from any method: what is wrong with the expression, in one message
    """

    def __init__(self, metadata=None, requested_metadata=None, *, constants=None, seed=0):
        self.constants = built_in_constants() if constants is None else constants
        self.metadata = metadata or {}
        self.requested_metadata = requested_metadata or {}
        self.seed = seed

    def evaluate_expression(self, expression, path=()):
        """The value of an expression; a literal is returned as it is.

        Parameters
        ----------
        expression : anything
        path : tuple of keys and indices, where in the description it stands: part of the random
            numbers' seed
        """
        if not is_expression(expression):
            return expression
        tree = parse(expression)
        try:
            return _Walk(self, path).value(tree)
        except WrongUseError as error:
            raise WrongUseError(f"expression {shown(expression)}: {error}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise WrongUseError(f"expression {shown(expression)}: {_message(error)}") from None

    def evaluate_in_structure(self, structure, path=()):
        """A copy of nested dicts and lists with all expressions evaluated, in keys, values and
        items.

        The values of `RAW_KEYS` stay as they are; tuples become lists.
        """
        if isinstance(structure, dict):
            return {
                self.evaluate_expression(key, (*path, "key", key)): value
                if key in RAW_KEYS
                else self.evaluate_in_structure(value, (*path, key))
                for key, value in structure.items()
            }
        if isinstance(structure, list | tuple):
            return [
                self.evaluate_in_structure(item, (*path, number))
                for number, item in enumerate(structure)
            ]
        return self.evaluate_expression(structure, path)


@functools.cache
def built_in_constants():
    """``constants`` of expressions: name -> number."""
    from ..constants import EASConstants

    return {
        name: value
        for name, value in vars(EASConstants()).items()
        if isinstance(value, int | float)
    }


class _Walk:
    """Computes the value of a checked tree."""

    def __init__(self, evaluation, path):
        self._scope = {name: getattr(evaluation, name) for name in SCOPE}
        self._seed = f"{evaluation.seed}:{path}"
        self._random = None

    def value(self, node):
        return bounded(getattr(self, f"_{type(node).__name__}")(node))

    def _Constant(self, node):
        return node.value

    def _Tuple(self, node):
        return tuple(map(self.value, node.elts))

    def _List(self, node):
        return list(map(self.value, node.elts))

    def _Dict(self, node):
        if None in node.keys:
            raise WrongUseError("** is accepted in calls of format only")
        return {
            self.value(key): self.value(item)
            for key, item in zip(node.keys, node.values, strict=True)
        }

    def _Name(self, node):
        if node.id in self._scope:
            return self._scope[node.id]
        if node.id in NUMBERS:
            return NUMBERS[node.id]
        raise WrongUseError(f"{node.id} has to be called: {node.id}(...)")

    def _Attribute(self, node):
        owner = name_of(node.value)
        if owner == "constants":
            constants = self._scope["constants"]
            if node.attr not in constants:
                raise WrongUseError(
                    f"there is no constants.{node.attr}; {nearest(node.attr, constants)}"
                )
            return constants[node.attr]
        if owner == "math" and node.attr in NUMBERS:
            return NUMBERS[node.attr]
        raise WrongUseError(f"{node.attr} has to be called: {node.attr}(...)")

    def _Subscript(self, node):
        container = self.value(node.value)
        if isinstance(node.slice, ast.Slice):
            bounds = (node.slice.lower, node.slice.upper, node.slice.step)
            return container[
                slice(*(None if part is None else self.value(part) for part in bounds))
            ]
        key = self.value(node.slice)
        if isinstance(container, dict) and key not in container:
            owner = name_of(node.value) or "the dictionary"
            raise WrongUseError(f"{owner} has no {key!r}; {nearest(key, container)}")
        return container[key]

    def _UnaryOp(self, node):
        return UNARY[type(node.op)](self.value(node.operand))

    def _BinOp(self, node):
        left, right = self.value(node.left), self.value(node.right)
        special = {ast.Mult: multiplied, ast.Pow: power, ast.Mod: remainder}.get(type(node.op))
        return (special or BINARY[type(node.op)])(left, right)

    def _BoolOp(self, node):
        is_or, result = isinstance(node.op, ast.Or), None
        for part in node.values:
            result = self.value(part)
            if bool(result) == is_or:
                break
        return result

    def _Compare(self, node):
        left = self.value(node.left)
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part)
            if not COMPARE[type(kind)](left, right):
                return False
            left = right
        return True

    def _IfExp(self, node):
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _Call(self, node):
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            raise WrongUseError("* is not accepted in calls")
        arguments = [self.value(argument) for argument in node.args]
        is_method = isinstance(node.func, ast.Attribute)
        if is_method and node.func.attr == "format":
            return self._format(node, arguments)
        if node.keywords:
            raise WrongUseError("named arguments are accepted in calls of format only")
        if not is_method:
            return FUNCTIONS[node.func.id](*arguments)
        owner = name_of(node.func.value)
        if owner == "random":
            return self._draw(node.func.attr, arguments)
        if owner == "math":
            if node.func.attr not in MATHS:
                raise WrongUseError(f"math.{node.func.attr} is a number")
            return MATHS[node.func.attr](*arguments)
        container = self.value(node.func.value)
        if node.func.attr != "get" or not isinstance(container, dict):
            raise WrongUseError(f"a {type(container).__name__} has no {node.func.attr}()")
        return container.get(*arguments)

    def _format(self, node, arguments):
        text = self.value(node.func.value)
        if not isinstance(text, str):
            raise WrongUseError(f"format of a {type(text).__name__}")
        named = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            named.update(value if keyword.arg is None else {keyword.arg: value})
        return BoundedFormatter().vformat(text, arguments, named)

    def _draw(self, name, arguments):
        if self._random is None:
            self._random = random.Random(self._seed)
        return getattr(self._random, name)(*arguments)


def _message(error):
    if isinstance(error, KeyError) and error.args:
        return f"there is no {error.args[0]!r}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


__all__ = [
    "TaskExpressionEvaluation",
    "built_in_constants",
    "is_expression",
    "names_used",
    "nearest",
    "parse",
]
