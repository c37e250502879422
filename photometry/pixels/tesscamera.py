"""Where the pixels of TESS lie in its cameras.

Rows and columns are counted as TESS does: from 1, with the sky on columns 45–2092 and rows 1–2048.
"""

import numpy as np

FIRST_COLUMN, LAST_COLUMN = 45, 2092
FIRST_ROW, LAST_ROW = 1, 2048
FOCAL_LENGTH, PIXEL = 146.0, 0.015  # mm

# The four CCDs of a camera leave a cross of 1.56 mm between them, and the optical axis goes through
# its middle. All have their last row there; CCDs 1 and 3 their last column as well, CCDs 2 and 4
# their first.
HALF_GAP = 52  # pixels, 0.78 mm


def optical_axis(ccd):
    """Row and column of the camera's optical axis, continued from the pixels of one of its CCDs."""
    return LAST_ROW + HALF_GAP, (
        LAST_COLUMN + HALF_GAP if ccd in (1, 3) else FIRST_COLUMN - HALF_GAP
    )


def distance_from_axis(ccd, row, column):
    """Angle between the optical axis and a position on a CCD, deg; without the lens's distortion,
    good to some tenths of a degree.

    Parameters
    ----------
    ccd : int, 1 to 4
    row, column : floats or arrays, pixels, as TESS counts them
    """
    axis_row, axis_column = optical_axis(ccd)
    return np.degrees(
        np.arctan(np.hypot(row - axis_row, column - axis_column) * PIXEL / FOCAL_LENGTH)
    )
