"""``completeness``: which fraction of injected planets the searches of a loop found, as a table and
a picture.

The fraction of each cell has a binomial error: the interval of Wilson (1927, J. Am. Stat. Assoc.
22, 209), which is sensible also where all or none were found.
"""

import csv
import math
from dataclasses import dataclass

import numpy as np

from ...errors import WrongUseError
from ..tasktype import Setting, TaskType

ONE_SIGMA = 1.0  # half-width of the intervals, in standard deviations of a normal distribution


@dataclass(frozen=True)
class Cell:
    """Searches of one type at one value of x and of y.

    Attributes
    ----------
    search : str, type of the task
    x, y : float
    n, found : int, how many there were, how many found the planet
    low, high : float, interval of the fraction
    """

    search: str
    x: float
    y: float
    n: int
    found: int
    low: float
    high: float

    @property
    def fraction(self):
        """Fraction found; NaN without searches."""
        return self.found / self.n if self.n else float("nan")


def binomial_interval(found, n, sigma=ONE_SIGMA):
    """Interval of a fraction by Wilson's formula.

    Parameters
    ----------
    found, n : int
    sigma : float, half-width in standard deviations

    Returns
    -------
    low, high : float; (NaN, NaN) where n is 0
    """
    if n == 0:
        return float("nan"), float("nan")
    fraction = found / n
    weight = 1 + sigma**2 / n
    middle = (fraction + sigma**2 / (2 * n)) / weight
    half = sigma * math.sqrt(fraction * (1 - fraction) / n + sigma**2 / (4 * n**2)) / weight
    low = 0.0 if found == 0 else max(middle - half, 0.0)
    return low, 1.0 if found == n else min(middle + half, 1.0)


def completeness_table(rows, x, y):
    """Count outcomes by type, x and y.

    Parameters
    ----------
    rows : list of dict of ``type``, ``scope`` (loop variables) and ``metadata`` (results with
        ``outcome``)
    x, y : str, names of loop variables

    Returns
    -------
    list of Cell, sorted by type, x and y
    """
    counts = {}
    for row in rows:
        outcome = row["metadata"].get("outcome")
        if outcome not in ("PASS", "FAIL") or x not in row["scope"] or y not in row["scope"]:
            continue
        key = (row["type"], float(row["scope"][x]), float(row["scope"][y]))
        n, found = counts.get(key, (0, 0))
        counts[key] = (n + 1, found + (outcome == "PASS"))
    return [
        Cell(*key, n, found, *binomial_interval(found, n))
        for key, (n, found) in sorted(counts.items())
    ]


def marginal(cells, axis):
    """Cells of one search added up along the other axis: (values, fractions, low, high), arrays.

    Parameters
    ----------
    cells : list of Cell
    axis : 'x' or 'y'
    """
    totals = {}
    for cell in cells:
        n, found = totals.get(getattr(cell, axis), (0, 0))
        totals[getattr(cell, axis)] = (n + cell.n, found + cell.found)
    values = np.array(sorted(totals))
    rows = [
        (totals[v][1] / totals[v][0], *binomial_interval(totals[v][1], totals[v][0]))
        for v in values
    ]
    return values, *np.array(rows).T


class Completeness(TaskType):
    """Gets the results of what it waits for; writes the table as CSV and the picture as PNG."""

    collects = True
    outputs = ("picture",)
    optional_outputs = ("table",)
    settings = {  # noqa: RUF012
        "x": Setting("str", "loop variable of the horizontal axis", default="period"),
        "y": Setting("str", "loop variable of the vertical axis", default="radius"),
        "x_label": Setting("str", "label of the axis; none: the variable"),
        "y_label": Setting("str", "label of the axis; none: the variable"),
        "title": Setting("str", "title of the picture; none: the job"),
    }

    def run(self, task):
        x, y = task.setting("x"), task.setting("y")
        cells = completeness_table(task.collected, x, y)
        if not cells:
            raise WrongUseError(
                f"no search with the loop variables {x!r} and {y!r} among the results; name "
                "the loop in "
                "wait_for"
            )
        labels = (task.setting("x_label") or x, task.setting("y_label") or y)
        title = task.setting("title") or task.task["job_name"] or ""
        path = task.folder / "completeness.png"
        draw_completeness(path, cells, labels, title)
        task.add_output("picture", path)
        if task.has_output("table"):
            table = task.folder / "completeness.csv"
            write_table(table, cells, x, y)
            task.add_output("table", table)
        results = {"searches": sum(cell.n for cell in cells)}
        for search in {cell.search for cell in cells}:
            own = [cell for cell in cells if cell.search == search]
            n, found = sum(c.n for c in own), sum(c.found for c in own)
            low, high = binomial_interval(found, n)
            results |= {f"{search}_completeness": found / n, f"{search}_low": low}
            results |= {f"{search}_high": high, f"{search}_n": n}
        return results

    def qc(self, task, results):
        """Every search that passed is counted."""
        expected = sum(
            row["passed"] and row["metadata"].get("outcome") in ("PASS", "FAIL")
            for row in task.collected
        )
        if results["searches"] != expected:
            return [f"{results['searches']} searches counted, {expected} have an outcome"]
        return []


