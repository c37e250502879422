"""Light curves of many stars with common trends, without pixels: `ensemble`.

What the spacecraft does to all stars of a detector: focus that settles after each gap, slow drift,
pointing that builds up between momentum dumps, scattered light that adds flux, a step. How strongly
each star feels it depends smoothly on its position, a little on its magnitude, and on chance. The
stars: photon noise, rotation, transits, eclipses with a secondary of any depth, eclipses of a faint
star in the background. Everything put in is in the result.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from ..constants import DAY, TESS
from ..lightcurve.tasoc import write_lightcurve
from ..methods.extraction import Extraction
from ..pixels.stamp import Stamp, Target

TRENDS = ("drift", "focus", "pointing", "scattered light", "step")
KINDS = ("quiet", "rotation", "planet", "eclipsing binary", "background binary")
SKY = 150.0  # e-/s in an aperture, adds to the photon noise
LIVE = 0.8  # fraction of a cadence during which photons are counted
DETECTOR = 2048  # pixels


@dataclass(frozen=True)
class Ensemble:
    """Light curves of stars of one detector, and the truth about them.

    Attributes
    ----------
    time : (n_times,) array, d
    flux : (n_stars, n_times) array, e-/s
    background : (n_stars, n_times) array, e-/s in the aperture, with the scattered light in it
    level : (n_stars,) array, e-/s, flux without trends and variation
    noise : (n_stars,) array, relative photon noise of one sample
    star : (n_stars, n_times) array, relative variation of the star itself, about 0
    trend : (n_stars, n_times) array, relative, what the instrument adds, about 0
    vectors : (n_trends, n_times) array, rms 1
    column, row : (n_stars,) arrays, pixels
    tmag : (n_stars,) array, mag
    truth : dict of (n_stars,) arrays: kind, period [d], t0 [d], amplitude, depth, duration [d],
        secondary_depth, dilution
    """

    time: np.ndarray
    flux: np.ndarray
    background: np.ndarray
    level: np.ndarray
    noise: np.ndarray
    star: np.ndarray
    trend: np.ndarray
    vectors: np.ndarray
    column: np.ndarray
    row: np.ndarray
    tmag: np.ndarray
    truth: dict

    @property
    def relative(self):
        """(n_stars, n_times) array, flux over its median, minus 1."""
        return self.flux / np.median(self.flux, axis=1, keepdims=True) - 1


def ensemble(seed, *, n_stars=1000, n_times=1300, step=30 / 1440, strength=11.0, scatter=0.15,
             fractions=(0.45, 0.35, 0.1, 0.05, 0.05)):  # fmt: skip
    """Simulate light curves with common trends.

    Parameters
    ----------
    seed : int
    n_stars, n_times : int
    step : float, d between samples
    strength : float, rms of the trends of a typical star over the photon noise of a sample; 0: none
    scatter : float, part of a star's weights that neither position nor magnitude explains, relative
        to their spread over the detector
    fractions : fractions of stars of each of `KINDS`

    Returns
    -------
    Ensemble
    """
    rng = np.random.default_rng(seed)
    time = np.arange(n_times) * step
    column, row = rng.uniform(0, DETECTOR, (2, n_stars))
    tmag = 8 + 6 * rng.beta(2.2, 1.2, n_stars)
    level = 10 ** (-0.4 * (tmag - TESS.zero_point))
    noise = np.sqrt((level + SKY) / (step * DAY * LIVE)) / level
    vectors = _vectors(rng, time, step)
    weights = _weights(rng, column, row, tmag, len(vectors), scatter)
    weights[:, 3] *= np.median(level) / level / np.median(np.median(level) / level)  # adds e-/s
    trend = weights @ vectors
    trend *= strength * np.median(noise) / np.median(np.std(trend, axis=1))
    added = (weights[:, 3] * level)[:, None] * vectors[3]
    star, truth = _stars(rng, time, noise, fractions)
    flux = level[:, None] * (
        (1 + star) * (1 + trend) + noise[:, None] * rng.normal(size=star.shape)
    )
    added *= (
        3 * strength * np.median(noise) / max(np.median(np.std(weights @ vectors, axis=1)), 1e-9)
    )
    background = SKY + added + 0.02 * SKY * rng.normal(size=star.shape)
    seen = np.abs(time - time[-1] / 2) >= 0.6  # the gap of the downlink
    cut = {
        name: value[:, seen]
        for name, value in {
            "flux": flux, "background": background, "star": star, "trend": trend,
            "vectors": vectors,
        }.items()
    }  # fmt: skip
    return Ensemble(
        time=time[seen],
        level=level,
        noise=noise,
        column=column,
        row=row,
        tmag=tmag,
        truth=truth,
        **cut,
    )


def _vectors(rng, time, step):
    """`TRENDS`, rms 1."""
    length = time[-1]
    half = time < length / 2
    shapes = [
        (time / length) ** 2 + 0.4 * np.sin(2 * np.pi * time / length * 1.3 + rng.uniform(0, 7)),
        np.where(half, np.exp(-time / 2.0), 0.8 * np.exp(-(time - length / 2) / 2.5)),
        (time % 2.5) / 2.5 - 0.5 + 0.3 * _smooth(rng, len(time), 0.3 / step),
        sum(np.exp(-0.5 * ((time - length * x) / 1.3) ** 2) for x in (0.45, 0.97)),
        (time > length * rng.uniform(0.2, 0.8)) + 0.2 * _smooth(rng, len(time), 2.0 / step),
    ]
    return np.array([(shape - shape.mean()) / shape.std() for shape in shapes])


def _smooth(rng, n, scale):
    """Noise of unit variance, smooth over ``scale`` samples."""
    reach = int(4 * scale)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scale) ** 2)
    values = np.convolve(rng.normal(size=n + 2 * reach), kernel, "valid")
    return (values - values.mean()) / values.std()


def _weights(rng, column, row, tmag, n_trends, scatter):
    """How strongly stars feel each trend: smooth over the detector, and chance."""
    x, y = (column - DETECTOR / 2) / (DETECTOR / 2), (row - DETECTOR / 2) / (DETECTOR / 2)
    shapes = np.array(
        [np.ones_like(x), 0.6 * x, 0.6 * y, 0.3 * x * y, 0.3 * (x**2 - 0.3), 0.15 * (tmag - 11.5)]
    )
    weights = (rng.normal(size=(n_trends, len(shapes))) @ shapes).T
    return weights + scatter * np.std(weights, axis=0) * rng.normal(size=weights.shape)


def _stars(rng, time, noise, fractions):
    """(n_stars, n_times) array of relative variation, and the truth about it."""
    n = len(noise)
    kind = rng.choice(len(KINDS), n, p=np.array(fractions) / np.sum(fractions))
    nothing = np.full(n, np.nan)
    truth = {
        "kind": np.array(KINDS)[kind],
        "period": nothing.copy(), "t0": nothing.copy(), "amplitude": nothing.copy(),
        "depth": nothing.copy(), "duration": nothing.copy(), "secondary_depth": nothing.copy(),
        "dilution": nothing.copy(),
    }  # fmt: skip
    star = np.zeros((n, len(time)))
    for i, number in enumerate(kind):
        name = KINDS[number]
        if name == "rotation":
            truth["period"][i] = rng.choice([1, 2, 3, 5, 7, 10, 13])
            truth["amplitude"][i] = noise[i] * 10 ** rng.uniform(0.5, 1.7)
            angle = 2 * np.pi * time / truth["period"][i] + rng.uniform(0, 2 * np.pi)
            star[i] = truth["amplitude"][i] * np.sin(angle)
        elif name != "quiet":
            truth["period"][i] = rng.uniform(1.5, 8)
            truth["t0"][i] = rng.uniform(0, truth["period"][i])
            truth["duration"][i] = rng.uniform(0.1, 0.25)
            depth, secondary, dilution = _eclipse(rng, name, noise[i])
            truth["depth"][i], truth["secondary_depth"][i], truth["dilution"][i] = (
                depth,
                secondary,
                dilution,
            )
            orbit = (truth["period"][i], truth["duration"][i])
            star[i] -= depth * _eclipsed(time, truth["t0"][i], *orbit)
            star[i] -= secondary * _eclipsed(time, truth["t0"][i] + orbit[0] / 2, *orbit)
    return star, truth


def _eclipse(rng, name, noise):
    """Depth, depth of the secondary and dilution of an eclipse: relative, as observed."""
    if name == "planet":
        return noise * rng.uniform(4, 20), 0.0, 1.0
    depth, secondary = rng.uniform(0.05, 0.4), rng.uniform(0.0, 1.0)
    dilution = 10 ** rng.uniform(-2.5, -1) if name == "background binary" else 1.0
    return dilution * depth, dilution * depth * secondary, dilution


def _eclipsed(time, t0, period, duration):
    """1 in the middle of an eclipse, 0 outside, straight ingress and egress of a tenth each."""
    phase = np.abs((time - t0 + period / 2) % period - period / 2)
    return np.clip((duration / 2 - phase) / (0.1 * duration), 0.0, 1.0)


FIRST_STAR = 700_000_001


def write_ensemble(folder, stars, *, sector=1, camera=1, ccd=2):
    """Write an ensemble as if a run had made it: light curves, TODO-file with results, truth.

    Parameters
    ----------
    folder : folder, made if it is missing: todo.sqlite, truth.ecsv, lightcurves/
    stars : Ensemble
    sector, camera, ccd : int

    Returns
    -------
    list of paths of the light curves, in the order of the stars
    """
    from astropy.table import Table

    from ..settings import photometry_settings
    from ..status import STATUS
    from ..taskmanager import TaskManager
    from ..taskmanager.create import create_todo

    folder = Path(folder)
    output = folder / "lightcurves"
    output.mkdir(parents=True, exist_ok=True)
    settings = photometry_settings()
    cadence = round(float(np.median(np.diff(stars.time))) * DAY)
    numbers = FIRST_STAR + np.arange(len(stars.flux))
    ring = 1 + ((stars.column > DETECTOR / 2) + 2 * (stars.row > DETECTOR / 2)).astype(int)
    rows = [
        {"starid": int(number), "sector": sector, "camera": camera, "ccd": ccd, "cadence": cadence,
         "tmag": float(tmag), "datasource": "tpf", "cbv_area": 100 * camera + 10 * ccd + int(area)}
        for number, tmag, area in zip(numbers, stars.tmag, ring, strict=True)
    ]  # fmt: skip
    create_todo(folder / "todo.sqlite", rows)
    paths, results = [], []
    for i in range(len(stars.flux)):
        stamp, extraction = _measured(stars, i, rows[i])
        path = write_lightcurve(output, stamp, extraction, settings)
        paths.append(output / path)
        results.append({
            "priority": i + 1, "status": STATUS.OK, "method_used": "simulated", "time": 0.0,
            "details": {
                "filepath_lightcurve": path, "mean_flux": float(stars.level[i]),
                "pos_centroid": (float(stars.column[i]), float(stars.row[i])),
            },
        })  # fmt: skip
    with TaskManager(folder / "todo.sqlite") as tasks:
        tasks.start_tasks([result["priority"] for result in results])
        tasks.save_results(results)
    truth = {"starid": numbers, "tmag": stars.tmag, "column": stars.column, "row": stars.row}
    Table({**truth, "noise": stars.noise, **stars.truth}).write(
        folder / "truth.ecsv", format="ascii.ecsv", overwrite=True
    )
    return paths


def _measured(stars, i, row):
    """The stamp and the extraction of a star, of one pixel."""
    n_times = len(stars.time)
    one = np.ones((1, 1), bool)
    pixels = {
        name: values[:, None, None].astype("f4")
        for name, values in {
            "flux": stars.flux[i], "flux_err": np.full(n_times, stars.noise[i] * stars.level[i]),
            "background": stars.background[i], "background_err": np.full(n_times, 1.0),
        }.items()
    }  # fmt: skip
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    stamp = Stamp(
        target=Target(row["starid"], 84.0, -66.0, row["tmag"]), mission="TESS",
        sector=row["sector"], camera=row["camera"], ccd=row["ccd"], cadence=row["cadence"],
        datasource="tpf", time=1325.0 + stars.time, time_reference=TESS.time_reference,
        timecorr=np.zeros(n_times),
        cadenceno=np.round(stars.time * DAY / row["cadence"]).astype(int),
        quality=np.zeros(n_times, int), aperture=np.full((1, 1), 3), row=0, column=0, wcs=wcs,
        pos_corr=np.zeros((n_times, 2)), sumimage=np.full((1, 1), stars.level[i]), **pixels,
    )  # fmt: skip
    extraction = Extraction(
        method="simulated", flux=stars.flux[i], flux_err=pixels["flux_err"][:, 0, 0],
        background=stars.background[i], background_err=np.full(n_times, 1.0),
        centroid=np.tile([stars.column[i], stars.row[i]], (n_times, 1)), mask=one,
        position_mask=one, pixel_quality=np.zeros(n_times, int),
    )  # fmt: skip
    return stamp, extraction
