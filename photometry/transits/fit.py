"""`TransitSignal`: a transit that a search found, fitted to the samples themselves.

Each transit has its own depth and signal-to-noise (`Event`). Only what two transits or more carry
is periodic; what one dip carries, or single samples, is a `SINGLE_DIP`.
"""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np

from .tls import template

# The fit looks at this grid around the guess, then again around its best point
T0_STEPS = np.linspace(-0.5, 0.5, 13)  # of the duration
DURATION_STEPS = np.geomspace(0.75, 1.35, 9)
# of the change that moves a transit at the end of the light curve by its duration
PERIOD_STEPS = np.linspace(-1, 1, 21)
ROUNDS = 3

PERIODIC, SINGLE_DIP, NO_SIGNAL = "periodic", "single dip", "nothing"
MIN_SAMPLES = 2  # of a transit that counts
MANY = 5  # transits of one sample each that count together
MIN_REST_SNR = 3.0  # of all transits but the strongest: less, and that one carries the signal
MIN_REST_DEPTH = 0.4  # of the depth: what they must have at least
MISSING_SIGMA, MAX_MISSING = 4.0, 0.3  # by which a transit that is missing falls short; of depth
MIN_CLASS_SNR = 3.0  # of dips between transits, or of the difference of odd and even ones
LIKE_DEPTH = 0.15  # of the depth, by which dips between the transits may differ from them
MAX_ALIAS = 3  # times the period, or that part of it
SMALLEST_SCATTER = 1e-9  # of the flux: synthetic light curves may have no noise at all
MAX_POSSIBLE = 20  # parts of the period for which gaps are looked at


@dataclass(frozen=True)
class Event:
    """One transit."""

    number: int  # from the first within the light curve on
    time: float  # d, its middle
    depth: float  # relative
    depth_err: float
    snr: float
    samples: int  # within half a duration of its middle


@dataclass(frozen=True)
class TransitSignal:
    """What is known of one periodic transit. Times in the unit and zero point of the light
    curve."""

    period: float  # d
    period_uncertainty: float  # d, half of the peak's width; NaN where it was not searched
    t0: float  # d, middle of the first transit within the light curve
    duration: float  # d, first to last contact
    depth: float  # relative, at its deepest
    depth_err: float
    snr: float  # depth over its error
    sde: float  # signal detection efficiency of the search; NaN for other searches
    transit_count: int  # transits within the light curve that have samples
    # difference of the depths of odd and even transits, in standard deviations; large: an eclipsing
    # binary
    odd_even: float
    kind: str = NO_SIGNAL  # PERIODIC, SINGLE_DIP or NO_SIGNAL
    events: tuple = ()  # of Event, those with samples
    half_snr: float = float(
        "nan"
    )  # S/N of dips halfway between the transits; NaN: no samples there
    # d, longest first: periods that the gaps of the light curve allow too, the own one among them
    possible_periods: tuple = ()

    def as_dict(self):
        """As a plain dict"""
        return asdict(self)

    def times(self, start, end):
        """Mid-transit times between two times [d]"""
        first = np.ceil((start - self.t0) / self.period)
        return self.t0 + self.period * np.arange(first, np.floor((end - self.t0) / self.period) + 1)

    def model(self, times):
        """(n,) relative flux of the fitted transit"""
        return 1 - self.depth * transit_shape(times, self.period, self.t0, self.duration)

    def phase(self, times):
        """(n,) d from the nearest mid-transit time"""
        return fold_phase(times, self.period, self.t0)

    @property
    def strongest(self):
        """The `Event` of the highest S/N"""
        return max(self.events, key=lambda event: event.snr)


NOTHING = TransitSignal(
    *[float("nan")] * 6, snr=0.0, sde=float("nan"), transit_count=0, odd_even=float("nan")
)


def transit_shape(times, period, t0, duration):
    """Depth of the template of the search, 1 at the deepest, 0 outside transits.

    Parameters
    ----------
    times : (n,) array, d
    period, t0, duration : float, d

    Returns
    -------
    (n,) array
    """
    phase = fold_phase(times, period, t0) / (0.5 * duration)
    shape, inside = np.zeros(len(phase)), np.abs(phase) < 1
    shape[inside] = np.interp(np.abs(phase[inside]), *_template_table())
    return shape