def write_table(path, cells, x, y):
    """Write cells as CSV.

    Parameters
    ----------
    path : path
    cells : list of Cell
    x, y : str, names of the variables
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["search", x, y, "n", "found", "completeness", "low", "high"])
        for c in cells:
            writer.writerow([c.search, c.x, c.y, c.n, c.found, c.fraction, c.low, c.high])


def draw_completeness(path, cells, labels, title=""):
    """Draw a map per search, and below it the fraction along each axis with its binomial error.

    Parameters
    ----------
    path : path of the PNG file
    cells : list of Cell
    labels : (str, str), of the axes
    title : str
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise WrongUseError(
            "completeness draws with matplotlib: pip install 'photometry[plots]'"
        ) from None

    searches = sorted({cell.search for cell in cells})
    figure = Figure(figsize=(4.6 * len(searches) + 1.0, 8.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(searches), squeeze=False, height_ratios=[1.35, 1])
    mesh = None
    for column, search in enumerate(searches):
        own = [cell for cell in cells if cell.search == search]
        mesh = _draw_map(axes[0, column], own, labels)
        axes[0, column].set_title(search.removeprefix("transit_search_").replace("_", " "))
    for row_axis, axis, label in ((axes[1, 0], "y", labels[1]), (axes[1, -1], "x", labels[0])):
        if row_axis is axes[1, 0] and len(searches) == 1 and axis == "x":
            continue
        _draw_marginals(row_axis, cells, searches, axis, label)
    for spare in axes[1, 1:-1]:
        spare.axis("off")
    figure.colorbar(mesh, ax=axes[0, :], label="fraction found", shrink=0.9)
    n = sum(cell.n for cell in cells)
    figure.suptitle(f"{title}   {n} searches".strip())
    figure.savefig(path, dpi=110)


def _draw_map(axes, cells, labels):
    xs, ys = (np.array(sorted({getattr(cell, axis) for cell in cells})) for axis in "xy")
    fractions = np.full((len(ys), len(xs)), np.nan)
    for cell in cells:
        fractions[np.searchsorted(ys, cell.y), np.searchsorted(xs, cell.x)] = cell.fraction
    mesh = axes.pcolormesh(
        _edges(xs),
        _edges(ys),
        fractions,
        vmin=0,
        vmax=1,
        cmap="cividis",
        edgecolors="white",
        linewidth=0.4,
    )
    if len(xs) * len(ys) <= 150:
        for cell in cells:
            half = 0.5 * (cell.high - cell.low)
            text = f"{cell.fraction:.2f}\n±{half:.2f}".replace("0.", ".")
            colour = "black" if cell.fraction > 0.6 else "white"
            axes.text(cell.x, cell.y, text, ha="center", va="center", fontsize=6, color=colour)
    _scale(axes.set_xscale, xs)
    _scale(axes.set_yscale, ys)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    _plain_ticks(axes.xaxis, xs)
    _plain_ticks(axes.yaxis, ys)
    return mesh


def _draw_marginals(axes, cells, searches, axis, label):
    for number, search in enumerate(searches):
        own = [cell for cell in cells if cell.search == search]
        values, fraction, low, high = marginal(own, axis)
        error = np.clip([fraction - low, high - fraction], 0, None)
        shown = values * (1 + 0.012 * (number - 0.5 * (len(searches) - 1)))
        name = search.removeprefix("transit_search_").replace("_", " ")
        axes.errorbar(shown, fraction, error, fmt="o-", ms=4, lw=1, capsize=2, label=name)
    _scale(axes.set_xscale, values)
    _plain_ticks(axes.xaxis, values)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(label)
    axes.set_ylabel("fraction found")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


def _is_logarithmic(values):
    return len(values) > 1 and values[0] > 0 and values[-1] / values[0] >= 4


def _scale(setter, values):
    if _is_logarithmic(values):
        setter("log")


def _edges(values):
    """Edges of cells around values, half-way between neighbours on the axis' scale."""
    if len(values) == 1:
        return np.array([0.9 * values[0], 1.1 * values[0]]) if values[0] else np.array([-0.5, 0.5])
    scaled = np.log(values) if _is_logarithmic(values) else values
    middle = 0.5 * (scaled[1:] + scaled[:-1])
    edges = np.concatenate([[2 * scaled[0] - middle[0]], middle, [2 * scaled[-1] - middle[-1]]])
    return np.exp(edges) if _is_logarithmic(values) else edges


def _plain_ticks(axis, values):
    """Ticks at the values themselves, as plain numbers; every second one where there are many."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(values[:: 1 if len(values) <= 6 else 2]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
