"""Find the transits of one planet, or of several, one after the other."""

import numpy as np

from ..errors import WrongUseError
from .bls import search_boxes
from .fit import NOTHING, fit_transit
from .periods import box_periods
from .tls import half_width, sde_of_power, transit_periodogram

SDE_THRESHOLD = 7.0  # Hippke & Heller 2019, section 3.1: 1 % false alarms in white noise
MASKED = 1.5  # durations around each transit that are taken out before the next search
METHODS = ("tls", "bls")
MIN_SAMPLES = 10
MIN_TRANSITS = 2  # with samples; a lone dip is taken out, but is no planet
MAX_SEARCHES = 3  # per planet asked for


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
    lc, *, method="tls", period_min=None, period_max=None, use_errors=False, threads=None
):
    """The strongest periodic transit of a light curve.

    Parameters
    ----------
    lc : Lightcurve, detrended (`photometry.lightcurve.flatten`)
    method : str, 'tls' or 'bls'
    period_min, period_max : float, d, optional. TLS: from an orbit of 3 stellar radii to half the length of the light
        curve; BLS: from 0.5 d to half the length
    use_errors : bool
        Weigh samples by their errors; by default all weigh the same, which is faster
    threads : int, optional

    Returns
    -------
    signal : TransitSignal
    periodogram : TransitPeriodogram or BoxPeriodogram
    """
    if method not in METHODS:
        raise WrongUseError(f"method={method!r}: expected {' or '.join(METHODS)}")
    times, flux, errors = good_samples(lc)
    return _find(
        times, flux, errors if use_errors else None, method, period_min, period_max, threads
    )


def find_planets(
    lc,
    *,
    max_planets=5,
    sde_threshold=SDE_THRESHOLD,
    method="tls",
    period_min=None,
    period_max=None,
    threads=None,
):
    """All transits of a light curve, the strongest first: each is taken out before the next is searched.

    Parameters
    ----------
    max_planets : int
    sde_threshold : float, stop at the first signal whose detection efficiency is lower

    Returns
    -------
    list of (TransitSignal, periodogram)
    """
    times, flux, _ = good_samples(lc)
    found = []
    for _ in range(MAX_SEARCHES * max_planets):
        if len(found) == max_planets or len(times) < MIN_SAMPLES:
            break
        signal, periodogram = _find(times, flux, None, method, period_min, period_max, threads)
        if not signal.sde >= sde_threshold:
            break
        if signal.transit_count >= MIN_TRANSITS:
            found.append((signal, periodogram))
        phase = (times - signal.t0 + 0.5 * signal.period) % signal.period - 0.5 * signal.period
        outside = np.abs(phase) > 0.5 * MASKED * signal.duration
        times, flux = times[outside], flux[outside]
    return found


def _find(times, flux, errors, method, period_min, period_max, threads):
    search = _search_tls if method == "tls" else _search_bls
    periodogram, sde = search(times, flux, errors, period_min, period_max, threads)
    best = periodogram.best
    guess = {
        "period": periodogram.period[best],
        "t0": periodogram.transit_time[best],
        "duration": periodogram.duration[best],
    }
    if not (np.isfinite(sde) and guess["duration"] > 0):
        return NOTHING, periodogram
    uncertainty = half_width(periodogram.period, periodogram.power)
    return fit_transit(
        times, flux, errors, **guess, period_uncertainty=uncertainty, sde=sde
    ), periodogram


def _search_tls(times, flux, errors, period_min, period_max, threads):
    limits = {"period_min": period_min or 0.0, "period_max": period_max or np.inf}
    periodogram = transit_periodogram(times, flux, errors, **limits, threads=threads)
    return periodogram, periodogram.sde


def _search_bls(times, flux, errors, period_min, period_max, threads):
    periodogram = search_boxes(
        times, flux, errors, box_periods(times, period_min, period_max), threads=threads
    )
    return periodogram, sde_of_power(periodogram.power)
