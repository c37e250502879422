"""How the stars move over the detector from frame to frame: pointing jitter, aberration, thermal
drift.

Centroids of bright stars that are neither saturated nor crowded are measured in every frame; a
linear function of position (shift, rotation, stretch) that fits their motion is the movement of the
whole image.
"""

import numpy as np

from ..pixels.imagecube import movement_basis

BOX = 4  # pixels to each side of a star's brightest pixel that its centroid may use
WINDOW = 1.3  # pixels, sigma of the Gaussian that weights them; about that of the stars
MAX_STARS = 200
MAX_PEAK = 3e4  # e-/s; brighter stars may saturate
MIN_STARS_LINEAR = 12  # fewer give a shift only
MIN_STARS = 3  # fewer give no movement at all


def find_reference_stars(image, max_stars=MAX_STARS):
    """Bright, unsaturated, isolated stars of an image.

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s, background removed

    Returns
    -------
    pixels : (n_stars, 2) int array: row, column of their brightest pixels, brightest star first
    """
    from astropy.stats import mad_std
    from scipy.ndimage import maximum_filter

    clean = np.nan_to_num(image)
    size = 2 * BOX + 1
    if min(clean.shape) <= size:
        return np.zeros((0, 2), dtype=int)
    # the brightest pixel within two boxes of itself: nothing brighter is near
    alone = clean == maximum_filter(clean, size=2 * size - 1)
    alone[: BOX + 1] = alone[-BOX - 1 :] = False
    alone[:, : BOX + 1] = alone[:, -BOX - 1 :] = False
    bright = (clean > 50 * mad_std(clean)) & (clean < MAX_PEAK)
    rows, columns = np.nonzero(alone & bright)
    order = np.argsort(-clean[rows, columns], kind="stable")[:max_stars]
    return np.column_stack([rows, columns])[order]


def centroids(image, pixels, rounds=8):
    """Centroids of stars, weighted by a Gaussian that follows them.

    The mean position of flux times a Gaussian lies half-way between the Gaussian's centre and the
    star (where both have the same width), so twice the step is taken; a few rounds converge. (The
    windowed centroid of SExtractor.)

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s, background removed
    pixels : (n_stars, 2) int array, row and column of a pixel near each star

    Returns
    -------
    positions : (n_stars, 2) array: row, column; NaN where a star has pixels without value or
        wandered off
    flux : (n_stars,) array, e-/s, in the box
    """
    offsets = np.arange(-BOX, BOX + 1)
    boxes = image[
        pixels[:, 0, None, None] + offsets[:, None], pixels[:, 1, None, None] + offsets
    ].astype(float)
    shift = np.zeros((len(pixels), 2))
    for _ in range(rounds):
        in_row = np.exp(-0.5 * ((offsets - shift[:, :1]) / WINDOW) ** 2)
        in_column = np.exp(-0.5 * ((offsets - shift[:, 1:]) / WINDOW) ** 2)
        weighted = boxes * in_row[:, :, None] * in_column[:, None, :]
        total = weighted.sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):  # stars without light, in blank images
            mean_row = (weighted.sum(axis=2) * offsets).sum(axis=1) / total
            mean_column = (weighted.sum(axis=1) * offsets).sum(axis=1) / total
        shift += 2 * (np.column_stack([mean_row, mean_column]) - shift)
        shift = np.clip(shift, -BOX, BOX)
    shift[~(np.abs(shift).max(axis=1, initial=0) < BOX - 1)] = np.nan
    return pixels + shift, boxes.sum(axis=(1, 2))


def fit_movement(positions, reference, shape):
    """The linear function of position that best describes how stars moved in each frame.

    Parameters
    ----------
    positions : (n_times, n_stars, 2) array: row, column
    reference : (n_stars, 2) array, the same in the reference frame
    shape : (n_rows, n_columns) of the image

    Returns
    -------
    movement : (n_times, 2, 3) array: for row and column, the coefficients of 1, y and x, where y
        and x run from -1 to 1 over the image (see `pixels.imagecube.movement_at`); zeros where
        there are too few stars
    scatter : (n_times,) array, pixels, of single stars around it; NaN where there are too few stars
    """
    movement = np.zeros((len(positions), 2, 3))
    scatter = np.full(len(positions), np.nan)
    basis = movement_basis(reference[:, 0], reference[:, 1], shape)
    for i, measured in enumerate(positions):
        moved = measured - reference
        used = np.isfinite(moved).all(axis=1)
        for _ in range(4):
            if used.sum() < MIN_STARS:
                break
            n_terms = 3 if used.sum() >= MIN_STARS_LINEAR else 1
            found = np.linalg.lstsq(basis[used, :n_terms], moved[used], rcond=None)[0]
            residual = moved - basis[:, :n_terms] @ found
            movement[i] = 0
            movement[i, :, :n_terms] = found.T
            length = np.hypot(*residual.T)
            scatter[i] = np.sqrt(np.mean(length[used] ** 2))
            used = length <= 3 * np.median(length[used]) + 1e-9
    return movement, scatter


def against_median(movement, measured, usable):
    """Movement against the median position of the stars instead of against where the reference
    frame happened to point.

    Parameters
    ----------
    movement : (n_times, 2, 3) array against the reference frame
    measured : (n_times,) bool array; frames without enough stars keep a movement of zero
    usable : (n_times,) bool array, frames that the median is taken of

    Returns
    -------
    array like ``movement``, whose median over the usable frames is zero
    """
    counted = measured & usable
    if not counted.any():
        return movement
    median = np.median(movement[counted], axis=0)
    return np.where(measured[:, None, None], movement - median, movement)
