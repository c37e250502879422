"""The stamp of a target from an image cube: where it lies, how large it is, how it grows.

A stamp is 15x15 pixels for most stars and larger for bright ones, whose charge runs along the
columns. If the mask of a method reaches the edge of the stamp, the stamp is extended on that side.
"""

import functools
from dataclasses import dataclass

import numpy as np

from ..constants import DAY
from ..errors import TargetNotFoundError
from ..sky import propagate, unit_vectors
from .imagecube import cube_path, find_cube, movement_at
from .stamp import BACKGROUND_JUMP, HIGH_LOCAL_BACKGROUND, Stamp, Target, background_flags
from .tess import correction

# TESS magnitude, and how many columns and rows its stamp has; between them the logarithms are
# interpolated
STAMP_SIZES = ((1.0, 100, 344), (3.2, 38, 68), (4.7, 28, 28), (8.0, 15, 15))
GROWTH = 10  # pixels
MAX_RESIZES, MAX_RESIZES_BRIGHT, BRIGHT = (
    5,
    10,
    6.0,
)  # how often a stamp may grow; more often for stars brighter than tmag 6


@dataclass(frozen=True)
class Area:
    """A rectangle of the cube: rows ``row1`` to ``row2`` (exclusive), columns likewise."""

    row1: int
    row2: int
    column1: int
    column2: int

    @property
    def rows(self):
        return self.row1, self.row2

    @property
    def columns(self):
        return self.column1, self.column2

    def within(self, shape):
        """The part of it that lies on the detector."""
        return Area(
            max(self.row1, 0),
            min(self.row2, shape[0]),
            max(self.column1, 0),
            min(self.column2, shape[1]),
        )


def stamp_size(tmag):
    """(n_rows, n_columns) of the stamp of a star of TESS magnitude ``tmag``; 15x15 where that is
    not known.
    """
    magnitudes, columns, rows = np.array(STAMP_SIZES).T
    tmag = 8.0 if not np.isfinite(tmag) else tmag
    return tuple(
        round(float(np.exp(np.interp(tmag, magnitudes, np.log(size))))) for size in (rows, columns)
    )


def default_area(shape, row, column, tmag):
    """The area for a star at a 0-based position of the cube.

    Parameters
    ----------
    shape : (n_rows, n_columns) of the cube
    row, column : float, pixels, 0-based position of the star
    tmag : float, mag; NaN where it is not known

    Raises
    ------
    TargetNotFoundError : the star is not on the detector
    """
    n_rows, n_columns = shape
    if not (-0.5 <= row <= n_rows - 0.5 and -0.5 <= column <= n_columns - 0.5):
        raise TargetNotFoundError(
            f"the target lies at row {row:.1f}, column {column:.1f}, outside the images of "
            f"{n_rows} x {n_columns} pixels"
        )
    height, width = stamp_size(tmag)
    row1, column1 = int(np.floor(row + 0.5)) - height // 2, int(np.floor(column + 0.5)) - width // 2
    return Area(row1, row1 + height, column1, column1 + width).within(shape)


def grown_area(area, mask, shape):
    """The area, extended by `GROWTH` on each side whose edge the mask touches and where the
    detector has more pixels.

    Parameters
    ----------
    area : Area
    mask : (n_rows, n_columns) bool array, of the stamp
    shape : (n_rows, n_columns) of the cube

    Returns
    -------
    Area; equal to the old one where nothing is to be gained
    """
    return Area(
        area.row1 - GROWTH * bool(mask[0].any()),
        area.row2 + GROWTH * bool(mask[-1].any()),
        area.column1 - GROWTH * bool(mask[:, 0].any()),
        area.column2 + GROWTH * bool(mask[:, -1].any()),
    ).within(shape)


def max_resizes(tmag):
    """How often the stamp of a star may grow."""
    return MAX_RESIZES_BRIGHT if tmag < BRIGHT else MAX_RESIZES


def target_of(task, catalog, folder):
    """The star of a task, from the catalogue.

    Parameters
    ----------
    task : dict with ``starid``
    catalog : Catalog or None
    folder : path, for the message

    Raises
    ------
    TargetNotFoundError : there is no catalogue, or the star is not in it
    """
    star = catalog.star(task["starid"]) if catalog else None
    if star is None:
        where = (
            f"not in the catalogue {catalog.path}" if catalog else f"{folder} has no star catalogue"
        )
        raise TargetNotFoundError(f"star {task['starid']}: its position is not known, {where}")
    return Target(
        **{
            name: star[name]
            for name in ("starid", "ra", "decl", "tmag", "teff", "pm_ra", "pm_decl")
        }
    )


