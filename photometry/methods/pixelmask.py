"""Pixel masks of all stars on a stamp, from its sum image (K2P2).

The steps: pixels above a cut -> clusters of them -> each cluster split between its stars -> holes
filled -> saturated columns followed. Method: Lund et al. 2015 (ApJ 806, 30), section 3; Handberg &
Lund 2014 (MNRAS 445, 2698). Clusters are those of DBSCAN (Ester et al. 1996, KDD-96), which on a
grid of pixels needs no more than counting neighbours.

Masks are bool arrays of the shape of the image; stars are given as arrays of row, column (0-based
stamp positions, with integers at pixel centres) and tmag.
"""

import numpy as np
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from ..constants import MAD_TO_SIGMA

MODE_PERCENTILE = 85  # fluxes above are stars: left out where the mode is looked for
MODE_FLUX_LIMIT = 7e4  # e-/s, likewise
# length of the shortest interval with half of a normal distribution, in sigma
HALF_OF_NORMAL = 1.349
# a pixel with so many pixels above the cut in its 3x3 surroundings, itself included, is a core
# pixel
CORE_NEIGHBOURS = 4
SMOOTHING = 0.5  # pixels, sigma of the Gaussian before local maxima are looked for
# pixels from a star to its maximum; saturated stars are far from symmetric
MARKER_DISTANCE_BRIGHT = 5 * np.sqrt(2)
MARKER_DISTANCE_FAINT = 2 * np.sqrt(2)
# a column is saturated if its median step is a smaller fraction of its maximum
SATURATED_STEP = 0.01
# where there is no catalogue: a peak is a star of its own if the saddle to any higher one is lower
# by this factor, and if it is above the cut by so many times the noise
PEAK_TO_SADDLE = 1.3
PEAK_TO_NOISE = 5.0
UNKNOWN_TMAG = 20.0  # mag, stands for a magnitude that is not known
BLEEDING_COLUMNS = 2  # pixels beside a saturated star in which peaks are its own charge
SURROUNDINGS = np.ones((3, 3), bool)  # pixels within sqrt(2)
BESIDE = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)  # the four pixels beside one


def pixel_masks(image, stars, *, threshold=0.8, min_pixels=4, saturation_limit=7.0):
    """The masks of all stars on an image.

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s, background removed; NaN where no pixel was collected
    stars : table or dict of arrays with row, column, tmag
    threshold : float, cut above the mode of the image in units of its MAD
    min_pixels : int, smaller masks are dropped
    saturation_limit : float, mag; brighter stars saturate

    Returns
    -------
    list of (n_rows, n_columns) bool arrays
    """
    mode, noise = sky_level(image)
    above = np.nan_to_num(image, nan=-np.inf) > mode + threshold * noise
    masks = [
        part
        for cluster in clusters(above)
        for part in split_cluster(image, cluster, stars, saturation_limit)
        if part.sum() >= min_pixels
    ]
    # holes of a single pixel are filled: those whose four neighbours all belong to the mask
    masks = [
        (mask | ndimage.binary_erosion(mask, structure=BESIDE)) & np.isfinite(image)
        for mask in masks
    ]
    tmag = np.asarray(stars["tmag"])
    return [
        follow_columns(image, mask, above)
        if total_magnitude(tmag[in_mask(stars, mask)]) < saturation_limit
        else mask
        for mask in masks
    ]


