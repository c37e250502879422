"""Ensemble photometry: stars of a field measured against all others, so that clouds, extinction and
seeing cancel.

Honeycutt 1992, PASP 104, 435: the logarithm of a flux is that of its star plus that of its frame.
Weights hold the scatter of each star (Broeg, Fernandez & Neuhauser 2005, AN 326, 134), so that
variable ones say little; no star is measured against itself.
"""

import logging
from dataclasses import dataclass

import numpy as np

from ..constants import MAD_TO_SIGMA
from ..errors import BadInputError

log = logging.getLogger(__name__)

WEIGHT_WIDTH = 2.0
"""Width of the Gaussian weights in widths of the PSF: 1.04 times the variance of all photons
counted alike, without an edge that would make a flux depend on where in its pixel a star lies."""

ANNULUS = (3.0, 7.0)
"""Inner and outer radius of the background, in full widths at half maximum."""

STAR_RADIUS = 2.5
"""Full widths at half maximum around each star that are no background."""

MIN_ENSEMBLE = 3
"""Stars that a frame needs beside the one that is measured."""


@dataclass(frozen=True)
class Ensemble:
    """Relative fluxes of stars.

    Attributes
    ----------
    flux, flux_err : (n_stars, n_frames) arrays, about 1; NaN where not measured
    zero_point : (n_frames,) array, how much of a star's light a frame has, relative to the median
        frame
    scatter : (n_stars,) array, robust standard deviation of ``flux``
    used : (n_stars,) bool array, stars that the others are measured against
    """

    flux: np.ndarray
    flux_err: np.ndarray
    zero_point: np.ndarray
    scatter: np.ndarray
    used: np.ndarray


def weighted_fluxes(image, x, y, *, gain=1.0, saturation=np.inf):
    """Sums of the pixels around stars with Gaussian weights, background from rings around them
    removed.

    The weights are normalised to the flux of a star with a Gaussian PSF; what they miss of another
    PSF is the same part for all stars of a frame.

    Parameters
    ----------
    image : ImageAccessor
    x, y : (n,) arrays, px
    gain : float, e-/ADU
    saturation : float, ADU; stars with such a pixel are not measured

    Returns
    -------
    flux, error : (n,) arrays, ADU; NaN for stars near the edge, saturated ones, and those on
        unusable pixels
    """
    fwhm = 2 * image.beam[0]
    sigma = fwhm / np.sqrt(8 * np.log(2))
    width = WEIGHT_WIDTH * sigma
    half = int(np.ceil(3.5 * width))
    pixels = image.pixels
    bad = ~np.isfinite(pixels) | (pixels >= saturation)
    clean = np.where(bad, 0, pixels).astype(np.float32)
    n_rows, n_columns = pixels.shape
    flux, error = np.full(len(x), np.nan), np.full(len(x), np.nan)
    edge = np.ceil(2 * width)
    inside = (x > edge) & (x < n_columns - 1 - edge) & (y > edge) & (y < n_rows - 1 - edge)
    if not inside.any():
        return flux, error
    everywhere = x, y
    x, y = x[inside], y[inside]
    background, noise = _rings(
        clean,
        bad | _near_stars(pixels.shape, everywhere, fwhm),
        x,
        y,
        *(ratio * fwhm for ratio in ANNULUS),
    )
    step = np.arange(-half, half + 1)
    dy, dx = (a.ravel() for a in np.meshgrid(step, step, indexing="ij"))
    column, row = np.rint(x).astype(int)[:, None] + dx, np.rint(y).astype(int)[:, None] + dy
    there = (column >= 0) & (column < n_columns) & (row >= 0) & (row < n_rows)
    column, row = np.clip(column, 0, n_columns - 1), np.clip(row, 0, n_rows - 1)
    there &= ~bad[row, column]
    r2 = (column - x[:, None]) ** 2 + (row - y[:, None]) ** 2
    weight = np.exp(-r2 / (2 * width**2)) * there
    # a star of unit flux has this weighted sum
    norm = WEIGHT_WIDTH**2 / (1 + WEIGHT_WIDTH**2)
    value = (weight * (clean[row, column] - background[:, None])).sum(axis=1) / norm
    photons = np.maximum(value, 0) / gain * (WEIGHT_WIDTH**2 / (2 + WEIGHT_WIDTH**2)) / norm**2
    ring = np.pi * fwhm**2 * (ANNULUS[1] ** 2 - ANNULUS[0] ** 2)
    sky = noise**2 * ((weight**2).sum(axis=1) + weight.sum(axis=1) ** 2 / ring) / norm**2
    # nothing may be missing where the star is
    good = (there | (r2 > width**2)).all(axis=1) & np.isfinite(value)
    flux[inside] = np.where(good, value, np.nan)
    error[inside] = np.where(good, np.sqrt(photons + sky), np.nan)
    return flux, error


