"""What became of an injection: how deep a signal came out, by least squares at the times at which
it went in, and whether a search finds it; and the folder that keeps all of it apart from real
results: a TODO-file of its own, the truth in ``injected.ecsv``, light curves below, and what became
of them in ``recovered.ecsv``.
"""

import functools
import os
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..constants import DAY
from ..errors import PhotometryError, WrongUseError
from ..files import atomic_write
from ..fitsstream import open_stream
from ..lightcurve.detrend import flatten
from ..lightcurve.tasoc import extraction_to_lightcurve
from ..pixels.cubestamp import cube_of
from ..pixels.find import find_target_pixel_file
from ..pixels.targetpixelfile import read_target_pixel_file
from ..status import STATUS
from ..taskmanager.create import create_todo
from ..taskmanager.lock import locked
from ..taskmanager.schema import TODOLIST_COLUMNS
from ..taskmanager.view import open_view, read_results
from . import LIGHTCURVES, RECOVERED, TODO, TRUTH
from .signals import (
    FLARE,
    TRANSIT,
    described,
    draw_signals,
    from_event,
    join,
    profile,
    read_signals,
    relative_flux,
    signals_of,
)

TRIES = 20  # files that are looked into for the time that a sector takes
WINDOW = 1.5  # durations beside the middle of a transit that are fitted
FLARE_WINDOW = (-4.0, 8.0)  # decays beside the peak of a flare that are fitted
FLOOR = 0.05  # of its depth: what counts as within a signal
MIN_OUTSIDE = 4  # samples of an event beside the signal, from which its level follows
MIN_EVENTS = 2  # transits that a periodic search needs
SAME_PERIOD = 0.01  # relative difference
FLARE_SNR = 5.0  # of a flare that counts as found
SIGNAL_KEYS = ("kind", "period", "epoch", "depth", "duration", "impact", "time", "amplitude",
               "decay")  # fmt: skip
_CARDS = {  # key: (end of the keyword, comment)
    "kind": ("KIND", "injected"),
    "period": ("PERI", "[d] period"),
    "epoch": ("EPOC", "[d] middle of a transit, as TIME"),
    "depth": ("DEPT", "depth at the middle"),
    "duration": ("DURA", "[d] first to last contact"),
    "impact": ("IMPA", "[stellar radii] impact parameter"),
    "time": ("TIME", "[d] peak of the flare, as TIME"),
    "amplitude": ("AMPL", "height of the flare"),
    "decay": ("DECA", "[d] decay to 1/e"),
    "ratio": ("RATI", "depth or height in this file over injected"),
    "ratio_err": ("RERR", "1 sigma of it"),
    "n_events": ("NEVE", "transits or flares that were observed"),
    "found": ("FOUN", "by a search that did not know of it"),
}


def recover(stamp, extraction, good, signals, *, search="tls"):
    """What became of the signals of a target.

    Parameters
    ----------
    stamp : Stamp
    extraction : Extraction
    good : (n_times,) bool array, times of good quality
    signals : list of dict, see `signals`
    search : str, 'bls', 'tls', or 'none'

    Returns
    -------
    list of dict : the signals with ``ratio`` (depth in the light curve over that injected; NaN
        where it cannot be measured), ``ratio_err``, ``n_events`` and ``found`` (bool; None where no
        search was made or could be)
    """
    usable = good & np.isfinite(extraction.flux)
    recovered = []
    for signal in signals:
        others = [other for other in signals if other is not signal]
        recovered.append(signal | _measured(stamp, extraction, usable, signal, others))
    periodic = [one for one in recovered if one["kind"] == TRANSIT]
    if search != "none" and any(one["n_events"] >= MIN_EVENTS for one in periodic):
        _search(extraction_to_lightcurve(stamp, extraction), periodic, search)
    return recovered


def _measured(stamp, extraction, usable, signal, others):
    time, flux = stamp.time[usable], extraction.flux[usable].astype(float)
    flux /= relative_flux(others, time, stamp.cadence)
    ratio, error, n_events = depth_ratio(time, flux, signal, stamp.cadence)
    found = None
    if signal["kind"] == FLARE and n_events:
        found = bool(ratio > FLARE_SNR * error)
    return {"ratio": ratio, "ratio_err": error, "n_events": n_events, "found": found}


