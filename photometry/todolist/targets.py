"""The rows of a TODO-file; the targets of a folder of image cubes: every catalogue star that falls
on the detector; and those that a table lists: CSV, ECSV, FITS, VOTable or Parquet.

A row is a dict with the columns of ``todolist``: starid, sector, camera, ccd, cadence, datasource,
tmag, cbv_area.
"""

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..catalog.ccd import open_catalog
from ..catalog.tables import NAMES, read_table
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

DATASOURCE = r"^(ffi|tpf(:\d+)?)$"
COLUMNS = (
    "starid",
    "sector",
    "camera",
    "ccd",
    "cadence",
    "datasource",
    "tmag",
    "method",
    "cbv_area",
)
WHOLE = ("starid", "sector", "camera", "ccd", "cadence", "cbv_area")
REQUIRED = ("starid", "sector", "camera", "ccd", "tmag")
OTHER_NAMES = {
    "starid": NAMES["starid"],
    "tmag": NAMES["tmag"],
    "sector": ("quarter", "campaign"),
    "camera": ("module",),
    "ccd": ("output",),
}
TPF_CADENCE = 120  # s
FFI_CADENCES = ((27, 1800), (56, 600))  # s, before which sector; then 200


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


# --- of a table


def targets_of_table(folder, template, *, table=None):
    """Read the targets of a table.

    Parameters
    ----------
    folder : pathlib.Path, from which the path in the template is seen
    template : Template
    table : path that counts instead of the one in the template

    Raises
    ------
    WrongUseError : no table is named, it cannot be read, lacks a column (also one that the template
        names), or holds a value that cannot be
    """
    path = _path(folder, template, table)
    content = read_table(path, error=WrongUseError)
    source = template.table
    names = _names(content.colnames, source, path)
    columns = {ours: _column(content[theirs], ours, path) for ours, theirs in names.items()}
    missing = [name for name in REQUIRED if name not in columns and name not in source.defaults]
    if missing:
        raise WrongUseError(
            f"{path}: no column {', '.join(missing)} (it has {', '.join(content.colnames)}); name "
            "the columns in [table.columns] of the "
            "template, or give a value for all rows in [table.defaults]"
        )
    columns = {
        name: columns.get(name, [source.defaults.get(name)] * len(content)) for name in COLUMNS
    }
    rows = [
        dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return Found(rows=[_completed(row, number, path) for number, row in enumerate(rows, 1)])


def _path(folder, template, table):
    if table is not None:
        return Path(table)
    if template.table.file is None:
        raise WrongUseError(
            "the template names no table: write file = '…' into its section [table], or say "
            "--table FILE"
        )
    return folder / template.table.file


def _names(found, source, path):
    """Which column of the table is which of ours: as the template says, else by name."""
    for ours in (*source.columns, *source.defaults):
        if ours not in COLUMNS:
            raise WrongUseError(
                f"[table]: {ours!r} is no column of a TODO-file; accepted are {', '.join(COLUMNS)}"
            )
    for ours, theirs in source.columns.items():
        if theirs not in found:
            raise WrongUseError(
                f"[table.columns]: {ours} = {theirs!r}, but {path} has {', '.join(found)}"
            )
    lower = {name.lower(): name for name in reversed(found)}
    by_name = {}
    for ours in COLUMNS:
        known = next(
            (lower[name] for name in (ours, *OTHER_NAMES.get(ours, ())) if name in lower), None
        )
        if known is not None:
            by_name[ours] = known
    return by_name | source.columns


def _column(column, ours, path):
    """Values as SQLite stores them: int, float, str; None where there is none."""
    values = np.ma.asarray(column).tolist()  # masked values become None
    convert = _whole if ours in WHOLE else float if ours == "tmag" else _text
    converted = []
    for number, value in enumerate(values, 1):
        try:
            converted.append(None if value is None or value != value else convert(value))
        except ValueError:
            kind = "a whole number" if ours in WHOLE else "a number"
            raise WrongUseError(
                f"{path}: row {number}, column {column.name}: {str(value)!r} is not {kind}"
            ) from None
    return converted


def _whole(value):
    if isinstance(value, str | bytes):
        value = re.sub(r"^\s*(TIC|KIC|EPIC)\s*", "", _text(value) or "", flags=re.IGNORECASE)
        return int(value)
    if value != int(value):
        raise ValueError(value)
    return int(value)


def _text(value):
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.strip() or None


def _completed(row, number, path):
    """Check one row and fill in what follows from the rest."""
    row["datasource"] = row["datasource"] or "ffi"
    if not re.match(DATASOURCE, row["datasource"]):
        raise WrongUseError(
            f"{path}: row {number}: datasource {row['datasource']!r} is not 'ffi', 'tpf' or "
            "'tpf:STARID'"
        )
    for name in ("starid", "sector", "camera", "ccd"):
        if row[name] is None:
            raise WrongUseError(f"{path}: row {number} has no {name}")
    if row["cadence"] is None:
        row["cadence"] = TPF_CADENCE if row["datasource"] != "ffi" else _ffi_cadence(row["sector"])
    if row["cbv_area"] is None:
        row["cbv_area"] = cbv_area(row["camera"], row["ccd"])
    return row


def _ffi_cadence(sector):
    return next((cadence for before, cadence in FFI_CADENCES if sector < before), 200)
