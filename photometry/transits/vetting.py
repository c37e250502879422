"""Is it a planet's transit? Tests of a signal that a search found, each with the number that
decides.

The tests and their limits are those of Kepler's robovetter (Thompson et al. 2018, ApJS 235, 38;
Coughlin et al. 2016, ApJS 224, 12) and of its search (Jenkins et al. 2002; Seader et al. 2013), as
far as a light curve, and pixels where there are some, can tell. No probability is promised.
"""

from dataclasses import asdict, dataclass, field
from enum import Enum

import numpy as np
from scipy.special import erfcinv

from ..constants import MAD_TO_SIGMA
from ..errors import ArgumentError
from .fit import (
    MIN_REST_DEPTH,
    MIN_REST_SNR,
    NO_SIGNAL,
    SINGLE_DIP,
    fit_transit,
    fold_phase,
    mean_depth,
    measure,
    settle_period,
    transit_shape,
)
from .periods import GM_SUN, R_JUPITER, R_SUN, stellar_density
from .planets import SNR_THRESHOLD, agreement, good_samples, part_depths, shortest_period
from .transit_model import transit_flux

ODD_EVEN_SIGMA, ODD_EVEN_FRACTION = 4.0, 0.03  # standard deviations, and of the depth
SECONDARY_FRACTION = 0.1  # of the depth: what a hot planet's occultation may have at most
MAX_RADIUS = 2.2  # Jupiter radii of a planet (Thompson et al. 2018 use 30 Earth radii, 2.7)
MAX_DEPTH = 0.05  # of a planet, where the star's radius is not known
MAX_WAVE = 0.75  # of the gain in chi2 of the transits; waves of pulsators gain more than that
MAX_FRACTION = 0.2  # of the period in transit: contact binaries and waves have more
MAX_RIVAL, FEW = 0.75, 4  # of the S/N of an event, for signals of no more events than that
MAX_SINGLE = 0.8  # of the S/N of all events: more in one event, and it carries the signal
MAX_DURATION = 2.0  # times the longest central transit of the star
V_SHAPE_SIGMA = 3.0  # by which a triangle fits better than a transit of any impact parameter:
IMPACTS = (0.0, 0.5, 0.7, 0.8, 0.9)
MIN_SHAPE = 4  # samples of a transit, of whose shape something can be said
V_SHAPE_DEPTH = 0.005  # a V less deep may be a planet's grazing transit
PHASES = 12  # trial phases per duration
OFFSET_SIGMA, OFFSET_PIXELS = 3.0, 0.3  # of the source of the dips from the target
MIN_AGREEMENT = 0.0027  # probability (3 sigma) of depths of parts that agree


class Verdict(str, Enum):
    """What a signal is taken for."""

    CANDIDATE = "candidate"  # nothing speaks against a planet
    BINARY = "eclipsing binary"
    OFF_TARGET = "off target"  # another star dims
    ALIAS = "alias"  # a multiple or a part of the right period
    VARIABLE = "variable"  # a wave explains more than transits do
    SINGLE = "single event"
    WEAK = "too weak"


@dataclass(frozen=True)
class Check:
    """One test: its number, the limit, and on which side it fails."""

    name: str
    value: float  # NaN where it could not be made
    limit: float
    fails_above: bool
    text: str

    @property
    def passed(self):
        """True, False, or None where the value is not known"""
        if np.isnan(self.value):
            return None
        return not (self.value > self.limit if self.fails_above else self.value < self.limit)


