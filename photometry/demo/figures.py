"""What ``make demo`` shows: injected transits against the light curves; of a simulated CCD, the
noise of its light curves against magnitude, and the limit that photons set.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ..constants import TESS
from ..files import atomic_write
from ..flags import DEFAULT_BITMASK
from ..methods.prf import GaussianPRF
from ..simulate.field import transit
from ..simulate.spacecraft import INT_TIME, READ_NOISE, frames
from ..status import STATUS
from ..taskmanager import read_results

HOUR = 3600.0  # s
HALF = 15  # pixels around a star of the CCD that an aperture may use
PUBLISHED = "#9a9a9a"
INK, DOTS, LIMIT, STAR, SKY = "#1b1b1b", "#1f6f8b", "#c8553d", "#d9a441", "#588b3a"


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


def photon_limit(tmag, *, sky=100.0, cadence=1800, integration=HOUR, prf=None):
    """The least noise that a sum of pixels can have.

    The variance of the sum of ``n`` pixels, in (e-/s)^2, is ``(F s(n) + n sky) / t + n r^2 / (t
    t_exposure)``: photons of the star, photons of the sky, and reads. (Howell 1989, PASP 101, 616;
    for TESS Sullivan et al. 2015, ApJ 809, 77, section 6.4.) ``s(n)`` is the fraction of the star's
    flux ``F`` in its ``n`` brightest pixels; ``n`` is the number that makes noise over signal
    smallest, ``t`` the time in which light was gathered.

    Parameters
    ----------
    tmag : array
    sky : float, e-/s per pixel
    cadence, integration : s; of the integration time, a cadence of TESS gathers light in 79 %
    prf : PRF; default: `GaussianPRF`

    Returns
    -------
    limit, of_star, of_sky : arrays of the shape of ``tmag``, relative to the flux of the star: the
        noise in all, that of the star's photons alone (all of them), that of sky and reads in the
        pixels used
    """
    flux = 10 ** (-0.4 * (np.asarray(tmag, dtype=float) - TESS.zero_point))[..., None]
    _, light = frames(cadence)
    seconds = light / cadence * integration
    pixels = np.arange(-HALF, HALF + 1)
    response = (prf or GaussianPRF()).evaluate(
        0.25, 0.25, pixels, pixels
    )  # neither on a pixel's middle nor its edge
    fraction = np.cumsum(np.sort(response.ravel())[::-1])
    n = np.arange(1, fraction.size + 1)
    floor = n * (sky + np.mean(READ_NOISE) ** 2 / INT_TIME) / seconds
    noise = np.sqrt(flux * fraction / seconds + floor) / (flux * fraction)
    best = noise.argmin(axis=-1)
    of_sky = np.sqrt(floor[best]) / (flux[..., 0] * fraction[best])
    return noise.min(axis=-1), np.sqrt(1 / (flux[..., 0] * seconds)), of_sky


def measured_noise(folder):
    """Noise in one hour of the stars of a TODO-file.

    Returns
    -------
    astropy Table : starid, tmag, rms_hour, contamination, method_used, mask_size; finished stars
        alone
    """
    table = read_results(Path(folder) / "todo.sqlite")
    made = np.isin(np.ma.filled(table["status"], -1), (STATUS.OK, STATUS.WARNING)) & np.isfinite(
        table["rms_hour"]
    )
    return table[made]["starid", "tmag", "rms_hour", "contamination", "method_used", "mask_size"]


def noise_plot(folder, output, path, *, sky=100.0, cadence=1800):
    """Draw the noise of all stars in one hour against their magnitudes, with the photon limit.

    Parameters
    ----------
    folder : with ``todo.sqlite`` and, of a simulation, ``truth.ecsv``; then stars that vary are
        drawn faintly
    output : of the light curves; named in the title
    path : PNG file to write
    sky : float, e-/s per pixel
    cadence : s

    Returns
    -------
    dict : ``stars`` (number drawn) and ``over_limit``: for each whole magnitude from 8 to 11, the
        median of noise over limit of quiet stars with less than a tenth of other stars' light,
        and none that varies
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stars = measured_noise(folder)
    truth = _truth(folder)
    quiet = np.ones(len(stars), bool)
    clean = ~(stars["contamination"] > 0.1)
    if truth is not None:
        quiet &= ~np.isin(stars["starid"], truth["starid"][truth["kind"] != "constant"])
        limit = photon_limit(stars["tmag"], sky=sky, cadence=cadence)[0]
        clean &= foreign_variation(stars, truth) < limit
    clean &= quiet
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    _draw_stars(axes, stars, quiet, clean)
    _draw_limit(axes, stars["tmag"], sky, cadence)
    axes.set_title(
        f"{len(stars)} light curves of {Path(output)}", loc="left", fontsize=11, color=INK
    )
    with atomic_write(path, durable=False) as part:
        FigureCanvasAgg(figure).print_png(part)
    return {"stars": len(stars), "over_limit": over_limit(stars[clean], sky, cadence)}


