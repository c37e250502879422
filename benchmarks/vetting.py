"""How many false signals does the vetting reject, and how many planets does it pass?

    python benchmarks/vetting.py [--targets 1000] [--seed 1] [--json FILE]

Simulated targets, blind: each is detrended, searched and vetted as ``photometry search`` does it. A
planet passes where its verdict is "candidate" at its own period, or where gaps leave periods open
and its own is listed; of the others, what is not found or has any other verdict is rejected.
Blended eclipses count where their S/N is above 10.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np

DAYS, MINUTES = 54.0, 30.0
KINDS = ("planet", "own eclipses", "blended eclipses", "noise", "pulsator")
WEIGHTS = (0.3, 0.25, 0.15, 0.15, 0.15)
WINDOW = 1.5  # d, of the trend that is removed
MASK_CENTRE = (5.0, 5.0)  # pixels, of the target


def eclipse(times, period, t0, depth, duration, *, grazing=False):
    """Relative flux: a box with round or V-shaped walls, ``depth`` at its deepest"""
    phase = np.abs((times - t0 + 0.5 * period) % period - 0.5 * period) / (0.5 * duration)
    wall = 1.0 if grazing else 0.35
    return 1 - depth * np.clip((1 - phase) / wall, 0, 1)


def transit(times, rng, period, depth):
    """Relative flux of a planet in front of a Sun-like star"""
    from photometry.transits.transit_model import inclination_of_impact, separation, transit_flux

    axis = 4.2 * period ** (2 / 3) * rng.uniform(0.8, 1.2)
    impact = inclination_of_impact(rng.uniform(0, 0.8), axis)
    orbit = {"period": period, "t0": times[0] + rng.uniform(0, period), "semi_major_axis": axis}
    distance = separation(times, inclination=impact, **orbit)
    return transit_flux(distance, np.sqrt(depth / 1.2), 0.45, 0.2)


def simulate(kind, rng):
    """One target.

    Returns
    -------
    dict of ``kind``, ``times`` [d], ``flux`` (relative), ``centroid`` (n, 2) [pixels], ``period``
    [d]
    """
    times = np.arange(0, DAYS, MINUTES / 1440)
    times = times[(times < 25) | (times > 26.5)]
    noise = 10 ** rng.uniform(np.log10(1e-4), np.log10(1e-3))
    flux, shift, period = np.ones(len(times)), np.zeros((len(times), 2)), np.nan
    if kind == "planet":
        period = 10 ** rng.uniform(np.log10(0.8), np.log10(15))
        shape = 1 - transit(times, rng, period, 0.01)
        snr = rng.uniform(12, 60)
        flux = 1 - np.minimum(shape * snr * noise / np.sqrt(np.sum(shape**2)), 3 * shape)
    elif kind in ("own eclipses", "blended eclipses"):
        flux, period = eclipses(times, rng)
        if kind == "blended eclipses":
            # the binary is a neighbour, with a part of the light in the mask
            part = 10 ** rng.uniform(-2.3, -0.7)
            dip = part * (1 - flux)
            flux = 1 - dip
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 3.0)
            source = distance * np.array([np.cos(angle), np.sin(angle)]) * (1 - part)
            shift = -(dip / (1 - dip))[:, None] * source
    elif kind == "pulsator":
        for _ in range(rng.integers(1, 4)):
            wave = 10 ** rng.uniform(np.log10(0.05), np.log10(6))
            phase = 2 * np.pi * (times / wave + rng.uniform())
            amplitude = 10 ** rng.uniform(-3.5, -1.7)
            flux = flux + amplitude * (np.sin(phase) + rng.uniform(0, 0.4) * np.sin(2 * phase))
    red = np.cumsum(rng.standard_normal(len(times) + 24))
    red = red[12:-12] - np.convolve(red, np.ones(25) / 25, "valid")
    flux = flux * (1 + noise * (rng.standard_normal(len(times)) + 0.3 * red / red.std()))
    flux = flux * (1 + 0.003 * np.sin(2 * np.pi * times / rng.uniform(8, 30) + rng.uniform(0, 6)))
    if kind == "noise" and rng.uniform() < 0.5:  # a few bad samples
        bad = rng.integers(0, len(times), rng.integers(1, 6))
        flux[bad] -= rng.uniform(5, 30, len(bad)) * noise
    jitter = 0.3 * noise * rng.standard_normal((len(times), 2))
    centroid = np.array(MASK_CENTRE) + shift + jitter
    return {"kind": kind, "times": times, "flux": flux, "centroid": centroid, "period": period}


def eclipses(times, rng):
    """Relative flux and period of an eclipsing binary of one of five kinds"""
    kind = rng.integers(5)
    period = 10 ** rng.uniform(np.log10(0.8), np.log10(12))
    duration = min(0.13 * period ** (1 / 3) * rng.uniform(1.0, 1.6), 0.2 * period)
    t0, depth = rng.uniform(0, period), 10 ** rng.uniform(np.log10(0.01), np.log10(0.4))
    phase = 0.5
    if kind == 0:  # two unlike eclipses
        second = depth * rng.uniform(0.15, 0.8)
    elif kind == 1:  # nearly alike: found at half the period
        second = depth * rng.uniform(0.85, 0.95)
    elif kind == 2:  # deep, the second one hidden
        depth, second = rng.uniform(0.08, 0.5), 0.0
    elif kind == 3:  # eccentric
        phase, second = rng.uniform(0.3, 0.7), depth * rng.uniform(0.2, 0.8)
    else:  # grazing
        second = depth * rng.uniform(0.3, 0.9)
    options = {"grazing": kind == 4 or rng.uniform() < 0.3}
    flux = eclipse(times, period, t0, depth, duration, **options)
    return flux * eclipse(times, period, t0 + phase * period, second, duration, **options), period


def verdict(target):
    """What the search and the vetting make of a target.

    Returns
    -------
    verdict : str
    periods : list of float, d; more than one where gaps of the light curve leave others open
    snr : float
    """
    from photometry.lightcurve import LightcurveArbitraryRaster, flatten
    from photometry.transits import centroid_offset, search_lightcurve, vet

    flat = flatten(LightcurveArbitraryRaster(target["times"], target["flux"]), WINDOW)
    found = search_lightcurve(flat, max_planets=1, threads=1)
    if not found.planets:
        return ("single event" if found.dips else "nothing found"), [], 0.0
    signal = found.planets[0][0]
    offset = centroid_offset(target["times"], target["centroid"], signal, MASK_CENTRE)
    vetting = vet(flat, signal, offset=offset)
    right = vetting.right
    periods = [float(period) for period in (right.period, *right.possible_periods)]
    return vetting.verdict.value, periods, float(right.snr)


def run(targets, seed):
    """Rows of kind, verdict, true period, list of found periods, S/N"""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(targets):
        target = simulate(KINDS[rng.choice(len(KINDS), p=WEIGHTS)], rng)
        name, periods, snr = verdict(target)
        rows.append((target["kind"], name, float(target["period"]), periods, snr))
    return rows


def rates(rows):
    """Fraction of each kind that has the right outcome, and how many of it there are"""
    result = {}
    for kind in KINDS:
        own = [row for row in rows if row[0] == kind]
        if kind == "planet":
            found = [row for row in own if row[1] != "nothing found"]
            right = [r for r in found if r[1] == "candidate" and _is_among(r[2], r[3])]
            own = found
        elif kind == "blended eclipses":
            own = [row for row in own if row[4] > 10]
            right = [row for row in own if row[1] != "candidate"]
        else:
            right = [row for row in own if row[1] != "candidate"]
        result[kind] = (len(right) / len(own) if own else np.nan, len(own))
    return result


def _is_among(period, periods):
    return any(abs(other / period - 1) < 0.01 for other in periods)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all rows there")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.process_time()
    rows = run(args.targets, args.seed)
    for kind, (rate, count) in rates(rows).items():
        done = "passed" if kind == "planet" else "rejected"
        print(f"{kind:18}{100 * rate:6.1f} % of {count} {done}")
        verdicts, counts = np.unique([r[1] for r in rows if r[0] == kind], return_counts=True)
        print("    " + ", ".join(f"{n} {v}" for v, n in zip(verdicts, counts, strict=True)))
    print(f"{time.process_time() - start:.0f} s of one core")
    if args.json:
        args.json.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
