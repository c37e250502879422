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
    if "folded_period" in lc.metadata:
        return f"time from the epoch (days), folded at {lc.metadata['folded_period']:.6g} d"
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


def plot_vectors(path, basis):
    """Draw basis vectors, the quiet stars that they are made of, and what each more predicts.

    Parameters
    ----------
    path : path of the picture; its ending is the format
    basis : `photometry.lightcurve.basis.BasisVectors`
    """
    axes = new_axes(None, figsize=(11, 1.3 * len(basis.vectors) + 3.2))
    figure = axes.figure
    axes.remove()
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.3 * len(basis.vectors), 3.0))
    rows = np.atleast_1d(top.subplots(len(basis.vectors), 1, sharex=True))
    for number, (panel, vector) in enumerate(zip(rows, basis.vectors, strict=True), 1):
        step = np.diff(basis.time, prepend=basis.time[0]) > 5 * np.median(np.diff(basis.time))
        panel.plot(np.where(step, np.nan, basis.time), vector, color=TESS, linewidth=0.9)
        kind = "adds flux" if basis.additive[number - 1] else "multiplies"
        panel.set_ylabel(f"{number}\n{kind}", rotation=0, ha="right", va="center")
        panel.set_yticks([])
        panel.margins(x=0.01)
        tidy(panel)
    rows[-1].set_xlabel("time (days)")
    rows[-1].ticklabel_format(useOffset=False)
    header = basis.header
    top.suptitle(
        f"{header.get('mission', '')} sector {header.get('sector', '')}, "
        f"{header.get('camera', '')}-{header.get('ccd', '')}: {len(basis.vectors)} basis vectors"
    )
    stars, prediction = bottom.subplots(1, 2)
    if len(basis.starid):
        first = basis.weights[:, 0]
        limit = np.percentile(np.abs(first), 95)
        dots = stars.scatter(
            basis.column, basis.row, c=first, s=6, cmap="RdBu_r", vmin=-limit, vmax=limit
        )
        bottom.colorbar(dots, ax=stars, label="weight of vector 1")
    stars.set(
        xlabel="column (pixels)", ylabel="row (pixels)", title=f"{len(basis.starid)} quiet stars"
    )
    if len(basis.prediction):
        prediction.semilogy(basis.prediction, "o-", color=TESS)
        prediction.axvline(len(basis.vectors), color=MODEL, label="taken")
        prediction.legend(frameon=False)
    prediction.set(xlabel="vectors", ylabel="variance of left-out stars\n(1: photon noise)")
    tidy(stars)
    tidy(prediction)
    from ..files import atomic_write

    with atomic_write(path, durable=False) as part:
        figure.savefig(part, dpi=110)
