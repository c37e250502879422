"""Other views of a light curve: on other rasters of time, by resampling that conserves flux;
binned, folded, in sums and products with another; and drawn, which needs matplotlib (extra
``plots``).

What is here takes any light curve and makes a new one through its own methods, so it needs to know
no class of `photometry.lightcurve.lightcurve`.
"""

import numpy as np

from ..constants import DAY
from ..errors import ArgumentError, WrongUseError
from ..files import atomic_write

MATCH = 1e-4  # d: a sample this near to a point of the raster belongs to it
WHOLE_SECOND = 0.01  # s: an interval this near to a whole second is taken as whole
MIN_RESAMPLED = 4  # samples that resampling needs
MIN_VERIFIED = 3  # samples; fewer have no sampling interval

# colours: good samples, flagged samples, trends and models
TESS, BAD, MODEL = "#33658a", "#c9c9c9", "#d1495b"
OUTLIERS = 5  # samples at either end of the flux that need not be in the picture


def estimate_interval(times):
    """Step of a raster from which samples may be missing.

    The mean of the middle half of the sorted differences; rounded to whole seconds only where it is
    within 0.01 s of one.

    Parameters
    ----------
    times : (n_samples,) array, days, sorted, at least 3

    Returns
    -------
    float, days
    """
    steps = np.sort(np.diff(times))
    middle = steps[int(0.25 * len(steps)) : int(0.75 * len(steps))]
    if middle.size == 0 or not middle.mean() > 0:
        raise ValueError(
            f"{len(times)} samples are too few, or not sorted: "
            "no sampling interval can be derived from them"
        )
    seconds = middle.mean() * DAY
    nearest = round(seconds)
    is_whole = nearest and abs(seconds - nearest) < WHOLE_SECOND
    return (nearest if is_whole else seconds) / DAY


def ideal_grid(times):
    """The raster without gaps, from the first time to the last, the last excluded; days."""
    return np.arange(times[0], times[-1], estimate_interval(times))


def nearest_sample(times, grid):
    """For each point of ``grid`` the index of the sample within 1e-4 day of it, else -1."""
    right = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    nearest = np.where(grid - times[right - 1] <= times[right] - grid, right - 1, right)
    return np.where(np.abs(times[nearest] - grid) <= MATCH, nearest, -1)


class LightcurveResampler:
    """Resamples one light curve onto other rasters.

    A sample stands for a pixel of constant flux whose edges are the midpoints to its neighbours. An
    output pixel is the mean over the input pixels that it overlaps, weighted by the overlap, so
    flux times width is conserved. Beyond the input the flux counts as 0, and as bad where flags are
    resampled.

    Parameters
    ----------
    input_lc : Lightcurve, sorted in time, at least 4 samples
    """

    def __init__(self, input_lc):
        if len(input_lc) < MIN_RESAMPLED:
            raise AssertionError(f"{input_lc!r}: resampling needs at least {MIN_RESAMPLED} samples")
        self.input_lc = input_lc
        self.edges = pixel_edges(input_lc.get_times())

    def match_to_other_lightcurve(self, other, resample_flags=True):
        """Onto the raster of ``other``; returns a new `LightcurveArbitraryRaster`."""
        return self.onto_raster(other.get_times(), resample_flags=resample_flags)

    def onto_raster(self, output_raster, resample_flags=True):
        """Onto the given times.

        Parameters
        ----------
        output_raster : (n_out,) array, days, sorted, at least 2
        resample_flags : bool
            A pixel is bad where more than half of it is bad or beyond the input. If False, flags
            are cleared

        Returns
        -------
        LightcurveArbitraryRaster, with the metadata of the input. Uncertainties are propagated:
        sqrt(sum (overlap/width * sigma)^2)
        """
        lc = self.input_lc
        times = np.asarray(output_raster, dtype=float)
        if np.array_equal(times, lc.get_times()):
            flags = lc.flags.copy() if resample_flags else None
            return lc.with_samples(times, lc.fluxes.copy(), lc.uncertainties.copy(), flags)
        overlap, of_input, of_output = _overlaps(self.edges, pixel_edges(times))
        weight = overlap / np.diff(pixel_edges(times))[of_output]

        def total(values):
            return np.bincount(of_output, values, minlength=len(times))

        flux = total(weight * lc.fluxes[of_input])
        variance = total((weight * lc.uncertainties[of_input]) ** 2)
        flags = None
        if resample_flags:
            flags = (total(weight * (lc.flags[of_input] == 0)) < 0.5 - 1e-9).astype(float)
        return lc.with_samples(times, flux, np.sqrt(variance), flags)


def pixel_edges(times):
    """(n+1,) array: midpoints between the n sorted ``times``; the outermost pixels are
    symmetric."""
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise ValueError(
            "a raster for resampling needs at least 2 times, each later than the one before"
        )
    middle = 0.5 * (times[1:] + times[:-1])
    return np.concatenate(
        [[1.5 * times[0] - 0.5 * times[1]], middle, [1.5 * times[-1] - 0.5 * times[-2]]]
    )


