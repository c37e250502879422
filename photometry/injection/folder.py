"""The folder of an injection, which keeps it apart from real results: a TODO-file of its own, the
truth in ``injected.ecsv``, light curves below, and what became of them in ``recovered.ecsv``.
"""

import functools
import os
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..errors import PhotometryError, WrongUseError
from ..files import atomic_write
from ..fitsstream import open_stream
from ..pixels.cubestamp import cube_of
from ..pixels.find import find_target_pixel_file
from ..pixels.targetpixelfile import read_target_pixel_file
from ..status import STATUS
from ..taskmanager.create import create_todo
from ..taskmanager.lock import locked
from ..taskmanager.schema import TODOLIST_COLUMNS
from ..taskmanager.view import open_view, read_results
from . import LIGHTCURVES, RECOVERED, TODO, TRUTH
from .recovery import from_header
from .signals import described, draw_signals, join, read_signals, signals_of

TRIES = 20  # files that are looked into for the time that a sector takes


def default_folder(input_folder, method=None):
    """Where an injection goes: ``injected``, or ``injected-METHOD``, in the input folder."""
    name = "injected" if method is None else f"injected-{method.replace(':', '-')}"
    return Path(input_folder) / name


def check_folder(folder, specs, seed, *, overwrite=False):
    """Refuse a folder that holds anything but this injection.

    Parameters
    ----------
    folder : Path
    specs : tuple of str, what to inject: tables, or as `signals.parse`
    seed : int
    overwrite : bool, accept another injection

    Raises
    ------
    WrongUseError
    """
    truth = folder / TRUTH
    if truth.is_file():
        if _description(truth) != described(specs, seed) and not overwrite:
            raise WrongUseError(
                f"{folder}: holds another injection; choose another folder with --output, or "
                "replace it with --overwrite"
            )
        return
    # a run that was killed while it began may leave these
    ours = (f".{Path(TRUTH).stem}-", f".{Path(TODO).stem}-")
    if folder.is_dir() and any(
        not path.name.startswith(ours) and not (path.name == LIGHTCURVES and _is_empty(path))
        for path in folder.iterdir()
    ):
        raise WrongUseError(
            f"{folder}: holds files that are no injection (it has no {TRUTH}); expected a folder "
            "of its own, empty or new"
        )


def _is_empty(folder):
    return not any(folder.iterdir())


def _description(truth):
    return Table.read(truth, format="ascii.ecsv").meta.get("described")


def prepare_folder(folder, todo_file, specs, seed):
    """Make what an injection needs, or what of it is missing after a kill.

    Parameters
    ----------
    folder : Path
    todo_file : Path, of the real targets
    specs : tuple of str
    seed : int
    """
    asked = described(specs, seed)
    is_same = (folder / TRUTH).is_file() and _description(folder / TRUTH) == asked
    if is_same and (folder / TODO).is_file():
        return
    with open_view(todo_file) as view:
        names = [name for name in TODOLIST_COLUMNS if name != "status"]
        values = view.query(f"SELECT {', '.join(names)} FROM todolist ORDER BY priority")
    rows = [dict(zip(names, row, strict=True)) for row in values]
    table = _truth(todo_file.parent, rows, specs, seed)
    table.meta |= {"described": asked}
    if not len(table):
        raise WrongUseError(f"{todo_file}: none of its stars gets a signal; check the star numbers")
    stars = set(table["starid"].tolist())
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / TODO).is_file():
        with locked(folder / TODO):  # no run works on it
            (folder / TODO).unlink()  # its results are of other signals
    with atomic_write(folder / TRUTH) as part:
        table.write(part, format="ascii.ecsv", overwrite=True)
    create_todo(folder / TODO, [row for row in rows if row["starid"] in stars])


def _truth(input_folder, rows, specs, seed):
    """The table of all signals."""
    spans, tables = None, []
    for spec in specs:
        if Path(spec).is_file():
            table = read_signals(spec)
            tables.append(table[np.isin(table["starid"], [row["starid"] for row in rows])])
            continue
        if spans is None:
            spans = _spans(input_folder, rows)
        tables.append(draw_signals(spec, spans, seed))
    return join(tables)