def sky_level(image):
    """Mode of the faint pixels of an image and the noise below it (MAD as sigma), e-/s.

    The mode is looked for among pixels with light. In a crowded field the background that was
    removed has the light of faint stars in it and leaves many pixels below zero; with a mode among
    those, most of the stamp would be above the cut. It is the top of a density with Gaussian
    kernels of Silverman's width for the shortest half of the values, which are mostly those of the
    sky. Standard deviation or quartiles of all would be those of the star, where a bright one fills
    much of the stamp.
    """
    fluxes = image[np.isfinite(image)]
    light = fluxes[fluxes > 0] if (fluxes > 0).any() else fluxes
    faint = light[(light < np.percentile(light, MODE_PERCENTILE)) & (light < MODE_FLUX_LIMIT)]
    faint = faint if len(faint) else light
    mode, high = shortest_interval(faint, 0.5)
    if high > mode:
        # Silverman 1986, equation 3.31
        width = 0.9 * ((high - mode) / HALF_OF_NORMAL) * len(faint) ** -0.2
        grid = np.linspace(mode - width, high + width, 300)
        density = np.exp(-0.5 * ((grid[:, None] - faint) / width) ** 2).sum(axis=1)
        mode = grid[np.argmax(density)]
    below = mode - fluxes[fluxes < mode]
    return mode, MAD_TO_SIGMA * (np.median(below) if len(below) else 0.0)


def shortest_interval(values, fraction):
    """Ends of the shortest interval that holds a fraction of the values."""
    values = np.sort(values)
    n = min(int(np.ceil(fraction * len(values))), len(values) - 1)
    shortest = np.argmin(values[n:] - values[: len(values) - n])
    return values[shortest], values[shortest + n]


def clusters(above):
    """Groups of neighbouring pixels above the cut: list of bool arrays.

    Core pixels within sqrt(2) of each other are one cluster; other pixels join the cluster of a
    core pixel beside them; lonely ones belong to none. That is DBSCAN with a distance of sqrt(2)
    pixels.
    """
    n_neighbours = ndimage.convolve(above.astype(int), SURROUNDINGS.astype(int), mode="constant")
    labels, n_clusters = ndimage.label(
        above & (n_neighbours >= CORE_NEIGHBOURS), structure=SURROUNDINGS
    )
    border = above & (labels == 0)
    labels[border] = ndimage.grey_dilation(labels, footprint=SURROUNDINGS)[border]
    return [labels == number for number in range(1, n_clusters + 1)]


def split_cluster(image, cluster, stars, saturation_limit):
    """Split a cluster between its stars, along the valleys of the flux: list of bool arrays.

    A star counts where a local maximum of the cluster is its nearest one and not too far from it.

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s
    cluster : (n_rows, n_columns) bool array
    stars : table or dict of arrays with row, column, tmag
    saturation_limit : float, mag; brighter stars saturate
    """
    smoothed = ndimage.gaussian_filter(np.nan_to_num(image), SMOOTHING)
    maxima = np.argwhere(
        (ndimage.maximum_filter(smoothed, footprint=SURROUNDINGS) == smoothed) & cluster
    )
    distance = np.hypot(
        maxima[:, :1] - np.asarray(stars["row"])[None, :],
        maxima[:, 1:] - np.asarray(stars["column"])[None, :],
    )
    if distance.size == 0:
        return [cluster]
    limit = np.where(
        np.asarray(stars["tmag"]) > saturation_limit, MARKER_DISTANCE_FAINT, MARKER_DISTANCE_BRIGHT
    )
    nearest = distance.argmin(axis=0)
    markers = maxima[np.unique(nearest[distance.min(axis=0) <= limit])]
    if len(markers) < 2:
        return [cluster]
    seeds = np.zeros(image.shape, int)
    seeds[tuple(markers.T)] = np.arange(1, len(markers) + 1)
    labels = watershed(-smoothed, seeds, mask=cluster)
    return [labels == number for number in range(1, len(markers) + 1)]