@lru_cache(maxsize=1)
def _template_table():
    """The template between middle (0) and last contact (1)"""
    grid = np.linspace(0, 1, 2001)
    return grid, template(grid)


def fold_phase(times, period, t0):
    """Time from the nearest mid-transit time.

    Parameters
    ----------
    times : (n,) array, d
    period, t0 : float, d

    Returns
    -------
    (n,) array, d, -period/2 to period/2
    """
    return (times - t0 + 0.5 * period) % period - 0.5 * period


def _scatter(flux, outside):
    """The error of each flux, where none is known: the standard deviation outside the transit."""
    scatter = np.std(flux[outside]) if outside.any() else np.std(flux)
    return np.full(len(flux), max(scatter, SMALLEST_SCATTER))


def fit_transit(
    times, flux, errors, *, period, t0, duration, period_uncertainty=np.nan, sde=np.nan
):
    """Fit period, time, duration and depth of a transit that a search found, on the samples.

    Parameters
    ----------
    times, flux : (n,) arrays; flux about 1 outside transits
    errors : (n,) array, or None: all equal to the standard deviation of the flux outside the
        transit
    period, t0, duration : float, d; the guess
    period_uncertainty, sde : float, handed on

    Returns
    -------
    TransitSignal
    """
    if errors is None:
        errors = _scatter(flux, np.abs(fold_phase(times, period, t0)) > duration)
    weight = 1 / errors**2
    # in the middle, where it does not depend on the period
    t0 += period * np.rint((np.mean(times) - t0) / period)
    # only these change from one trial to the next
    near = np.abs(fold_phase(times, period, t0)) < 2 * duration
    samples = times[near], flux[near], weight[near]
    for scale in 0.35 ** np.arange(ROUNDS):
        trials = [
            (period, t0 + a * scale * duration, duration * b**scale)
            for a in T0_STEPS
            for b in DURATION_STEPS
        ]
        period, t0, duration = max(trials, key=lambda trial: _gain(*samples, *trial))
        cycles = max(np.ptp(times) / (2 * period), 1)
        trials = [(period + c * scale * duration / cycles, t0, duration) for c in PERIOD_STEPS]
        period, t0, duration = max(trials, key=lambda trial: _gain(*samples, *trial))
    return measure(
        times,
        flux,
        weight,
        period=period,
        t0=t0,
        duration=duration,
        period_uncertainty=period_uncertainty,
        sde=sde,
    )


def measure(times, flux, weight, *, period, t0, duration, period_uncertainty=np.nan, sde=np.nan):
    """Depth, events and kind of a transit of given period, time and duration.

    Parameters
    ----------
    times, flux : (n,) arrays; flux about 1 outside transits
    weight : (n,) array, 1 / variance
    period, t0, duration : float, d
    period_uncertainty, sde : float, handed on

    Returns
    -------
    TransitSignal
    """
    depth, depth_err = fitted_depth(times, flux, weight, period, t0, duration)
    first = t0 + period * np.ceil((times.min() - t0) / period)
    events = _events(times, flux, weight, period, first, duration)
    odd_even = _class_difference(events, 2)
    between, between_err = fitted_depth(times, flux, weight, period, t0 + 0.5 * period, duration)
    signal = TransitSignal(
        period=float(period),
        period_uncertainty=float(period_uncertainty),
        t0=float(first),
        duration=float(duration),
        depth=float(depth),
        depth_err=float(depth_err),
        snr=float(depth / depth_err),
        sde=float(sde),
        transit_count=len(events),
        odd_even=odd_even,
        events=events,
        half_snr=float(between / between_err),
    )
    return replace(signal, kind=_kind(signal, times, flux, weight))


def _gain(times, flux, weight, period, t0, duration):
    """By how much the best transit of this time and duration lowers chi^2"""
    shape = transit_shape(times, period, t0, duration)
    return max(np.sum(weight * (1 - flux) * shape), 0) ** 2 / max(np.sum(weight * shape**2), 1e-300)


def fitted_depth(times, flux, weight, period, t0, duration):
    """Depth by linear least squares, and its error; (NaN, NaN) without a sample in transit.

    Parameters
    ----------
    times, flux, weight : (n,) arrays; flux about 1 outside transits, weight 1 / variance
    period, t0, duration : float, d
    """
    return _depth_of_shape(flux, weight, transit_shape(times, period, t0, duration))


