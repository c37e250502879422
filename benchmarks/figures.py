"""What all benchmarks share: figures with their limit, as lines to read and as JSON for
`run_all.py`; plots log-log.
"""

import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str
    limit: str = ""  # what bounds it, or what it stands beside, in words
    bound: float | None = None  # the same as a number in the same unit, where there is one
    aim: str = ""  # what was aimed at

    @property
    def ratio(self):
        """Of the figure to its bound; None where there is none."""
        return None if not self.bound else self.value / self.bound


@dataclass
class Figures:
    """The figures of one benchmark, told as they come."""

    command: str  # how to get them again
    found: list = field(default_factory=list)
    plots: list = field(default_factory=list)  # (file name, what it shows)

    def add(self, name, value, unit, **others):
        """Note a figure and print it; returns its value."""
        figure = Figure(name, float(value), unit, **others)
        self.found.append(figure)
        ratio = (
            ""
            if figure.ratio is None
            else f"  {figure.ratio:7.2f} of {figure.limit} ({number(figure.bound)})"
        )
        print(
            f"{name:64} {number(value):>10} "
            f"{unit:12}{ratio}{'  aim: ' + figure.aim if figure.aim else ''}",
            flush=True,
        )
        return value

    def write(self, path):
        """Write all of them as JSON; nothing where ``path`` is None."""
        if path is not None:
            content = {
                "command": self.command,
                "load": os.getloadavg()[0],
                "cores": os.cpu_count(),
                "figures": [asdict(figure) | {"ratio": figure.ratio} for figure in self.found],
                "plots": self.plots,
            }
            Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def number(value):
    """A figure with three digits that count, or more where it is larger."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def best(measure, rounds=3):
    """The largest of some rounds: other users of the machine only ever make it slower."""
    return max(measure() for _ in range(rounds))


def print_load():
    """Say how busy the machine is: what else runs takes its share."""
    print(
        f"# {time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f} before it began"
    )


def slope(sizes, costs):
    """Of log(cost) against log(size): 1 is proportional, 0 is constant."""
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def plot_costs(path, curves, *, xlabel, ylabel, title, ideals=()):
    """Costs against sizes, log-log, with the slope of each in the legend.

    Parameters
    ----------
    curves : dict, label -> (sizes, costs)
    ideals : labels drawn as dashed lines without a slope
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.6), layout="constrained")
    for label, (sizes, costs) in curves.items():
        if label in ideals:
            axes.loglog(sizes, costs, "--", color="0.5", lw=1, label=label)
        else:
            axes.loglog(
                sizes, costs, "o-", ms=4, lw=1.4, label=f"{label}: slope {slope(sizes, costs):+.2f}"
            )
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(which="major", alpha=0.3)
    axes.legend(fontsize=8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
