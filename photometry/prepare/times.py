"""Times of a cube, barycentric for one known direction: stamps move them to their star by the
Earth's position.

The times of a full-frame image hold for the pixel that its header names (BTC_PIX1, BTC_PIX2), the
middle of the CCD. A cut-out keeps them, but not where the middle of the CCD is on the sky: its WCS
holds for its own few pixels. There, the correction in the file (TIMECORR) is taken off again, and
one for the middle of the cut-out is added.
"""

import logging
from dataclasses import dataclass

import numpy as np

from ..constants import DAY
from ..pixels import tess
from ..sky import unit_vectors
from .ffi import headers_of, wcs_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Times:
    """Times of the images of a cube.

    Attributes
    ----------
    time, time_start, time_stop : (n_times,) arrays, days, barycentric for ``direction``
    timecorr : (n_times,) array, days, the correction contained in them
    earth : (n_times, 3) array, seconds of light; NaN where times cannot be moved (Kepler is far
        from the Earth)
    direction : (ra, decl), deg
    """

    time: np.ndarray
    time_start: np.ndarray
    time_stop: np.ndarray
    timecorr: np.ndarray
    earth: np.ndarray
    direction: tuple

    def datasets(self):
        """The arrays by the names that they have in the cube."""
        names = ("time", "time_start", "time_stop", "timecorr", "earth")
        return {name: getattr(self, name) for name in names}


def times_of(frames, reference):
    """Times as in the headers where these are barycentric for a direction that is known, else made
    so.

    Parameters
    ----------
    frames : list of Frame, of one cube
    reference : int, number of the frame whose header says where on the sky they are

    Returns
    -------
    Times
    """
    series = {
        name: np.array([getattr(frame, name) for frame in frames], dtype=float)
        for name in ("time", "time_start", "time_stop", "timecorr")
    }
    first = frames[reference]
    direction = _time_direction(first)
    if first.mission != "TESS":
        return Times(**series, earth=np.full((len(frames), 3), np.nan), direction=direction)
    earth = tess.earth_position(series["time"] - series["timecorr"], first.time_reference)
    expected = tess.correction(earth, unit_vectors(*direction))
    if not _holds(first, series["timecorr"], expected):
        for name in ("time", "time_start", "time_stop"):
            series[name] += expected - series["timecorr"]
        series["timecorr"] = expected
    return Times(**series, earth=earth, direction=direction)


def _holds(frame, timecorr, expected):
    """Whether the times of the files are barycentric for the direction in which ``expected`` was
    computed.
    """
    if frame.times_for != "image":
        return False
    if not timecorr.any():
        log.warning(
            "%s: says nothing of the barycentric correction (BARYCORR, TIMECORR); its times are "
            "taken to be barycentric for the "
            "middle of the image",
            frame.flux.path,
        )
        return True
    wrong = np.abs(timecorr - expected).max() * DAY
    if wrong > tess.MAX_DISTANCE:
        log.warning(
            "%s: its barycentric correction is up to %.1f s from what follows from the position "
            "of the Earth; its times are made "
            "barycentric anew",
            frame.flux.path,
            wrong,
        )
    return wrong <= tess.MAX_DISTANCE


def _time_direction(frame):
    """(ra, decl) in degrees of the position for which the header's barycentric correction holds, or
    the middle of the image
    """
    _, header = headers_of(frame)
    column = header.get("BTC_PIX1", 0.5 * sum(frame.flux.columns) + 0.5) - 1 - frame.flux.columns[0]
    row = header.get("BTC_PIX2", 0.5 * sum(frame.flux.rows) + 0.5) - 1 - frame.flux.rows[0]
    return tuple(
        float(angle) for angle in wcs_of(header, frame.flux.path).all_pix2world(column, row, 0)
    )
