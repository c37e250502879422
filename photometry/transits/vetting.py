"""Is it a planet's transit? Tests of a signal that a search found, each with the number that
decides.

The tests and their limits are those of Kepler's robovetter (Thompson et al. 2018, ApJS 235, 38;
Coughlin et al. 2016, ApJS 224, 12) and of its search (Jenkins et al. 2002; Seader et al. 2013), as
far as a light curve, and pixels where there are some, can tell. No probability is promised.
"""

from dataclasses import asdict, dataclass, field
from enum import Enum

import numpy as np

from ..constants import DAY
from ..errors import ArgumentError
from .dips import Dips, sine_gain
from .fit import NO_SIGNAL, SINGLE_DIP, TransitSignal, fit_transit, settle_period
from .planets import SNR_THRESHOLD, agreement, good_samples, part_depths, shortest_period
from .transit_model import GM_SUN, R_JUPITER, R_SUN, stellar_density

ODD_EVEN_SIGMA = 4.0  # of odd and even depths apart
MAX_RADIUS = 2.2  # Jupiter radii of a planet (Thompson et al. 2018 use 30 Earth radii, 2.7)
MAX_DEPTH = 0.05  # of a planet, where the star's radius is not known
MAX_WAVE = 0.75  # of the gain in chi2 of the transits; waves of pulsators gain more than that
MAX_FRACTION = 0.2  # of the period in transit: contact binaries and waves have more
MAX_RIVAL = 0.75  # of the S/N of an event, for signals of few events
MAX_SINGLE = 0.8  # of the S/N of all events: more in one event, and it carries the signal
MAX_DURATION = 2.0  # times the longest central transit of the star
V_SHAPE_SIGMA = 3.0  # by which a triangle fits better than a transit of any impact parameter
V_SHAPE_DEPTH = 0.005  # a V less deep may be a planet's grazing transit
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
    signal: TransitSignal  # as it was given
    right: TransitSignal  # at the period that its dips have; the same where that is given
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
        Position of the source of the dips minus the target's, from `photometry.transits.dips`

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
    events = Dips(times, flux, weight, right)
    checks = [
        Check("snr", right.snr, snr_min, False, "S/N of the depth, white noise"),
        Check("snr_red", events.red_snr, snr_min, False, "S/N in the noise of all other phases"),
        Check("single_event", events.single, MAX_SINGLE, True, "strongest event's part of the S/N"),
        Check("unique", events.rival, MAX_RIVAL, True, "strongest other dip over an event"),
        Check("sine", sine_gain(times, flux, right), MAX_WAVE, True, "wave's gain over transits'"),
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


def _duration_ratio(signal, star):
    """Duration over that of a central transit on a circular orbit; NaN without the star's
    density"""
    density = stellar_density(star)
    if not (np.isfinite(density) and signal.depth > 0):
        return float("nan")
    seconds = signal.period * DAY
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