def with_peaks(stars, image, *, threshold=0.8, saturation_limit=7.0):
    """The target, and the stars that an image itself shows, for stamps without a catalogue.

    Parameters
    ----------
    stars : table or dict of arrays with row, column, tmag, of the target alone
    image : (n_rows, n_columns) array, e-/s, background removed
    threshold : float, cut above the mode of the image in units of its MAD
    saturation_limit : float, mag; a brighter target has peaks of its own along its columns

    Returns
    -------
    dict of arrays row, column, tmag; the target first, magnitudes of the others by their peaks
    against that of the target
    """
    mode, noise = sky_level(image)
    smoothed = ndimage.gaussian_filter(np.nan_to_num(image), SMOOTHING)
    floor = max(mode + max(threshold, PEAK_TO_NOISE) * noise, np.finfo(float).tiny)
    height = np.log(np.maximum(smoothed, floor))
    rows, columns = np.nonzero(h_maxima(height, np.log(PEAK_TO_SADDLE)))
    row, column, tmag = (float(np.asarray(stars[name])[0]) for name in ("row", "column", "tmag"))
    tmag = tmag if np.isfinite(tmag) else UNKNOWN_TMAG
    distance = np.hypot(rows - row, columns - column)
    own = distance <= MARKER_DISTANCE_FAINT
    own &= distance == distance.min(initial=np.inf, where=own)
    reference = smoothed[rows[own], columns[own]].max(initial=floor)
    if tmag < saturation_limit:
        own |= np.abs(columns - column) <= BLEEDING_COLUMNS
    rows, columns = rows[~own], columns[~own]
    others = tmag - 2.5 * np.log10(np.maximum(smoothed[rows, columns], floor) / reference)
    positions = [peak_position(smoothed, *peak) for peak in zip(rows, columns, strict=True)]
    rows, columns = np.reshape(positions, (-1, 2)).T
    return {
        "row": np.append(row, rows),
        "column": np.append(column, columns),
        "tmag": np.append(tmag, others),
    }


def peak_position(image, row, column):
    """Position of a star from the pixels around its brightest one, above the faintest of them:
    (row, column).

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s
    row, column : int, the brightest pixel
    """
    rows, columns = (
        slice(max(at - 1, 0), min(at + 2, size))
        for at, size in zip((row, column), image.shape, strict=True)
    )
    light = image[rows, columns] - image[rows, columns].min()
    down, across = np.mgrid[rows, columns]
    if not light.sum() > 0:
        return float(row), float(column)
    return np.average(down, weights=light), np.average(across, weights=light)


def follow_columns(image, mask, above):
    """Extend the saturated columns of a mask to all connected pixels above the cut in the same
    column.

    Charge that a saturated pixel cannot hold flows along its column.

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s
    mask : (n_rows, n_columns) bool array
    above : (n_rows, n_columns) bool array, pixels above the cut
    """
    mask = mask.copy()
    for column in np.flatnonzero(mask.any(axis=0)):
        values = image[mask[:, column], column]
        if len(values) > 1 and np.median(np.abs(np.diff(values))) < SATURATED_STEP * values.max():
            runs, _ = ndimage.label(above[:, column])
            touched = np.unique(runs[mask[:, column] & above[:, column]])
            mask[:, column] |= np.isin(runs, touched[touched > 0])
    return mask


def minimum_mask(shape, row, column):
    """The pixels around a position that the light of any star falls on: 2x2 to 3x3 pixels.

    Two rows where the star is near the border between them, three where it is near the middle of
    one; likewise columns.

    Parameters
    ----------
    shape : (n_rows, n_columns) of the stamp
    row, column : float, pixels, stamp position
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (np.abs(rows - row) <= 1.25) & (np.abs(columns - column) <= 1.25)


def in_mask(stars, mask):
    """Which stars lie on a pixel of a mask: (n_stars,) bool array."""
    rows = np.rint(np.asarray(stars["row"], float)).astype(int)
    columns = np.rint(np.asarray(stars["column"], float)).astype(int)
    on_stamp = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    in_it = np.zeros(len(rows), bool)
    in_it[on_stamp] = mask[rows[on_stamp], columns[on_stamp]]
    return in_it


def total_magnitude(tmag):
    """The magnitude of several stars together; inf without any."""
    with np.errstate(divide="ignore"):
        return -2.5 * np.log10(np.nansum(10 ** (-0.4 * np.asarray(tmag, float))))