def depth_ratio(time, flux, signal, cadence):
    """Depth of a signal in a light curve over that with which it was injected.

    Around each event the flux is a straight line times ``1 + ratio * profile``; the ratio is the
    same for all of them: linear least squares, errors from the residuals.

    Parameters
    ----------
    time : (n,) array, d
    flux : (n,) array
    signal : dict, see `signals`
    cadence : float, s

    Returns
    -------
    ratio, error : float, NaN without an event
    n_events : int
    """
    offset, number = from_event(signal, time)
    shape = profile(signal, time, cadence)
    inside = np.abs(shape) > FLOOR * np.abs(shape).max(initial=0)
    unit, low, high = (
        (signal["duration"], -WINDOW, WINDOW)
        if signal["kind"] == TRANSIT
        else (signal["decay"], *FLARE_WINDOW)
    )
    more = MIN_OUTSIDE * cadence / DAY
    near = (offset > low * unit - more) & (offset < high * unit + more)
    columns, values, used = [], [], []
    for event in np.unique(number[near & inside]):
        here = near & (number == event)
        outside = here & (shape == 0)
        level = np.median(flux[outside]) if outside.sum() >= MIN_OUTSIDE else np.nan
        if level > 0:
            used.append(here)
            values.append(flux[here] / level)
            columns.append(offset[here])
    if not used:
        return np.nan, np.nan, 0
    design = np.zeros((sum(map(len, values)), 1 + 2 * len(used)))
    design[:, 0] = np.concatenate([shape[here] for here in used])
    row = 0
    for k, days in enumerate(columns):
        rows = slice(row, row + len(days))
        design[rows, 1 + 2 * k], design[rows, 2 + 2 * k] = 1.0, days / unit
        row += len(days)
    values = np.concatenate(values)
    solution, *_ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(values) - design.shape[1]
    if freedom < 1:
        return float(solution[0]), np.nan, len(used)
    variance = np.sum((values - design @ solution) ** 2) / freedom
    covariance = np.linalg.pinv(design.T @ design)
    return float(solution[0]), float(np.sqrt(variance * covariance[0, 0])), len(used)


def _search(lc, signals, method):
    """Note of each transit whether a search finds it; None where it cannot be searched."""
    try:
        from ..transits import search_lightcurve

        flat = flatten(lc)
        planets = search_lightcurve(
            flat, method=method, max_planets=len(signals), threads=1
        ).planets
    except WrongUseError:  # too few samples, or a library that is not installed
        return
    for signal in signals:
        if signal["n_events"] >= MIN_EVENTS:
            signal["found"] = any(_is_same(planet, signal) for planet, _ in planets)


def _is_same(planet, signal):
    offset, _ = from_event(signal, np.array([planet.t0]))
    return bool(
        abs(planet.period / signal["period"] - 1) < SAME_PERIOD
        and abs(offset[0]) < 0.5 * signal["duration"]
    )


# --- in the header of a light curve


def cards(recovered):
    """Header cards of the signals of a light curve, ``INJ1KIND``, ``INJ1DEPT``, …

    Parameters
    ----------
    recovered : list of dict, of `recover`
    """
    made = [("INJECTED", True, "signals were put into the pixels: not real"),
            ("INJ_N", len(recovered), "number of signals")]  # fmt: skip
    for number, signal in enumerate(recovered, 1):
        for key, (end, comment) in _CARDS.items():
            value = signal.get(key)
            if isinstance(value, float) and not np.isfinite(value):
                value = None
            made.append((_keyword(number, end), value, comment))
    return made


def from_header(header):
    """The list of `recover`, from the header of a light curve."""
    signals = []
    for number in range(1, int(header.get("INJ_N", 0)) + 1):
        values = {key: header.get(_keyword(number, end)) for key, (end, _) in _CARDS.items()}
        signals.append(values | {"signal": number})
    return signals


def _keyword(number, end):
    return f"I{number:02d}_{end}"


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
