"""Expressions of task chains: text that is computed when a task is made or started, by a checked evaluator.

A string is an expression where its first character that is no blank is ``(``, ``'`` or ``"``. It is parsed by `ast` and walked node
by node; what is not on the lists below is refused, so nothing of Python can be reached from it. Every operation is bounded:
an expression has no loops, and its values are bounded (`bounded`).

Random numbers come from a generator seeded by the task's seed and the position of the expression in the description:
the same task gives the same numbers whenever, wherever and however often it is evaluated.
"""

import ast
import difflib
import functools
import math
import operator
import random
import re
import string

from ..errors import WrongUseError
from .bounded import (
    BoundedFormatter,
    bounded,
    bounded_range,
    bounded_round,
    bounded_sum,
    multiplied,
    power,
    remainder,
)

MAX_LENGTH = 4000  # characters of an expression
MAX_NODES = 1000
MAX_DEPTH = 60
MAX_SIZE = 100_000  # characters, or items of a list with all that is in them
MAX_BITS = 4096  # of a whole number
MAX_WIDTH = 1000  # of a field in a format

RAW_KEYS = frozenset(["task_list", "else_task_list", "repeat_criterion"])
"""Keys whose values are kept as they are, at any depth: what they refer to does not exist yet."""

_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY = {ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_}
_COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, container: operator.contains(container, item),
    ast.NotIn: lambda item, container: not operator.contains(container, item),
}
_MATHS = {
    name: getattr(math, name)
    for name in (
        *(
            "sqrt",
            "log",
            "log10",
            "log2",
            "exp",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "atan2",
        ),
        *("sinh", "cosh", "tanh", "hypot", "degrees", "radians", "floor", "ceil"),
        *("isnan", "isfinite"),
    )
}
_NUMBERS = {"pi": math.pi, "e": math.e, "nan": math.nan, "inf": math.inf}
_RANDOM = ("random", "uniform", "gauss", "normalvariate", "randint", "choice")
_SCOPE = ("constants", "metadata", "requested_metadata")


def is_expression(value):
    """Whether a value of a description is an expression rather than a literal."""
    return isinstance(value, str) and value.lstrip()[:1] in ("(", "'", '"') and bool(value.strip())