def _near_stars(shape, positions, fwhm):
    """(n_rows, n_columns) bool array: pixels with the light of a star of the list. Left to
    clipping, they would be part of the background where clouds have made them faint, and not
    elsewhere."""
    near = np.zeros(shape, bool)
    reach = int(np.ceil(STAR_RADIUS * fwhm))
    for x, y in zip(*positions, strict=True):
        column, row = round(float(x)), round(float(y))
        if -reach <= column < shape[1] + reach and -reach <= row < shape[0] + reach:
            near[
                max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
            ] = True
    return near


def _rings(clean, bad, x, y, inner, outer):
    """Clipped median and noise of the pixels in a ring around each position."""
    reach = int(np.ceil(outer))
    step = np.arange(-reach, reach + 1)
    dy, dx = (a.ravel() for a in np.meshgrid(step, step, indexing="ij"))
    ring = (np.hypot(dx, dy) >= inner) & (np.hypot(dx, dy) <= outer)
    column, row = (
        np.rint(x).astype(int)[:, None] + dx[ring],
        np.rint(y).astype(int)[:, None] + dy[ring],
    )
    inside = (column >= 0) & (column < clean.shape[1]) & (row >= 0) & (row < clean.shape[0])
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    values = np.where(inside & ~bad[row, column], clean[row, column], np.nan).astype(float)
    import warnings

    with warnings.catch_warnings():
        # a ring without pixels is NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(3):
            middle = np.nanmedian(values, axis=1, keepdims=True)
            spread = MAD_TO_SIGMA * np.nanmedian(np.abs(values - middle), axis=1, keepdims=True)
            values = np.where(np.abs(values - middle) > 3 * spread, np.nan, values)
        return np.nanmean(values, axis=1), spread[:, 0]


def combine(flux, error, *, contamination=None, rounds=12):
    """Relative fluxes against the ensemble of all stars.

    Parameters
    ----------
    flux, error : (n_stars, n_frames) arrays; NaN where not measured
    contamination : (n_stars,) array, light of neighbours in that of a star, relative to it; half of
        it counts as noise where others are measured against the star, as it changes with the seeing
    rounds : int, at most

    Returns
    -------
    Ensemble

    Raises
    ------
    BadInputError : fewer than `MIN_ENSEMBLE` + 1 stars are in at least half of the frames
    """
    good = np.isfinite(flux) & (flux > 0) & np.isfinite(error) & (error > 0)
    common = good.mean(axis=1) >= 0.5
    if common.sum() <= MIN_ENSEMBLE:
        raise BadInputError(
            f"{common.sum()} stars are in at least half of the frames; an ensemble needs "
            f"{MIN_ENSEMBLE + 1}"
        )
    value = np.where(good, np.log(np.where(good, flux, 1)), 0.0)
    variance = np.where(good, (error / np.where(good, flux, 1)) ** 2, 1.0)
    least = np.zeros(len(flux)) if contamination is None else contamination / 2
    excess = least.copy()
    used = common.copy()
    residual, spread = np.zeros(flux.shape), np.zeros(len(flux))
    frame = np.zeros(flux.shape[1])
    for number in range(rounds):
        before = frame
        weight = good / (variance + excess[:, None] ** 2)
        if number:
            # outliers of single stars (cosmic rays, satellites) are not the frame's
            allowed = np.hypot(np.sqrt(variance), np.maximum(spread, 1e-4)[:, None])
            weight = weight * (np.abs(residual) < 5 * allowed)
        frame = _frame_values(value, weight * used[:, None])
        star = _weighted_mean(value - np.nan_to_num(frame), weight * np.isfinite(frame), axis=1)
        residual = value - np.nan_to_num(star)[:, None] - np.nan_to_num(frame)
        spread = _spread(residual, good)
        expected = np.array(
            [np.median(v[g]) if g.any() else 0 for v, g in zip(variance, good, strict=True)]
        )
        intrinsic = np.sqrt(np.maximum(spread**2 - expected, 0))
        excess = np.maximum(intrinsic, least)
        typical = max(5 * np.median(intrinsic[common]), 3 * np.median(spread[common]))
        used = common & (intrinsic < typical)
        if number and np.nanmax(np.abs(frame - before)) < 1e-7:
            break
    star = np.nan_to_num(star)
    weight = weight * used[:, None]
    total, total_weight = (weight * (value - star[:, None])).sum(axis=0), weight.sum(axis=0)
    n_used = (weight > 0).sum(axis=0)
    # against all but itself
    others = total - weight * (value - star[:, None])
    others_weight = total_weight - weight
    enough = n_used - (weight > 0) >= MIN_ENSEMBLE
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.where(enough, others / others_weight, np.nan)
        relative = np.where(good, np.exp(value - star[:, None] - correction), np.nan)
        err = relative * np.sqrt(variance + 1 / others_weight)
    middle = np.array([np.nanmedian(r) if np.isfinite(r).any() else np.nan for r in relative])[
        :, None
    ]
    relative, err = relative / middle, err / middle
    finite = np.isfinite(relative)
    return Ensemble(
        relative, err, np.exp(frame), _spread(np.where(finite, relative - 1, 0), finite), used
    )


