"""The transit searches of task chains: a light curve and settings in, a dict of plain results
out."""

import inspect
from numbers import Real

import numpy as np

from ..errors import ArgumentError, WrongUseError
from ..transits.bls import N_BINS, box_periodogram, edge_effect_periodogram, search_boxes
from ..transits.fit import NOTHING, fit_transit
from ..transits.planets import MIN_SAMPLES, good_samples
from ..transits.qats import quasi_periodic_search
from ..transits.tls import transit_periodogram
from ..transits.transit_model import box_periods
from .quality_control import detection_details, transit_detection_quality_control

DURATION_MIN, DURATION_MAX = 0.05, 0.2  # d, of Kovács' search
COPIED = ("integrated_transit_power", "pixels_in_transit", "mes")


def run_search(name, lc, lc_duration, search_settings=None, *, threads=None):
    """Run a transit search as the task of that name does.

    Parameters
    ----------
    name : str, a key of `SEARCHES`
    lc : Lightcurve
    lc_duration : float, d
        Search only 0 <= t < lc_duration; None: all
    search_settings : dict, optional, see the search
    threads : int, optional; all cores by default

    Returns
    -------
    dict : the results of the search; ``outcome`` and ``target_period``
        (`transit_detection_quality_control`), ``harmonic`` and ``t0_offset``
        (`detection_details`); ``integrated_transit_power``, ``pixels_in_transit``, ``mes`` of the
        light curve, if it has them

    Raises
    ------
    WrongUseError : unknown search or setting, a setting outside its range, or too few samples
    """
    if name not in SEARCHES:
        raise WrongUseError(f"search {name!r} is not known; known are {', '.join(SEARCHES)}")
    search = SEARCHES[name]
    settings = _checked_settings(name, search, search_settings or {})
    result = search(lc, lc_duration, **settings, threads=threads)
    quality = {**transit_detection_quality_control(lc, result), **detection_details(lc, result)}
    return {**result, **quality, **{key: lc.metadata[key] for key in COPIED if key in lc.metadata}}


def _checked_settings(name, search, settings):
    """Those settings that are given (None is not), refused if unknown or not what a search can
    take"""
    accepted = [
        key
        for key, value in inspect.signature(search).parameters.items()
        if value.kind is value.KEYWORD_ONLY and key != "threads"
    ]
    unknown = sorted(set(settings) - set(accepted))
    if unknown:
        raise WrongUseError(
            f"{name}: unknown search setting {', '.join(map(repr, unknown))}; accepted are "
            f"{', '.join(accepted)}"
        )
    given = {key: value for key, value in settings.items() if value is not None}
    for key, value in given.items():
        if key != "exact" and (
            isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < np.inf
        ):
            raise ArgumentError(f"{name}: {key}={value!r}: expected a number, 0 or more")
    return given


def search_tls(lc, lc_duration, *, period_min=None, period_max=None, threads=None):
    """Transit least squares (`tls`).

    Parameters
    ----------
    lc : LightcurveArbitraryRaster
    lc_duration : d, only samples before this are searched
    period_min, period_max : d, or None: as `tls` has them
    threads : int, or None: one per core that this process may use

    Returns
    -------
    dict of ``period`` [d] (NaN where nothing was fitted), ``transit_count``, ``depth`` (the flux
    in the middle of the transit: 0.999 for one of 1000 ppm), ``depth_ppm``, ``duration`` [d],
    ``sde``, and, beyond the original's, ``t0`` [d] and ``snr``
    """
    times, flux, _ = _samples(lc, lc_duration)
    limits = {"period_min": period_min or 0.0, "period_max": period_max or np.inf}
    periodogram = transit_periodogram(times, flux, **limits, threads=threads)
    signal = NOTHING if np.isnan(periodogram.sde) else _fitted(times, flux, periodogram)
    return {
        "period": signal.period,
        "transit_count": signal.transit_count,
        "depth": 1 - signal.depth,
        "depth_ppm": 1e6 * signal.depth,
        "duration": signal.duration,
        "sde": periodogram.sde,
        "t0": signal.t0,
        "snr": signal.snr,
    }


