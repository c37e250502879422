"""Sources in an image: found blindly, or measured at given positions.

Background, noise and islands are those of SExtractor's library (Bertin & Arnouts 1996, A&AS 117,
393; Barbary 2016, JOSS 1, 58); the fits are our own, see `gaussians`.
"""

from dataclasses import dataclass

import numpy as np

from . import gaussians
from .database.matching import offsets
from .islands import branches, companions, find_islands, find_peaks, outside_halos, separate
from .noisemaps import noise_maps

EDGE = 3
"""px; a forced fit needs so many by so many usable pixels around it."""

REACH = (2.3, 5.0)
"""Half widths of the beam that fits reach at least and at most: to where the brightest source has
sunk into the noise."""


@dataclass(frozen=True)
class Extraction:
    """What was found in an image.

    Attributes
    ----------
    sources : (n, 20) array, the columns of `database.RECORD` and the errors east and north, arcsec
    rms_min, rms_max : float, Jy, extremes of the noise where sources were looked for
    x, y : (n,) arrays, px
    is_optical : bool
    """

    sources: np.ndarray
    rms_min: float
    rms_max: float
    x: np.ndarray
    y: np.ndarray
    is_optical: bool = False


def find_sources(
    image, *, detection_threshold=8.0, analysis_threshold=3.0, deblend_nthresh=0, force_beam=True,
    flux_error_model=None,
    ew_sys_err=0.0, ns_sys_err=0.0, **options,
):  # fmt: skip
    """Find and measure the sources of an image.

    Parameters
    ----------
    image : ImageAccessor
    detection_threshold : float, local noises that the peak of a source has at least
    analysis_threshold : float, local noises that each pixel of an island has
    deblend_nthresh : int, levels at which islands are taken apart before free shapes are fitted; 0:
        not at all. With ``force_beam``, every peak of an island is a source, and all are fitted
        together
    force_beam : bool, all sources have the shape of the beam
    flux_error_model : str or None, see `gaussians.NOISE_MODELS`; by default 'beam', and 'white' for
        optical images
    ew_sys_err, ns_sys_err : float, arcsec, systematic errors of positions, stored with each
    options : see `noise_maps`

    Returns
    -------
    Extraction
    """
    maps = noise_maps(image, **options)
    inside = maps.noise[maps.usable]
    rms_min, rms_max = float(inside.min()), float(inside.max())
    islands, objects = find_islands(maps, analysis_threshold, detection_threshold)
    model = flux_error_model or ("white" if image.is_optical else "beam")
    if force_beam:
        fitted = _fit_beams(image, maps, islands, detection_threshold, model)
    else:
        fitted = _fit_shapes(
            image,
            maps,
            islands,
            objects,
            detection_threshold,
            analysis_threshold,
            deblend_nthresh,
            model,
        )
    fitted = _drop_at_mask(fitted, maps.usable)
    records = _records(image, fitted, ew_sys_err, ns_sys_err)
    keep = np.isfinite(records[:, [0, 1, 14]]).all(axis=1)
    return Extraction(
        records[keep], rms_min, rms_max, fitted["x"][keep], fitted["y"][keep], image.is_optical
    )


