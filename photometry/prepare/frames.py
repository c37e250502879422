"""`Frame` and `Plane`: one exposure of one CCD, and where its pixels lie in a file; sorted into the
cubes that they make.

Pixels are read straight from their offset in the (uncompressed) file, a few rows at a time where
that is all one needs.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ..constants import DAY
from ..errors import BadInputError, WrongUseError

TESS_CADENCES = (20, 120, 200, 600, 1800)  # s, nominal times between exposures
_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}  # BITPIX of the FITS standard


@dataclass(frozen=True)
class Plane:
    """Where one image lies in an uncompressed file, and which part of it sees the sky."""

    path: str
    offset: int  # bytes from the start of the file to the first pixel
    shape: tuple  # (n_rows, n_columns) in the file
    bitpix: int
    rows: tuple  # (start, stop) of the rows and columns that see the sky
    columns: tuple
    bscale: float = 1.0
    bzero: float = 0.0

    def read(self, start=0, stop=None):
        """Rows ``start`` to ``stop`` of the part that sees the sky, (n_rows, n_columns) float32
        array.
        """
        first, last = self.rows
        stop = last if stop is None else first + stop
        dtype = np.dtype(_DTYPES[self.bitpix])
        n_bytes = (stop - first - start) * self.shape[1] * dtype.itemsize
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset + (first + start) * self.shape[1] * dtype.itemsize)
            raw = file.read(n_bytes)
        if len(raw) < n_bytes:
            raise BadInputError(
                f"{self.path}: ends within its pixels; it is truncated, get it again"
            )
        pixels = np.frombuffer(raw, dtype).reshape(-1, self.shape[1])[:, slice(*self.columns)]
        if (self.bscale, self.bzero) != (1, 0):
            pixels = pixels * float(self.bscale) + float(self.bzero)
        return pixels.astype(np.float32)


@dataclass(frozen=True)
class Frame:
    """One exposure of one CCD. Times are days, barycentric (for the centre of the image), minus
    ``time_reference``.
    """

    mission: str
    sector: int
    camera: int
    ccd: int
    cadence: int  # s, nominal
    time_start: float
    time_stop: float
    time: float
    time_reference: int
    timecorr: float  # days, barycentric correction contained in the times
    cadenceno: int
    quality: int
    flux: Plane
    error: Plane | None  # None: the files have no errors, they follow from the photons
    scale: float  # multiply the pixels of the file by this to get e-/s
    exposure: float  # s of collected light
    read_noise: float  # e- per pixel and exposure, for files without errors
    first_row: int  # the mission's number of the first row and column that see the sky
    first_column: int
    # numbers of the HDUs that describe this image: primary, and the one with the WCS
    header_units: tuple
    # what the times are barycentric for: 'image', the pixel that the header names; 'detector', the
    # middle of a CCD of which this image shows another part; 'spacecraft', nothing, they are those
    # of the spacecraft
    times_for: str = "image"
    # the header announces more pixels that see the sky than the file has
    cropped: bool = False

    @property
    def group(self):
        """What a cube is made of: frames of one mission, sector, camera, CCD and cadence."""
        return self.mission, self.sector, self.camera, self.ccd, self.cadence

    @property
    def shape(self):
        """(n_rows, n_columns) of the part that sees the sky"""
        return tuple(stop - start for start, stop in (self.flux.rows, self.flux.columns))

    def check(self):
        """Raise BadInputError where a header gave no number, or one that cannot be."""
        for name in (
            "sector",
            "camera",
            "ccd",
            "cadence",
            "time_reference",
            "cadenceno",
            "quality",
        ):
            self._check(name, np.integer | int, 0)
        for name in ("first_row", "first_column"):
            self._check(name, np.integer | int)
        for name in ("time_start", "time_stop", "time", "timecorr", "bscale", "bzero"):
            self._check(name, np.number | int | float)
        for name in ("exposure", "scale", "read_noise"):
            self._check(name, np.number | int | float, 0)
        if self.exposure == 0 or self.cadence == 0 or self.flux.bitpix not in _DTYPES:
            raise BadInputError(
                f"{self.flux.path}: exposure {self.exposure} s, cadence {self.cadence} s, BITPIX "
                f"{self.flux.bitpix}: the header "
                "is damaged, get the file again"
            )

    def _check(self, name, kind, least=-np.inf):
        value = getattr(self.flux if name in ("bscale", "bzero") else self, name)
        # 2**53: larger ones are no longer whole as floats
        valid = isinstance(value, kind) and not isinstance(value, bool) and abs(value) < 2**53
        if not valid or value < least:
            raise BadInputError(
                f"{self.flux.path}: its header gives {value!r} for the {name.replace('_', ' ')}, "
                "expected a number"
                f"{'' if least else ' from 0'}; it is damaged, get the file again"
            )

    def read_flux(self, start=0, stop=None):
        """Rows of the image, (n_rows, n_columns) float32 array, e-/s."""
        return self._scaled(self.flux.read(start, stop))

    def read_error(self, start=0, stop=None):
        """Rows of the uncertainties, (n_rows, n_columns) float32 array, e-/s."""
        if self.error is not None:
            return self._scaled(self.error.read(start, stop))
        electrons = np.maximum(self.read_flux(start, stop), 0) * np.float32(self.exposure)
        return np.sqrt(electrons + np.float32(self.read_noise**2)) / np.float32(self.exposure)

    def _scaled(self, pixels):
        return pixels if self.scale == 1 else pixels * np.float32(self.scale)


def nominal_cadence(days):
    """Time between exposures (s): the nearest of `TESS_CADENCES` within 10 %, else the time itself,
    rounded.
    """
    seconds = days * DAY
    nearest = min(TESS_CADENCES, key=lambda nominal: abs(nominal - seconds))
    return nearest if abs(nearest - seconds) <= 0.1 * nearest else round(seconds)


def group_frames(frames, *, sector=None, camera=None, ccd=None):
    """Sort frames into cubes.

    Parameters
    ----------
    frames : list of Frame
    sector, camera, ccd : int, to take only these; None: all

    Returns
    -------
    groups : dict (mission, sector, camera, ccd, cadence) -> list of Frame in order of time

    Raises
    ------
    WrongUseError : two groups would be the same cube, or images of one cube do not fit one another
    """
    groups = defaultdict(list)
    wanted = (sector, camera, ccd)
    for frame in frames:
        if all(
            want is None or want == have
            for want, have in zip(wanted, frame.group[1:4], strict=True)
        ):
            groups[frame.group].append(frame)
    _refuse_same_cube(groups)
    return {group: _in_order(groups[group]) for group in sorted(groups)}


def _in_order(frames):
    frames = sorted(frames, key=lambda frame: (frame.time, frame.flux.path))
    first = frames[0]
    for frame in frames:
        if (frame.shape, frame.first_row, frame.first_column) != (
            first.shape,
            first.first_row,
            first.first_column,
        ):
            raise WrongUseError(
                f"{frame.flux.path}: {frame.shape} pixels from row {frame.first_row}, column "
                f"{frame.first_column}, but "
                f"{first.flux.path} has {first.shape} from {first.first_row}, "
                f"{first.first_column}; images of different parts of "
                f"a CCD do not make one cube: put them in folders of their own"
            )
    repeated = np.flatnonzero(np.diff([frame.time for frame in frames]) == 0)
    if repeated.size:
        a, b = frames[repeated[0]], frames[repeated[0] + 1]
        raise WrongUseError(
            f"{a.flux.path} and {b.flux.path} are of the same time; keep one of them"
        )
    return frames


def _refuse_same_cube(groups):
    seen = {}
    for group in groups:
        if group[1:4] in seen:
            raise WrongUseError(
                f"images of sector {group[1]}, camera {group[2]}, CCD {group[3]} are of different "
                "missions or cadences "
                f"({seen[group[1:4]][0]} {seen[group[1:4]][4]} s, {group[0]} {group[4]} s); put "
                "them in folders of their own"
            )
        seen[group[1:4]] = group
