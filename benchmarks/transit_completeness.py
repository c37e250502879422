"""Injection and recovery: planets of known depth and period in real noise, found by our searches
and by their peers.

    python benchmarks/transit_completeness.py [--planets 200] [--data ../shared/data] [--plot
    FILE.png] [--json FILE]

The noise is that of real light curves whose own planets are masked: WASP-126 (TESS, 27 days; binned
to 10 minutes) and K2-3 (K2, 80 days, 30 minutes). Each injected planet has a random period, epoch,
impact parameter and size; its signal-to-noise is that of its noiseless light curve in the
point-to-point noise, sqrt(sum(dip^2)) / sigma, spread evenly from 3 to 20. A planet is recovered if
the period of the highest peak is right within 1 %; and detected, if the SDE is at least 7 besides
(TLS). Detrending takes place after the injection, as it would with a real planet.
"""

import argparse
import itertools
import json
import time
import warnings
from pathlib import Path

import numpy as np

SNR_RANGE = (3.0, 20.0)
TOLERANCE = 0.01
SDE = 7.0
STARS = {  # file, planets to mask: period, t0, duration to mask (days); minutes to bin to
    "WASP-126, TESS": (
        "lc/tess2018206045859-s0001-0000000025155310-0120-s_lc.fits",
        [(3.2888, 1327.520, 0.18)],
        10,
    ),
    "K2-3, K2": (
        "lc/EPIC201367065.csv",
        [(10.0546, 1980.416, 0.2), (24.643, 1979.282, 0.25), (44.56, 1993.227, 0.25)],
        None,
    ),
}


def noise_light_curve(data, name):
    """A real light curve without its planets."""
    from photometry.lightcurve import Lightcurve, LightcurveArbitraryRaster, transit_mask

    path, planets, minutes = STARS[name]
    lc = Lightcurve.read(data / path)
    keep = lc.good()
    for period, t0, duration in planets:
        keep &= ~transit_mask(lc.times, period, duration, t0)
    lc = lc.select(keep)
    if minutes is None:
        return lc
    number = np.floor((lc.times - lc.times[0]) * 1440 / minutes).astype(int)
    _, number, count = np.unique(number, return_inverse=True, return_counts=True)
    times, flux = (np.bincount(number, x) / count for x in (lc.times, lc.fluxes))
    return LightcurveArbitraryRaster(times[count > 2], flux[count > 2])


def inject(lc, rng):
    """A planet in the light curve; returns the light curve, detrended, and period and
    signal-to-noise of the planet.
    """
    from photometry.lightcurve import flatten
    from photometry.transits.transit_model import inclination_of_impact, separation, transit_flux

    baseline = np.ptp(lc.times)
    while True:
        period = float(np.exp(rng.uniform(np.log(0.8), np.log(baseline / 3))))
        axis = 4.2 * period ** (2 / 3) * rng.uniform(0.8, 1.25)
        orbit = {
            "period": period,
            "t0": lc.times[0] + rng.uniform(0, period),
            "semi_major_axis": axis,
        }
        impact = inclination_of_impact(rng.uniform(0, 0.8), axis)
        dip = 1 - transit_flux(separation(lc.times, inclination=impact, **orbit), 0.03, 0.45, 0.2)
        transits = np.unique(np.rint((lc.times[dip > 0] - orbit["t0"]) / period))
        if len(transits) >= 3:
            break
    relative = lc.fluxes / np.median(lc.fluxes)
    sigma = np.median(np.abs(np.diff(relative))) / (0.6745 * np.sqrt(2))
    snr = rng.uniform(*SNR_RANGE)
    return (
        flatten(lc.with_fluxes(relative * (1 - dip * snr * sigma / np.sqrt(np.sum(dip**2))))),
        period,
        snr,
    )


def searches():
    """Name -> function of times and flux that gives period and SDE (NaN for boxes)"""
    from astropy.timeseries import BoxLeastSquares
    from transitleastsquares import transitleastsquares

    from photometry.transits import box_periodogram, search_boxes, transit_periodogram
    from photometry.transits.bls import DURATIONS
    from photometry.transits.transit_model import uniform_frequencies

    def periods(times):
        return uniform_frequencies(np.ptp(times), DURATIONS.min(), 0.5, 0.5 * np.ptp(times))

    def our_tls(times, flux):
        result = transit_periodogram(times, flux, threads=1)
        return result.period[result.best], result.sde

    def their_tls(times, flux):
        options = {"use_threads": 1, "show_progress_bar": False, "verbose": False}
        result = transitleastsquares(times, flux, verbose=False).power(**options)
        return result.period, result.SDE

    def boxes(search):
        def run(times, flux):
            result = search(times, flux, None, periods(times), threads=1)
            return result.period[result.best], np.nan

        return run

    def astropy_bls(times, flux):
        grid = periods(times)
        return grid[np.argmax(BoxLeastSquares(times, flux).power(grid, DURATIONS).power)], np.nan

    return {
        "ours, TLS": our_tls,
        "transitleastsquares": their_tls,
        "ours, BLS": boxes(box_periodogram),
        "ours, BLS, coarse to fine": boxes(search_boxes),
        "astropy BLS": astropy_bls,
    }