def over_limit(stars, sky, cadence):
    """Median of the noise over its limit, by whole magnitude from 8 to 11.

    Parameters
    ----------
    stars : astropy.table.Table
        One row per star, with `tmag` and the relative noise `rms_hour`.
    sky : float
        Background, e-/s per pixel.
    cadence : float
        Seconds.

    Returns
    -------
    ratios : dict
        {magnitude: ratio}, of the magnitudes that have stars.
    """
    ratio = stars["rms_hour"] / photon_limit(stars["tmag"], sky=sky, cadence=cadence)[0]
    bins = np.floor(stars["tmag"])
    return {m: float(np.median(ratio[bins == m])) for m in range(8, 12) if (bins == m).any()}


def _truth(folder):
    """What a simulation put in; None where there is no truth."""
    from astropy.table import Table

    path = Path(folder) / "truth.ecsv"
    return Table.read(path) if path.exists() else None


def foreign_variation(stars, truth):
    """How much of a star's flux varies because a varying star is in its mask.

    Parameters
    ----------
    stars : astropy Table, one row per star: starid, mask_size (pixels, taken as a disc)
    truth : astropy Table of a simulation: starid, row, column (pixels), flux (e-/s), kind,
        amplitude (relative)

    Returns
    -------
    (n_stars,) float array, relative to the star's flux
    """
    index = {starid: i for i, starid in enumerate(truth["starid"])}
    varying = truth[truth["kind"] != "constant"]
    own = truth[[index[starid] for starid in stars["starid"]]]
    apart = np.hypot(
        np.subtract.outer(np.asarray(own["row"]), np.asarray(varying["row"])),
        np.subtract.outer(np.asarray(own["column"]), np.asarray(varying["column"])),
    )
    radius = np.sqrt(np.asarray(stars["mask_size"], float) / np.pi)
    inside = (apart < radius[:, None]) & (apart > 0)
    signal = np.asarray(varying["flux"]) * np.asarray(varying["amplitude"])
    return inside @ signal / np.asarray(own["flux"])


def _draw_stars(axes, stars, quiet, clean):
    groups = (
        (~quiet, "o", PUBLISHED, "stars made to vary"),
        (quiet & ~clean, "^", STAR, "other stars' light: over 10 %, or varying"),
        (clean, "o", DOTS, "quiet stars"),
    )
    for chosen, marker, colour, label in groups:
        axes.plot(
            stars["tmag"][chosen], 1e6 * stars["rms_hour"][chosen], marker, ms=4, color=colour,
            mec="none", alpha=0.75, label=f"{label} ({chosen.sum()})",
        )  # fmt: skip


def _draw_limit(axes, tmag, sky, cadence):
    grid = np.linspace(np.min(tmag) - 0.3, np.max(tmag) + 0.3, 200)
    limit, of_star, of_sky = photon_limit(grid, sky=sky, cadence=cadence)
    axes.fill_between(
        grid, 1e6 * limit, 1.3e6 * limit, color=LIMIT, alpha=0.15, lw=0, label="within 30 % of it"
    )
    axes.plot(grid, 1e6 * limit, color=LIMIT, lw=2, label="photon limit")
    axes.plot(grid, 1e6 * of_star, "--", color=LIMIT, lw=1, label="star's photons")
    axes.plot(grid, 1e6 * of_sky, ":", color=SKY, lw=1.2, label="sky and reads")
    axes.set_yscale("log")
    axes.set_ylim(0.6e6 * limit.min(), 3e5)
    axes.set_xlim(grid[0], grid[-1])
    axes.set_xlabel(
        "TESS magnitude (below the limit: the mask holds light of other stars, which does not vary)"
    )
    axes.set_ylabel("rms in 1 hour [ppm]")
    axes.grid(which="both", alpha=0.15)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
