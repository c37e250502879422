"""What speaks for and against a planet besides its transits: single events, other phases, other
times, waves, shape, and where the source of the dips is, from centroids and from pixels.
"""

import numpy as np
from scipy.special import erfcinv

from ..constants import MAD_TO_SIGMA
from .fit import MIN_REST_DEPTH, MIN_REST_SNR, fold_phase, mean_depth, measure, transit_shape
from .transit_model import transit_flux

ODD_EVEN_FRACTION = 0.03  # of the depth, by which odd and even transits may differ
SECONDARY_FRACTION = 0.1  # of the depth: what a hot planet's occultation may have at most
FEW = 4  # events; signals of more are not compared with single dips
IMPACTS = (0.0, 0.5, 0.7, 0.8, 0.9)  # of transits that a triangle is compared with
MIN_SHAPE = 4  # samples of a transit, of whose shape something can be said
PHASES = 12  # trial phases per duration
IN, FROM, TO = 0.4, 0.75, 2.0  # durations from mid-transit: in transit; beside it
MIN_ERROR = 0.02  # pixels; of a position, however well its transits agree


class Dips:
    """Numbers of the single events of a signal, and of what the other phases hold"""

    def __init__(self, times, flux, weight, signal):
        self.rest_snr = self.single = self.odd_even = self.red_snr = self.rival = float("nan")
        self.secondary_excess = self.secondary_phase = self.v_shape = float("nan")
        if not (signal.events and signal.depth > 0):
            return
        events = signal.events
        strongest = signal.strongest
        rest, rest_err = mean_depth([event for event in events if event is not strongest])
        self.rest_snr = rest / rest_err
        if len(events) > 2:
            self.single = max(strongest.snr, 0) ** 2 / max(signal.snr, 1e-9) ** 2
        noise, rival = _single_events(times, flux, weight, signal)
        self.odd_even = self._odd_even(events, signal, noise)
        self._other_phases(times, flux, weight, signal)
        self.red_snr = min(self.red_snr, float(signal.snr / noise))
        if len(events) <= FEW:
            self.rival = float(rival / np.median([max(event.snr, 1e-9) for event in events]))
        self.v_shape = _v_shape(times, flux, weight, signal)

    @staticmethod
    def _hangs_on_one(times, flux, weight, signal, phase):
        """Whether one event alone makes the dip at a phase, which others do not show"""
        orbit = {"period": signal.period, "duration": signal.duration}
        second = measure(times, flux, weight, t0=signal.t0 + phase, **orbit)
        if len(second.events) < 2:
            return False
        rest, error = mean_depth([e for e in second.events if e is not second.strongest])
        return rest < MIN_REST_DEPTH * second.depth or rest < MIN_REST_SNR * error

    @staticmethod
    def _odd_even(events, signal, noise):
        """Sigma by which odd and even transits differ, in the scatter of like ones; 0 if alike"""
        halves = [[event for event in events if event.number % 2 == k] for k in (0, 1)]
        (even, even_err), (odd, odd_err) = map(mean_depth, halves)
        if not np.isfinite(even - odd):
            return float("nan")
        spread, freedom = 0.0, 0
        for half, mean in zip(halves, (even, odd), strict=True):
            spread += sum(((event.depth - mean) / event.depth_err) ** 2 for event in half)
            freedom += len(half) - 1
        inflation = max(np.sqrt(spread / freedom) if freedom > 0 else 1.0, noise)
        sigma = abs(even - odd) / np.hypot(even_err, odd_err) / inflation
        return float(sigma if abs(even - odd) > ODD_EVEN_FRACTION * signal.depth else 0.0)

    def _other_phases(self, times, flux, weight, signal):
        """Strongest dip outside transit, and the noise of dips at all other phases"""
        phases, depth, error = phase_scan(times, flux, weight, signal)
        far = np.abs(phases) > 1.5 * signal.duration
        far &= np.isfinite(depth)
        if far.sum() < 3 * PHASES:
            self.red_snr = signal.snr
            return
        snr = depth / error
        best = int(np.argmax(np.where(far, snr, -np.inf)))
        self.secondary_phase = float(phases[best] / signal.period % 1)
        # the noise is that of all phases but the best: an eclipse fills many of a short period
        others = far & (np.abs(fold_phase(phases, signal.period, phases[best])) > signal.duration)
        noise = snr[others] if others.sum() >= PHASES else np.zeros(1)
        red = max(MAD_TO_SIGMA * np.median(np.abs(noise - np.median(noise))), 1.0)
        self.red_snr = float(signal.snr / red)
        third = snr[others].max() if others.any() else 0.0
        positive = -snr[far].min()
        # Coughlin et al. 2016, equation A1: false alarms of so many independent phases
        fraction = min(signal.duration / signal.period, 0.5)
        alone = np.sqrt(2) * erfcinv(min(fraction / 1e4, 1.0))
        among = np.sqrt(2) * erfcinv(fraction)
        excess = min(
            snr[best] / red - alone, (snr[best] - third) / red - among, (snr[best] - positive) / red
        )
        if depth[best] < SECONDARY_FRACTION * signal.depth or self._hangs_on_one(
            times, flux, weight, signal, phases[best]
        ):
            excess = min(excess, 0.0)
        self.secondary_excess = float(excess)


