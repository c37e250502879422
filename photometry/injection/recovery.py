"""How a signal came out: how deep, by least squares at the times at which it went in, and whether a
search finds it.
"""

import numpy as np

from ..constants import DAY
from ..errors import WrongUseError
from ..lightcurve.detrend import flatten
from ..lightcurve.tasoc import extraction_to_lightcurve
from .signals import FLARE, TRANSIT, from_event, profile, relative_flux

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