@dataclass(frozen=True)
class Vetting:
    """Verdict on a signal, and all that was tested."""

    verdict: Verdict
    reason: str  # one message with the number that decided
    checks: tuple  # of Check
    signal: object  # TransitSignal as it was given
    right: object  # TransitSignal at the period that its dips have; the same where that is given
    parts: tuple = ()  # (name, depth, error) of each part of a stitched light curve
    secondary_phase: float = float("nan")  # of the strongest event outside transit, 0 to 1
    offset: tuple = field(default=(float("nan"), float("nan")))  # pixels, source minus target

    def as_dict(self):
        """Plain values, for JSON"""
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "period": self.right.period,
            "t0": self.right.t0,
            "duration": self.right.duration,
            "depth": self.right.depth,
            "snr": self.right.snr,
            "given_period": self.signal.period,
            "possible_periods": list(self.right.possible_periods),
            "secondary_phase": self.secondary_phase,
            "offset_pixels": list(self.offset),
            "parts": [{"part": n, "depth": d, "depth_err": e} for n, d, e in self.parts],
            "checks": [{**asdict(check), "passed": check.passed} for check in self.checks],
        }


def vet(lc, signal, *, snr_min=SNR_THRESHOLD, star=None, offset=None):
    """Test a signal.

    Parameters
    ----------
    lc : Lightcurve, detrended, without the transits of other planets
    signal : TransitSignal, from a search or from `signal_at`
    snr_min : float, of the signal
    star : dict, optional
        ``radius`` (solar radii) and ``logg`` (cm/s2); by default what the light curve's metadata
        say
    offset : tuple (column, row, error), pixels, optional
        Position of the source of the dips minus the target's, from `photometry.transits.offsets`

    Returns
    -------
    Vetting
    """
    times, flux, errors = good_samples(lc)
    errors = errors if lc.metadata.get("joined") else None
    star = lc.metadata if star is None else star
    right = signal
    if signal.kind not in (SINGLE_DIP, NO_SIGNAL) and signal.events:
        right = settle_period(times, flux, errors, signal)
    if errors is None:
        outside = np.abs(right.phase(times)) > right.duration
        errors = np.full(len(times), np.std(flux[outside if outside.any() else slice(None)]))
    weight = errors**-2.0
    events = _Events(times, flux, weight, right)
    checks = [
        Check("snr", right.snr, snr_min, False, "S/N of the depth, white noise"),
        Check("snr_red", events.red_snr, snr_min, False, "S/N in the noise of all other phases"),
        Check("single_event", events.single, MAX_SINGLE, True, "strongest event's part of the S/N"),
        Check("unique", events.rival, MAX_RIVAL, True, "strongest other dip over an event"),
        Check("sine", _sine_gain(times, flux, right), MAX_WAVE, True, "wave's gain over transits'"),
        Check("fraction", right.duration / right.period, MAX_FRACTION, True, "period in transit"),
        Check(
            "odd_even", events.odd_even, ODD_EVEN_SIGMA, True, "odd and even depths apart, sigma"
        ),
        Check(
            "secondary", events.secondary_excess, 0.0, True, "second dip above its limits, sigma"
        ),
        _size_check(right, star),
        Check(
            "v_shape", events.v_shape, V_SHAPE_SIGMA, True, "triangle better than transit, sigma"
        ),
        Check(
            "duration",
            _duration_ratio(right, star),
            MAX_DURATION,
            True,
            "over the longest possible",
        ),
        _offset_check(offset),
    ]
    verdict, reason = _verdict(signal, right, events, {check.name: check for check in checks})
    parts = part_depths(lc, right)
    return Vetting(
        verdict=verdict,
        reason=reason,
        checks=(*checks, _parts_check(parts)),
        signal=signal,
        right=right,
        parts=parts,
        secondary_phase=events.secondary_phase,
        offset=(float("nan"),) * 2 if offset is None else tuple(map(float, offset[:2])),
    )


def signal_at(lc, *, period, t0, duration):
    """The signal of a light curve at a given ephemeris, to vet it.

    Parameters
    ----------
    lc : Lightcurve, detrended
    period, t0, duration : float, d

    Returns
    -------
    TransitSignal, fitted near them
    """
    times, flux, errors = good_samples(lc)
    errors = errors if lc.metadata.get("joined") else None
    lowest = shortest_period(times)
    if not (np.isfinite([period, t0]).all() and period >= lowest and 0 < duration < period):
        raise ArgumentError(
            f"period={period!r}, t0={t0!r}, duration={duration!r}: expected days, a period of "
            f"{lowest:.3g} or more and transits shorter than it"
        )
    return fit_transit(times, flux, errors, period=period, t0=t0, duration=duration)


