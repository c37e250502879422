"""One picture per target: what was on the stamp, which pixels were summed, and what came of it.

matplotlib is imported where it is used: most runs draw nothing.
"""

from importlib.util import find_spec

import numpy as np

from ..constants import MISSIONS
from ..files import atomic_write

STRETCH = 99.5  # percentile of the image that is drawn white
SHOWN = (
    0.1,
    99.9,
)  # percentiles that an axis holds, with a margin; points beyond are marked at its edge
MAX_WINDOW = 25  # pixels; larger stamps are shown around the mask alone
WINDOW_MARGIN = 4  # pixels around the mask
MAX_ELONGATION = 3  # height over width; pixels of taller windows are not drawn square
MARKER_SIZE = 2
INK, FAINT, MASK, STARS, ROWS = "#1b1b1b", "#b9b9b9", "#ff4d4d", "#37c2ff", "#c26a00"
NO_PIXELS = "#d8cfc0"
HINT = "pictures need matplotlib: pip install 'photometry[plots]'"


def can_plot():
    """Whether pictures can be drawn: matplotlib is there."""
    return find_spec("matplotlib") is not None


def plot_target(path, stamp, extraction, good):
    """Draw a target and its light curve.

    Parameters
    ----------
    path : where to write; its ending is the format: png, pdf, svg
    stamp : Stamp with its sum image and catalogue
    extraction : Extraction
    good : (n_times,) bool array, times of good quality
    """
    # not pyplot: it would keep every figure and look for a display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.4), layout="constrained")
    axes = figure.subplot_mosaic(
        [["image", "flux"], ["image", "background"], ["image", "centroid"]],
        width_ratios=[1, 2],
        height_ratios=[3, 1, 1],
    )
    figure.suptitle(title(stamp, extraction), fontsize=11, color=INK)
    _draw_image(figure, axes["image"], stamp, extraction)
    flux = relative_flux(extraction.flux, good)
    _draw_series(axes["flux"], stamp.time, {INK: flux}, good, "relative flux [ppt]")
    _draw_series(
        axes["background"], stamp.time, {INK: extraction.background}, good, "background\n[e-/s]"
    )
    moved = 1000 * (extraction.centroid - median_of_good(extraction.centroid, good))
    movement = {INK: moved[:, 0], ROWS: moved[:, 1]}
    _draw_series(axes["centroid"], stamp.time, movement, good, "centroid\n[0.001 pixel]")
    for name in ("flux", "background"):
        axes[name].tick_params(labelbottom=False)
        axes[name].sharex(axes["centroid"])
    axes["centroid"].set_xlabel(f"BJD - {stamp.time_reference} [d]")
    with atomic_write(path, durable=False) as part:
        figure.savefig(part)


def title(stamp, extraction):
    """What is known of a target and its light curve, in one line."""
    mission, tmag = MISSIONS[stamp.mission], stamp.target.tmag
    magnitude = f"{mission.band} {tmag:.2f}" if np.isfinite(tmag) else f"{mission.band} unknown"
    where = f"{mission.period_name} {stamp.sector}, {stamp.cadence} s"
    pixels = int(extraction.mask.sum())
    return (
        f"{mission.label(stamp.target.starid)}, {magnitude}, {where}  |  {extraction.method}: "
        f"{extraction.status.name}, "
        f"{pixels} pixel{'s' * (pixels != 1)}, contamination {percentage(extraction.contamination)}"
    )


def percentage(fraction):
    """A fraction for people: ``'unknown'``, ``'0 %'``, ``'< 0.1 %'``, ``'12 %'``."""
    if not np.isfinite(fraction):
        return "unknown"
    if 0 < fraction < 0.001:
        return "< 0.1 %"
    return f"{100 * fraction:.2g} %"


def relative_flux(flux, good):
    """Flux against its median at good times, parts per thousand."""
    median = median_of_good(flux, good)
    return 1000 * (flux / median - 1) if np.isfinite(median) and median != 0 else flux


def median_of_good(values, good):
    """Median over the good times, of finite values; NaN without any."""
    finite = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
    chosen = values[good & finite]
    return np.median(chosen, axis=0) if len(chosen) else np.full(values.shape[1:], np.nan)


