"""The targets of a folder of image cubes: every catalogue star that falls on the detector."""

import logging
from pathlib import Path

import numpy as np

from ..catalog.ccd import open_catalog
from ..errors import CatalogError, WrongUseError
from ..pixels.imagecube import find_cubes
from ..pixels.tesscamera import distance_from_axis
from ..sky import separation
from .area import cbv_area
from .targets import Found

log = logging.getLogger(__name__)

CORNER_MARGIN = 0.02  # deg around the footprint: more than edges of a distorted image bulge out of great circles


def targets_of_cubes(folder, template, *, progress=iter):
    """Find the targets of all image cubes of a folder, down to the template's ``faint_limit``.

    Parameters
    ----------
    folder : pathlib.Path
    template : Template
    progress : function that wraps the sequence of cubes

    Raises
    ------
    WrongUseError : there is no image cube
    CatalogError : there is no catalogue for a cube, or none of its stars is on it
    """
    found, cubes = Found(), 0
    for cube in progress(find_cubes(folder)):
        cubes += 1
        found.rows += _stars_on_detector(Path(folder), cube, template.faint_limit)
    if not cubes:
        raise WrongUseError(
            f"{folder}: no image cube (sectorSSS_cameraC_ccdD.hdf5); make them with 'photometry prepare'"
        )
    return found


def _stars_on_detector(folder, cube, faint_limit):
    """Rows of the stars with -0.5 <= x <= n - 0.5 in both axes."""
    catalog = open_catalog(
        folder,
        cube.sector,
        cube.camera,
        cube.ccd,
        epoch=None if cube.mission == "TESS" else round(cube.epoch, 1),
    )
    if catalog is None:
        raise CatalogError(
            f"{folder}: no star catalogue for {cube.path.name}; put catalog.ecsv, .csv, .fits, .vot or .parquet into the folder, "
            "and run 'photometry catalog' if it is large"
        )
    corners = cube.footprint()
    middle = np.degrees(_mean_direction(corners))
    reach = separation(*middle, *corners.T).max() + CORNER_MARGIN
    stars = catalog.cone(*middle, reach, tmag_max=faint_limit)
    if len(stars) == 0:
        raise CatalogError(
            f"{catalog.path}: no star brighter than {faint_limit} near {cube.path.name}"
        )
    row, column = cube.pixel_position(stars["ra"], stars["decl"])
    n_rows, n_columns = cube.shape
    inside = (row >= -0.5) & (row <= n_rows - 0.5) & (column >= -0.5) & (column <= n_columns - 0.5)
    distance = _distance(cube, catalog, stars, row, column)
    return [_row(cube, stars[i], distance[i]) for i in np.flatnonzero(inside)]


def _row(cube, star, distance):
    where = {name: getattr(cube, name) for name in ("sector", "camera", "ccd", "cadence")}
    distance = distance if np.isfinite(distance) else None
    return {
        "starid": int(star["starid"]),
        **where,
        "datasource": "ffi",
        "tmag": float(star["tmag"]),
        "cbv_area": cbv_area(cube.camera, cube.ccd, distance),
    }


def _distance(cube, catalog, stars, row, column):
    """Degrees from the camera's centre, for each star; NaN where it cannot be told."""
    centre = [catalog.settings.get(f"camera_centre_{name}") for name in ("ra", "dec")]
    if None not in centre:
        return separation(*centre, stars["ra"], stars["decl"])
    if cube.mission != "TESS":
        return np.full(len(stars), np.nan)
    return distance_from_axis(cube.ccd, cube.first_row + row, cube.first_column + column)


def _mean_direction(corners):
    """ra, decl (rad) of the middle of some directions (deg)."""
    ra, decl = np.radians(corners).T
    x, y, z = (
        (np.cos(decl) * np.cos(ra)).sum(),
        (np.cos(decl) * np.sin(ra)).sum(),
        np.sin(decl).sum(),
    )
    return np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))
