"""All that is known of one star of a run: `explain`, as text, JSON and a page."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np

from ..constants import MISSIONS
from ..errors import BadInputError, WrongUseError
from ..flags import decode
from ..scheduler.reporting import LOG_NAME, read_log, timestamp
from ..status import STATUS
from ..taskmanager.schema import star_label
from .html import Page, facts, figure, ink
from .status import as_typed
from .verify import Claim, check_lightcurve

MAX_LOG_LINES = 20

_ROWS = "SELECT * FROM todolist LEFT JOIN diagnostics USING (priority) WHERE {} ORDER BY priority"
_SKIPPED = (
    "SELECT t.starid, t.datasource, t.cadence, t.priority, t.tmag FROM photometry_skipped s"
    " JOIN todolist t ON t.priority = s.{} WHERE s.{} = ? ORDER BY t.priority"
)


def explain(view, output, starid):
    """What a TODO-file, a log and light-curve files say of a star.

    Parameters
    ----------
    view : `taskmanager.view.View` of the TODO-file
    output : folder of the light curves
    starid : int, or (by ``priority=N``) a dict of one column of ``todolist`` and its value

    Returns
    -------
    list of dict, one for each row of the star, by priority: what ``todolist`` and ``diagnostics``
    say, and ``label``, ``status_name``, ``reasons`` (list of str), ``attempts`` (list of dict),
    ``skipped_by`` and ``skips`` (lists of labels), ``file`` (dict), ``log`` (list of str). What is
    not known is None.

    Raises
    ------
    WrongUseError : there is no such star in the TODO-file
    """
    column, value = next(iter(starid.items())) if isinstance(starid, dict) else ("starid", starid)
    rows = _dicts(view, _ROWS.format(f"{column} = ?"), value)
    if not rows:
        raise WrongUseError(f"{view.path}: there is no star {value} in it")
    return [_explain_row(view, Path(output), row) for row in rows]


def _dicts(view, sql, *parameters):
    cursor = view.conn.cursor()
    cursor.row_factory = None
    cursor.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor]


def _explain_row(view, output, row):
    label = star_label(row["starid"], row["datasource"], row["cadence"])
    priority = row["priority"]
    explained = dict(row)
    explained["label"] = label
    explained["status_name"] = "to do" if row["status"] is None else STATUS(row["status"]).name
    explained["reasons"] = (row["errors"] or "").splitlines()
    attempts = _dicts(view, "SELECT * FROM attempts WHERE priority = ? ORDER BY start", priority)
    for attempt in attempts:
        number = attempt["status"]
        attempt["status_name"] = "none" if number is None else STATUS(number).name
        attempt["started"] = timestamp(attempt["start"])
    explained["attempts"] = attempts
    explained["skipped_by"] = _labels(view, "skipped_by", "priority", priority)
    explained["skips"] = _labels(view, "priority", "skipped_by", priority)
    explained["file"] = _file(output, row)
    explained["log"] = _log(output, label)
    return explained


def _labels(view, other, own, priority):
    return [
        f"{star_label(row['starid'], row['datasource'], row['cadence'])} (row {row['priority']})"
        for row in _dicts(view, _SKIPPED.format(other, own), priority)
    ]


def _file(output, row):
    """The light-curve file: path, whether it verifies, times, flags, noise; None where there is
    none.
    """
    if not row["lightcurve"]:
        return None
    path = output / row["lightcurve"]
    claim = Claim(**{name: row[name] for name in Claim._fields})
    problem = check_lightcurve(output, claim)
    if problem is not None:
        return {"path": str(path), "problem": problem.message}
    return {"path": str(path), "problem": None, **_inside(path)}


def _inside(path):
    """Times, flags by count and noise of a light-curve file."""
    from .plots import read_curve

    curve = read_curve(path)
    bits = Counter()
    for quality, number in zip(*np.unique(curve.quality, return_counts=True), strict=True):
        for flag in decode(int(quality), curve.mission):
            bits[flag.name] += int(number)
    return {
        "times": len(curve.time),
        "with_flux": int(np.isfinite(curve.flux).sum()),
        "flags": dict(bits.most_common()),
        "corrected": curve.header.get("CORRMETH"),
        "noise": curve.header.get("CDPP"),
    }


def _log(output, label):
    try:
        lines = [
            f"{timestamp(record['time'])} {record['level']:<7} {record['message']}"
            for record in read_log(output / LOG_NAME, name=label)
        ]
    except (FileNotFoundError, BadInputError, WrongUseError):
        return []
    return lines[-MAX_LOG_LINES:]


def lines(explained):
    """One row of `explain` as lines of text: (name, text) pairs."""
    row = explained
    position = f"sector {row['sector']}, {row['camera']}-{row['ccd']}, {row['cadence']} s"
    magnitude = number(row["tmag"], ".2f")
    yield "star", f"{row['label']}, magnitude {magnitude}, {position}, row {row['priority']}"
    yield "pixels", _pixels(row["datasource"])
    yield "status", row["status_name"]
    for reason in row["reasons"]:
        yield "why", reason
    if row["method_used"]:
        asked = f"asked for {row['method']}" if row["method"] else "chosen by the program"
        yield "method", f"{row['method_used']} ({asked}), {number(row['elaptime'], '.3g')} s"
    if row["mask_size"] is not None:
        stamp = f"{row['stamp_width']} x {row['stamp_height']} pixels"
        grown = f", grown {row['stamp_resizes']} times" if row["stamp_resizes"] else ""
        yield "mask", f"{row['mask_size']} pixels of a stamp of {stamp}{grown}"
        yield "neighbours", f"{fraction(row['contamination'])} of the flux is from other stars"
        yield (
            "flux",
            (
                f"{number(row['mean_flux'], '.6g')} e-/s, noise in one hour "
                f"{number(row['rms_hour'], ',.0f', 1e6)} ppm"
            ),
        )
    for other in row["skipped_by"]:
        yield "skipped by", other
    for other in row["skips"]:
        yield "skips", other
    for attempt in row["attempts"]:
        error = (
            f": {attempt['error_class']}: {attempt['error_text']}" if attempt["error_class"] else ""
        )
        yield (
            "attempt",
            (
                f"{attempt['started']} on {attempt['host'] or 'an unknown host'}, rank "
                f"{attempt['rank']}, "
                f"{number(attempt['seconds'], '.3g')} s, "
                f"{attempt['status_name']}{error}".splitlines()[0]
            ),
        )
    yield from _file_lines(row["file"])
    for line in row["log"]:
        yield "log", line


def _file_lines(file):
    if file is None:
        yield "file", "none"
        return
    yield "file", as_typed(file["path"])
    if file["problem"]:
        yield "verify", f"bad: {file['problem']}"
        return
    yield "verify", f"good; flux at {file['with_flux']} of {file['times']} times"
    flags = ", ".join(f"{number} {name}" for name, number in file["flags"].items())
    yield "flags", flags or "none"
    yield "corrected", file["corrected"] or "no"


def _pixels(datasource):
    if datasource == "ffi":
        return "image cube of full-frame images"
    primary = str(datasource).partition(":")[2]
    return f"target pixel file of {primary}" if primary else "its target pixel file"


def number(value, form, factor=1.0):
    """A number for people; 'unknown' for None and NaN.

    Parameters
    ----------
    value : float or None
    form : str, format specification
    factor : float, by which it is multiplied first
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    return format(value * factor, form)


