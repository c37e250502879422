"""`Extraction`: what every method makes of a `Stamp`; what the TODO-file says of it, measured on
times of good quality; and its picture: what was on the stamp, which pixels were summed, and what
came of it.

matplotlib is imported where it is used: most runs draw nothing.
"""

import math
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

from ..constants import MISSIONS
from ..files import atomic_write
from ..notebook import Shown
from ..status import STATUS

HOUR = 1 / 24  # d

# of the picture
STRETCH = 99.5  # percentile of the image that is drawn white
# percentiles that an axis holds, with a margin; points beyond are marked at its edge
SHOWN = 0.1, 99.9
MAX_WINDOW = 25  # pixels; larger stamps are shown around the mask alone
WINDOW_MARGIN = 4  # pixels around the mask
MAX_ELONGATION = 3  # height over width; pixels of taller windows are not drawn square
MARKER_SIZE = 2
INK, FAINT, MASK, STARS, ROWS = "#1b1b1b", "#b9b9b9", "#ff4d4d", "#37c2ff", "#c26a00"
NO_PIXELS = "#d8cfc0"
PLOT_HINT = "pictures need matplotlib: pip install 'photometry[plots]'"


@dataclass(frozen=True, repr=False)
class Extraction(Shown):
    """The light curve of one target, with what has to be known to judge it. The same for every
    method.
    """

    method: str  # name of the method in the registry
    flux: np.ndarray  # (n_times,) e-/s, background removed; NaN where it could not be measured
    flux_err: np.ndarray  # (n_times,) e-/s, 1 sigma
    background: np.ndarray  # (n_times,) e-/s, the background that was removed
    background_err: np.ndarray  # (n_times,) e-/s
    # (n_times, 2) detector column, row; pixels, integers at pixel centres, as the mission counts
    # them
    centroid: np.ndarray
    mask: np.ndarray  # (n_rows, n_columns) bool, pixels that the flux is from
    position_mask: np.ndarray  # (n_rows, n_columns) bool, pixels that the centroid is from
    pixel_quality: np.ndarray  # (n_times,) int, bits of flags.PIXEL_QUALITY
    # (n_times, 2) pixels, 1 sigma, of the centroid; None: the method does not know it
    centroid_err: np.ndarray | None = None
    status: STATUS = STATUS.OK
    # fraction of the flux in the mask that is from other stars; NaN where it is not known
    contamination: float = np.nan
    # the flux is the target's alone, whatever lies in the mask: other stars were fitted with it
    deblended: bool = False
    skip_targets: tuple = ()  # starid of other stars in the mask
    edge_flux: float = np.nan  # e-/s, flux of those pixels of the mask that lie on the stamp's edge
    stamp_resizes: int = 0
    errors: tuple = field(default=())  # messages that belong in the diagnostics

    def _shown(self):
        measured = self.flux[np.isfinite(self.flux)]
        median = f"{np.median(measured):.6g} e-/s" if len(measured) else "no flux"
        n_pixels = int(self.mask.sum())
        times = f"{len(measured)} of {len(self.flux)} times"
        line = f"{self.method}, {self.status.name}, {median}, {times}, {n_pixels} pixels"
        pairs = [
            ("method", self.method),
            ("status", self.status.name),
            ("median flux", median),
            ("measured", times),
            ("pixels in the mask", n_pixels),
            ("contamination", f"{self.contamination:.3g}"),
            ("stars in the mask", ", ".join(map(str, self.skip_targets)) or "the target"),
            *(("message", message) for message in self.errors),
        ]
        return "Extraction", line, pairs

    def lightcurve(self, stamp):
        """The light curve of this extraction, to detrend, search and plot.

        Parameters
        ----------
        stamp : Stamp, from which it was made; has times, quality and target

        Returns
        -------
        photometry.lightcurve.LightcurveArbitraryRaster, flux in e-/s; see
        `photometry.lightcurve.extraction_to_lightcurve`
        """
        from ..lightcurve.tasoc import extraction_to_lightcurve

        return extraction_to_lightcurve(stamp, self)


def diagnostics(stamp, extraction, good):
    """The ``details`` of a Result; a number that could not be measured is left out.

    Parameters
    ----------
    stamp : Stamp
    extraction : Extraction
    good : (n_times,) bool array, times of good quality

    Returns
    -------
    dict, see "Result" in the architecture
    """
    good = good & np.isfinite(extraction.flux)
    numbers = {
        **flux_metrics(stamp.time[good], extraction.flux[good], extraction.flux_err[good]),
        "contamination": extraction.contamination,
        "edge_flux": extraction.edge_flux,
    }
    details = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
    centroid = extraction.centroid[good]
    centroid = centroid[np.isfinite(centroid).all(axis=1)]
    if len(centroid):
        details["pos_centroid"] = tuple(map(float, np.median(centroid, axis=0)))
    n_rows, n_columns = stamp.shape
    return details | {
        "mask_size": int(extraction.mask.sum()),
        "stamp": (stamp.row, stamp.row + n_rows, stamp.column, stamp.column + n_columns),
        "stamp_resizes": extraction.stamp_resizes,
        "skip_targets": list(extraction.skip_targets),
        "errors": list(extraction.errors),
    }


def flux_metrics(time, flux, flux_err):
    """Metrics of a light curve without gaps in its values.

    Parameters
    ----------
    time : (n,) array, days
    flux, flux_err : (n,) arrays, e-/s

    Returns
    -------
    dict of mean_flux (median, e-/s), and of the flux relative to it: variance, rms_hour, ptp,
    variability; NaN where there are too few values
    """
    if len(flux) == 0:
        return {}
    mean_flux = np.median(flux)
    relative = flux / mean_flux - 1
    hours = np.floor((time - time[0]) / HOUR).astype(int)
    hours -= hours.min()
    counts = np.bincount(hours)
    hourly = np.bincount(hours, weights=relative)[counts > 0] / counts[counts > 0]
    return {
        "mean_flux": mean_flux,
        "variance": np.var(relative, ddof=1) if len(flux) > 1 else np.nan,
        "rms_hour": np.sqrt(np.mean(hourly**2)),
        "ptp": np.median(np.abs(np.diff(relative))) if len(flux) > 1 else np.nan,
        "variability": variability(time, relative, flux_err / abs(mean_flux)),
    }


def variability(time, relative, relative_err):
    """Standard deviation around a weighted cubic in time, in units of the median error.

    Parameters
    ----------
    time : (n,) array, days
    relative, relative_err : (n,) arrays, flux relative to its median, minus 1, and its error
    """
    usable = relative_err > 0
    if usable.sum() <= 4:  # a cubic goes through four points
        return np.nan
    time, relative, relative_err = time[usable], relative[usable], relative_err[usable]
    # within -1 and 1, where Legendre polynomials are nearly orthogonal: normal equations lose no
    # digits, and take a tenth of the time of a singular value decomposition
    x = (time - time[0]) / max((time[-1] - time[0]) / 2, np.finfo(float).tiny) - 1
    powers = np.polynomial.legendre.legvander(x, 3)
    weighted = powers / relative_err[:, None] ** 2
    cubic = np.linalg.lstsq(weighted.T @ powers, weighted.T @ relative, rcond=None)[0]
    return np.std(relative - powers @ cubic) / np.median(relative_err)


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
