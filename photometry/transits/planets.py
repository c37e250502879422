"""Find the transits of one planet, or of several, one after the other.

The first search looks at every period of the grid. Before the next one the transits that were found
are taken out. That lowers what other periods explain, if it changes it at all, so the last result
is a bound for the next: every sixteenth period is searched again, for the statistics, then the
highest of the others, until no bound is left above what was found.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2 as chi2_distribution

from ..errors import ArgumentError, WrongUseError
from . import bls, tls
from .fit import (
    NOTHING,
    PERIODIC,
    SINGLE_DIP,
    fit_transit,
    fitted_depth,
    fold_phase,
    settle_period,
)
from .folding import half_width, prepare, sde_of_power
from .transit_model import DURATIONS, drift_periods, transit_duration

SDE_THRESHOLD = 7.0  # Hippke & Heller 2019, section 3.1: 1 % false alarms in white noise
SNR_THRESHOLD = 7.1  # Jenkins et al. 2002, ApJ 564, 495: one false alarm in Kepler's whole search
DIP_SNR = 10.0  # of a dip that is reported whatever the SDE
MASKED = 1.5  # durations around each transit that are taken out before the next search
METHODS = ("tls", "bls")
MIN_SAMPLES = 10
PER_PERIOD = 4  # samples that the shortest period holds
MAX_SEARCHES = 3  # per planet asked for
REGULAR = 16  # one of so many periods is always searched again
BOUND = 0.9  # of the highest gain: periods whose bound is above it are searched again
AGAIN = 1024  # of them at a time
SAME_PERIOD = 0.005  # relative difference of periods that are the same
MAX_RATIO = 10  # of the periods of one train of dips


class Dip(NamedTuple):
    """One dip, seen once."""

    time: float  # d, its middle
    depth: float  # relative
    depth_err: float
    duration: float  # d
    snr: float
    samples: int


class Search(NamedTuple):
    """What was found in a light curve."""

    planets: list  # of (TransitSignal, periodogram), the strongest first
    dips: list  # of Dip
    longest_period: float  # d, of the grid that was searched
    shortest_period: float


def good_samples(lc):
    """Times, relative flux and errors of the samples that are not flagged.

    Returns
    -------
    times, flux : (n,) arrays; flux over its median
    errors : (n,) array, or None where a light curve does not know them
    """
    good = lc.good() & np.isfinite(lc.fluxes)
    if good.sum() < MIN_SAMPLES:
        raise WrongUseError(
            f"{lc!r}: {good.sum()} good samples; a search needs at least {MIN_SAMPLES}"
        )
    level = np.median(lc.fluxes[good])
    if not level > 0:
        raise WrongUseError(
            f"{lc!r}: the median of its good samples is {level:g}; a search needs flux above zero"
        )
    errors = lc.uncertainties[good] / level
    usable = np.isfinite(errors).all() and (errors > 0).all()
    return lc.get_times()[good], lc.fluxes[good] / level, errors if usable else None


def find_transits(
    lc,
    *,
    method="tls",
    period_min=None,
    period_max=None,
    use_errors=False,
    threads=None,
    progress=None,
):
    """The strongest transit of a light curve, periodic or a single dip (`TransitSignal.kind`).

    Parameters
    ----------
    lc : Lightcurve, detrended (`photometry.lightcurve.flatten`)
    method : str, 'tls' or 'bls'
    period_min, period_max : float, d, optional. TLS: from an orbit of 3 stellar radii to half the
        length of the light curve; BLS: from 0.5 d to half the length. Up to the whole length
    use_errors : bool
        Weigh samples by their errors; by default all weigh the same, which is faster
    threads : int, optional
    progress : callable, optional, ``progress(done, total)``, periods

    Returns
    -------
    signal : TransitSignal
    periodogram : TransitPeriodogram or BoxPeriodogram
    """
    _check_method(method)
    times, flux, errors = good_samples(lc)
    errors = errors if use_errors or lc.metadata.get("joined") else None
    grid = _grid(method, times, period_min, period_max)
    trials = _Trials(grid, times, flux, errors, threads, progress)
    return _fitted(times, flux, errors, trials, period_min, period_max)


def find_planets(lc, **options):
    """All planets of a light curve: the ``planets`` of `search_lightcurve`, with its options.

    Returns
    -------
    list of (TransitSignal, periodogram)
    """
    return search_lightcurve(lc, **options).planets


def search_lightcurve(
    lc,
    *,
    max_planets=5,
    sde_threshold=SDE_THRESHOLD,
    snr_threshold=SNR_THRESHOLD,
    method="tls",
    period_min=None,
    period_max=None,
    threads=None,
    progress=None,
):
    """All transits of a light curve, the strongest first, and dips that were seen once.

    Each is taken out before the next is searched. One train of dips is never two planets: what has
    the period of a planet found before, or a multiple or fraction of it in phase with it, is left
    over of that one, and is taken out without being reported.

    Parameters
    ----------
    lc : Lightcurve, detrended; the samples of one made by `photometry.lightcurve.stitch` are
        weighted by their errors
    max_planets : int
    sde_threshold : float, stop at the first signal whose detection efficiency is lower
    snr_threshold : float, or whose S/N is lower
    method, period_min, period_max, threads, progress : as in `find_transits`

    Returns
    -------
    Search
    """
    _check_method(method)
    times, flux, errors = good_samples(lc)
    errors = errors if lc.metadata.get("joined") else None
    grid = _grid(method, times, period_min, period_max)
    trials = _Trials(grid, times, flux, errors, threads, progress)
    planets, dips = [], []
    for _ in range(MAX_SEARCHES * max_planets):
        signal, periodogram = _fitted(times, flux, errors, trials, period_min, period_max)
        # a dip that comes once has no period, of which the SDE would speak
        alone = signal.kind == SINGLE_DIP and signal.strongest.snr >= DIP_SNR
        if not (signal.snr >= snr_threshold and (alone or signal.sde >= sde_threshold)):
            break
        if signal.kind == SINGLE_DIP:
            dip = _dip(times, flux, errors, signal)
            dips.append(dip)
            outside = np.abs(times - dip.time) > 0.5 * MASKED * dip.duration
        else:
            is_new = not any(_same_train(signal, planet) for planet, _ in planets)
            if signal.kind == PERIODIC and is_new:
                planets.append((signal, periodogram))
            outside = np.abs(signal.phase(times)) > 0.5 * MASKED * signal.duration
        if outside.all() or outside.sum() < MIN_SAMPLES or len(planets) == max_planets:
            break
        times, flux = times[outside], flux[outside]
        errors = None if errors is None else errors[outside]
        trials.search_again(times, flux, errors)
    return Search(planets, dips, float(grid.periods.max()), float(grid.periods.min()))


def without(lc, signals):
    """The light curve without the transits of other signals.

    Parameters
    ----------
    lc : LightcurveArbitraryRaster
    signals : sequence of TransitSignal
    """
    keep = np.ones(len(lc), dtype=bool)
    for other in signals:
        keep &= np.abs(other.phase(lc.get_times())) > 0.75 * other.duration
    return lc.select(keep)


def part_depths(lc, signal):
    """Depth of each part of a stitched light curve.

    Parameters
    ----------
    lc : Lightcurve, from `photometry.lightcurve.stitch`
    signal : TransitSignal

    Returns
    -------
    tuple of (name, depth, error), parts with a transit only; empty for other light curves
    """
    if not lc.metadata.get("joined"):
        return ()
    times, flux, errors = good_samples(lc)
    rows = []
    for part in lc.metadata["parts"]:
        own = (times >= part.start) & (times <= part.end)
        if errors is None or not own.any():
            continue
        depth, error = fitted_depth(
            times[own], flux[own], errors[own] ** -2.0, signal.period, signal.t0, signal.duration
        )
        if np.isfinite(depth):
            rows.append((part.name, float(depth), float(error)))
    return tuple(rows)


def agreement(parts):
    """Probability that the depths of parts scatter as they do by chance; NaN with fewer than 2"""
    if len(parts) < 2:
        return float("nan")
    depth, error = np.array([part[1:] for part in parts]).T
    mean = np.average(depth, weights=error**-2.0)
    return float(chi2_distribution.sf(np.sum(((depth - mean) / error) ** 2), len(parts) - 1))


def _fitted(times, flux, errors, trials, period_min, period_max):
    periodogram, sde = trials.periodogram()
    best = periodogram.best
    duration = periodogram.duration[best]
    if not (np.isfinite(sde) and duration > 0):
        return NOTHING, periodogram
    signal = fit_transit(
        times,
        flux,
        errors,
        period=periodogram.period[best],
        t0=periodogram.transit_time[best],
        duration=duration,
        period_uncertainty=half_width(periodogram.period, periodogram.power),
        sde=sde,
    )
    if signal.kind == PERIODIC:
        limits = {
            "period_min": period_min or trials.grid.periods.min(),
            "period_max": period_max or np.inf,
        }
        signal = settle_period(times, flux, errors, signal, **limits)
    return signal, periodogram


def _dip(times, flux, errors, signal):
    """The strongest event of a signal, fitted alone"""
    event, far = signal.strongest, 10 * np.ptp(times)
    near = np.abs(times - event.time) < 3 * signal.duration
    if errors is None:
        outside = np.abs(signal.phase(times)) > signal.duration
        errors = np.full(len(times), np.std(flux[outside]) if outside.any() else np.std(flux))
    alone = fit_transit(
        times[near],
        flux[near],
        errors[near],
        period=far,
        t0=event.time,
        duration=signal.duration,
    )
    if not alone.events:
        return Dip(event.time, event.depth, event.depth_err, signal.duration, event.snr, 1)
    samples = alone.events[0].samples
    time = float(alone.t0 if alone.t0 < times.max() + signal.duration else alone.t0 - far)
    return Dip(time, alone.depth, alone.depth_err, alone.duration, alone.snr, samples)


def _same_train(signal, planet):
    """Whether a signal's transits are those of a planet that was found before, or edges of them"""
    if abs(signal.period / planet.period - 1) < SAME_PERIOD:
        return True
    long, short = max(signal.period, planet.period), min(signal.period, planet.period)
    ratio = round(long / short)
    if not 2 <= ratio <= MAX_RATIO:
        return False
    slow, fast = (signal, planet) if signal.period > planet.period else (planet, signal)
    times = np.array([event.time for event in slow.events])
    reach = 0.5 * (slow.duration + fast.duration)
    return bool((np.abs(fold_phase(times, fast.period, fast.t0)) < reach).all())


