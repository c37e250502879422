"""Transits over four years: speed, planets found, and completeness beside the full grid of periods.

    python benchmarks/bench_long.py [--method tls|bls] [--seed 1] [--completeness 200]

17 simulated quarters of a star with six planets, searched on one core. With ``--completeness N``: N
planets of 0.5 to 400 d, one by one, in light curves of 1,200 d: how many have a S/N of 7.1 by boxes
on the grid that is limited by drift, and on the full one, uniform in frequency.
"""

import argparse
import time

import numpy as np

PLANETS = ((3.7, 180), (8.2, 220), (19.3, 260), (41.7, 380), (97.3, 500), (217.0, 800))  # d, ppm
NOISE = 100e-6  # of 29.4 minutes
CADENCE = 29.4244  # min
SNR_MIN = 7.1


def transits(times, period, t0, depth):
    """Relative flux of a planet of a Sun-like star"""
    from photometry.transits.transit_model import inclination_of_impact, separation, transit_flux

    axis = 4.2 * period ** (2 / 3)
    orbit = {"period": period, "t0": t0, "semi_major_axis": axis}
    distance = separation(times, inclination=inclination_of_impact(0.2, axis), **orbit)
    return transit_flux(distance, np.sqrt(depth / 1.2), 0.48, 0.19)


def quarters(seed, planets=PLANETS):
    """Times and flux of 17 quarters of 90 d with gaps of 3 d, 1 % of the samples lost"""
    rng = np.random.default_rng(seed)
    step = CADENCE / 1440
    times = np.concatenate([93.0 * k + np.arange(0, 90, step) for k in range(17)])
    times = times[rng.uniform(size=len(times)) > 0.01]
    flux = 1 + NOISE * rng.standard_normal(len(times))
    for period, ppm in planets:
        flux *= transits(times, period, rng.uniform(0, period), ppm * 1e-6)
    return times, flux


def search(method, seed):
    from photometry.lightcurve import LightcurveArbitraryRaster
    from photometry.transits import search_lightcurve

    times, flux = quarters(seed)
    lc = LightcurveArbitraryRaster(times, flux)
    search_lightcurve(lc.select(slice(3000)), method=method, threads=1)  # compile
    start = time.process_time()
    found = search_lightcurve(lc, method=method, max_planets=8, threads=1)
    seconds = time.process_time() - start
    print(f"{method}, seed {seed}: {len(times)} samples, {seconds:.1f} s of one core")
    for signal, _ in found.planets:
        error = min(abs(signal.period / period - 1) for period, _ in PLANETS)
        print(f"  {signal.period:12.6f} d  off by {error:.1e}  S/N {signal.snr:.1f}")


def completeness(count, seed, days=1200.0):
    """S/N of planets of 0.5 to 400 d on our grid, and on the full one.

    The full grid is that of astropy's ``autoperiod``, uniform in frequency, with its durations.
    Looked at are the periods within 0.1 % of each planet's: a finer grid finds more noise
    elsewhere, never more planets.

    Parameters
    ----------
    count : int, number of planets
    seed : int
    days : float, d, length of the light curves

    Returns
    -------
    (count, 2) array of S/N of the best box, on our grid and on the full one
    """
    from photometry.transits import planets
    from photometry.transits.transit_model import DURATIONS, uniform_frequencies

    rng, times, snr = np.random.default_rng(seed), np.arange(0, days, CADENCE / 1440), []
    for _ in range(count):
        period = float(np.exp(rng.uniform(np.log(0.5), np.log(400))))
        dip = 1 - transits(times, period, rng.uniform(0, period), 1e-4)
        flux = 1 - dip * rng.uniform(6, 12) * NOISE / np.sqrt(np.sum(dip**2))
        flux = flux + NOISE * rng.standard_normal(len(times))
        low, high = 0.999 * period, 1.001 * period
        full = uniform_frequencies(np.ptp(times), DURATIONS.min(), low, high)
        grids = (
            planets._grid("bls", times, low, high),
            planets._Grid("bls", full, ((0, len(full), DURATIONS),)),
        )
        power = [planets._Trials(g, times, flux, None, 1, None).gain.max() for g in grids]
        snr.append(np.sqrt(2 * np.array(power)))
    return np.array(snr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=["tls", "bls"], default="tls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--completeness", type=int, default=0, metavar="N")
    args = parser.parse_args()
    if args.completeness:
        snr = completeness(args.completeness, args.seed)
        ours, full = (snr >= SNR_MIN).sum(axis=0)
        ratio = np.median(snr[:, 0] / snr[:, 1])
        print(
            f"{args.completeness} planets, seed {args.seed}: above S/N {SNR_MIN} on our grid "
            f"{ours}, "
            f"on the full one {full}; median ratio of the S/N {ratio:.4f}"
        )
    else:
        search(args.method, args.seed)


if __name__ == "__main__":
    main()