class TaskExpressionEvaluation:
    """Evaluates the expressions of one task's description.

    Parameters
    ----------
    metadata : dict, name -> plain value: loop variables and what ancestors put on task rows
    requested_metadata : dict, task name -> dict of that task's results
    constants : dict, name -> number; by default those of `photometry.transits.EASConstants`
    seed : int, of the random numbers

    Raises
    ------
    WrongUseError : from any method: what is wrong with the expression, in one sentence
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
        path : tuple of keys and indices, where in the description it stands: part of the random numbers' seed
        """
        if not is_expression(expression):
            return expression
        tree = parse(expression)
        try:
            return _Walk(self, path).value(tree)
        except WrongUseError as error:
            raise WrongUseError(f"expression {_shown(expression)}: {error}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise WrongUseError(f"expression {_shown(expression)}: {_sentence(error)}") from None

    def evaluate_in_structure(self, structure, path=()):
        """A copy of nested dicts and lists with all expressions evaluated, in keys, values and items.

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
    from ..transits.constants import EASConstants

    return {
        name: value
        for name, value in vars(EASConstants()).items()
        if isinstance(value, int | float)
    }


@functools.lru_cache(4096)
def parse(expression):
    """The checked syntax tree of an expression.

    Raises
    ------
    WrongUseError : it is no expression, too large, or holds something that is not allowed
    """
    text = expression.strip()
    if len(text) > MAX_LENGTH:
        raise WrongUseError(
            f"expression {_shown(text)}: {len(text)} characters, at most {MAX_LENGTH} are accepted"
        )
    try:
        tree = ast.parse(text, mode="eval").body
        _check(tree)
    except SyntaxError as error:
        raise WrongUseError(
            f"expression {_shown(text)}: {error.msg}, at character {error.offset or 1}"
        ) from None
    except (MemoryError, RecursionError, ValueError) as error:
        raise WrongUseError(f"expression {_shown(text)}: {error or 'nested too deep'}") from None
    except WrongUseError as error:
        raise WrongUseError(f"expression {_shown(text)}: {error}") from None
    return tree


def names_used(expression):
    """What an expression needs to be there.

    Returns
    -------
    metadata : set of str, keys of ``metadata`` that it cannot do without
    requested : set of str, names of tasks whose results it reads
    constants : set of str
    """
    used = {"metadata": set(), "requested_metadata": set(), "constants": set()}
    for node in ast.walk(parse(expression)):
        if isinstance(node, ast.Attribute) and _name(node.value) == "constants":
            used["constants"].add(node.attr)
        elif isinstance(node, ast.Subscript) and _name(node.value) in used:
            if isinstance(node.slice, ast.Constant):
                used[_name(node.value)].add(node.slice.value)
        elif isinstance(node, ast.Call) and any(
            keyword.arg is None and _name(keyword.value) == "metadata" for keyword in node.keywords
        ):
            given = {keyword.arg for keyword in node.keywords}
            used["metadata"].update(set(_fields(node.func)) - given)
    return used["metadata"], used["requested_metadata"], used["constants"]


def _fields(function):
    """Names of the fields of the text whose ``format`` is called, where it is written out."""
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Constant):
        return
    try:
        for _, name, _, _ in string.Formatter().parse(str(function.value.value)):
            key = re.split(r"[.\[]", name, maxsplit=1)[0] if name else ""
            if key and not key.isdigit():
                yield key
    except ValueError:
        return


def _name(node):
    return node.id if isinstance(node, ast.Name) else None


def _check(tree):
    """Refuse a tree with nodes that are not on the list, too many of them, or too deep."""
    level, count = [tree], 0
    for depth in range(MAX_DEPTH + 1):
        count += len(level)
        if not level:
            return
        if count > MAX_NODES:
            raise WrongUseError(f"more than {MAX_NODES} parts")
        for node in level:
            _check_node(node)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if depth == MAX_DEPTH and level:
            raise WrongUseError(f"nested deeper than {MAX_DEPTH} levels")


_ALLOWED = (
    *(ast.Constant, ast.Name, ast.Load, ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.UnaryOp),
    *(ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.IfExp, ast.Subscript, ast.Slice),
    *(ast.Attribute, ast.Call, ast.keyword, *_BINARY, *_UNARY, *_COMPARE),
)


def _check_node(node):
    if not isinstance(node, _ALLOWED):
        raise WrongUseError(f"{_spelled(node)} is not accepted in expressions")
    if isinstance(node, ast.Constant) and not isinstance(
        node.value, str | int | float | bool | None
    ):
        raise WrongUseError(f"{node.value!r:.50} is not accepted; numbers and strings are")
    if isinstance(node, ast.Name) and node.id not in _NAMES:
        raise WrongUseError(f"name {node.id!r} is not defined; {nearest(node.id, _NAMES)}")
    if isinstance(node, ast.Attribute):
        _check_attribute(node)
    if isinstance(node, ast.Call) and not (
        _name(node.func) in _FUNCTIONS or isinstance(node.func, ast.Attribute)
    ):
        raise WrongUseError(f"{_name(node.func) or _spelled(node.func)!r} is not a function")


def _check_attribute(node):
    owner = _name(node.value)
    if owner == "constants" and not node.attr.startswith("_"):
        return
    if owner == "random" and node.attr in _RANDOM:
        return
    if owner == "math" and (node.attr in _MATHS or node.attr in _NUMBERS):
        return
    if owner not in ("random", "math") and node.attr in ("get", "format"):
        return
    raise WrongUseError(
        f"attribute {node.attr!r} is not accepted; accepted are constants.NAME, random.NAME "
        f"({', '.join(_RANDOM)}), math.NAME, .get() and .format()"
    )


def _spelled(node):
    return {
        "JoinedStr": "an f-string",
        "Lambda": "lambda",
        "ListComp": "a comprehension",
        "GeneratorExp": "a comprehension",
        "NamedExpr": ":=",
    }.get(type(node).__name__, type(node).__name__)


def nearest(word, known):
    """``"did you mean 'x'?"`` or a list of what is known."""
    close = difflib.get_close_matches(str(word), [str(name) for name in known], 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are {', '.join(sorted(map(str, known))) or 'none'}"


def _shown(expression):
    return repr(expression if len(expression) <= 80 else f"{expression[:77]}...")


def _sentence(error):
    if isinstance(error, KeyError) and error.args:
        return f"there is no {error.args[0]!r}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


_FUNCTIONS = {
    "abs": abs,
    "min": min,
    "max": max,
    "round": bounded_round,
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "len": len,
    "sum": bounded_sum,
    "range": bounded_range,
    "pow": power,
    "sorted": sorted,
    **_MATHS,
}
_NAMES = frozenset([*_FUNCTIONS, *_NUMBERS, *_SCOPE, "random", "math"])


class _Walk:
    """Computes the value of a checked tree."""

    def __init__(self, evaluation, path):
        self._scope = {name: getattr(evaluation, name) for name in _SCOPE}
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
        if node.id in _NUMBERS:
            return _NUMBERS[node.id]
        raise WrongUseError(f"{node.id} has to be called: {node.id}(...)")

    def _Attribute(self, node):
        owner = _name(node.value)
        if owner == "constants":
            constants = self._scope["constants"]
            if node.attr not in constants:
                raise WrongUseError(
                    f"there is no constants.{node.attr}; {nearest(node.attr, constants)}"
                )
            return constants[node.attr]
        if owner == "math" and node.attr in _NUMBERS:
            return _NUMBERS[node.attr]
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
            owner = _name(node.value) or "the dictionary"
            raise WrongUseError(f"{owner} has no {key!r}; {nearest(key, container)}")
        return container[key]

    def _UnaryOp(self, node):
        return _UNARY[type(node.op)](self.value(node.operand))

    def _BinOp(self, node):
        left, right = self.value(node.left), self.value(node.right)
        special = {ast.Mult: multiplied, ast.Pow: power, ast.Mod: remainder}.get(type(node.op))
        return (special or _BINARY[type(node.op)])(left, right)

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
            if not _COMPARE[type(kind)](left, right):
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
            return _FUNCTIONS[node.func.id](*arguments)
        owner = _name(node.func.value)
        if owner == "random":
            return self._draw(node.func.attr, arguments)
        if owner == "math":
            if node.func.attr not in _MATHS:
                raise WrongUseError(f"math.{node.func.attr} is a number")
            return _MATHS[node.func.attr](*arguments)
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
