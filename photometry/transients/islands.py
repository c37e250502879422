"""Where the sources of an image are: islands of pixels above the noise, their peaks, what stands
beside a brighter peak, and islands taken apart at several levels.
"""

import numpy as np

HALO = 20.0
"""Half widths around a star within which its wings are looked at."""

COMPANION = 0.05
"""A peak of the residual is a source of its own if it is above this part of the model there: beams
are not perfect."""

MIN_FRACTION = 0.005
"""A branch holds more than this part of its island's flux."""


def find_islands(maps, analysis, detection):
    """Islands of pixels above the analysis level that reach the detection level.

    Parameters
    ----------
    maps : noisemaps.NoiseMaps
    analysis, detection : float, noises

    Returns
    -------
    islands : (n_rows, n_columns) int array, number of the island of each pixel; 0 outside
    objects : structured array, moments of islands, by number less 1
    """
    import sep

    sep.set_extract_pixstack(max(300_000, maps.residual.size // 2))
    objects, islands = sep.extract(
        maps.residual, analysis, err=maps.noise, mask=~maps.usable, minarea=1, filter_kernel=None,
        deblend_cont=1.0,
        clean=False, segmentation_map=True,
    )  # fmt: skip
    bright = islands > 0
    bright[bright] = maps.residual[bright] > detection * maps.noise[bright]
    wanted = np.zeros(len(objects) + 1, bool)
    wanted[islands[bright]] = True
    return np.where(wanted[islands], islands, 0), objects


def find_peaks(pixels, where, level):
    """Local maxima among some pixels.

    Parameters
    ----------
    pixels : (n_rows, n_columns) array
    where : (n_rows, n_columns) bool array, pixels to look at
    level : (n_rows, n_columns) array or float, that a maximum exceeds

    Returns
    -------
    x, y : (k,) arrays, px
    """
    padded = np.pad(pixels, 1, constant_values=-np.inf)
    row, column = np.nonzero(where & (pixels > level))
    value = pixels[row, column]
    top = np.ones(len(row), bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            other = padded[row + 1 + dy, column + 1 + dx]
            # of equal neighbours, the first counts
            top &= value > other if (dy, dx) < (0, 0) else value >= other
    return column[top].astype(float), row[top].astype(float)


def separate(x, y, pixels, beam):
    """Leave out positions within half a beam of a brighter one.

    Parameters
    ----------
    x, y : (k,) arrays, px
    pixels : (n_rows, n_columns) array, background removed
    beam : (major, minor, angle), px and rad
    """
    from scipy.spatial import cKDTree

    if len(x) < 2:
        return x, y
    brightness = pixels[np.rint(y).astype(int), np.rint(x).astype(int)]
    order = np.argsort(-brightness, kind="stable")
    x, y = x[order], y[order]
    keep = np.ones(len(x), bool)
    near = cKDTree(np.transpose([x, y])).query_pairs(beam[1], output_type="ndarray")
    for first, second in near[np.lexsort((near[:, 1], near[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return x[keep], y[keep]


def outside_halos(x, y, pixels, beam):
    """Leave out positions that are no brighter than the wings of a brighter star there: (1 + c
    d^2)^-2, wider than those of the air, with 1/2 at the half width.

    Parameters
    ----------
    x, y : (k,) arrays, px
    pixels : (n_rows, n_columns) array, background removed
    beam : (major, minor, angle), px and rad
    """
    from scipy.spatial import cKDTree

    if len(x) < 2:
        return x, y
    value = pixels[np.rint(y).astype(int), np.rint(x).astype(int)]
    positions = np.transpose([x, y])
    pairs = cKDTree(positions).query_pairs(HALO * beam[0], output_type="ndarray")
    faint = np.where(value[pairs[:, 0]] < value[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    bright = pairs.sum(axis=1) - faint
    distance2 = ((positions[faint] - positions[bright]) ** 2).sum(axis=1)
    halo = value[bright] * (1 + 0.4142 * distance2 / beam[0] ** 2) ** -2
    keep = value > np.bincount(faint, halo, len(x))
    return x[keep], y[keep]


def companions(maps, islands, fit, beam, half, detection):
    """Peaks that stand out of the residual of a fit.

    Parameters
    ----------
    maps : noisemaps.NoiseMaps
    islands : (n_rows, n_columns) int array, 0 outside of islands
    fit : gaussians.Fit
    beam : (major, minor, angle), px and rad
    half : int, px, how far the fitted shapes reach
    detection : float, noises

    Returns
    -------
    x, y : (k,) arrays, px
    """
    model = np.zeros(maps.residual.shape)
    step = np.arange(-half, half + 1)
    column = np.rint(fit.x).astype(int)[:, None, None] + step
    row = np.rint(fit.y).astype(int)[:, None, None] + step[:, None]
    inside = (column >= 0) & (column < model.shape[1]) & (row >= 0) & (row < model.shape[0])
    dx, dy = column - fit.x[:, None, None], row - fit.y[:, None, None]
    xx, xy, yy = fit.form[:, :, None, None]
    values = fit.peak[:, None, None] * np.exp(-(xx * dx**2 + 2 * xy * dx * dy + yy * dy**2))
    row, column, inside = np.broadcast_arrays(row, column, inside)
    np.add.at(model, (row[inside], column[inside]), values[inside])
    level = np.maximum(detection * maps.noise, COMPANION * model)
    x, y = find_peaks(maps.residual - model, islands > 0, level)
    if not len(x) or not len(fit.x):
        return x, y
    from scipy.spatial import cKDTree

    away = cKDTree(np.transpose([fit.x, fit.y])).query(np.transpose([x, y]))[0] > beam[1]
    return x[away], y[away]


def sub_thresholds(base, peak, n):
    """Levels between two others, spaced by the same factor.

    Parameters
    ----------
    base, peak : float
    n : int, levels
    """
    return base * (peak / base) ** (np.arange(1, n + 1) / (n + 1))


def branches(maps, islands, numbers, start, n_thresholds, detection, analysis):
    """Moments of the branches of each island.

    Parameters
    ----------
    maps : noisemaps.NoiseMaps
    islands : (n_rows, n_columns) int array
    numbers : (k,) int array, the islands to take apart
    start : dict of (k,) arrays, moments of the islands: ``x, y, a, b, theta, peak, flux``
    n_thresholds : int
    detection, analysis : float, noises

    Returns
    -------
    dict of arrays as ``start``
    """
    from scipy import ndimage

    moments = []
    boxes = ndimage.find_objects(islands)
    for k, number in enumerate(numbers):
        box = boxes[number - 1]
        mine = islands[box] == number
        pixels, noise = maps.residual[box], maps.noise[box]
        parts = _parts(pixels, noise, mine, n_thresholds, detection, analysis)
        if len(parts) < 2:
            parts = [mine]
        for part in parts:
            whole = {name: values[k] for name, values in start.items()}
            moments.append(whole if len(parts) == 1 else _moments(pixels, part, box))
    return {name: np.array([row[name] for row in moments], float) for name in start}


def _parts(pixels, noise, mine, n_thresholds, detection, analysis):
    """Masks of the branches: the deepest ones that hold enough flux and reach the detection
    level."""
    from scipy import ndimage

    top = np.where(mine, pixels, -np.inf).max()
    base = analysis * np.median(noise[mine])
    least = MIN_FRACTION * pixels[mine].sum()
    parts = [mine]
    for level in sub_thresholds(base, top, n_thresholds):
        deeper = []
        for part in parts:
            label, n = ndimage.label(part & (pixels > level))
            candidates = [label == i for i in range(1, n + 1)]
            candidates = [
                c for c in candidates
                if (pixels[c] - level).sum() > least and (pixels[c] > detection * noise[c]).any()
            ]  # fmt: skip
            deeper += candidates if len(candidates) > 1 else [part]
        parts = deeper
    return parts


def _moments(pixels, part, box):
    row, column = np.nonzero(part)
    weight = pixels[row, column].astype(float)
    total = weight.sum()
    x, y = (column * weight).sum() / total, (row * weight).sum() / total
    xx = ((column - x) ** 2 * weight).sum() / total + 1 / 12
    yy = ((row - y) ** 2 * weight).sum() / total + 1 / 12
    xy = ((column - x) * (row - y) * weight).sum() / total
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return {
        "x": x + box[1].start, "y": y + box[0].start, "a": np.sqrt(mean + spread),
        "b": np.sqrt(max(mean - spread, 1 / 12)),
        "theta": np.arctan2(2 * xy, xx - yy) / 2, "peak": weight.max(), "flux": total,
    }  # fmt: skip