def _depth_of_shape(flux, weight, shape):
    norm = np.sum(weight * shape**2)
    if not norm > 0:
        return np.nan, np.nan
    return np.sum(weight * (1 - flux) * shape) / norm, norm**-0.5


def _events(times, flux, weight, period, first, duration):
    """Tuple of `Event`, in time"""
    near = np.flatnonzero(np.abs(fold_phase(times, period, first)) < 0.5 * duration)
    number = np.rint((times[near] - first) / period).astype(int)
    shape = transit_shape(times[near], period, first, duration)
    # a transit whose middle lies before the first sample has the number -1
    base, count = (number.min(), np.ptp(number) + 1) if len(number) else (0, 0)
    number = number - base
    norm = np.bincount(number, weight[near] * shape**2, count)
    dip = np.bincount(number, weight[near] * (1 - flux[near]) * shape, count)
    samples = np.bincount(number, minlength=count)
    return tuple(
        Event(
            number=int(base + k),
            time=float(first + (base + k) * period),
            depth=float(dip[k] / norm[k]),
            depth_err=float(norm[k] ** -0.5),
            snr=float(dip[k] / norm[k] ** 0.5),
            samples=int(samples[k]),
        )
        for k in np.flatnonzero(norm > 0)
    )


def mean_depth(events):
    """Weighted mean of the events' depths, and its error; NaN without events"""
    if not events:
        return float("nan"), float("nan")
    weight = np.array([event.depth_err for event in events]) ** -2.0
    depth = np.array([event.depth for event in events])
    return float(np.sum(weight * depth) / weight.sum()), float(weight.sum() ** -0.5)


def _class_difference(events, classes):
    """By how much the events' depths differ between number % 2 of 0 and 1, standard deviations"""
    (even, even_err), (odd, odd_err) = (
        mean_depth([event for event in events if event.number % classes == k]) for k in (0, 1)
    )
    return float(abs(even - odd) / np.hypot(even_err, odd_err))


def _kind(signal, times, flux, weight):
    """PERIODIC, or SINGLE_DIP where one transit, or single samples, carry the signal"""
    if not signal.depth > 0:
        return NO_SIGNAL
    whole = [event for event in signal.events if event.samples >= MIN_SAMPLES]
    if len(whole) < 2 and len(signal.events) < MANY:
        return SINGLE_DIP
    whole = whole if len(whole) >= 2 else list(signal.events)
    if len(whole) < MANY:
        whole = [event for event in whole if not _is_one_sample(signal, event, times, flux, weight)]
        whole = [event for event in whole if _has_both_sides(signal, event, times)]
        if len(whole) < 2:
            return SINGLE_DIP
        if any(_is_missing(event, signal) for event in signal.events):
            return SINGLE_DIP
    strongest = max(whole, key=lambda event: event.snr)
    rest, rest_err = mean_depth([event for event in whole if event is not strongest])
    carried = rest / rest_err < MIN_REST_SNR or rest < MIN_REST_DEPTH * signal.depth
    return SINGLE_DIP if carried else PERIODIC


def _has_both_sides(signal, event, times):
    """Whether there are samples shortly before and after an event: edges bend where trends end"""
    distance = (times - event.time) / signal.duration
    before, after = (distance > -1.5) & (distance < -0.5), (distance > 0.5) & (distance < 1.5)
    return before.any() and after.any()


def _is_missing(event, signal):
    """Whether there is hardly a dip at the time of a transit"""
    lacking = (signal.depth - event.depth) / event.depth_err
    return lacking > MISSING_SIGMA and event.depth < MAX_MISSING * signal.depth


def _is_one_sample(signal, event, times, flux, weight):
    """Whether an event's depth is that of its deepest sample, and the others show hardly any"""
    inside = np.flatnonzero(np.abs(times - event.time) < 0.5 * signal.duration)
    if len(inside) <= MIN_SAMPLES:
        return False
    inside = np.delete(inside, np.argmin(flux[inside]))
    shape = transit_shape(times[inside], signal.period, signal.t0, signal.duration)
    depth, _ = _depth_of_shape(flux[inside], weight[inside], shape)
    return depth < 0.5 * MIN_REST_DEPTH * event.depth


