"""Pictures of a search: periodogram, folded transit with its model, page of a vetting."""

import textwrap

import numpy as np

from ..lightcurve.views import BAD, MODEL, TESS, new_axes, plot_lightcurve, tidy
from .dips import phase_scan
from .planets import good_samples

SHOWN = 3.0  # durations at either side of the transit
BINS = 60
HARMONICS = (0.5, 2.0)
TICKS = [m * 10.0**e for e in range(-2, 4) for m in (1, 2, 5)]  # d


def plot_periodogram(periodogram, axes=None, *, signal=None):
    """Power against period, with the period found and its harmonics marked.

    Parameters
    ----------
    periodogram : TransitPeriodogram or BoxPeriodogram
    axes : matplotlib axes, optional
    signal : TransitSignal, optional

    Returns
    -------
    matplotlib axes
    """
    axes = new_axes(axes, figsize=(10, 3.5))
    order = np.argsort(periodogram.period)
    period, power = periodogram.period[order], periodogram.power[order]
    if signal is not None and np.isfinite(signal.period):
        axes.axvline(signal.period, color=MODEL, alpha=0.3, linewidth=6, zorder=0)
        for ratio in HARMONICS:
            if period[0] < ratio * signal.period < period[-1]:
                axes.axvline(
                    ratio * signal.period,
                    color=MODEL,
                    alpha=0.5,
                    linewidth=1,
                    linestyle=":",
                    zorder=0,
                )
        title = f"period {signal.period:.5g} d, SDE {signal.sde:.1f}, S/N {signal.snr:.1f}"
        others = [period for period in signal.possible_periods if period != signal.period]
        if others:
            title += (
                f"\nthe gaps allow {', '.join(f'{period:.5g}' for period in others[:3])} d as well"
            )
        axes.set_title(title)
    axes.plot(period, power, color=TESS, linewidth=0.7, rasterized=True)
    axes.set(
        xscale="log",
        xlabel="period (days)",
        ylabel="power (SDE)" if hasattr(periodogram, "sde") else "power (log likelihood)",
    )
    axes.set_xlim(period[0], period[-1])
    axes.set_xticks([x for x in TICKS if period[0] <= x <= period[-1]], minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    tidy(axes)
    return axes


def plot_folded(lc, signal, axes=None):
    """The light curve around the transit, folded, with means and the fitted model.

    Parameters
    ----------
    lc : Lightcurve
    signal : TransitSignal
    axes : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
    """
    axes = new_axes(axes, figsize=(5, 4))
    times, flux, _ = good_samples(lc)
    hours = 24 * ((times - signal.t0 + 0.5 * signal.period) % signal.period - 0.5 * signal.period)
    shown = 24 * min(SHOWN * signal.duration, 0.5 * signal.period)
    near = np.abs(hours) <= shown
    centre, mean, error = _bins(hours[near], flux[near], shown)
    axes.plot(
        hours[near],
        1e3 * (flux[near] - 1),
        ".",
        color=BAD,
        markersize=2,
        rasterized=True,
        label="samples",
    )
    axes.errorbar(
        centre,
        1e3 * (mean - 1),
        1e3 * error,
        fmt="o",
        color=TESS,
        markersize=4,
        linewidth=1,
        label="means",
    )
    phase = np.linspace(-shown, shown, 601)
    axes.plot(
        phase,
        1e3 * (signal.model(signal.t0 + phase / 24) - 1),
        color=MODEL,
        linewidth=1.8,
        label="model",
        zorder=5,
    )
    depth = 1e3 * signal.depth
    scatter = 1e3 * np.percentile(np.abs(flux[near] - np.median(flux[near])), 90)
    axes.set_ylim(-depth - max(scatter, 0.3 * depth), max(scatter, 0.3 * depth) * 1.3)
    axes.set(
        xlabel="time from mid-transit (hours)",
        ylabel="relative flux - 1 (1e-3)",
        xlim=(-shown, shown),
    )
    axes.set_title(
        f"{1e6 * signal.depth:.0f} ± {1e6 * signal.depth_err:.0f} ppm, {24 * signal.duration:.2f} "
        f"h, {signal.transit_count} transits"
    )
    axes.legend(loc="lower left", frameon=False, fontsize="small", markerscale=1.5)
    tidy(axes)
    return axes


def plot_search(lc, signal, periodogram):
    """One picture of a search: light curve, periodogram, folded transit.

    Parameters
    ----------
    lc : Lightcurve, as it was searched
    signal : TransitSignal
    periodogram : TransitPeriodogram or BoxPeriodogram

    Returns
    -------
    matplotlib Figure
    """
    figure = new_axes(figsize=(11, 7)).figure
    figure.clear()
    above, left, right = figure.subplot_mosaic(
        [["lc", "lc"], ["power", "folded"]], width_ratios=[1.6, 1]
    ).values()
    times = lc.get_times()
    has_signal = np.isfinite(signal.period)
    plot_lightcurve(
        lc, above, transits=signal.times(times.min(), times.max()) if has_signal else None
    )
    plot_periodogram(periodogram, left, signal=signal if has_signal else None)
    if has_signal:
        plot_folded(lc, signal, right)
    else:
        right.text(
            0.5, 0.5, "no transit found", ha="center", va="center", transform=right.transAxes
        )
        right.set_axis_off()
    return figure


def plot_vetting(lc, vetting):
    """One page of a vetting: what is tested, seen, and the numbers.

    Parameters
    ----------
    lc : Lightcurve, as it was vetted
    vetting : Vetting

    Returns
    -------
    matplotlib Figure
    """
    signal = vetting.right
    figure = new_axes(figsize=(11, 8.5)).figure
    figure.clear()
    panels = figure.subplot_mosaic(
        [["folded", "odd", "text"], ["phase", "phase", "text"], ["events", "events", "text"]],
        width_ratios=[1, 1, 0.95],
    )
    plot_folded(lc, signal, panels["folded"])
    times, flux, _ = good_samples(lc)
    _plot_odd_even(times, flux, signal, panels["odd"])
    _plot_phases(times, flux, signal, panels["phase"])
    _plot_events(vetting, panels["events"])
    panels["text"].set_axis_off()
    words = [f"{vetting.verdict.value.upper()}", *textwrap.wrap(vetting.reason, 42), ""]
    words.append(f"period {signal.period:.6f} d, t0 {signal.t0:.4f}")
    if abs(signal.period / vetting.signal.period - 1) > 1e-3:
        words.append(f"(given: {vetting.signal.period:.6f} d)")
    words += [f"also possible: {period:.5f} d" for period in signal.possible_periods[1:4]]
    words.append("")
    for check in vetting.checks:
        state = {True: "passed", False: "FAILED", None: "unknown"}[check.passed]
        value = "" if check.passed is None else f"{check.value:9.3g} / {check.limit:.3g}"
        words.append(f"{check.name:13}{state:8}{value}")
    panels["text"].text(
        0, 1, "\n".join(words), va="top", family="monospace", fontsize=8.5,
        transform=panels["text"].transAxes,
    )  # fmt: skip
    title = lc.metadata.get("object", lc.metadata.get("filename", ""))
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def _plot_odd_even(times, flux, signal, axes):
    """Means of odd and of even transits"""
    number = np.rint((times - signal.t0) / signal.period).astype(int)
    shown = min(2 * signal.duration, 0.5 * signal.period)
    phase = signal.phase(times)
    for parity, colour, label in ((0, TESS, "even"), (1, MODEL, "odd")):
        own = (np.abs(phase) <= shown) & (number % 2 == parity)
        if own.sum() < 5 * BINS:
            axes.plot(
                24 * phase[own], 1e3 * (flux[own] - 1), ".", color=colour, markersize=4, label=label
            )
            continue
        centre, mean, error = _bins(24 * phase[own], flux[own], 24 * shown)
        axes.errorbar(
            centre, 1e3 * (mean - 1), 1e3 * error, fmt="o", color=colour, markersize=3, linewidth=1,
            label=label,
        )  # fmt: skip
    axes.set(xlabel="time from mid-transit (hours)", title="odd and even transits")
    axes.legend(frameon=False, fontsize="small", loc="lower left")
    tidy(axes)


def _plot_phases(times, flux, signal, axes):
    """Depth of a dip at each phase"""
    phases, depth, _error = phase_scan(times, flux, np.ones(len(times)), signal)
    phase = phases / signal.period % 1
    order = np.argsort(phase)
    axes.plot(phase[order], 1e6 * depth[order], color=TESS, linewidth=0.8)
    axes.axhline(0, color=BAD, linewidth=0.8, zorder=0)
    far = np.abs(phases) > 1.5 * signal.duration
    if np.isfinite(depth[far]).any():
        low, high = np.nanmin(1e6 * depth[far]), np.nanmax(1e6 * depth[far])
        margin = 0.5 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
    axes.set(xlabel="phase", ylabel="depth (ppm)", xlim=(0, 1), title="dips at other phases")
    tidy(axes)


def _plot_events(vetting, axes):
    """Depth of each transit"""
    events = vetting.right.events
    axes.errorbar(
        [event.time for event in events],
        [1e6 * event.depth for event in events],
        [1e6 * event.depth_err for event in events],
        fmt="o", color=TESS, markersize=3, linewidth=0.8,
    )  # fmt: skip
    axes.axhline(1e6 * vetting.right.depth, color=MODEL, linewidth=1)
    axes.set(xlabel="time (days)", ylabel="depth (ppm)", title="each transit")
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    tidy(axes)


def _bins(x, y, shown):
    """Centres, means and errors of the mean in equal bins of -shown..shown; bins with fewer than 2
    samples are left out"""
    number = np.clip(((x + shown) / (2 * shown) * BINS).astype(int), 0, BINS - 1)
    count = np.bincount(number, minlength=BINS)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(number, y, BINS) / count
        scatter = np.sqrt(
            np.maximum(np.bincount(number, y**2, BINS) / count - mean**2, 0) / (count - 1)
        )
    keep = count > 1
    return ((np.arange(BINS) + 0.5) / BINS * 2 * shown - shown)[keep], mean[keep], scatter[keep]