def _frame_values(value, weight):
    """The frames' part of (n_stars, n_frames) values that are sums of a star's and a frame's: least
    squares, median 0.

    The stars' parts are eliminated first; frames that share no star with the others are NaN.
    """
    of_star = weight.sum(axis=1)
    known = of_star > 0
    value, weight, of_star = value[known], weight[known], of_star[known, None]
    mean = (weight * value).sum(axis=1, keepdims=True) / of_star
    of_frame = weight.sum(axis=0)
    normal = np.diag(of_frame) - weight.T @ (weight / of_star)
    seen = of_frame > 0
    # the level of all frames together is free: any one will do
    normal = normal[np.ix_(seen, seen)] + np.mean(of_frame[seen]) / seen.sum()
    frame = np.full(len(of_frame), np.nan)
    frame[seen] = np.linalg.lstsq(normal, (weight * (value - mean)).sum(axis=0)[seen], rcond=None)[
        0
    ]
    return frame - np.nanmedian(frame)


def _weighted_mean(values, weight, axis):
    total = weight.sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (values * weight).sum(axis=axis) / total, np.nan)


def _spread(residual, good):
    """Robust standard deviation of each star; 0 for fewer than three values."""
    found = [r[g] for r, g in zip(residual, good, strict=True)]
    return np.array(
        [MAD_TO_SIGMA * np.median(np.abs(r - np.median(r))) if len(r) > 2 else 0.0 for r in found]
    )


def ensemble_photometry(images, positions, *, gain=None, saturation=np.inf):
    """Measure stars in all frames, against one another.

    Parameters
    ----------
    images : list of ImageAccessor, with coordinates
    positions : (n_stars, 2) array of ra, decl, deg
    gain : float, e-/ADU; by default EGAIN or GAIN of the headers, or 1
    saturation : float, ADU

    Returns
    -------
    Ensemble
    """
    positions = np.asarray(positions, float).reshape(-1, 2)
    shape = len(positions), len(images)
    flux, error = np.full(shape, np.nan), np.full(shape, np.nan)
    for k, image in enumerate(images):
        x, y = (np.asarray(a, float) for a in image.wcs.world_to_pixel_values(*positions.T))
        x, y = recentre(image, x, y)
        own_gain = gain or float(image.header.get("EGAIN", image.header.get("GAIN", 1)) or 1)
        flux[:, k], error[:, k] = weighted_fluxes(image, x, y, gain=own_gain, saturation=saturation)
    return combine(flux, error, contamination=_contamination(images, positions, flux))


def _contamination(images, positions, flux):
    """Light of the neighbours in each star's weights, relative to it, in the frame of the widest
    PSF: (n_stars,) array."""
    from .. import sky

    width = max(image.beam[0] * image.pixelsize[0] for image in images) * 2 / np.sqrt(8 * np.log(2))
    width *= np.sqrt(1 + WEIGHT_WIDTH**2)
    bright = np.array([np.nanmedian(f) if np.isfinite(f).any() else np.nan for f in flux])
    first, second, distance = sky.match_all(*positions.T, *positions.T, 8 * width)
    other = (first != second) & np.isfinite(bright[first]) & np.isfinite(bright[second])
    first, second, distance = first[other], second[other], distance[other]
    # wings as of a Moffat profile of exponent 3.5
    part = (1 + (distance / width) ** 2 / 7) ** -3.5
    light = np.bincount(first, part * np.maximum(bright[second], 0), len(bright))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bright > 0, light / bright, 1.0)


