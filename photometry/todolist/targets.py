"""The rows of a TODO-file, and the targets of a folder of image cubes: every catalogue star that
falls on the detector.

A row is a dict with the columns of ``todolist``: starid, sector, camera, ccd, cadence, datasource,
tmag, cbv_area.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..catalog.ccd import open_catalog
from ..errors import BadInputError, WrongUseError
from ..pixels.imagecube import ImageCube, cube_paths
from ..pixels.tess import distance_from_axis
from ..sky import polygon_centre, separation

log = logging.getLogger(__name__)

# deg: a quarter of the way from the camera's centre to its corner
RING_WIDTH = np.hypot(12, 12) / 4
RINGS = 4
# deg around the footprint: more than edges of a distorted image bulge out of great circles
CORNER_MARGIN = 0.02


@dataclass
class Found:
    """What a source of targets holds."""

    rows: list = field(default_factory=list)
    files: list = field(default_factory=list)  # of PixelFile, for the index
    damaged: list = field(default_factory=list)  # what is wrong with which file, one message each
    # what is missing, or doubtful about all targets
    warnings: list = field(default_factory=list)
    unreadable: list = field(default_factory=list)  # the same, of files that name no star
    passed_over: Counter = field(default_factory=Counter)  # what other files there are -> how many


def cbv_area(camera, ccd, distance=None):
    """The number of an area; without a distance from the camera's centre (deg) the ring is 0. None
    without camera or CCD.

    Parameters
    ----------
    camera, ccd : int or None
    distance : float, deg, from the camera's centre; None where it is not known
    """
    if camera is None or ccd is None:
        return None
    ring = 0 if distance is None else int(np.clip(np.floor(distance / RING_WIDTH) + 1, 1, RINGS))
    return camera * 100 + ccd * 10 + ring


def targets_of_cubes(folder, template, *, progress=iter):
    """Find the targets of all image cubes of a folder, down to the template's ``faint_limit``.

    Parameters
    ----------
    folder : pathlib.Path
    template : Template
    progress : function that wraps the sequence of cubes

    Raises
    ------
    WrongUseError : there is no image cube, or no catalogue for one, or none of its stars is on it
    """
    found, paths = Found(), cube_paths(folder)
    for path in progress(paths):
        try:
            with ImageCube(path) as cube:
                found.rows += _stars_on_detector(Path(folder), cube, template.faint_limit)
        except BadInputError as error:
            found.unreadable.append(str(error))
            found.passed_over["damaged image cube"] += 1
            log.warning("passed over: %s", error)
    if not paths:
        raise WrongUseError(
            f"{folder}: no image cube (sectorSSS_cameraC_ccdD.hdf5); make them with 'photometry "
            "prepare'"
        )
    if len(found.unreadable) == len(paths):
        raise WrongUseError(f"no image cube can be read: {found.unreadable[0]}")
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
        raise WrongUseError(
            f"{folder}: no star catalogue for {cube.path.name}; put catalog.ecsv, .csv, .fits, "
            ".vot or .parquet into the folder, "
            "and run 'photometry catalog' if it is large"
        )
    corners = cube.footprint()
    middle = polygon_centre(corners)
    reach = separation(*middle, *corners.T).max() + CORNER_MARGIN
    stars = catalog.cone(*middle, reach, tmag_max=faint_limit)
    if len(stars) == 0:
        raise WrongUseError(
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
    """Degrees from the camera's centre, for each star; NaN where it is not known."""
    centre = [catalog.settings.get(f"camera_centre_{name}") for name in ("ra", "dec")]
    if None not in centre:
        return separation(*centre, stars["ra"], stars["decl"])
    if cube.mission != "TESS":
        return np.full(len(stars), np.nan)
    return distance_from_axis(cube.ccd, cube.first_row + row, cube.first_column + column)
