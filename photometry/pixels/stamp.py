"""`Stamp`: the pixels of one target over all times, with all that a method needs to know about
them; and what is good in it: times, the mean image that masks are made from, flags of pixels and of
times.

Whatever the source (target pixel file, image cube), methods get a stamp and open no file.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from ..constants import MAD_TO_SIGMA, MISSIONS
from ..flags import CUBE_PIXELS, DEFAULT_BITMASK, FOUND
from ..notebook import Shown

NO_DATA, NEAR_SATURATION, TILE_JUMP = CUBE_PIXELS
# What `prepare` and stamps of a cube find wrong with times, beside what the mission says. A frame
# that is bad also gets the mission's bit for "excluded by hand", which every user of the default
# bit mask leaves out.
BAD_FRAME, HIGH_BACKGROUND, BACKGROUND_JUMP, HIGH_LOCAL_BACKGROUND = FOUND
# standard deviations
JUMP = 8
# background over its median
HIGH = 1.25

BLOCK_TIMES = 512  # times that are summed at once


@dataclass(frozen=True)
class Target:
    """The star that a stamp was made for."""

    starid: int  # TIC, KIC or EPIC number
    ra: float  # deg, ICRS, at the epoch of the catalogue
    decl: float  # deg
    tmag: float  # magnitude in the mission's band (TESS mag, Kepler mag)
    teff: float = np.nan  # K
    logg: float = np.nan  # log10(cm/s^2)
    radius: float = np.nan  # solar radii
    pm_ra: float = np.nan  # mas/yr, including cos(decl)
    pm_decl: float = np.nan  # mas/yr


@dataclass(frozen=True, repr=False)
class Stamp(Shown):
    """The pixels around one target over all times.

    Rows and columns are 0-based within the stamp: pixel ``[j, i]`` is detector row ``row + j``,
    column ``column + i``. A star's ``row`` and ``column`` in ``catalog`` are stamp positions, with
    integers at pixel centres.
    """

    target: Target
    mission: str  # 'TESS', 'Kepler' or 'K2'
    sector: int  # TESS sector, Kepler quarter or K2 campaign
    camera: int  # TESS camera; Kepler and K2: the CCD module
    ccd: int  # TESS CCD; Kepler and K2: the CCD output
    cadence: int  # s, nominal time between exposures
    datasource: str  # 'ffi', 'tpf' or 'tpf:STARID', as in the task
    # (n_times,) days, barycentric, minus time_reference; NaN where no exposure was made
    time: np.ndarray
    time_reference: int  # BJDREFI: 2457000 for TESS (BTJD), 2454833 for Kepler (BKJD)
    timecorr: np.ndarray  # (n_times,) days, barycentric correction contained in time
    cadenceno: np.ndarray  # (n_times,) int
    quality: np.ndarray  # (n_times,) int, bits of the mission's quality flags
    # (n_times, n_rows, n_columns) e-/s, background already removed; NaN outside collected pixels
    flux: np.ndarray
    flux_err: np.ndarray  # same shape, e-/s
    background: np.ndarray  # same shape, e-/s, what was removed
    background_err: np.ndarray  # same shape, e-/s
    # (n_rows, n_columns) int, bits: 1 collected, 2 in the mission's optimal aperture
    aperture: np.ndarray
    row: int  # detector row of the stamp's first row, as the mission counts it
    column: int  # detector column of the stamp's first column
    wcs: WCS  # celestial coordinates <-> 0-based stamp (column, row)
    # (n_times, 2) pixels: column, row; motion of the target by pointing and aberration
    pos_corr: np.ndarray
    # stars on and near the stamp: starid, ra, decl, tmag, row, column
    catalog: Table = field(default_factory=Table)
    # keywords of the source worth handing on: OBJECT, DATA_REL, INT_TIME…
    headers: dict = field(default_factory=dict)
    path: str = ""  # where it was read from
    # (n_rows, n_columns) e-/s, mean of the good frames; None: not made yet
    sumimage: np.ndarray | None = None
    # what is doubtful about the pixels, one message each: the result becomes a WARNING
    warnings: tuple = ()

    def _shown(self):
        label = MISSIONS[self.mission].label(self.target.starid)
        n_times, n_rows, n_columns = self.flux.shape
        size = f"{n_times} times, {n_rows} x {n_columns} pixels"
        line = f"{label}, sector {self.sector}, {self.cadence} s, {size}, {self.datasource}"
        pairs = [
            ("star", label),
            ("magnitude", self.target.tmag),
            ("mission", self.mission),
            ("sector, camera, ccd", f"{self.sector}, {self.camera}, {self.ccd}"),
            ("cadence", f"{self.cadence} s"),
            ("size", size),
            ("first pixel", f"row {self.row}, column {self.column}"),
            ("stars", len(self.catalog) if self.has_catalog else "the target alone is known"),
            ("from", f"{self.datasource}: {self.path}"),
            *(("doubt", warning) for warning in self.warnings),
        ]
        return "Stamp", line, pairs

    @property
    def shape(self):
        """(n_rows, n_columns)"""
        return self.flux.shape[1:]

    @property
    def has_catalog(self):
        """Whether stars besides the target are known; False: the input has no catalogue, neighbours
        are unknown
        """
        return self.catalog.meta.get("path") != ""

    @property
    def collected(self):
        """(n_rows, n_columns) bool array, True where pixels were collected"""
        return (self.aperture & 1) != 0


def good_times(stamp, bitmask=None):
    """Times whose quality is good.

    Parameters
    ----------
    stamp : Stamp
    bitmask : int, optional
        Quality bits that a good time does not have; default is `flags.DEFAULT_BITMASK` of the
        mission.

    Returns
    -------
    (n_times,) bool array
    """
    if bitmask is None:
        bitmask = DEFAULT_BITMASK[stamp.mission]
    return ((stamp.quality & bitmask) == 0) & np.isfinite(stamp.time)


def mean_image(images, good):
    """The mean of the good frames; of all frames where no good one has a value.

    Parameters
    ----------
    images : (n_times, n_rows, n_columns) float array
    good : (n_times,) bool array

    Returns
    -------
    (n_rows, n_columns) float64 array; NaN for pixels that never have a value
    """
    # Matrix products of short blocks, in the precision of the pixels and added up in double: a
    # quarter of the time of a mean along the first axis of chosen images
    flat, weight = images.reshape(len(images), images[0].size), good.astype(images.dtype)
    total = np.zeros(flat.shape[1])
    for start in range(0, len(flat), BLOCK_TIMES):
        times = slice(start, start + BLOCK_TIMES)
        if good[times].all():
            total += weight[times] @ flat[times]
        elif good[times].any():
            chosen = flat[times][good[times]]
            total += np.ones(len(chosen), chosen.dtype) @ chosen
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # no images, or pixels without any value: NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        image = total / good.sum()
        # few: pixels not collected, or NaN at some times; the mean that knows NaN is much slower
        holes = np.flatnonzero(np.isnan(image))
        if len(holes):
            image[holes] = np.nanmean(flat[good][:, holes], axis=0, dtype=float)
    if not np.isfinite(image).any() and not good.all():
        return mean_image(images, np.ones(len(images), bool))
    return image.reshape(images.shape[1:])


def pixel_flags(flux, flux_cut, jumped):
    """Flags of pixels.

    Parameters
    ----------
    flux : (...,) array, e-/s, with the background
    flux_cut : float, e-/s
    jumped : bool array that broadcasts to the shape of ``flux``, where the background jumped

    Returns
    -------
    flags : uint8 array of the same shape, bits of `flags.CUBE_PIXELS`
    """
    flags = np.zeros(flux.shape, dtype=np.uint8)
    flags[~np.isfinite(flux)] = NO_DATA.bit
    flags[flux > flux_cut] |= NEAR_SATURATION.bit
    flags |= np.asarray(jumped, dtype=np.uint8) * np.uint8(TILE_JUMP.bit)
    return flags


def background_flags(level, *, high=None, jump=None):
    """Flags from a series of background levels.

    Parameters
    ----------
    level : (n_times,) array, e-/s; NaN where there is none
    high, jump : Flag to set where the level is far above its median, and where it differs from the
        median of the five times around it by far more than it mostly does; None: not looked for

    Returns
    -------
    flags : (n_times,) int array
    """
    flags = np.zeros(len(level), dtype=np.int64)
    finite = np.isfinite(level)
    if finite.sum() < 5:
        return flags
    median = np.median(level[finite])
    if high is not None:
        spread = MAD_TO_SIGMA * np.median(np.abs(level[finite] - median))
        flags[finite & (level > median + max((HIGH - 1) * abs(median), JUMP * spread))] |= high.bit
    if jump is not None:
        from scipy.ndimage import median_filter

        difference = level[finite] - median_filter(level[finite], 5, mode="nearest")
        spread = MAD_TO_SIGMA * np.median(np.abs(difference)) + 1e-3 * abs(median)
        flags[np.flatnonzero(finite)[np.abs(difference) > JUMP * spread]] |= jump.bit
    return flags