def _fit_beams(image, maps, islands, detection, model):
    """Every peak of the islands as a beam, all fitted together; then what the residual still shows,
    three times."""
    beam = image.beam
    x, y = find_peaks(maps.residual, islands > 0, detection * maps.noise)
    if image.is_optical:
        x, y = outside_halos(x, y, maps.residual, beam)
    significance = maps.residual / maps.noise
    brightest = significance[y.astype(int), x.astype(int)].max(initial=1.0)
    half = int(np.ceil(np.clip(np.sqrt(np.log2(3 * brightest)), *REACH) * beam[0]))
    for _ in range(4):
        x, y = separate(x, y, maps.residual, beam)
        form = np.repeat(gaussians.quadratic_form(*beam)[:, None], len(x), axis=1)
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        noise = maps.noise[row, column]
        fit = gaussians.fit(
            maps.residual,
            maps.usable,
            maps.residual[row, column],
            x,
            y,
            form,
            half=half,
            noise=noise,
        )
        bright = fit.good & (fit.peak > 0.5 * detection * noise)
        if not bright.all():
            x, y = x[bright], y[bright]
            continue
        extra_x, extra_y = companions(maps, islands, fit, beam, half, detection)
        if not len(extra_x):
            break
        x, y = np.append(fit.x, extra_x), np.append(fit.y, extra_y)
        if image.is_optical:
            x, y = outside_halos(x, y, maps.residual, beam)
            if len(x) == len(fit.x):
                break
    fit = _select(fit, bright)
    column, row = (
        np.clip(np.rint(a).astype(int), 0, n - 1)
        for a, n in ((fit.x, islands.shape[1]), (fit.y, islands.shape[0]))
    )
    noise = maps.noise[row, column]
    # The largest value near a noisy peak is too large: by noise^2 / peak where the beam has
    # correlated the noise, by the variance of the fit over the peak where pixels are independent.
    errors = gaussians.amplitude_errors(fit.x, fit.y, noise, beam, model)
    if image.is_optical:
        errors = np.hypot(errors, _photon_noise(image, fit.peak))
    bias = (errors if model == "white" else noise) ** 2 / np.where(fit.peak > 0, fit.peak, 1)
    shape = gaussians.shape_errors(fit.peak, beam[0], beam[1], beam[2], noise, beam)
    if model == "white":
        # Condon 1997, equation 21, for a point source: sigma_x = sigma_peak / peak * width / sqrt(2
        # ln 2) / 2
        for name in ("x_err", "y_err"):
            shape[name] = errors / fit.peak * 2 * beam[0] / np.sqrt(8 * gaussians.LN2)
    peak = fit.peak - bias
    return {
        "x": fit.x, "y": fit.y, "peak": peak, "peak_err": errors, "flux": peak, "flux_err": errors,
        "significance": _near_maximum(significance, row, column),
        "major": np.full(len(peak), beam[0]),
        "minor": np.full(len(peak), beam[1]), "angle": np.full(len(peak), beam[2]),
        "x_err": shape["x_err"],
        "y_err": shape["y_err"], "fit_type": np.ones(len(peak)), "chisq": fit.chisq,
        "reduced": fit.reduced_chisq,
    }  # fmt: skip


def _photon_noise(image, peak):
    """Error of fitted peaks by the photons of the stars themselves: sum(g^3) / sum(g^2)^2 of a
    Gaussian g is 4 / (3 area)."""
    gain = float(image.header.get("EGAIN", image.header.get("GAIN", 1)) or 1)
    area = np.pi * image.beam[0] * image.beam[1] / gaussians.LN2
    return np.sqrt(np.maximum(peak, 0) / gain * 4 / (3 * area))


def _select(fit, mask):
    return gaussians.Fit(
        fit.peak[mask],
        fit.x[mask],
        fit.y[mask],
        fit.form[:, mask],
        fit.chisq[mask],
        fit.reduced_chisq[mask],
        fit.good[mask],
    )