def fraction(value):
    """A fraction in per cent for people: 'unknown', '< 0.1 %', '12 %'."""
    if value is None or math.isnan(value):
        return "an unknown part"
    if 0 < value < 1e-3:
        return "< 0.1 %"
    return f"{100 * value:.2g} %"


def to_json(explained):
    """The rows of `explain` as JSON text; what is not known is null."""

    def clean(value):
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return value.item() if isinstance(value, np.generic) else value

    return json.dumps(clean(explained), indent=1)


def explain_page(explained):
    """The page of one star: what `explain` found, and its light curve.

    Parameters
    ----------
    explained : list of dict, of `explain.explain`
    """
    page = Page(explained[0]["label"], f"{len(explained)} rows of the TODO-file")
    for row in explained:
        heading = f"Sector {row['sector']}, {row['cadence']} s: {row['status_name']}"
        parts = [facts(list(lines(row)))]
        if row["file"] and not row["file"]["problem"]:
            parts.append(_curve(row["file"]["path"]))
        page.section(heading, *parts)
    return page


def _curve(path):
    """The light curve of a file, as a figure."""
    from matplotlib.figure import Figure

    from .plots import best_flux, read_curve

    curve = read_curve(path)
    flux, name = best_flux(curve)
    with ink():
        fig = Figure(figsize=(7, 3), layout="constrained")
        axes = fig.subplots()
        for chosen, colour, label in (
            (~curve.good, "#9aa5b0", "flagged"),
            (curve.good, "#33658a", "good"),
        ):
            axes.plot(
                curve.time[chosen],
                flux[chosen],
                ".",
                ms=2,
                color=colour,
                label=label,
                rasterized=True,
            )
        axes.set(
            xlabel=f"time ({MISSIONS[curve.mission].time_name}, d)", ylabel=f"{name}, relative"
        )
        axes.ticklabel_format(useOffset=False)
        axes.legend(frameon=False, loc="upper right", ncols=2)
        return figure(fig, str(path), alt=f"light curve of {curve.label}")
