"""One picture per target: what was on the stamp, which pixels were summed, and what came of it.

matplotlib is imported where it is used: most runs draw nothing.
"""

import numpy as np

from ..constants import MISSIONS
from ..files import atomic_write

STRETCH = 99.5  # percentile of the image that is drawn white
PERIOD = {"TESS": "sector", "Kepler": "quarter", "K2": "campaign"}
INK, FAINT, MASK, STARS = "#1b1b1b", "#b9b9b9", "#ff4d4d", "#37c2ff"


def plot_target(path, stamp, extraction, good):
    """Draw a target and its light curve to a PNG file.

    Parameters
    ----------
    path : where to write
    stamp : Stamp with its sum image and catalogue
    extraction : Extraction
    good : (n_times,) bool array, times of good quality
    """
    from matplotlib.backends.backend_agg import (
        FigureCanvasAgg,
    )  # not pyplot: it would keep every figure and look for a display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.8), layout="constrained")
    axes = figure.subplot_mosaic(
        [["image", "flux"], ["image", "background"]], width_ratios=[1, 2], height_ratios=[3, 1]
    )
    figure.suptitle(_title(stamp, extraction), fontsize=11, color=INK)
    _draw_image(axes["image"], stamp, extraction)
    _draw_series(
        axes["flux"], stamp.time, _relative(extraction.flux, good), good, "relative flux [ppt]"
    )
    _draw_series(axes["background"], stamp.time, extraction.background, good, "background\n[e-/s]")
    axes["flux"].tick_params(labelbottom=False)
    axes["background"].sharex(axes["flux"])
    axes["background"].set_xlabel(f"BJD - {stamp.time_reference} [d]")
    with atomic_write(path, durable=False) as part:
        FigureCanvasAgg(figure).print_png(part)


def _title(stamp, extraction):
    star = stamp.target
    return (
        f"{MISSIONS[stamp.mission].label(star.starid)}, mag {star.tmag:.2f}, {PERIOD[stamp.mission]} {stamp.sector}, {stamp.cadence} s  |  "
        f"{extraction.method}: {extraction.status.name}, {extraction.mask.sum()} pixels, "
        f"contamination {100 * extraction.contamination:.2g} %"
    )


def _draw_image(axes, stamp, extraction):
    first_column, first_row = stamp.column - 0.5, stamp.row - 0.5
    extent = (first_column, first_column + stamp.shape[1], first_row, first_row + stamp.shape[0])
    axes.set_facecolor("#d8cfc0")  # shows through where no pixel was collected
    image = np.arcsinh(stamp.sumimage / _noise_scale(stamp.sumimage))
    axes.imshow(
        image,
        origin="lower",
        extent=extent,
        cmap="gray",
        vmax=np.nanpercentile(image, STRETCH),
        interpolation="nearest",
    )
    _outline(axes, stamp, extraction.mask)
    stars = stamp.catalog
    is_target = np.asarray(stars["starid"]) == stamp.target.starid
    columns, rows = np.asarray(stars["column"]) + stamp.column, np.asarray(stars["row"]) + stamp.row
    sizes = np.clip(
        240 * 10 ** (-0.2 * (np.nan_to_num(np.asarray(stars["tmag"]), nan=10) - 6)), 6, 300
    )
    axes.scatter(
        columns[~is_target],
        rows[~is_target],
        s=sizes[~is_target],
        edgecolors=STARS,
        facecolors="none",
    )
    axes.plot(
        columns[is_target], rows[is_target], "+", color=STARS, markersize=12, markeredgewidth=2
    )
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="column", ylabel="row")
    axes.locator_params(
        axis="x", integer=True, nbins=2 if stamp.shape[0] > 3 * stamp.shape[1] else 6
    )


def _outline(axes, stamp, mask):
    """Draw the border of a mask, pixel edge by pixel edge."""
    padded = np.pad(mask, 1).astype(int)
    for row, column in np.argwhere(np.diff(padded, axis=0)):  # edges between a row and the next
        axes.plot(
            stamp.column + column - np.array([1.5, 0.5]),
            [stamp.row + row - 0.5] * 2,
            color=MASK,
            lw=2,
            clip_on=False,
        )
    for row, column in np.argwhere(np.diff(padded, axis=1)):
        axes.plot(
            [stamp.column + column - 0.5] * 2,
            stamp.row + row - np.array([1.5, 0.5]),
            color=MASK,
            lw=2,
            clip_on=False,
        )


def _draw_series(axes, time, values, good, label):
    axes.plot(
        time[~good], values[~good], ".", color=FAINT, markersize=2, rasterized=True, label="flagged"
    )
    axes.plot(time[good], values[good], ".", color=INK, markersize=2, rasterized=True)
    shown = values[good & np.isfinite(values)]
    if len(shown):
        low, high = np.percentile(shown, [0.1, 99.9])
        margin = 0.3 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
    axes.set_ylabel(label)


def _relative(flux, good):
    measured = flux[good & np.isfinite(flux)]
    return 1000 * (flux / np.median(measured) - 1) if len(measured) else flux


def _noise_scale(image):
    """A flux of the order of the faintest structures of an image, e-/s."""
    return max(np.nanpercentile(np.abs(image - np.nanmedian(image)), 30), 1e-3)
