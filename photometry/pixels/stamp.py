"""`Stamp`: the pixels of one target over all times, with all that a method needs to know about
them.

Whatever the source (target pixel file, image cube), methods get one of these and open no file.
"""

from dataclasses import dataclass, field

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from ..constants import MISSIONS
from ..notebook import Shown


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
