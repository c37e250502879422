"""Take islands of pixels apart: branches that stand alone at some level between the island's edge
and its peak."""

import numpy as np
from scipy import ndimage

MIN_FRACTION = 0.005
"""A branch holds more than this part of its island's flux."""


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
    found = []
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
            found.append(whole if len(parts) == 1 else _moments(pixels, part, box))
    return {name: np.array([row[name] for row in found], float) for name in start}


def _parts(pixels, noise, mine, n_thresholds, detection, analysis):
    """Masks of the branches: the deepest ones that hold enough flux and reach the detection level."""
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
