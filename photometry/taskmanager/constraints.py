"""`build_constraints`: from "camera 2, brighter than 8" to SQL conditions."""

import math
import numbers

import numpy as np

from ..errors import ArgumentError

_COLUMNS = ("priority", "starid", "sector", "cadence", "camera", "ccd", "cbv_area")

# The magnitude that counts: a secondary target is processed with its primary, so the primary's magnitude decides.
# Where the primary is not in the list, its own has to do.
_PRIMARY_TMAG = """(CASE WHEN todolist.datasource LIKE 'tpf:%' THEN COALESCE((
    SELECT p.tmag FROM todolist AS p
    WHERE p.starid = CAST(substr(todolist.datasource, 5) AS INTEGER) AND p.datasource = 'tpf'
    AND p.sector = todolist.sector AND p.camera = todolist.camera AND p.ccd = todolist.ccd
    AND p.cadence = todolist.cadence), todolist.tmag) ELSE todolist.tmag END)"""
PRIMARY_TMAG = " ".join(_PRIMARY_TMAG.split())


def build_constraints(
    priority=None,
    starid=None,
    sector=None,
    cadence=None,
    camera=None,
    ccd=None,
    cbv_area=None,
    datasource=None,
    tmag_min=None,
    tmag_max=None,
    return_list=False,
):
    """Conditions that select tasks of the table ``todolist``.

    All values pass through `int` or `float`, so the text may be pasted into a query.

    Parameters
    ----------
    priority, starid, sector, cadence, camera, ccd, cbv_area : int or several of them
        Only tasks with this value, or one of these values. ``cadence='ffi'`` means ``datasource='ffi'``; together
        with ``datasource='tpf'`` it selects nothing.
    datasource : str
        ``'ffi'`` means full-frame images, any other value means all that is not from full-frame images.
    tmag_min, tmag_max : float
        Bright and faint limit, both included. For secondary targets they apply to the primary target in whose
        target pixel file they lie: such a file is read once, and needs the memory of its bright star.
    return_list : bool
        Return the list of conditions, not the text.

    Returns
    -------
    conditions : str
        ``' AND …'``, ready to append to a query; the empty text where nothing was asked. With ``return_list`` a list
        of str, to be joined by AND.

    Raises
    ------
    ValueError : a value is not a number, or an empty collection
    """
    datasources = [] if datasource is None else [datasource]
    if isinstance(cadence, str) and cadence.strip().lower() == "ffi":
        cadence, datasources = None, ["ffi", *datasources]
    values = dict(
        zip(_COLUMNS, (priority, starid, sector, cadence, camera, ccd, cbv_area), strict=True)
    )
    conditions = [_any_of(name, value) for name, value in values.items() if value is not None]
    conditions += dict.fromkeys(map(_datasource, datasources))  # each once
    if (
        tmag_min is not None
        and tmag_max is not None
        and _float("tmag_min", tmag_min) > _float("tmag_max", tmag_max)
    ):
        raise ArgumentError(f"tmag_min={tmag_min!r}: expected at most tmag_max={tmag_max!r}")
    if tmag_min is not None:
        conditions.append(f"{PRIMARY_TMAG} >= {_float('tmag_min', tmag_min)!r}")
    if tmag_max is not None:
        conditions.append(f"{PRIMARY_TMAG} <= {_float('tmag_max', tmag_max)!r}")
    return conditions if return_list else "".join(f" AND {condition}" for condition in conditions)


class LastConstraints:
    """SQL of the constraints of the last call, because mostly the same ones come with the next.

    A list of a million stars is not looked at again if it is the same object with the same length.
    """

    def __init__(self):
        self._constraints, self._sql, self._lengths = {}, "", ()

    def sql(self, constraints):
        """As `build_constraints`, of a dict of its arguments."""
        if not self._is_last(constraints):
            self._sql = build_constraints(**constraints)
            self._constraints = constraints
            self._lengths = [
                (value, len(value)) for value in constraints.values() if hasattr(value, "__len__")
            ]
        return self._sql

    def _is_last(self, constraints):
        for value, length in self._lengths:
            if len(value) != length:
                return False
        try:
            return constraints == self._constraints
        except ValueError:  # two different arrays
            return False


def _any_of(name, value):
    several = (not isinstance(value, (str, bytes)) and np.ndim(value) != 0) or isinstance(
        value, (set, frozenset)
    )
    integers = sorted({_int(name, one) for one in (value if several else [value])})
    if not integers:
        raise ArgumentError(
            f"{name}={value!r}: no value at all; leave {name} out to select everything"
        )
    if len(integers) == 1:
        return f"todolist.{name} = {integers[0]}"
    return f"todolist.{name} IN ({', '.join(map(str, integers))})"


def _datasource(value):
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"datasource={value!r}: expected 'ffi' or 'tpf'")
    return f"todolist.datasource {'=' if value == 'ffi' else '!='} 'ffi'"


def _int(name, value):
    number = _float(name, value, kind="a whole number")
    if not number.is_integer():
        raise ArgumentError(f"{name}={value!r}: expected a whole number")
    number = int(value) if isinstance(value, numbers.Integral) else int(number)
    if not -(2**63) <= number < 2**63:
        raise ArgumentError(f"{name}={value!r}: expected a whole number of at most 64 bits")
    return number


def _float(name, value, kind="a number"):
    """``value`` as float. A truth value is not a number here: it is most often a mistake in the order of arguments."""
    try:
        number = math.nan if isinstance(value, (bool, np.bool_)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ArgumentError(f"{name}={value!r}: expected {kind}")
    return number