def search_bls_reference(
    lc, lc_duration, *, period_min=0.5, period_max=None, exact=True, threads=None
):
    """Box least squares on astropy's grid: 10 durations from 0.05 to 0.2 d, frequency step 2 *
    0.05 / length^2.

    Parameters
    ----------
    lc : LightcurveArbitraryRaster
    lc_duration : d, only samples before this are searched
    period_min, period_max : d; None: half the length
    exact : bool; False: the same grid from coarse to fine, which is many times faster
        (`bls.search_boxes`)
    threads : int, or None: one per core that this process may use

    Returns
    -------
    dict of ``period`` [d] (NaN where nothing was fitted), ``power`` (log likelihood), and, beyond
    the original's, ``depth_ppm``, ``duration`` [d], ``t0`` [d], ``snr``
    """
    times, flux, _ = _samples(lc, lc_duration)
    periods = box_periods(times, period_min, period_max)
    periodogram = (box_periodogram if exact else search_boxes)(
        times, flux, None, periods, threads=threads
    )
    best = periodogram.best
    found = periodogram.power[best] > 0
    return {
        "period": float(periodogram.period[best]) if found else float("nan"),
        "power": float(periodogram.power[best]),
        "depth_ppm": 1e6 * float(periodogram.depth[best]),
        "duration": float(periodogram.duration[best]),
        "t0": float(periodogram.transit_time[best]),
        "snr": float(periodogram.depth_snr[best]),
    }


def search_bls_kovacs(lc, lc_duration, *, period_min=0.5, period_max=None, threads=None):
    """Box least squares as Kovács wrote it (`eebls`).

    Transits last from 0.05 to 0.2 d. There are 10 bins of phase, or as many as it takes for the
    shortest transit to fill one.

    Parameters
    ----------
    lc : LightcurveArbitraryRaster
    lc_duration : d, only samples before this are searched
    period_min, period_max : d; None: half the length
    threads : int, or None: one per core that this process may use

    Returns
    -------
    dict of ``period`` [d] (NaN where nothing was fitted), ``power`` (signal residue), ``depth``
    """
    times, flux, _ = _samples(lc, lc_duration)
    periods = box_periods(times, period_min, period_max)
    bins = np.maximum(N_BINS, np.ceil(periods / DURATION_MIN))
    fractions = {"q_min": DURATION_MIN / periods, "q_max": np.minimum(DURATION_MAX / periods, 0.5)}
    power, depth, _ = edge_effect_periodogram(
        times, flux - np.median(flux), periods, n_bins=bins, **fractions, threads=threads
    )
    best = int(np.argmax(np.where(depth > 0, power, -1)))
    found = power[best] > 0 and depth[best] > 0
    return {
        "period": float(periods[best]) if found else float("nan"),
        "power": float(power[best]),
        "depth": float(depth[best]),
    }


def search_qats(
    lc,
    lc_duration,
    *,
    duration_min=0.05,
    duration_max=0.2,
    duration_count=16,
    period_min=4.0,
    min_transit_count=2,
    max_ttv_mag=0.0005,
    threads=None,
):
    """Quasi-periodic transits (`qats`).

    Parameters
    ----------
    lc : LightcurveArbitraryRaster
    lc_duration : d, only samples before this are searched
    duration_min, duration_max : d, of transits
    duration_count : int, durations between these
    period_min : d
    min_transit_count : int
    max_ttv_mag : greatest relative change from one interval between transits to the next
    threads : int, or None: one per core that this process may use

    Returns
    -------
    dict of ``period`` [d] (0 if there is none), ``transit_count``, ``period_span`` (transit_count
    - 1), ``first_transit``, ``last_transit`` [d, middles; NaN if there are none]
    """
    settings = {
        "duration_min": duration_min,
        "duration_max": duration_max,
        "duration_count": int(duration_count),
        "period_min": period_min,
        "min_transit_count": int(min_transit_count),
        "max_ttv_mag": max_ttv_mag,
    }
    cut = _cut(lc, lc_duration)
    if cut.good().sum() < MIN_SAMPLES:
        raise WrongUseError(
            f"{cut!r}: {cut.good().sum()} good samples; a search needs at least {MIN_SAMPLES}"
        )
    return qats_results(quasi_periodic_search(cut, **settings, threads=threads))


def qats_results(search):
    """The result dict of a `QuasiPeriodicSearch`"""
    transits = search.transit_times
    count = len(transits)
    return {
        "period": search.period,
        "transit_count": count,
        "period_span": max(count - 1, 0),
        "first_transit": float(transits[0]) if count else float("nan"),
        "last_transit": float(transits[-1]) if count else float("nan"),
    }


SEARCHES = {
    "transit_search_tls": search_tls,
    "transit_search_bls_reference": search_bls_reference,
    "transit_search_bls_kovacs": search_bls_kovacs,
    "transit_search_qats": search_qats,
}


def _cut(lc, lc_duration):
    return lc if lc_duration is None else lc.truncate_to_length(lc_duration)


def _samples(lc, lc_duration):
    return good_samples(_cut(lc, lc_duration))


def _fitted(times, flux, periodogram):
    best = periodogram.best
    guess = {
        "period": periodogram.period[best],
        "t0": periodogram.transit_time[best],
        "duration": periodogram.duration[best],
    }
    return fit_transit(times, flux, None, **guess, sde=periodogram.sde)
