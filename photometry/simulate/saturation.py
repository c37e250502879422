"""What a CCD does with more charge than a pixel holds: it spills over to the neighbours in the same column."""

import numpy as np

# e-/s: electrons that a TESS pixel holds (Instrument Handbook), in one exposure of 1.98 s
FULL_WELL = 200_000 / 1.98


def bleed(images, full_well=FULL_WELL):
    """Let the charge above the full well run along the columns, half of it up and half of it down.

    No charge is lost, except what runs over the edge of the image.

    Parameters
    ----------
    images : (..., n_rows, n_columns) array, e-/s
    full_well : float, e-/s

    Returns
    -------
    array of the same shape; the input itself if nothing in it is saturated
    """
    excess = np.clip(images - full_well, 0, None)
    if not excess.any():
        return images
    filled = images - excess
    rows = range(images.shape[-2])
    for direction in (rows, reversed(rows)):
        running = np.zeros_like(images[..., 0, :])
        for row in direction:
            running += excess[..., row, :] / 2
            taken = np.minimum(running, full_well - filled[..., row, :])
            filled[..., row, :] += taken
            running -= taken
    return filled
