"""`TransitSignal`: a transit that a search found, fitted to the samples themselves."""

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from .tls import template

# The fit looks at this grid around the guess, then again around its best point
T0_STEPS = np.linspace(-0.5, 0.5, 13)  # of the duration
DURATION_STEPS = np.geomspace(0.75, 1.35, 9)
PERIOD_STEPS = np.linspace(
    -1, 1, 21
)  # of the change that moves a transit at the end of the light curve by its duration
ROUNDS = 3


@dataclass(frozen=True)
class TransitSignal:
    """What is known of one periodic transit. Times in the unit and zero point of the light curve."""

    period: float  # d
    period_uncertainty: float  # d, half of the peak's width; NaN where it was not searched
    t0: float  # d, middle of the first transit within the light curve
    duration: float  # d, first to last contact
    depth: float  # relative, at its deepest
    depth_err: float
    snr: float  # depth over its error
    sde: float  # signal detection efficiency of the search; NaN for other searches
    transit_count: int  # transits within the light curve that have samples
    odd_even: float  # difference of the depths of odd and even transits, in standard deviations; large: an eclipsing binary

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


NOTHING = TransitSignal(
    *[float("nan")] * 6, snr=0.0, sde=float("nan"), transit_count=0, odd_even=float("nan")
)


def transit_shape(times, period, t0, duration):
    """(n,) array: depth at each time, 1 at the deepest, 0 outside transits; the template of the search."""
    phase = _phase(times, period, t0) / (0.5 * duration)
    shape, inside = np.zeros(len(phase)), np.abs(phase) < 1
    shape[inside] = np.interp(np.abs(phase[inside]), *_template_table())
    return shape


@lru_cache(maxsize=1)
def _template_table():
    """The template between middle (0) and last contact (1)"""
    grid = np.linspace(0, 1, 2001)
    return grid, template(grid)


def fit_transit(
    times, flux, errors, *, period, t0, duration, period_uncertainty=np.nan, sde=np.nan
):
    """Fit period, time, duration and depth of a transit that a search found, on the samples.

    Parameters
    ----------
    times, flux : (n,) arrays; flux about 1 outside transits
    errors : (n,) array, or None: all equal to the standard deviation of the flux outside the transit
    period, t0, duration : float, d; the guess
    period_uncertainty, sde : float, handed on

    Returns
    -------
    TransitSignal
    """
    if errors is None:
        outside = np.abs(_phase(times, period, t0)) > duration
        errors = np.full(len(times), np.std(flux[outside]) if outside.any() else np.std(flux))
    weight = 1 / errors**2
    t0 += period * np.rint(
        (np.mean(times) - t0) / period
    )  # in the middle, where it does not depend on the period
    # only these change from one trial to the next
    near = np.abs(_phase(times, period, t0)) < 2 * duration
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
    depth, depth_err = _depth(times, flux, weight, period, t0, duration)
    first = t0 + period * np.ceil((times.min() - t0) / period)
    number = np.rint((times - first) / period).astype(int)
    inside = np.abs(_phase(times, period, t0)) < 0.5 * duration
    return TransitSignal(
        period=float(period),
        period_uncertainty=float(period_uncertainty),
        t0=float(first),
        duration=float(duration),
        depth=float(depth),
        depth_err=float(depth_err),
        snr=float(depth / depth_err),
        sde=float(sde),
        transit_count=len(np.unique(number[inside])),
        odd_even=_odd_even(times, flux, weight, period, t0, duration, number),
    )


def _phase(times, period, t0):
    """Days from the nearest mid-transit time"""
    return (times - t0 + 0.5 * period) % period - 0.5 * period


def _gain(times, flux, weight, period, t0, duration):
    """By how much the best transit of this time and duration lowers chi^2"""
    shape = transit_shape(times, period, t0, duration)
    return max(np.sum(weight * (1 - flux) * shape), 0) ** 2 / max(np.sum(weight * shape**2), 1e-300)


def _depth(times, flux, weight, period, t0, duration):
    """Depth by linear least squares, and its error; (NaN, NaN) without a sample in transit"""
    shape = transit_shape(times, period, t0, duration)
    norm = np.sum(weight * shape**2)
    return (
        (np.sum(weight * (1 - flux) * shape) / norm, norm**-0.5) if norm > 0 else (np.nan, np.nan)
    )


def _odd_even(times, flux, weight, period, t0, duration, number):
    """Difference of the depths of odd and even transits in standard deviations; NaN where only one kind has samples"""
    depths = [
        _depth(times[half], flux[half], weight[half], period, t0, duration)
        for half in (number % 2 == 0, number % 2 == 1)
    ]
    (even, even_err), (odd, odd_err) = depths
    return float(abs(even - odd) / np.hypot(even_err, odd_err))
