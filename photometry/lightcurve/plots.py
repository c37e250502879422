"""A light curve to look at. Needs matplotlib (extra ``plots``)."""

import numpy as np

from ..errors import WrongUseError

# colours: good samples, flagged samples, trends and models
TESS, BAD, MODEL = "#33658a", "#c9c9c9", "#d1495b"
OUTLIERS = 5  # samples at either end of the flux that need not be in the picture


def new_axes(axes=None, **figure_options):
    """``axes``, or those of a new figure that belongs to no window."""
    if axes is not None:
        return axes
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise WrongUseError("plots need matplotlib: pip install 'photometry[plots]'") from error
    return Figure(layout="constrained", **figure_options).subplots()


def tidy(axes):
    """Ticks inward, no frame above and at the right"""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(direction="in")


def plot_lightcurve(lc, axes=None, *, trend=None, transits=None):
    """Flux against time.

    Parameters
    ----------
    lc : Lightcurve
    axes : matplotlib axes, optional; a new figure by default
    trend : (n_samples,) array, optional, drawn as a line
    transits : sequence of mid-transit times [d], optional, marked below the curve

    Returns
    -------
    matplotlib axes; ``axes.figure.savefig(path)`` writes it
    """
    axes = new_axes(axes, figsize=(10, 3.5))
    times, good = lc.get_times(), lc.good()
    points = {
        "marker": ".",
        "linestyle": "none",
        "markersize": 3 if len(lc) < 20000 else 1.5,
        "rasterized": True,
    }
    low, high = _limits(lc.fluxes[good])
    axes.plot(
        times[~good],
        np.clip(lc.fluxes[~good], low, high),
        color=BAD,
        label="flagged",
        zorder=1,
        **points,
    )
    axes.plot(times[good], lc.fluxes[good], color=TESS, label="good", zorder=2, **points)
    if trend is not None:
        order = np.argsort(times)
        axes.plot(times[order], trend[order], color=MODEL, linewidth=1.2, label="trend", zorder=3)
    if transits is not None:
        axes.plot(
            transits,
            np.full(len(transits), low),
            "^",
            color=MODEL,
            markersize=5,
            label="transits",
            clip_on=False,
        )
    axes.set(
        xlabel=time_label(lc),
        ylabel=flux_label(lc),
        title=lc.metadata.get("object", lc.metadata.get("filename", "")),
    )
    axes.set_ylim(low, high)
    axes.margins(x=0.01)
    axes.ticklabel_format(useOffset=False)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        frameon=False,
        ncols=4,
        markerscale=2,
        fontsize="small",
        borderpad=0,
    )
    tidy(axes)
    return axes


def time_label(lc):
    """Label of the time axis, with the zero point if it is known"""
    reference = lc.metadata.get("time_reference")
    return f"time (BJD - {reference:.0f}, days)" if reference else "time (days)"


def flux_label(lc):
    """Label of the flux axis, with the unit if it is known"""
    unit = lc.metadata.get("flux_unit")
    return f"flux ({unit})" if unit and unit != "relative" else "relative flux"


def _limits(fluxes):
    """Vertical limits that hold all of the flux, transits too, but not a few lone outliers"""
    fluxes = np.sort(fluxes[np.isfinite(fluxes)])
    if fluxes.size == 0:
        return 0.0, 1.0
    spare = min(OUTLIERS, fluxes.size // 100)
    low, high = fluxes[spare], fluxes[-1 - spare]
    margin = 0.08 * (high - low) or 1e-3 * abs(high) or 1.0
    return low - margin, high + margin