def _verdict(signal, right, events, checks):
    """(Verdict, the message with the number that decided)"""
    failed = {name for name, check in checks.items() if check.passed is False}

    def message(name):
        check = checks[name]
        return f"{check.text}: {check.value:.3g} (limit {check.limit:.3g})"

    if signal.kind == NO_SIGNAL or not right.snr > 0:
        return Verdict.WEAK, "no dip at this period"
    if "snr" in failed:
        return Verdict.WEAK, message("snr")
    if signal.kind == SINGLE_DIP or "single_event" in failed:
        event = signal.strongest
        return Verdict.SINGLE, (
            f"one dip, seen once, at {event.time:.4f}: depth {1e6 * event.depth:.0f} ppm, "
            f"S/N {event.snr:.1f}; all others {events.rest_snr:.1f}"
        )
    for name in ("sine", "fraction"):
        if name in failed:
            return Verdict.VARIABLE, message(name)
    if "snr_red" in failed:
        return Verdict.WEAK, message("snr_red")
    if "unique" in failed:
        return Verdict.WEAK, message("unique")
    for name in ("odd_even", "secondary", "size", "duration"):
        if name in failed:
            phase = f", at phase {events.secondary_phase:.3f}" if name == "secondary" else ""
            return Verdict.BINARY, message(name) + phase
    if "v_shape" in failed and right.depth > V_SHAPE_DEPTH:
        return Verdict.BINARY, message("v_shape")
    if "offset" in failed:
        return Verdict.OFF_TARGET, message("offset")
    if abs(right.period / signal.period - 1) > 0.01:
        return Verdict.ALIAS, (
            f"the period is {right.period:.6g} d, {right.period / signal.period:.3g} times the "
            f"given one: S/N {right.snr:.1f} against {signal.snr:.1f}"
        )
    return Verdict.CANDIDATE, f"S/N {right.snr:.1f} from {right.transit_count} transits"


class _Events:
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


def _sine_gain(times, flux, signal):
    """The largest gain in chi^2 of a wave of P/2, P or 2P, over that of the transits"""
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


def _duration_ratio(signal, star):
    """Duration over that of a central transit on a circular orbit; NaN without the star's
    density"""
    density = stellar_density(star)
    if not (np.isfinite(density) and signal.depth > 0):
        return float("nan")
    seconds = signal.period * 86400
    axis = (GM_SUN * seconds**2 / (4 * np.pi**2) * density) ** (1 / 3) / R_SUN
    reach = min((1 + np.sqrt(signal.depth)) / axis, 1.0)
    return float(signal.duration / (signal.period / np.pi * np.arcsin(reach)))


def _size_check(signal, star):
    radius = star.get("radius")
    if radius is not None and radius > 0 and signal.depth > 0:
        size = np.sqrt(signal.depth) * radius * R_SUN / R_JUPITER
        return Check("size", float(size), MAX_RADIUS, True, "radius in Jupiter's")
    return Check("size", float(signal.depth), MAX_DEPTH, True, "depth")


def _offset_check(offset):
    text = "source of the dips from the target, sigma"
    if offset is None:
        return Check("offset", float("nan"), OFFSET_SIGMA, True, text)
    column, row, error = offset
    distance = np.hypot(column, row)
    sigma = distance / error if distance > OFFSET_PIXELS else 0.0
    return Check("offset", float(sigma), OFFSET_SIGMA, True, text)


def _parts_check(parts):
    return Check(
        "parts", agreement(parts), MIN_AGREEMENT, False, "probability of the parts' depths"
    )