class _Grid(NamedTuple):
    """The periods of a search, in bands in which the same durations are tried."""

    method: str
    periods: np.ndarray  # (n,) d, from the longest to the shortest
    bands: tuple  # of (first, end, durations [d]); durations None: TLS chooses them


def _check_method(method):
    if method not in METHODS:
        raise WrongUseError(f"method={method!r}: expected {' or '.join(METHODS)}")


def shortest_period(times):
    """The shortest period of which a light curve says something: a few samples each, d"""
    return PER_PERIOD * float(np.median(np.diff(times)))


def _grid(method, times, period_min, period_max):
    lowest = shortest_period(times)
    if period_min is not None and period_min < lowest:
        raise ArgumentError(
            f"period_min={period_min:g}: expected at least {lowest:.3g} d, {PER_PERIOD} samples of "
            "this light curve"
        )
    baseline = float(np.ptp(times))
    if method == "tls":
        periods = tls.default_periods(baseline, period_min, period_max)
        return _Grid(method, periods, ((0, len(periods), None),))
    # boxes: the shortest transit of the smallest star (as TLS) grows with the period, and with it
    # durations, bins and the step of the grid, in steps of the root of two
    periods = drift_periods(baseline, period_min, period_max)
    scale = np.maximum(transit_duration(periods, **tls.SMALL_STAR) / DURATIONS.min(), 1.0)
    octave = np.floor(2 * np.log2(scale)).astype(int)
    parts, bands, first = [], [], 0
    for k in np.unique(octave)[::-1]:
        factor = 2 ** (0.5 * k)
        ends = periods[octave == k][[0, -1]]
        count = int(np.ceil((octave == k).sum() / factor)) + 1
        parts.append(np.geomspace(*ends, count))
        bands.append((first, first + count, factor * DURATIONS))
        first += count
    return _Grid(method, np.concatenate(parts), tuple(bands))


