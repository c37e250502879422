"""What Python's syntax means in an expression: an allow-list over ``ast``, every value bounded."""

import ast
import difflib
import functools
import math
import operator
import re
import string

from ..errors import WrongUseError

MAX_SIZE = 100_000  # characters, or items of a list with all that is in it
MAX_BITS = 4096  # of a whole number
MAX_WIDTH = 1000  # of a field in a format


def size(value, limit=MAX_SIZE):
    """Characters and items of a value with all that is in it; stops counting beyond ``limit``."""
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, dict):
        total = 1
        for key, item in value.items():
            total += size(key, limit - total) + size(item, limit - total)
            if total > limit:
                break
        return total
    if isinstance(value, list | tuple):
        total = 1
        for item in value:
            total += size(item, limit - total)
            if total > limit:
                break
        return total
    return 1


def bounded(value):
    if isinstance(value, bool | float | None):
        return value
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise WrongUseError(f"a whole number of more than {MAX_BITS} bits")
    elif isinstance(value, complex):
        raise WrongUseError("the result is a complex number")
    elif size(value) > MAX_SIZE:
        raise WrongUseError(f"a value of more than {MAX_SIZE} characters or items")
    return value


def multiplied(left, right):
    for sequence, count in ((left, right), (right, left)):
        is_repeated = isinstance(sequence, str | list | tuple) and isinstance(count, int)
        if is_repeated and size(sequence) * max(count, 0) > MAX_SIZE:
            raise WrongUseError(f"a value of more than {MAX_SIZE} characters or items")
    return left * right


def power(base, exponent, modulus=None):
    """``pow``, refused where the result would have more than `MAX_BITS` bits.

    Parameters
    ----------
    base, exponent : numbers
    modulus : int or None
    """
    if isinstance(base, int) and isinstance(exponent, int):
        if modulus is None and base.bit_length() * abs(exponent) > MAX_BITS:
            raise WrongUseError(f"a whole number of more than {MAX_BITS} bits")
        return pow(base, exponent, modulus)
    if not isinstance(base, int | float) or not isinstance(exponent, int | float):
        raise WrongUseError("powers are of numbers")
    return pow(base, exponent)


_PERCENT = re.compile(r"%(?:\((?P<key>[^)]*)\))?[-#0 +]*(?P<width>\*|\d*)(?:\.(?P<digits>\*|\d*))?")


def remainder(left, right):
    if not isinstance(left, str):
        return left % right
    for match in _PERCENT.finditer(left):
        for width in (match["width"], match["digits"]):
            if width == "*" or (width and int(width[:9]) > MAX_WIDTH):
                raise WrongUseError(f"a format wider than {MAX_WIDTH}")
    fields = left.count("%")
    if fields * size(right) > MAX_SIZE:
        raise WrongUseError(f"a value of more than {MAX_SIZE} characters or items")
    return left % (tuple(right) if isinstance(right, list) else right)


class BoundedFormatter(string.Formatter):
    """``str.format`` without attributes, with bounded widths and a bounded result."""

    def __init__(self):
        self.total = 0

    def get_field(self, field_name, args, kwargs):
        """The value of a field; attributes are refused.

        Parameters
        ----------
        field_name : str, as in ``'name[key]'``
        args, kwargs : what the text is formatted with
        """
        if "." in re.sub(r"\[[^\]]*\]", "", field_name):
            raise WrongUseError(f"format field {{{field_name}}}: attributes are not accepted")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value, format_spec):
        if any(int(width[:9]) > MAX_WIDTH for width in re.findall(r"\d+", format_spec)):
            raise WrongUseError(f"a format wider than {MAX_WIDTH}")
        if isinstance(value, list | dict | tuple) and format_spec:
            raise WrongUseError(f"format {format_spec!r} of a {type(value).__name__}")
        text = format(value, format_spec)
        self.total += len(text)
        if self.total > MAX_SIZE:
            raise WrongUseError(f"a text of more than {MAX_SIZE} characters")
        return text


def bounded_range(*limits):
    numbers = range(*limits)
    if len(numbers) > MAX_SIZE // 2:
        raise WrongUseError(f"a range of more than {MAX_SIZE // 2} numbers")
    return list(numbers)


def bounded_round(number, digits=None):
    if digits is not None and not -400 <= digits <= 400:
        raise WrongUseError(f"round to {digits} digits")
    return round(number, digits)


def bounded_sum(numbers, start=0):
    return functools.reduce(lambda a, b: bounded(a + b), _all_numbers([*numbers, start]), 0)


def _all_numbers(values):
    if not all(isinstance(value, int | float) for value in values):
        raise WrongUseError("sum is of numbers")
    return values


MAX_LENGTH = 4000  # characters of an expression
MAX_NODES = 1000
MAX_DEPTH = 60

BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
UNARY = {ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_}
COMPARE = {
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

MATHS = {
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
NUMBERS = {"pi": math.pi, "e": math.e, "nan": math.nan, "inf": math.inf}
RANDOM = ("random", "uniform", "gauss", "normalvariate", "randint", "choice")
SCOPE = ("constants", "metadata", "requested_metadata")


FUNCTIONS = {
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
    **MATHS,
}
_NAMES = frozenset([*FUNCTIONS, *NUMBERS, *SCOPE, "random", "math"])


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
            f"expression {shown(text)}: {len(text)} characters, at most {MAX_LENGTH} are accepted"
        )
    try:
        tree = ast.parse(text, mode="eval").body
        _check(tree)
    except SyntaxError as error:
        raise WrongUseError(
            f"expression {shown(text)}: {error.msg}, at character {error.offset or 1}"
        ) from None
    except (MemoryError, RecursionError, ValueError) as error:
        raise WrongUseError(f"expression {shown(text)}: {error or 'nested too deep'}") from None
    except WrongUseError as error:
        raise WrongUseError(f"expression {shown(text)}: {error}") from None
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
        if isinstance(node, ast.Attribute) and name_of(node.value) == "constants":
            used["constants"].add(node.attr)
        elif isinstance(node, ast.Subscript) and name_of(node.value) in used:
            if isinstance(node.slice, ast.Constant):
                used[name_of(node.value)].add(node.slice.value)
        elif isinstance(node, ast.Call) and any(
            keyword.arg is None and name_of(keyword.value) == "metadata"
            for keyword in node.keywords
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


def name_of(node):
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
    *(ast.Attribute, ast.Call, ast.keyword, *BINARY, *UNARY, *COMPARE),
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
        name_of(node.func) in FUNCTIONS or isinstance(node.func, ast.Attribute)
    ):
        name = name_of(node.func) or _spelled(node.func)
        raise WrongUseError(f"{name!r} is not a function; {nearest(name, FUNCTIONS)}")


def _check_attribute(node):
    owner = name_of(node.value)
    if owner == "constants" and not node.attr.startswith("_"):
        return
    if owner == "random" and node.attr in RANDOM:
        return
    if owner == "math" and (node.attr in MATHS or node.attr in NUMBERS):
        return
    if owner not in ("random", "math") and node.attr in ("get", "format"):
        return
    raise WrongUseError(
        f"attribute {node.attr!r} is not accepted; accepted are constants.NAME, random.NAME "
        f"({', '.join(RANDOM)}), math.NAME, .get() and .format()"
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


def shown(expression):
    return repr(expression if len(expression) <= 80 else f"{expression[:77]}...")
