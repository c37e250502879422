"""Our transit searches beside astropy's BoxLeastSquares and transitleastsquares, on the same light
curves and cores.

    python benchmarks/bench_transits.py [--quick] [--json FILE]

Every search runs in a fresh process, once on a small light curve (so that what is compiled is
compiled), then timed; the best time of up to five counts. Memory is by how much the process grew at
its peak. BLS: the same 10 durations and the same frequency grid from 0.5 d for all; TLS: the
default grid of periods of transitleastsquares. One thread, then all cores; astropy's search knows
only one thread. ``--quick`` leaves out the light curves of 240 days, with which astropy needs
minutes.
"""

import argparse
import multiprocessing
import os
import resource
import time
import warnings
from pathlib import Path

import numpy as np

CASES = [(30, 15), (30, 10), (90, 15), (90, 10), (240, 15), (240, 10), (27, 2)]  # days, minutes
DURATIONS = np.linspace(0.05, 0.2, 10)
PERIOD_MIN = 0.5
SNR = 12.0
ROUNDS, ENOUGH = (
    5,
    5.0,
)  # the best of 5 times counts, or of as many as take 5 seconds: others may use the machine


def light_curve(days, minutes, seed=1):
    """Times, flux and true period: a planet of signal-to-noise 12 with 5 transits or more, in white
    noise of 300 ppm.
    """
    from photometry.transits.transit_model import inclination_of_impact, separation, transit_flux

    times = np.arange(0, days, minutes / 1440)
    period, axis = days / 6.3, 4.2 * (days / 6.3) ** (2 / 3)
    orbit = {
        "period": period,
        "t0": 0.4 * period,
        "semi_major_axis": axis,
        "inclination": inclination_of_impact(0.3, axis),
    }
    dip = 1 - transit_flux(separation(times, **orbit), 0.03, 0.48, 0.19)
    noise = 300e-6 * np.random.default_rng(seed).standard_normal(len(times))
    return times, 1 - dip * SNR * 300e-6 / np.sqrt(np.sum(dip**2)) + noise, period


def box_periods(times):
    from photometry.transits.transit_model import uniform_frequencies

    return uniform_frequencies(np.ptp(times), DURATIONS.min(), PERIOD_MIN, 0.5 * np.ptp(times))


def astropy_bls(times, flux, threads):
    from astropy.timeseries import BoxLeastSquares

    result = BoxLeastSquares(times, flux, dy=np.std(flux)).power(box_periods(times), DURATIONS)
    best = np.argmax(result.power)
    return result.period[best], result.depth_snr[best], len(result.period)


def our_bls(times, flux, threads):
    from photometry.transits import box_periodogram

    return _boxes(box_periodogram(times, flux, None, box_periods(times), threads=threads))


def our_bls_coarse_to_fine(times, flux, threads):
    from photometry.transits import search_boxes

    return _boxes(search_boxes(times, flux, None, box_periods(times), threads=threads))


def _boxes(result):
    return result.period[result.best], result.depth_snr[result.best], len(result.period)


def their_tls(times, flux, threads):
    from transitleastsquares import transitleastsquares

    warnings.simplefilter("ignore")
    options = {"use_threads": threads, "show_progress_bar": False, "verbose": False}
    result = transitleastsquares(times, flux, verbose=False).power(**options)
    return result.period, result.SDE, len(result.periods)


def our_tls(times, flux, threads):
    """With the fit at the best period, which is part of theirs too"""
    from photometry.transits import fit_transit, transit_periodogram

    result = transit_periodogram(times, flux, threads=threads)
    best = result.best
    signal = fit_transit(
        times,
        flux,
        None,
        period=result.period[best],
        t0=result.transit_time[best],
        duration=result.duration[best],
    )
    return signal.period, result.sde, len(result.period)


CORES = len(os.sched_getaffinity(0))
SEARCHES = [  # name, function, threads, whose time it is compared with
    ("astropy BoxLeastSquares", astropy_bls, 1, "astropy BoxLeastSquares"),
    ("ours, BLS, every period", our_bls, 1, "astropy BoxLeastSquares"),
    ("ours, BLS, every period", our_bls, CORES, "astropy BoxLeastSquares"),
    ("ours, BLS, coarse to fine", our_bls_coarse_to_fine, 1, "astropy BoxLeastSquares"),
    ("ours, BLS, coarse to fine", our_bls_coarse_to_fine, CORES, "astropy BoxLeastSquares"),
    ("transitleastsquares", their_tls, 1, "transitleastsquares"),
    ("ours, TLS", our_tls, 1, "transitleastsquares"),
    ("transitleastsquares", their_tls, CORES, "transitleastsquares"),
    ("ours, TLS", our_tls, CORES, "transitleastsquares"),
]


def measure(function, days, minutes, threads, answer):
    """In a process of its own: time [s], peak growth [MB] and result of one search"""
    times, flux, _ = light_curve(days, minutes)
    small = slice(0, max(int(12 * 1440 / minutes), 200))
    function(times[small], flux[small], threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    while not seconds or (len(seconds) < ROUNDS and sum(seconds) < ENOUGH):
        start = time.perf_counter()
        period, statistic, n_periods = function(times, flux, threads)
        seconds.append(time.perf_counter() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    answer.put(
        {
            "seconds": min(seconds),
            "megabytes": grown,
            "period": float(period),
            "statistic": float(statistic),
            "n_periods": int(n_periods),
        }
    )


def run(name, function, threads, days, minutes):
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=measure, args=(function, days, minutes, threads, answer))
    process.start()
    result = answer.get(timeout=3600)
    process.join()
    return {"search": name, "threads": threads, "days": days, "minutes": minutes, **result}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out 240 days")
    parser.add_argument("--smallest", action="store_true", help="only the smallest light curve")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    args = parser.parse_args()
    from figures import Figures, print_load

    print_load()
    figures, rows = Figures("python benchmarks/bench_transits.py"), []
    for days, minutes in CASES[:1] if args.smallest else CASES:
        if args.quick and days == 240:
            continue
        times, _, true = light_curve(days, minutes)
        print(f"\n{days} d at {minutes} min: {len(times)} samples, period {true:.5f} d")
        print(
            f"{'search':28}{'threads':>8}{'time':>10}{'ratio':>8}{'memory':>10}{'periods':>10}"
            f"{'period':>12}{'S/N or SDE':>12}"
        )
        reference = {}
        for name, function, threads, against in SEARCHES:
            row = run(name, function, threads, days, minutes)
            reference.setdefault((name, threads), row["seconds"])
            row["ratio"] = (
                reference.get((against, threads), reference.get((against, 1))) / row["seconds"]
            )
            rows.append(row)
            print(
                f"{name:28}{threads:8d}{row['seconds']:8.3f} "
                f"s{row['ratio']:7.1f}x{row['megabytes']:7.0f} MB{row['n_periods']:10d}"
                f"{row['period']:12.5f}{row['statistic']:12.2f}",
                flush=True,
            )
    note(figures, rows)
    figures.write(args.json)


def note(figures, rows):
    """Searches per second beside the library that each is compared with, on as many cores as that
    can use.
    """
    for row in rows:
        name = f"{row['search']}, {row['threads']} threads, {row['days']} d at {row['minutes']} min"
        against = next(
            other
            for own, _, threads, other in SEARCHES
            if (own, threads) == (row["search"], row["threads"])
        )
        if against != row["search"]:
            rate = 1 / row["seconds"]
            figures.add(f"search, {name}", rate, "1/s", limit=against, bound=rate / row["ratio"])


if __name__ == "__main__":
    main()
