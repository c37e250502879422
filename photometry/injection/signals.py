"""What is injected: transits and flares, read from a table or drawn, and the light curve of them.

A table has one row per signal. Transits have ``period`` (d), ``epoch`` (middle of a transit, in the
times of the light curve: BJD minus the mission's reference), ``depth`` (at the middle, relative to
the star's own flux), ``duration`` (d, from first to last contact) and ``impact`` (stellar radii);
flares have ``time`` (of the peak), ``amplitude`` (relative) and ``decay`` (d, to 1/e). What does
not belong to a signal is NaN.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
from astropy.table import Table
from scipy.optimize import brentq

from ..constants import DAY
from ..errors import WrongUseError
from ..settings import did_you_mean
from ..transits.transit_model import inclination_of_impact, separation, transit_flux

TRANSIT, FLARE = "transit", "flare"
NAMES = {
    TRANSIT: ("period", "epoch", "depth", "duration", "impact"),
    FLARE: ("time", "amplitude", "decay"),
}
COLUMNS = ("starid", "signal", "kind", *NAMES[TRANSIT], *NAMES[FLARE])
OPTIONAL = {"duration", "impact", "decay"}
DEFAULTS = {
    "transits": {"depth": "0.001", "period": "3", "duration": None, "impact": "0"},
    "flares": {"amplitude": "0.01", "decay": "0.02", "number": "3"},
}
LOGARITHMIC = ("depth", "period", "duration", "amplitude", "decay")
LIMITS = {  # name: (smallest, largest), both left out but for impact
    "period": (0, math.inf),
    "depth": (0, 0.5),
    "duration": (0, math.inf),
    "impact": (-1e-9, 0.95),
    "amplitude": (0, math.inf),
    "decay": (0, math.inf),
    "number": (0, 1000),
}
SUN_DENSITY_DAYS = 4.2069  # a/R of an orbit of 1 d around the Sun: (G M P^2 / 4 pi^2 R^3)^(1/3)
RISE = 0.2  # of the decay: the width of a flare's rise, one standard deviation
MAX_SIGNALS = 99  # of one star: header keywords number them
LIMB_DARKENING = (0.1, 0.3)  # of `transit_flux`
EXPOSURE_STEP = 120.0  # s; the light of longer exposures is averaged over steps of this length
GOLDEN = 0x9E3779B9


def read_signals(path):
    """The table of a file.

    Parameters
    ----------
    path : table that astropy can read, with the column ``starid`` and, in each row, what a transit
        or a flare needs; ``duration``, ``impact`` and ``decay`` may be missing

    Returns
    -------
    astropy Table with `COLUMNS`

    Raises
    ------
    WrongUseError : the file cannot be read, or a row is no signal
    """
    path = Path(path)
    try:
        table = Table.read(path)
    except Exception as error:  # noqa: BLE001 - astropy's readers raise whatever they meet with
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WrongUseError(f"{path}: not a table that can be read ({reason:.200})") from None
    if "starid" not in table.colnames:
        raise WrongUseError(f"{path}: has no column starid; it has {', '.join(table.colnames)}")
    known = {*COLUMNS, "starid"}
    for name in table.colnames:
        if name not in known:
            hint = did_you_mean(name, sorted(known))
            raise WrongUseError(
                f"{path}: unknown column {name!r};{hint} known are {', '.join(COLUMNS)}"
            )
    names = [name for name in table.colnames if name not in ("signal", "kind")]
    rows = []
    for number, row in enumerate(table[names].filled(np.nan) if table.has_masked_columns
                                 else table[names], 1):  # fmt: skip
        values = {name: row[name] for name in names if _is_known(row[name])}
        rows.append(_checked(values, f"{path}: row {number}"))
    return _table(rows)


def _is_known(value):
    try:
        return bool(np.isfinite(value))
    except TypeError:
        return True


def _checked(values, where):
    """A row of a file with everything a signal needs."""
    kind = TRANSIT if "period" in values else FLARE
    missing = [name for name in NAMES[kind] if name not in values and name not in OPTIONAL]
    if missing:
        raise WrongUseError(
            f"{where}: has no {missing[0]}; a transit needs period, epoch and depth, a flare time "
            "and amplitude"
        )
    try:
        numbers = {name: float(values[name]) for name in NAMES[kind] if name in values}
        starid = int(values["starid"])
    except (TypeError, ValueError, KeyError):
        raise WrongUseError(f"{where}: {dict(values)!r}: expected numbers") from None
    for name, value in numbers.items():
        low, high = LIMITS.get(name, (-math.inf, math.inf))
        if not low < value < high:
            raise WrongUseError(f"{where}: {name}={value:g}: expected {max(low, 0):g} to {high:g}")
    return complete({"starid": starid, "kind": kind, **numbers})


def complete(signal):
    """A signal with what was left open: a transit lasts as long as in front of a star like the Sun,
    along its middle; a flare decays within 0.02 d.

    Parameters
    ----------
    signal : dict of starid, kind and what is known of it
    """
    if signal["kind"] == FLARE:
        return {"decay": float(DEFAULTS["flares"]["decay"]), **signal}
    signal = {"impact": 0.0, **signal}
    if "duration" not in signal:
        chord = math.sqrt((1 + radius_ratio(**_shape(signal))) ** 2 - signal["impact"] ** 2)
        axis = SUN_DENSITY_DAYS * signal["period"] ** (2 / 3)
        # Winn (2010), equation 14, of a circular orbit that is seen nearly edge-on
        signal["duration"] = signal["period"] / math.pi * math.asin(min(chord / axis, 1.0))
    if not signal["duration"] < 0.5 * signal["period"]:
        raise WrongUseError(
            f"star {signal['starid']}: duration={signal['duration']:g} d: expected less than half "
            f"of the period of {signal['period']:g} d"
        )
    return signal


def _shape(signal):
    return {"depth": signal["depth"], "impact": signal["impact"]}


def radius_ratio(depth, impact):
    """Planet's over star's radius for a depth at the middle of the transit.

    Parameters
    ----------
    depth : float, relative
    impact : float, stellar radii
    """

    def too_deep(ratio):
        return 1 - float(transit_flux(np.array(impact), ratio, *LIMB_DARKENING)) - depth

    return float(brentq(too_deep, 1e-6, 0.95))


def _table(rows):
    """Rows as a table, numbered by star."""
    rows = sorted(rows, key=lambda row: row["starid"])
    numbers, signals = {}, []
    for row in rows:
        numbers[row["starid"]] = number = numbers.get(row["starid"], 0) + 1
        if number > MAX_SIGNALS:
            raise WrongUseError(f"star {row['starid']}: more than {MAX_SIGNALS} signals")
        signals.append(number)
    columns = {
        "starid": np.array([row["starid"] for row in rows], dtype=np.int64),
        "signal": np.array(signals, dtype=np.int64),
        "kind": np.array([row["kind"] for row in rows], dtype="U8"),
    }
    for name in COLUMNS[3:]:
        columns[name] = np.array([row.get(name, np.nan) for row in rows], dtype=float)
    return Table(columns)


# --- drawn


def parse(text):
    """What ``transits:depth=0.001..0.01,period=3`` asks for.

    Returns
    -------
    kind : str, 'transits' or 'flares'
    ranges : dict, name -> (smallest, largest), or None where it follows from the others

    Raises
    ------
    WrongUseError
    """
    kind, _, words = text.partition(":")
    if kind not in DEFAULTS:
        raise WrongUseError(
            f"--inject {text}: no such file; expected a table, transits:NAME=VALUE,… or "
            "flares:NAME=VALUE,…"
        )
    values = dict(DEFAULTS[kind])
    for word in filter(None, words.split(",")):
        name, _, value = word.strip().partition("=")
        if name not in values:
            raise WrongUseError(
                f"--inject {text}: unknown {name!r};{did_you_mean(name, list(values))} "
                f"{kind} have {', '.join(values)}"
            )
        values[name] = value
    return kind, {
        name: None if value is None else _range(text, name, value) for name, value in values.items()
    }


def _range(text, name, value):
    low, dots, high = value.partition("..")
    try:
        low, high = float(low), float(high if dots else low)
    except ValueError:
        low = high = math.nan
    smallest, largest = LIMITS[name]
    if not (smallest < low <= high < largest):
        raise WrongUseError(
            f"--inject {text}: {name}={value}: expected a number, or two as in 0.001..0.01, from "
            f"{max(smallest, 0):g} to {largest:g}"
        )
    return low, high


def draw_signals(text, spans, seed=1):
    """Draw signals for each star of its own: which other stars there are changes nothing.

    Parameters
    ----------
    text : str, see `parse`
    spans : dict, starid -> (first, last) time of its observations, d
    seed : int

    Returns
    -------
    astropy Table with `COLUMNS`
    """
    kind, ranges = parse(text)
    rows = []
    for starid, (first, last) in spans.items():
        rng = np.random.default_rng([GOLDEN, seed, starid, sum(map(ord, kind))])
        if kind == "transits":
            drawn = {name: _draw(rng, name, bounds) for name, bounds in ranges.items() if bounds}
            epoch = first + rng.uniform() * min(drawn["period"], last - first)
            drawn |= {"starid": starid, "kind": TRANSIT, "epoch": epoch}
            rows.append(complete(drawn))
            continue
        for _ in range(round(_draw(rng, "number", ranges["number"]))):
            drawn = {name: _draw(rng, name, ranges[name]) for name in ("amplitude", "decay")}
            time = rng.uniform(first, last)
            rows.append({"starid": starid, "kind": FLARE, "time": time, **drawn})
    return _table(rows)


def _draw(rng, name, bounds):
    low, high = bounds
    x = rng.uniform()
    if low == high:
        return low
    return low * (high / low) ** x if name in LOGARITHMIC else low + x * (high - low)


def join(tables):
    """Several tables as one, whose signals are numbered anew."""
    return _table(
        [dict(zip(table.colnames, row, strict=True)) for table in tables for row in table]
    )


# --- their light


def relative_flux(signals, time, cadence):
    """Flux of a star with these signals, relative to that without.

    Parameters
    ----------
    signals : list of dict, of one star
    time : (n_times,) array, d; NaN where no exposure was made
    cadence : float, s, over which the light of an exposure is averaged

    Returns
    -------
    (n_times,) array
    """
    flux = np.ones(len(time))
    for signal in signals:
        flux *= 1 + profile(signal, time, cadence)
    return flux


def profile(signal, time, cadence):
    """What one signal adds to a flux of 1; as `relative_flux`.

    Parameters
    ----------
    signal : dict
    time : (n_times,) array, d
    cadence : float, s
    """
    n = max(round(cadence / EXPOSURE_STEP), 1)
    steps = ((np.arange(n) + 0.5) / n - 0.5) * cadence / DAY
    shape = _transit if signal["kind"] == TRANSIT else _flare
    added = np.zeros(len(time))
    near = np.flatnonzero(_is_near(signal, time, cadence / DAY))
    added[near] = shape(signal, time[near, None] + steps).mean(axis=1)
    return added


def from_event(signal, time):
    """Days from the nearest transit or the flare, and its number: two (n_times,) arrays."""
    if signal["kind"] == FLARE:
        return time - signal["time"], np.zeros(len(time))
    cycle = np.round((time - signal["epoch"]) / signal["period"])
    return time - signal["epoch"] - cycle * signal["period"], cycle


def _is_near(signal, time, exposure):
    offset, _ = from_event(signal, time)
    if signal["kind"] == TRANSIT:
        return np.abs(offset) < 0.5 * signal["duration"] + exposure
    return (offset > -5 * RISE * signal["decay"] - exposure) & (offset < 15 * signal["decay"])


def _transit(signal, time):
    ratio = radius_ratio(**_shape(signal))
    half = math.pi * signal["duration"] / signal["period"]
    chord = (1 + ratio) ** 2 - signal["impact"] ** 2
    axis = math.sqrt(chord / math.sin(half) ** 2 + signal["impact"] ** 2)
    distance = separation(
        time.ravel(),
        period=signal["period"],
        t0=signal["epoch"],
        semi_major_axis=axis,
        inclination=inclination_of_impact(signal["impact"], axis),
    )
    return transit_flux(distance, ratio, *LIMB_DARKENING).reshape(time.shape) - 1


def _flare(signal, time):
    """A rise half a bell curve, a decay exponential."""
    x = (time - signal["time"]) / signal["decay"]
    with np.errstate(over="ignore"):
        return signal["amplitude"] * np.where(x < 0, np.exp(-0.5 * (x / RISE) ** 2), np.exp(-x))


def signals_of(table, starid):
    """The signals of one star, as a list of dict."""
    first, last = np.searchsorted(table["starid"], [starid, starid + 1])
    return [
        {name: row[name].item() if name != "kind" else str(row[name]) for name in table.colnames}
        for row in table[first:last]
    ]


def described(specs, seed):
    """What was asked for, as a text that is equal for equal injections.

    Parameters
    ----------
    specs : tuple of str, as on the command line
    seed : int
    """
    contents = [
        hashlib.sha256(Path(spec).read_bytes()).hexdigest() if Path(spec).is_file() else spec
        for spec in specs
    ]
    return json.dumps({"inject": contents, "seed": seed})
