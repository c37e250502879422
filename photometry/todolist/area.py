"""``cbv_area``: the part of the camera's field whose stars share systematics; camera*100 + ccd*10 + ring."""

import numpy as np

from ..pixels.catalog import separation

RING_WIDTH = np.hypot(12, 12) / 4  # deg: a quarter of the way from the camera's centre to its corner
RINGS = 4

# Of TESS, for positions on the detector (mm): the optical axis lies half a gap beyond the last row, at the side of the last
# column for CCDs 1 and 3 and of the first for CCDs 2 and 4.
FOCAL_LENGTH, PIXEL, HALF_GAP = 146.0, 0.015, 0.78
FIRST_COLUMN, LAST_COLUMN, LAST_ROW = 45, 2092, 2048


def cbv_area(camera, ccd, distance=None):
    """The number of an area; without a distance from the camera's centre (deg) the ring is 0. None without camera or CCD."""
    if camera is None or ccd is None:
        return None
    ring = 0 if distance is None else int(np.clip(np.floor(distance / RING_WIDTH) + 1, 1, RINGS))
    return camera * 100 + ccd * 10 + ring


def distance_on_sky(centre, ra, decl):
    """Angle between a star and the camera's centre (ra, decl), deg."""
    return float(separation(*centre, ra, decl))


def distance_on_detector(ccd, column, row):
    """Angle between a place on a TESS CCD and the camera's optical axis, deg; good to a few tenths of a degree."""
    from_side = LAST_COLUMN - column if ccd in (1, 3) else column - FIRST_COLUMN
    millimetres = np.hypot(from_side * PIXEL + HALF_GAP, (LAST_ROW - row) * PIXEL + HALF_GAP)
    return float(np.degrees(np.arctan(millimetres / FOCAL_LENGTH)))