def _spans(input_folder, rows):
    """starid -> (first, last) time of its observations, d."""
    by_sector, spans = {}, {}
    for row in rows:
        key = row["sector"], row["cadence"], str(row["datasource"])[:3]
        by_sector.setdefault(key, []).append(row)
    for tasks in by_sector.values():
        first, last = _span(input_folder, tasks)
        for task in tasks:
            old = spans.get(task["starid"], (first, last))
            spans[task["starid"]] = min(first, old[0]), max(last, old[1])
    return spans


def _span(input_folder, tasks):
    """First and last time of one of some tasks of the same sector."""
    problem = None
    for task in tasks[:TRIES]:
        try:
            if task["datasource"] == "ffi":
                time = cube_of(task, input_folder).time
            else:
                path = find_target_pixel_file(input_folder, task)
                time = read_target_pixel_file(path, datasource=task["datasource"]).time
            return float(np.nanmin(time)), float(np.nanmax(time))
        except PhotometryError as error:
            problem = error
    raise WrongUseError(f"{input_folder}: no readable pixels say when they were taken: {problem}")


@functools.lru_cache(maxsize=2)
def _table(path, _changed):
    return Table.read(path, format="ascii.ecsv")


def signals_for(truth, starid):
    """The signals of a star: list of dict, empty where it has none.

    Parameters
    ----------
    truth : path of ``injected.ecsv``; kept in memory for the next target
    starid : int
    """
    return signals_of(_table(str(truth), os.stat(truth).st_mtime_ns), starid)


def collect(folder):
    """What became of all signals, from the headers of the light curves.

    Parameters
    ----------
    folder : Path of an injection

    Returns
    -------
    astropy Table, one row per target and signal: priority, starid, tmag, method, status, the
        columns of the truth, ratio, ratio_err, n_events, found (1, 0, or -1: not known), crowding
        (CROWDSAP of the file)
    """
    truth = Table.read(folder / TRUTH, format="ascii.ecsv")
    rows = []
    for result in read_results(folder / TODO):
        signals = signals_of(truth, int(result["starid"]))
        status, method = result["status"], result["method_used"]
        if not signals or status is np.ma.masked or not np.isfinite(status):
            continue
        about = {
            "priority": int(result["priority"]),
            "tmag": float(result["tmag"]),
            "method": "none" if method is np.ma.masked else str(method),
            "status": STATUS(int(status)).name,
        }
        path = folder / LIGHTCURVES / str(result["lightcurve"])
        header = _header(path) if path.is_file() else {}
        measured = {one["signal"]: one for one in from_header(header)}
        for signal in signals:
            rows.append(about | _row(signal, measured.get(signal["signal"], {}), header))
    return Table(rows) if rows else Table()


def _row(signal, measured, header):
    number = {key: _number(measured.get(key)) for key in ("ratio", "ratio_err")}
    found = measured.get("found")
    return {
        **signal,
        **number,
        "n_events": int(measured.get("n_events") or 0),
        "found": -1 if found is None or not isinstance(found, (bool, np.bool_)) else int(found),
        "crowding": _number(header.get("CROWDSAP")),
    }


def _number(value):
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _header(path):
    """Primary header of a light curve, with CROWDSAP of its table."""
    with open_stream(path) as stream:
        primary = stream.next_header()
        return {**primary, "CROWDSAP": stream.next_header().get("CROWDSAP")}


def recovered(folder):
    """What became of all signals: ``recovered.ecsv``, or where that is older than the TODO-file or
    missing, as `collect`.

    Parameters
    ----------
    folder : Path of an injection
    """
    path, todo_file = folder / RECOVERED, folder / TODO
    if path.is_file() and path.stat().st_mtime_ns >= todo_file.stat().st_mtime_ns:
        return Table.read(path, format="ascii.ecsv")
    return collect(folder)


def write_recovered(folder):
    """Write ``recovered.ecsv``, see `collect`; returns the table."""
    table = collect(folder)
    with atomic_write(folder / RECOVERED) as part:
        table.write(part, format="ascii.ecsv", overwrite=True)
    return table