def settle_period(times, flux, errors, signal, *, period_min=0.0, period_max=np.inf):
    """The signal at the period that its dips have, among P, P/2, P/3, 2P and 3P.

    A fraction of P is taken where there are dips between the transits as well, each kind with a S/N
    of 3, and together they explain more; a multiple where some of the transits are missing. Then
    the periods are listed that the gaps of the light curve leave open; the longest, which needs the
    fewest transits that nobody saw, becomes the signal's.

    Parameters
    ----------
    times, flux : (n,) arrays; flux about 1 outside transits
    errors : (n,) array or None, as in `fit_transit`
    signal : TransitSignal
    period_min, period_max : float, d

    Returns
    -------
    TransitSignal
    """
    if errors is None:
        errors = _scatter(flux, np.abs(signal.phase(times)) > signal.duration)

    def again(period, t0):
        return fit_transit(
            times,
            flux,
            errors,
            period=period,
            t0=t0,
            duration=min(signal.duration, 0.5 * period),
            period_uncertainty=signal.period_uncertainty * period / signal.period,
            sde=signal.sde,
        )

    for _ in range(MAX_ALIAS):
        better = _better_period(times, flux, errors, signal, period_min, period_max)
        if better is None:
            break
        signal = again(*better)
    seen = [event.number for event in signal.events if event.samples >= MIN_SAMPLES]
    step = int(np.gcd.reduce(np.diff(seen))) if len(seen) > 1 else 1
    baseline = np.ptp(times)
    if step > 1 and step * signal.period <= min(period_max, baseline):
        signal = again(step * signal.period, signal.t0 + seen[0] * signal.period)
    return replace(signal, possible_periods=_possible_periods(times, signal, max(period_min, 0.0)))


def _better_period(times, flux, errors, signal, period_min, period_max):
    """(period, t0) that explains more than the signal's own, or None"""
    weight, gain = errors**-2.0, max(signal.snr, 0) ** 2
    for part in range(2, MAX_ALIAS + 1):
        period = signal.period / part
        if period < period_min or signal.duration > 0.5 * period:
            continue
        depths = [
            fitted_depth(
                times, flux, weight, signal.period, signal.t0 + k * period, signal.duration
            )
            for k in range(1, part)
        ]
        if any(not _is_alike(signal, depth, error) for depth, error in depths):
            continue
        depth, error = fitted_depth(times, flux, weight, period, signal.t0, signal.duration)
        if (depth / error) ** 2 > gain:
            return period, signal.t0
    for factor in range(2, MAX_ALIAS + 1):
        period = factor * signal.period
        if period > min(period_max, np.ptp(times)):
            continue
        classes = [
            [event for event in signal.events if event.number % factor == k] for k in range(factor)
        ]
        depths = [mean_depth(members) for members in classes]
        snr = [depth / error for depth, error in depths]
        best = int(np.nanargmax(snr))
        if len(classes[best]) < 2:
            continue
        others, error = mean_depth(
            [event for k, members in enumerate(classes) if k != best for event in members]
        )
        apart = (depths[best][0] - others) / np.hypot(depths[best][1], error)
        if apart >= MIN_CLASS_SNR and snr[best] ** 2 > gain:
            return period, signal.t0 + best * signal.period
    return None


def _is_alike(signal, depth, error):
    """Whether a dip between the transits is one of them: there, and as deep"""
    difference = abs(depth - signal.depth)
    as_deep = difference < max(
        LIKE_DEPTH * signal.depth, MIN_CLASS_SNR * np.hypot(error, signal.depth_err)
    )
    return depth / error >= MIN_CLASS_SNR and as_deep


def _possible_periods(times, signal, period_min):
    """Periods P/k at which every transit but those seen falls into a gap, longest first"""
    possible = [signal.period]
    seen = {event.number for event in signal.events}
    for k in range(2, MAX_POSSIBLE + 1):
        period = signal.period / k
        if period < max(period_min, 2 * signal.duration):
            break
        near = np.abs(fold_phase(times, period, signal.t0)) < 0.5 * signal.duration
        number = np.rint((times[near] - signal.t0) / period).astype(int)
        extra = [n for n in np.unique(number) if n % k or n // k not in seen]
        if not extra:
            possible.append(period)
    return tuple(float(period) for period in possible)
