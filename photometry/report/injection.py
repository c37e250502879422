"""The section of a run's page on what was injected: how much of it is found, and how deep it comes
out, over magnitude and method.
"""

import itertools
import math

import numpy as np

from ..injection import TRUTH
from ..injection.recovery import MIN_EVENTS, recovered
from .html import figure, figures, ink, table

PALETTE = ("#33658a", "#d1495b", "#e0a030", "#3a7d44", "#7b5ea7", "#9aa5b0")
KINDS = {"transit": "transits", "flare": "flares"}
OF_A_MASK = ("aperture", "halo")  # methods whose flux is that of all stars in a mask
WORST = 3.0  # depth ratios beyond are drawn at the edge
NOTE = (
    "Transits and flares of known depth were put into the pixels, and measured like any other. "
    f"Found: by a search that does not know of them; transits that were observed at least "
    f"{MIN_EVENTS} times count, and targets that failed count as lost. Depth ratio: depth in the "
    "light curve over depth put in; it is below one where other stars' light is in the mask, which "
    "CROWDSAP of the light curve corrects for as far as the catalogue knows of them."
)


def injection_folders(folder):
    """The folder itself and those below it that hold an injection, in the order of their names."""
    folders = [folder, *sorted(path for path in folder.glob("injected*") if path.is_dir())]
    return [path for path in folders if (path / TRUTH).is_file()]


def add_injections(page, folder):
    """Add the section to a page, if there are injections in a folder.

    Parameters
    ----------
    page : html.Page
    folder : Path, of a TODO-file
    """
    from astropy.table import vstack

    tables = [found for path in injection_folders(folder) if len(found := recovered(path))]
    if not tables:
        return
    signals = vstack(tables, metadata_conflicts="silent")
    signals = signals[signals["status"] != "SKIPPED"]
    parts = []
    for kind, name in KINDS.items():
        chosen = signals[signals["kind"] == kind]
        if len(chosen):
            parts += [figures(_completeness(chosen, name), _ratios(chosen, name))]
    rows = [row for kind in KINDS for row in summary(signals[signals["kind"] == kind])]
    page.section("Injection and recovery", *parts, table(rows), note=NOTE)


def summary(signals):
    """Rows of a table: each method in each magnitude, and in all of them.

    Parameters
    ----------
    signals : astropy Table of `injection.recovery.collect`, of one kind

    Returns
    -------
    list of dict
    """
    rows = []
    edges = magnitude_edges(signals["tmag"])
    for method in methods(signals):
        own = signals[signals["method"] == method]
        for low, high in [*itertools.pairwise(edges), (None, None)]:
            inside = own if low is None else own[(own["tmag"] >= low) & (own["tmag"] < high)]
            if len(inside) and not (low is None and len(edges) == 2):
                rows.append(_row(inside, method, low, high))
    return rows


def _row(signals, method, low, high):
    n_found, n = counts(signals)
    share, below, above = binomial(n_found, n)
    measured = signals[np.isfinite(signals["ratio"]) & (signals["ratio_err"] > 0)]
    ratio, error = _mean(measured["ratio"], measured["ratio_err"])
    crowding = measured["crowding"] if method in OF_A_MASK else np.full(len(measured), np.nan)
    corrected, _ = _mean(measured["ratio"] / crowding, measured["ratio_err"] / crowding)
    return {
        "signal": str(signals["kind"][0]),
        "method": method,
        "magnitude": "all" if low is None else f"{low:g} to {high:g}",
        "injected": len(signals),
        "can be found": n,
        "found": n_found,
        "completeness": None if not n else f"{share:.2f} ({below:.2f} to {above:.2f})",
        "measured": len(measured),
        "depth ratio": None if not len(measured) else f"{ratio:.3f} ± {error:.3f}",
        "with CROWDSAP": None if not np.isfinite(corrected) else f"{corrected:.3f}",
    }


def methods(signals):
    """The methods of some signals; those of failed targets are 'none'."""
    return sorted({str(method) for method in signals["method"]})


def counts(signals):
    """How many of some signals were found, and how many could have been."""
    lost = signals["status"] == "ERROR"
    searched = (signals["found"] >= 0) | lost
    return int(np.sum(signals["found"] == 1)), int(np.sum(searched))