def _fit_shapes(image, maps, islands, objects, detection, analysis, n_thresholds, model):
    """Gaussians of free shape, one per island, or per branch of it; islands that are too thin keep
    their moments."""
    numbers = np.unique(islands[islands > 0])
    start = {
        name: objects[name][numbers - 1] for name in ("x", "y", "a", "b", "theta", "peak", "flux")
    }
    if n_thresholds:
        start = branches(maps, islands, numbers, start, n_thresholds, detection, analysis)
    beam = image.beam
    # moments of a Gaussian cut off at the analysis level are too small; the beam is the least that
    # there can be
    sigma = np.sqrt(2 * gaussians.LN2)
    major = np.maximum(start["a"] * sigma, beam[0])
    minor = np.clip(start["b"] * sigma, beam[1], major)
    form = gaussians.quadratic_form(major, minor, start["theta"] - np.pi / 2)
    column, row = np.rint(start["x"]).astype(int), np.rint(start["y"]).astype(int)
    noise = maps.noise[row, column]
    half = int(np.ceil(1.5 * max(beam[0], np.percentile(major, 90) if len(major) else 0)))
    fit = gaussians.fit(
        maps.residual,
        maps.usable,
        start["peak"],
        start["x"],
        start["y"],
        form,
        half=half,
        free_shape=True,
        noise=noise,
    )
    major, minor, angle = gaussians.axes(fit.form)
    good = fit.good & np.isfinite(major) & np.isfinite(minor) & (major < 8 * beam[0])
    x, y = np.where(good, fit.x, start["x"]), np.where(good, fit.y, start["y"])
    peak = np.where(good, fit.peak, start["peak"])
    major = np.where(good, major, np.maximum(start["a"] * sigma, 0.5))
    minor = np.where(good, minor, np.maximum(start["b"] * sigma, 0.5))
    angle = np.where(good, angle, (start["theta"] - np.pi / 2) % np.pi)
    errors = gaussians.shape_errors(peak, major, minor, angle, noise, beam)
    return {
        "x": x,
        "y": y,
        "significance": _near_maximum(maps.residual / maps.noise, row, column),
        "major": major,
        "minor": minor,
        "angle": angle,
        "fit_type": good.astype(float),
        "chisq": fit.chisq,
        "reduced": fit.reduced_chisq,
        **{
            name: errors[name]
            for name in ("peak", "peak_err", "flux", "flux_err", "x_err", "y_err")
        },
    }