def phase_scan(times, flux, weight, signal):
    """Depth of a dip of the signal's shape and duration at each phase.

    Parameters
    ----------
    times, flux, weight : (n,) arrays; flux about 1, weight 1 / variance
    signal : TransitSignal

    Returns
    -------
    phases : (m,) array, d from mid-transit, -P/2 to P/2
    depth, error : (m,) arrays; NaN without samples
    """
    step = signal.duration / PHASES
    n_bins = max(int(np.ceil(signal.period / step)), 2 * PHASES)
    width = signal.period / n_bins
    at = np.floor((signal.phase(times) + 0.5 * signal.period) / width).astype(int) % n_bins
    level = _level(flux, signal.phase(times), signal)
    dip = np.bincount(at, weight * (level - flux), n_bins)
    total = np.bincount(at, weight, n_bins)
    half = max(round(0.5 * signal.duration / width), 1)
    offsets = np.arange(-half, half + 1)
    shape = transit_shape(offsets * width, 1e9, 0.0, signal.duration * (1 + 1 / PHASES))
    numerator = sum(s * np.roll(dip, -k) for k, s in zip(offsets, shape, strict=True))
    norm = sum(s**2 * np.roll(total, -k) for k, s in zip(offsets, shape, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        depth, error = numerator / norm, norm**-0.5
    phases = (np.arange(n_bins) + 0.5) * width - 0.5 * signal.period
    return phases, np.where(norm > 0, depth, np.nan), np.where(norm > 0, error, np.nan)


def _single_events(times, flux, weight, signal):
    """S/N of a dip of the signal's shape at every time, outside the transits.

    Returns
    -------
    noise : float, their scatter, 1 in white noise of the quoted size, and not below it
    rival : float, the largest, of dips and of bumps
    """
    step = signal.duration / PHASES
    at = np.floor((times - times.min()) / step).astype(int)
    n_bins = at.max() + 1
    phase = signal.phase(times)
    level, outside = _level(flux, phase, signal), np.abs(phase) > 0.75 * signal.duration
    weight = np.where(outside, weight, 0.0)
    dip, total = np.bincount(at, weight * (level - flux), n_bins), np.bincount(at, weight, n_bins)
    half = PHASES // 2
    shape = transit_shape(np.arange(-half, half + 1) * step, 1e9, 0.0, signal.duration * 1.08)
    numerator, norm = np.convolve(dip, shape, "same"), np.convolve(total, shape**2, "same")
    whole = norm > 0.7 * np.median(norm[norm > 0]) if (norm > 0).any() else norm > 0
    whole &= _has_both_sides(total)
    if whole.sum() < 3 * PHASES:
        return 1.0, 0.0
    snr = numerator[whole] / np.sqrt(norm[whole])
    spread = MAD_TO_SIGMA * float(np.median(np.abs(snr - np.median(snr))))
    return max(spread, 1.0), float(np.abs(snr).max())


def _level(flux, phase, signal):
    """Flux outside transit: the mean of all is lower, and bumps are seen where nothing is"""
    outside = np.abs(phase) > signal.duration
    return np.median(flux[outside] if outside.any() else flux)


def _has_both_sides(total):
    """Bins around which samples stand before and after a dip: at an edge, trends make dips"""
    beside = np.convolve(total, np.ones(PHASES), "same")
    enough = np.pad(beside > 0.5 * np.median(beside), PHASES)
    return enough[: -2 * PHASES] & enough[2 * PHASES :]


def _v_shape(times, flux, weight, signal):
    """Sigma by which a triangle fits better than any transit; negative where it is worse"""
    phase = signal.phase(times)
    near = np.abs(phase) < signal.duration
    if not signal.duration > MIN_SHAPE * np.median(np.diff(times)):
        return float("nan")  # the exposure itself makes a V of it
    phase, depth, weight = np.abs(phase[near]), 1 - flux[near], weight[near]
    radius = np.sqrt(min(signal.depth, 0.2))

    def gain(shape):
        norm = np.sum(weight * shape**2)
        return np.sum(weight * depth * shape) ** 2 / norm if norm > 0 else 0.0

    triangle = transit = 0.0
    for length in 0.5 * signal.duration * np.geomspace(0.7, 1.6, 13):
        triangle = max(triangle, gain(np.clip(1 - phase / length, 0, None)))
        for impact in IMPACTS:
            chord = np.sqrt((1 + radius) ** 2 - impact**2)
            blocked = 1 - transit_flux(np.hypot(impact, phase / length * chord), radius, 0.4, 0.2)
            transit = max(transit, gain(blocked))
    return float(np.sign(triangle - transit) * np.sqrt(abs(triangle - transit)))


def sine_gain(times, flux, signal):
    """The largest gain in chi^2 of a wave of P/2, P or 2P, over that of the transits.

    Parameters
    ----------
    times, flux : (n,) arrays, d; relative
    signal : TransitSignal

    Returns
    -------
    float; NaN where the signal has no S/N
    """
    if not signal.snr > 0:
        return float("nan")
    # waves are looked for where no transit is, transits against what the wave leaves
    outside = np.abs(signal.phase(times)) > 0.5 * signal.duration
    return float(
        max(_wave_gain(times, flux, outside, signal, f * signal.period) for f in (0.5, 1.0, 2.0))
    )


def _wave_gain(times, flux, outside, signal, period):
    angle = 2 * np.pi * times / period
    design = np.column_stack([np.ones(len(times)), np.cos(angle), np.sin(angle)])
    coefficients, *_ = np.linalg.lstsq(design[outside], flux[outside], rcond=None)
    wave = design @ coefficients
    shape = transit_shape(times, signal.period, signal.t0, signal.duration)
    residual = flux - wave
    norm = np.sum(shape**2)
    depth = max(-np.sum(residual * shape) / norm, 0.0) if norm > 0 else 0.0
    gain_wave = np.sum((flux[outside] - flux[outside].mean()) ** 2) - np.sum(residual[outside] ** 2)
    gain_transit = depth**2 * norm
    return gain_wave / gain_transit if gain_transit > 0 else np.inf


def centroid_offset(times, centroid, signal, target):
    """Where the source of the dips is, from the shift of the flux-weighted centroid.

    In transit the centroid moves away from what dims: by -depth / (1 - depth) times its distance
    (Batalha et al. 2010, ApJ 713, L103).

    Parameters
    ----------
    times : (n,) array, d
    centroid : (n, 2) array, pixels: column, row; NaN where not known
    signal : TransitSignal
    target : (column, row) of the target, pixels

    Returns
    -------
    (column, row, error), pixels, source minus target; None without samples
    """
    phase = signal.phase(times)
    known = np.isfinite(centroid).all(axis=1)
    inside = known & (np.abs(phase) < IN * signal.duration)
    beside = (
        known & (np.abs(phase) > FROM * signal.duration) & (np.abs(phase) < TO * signal.duration)
    )
    shifts, number = [], np.rint((times - signal.t0) / signal.period)
    for k in np.unique(number[inside]):
        own, near = inside & (number == k), beside & (number == k)
        if own.sum() and near.sum() > 3:
            line = np.polynomial.polynomial.polyfit(
                times[near] - times[own].mean(), centroid[near], 1
            )
            shifts.append(centroid[own].mean(axis=0) - line[0])
    if len(shifts) < 2 or not 0 < signal.depth < 1:
        return None
    scale = -(1 - signal.depth) / signal.depth
    sources = np.median(centroid[beside], axis=0) + scale * np.array(shifts)
    offset = sources.mean(axis=0) - np.asarray(target)
    error = np.hypot(*(sources.std(axis=0, ddof=1) / np.sqrt(len(shifts))))
    return float(offset[0]), float(offset[1]), float(max(error, MIN_ERROR))


def difference_offset(times, images, signal, target, first=(0, 0)):
    """Where the source of the dips is, from the image beside the transits minus that in them.

    Parameters
    ----------
    times : (n,) array, d
    images : (n, n_rows, n_columns) array, e-/s
    signal : TransitSignal
    target : (column, row) of the target, pixels, as ``first``
    first : (column, row) of the first pixel

    Returns
    -------
    offset : (column, row, error), pixels, source minus target; None where nothing dims
    difference : (n_rows, n_columns) array, e-/s; mean of all transits
    """
    phase = signal.phase(times)
    usable = np.isfinite(images).any(axis=(1, 2))
    inside = usable & (np.abs(phase) < IN * signal.duration)
    beside = (
        usable & (np.abs(phase) > FROM * signal.duration) & (np.abs(phase) < TO * signal.duration)
    )
    number, differences = np.rint((times - signal.t0) / signal.period), []
    for k in np.unique(number[inside]):
        own, near = inside & (number == k), beside & (number == k)
        if own.sum() and near.sum():
            difference = np.nanmean(images[near], axis=0) - np.nanmean(images[own], axis=0)
            differences.append(difference)
    if not differences:
        return None, np.full(images.shape[1:], np.nan)
    differences = np.nan_to_num(np.array(differences))
    mean = differences.mean(axis=0)
    peaks = [_peak(image) for image in (mean, *differences)] if len(differences) > 1 else []
    if not peaks or any(peak is None for peak in peaks[:1]):
        return None, mean
    single = np.array([peak for peak in peaks[1:] if peak is not None])
    error = 0.5
    if len(single) > 1:
        error = np.hypot(*(single.std(axis=0, ddof=1) / np.sqrt(len(single))))
    column, row = peaks[0] + np.asarray(first) - np.asarray(target)
    return (float(column), float(row), float(max(error, MIN_ERROR))), mean


def _peak(image):
    """(column, row) of the light around the brightest pixel, within one pixel of it; None
    without"""
    row, column = np.unravel_index(np.argmax(image), image.shape)
    if not image[row, column] > 0:
        return None
    rows = slice(max(row - 1, 0), row + 2)
    columns = slice(max(column - 1, 0), column + 2)
    box = np.clip(image[rows, columns], 0, None)
    y, x = np.mgrid[rows, columns][:, : box.shape[0], : box.shape[1]]
    return np.array([np.sum(x * box), np.sum(y * box)]) / box.sum()
