"""Geometry and electronics of a TESS CCD, as far as a simulation needs them. Rows and columns as in `pixels.tesscamera`."""

import numpy as np
from astropy.wcs import WCS

from ..pixels.tesscamera import FIRST_COLUMN, FIRST_ROW, optical_axis  # noqa: F401 - for the simulators

PIXEL_SCALE = 21.0 / 3600  # deg

GAINS = (5.26, 5.18, 5.20, 5.20)  # electrons per count, outputs A to D (of camera 4, CCD 1)
READ_NOISE = (10.05, 7.72, 7.54, 9.88)  # electrons per read, outputs A to D
COLUMNS_PER_OUTPUT = 512

INT_TIME, READ_TIME = 1.98, 0.02  # s
# share of the exposures that the on-board rejection of cosmic rays keeps
COSMIC_RAY_REJECTION = 0.8


def ccd_wcs(ccd, ra, decl, position_angle=25.0):
    """WCS of a whole CCD in detector columns and rows (use origin 1), for a camera pointing at ``ra, decl`` (deg)."""
    row, column = optical_axis(ccd)
    # CCDs 1 and 2 are mounted the other way up. The sky appears mirrored, as in TESS images.
    angle = np.radians(position_angle + (180 if ccd in (1, 2) else 0))
    rotation = np.array([[-np.cos(angle), -np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return tangent_wcs((column, row), (ra, decl), np.diag([-PIXEL_SCALE, PIXEL_SCALE]) @ rotation)


def local_wcs(wcs, column, row, corner):
    """WCS of a stamp, as SPOC gives it: a tangent plane at the target, with pixels counted from the stamp's corner.

    Parameters
    ----------
    wcs : WCS of the CCD
    column, row : position of the target on the CCD
    corner : (column, row) of the stamp's first pixel
    """
    ra, decl = wcs.wcs_pix2world(column, row, 1)
    plane = tangent_wcs((0, 0), (ra, decl), np.eye(2))
    steps = np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
    offsets = plane.wcs_world2pix(wcs.wcs_pix2world(steps + np.array([column, row]), 1), 1)
    matrix = np.column_stack([offsets[0] - offsets[1], offsets[2] - offsets[3]])
    return tangent_wcs((column - corner[0] + 1, row - corner[1] + 1), (ra, decl), matrix)


def tangent_wcs(pixel, sky, matrix):
    """Tangent-plane WCS: ``matrix`` (deg per pixel) around ``pixel`` (column, row; origin 1), which looks at ``sky`` (ra, decl)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cd = pixel, [float(angle) for angle in sky], matrix
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def output_of(columns):
    """Which of the four outputs reads a column: 0 for A to 3 for D."""
    return np.clip((np.asarray(columns) - FIRST_COLUMN) // COLUMNS_PER_OUTPUT, 0, 3)


def frames(cadence):
    """Number of 2-second frames in a cadence, and the seconds in which light was gathered."""
    number = round(cadence / (INT_TIME + READ_TIME))
    kept = COSMIC_RAY_REJECTION if cadence >= 120 else 1.0
    return number, number * INT_TIME * kept


def noise(signal, columns, cadence):
    """Standard deviation of shot and read noise.

    Parameters
    ----------
    signal : (..., n_columns) array, e-/s, all light: stars and background
    columns : (n_columns,) detector columns
    cadence : s

    Returns
    -------
    array like ``signal``, e-/s
    """
    _, exposure = frames(cadence)
    read = np.array(READ_NOISE)[output_of(columns)] ** 2 * (exposure / INT_TIME)
    return np.sqrt(np.clip(signal, 0, None) * exposure + read) / exposure