def binomial(n_found, n):
    """Fraction found with its interval of 68 % (Wilson 1927, J. Am. Stat. Assoc. 22, 209).

    Parameters
    ----------
    n_found, n : int

    Returns
    -------
    fraction, low, high : float, NaN of none
    """
    if not n:
        return math.nan, math.nan, math.nan
    fraction = n_found / n
    middle = (fraction + 0.5 / n) / (1 + 1 / n)
    half = math.sqrt(fraction * (1 - fraction) / n + 0.25 / n**2) / (1 + 1 / n)
    return fraction, min(max(middle - half, 0.0), fraction), max(min(middle + half, 1.0), fraction)


def _mean(values, errors):
    """Weighted mean and its error, which is at least that of the scatter."""
    good = np.isfinite(values) & np.isfinite(errors)
    values, errors = np.asarray(values)[good], np.asarray(errors)[good]
    if not len(values):
        return math.nan, math.nan
    weight = errors**-2.0
    mean, error = np.average(values, weights=weight), 1 / math.sqrt(weight.sum())
    if len(values) > 1:
        chi2 = np.sum(weight * (values - mean) ** 2) / (len(values) - 1)
        error *= math.sqrt(max(chi2, 1.0))
    return float(mean), float(error)


def magnitude_edges(tmag):
    """Whole magnitudes around those of some stars, (n + 1,) array; at most about a dozen bins."""
    known = np.asarray(tmag)[np.isfinite(tmag)]
    if not len(known):
        return np.array([-np.inf, np.inf])
    low, high = math.floor(known.min()), math.floor(known.max()) + 1
    step = max(1, round((high - low) / 12))
    return np.arange(low, high + step, step).astype(float)


def _completeness(signals, name):
    """Fraction found against magnitude, with binomial errors."""
    from matplotlib.figure import Figure

    edges = magnitude_edges(signals["tmag"])
    with ink():
        fig = Figure(figsize=(5.5, 4), layout="constrained")
        axes = fig.subplots()
        for number, method in enumerate(methods(signals)):
            own = signals[signals["method"] == method]
            shift = 0.06 * (number - 0.5 * (len(methods(signals)) - 1))
            points = []
            for low, high in itertools.pairwise(edges):
                found = counts(own[(own["tmag"] >= low) & (own["tmag"] < high)])
                if found[1]:
                    points.append((0.5 * (low + high) + shift, *binomial(*found)))
            if points:
                x, y, below, above = np.array(points).T
                axes.errorbar(
                    x, y, [y - below, above - y], fmt="o-", capsize=3, label=method,
                    color=PALETTE[number % len(PALETTE)],
                )  # fmt: skip
        axes.set(xlabel="magnitude", ylabel=f"{name} found", ylim=(-0.03, 1.03))
        if axes.has_data():
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "not searched", ha="center", transform=axes.transAxes)
        return figure(fig, f"completeness of {name} against magnitude")


def _ratios(signals, name):
    """Depth ratio of each signal, and its mean in each magnitude."""
    from matplotlib.figure import Figure

    edges = magnitude_edges(signals["tmag"])
    with ink():
        fig = Figure(figsize=(5.5, 4), layout="constrained")
        axes = fig.subplots()
        axes.axhline(1, color="#9aa5b0", lw=1)
        shown = []
        for number, method in enumerate(methods(signals)):
            own = signals[(signals["method"] == method) & np.isfinite(signals["ratio"])]
            if not len(own):
                continue
            colour = PALETTE[number % len(PALETTE)]
            ratio = np.clip(own["ratio"], 2 - WORST, WORST)
            axes.scatter(own["tmag"], ratio, s=6, alpha=0.4, color=colour, rasterized=True)
            points = []
            for low, high in itertools.pairwise(edges):
                inside = own[(own["tmag"] >= low) & (own["tmag"] < high)]
                mean, error = _mean(inside["ratio"], inside["ratio_err"])
                if np.isfinite(mean) and len(inside) > 1:
                    points.append((0.5 * (low + high), mean, error))
            if points:
                x, y, error = np.array(points).T
                axes.errorbar(x, y, error, fmt="o-", capsize=3, color=colour, label=method)
            else:
                axes.plot([], [], "o", color=colour, label=method)
            shown.append(np.abs(ratio - 1))
        reach = min(max(0.1, 1.2 * np.percentile(np.concatenate(shown or [[0.1]]), 95)), WORST - 1)
        axes.set(xlabel="magnitude", ylabel="depth in the light curve / injected")
        axes.set_ylim(1 - reach, 1 + reach)
        if shown:
            axes.legend(frameon=False)
        return figure(fig, f"depth ratio of {name}; points beyond the axis are left out")
