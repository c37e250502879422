"""Operations on values of expressions whose results cannot be large: each looks at what it would
make before it makes it."""

import functools
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