@functools.lru_cache(maxsize=2)
def _open_cube(path, changed, folder, sector, camera, ccd):
    return find_cube(folder, sector, camera, ccd)


def cube_of(task, folder):
    """The cube of a task; it stays open for the next task of the same CCD.

    Raises
    ------
    TargetNotFoundError : it is not in the folder, or of another cadence
    """
    sector, camera, ccd = (task[key] for key in ("sector", "camera", "ccd"))
    path = cube_path(folder, sector, camera, ccd)
    changed = path.stat().st_mtime_ns if path.exists() else None
    cube = _open_cube(path, changed, str(folder), sector, camera, ccd)
    if cube.cadence != task["cadence"]:
        raise TargetNotFoundError(
            f"{path}: its images are {cube.cadence} s apart, the task asks for {task['cadence']} s"
        )
    return cube


def stamp_from_cube(cube, target, area=None, *, epoch=None):
    """The pixels around a star in all images.

    Parameters
    ----------
    cube : ImageCube
    target : Target
    area : Area; default: by the star's position and magnitude
    epoch : float, Julian year of the target's coordinates; default: that of the images

    Returns
    -------
    Stamp, with an empty catalogue

    Raises
    ------
    TargetNotFoundError : the star is not on the detector
    """
    ra, decl = _position(target, cube, epoch)
    row, column = (float(value) for value in cube.pixel_position(ra, decl))
    area = area or default_area(cube.shape, row, column, target.tmag)
    background = cube.read("background", area.rows, area.columns)
    flux = cube.read("flux", area.rows, area.columns)
    time, timecorr, time_err = _times(cube, ra, decl)
    return Stamp(
        target=target,
        mission=cube.mission,
        sector=cube.sector,
        camera=cube.camera,
        ccd=cube.ccd,
        cadence=cube.cadence,
        datasource="ffi",
        time=time,
        time_reference=cube.time_reference,
        timecorr=timecorr,
        cadenceno=cube.cadenceno,
        quality=cube.quality | local_flags(background),
        flux=flux,
        flux_err=cube.read("error", area.rows, area.columns),
        background=background,
        background_err=np.broadcast_to(cube.background_err[:, None, None], background.shape),
        aperture=np.isfinite(flux).any(axis=0).astype(np.int32),
        row=cube.first_row + area.row1,
        column=cube.first_column + area.column1,
        wcs=cube.wcs.slice((slice(*area.rows), slice(*area.columns))),
        pos_corr=movement_at(cube.movement, row, column, cube.shape),
        headers=cube.headers | ({} if np.isnan(time_err) else {"TIERABSO": time_err}),
        path=str(cube.path),
        warnings=cube.warnings,
    )


def area_of(stamp, cube):
    """The area of the cube that a stamp was made from."""
    row1, column1 = stamp.row - cube.first_row, stamp.column - cube.first_column
    return Area(row1, row1 + stamp.shape[0], column1, column1 + stamp.shape[1])


def local_flags(background):
    """Flags of times at which the background of a stamp jumps or is far above its median level,
    (n_times,) int array.
    """
    level = np.median(background, axis=(1, 2)).astype(float)
    return background_flags(level, high=HIGH_LOCAL_BACKGROUND, jump=BACKGROUND_JUMP).astype(
        np.int32
    )


def _position(target, cube, epoch):
    if epoch is None:
        return target.ra, target.decl
    motion = np.nan_to_num([target.pm_ra, target.pm_decl])
    return tuple(
        float(angle) for angle in propagate(target.ra, target.decl, *motion, cube.epoch - epoch)
    )


def _times(cube, ra, decl):
    """Times barycentric for the star instead of for the middle of the image, the correction
    contained in them, and how far they may be off: all days, the last NaN where it is not known.
    """
    if np.isnan(cube.satellite).any():
        return cube.time, cube.timecorr, np.nan
    star, reference = unit_vectors(ra, decl), unit_vectors(*cube.time_direction)
    more = correction(cube.satellite, star, reference)
    position_error, error = cube.time_errors
    by_position = correction(cube.satellite, reference)
    if np.allclose(cube.timecorr, by_position, rtol=0, atol=1e-8):
        error += position_error
    else:  # the mission's correction has the true position in it, but for the way to the star
        error += position_error * float(np.linalg.norm(star - reference))
    return cube.time + more, cube.timecorr + more, error / DAY
