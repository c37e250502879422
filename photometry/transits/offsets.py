"""Is it the target that dims? Where the source of the dips is, from centroids and from pixels."""

import numpy as np

IN, FROM, TO = 0.4, 0.75, 2.0  # durations from mid-transit: in transit; beside it
MIN_ERROR = 0.02  # pixels; of a position, however well its transits agree


def centroid_offset(times, centroid, signal, target):
    """Where the source of the dips is, from the shift of the flux-weighted centroid.

    In transit the centroid moves away from what dims: by -depth / (1 - depth) times its distance
    (Batalha et al. 2010, ApJ 713, L103).

    Parameters
    ----------
    times : (n,) array, d
    centroid : (n, 2) array, pixels: column, row; NaN where not known
    signal : TransitSignal
    target : (column, row) of the target, pixels

    Returns
    -------
    (column, row, error), pixels, source minus target; None without samples
    """
    phase = signal.phase(times)
    known = np.isfinite(centroid).all(axis=1)
    inside = known & (np.abs(phase) < IN * signal.duration)
    beside = (
        known & (np.abs(phase) > FROM * signal.duration) & (np.abs(phase) < TO * signal.duration)
    )
    shifts, number = [], np.rint((times - signal.t0) / signal.period)
    for k in np.unique(number[inside]):
        own, near = inside & (number == k), beside & (number == k)
        if own.sum() and near.sum() > 3:
            line = np.polynomial.polynomial.polyfit(
                times[near] - times[own].mean(), centroid[near], 1
            )
            shifts.append(centroid[own].mean(axis=0) - line[0])
    if len(shifts) < 2 or not 0 < signal.depth < 1:
        return None
    scale = -(1 - signal.depth) / signal.depth
    sources = np.median(centroid[beside], axis=0) + scale * np.array(shifts)
    offset = sources.mean(axis=0) - np.asarray(target)
    error = np.hypot(*(sources.std(axis=0, ddof=1) / np.sqrt(len(shifts))))
    return float(offset[0]), float(offset[1]), float(max(error, MIN_ERROR))


def difference_offset(times, images, signal, target, first=(0, 0)):
    """Where the source of the dips is, from the image beside the transits minus that in them.

    Parameters
    ----------
    times : (n,) array, d
    images : (n, n_rows, n_columns) array, e-/s
    signal : TransitSignal
    target : (column, row) of the target, pixels, as ``first``
    first : (column, row) of the first pixel

    Returns
    -------
    offset : (column, row, error), pixels, source minus target; None where nothing dims
    difference : (n_rows, n_columns) array, e-/s; mean of all transits
    """
    phase = signal.phase(times)
    usable = np.isfinite(images).any(axis=(1, 2))
    inside = usable & (np.abs(phase) < IN * signal.duration)
    beside = (
        usable & (np.abs(phase) > FROM * signal.duration) & (np.abs(phase) < TO * signal.duration)
    )
    number, differences = np.rint((times - signal.t0) / signal.period), []
    for k in np.unique(number[inside]):
        own, near = inside & (number == k), beside & (number == k)
        if own.sum() and near.sum():
            difference = np.nanmean(images[near], axis=0) - np.nanmean(images[own], axis=0)
            differences.append(difference)
    if not differences:
        return None, np.full(images.shape[1:], np.nan)
    differences = np.nan_to_num(np.array(differences))
    mean = differences.mean(axis=0)
    peaks = [_peak(image) for image in (mean, *differences)] if len(differences) > 1 else []
    if not peaks or any(peak is None for peak in peaks[:1]):
        return None, mean
    single = np.array([peak for peak in peaks[1:] if peak is not None])
    error = 0.5
    if len(single) > 1:
        error = np.hypot(*(single.std(axis=0, ddof=1) / np.sqrt(len(single))))
    column, row = peaks[0] + np.asarray(first) - np.asarray(target)
    return (float(column), float(row), float(max(error, MIN_ERROR))), mean


def _peak(image):
    """(column, row) of the light around the brightest pixel, within one pixel of it; None
    without"""
    row, column = np.unravel_index(np.argmax(image), image.shape)
    if not image[row, column] > 0:
        return None
    rows = slice(max(row - 1, 0), row + 2)
    columns = slice(max(column - 1, 0), column + 2)
    box = np.clip(image[rows, columns], 0, None)
    y, x = np.mgrid[rows, columns][:, : box.shape[0], : box.shape[1]]
    return np.array([np.sum(x * box), np.sum(y * box)]) / box.sum()