class _Trials:
    """The best transit at every period of a grid, kept while samples are taken out."""

    def __init__(self, grid, times, flux, errors, threads, progress):
        self.grid, self.threads = grid, threads
        n = len(grid.periods)
        self.gain, self.depth, self.middle, self.duration = (np.zeros(n) for _ in range(4))
        self.fresh = np.zeros(n, dtype=bool)
        self.regular = np.arange(n) % REGULAR == 0
        self._take(times, flux, errors)
        self._search(np.arange(n), progress)
        self._everything = True

    def _take(self, times, flux, errors):
        level = 1.0 if self.grid.method == "tls" else None
        self.samples = prepare(times, flux, errors, level=level)
        self.fresh[:] = False

    def search_again(self, times, flux, errors):
        """Search the periods that matter, after samples were taken out.

        Parameters
        ----------
        times, flux : (n,) arrays of the samples that remain; flux about 1
        errors : (n,) array or None
        """
        self._take(times, flux, errors)
        self._everything = False
        self._search(np.flatnonzero(self.regular))
        while True:
            top = self.gain[self.fresh].max()
            stale = np.flatnonzero(~self.fresh & (self.gain >= BOUND * top))
            if len(stale) == 0:
                return
            self._search(np.sort(stale[np.argsort(-self.gain[stale])[:AGAIN]]))

    def _search(self, chosen, progress=None):
        """Search the periods of these indices, sorted"""
        for first, end, durations in self.grid.bands:
            own = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, end)]
            if len(own) == 0:
                continue
            periods = np.ascontiguousarray(self.grid.periods[own])
            report = None
            if progress is not None:

                def report(done, total, first=first):
                    progress(first + done, len(self.grid.periods))

            if durations is None:
                found = tls.best_transits(
                    self.samples, periods, threads=self.threads, progress=report
                )
                middle = found.start + 0.5 * found.duration
                columns = found.gain, found.depth, middle, found.duration
            else:
                found = bls.coarse_boxes(
                    self.samples, periods, durations, threads=self.threads, progress=report
                )
                middle = found.transit_time - self.samples.start
                columns = found.power, found.depth, middle, found.duration
            names = ("gain", "depth", "middle", "duration")
            for name, values in zip(names, columns, strict=True):
                getattr(self, name)[own] = values
            self.fresh[own] = True

    def periodogram(self):
        """Periodogram of the periods that were searched last, and its SDE"""
        fresh, samples = self.fresh, self.samples
        periods = self.grid.periods[fresh]
        middle = np.mod(self.middle[fresh], periods)
        regular = None if self._everything else self.regular[fresh]
        if self.grid.method == "tls":
            trials = tls.Trials(
                periods,
                self.gain[fresh],
                self.depth[fresh],
                middle - 0.5 * self.duration[fresh],
                self.duration[fresh],
            )
            periodogram = tls.to_periodogram(samples, trials, regular)
            return periodogram, periodogram.sde
        periodogram = bls.BoxPeriodogram(
            periods,
            self.gain[fresh],
            self.depth[fresh],
            np.full(len(periods), np.nan),
            self.duration[fresh],
            middle + samples.start,
            np.ones(len(periods), dtype=bool),
        )
        power = periodogram.power
        spread = power if regular is None else np.append(power[regular], power.max())
        return periodogram, sde_of_power(spread)