def recentre(image, x, y):
    """Bring positions to where the stars of a frame are: each bright one by itself, the others by
    their median offset.

    Parameters
    ----------
    image : ImageAccessor
    x, y : (n,) arrays, px, good to a pixel
    """
    import sep

    pixels = np.ascontiguousarray(np.nan_to_num(image.pixels), dtype=np.float32)
    pixels = pixels - np.median(pixels)
    noise = MAD_TO_SIGMA * np.median(np.abs(pixels))
    sigma = image.beam[0] / np.sqrt(2 * np.log(2))
    inside = np.flatnonzero(
        (x > 5) & (x < pixels.shape[1] - 6) & (y > 5) & (y < pixels.shape[0] - 6)
    )
    if len(inside) < MIN_ENSEMBLE:
        return x, y
    new_x, new_y, flag = sep.winpos(pixels, x[inside], y[inside], sigma)
    dx, dy = new_x - x[inside], new_y - y[inside]
    found = (flag == 0) & (np.hypot(dx, dy) < 2)
    if found.sum() < MIN_ENSEMBLE:
        return x, y
    shift = np.median(dx[found]), np.median(dy[found])
    peak = pixels[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)]
    alone = found & (peak > 30 * noise) & (np.hypot(dx - shift[0], dy - shift[1]) < 0.5)
    x, y = x + shift[0], y + shift[1]
    x[inside[alone]], y[inside[alone]] = new_x[alone], new_y[alone]
    return x, y


def star_lightcurves(database, folder, *, dataset_id=None, min_significance=20.0):
    """Ensemble light curves of the stars of a dataset of optical frames, one file each.

    Parameters
    ----------
    database : Database
    folder : path, made if it is not there
    dataset_id : int, the last one by default
    min_significance : float, stars fainter than this in their images are left out

    Returns
    -------
    dict, id of the source -> LightcurveArbitraryRaster
    """
    from pathlib import Path

    import sqlalchemy as sa

    from ..lightcurve import LightcurveArbitraryRaster
    from .database import schema
    from .export import MJD, last_dataset, mjd
    from .steps import stored_image

    dataset_id = last_dataset(database, dataset_id)
    table, bad = schema.image, schema.rejection
    rejected = sa.select(bad.c.image).where(bad.c.image == table.c.id)
    rows = database.rows(
        sa.select(table)
        .where(table.c.dataset == dataset_id, ~rejected.exists())
        .order_by(table.c.taustart_ts)
    )
    images, times = [], []
    for row in rows:
        try:
            images.append(stored_image(database, row))
        except BadInputError as error:
            log.warning("skipped: %s", error)
            continue
        times.append(mjd(row.taustart_ts, row.tau_time))
    r, x = schema.runningcatalog, schema.extractedsource
    query = sa.select(r.c.id, r.c.wm_ra, r.c.wm_decl).join_from(r, x, x.c.id == r.c.xtrsrc)
    query = query.where(r.c.dataset == dataset_id, ~r.c.mon_src, x.c.det_sigma >= min_significance)
    stars = database.rows(query.order_by(r.c.id))
    if not images or len(stars) <= MIN_ENSEMBLE:
        raise BadInputError(f"{len(images)} frames and {len(stars)} stars: too few for an ensemble")
    found = ensemble_photometry(images, [(s.wm_ra, s.wm_decl) for s in stars])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    curves = {}
    for k, star in enumerate(stars):
        good = np.isfinite(found.flux[k])
        if good.sum() < 2:
            continue
        metadata = {
            "object": f"source {star.id}",
            "ra": star.wm_ra,
            "decl": star.wm_decl,
            "time_reference": MJD,
        }
        curves[star.id] = LightcurveArbitraryRaster(
            np.array(times)[good], found.flux[k][good], found.flux_err[k][good], metadata=metadata
        )
        curves[star.id].to_file(folder / f"star{star.id:06d}.txt.gz")
    return curves