def run(data, planets, seed=2026):
    rng = np.random.default_rng(seed)
    stars, functions, rows = {name: noise_light_curve(data, name) for name in STARS}, searches(), []
    for number in range(planets):
        name = list(stars)[number % len(stars)]
        lc, period, snr = inject(stars[name], rng)
        good = lc.good() & np.isfinite(lc.fluxes)
        row = {"star": name, "period": period, "snr": snr, "found": {}, "sde": {}, "seconds": {}}
        for search, function in functions.items():
            start = time.process_time()
            found, sde = function(lc.times[good], lc.fluxes[good])
            row["found"][search], row["sde"][search] = float(found), float(sde)
            row["seconds"][search] = time.process_time() - start
        rows.append(row)
    return rows


def recovered(rows, search, detected=False):
    right = np.array([abs(row["found"][search] / row["period"] - 1) < TOLERANCE for row in rows])
    return right & np.array([row["sde"][search] >= SDE for row in rows]) if detected else right


def report(rows):
    snr = np.array([row["snr"] for row in rows])
    edges = np.linspace(*SNR_RANGE, 9)
    names = list(rows[0]["found"])
    print(f"{len(rows)} planets; recovered: period within 1 %")
    print(
        "S/N".ljust(28)
        + "".join(f"{low:5.1f}-{high:<5.1f}" for low, high in itertools.pairwise(edges))
        + "   all  S/N at 50 %  CPU time"
    )
    for name in names:
        for detected in (False, True) if "BLS" not in name else (False,):
            right = recovered(rows, name, detected)
            cells = [
                right[(snr >= low) & (snr < high)].mean() for low, high in itertools.pairwise(edges)
            ]
            label = name + (", SDE >= 7" if detected else "")
            seconds = sum(row["seconds"][name] for row in rows[2:])
            print(
                label.ljust(28)
                + "".join(f"{100 * cell:8.0f} % " for cell in cells)
                + f"{right.sum():7d}{half(snr, right):12.2f}{seconds:9.1f} s"
            )
    for ours, theirs in (
        ("ours, TLS", "transitleastsquares"),
        ("ours, BLS", "astropy BLS"),
        ("ours, BLS, coarse to fine", "ours, BLS"),
    ):
        a, b = recovered(rows, ours), recovered(rows, theirs)
        same = sum(row["found"][ours] == row["found"][theirs] for row in rows)
        print(
            f"{ours} / {theirs}: both {np.sum(a & b)}, only the first {np.sum(a & ~b)}, only the "
            f"second {np.sum(b & ~a)}; same grid period {same}"
        )


def half(snr, right):
    """S/N at which a logistic curve through the recoveries is at one half (maximum likelihood on a
    grid)
    """
    centre, width = np.meshgrid(np.linspace(2, 15, 261), np.linspace(0.1, 4, 40), indexing="ij")
    argument = (snr - centre[..., None]) / width[..., None]
    likelihood = np.where(right, -np.log1p(np.exp(-argument)), -np.log1p(np.exp(argument))).sum(
        axis=-1
    )
    return centre.flat[np.argmax(likelihood)]


def plot(rows, path):
    from matplotlib.figure import Figure

    snr = np.array([row["snr"] for row in rows])
    order = np.argsort(snr)
    axes = Figure(figsize=(7, 4.2), layout="constrained").subplots()
    width = max(len(rows) // 8, 5)
    styles = {
        "ours, TLS": ("#d1495b", "-"),
        "transitleastsquares": ("#33658a", "--"),
        "ours, BLS": ("#e8a33d", "-"),
        "astropy BLS": ("#666666", ":"),
    }
    for name, (colour, line) in styles.items():
        right = recovered(rows, name)[order].astype(float)
        window = np.ones(width) / width
        axes.plot(
            np.convolve(snr[order], window, "valid"),
            100 * np.convolve(right, window, "valid"),
            line,
            # a broken line over the one that it agrees with
            lw=2.5 if line == "-" else 1.2,
            zorder=2 if line == "-" else 3,
            color=colour,
            label=name,
        )
    axes.set(
        xlabel="signal-to-noise of the injected planet",
        ylabel="recovered, period within 1 % (%)",
        ylim=(-2, 104),
    )
    axes.set_title(
        f"{len(rows)} planets in the noise of TESS and K2 (running mean of {width})",
        fontsize="medium",
    )
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=200)
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    parser.add_argument("--plot", help="write completeness against signal-to-noise to this file")
    parser.add_argument("--json", help="write all results to this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = run(args.data, args.planets)
    report(rows)
    if args.plot:
        plot(rows, args.plot)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