def _overlaps(input_edges, output_edges):
    """Overlaps of input and output pixels: length, index of the input pixel, of the output
    pixel."""
    cuts = np.union1d(input_edges, output_edges)
    middle, length = 0.5 * (cuts[1:] + cuts[:-1]), np.diff(cuts)
    of_input = np.searchsorted(input_edges, middle) - 1
    of_output = np.searchsorted(output_edges, middle) - 1
    both = (of_input >= 0) & (of_input < len(input_edges) - 1)
    both &= (of_output >= 0) & (of_output < len(output_edges) - 1)
    return length[both], of_input[both], of_output[both]


def add(a, b):
    """a + b on the raster of a; metadata from the one with the larger ``mes``."""
    metadata = max(a, b, key=lambda lc: lc.metadata.get("mes", 0)).metadata
    b = LightcurveResampler(b).match_to_other_lightcurve(a)
    return _combined(
        a, a.fluxes + b.fluxes, np.hypot(a.uncertainties, b.uncertainties), b, metadata
    )


def subtract(a, b):
    """a - b on the raster of a; metadata of both, those of b win."""
    metadata = {**a.metadata, **b.metadata}
    b = LightcurveResampler(b).match_to_other_lightcurve(a)
    return _combined(
        a, a.fluxes - b.fluxes, np.hypot(a.uncertainties, b.uncertainties), b, metadata
    )


def multiply(a, b):
    """a * b on the raster of a; metadata of both, those of b win.

    On an arbitrary raster the first and the last sample are dropped: their pixels may stick out of
    b.
    """
    metadata = {**a.metadata, **b.metadata}
    b = LightcurveResampler(b).match_to_other_lightcurve(a)
    uncertainties = np.hypot(a.uncertainties * b.fluxes, b.uncertainties * a.fluxes)
    product = _combined(a, a.fluxes * b.fluxes, uncertainties, b, metadata)
    return product.select(slice(1, -1)) if hasattr(product, "select") else product


def _combined(a, fluxes, uncertainties, b, metadata):
    new = a.with_fluxes(fluxes, uncertainties)
    new.flags = ((a.flags != 0) | (b.flags != 0)).astype(float)
    new.metadata = dict(metadata)
    return new


def cadence_raster(lc, cadence):
    """Times from the first to the last, the last excluded, every ``cadence`` seconds; days."""
    if not cadence > 0:
        raise ValueError(f"cadence={cadence!r}: expected seconds, above zero")
    times = lc.get_times()
    return np.arange(times[0], times[-1], cadence / DAY)


def bin_to_cadence(lc, cadence):
    """Resample to another cadence. Pixels that the input covers only in part are left out.

    Parameters
    ----------
    lc : Lightcurve
    cadence : float, s

    Returns
    -------
    LightcurveArbitraryRaster; ``sampling_cadence`` in its metadata is the new one
    """
    raster = cadence_raster(lc, cadence)
    binned = LightcurveResampler(lc).onto_raster(raster)
    edges, covered = pixel_edges(raster), pixel_edges(lc.get_times())[[0, -1]]
    tolerance = 1e-6 * cadence / DAY
    inside = (edges[:-1] >= covered[0] - tolerance) & (edges[1:] <= covered[1] + tolerance)
    binned = binned.select(inside)
    binned.metadata["sampling_cadence"] = cadence
    return binned


def verify(lc):
    """Ranges of times and fluxes, and whether the raster has no gaps.

    Returns
    -------
    dict of ``verification_time_min``, ``verification_time_max`` [d], ``verification_flux_min``,
    ``verification_flux_max`` (of finite fluxes; NaN without any) and ``verification`` (bool; False
    also where the samples are too few to tell)
    """
    ranges = {}
    for name, values in (("time", lc.get_times()), ("flux", lc.fluxes[np.isfinite(lc.fluxes)])):
        low, high = (values.min(), values.max()) if values.size else (np.nan, np.nan)
        ranges |= {f"verification_{name}_min": float(low), f"verification_{name}_max": float(high)}
    whole = len(lc) >= MIN_VERIFIED and lc.check_fixed_step(verbose=False) == 0
    return {**ranges, "verification": whole}


def fold(lc, period, epoch=None):
    """See `Lightcurve.fold`.

    Parameters
    ----------
    lc : Lightcurve
    period : float, days
    epoch : float, days, or None
    """
    if not (np.isfinite(period) and period > 0):
        raise ArgumentError(f"period={period!r}: expected days, above zero")
    times = lc.get_times()
    if epoch is None:
        epoch = times[0] if len(times) else 0.0
    phase = (times - epoch + 0.5 * period) % period - 0.5 * period
    order = np.argsort(phase, kind="stable")
    folded = lc.with_samples(
        phase[order], lc.fluxes[order], lc.uncertainties[order], lc.flags[order]
    )
    folded.metadata |= {"folded_period": float(period), "folded_epoch": float(epoch)}
    return folded


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
    with atomic_write(path, durable=False) as part:
        figure.savefig(part, dpi=110)