def window(mask):
    """The part of a stamp that is shown: all of it, or of a large one what is around the mask: two
    slices, rows and columns.
    """
    slices = []
    for axis, size in enumerate(mask.shape):
        inside = np.flatnonzero(mask.any(axis=1 - axis))
        if size <= MAX_WINDOW or not len(inside):
            slices.append(slice(0, size))
            continue
        first, last = inside[0] - WINDOW_MARGIN, inside[-1] + 1 + WINDOW_MARGIN
        short = max(0, MAX_WINDOW - (last - first))
        slices.append(slice(max(first - short // 2, 0), min(last + (short + 1) // 2, size)))
    return tuple(slices)


def _draw_image(figure, axes, stamp, extraction):
    from matplotlib.collections import LineCollection
    from matplotlib.colors import AsinhNorm
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rows, columns = window(extraction.mask)
    image = stamp.sumimage[rows, columns]
    first_row, first_column = stamp.row + rows.start - 0.5, stamp.column + columns.start - 0.5
    extent = (first_column, first_column + image.shape[1], first_row, first_row + image.shape[0])
    finite = image[np.isfinite(image)]
    low, high = (finite.min(), np.percentile(finite, STRETCH)) if len(finite) else (0.0, 1.0)
    noise = max(np.percentile(np.abs(finite - np.median(finite)), 30), 1e-3) if len(finite) else 1.0
    tall = image.shape[0] > MAX_ELONGATION * image.shape[1]
    wide = image.shape[1] > MAX_ELONGATION * image.shape[0]
    axes.set_facecolor(NO_PIXELS)  # shows through where no pixel was collected
    drawn = axes.imshow(
        image,
        origin="lower",
        extent=extent,
        cmap="gray",
        norm=AsinhNorm(noise, low, max(high, low + noise)),
        interpolation="nearest",
        aspect="auto" if tall or wide else "equal",
    )
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.8, pad=0.02)
    decades = 10.0 ** np.arange(np.floor(np.log10(max(high, 1))) - 2, np.log10(max(high, 1)) + 0.01)
    # a tick beyond the colours would make the bar longer than they are
    ticks = [tick for tick in (0, *decades) if low <= tick <= high]
    ticks = ticks if len(ticks) > 1 else [low, high]
    bar.set_ticks(ticks, labels=[f"{t:,.0f}" if t >= 10 else f"{t:.3g}" for t in ticks])
    bar.minorticks_off()
    bar.set_label("mean of the good times [e-/s]", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axes.add_collection(
        LineCollection(outline(stamp, extraction.mask), colors=MASK, lw=1 if tall or wide else 2)
    )
    stars = stamp.catalog
    is_target = np.asarray(stars["starid"]) == stamp.target.starid
    x, y = np.asarray(stars["column"]) + stamp.column, np.asarray(stars["row"]) + stamp.row
    tmag = np.nan_to_num(np.asarray(stars["tmag"], float), nan=10)
    sizes = np.clip(
        240 * 10 ** (-0.2 * (tmag - MISSIONS[stamp.mission].saturation_limit + 1)), 6, 300
    )
    axes.scatter(
        x[~is_target], y[~is_target], s=sizes[~is_target], edgecolors=STARS, facecolors="none"
    )
    axes.plot(x[is_target], y[is_target], "+", color=STARS, markersize=12, markeredgewidth=2)
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="column", anchor="N")
    axes.set_ylabel("row" + " (pixels not drawn square)" * (tall or wide))
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True, nbins=6)
        axis.get_major_formatter().set_useOffset(False)
    handles = [
        Line2D(
            [], [], color=STARS, marker="+", ls="", markersize=10, markeredgewidth=2, label="target"
        ),
        Line2D([], [], color=MASK, lw=2, label="pixels of the flux"),
    ]
    if not is_target.all():
        ring = {"color": STARS, "marker": "o", "markerfacecolor": "none", "ls": ""}
        handles.append(Line2D([], [], **ring, label="other stars, larger: brighter"))
    elif not stamp.has_catalog:
        handles.append(Line2D([], [], ls="", label="no star catalogue: others unknown"))
    if len(finite) < image.size:
        handles.append(Patch(facecolor=NO_PIXELS, label="no data"))
    handles += [
        _dot(Line2D, FAINT, "flagged times"),
        _dot(Line2D, MASK, "beyond the axis", "^"),
        _dot(Line2D, INK, "centroid: column"),
        _dot(Line2D, ROWS, "centroid: row"),
    ]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8, frameon=False,
        columnspacing=1.2, handletextpad=0.3,
    )  # fmt: skip


def outline(stamp, mask):
    """The border of a mask, pixel edge by pixel edge: list of ((column, row), (column, row))."""
    padded = np.pad(mask, 1).astype(int)
    # corner (0, 0) of the padded mask lies one pixel and a half from the centre of the stamp's
    # first
    right, up = stamp.column - 1.5, stamp.row - 1.5
    across = [
        ((right + column, up + row + 1), (right + column + 1, up + row + 1))
        for row, column in np.argwhere(np.diff(padded, axis=0))
    ]
    along = [
        ((right + column + 1, up + row), (right + column + 1, up + row + 1))
        for row, column in np.argwhere(np.diff(padded, axis=1))
    ]
    return across + along


def _draw_series(axes, time, series, good, label):
    """Draw values against time; ``series`` is a dict of colour -> values."""
    shown = np.concatenate([values[good & np.isfinite(values)] for values in series.values()])
    if len(shown):
        low, high = np.percentile(shown, SHOWN)
        margin = 0.3 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
    else:
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
    low, high = axes.get_ylim()
    for color, values in series.items():
        for chosen, ink in ((~good, FAINT), (good, color)):
            axes.plot(time[chosen], values[chosen], ".", color=ink, ms=MARKER_SIZE, rasterized=True)
        for beyond, edge, marker in ((values > high, high, "^"), (values < low, low, "v")):
            for chosen, ink in ((beyond & ~good, FAINT), (beyond & good, MASK)):
                if n := np.count_nonzero(chosen):  # an artist of no point would confuse the layout
                    at_edge = np.full(n, edge)
                    axes.plot(time[chosen], at_edge, marker, color=ink, ms=5, clip_on=False)
    axes.set_ylabel(label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_formatter().set_useOffset(False)
        axis.get_major_formatter().set_scientific(False)


def _dot(line, color, label, marker="."):
    return line([], [], color=color, marker=marker, ls="", label=label)
