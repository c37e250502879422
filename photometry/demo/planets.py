"""What ``make demo`` shows: the injected transits against the light curves, and a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ..flags import DEFAULT_BITMASK
from ..simulate.field import transit
from ..taskmanager import read_results


@dataclass(frozen=True)
class Recovered:
    """One simulated planet: what was put in and what the light curve says."""

    starid: int
    tmag: float
    period: float  # days
    depth: float  # injected, of the target's own light
    measured: float  # depth in the light curve, corrected for the light of other stars in the mask
    error: float
    time: np.ndarray  # (n_times,) days
    flux: np.ndarray  # (n_times,) relative
    phase: np.ndarray  # (n_times,) days from the middle of the nearest transit
    truth: dict


def recover(folder, output):
    """Measure the injected transits of a simulation in the light curves made of it.

    Parameters
    ----------
    folder : of the simulation, with ``truth.ecsv`` and ``todo.sqlite``
    output : of the light curves

    Returns
    -------
    list of Recovered, by magnitude; those stars whose light curve was made
    """
    results = {
        row["starid"]: row
        for row in read_results(Path(folder) / "todo.sqlite")
        if row["datasource"] == "tpf"
    }
    planets = []
    for star in Table.read(Path(folder) / "truth.ecsv"):
        row = results.get(star["starid"])
        if np.isfinite(star["transit_period"]) and row is not None and row["lightcurve"]:
            planets.append(
                _recover_one(star, Path(output) / row["lightcurve"], row["contamination"])
            )
    return sorted(planets, key=lambda planet: planet.tmag)


def _recover_one(star, path, contamination):
    time, flux, error = read_flux(path)
    shape = (star["transit_period"], star["transit_epoch"], star["transit_duration"])
    template = 1 - transit(time, *shape, 1.0)
    (level, dip), covariance = _line(template, flux, error)
    own_light = 1 - (contamination if np.isfinite(contamination) else 0.0)
    return Recovered(
        starid=int(star["starid"]),
        tmag=float(star["tmag"]),
        period=shape[0],
        depth=float(star["transit_depth"]),
        measured=-dip / level / own_light,
        error=float(np.sqrt(covariance[1, 1]) / level / own_light),
        time=time,
        flux=flux / level,
        phase=(time - shape[1] + shape[0] / 2) % shape[0] - shape[0] / 2,
        truth={"shape": shape, "depth": float(star["transit_depth"]) * own_light},
    )


def read_flux(path):
    """(time, flux, error) of the good times of one of our light curves."""
    with fits.open(path) as hdus:
        table = hdus["LIGHTCURVE"].data
        good = np.isfinite(table["TIME"] + table["FLUX_RAW"]) & (
            table["QUALITY"] & DEFAULT_BITMASK["TESS"] == 0
        )
        return tuple(
            np.array(table[name][good], dtype=float)
            for name in ("TIME", "FLUX_RAW", "FLUX_RAW_ERR")
        )


def _line(template, flux, error):
    """Weighted least squares of ``flux = level + dip * template``: (level, dip) and their
    covariance.
    """
    design = np.stack([np.ones_like(template), template], axis=1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    return covariance @ design.T @ (flux / error), covariance


def poster(planets, path):
    """Draw three recovered planets, whole and folded, into one picture.

    Parameters
    ----------
    planets : list of Recovered; the three deepest of different brightness are drawn
    path : PNG file to write
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chosen = sorted(
        sorted(planets, key=lambda planet: -planet.measured / planet.error)[:3],
        key=lambda planet: planet.tmag,
    )
    figure, axes = plt.subplots(
        len(chosen), 2, figsize=(13, 3.2 * len(chosen)), width_ratios=(2, 1), squeeze=False
    )
    for (left, right), planet, colour in zip(
        axes, chosen, ("#1f6f8b", "#c8553d", "#588b3a"), strict=False
    ):
        _draw_whole(left, planet, colour)
        _draw_folded(right, planet, colour)
    axes[-1, 0].set_xlabel("time (BJD - 2457000, days)")
    axes[-1, 1].set_xlabel("Hours from mid-transit")
    figure.suptitle("Simulated TESS stars with planets: light curves by photometry", fontsize=15)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_whole(axes, planet, colour):
    axes.plot(planet.time, planet.flux, ".", ms=2.5, color=colour, alpha=0.6, rasterized=True)
    axes.set_ylabel("Relative flux")
    axes.set_title(f"TIC {planet.starid}   Tmag {planet.tmag:.2f}", loc="left", fontsize=10)
    axes.margins(x=0.01)


def _draw_folded(axes, planet, colour):
    width = 1.6 * planet.truth["shape"][2]
    near = np.abs(planet.phase) < width
    axes.plot(24 * planet.phase[near], planet.flux[near], ".", ms=3, color=colour, alpha=0.35)
    centres, binned = _binned(planet.phase[near], planet.flux[near], 30)
    axes.plot(24 * centres, binned, "o", ms=4.5, color=colour, mec="white", mew=0.6, label="binned")
    grid = np.linspace(-width, width, 500)
    period, _, duration = planet.truth["shape"]
    axes.plot(
        24 * grid,
        transit(grid, period, 0.0, duration, planet.truth["depth"]),
        color="k",
        lw=1.2,
        label="put in",
    )
    axes.set_title(
        f"P = {planet.period:.4f} d, depth {1e6 * planet.measured:.0f} ± {1e6 * planet.error:.0f} "
        f"ppm (put in {1e6 * planet.depth:.0f})",
        loc="left",
        fontsize=10,
    )
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _binned(x, y, bins):
    edges = np.linspace(x.min(), x.max(), bins + 1)
    which = np.clip(np.digitize(x, edges) - 1, 0, bins - 1)
    filled = [i for i in range(bins) if (which == i).any()]
    return np.array([x[which == i].mean() for i in filled]), np.array(
        [np.median(y[which == i]) for i in filled]
    )