def _near_maximum(values, row, column):
    """The largest value within one pixel of each position."""
    n_rows, n_columns = values.shape
    near = [
        values[np.clip(row + dy, 0, n_rows - 1), np.clip(column + dx, 0, n_columns - 1)]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    return np.max(near, axis=0)


def _drop_at_mask(fitted, usable):
    """Leave out sources one of whose axes ends where the image is not usable."""
    n_rows, n_columns = usable.shape
    keep = np.ones(len(fitted["x"]), bool)
    s, c = np.sin(fitted["angle"]), np.cos(fitted["angle"])
    for dx, dy in (
        (-fitted["major"] * s, fitted["major"] * c),
        (fitted["minor"] * c, fitted["minor"] * s),
    ):
        for sign in (1, -1):
            column, row = np.rint(fitted["x"] + sign * dx), np.rint(fitted["y"] + sign * dy)
            inside = (column >= 0) & (column < n_columns) & (row >= 0) & (row < n_rows)
            keep &= inside
            keep[inside] &= usable[row[inside].astype(int), column[inside].astype(int)]
    return {name: values[keep] for name, values in fitted.items()}


def _records(image, fitted, ew_sys_err, ns_sys_err):
    """Measurements as rows of `database.RECORD`, with the errors east and north."""
    x, y, x_err, y_err = (fitted[name] for name in ("x", "y", "x_err", "y_err"))
    if not len(x):
        return np.zeros((0, 20))
    ra, decl = _sky(image, x, y)
    radius, east, north = position_errors(image, x, y, x_err, y_err)
    scale = 3600 * image.pixelsize[0]
    angle = np.degrees(fitted["angle"]) * (1 if image.deltax < 0 else -1)
    systematic = np.broadcast_to([ew_sys_err, ns_sys_err], (len(x), 2)).T
    return np.column_stack(
        [
            ra,
            decl,
            east / 3600 / np.maximum(np.cos(np.radians(decl)), 1e-6),
            north / 3600,
            fitted["peak"],
            fitted["peak_err"],
            fitted["flux"],
            fitted["flux_err"],
            fitted["significance"],
            fitted["major"] * scale,
            fitted["minor"] * scale,
            angle % 180,
            *systematic,
            radius,
            fitted["fit_type"],
            fitted["chisq"],
            fitted["reduced"],
            east,
            north,
        ]
    )


def _sky(image, x, y):
    ra, decl = image.wcs.pixel_to_world_values(x, y)
    return np.asarray(ra) % 360, np.asarray(decl)


def position_errors(image, x, y, x_err, y_err):
    """Errors of positions on the sky.

    Parameters
    ----------
    image : ImageAccessor
    x, y, x_err, y_err : (k,) arrays, px

    Returns
    -------
    radius, east, north : (k,) arrays, arcsec: the distance to the farthest corner (x +- x_err, y +-
        y_err), which holds the errors in both directions, and the errors in each
    """
    ra, decl = _sky(image, x, y)
    along = []
    for dx, dy in ((x_err, 0), (0, y_err)):
        east, north = offsets(ra, decl, *_sky(image, x + dx, y + dy))
        along.append((3600 * east, 3600 * north))
    east = np.hypot(along[0][0], along[1][0])
    north = np.hypot(along[0][1], along[1][1])
    corners = [
        np.hypot(along[0][0] + sign * along[1][0], along[0][1] + sign * along[1][1])
        for sign in (1, -1)
    ]
    return np.max(corners, axis=0), east, north


def measure_at(
    image,
    positions,
    *,
    box_in_beampix=10,
    flux_error_model=None,
    ew_sys_err=0.0,
    ns_sys_err=0.0,
    **options,
):
    """Forced fits: the flux of a beam at each position, at its true position within the pixel.

    Parameters
    ----------
    image : ImageAccessor
    positions : (n, 2) array of ra, decl, deg
    box_in_beampix : float, side of the box around a position, in half widths of the beam
    flux_error_model, ew_sys_err, ns_sys_err, options : as for `find_sources`

    Returns
    -------
    records : (m, 20) array, see `Extraction`
    index : (m,) int array, the positions that could be measured: inside the image, with usable
        pixels around
    """
    positions = np.asarray(positions, float).reshape(-1, 2)
    if not len(positions):
        return np.zeros((0, 20)), np.zeros(0, int)
    maps, beam = noise_maps(image, **options), image.beam
    x, y = (np.asarray(a, float) for a in image.wcs.world_to_pixel_values(*positions.T))
    n_rows, n_columns = maps.usable.shape
    on_image = (
        np.isfinite(x)
        & np.isfinite(y)
        & (x > -0.5)
        & (y > -0.5)
        & (x < n_columns - 0.5)
        & (y < n_rows - 0.5)
    )
    index = np.flatnonzero(on_image)
    column, row = np.rint(x[index]).astype(int), np.rint(y[index]).astype(int)
    around = range(-(EDGE // 2), EDGE // 2 + 1)
    clear = np.all([
        maps.usable[np.clip(row + dy, 0, n_rows - 1), np.clip(column + dx, 0, n_columns - 1)]
        for dy in around for dx in around
    ], axis=0)  # fmt: skip
    index, row, column = index[clear], row[clear], column[clear]
    x, y = x[index], y[index]
    # a beam is nothing 3 half widths away, and the box of the settings is often wider than that
    half = int(np.ceil(min(box_in_beampix / 2, 3.0) * max(beam[0], beam[1])))
    noise = maps.noise[row, column]
    peak, chisq, reduced = gaussians.amplitude(maps.residual, maps.usable, x, y, beam, half)
    model = flux_error_model or ("white" if image.is_optical else "beam")
    # each is measured alone, so that its error does not know the others
    errors = np.array(
        [
            gaussians.amplitude_errors([0], [0], [n], beam, model)[0]
            if model != "reference"
            else np.sqrt(3) * n
            for n in noise
        ]
    )
    if image.is_optical:
        errors = np.hypot(errors, _photon_noise(image, peak))
    n = len(x)
    found = {
        "x": x, "y": y, "peak": peak, "peak_err": errors, "flux": peak, "flux_err": errors,
        "significance": peak / noise,
        "major": np.full(n, beam[0]), "minor": np.full(n, beam[1]), "angle": np.full(n, beam[2]),
        "x_err": np.zeros(n),
        "y_err": np.zeros(n), "fit_type": np.ones(n), "chisq": chisq / noise**2,
        "reduced": reduced / noise**2,
    }  # fmt: skip
    records = _records(image, found, ew_sys_err, ns_sys_err)
    # where it was asked for, not where rounding puts it
    records[:, :2] = positions[index]
    good = np.isfinite(peak)
    return records[good], index[good]
