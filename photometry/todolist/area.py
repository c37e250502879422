"""``cbv_area``: the part of the camera's field whose stars share systematics; camera*100 + ccd*10 + ring."""

import numpy as np

# deg: a quarter of the way from the camera's centre to its corner
RING_WIDTH = np.hypot(12, 12) / 4
RINGS = 4


def cbv_area(camera, ccd, distance=None):
    """The number of an area; without a distance from the camera's centre (deg) the ring is 0. None without camera or CCD."""
    if camera is None or ccd is None:
        return None
    ring = 0 if distance is None else int(np.clip(np.floor(distance / RING_WIDTH) + 1, 1, RINGS))
    return camera * 100 + ccd * 10 + ring
