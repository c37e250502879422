"""`Frame` and `Plane`: one exposure of one CCD, and where its pixels lie in a file; sorted into the
cubes that they make. `Times`: those of a cube, barycentric for one known direction.

Pixels are read straight from their offset in the (uncompressed) file, a few rows at a time where
that is all one needs.

Stamps move the times of a cube to their star by the satellite's position. The times of a full-frame
image hold for the pixel that its header names (BTC_PIX1, BTC_PIX2), the middle of the CCD. A
cut-out keeps them, but not where the middle of the CCD is on the sky: its WCS holds for its own few
pixels. There, the correction in the file (TIMECORR) is taken off again, and one for the middle of
the cut-out is added. Early cut-outs also have times in single precision; the satellite's clock,
which is even, gives back most of what these lost.
"""

import logging
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from ..constants import DAY
from ..errors import BadInputError, WrongUseError
from ..fitsfile import open_fits
from ..pixels import tess
from ..sky import unit_vectors

log = logging.getLogger(__name__)

TESS_CADENCES = (20, 120, 200, 600, 1800)  # s, nominal times between exposures
# fraction of the images of a CCD that may be left out because they do not fit the others
MAX_ODD = 0.1
# s that the correction in a header may be off: 4 pixels of direction
TIME_AGREEMENT = 0.2
# images that a line through rounded times needs, and s that it may then be from the true times
# within a sector: 0.55 in sector 1, against those of a star there
MIN_IMAGES, LINE_ERROR = 200, 1.0
_MOMENTS = ("time", "time_start", "time_stop")
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


def headers_of(frame):
    """The FITS headers that describe a frame.

    Returns
    -------
    primary, image : astropy.io.fits.Header. The second has the WCS, moved to the part that sees the
        sky: its pixel (1, 1) is the first row and column of `Frame.read_flux`.
    """
    with open_fits(frame.flux.path) as hdulist:
        primary, image = (hdulist[unit].header.copy() for unit in frame.header_units)
        if "CRPIX1" in image:
            image["CRPIX1"] -= frame.flux.columns[0]
            image["CRPIX2"] -= frame.flux.rows[0]
    return primary, image


def wcs_of(header, path):
    """Celestial coordinates <-> 0-based (column, row) of an image, from its header.

    Parameters
    ----------
    header : as `headers_of` gives it
    path : for the message

    Raises
    ------
    BadInputError : the header has none, or none that can be
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            wcs = WCS(header)
        corners = wcs.all_pix2world([(0, 0), (header["NAXIS1"] - 1, header["NAXIS2"] - 1)], 0)
    # wcslib and astropy raise a dozen classes for keywords without sense, all meaning the same
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInputError(f"{path}: its coordinates (WCS) cannot be used: {reason}") from error
    if not wcs.has_celestial or not np.isfinite(corners).all():
        raise BadInputError(f"{path}: its header gives no coordinates on the sky (WCS)")
    return wcs


def nominal_cadence(days):
    """Time between exposures (s): the nearest of `TESS_CADENCES` within 10 %, else the time itself,
    rounded.
    """
    seconds = days * DAY
    nearest = min(TESS_CADENCES, key=lambda nominal: abs(nominal - seconds))
    return nearest if abs(nearest - seconds) <= 0.1 * nearest else round(seconds)


def group_frames(frames, *, sector=None, camera=None, ccd=None):
    """Sort frames into cubes, one for each CCD of a sector.

    An image that does not fit the others of its CCD (a header damaged, a file in the wrong folder)
    costs itself; where many do not fit, nothing says which of them are meant.

    Parameters
    ----------
    frames : list of Frame
    sector, camera, ccd : int, to take only these; None: all

    Returns
    -------
    groups : list of lists of Frame, each in order of time
    left_out : list of str, one message per image that does not fit

    Raises
    ------
    WrongUseError : the images of a CCD are of two missions, cadences, or parts of the CCD
    """
    wanted = (sector, camera, ccd)
    by_ccd = defaultdict(list)
    for frame in frames:
        having = frame.group[1:4]
        if all(want in (None, have) for want, have in zip(wanted, having, strict=True)):
            by_ccd[having].append(frame)
    groups, left_out = [], []
    for _, group in sorted(by_ccd.items()):
        for kind in (_cadence_of, _part_of):
            group, problems = _of_one_kind(group, kind)
            left_out += problems
        group, problems = _of_different_times(group)
        left_out += problems
        groups.append(group)
    return [group for group in groups if group], left_out


def _cadence_of(frame):
    return f"of {frame.mission}, every {frame.cadence} s"


def _part_of(frame):
    n_rows, n_columns = frame.shape
    return f"{n_rows} x {n_columns} pixels from row {frame.first_row}, column {frame.first_column}"


def _of_one_kind(frames, kind):
    """Of the frames of a CCD those of the most frequent kind, and a message for each other."""
    (most, _), *others = Counter(map(kind, frames)).most_common()
    odd = [frame for frame in frames if kind(frame) != most]
    # two frames, one of each kind: either may be the odd one
    if len(odd) > max(1, MAX_ODD * len(frames)) or 2 * len(odd) == len(frames) > 0:
        first = next(frame for frame in frames if kind(frame) == most)
        raise WrongUseError(
            f"{odd[0].flux.path}: {others[0][0]}, but {first.flux.path} is {most}; {len(odd)} of "
            f"{len(frames)} images of one CCD differ and do not make one cube: put them in a "
            "folder of their own"
        )
    problems = [
        f"{frame.flux.path}: {kind(frame)}, all others of its CCD {most}; its header is damaged, "
        "or it belongs into another folder"
        for frame in odd
    ]
    return [frame for frame in frames if kind(frame) == most], problems


def _of_different_times(frames):
    """Frames in order of time, without those of which another has the time as well: of copies the
    first is taken, of two different images none, since nothing says whose time is wrong.
    """
    by_time = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: (frame.time, frame.flux.path)):
        by_time[frame.time].append(frame)
    taken, problems = [], []
    for first, *more in by_time.values():
        copies = all(frame.cadenceno == first.cadenceno for frame in more)
        if copies:
            taken.append(first)
        problems += [
            f"{frame.flux.path}: is of the same time as {other.flux.path}"
            + ("; keep one of them" if copies else ", and another image by its number")
            for frame, other in [(frame, first) for frame in more]
            + ([] if copies else [(first, more[0])])
        ]
    return taken, problems


@dataclass(frozen=True)
class Times:
    """Times of the images of a cube.

    Attributes
    ----------
    time, time_start, time_stop : (n_times,) arrays, days, barycentric for ``direction``
    timecorr : (n_times,) array, days, the correction contained in them
    satellite : (n_times, 3) array, seconds of light; NaN where times cannot be moved (Kepler is far
        from the Earth)
    direction : (ra, decl), deg
    position_error : float, seconds of light that ``satellite`` may be off
    rounding_error : float, s that times may be off because the file rounds them
    """

    time: np.ndarray
    time_start: np.ndarray
    time_stop: np.ndarray
    timecorr: np.ndarray
    satellite: np.ndarray
    direction: tuple
    position_error: float = np.nan
    rounding_error: float = 0.0

    def datasets(self):
        """The arrays by the names that they have in the cube."""
        names = (*_MOMENTS, "timecorr", "satellite")
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
        for name in (*_MOMENTS, "timecorr")
    }
    first = frames[reference]
    direction = _time_direction(first)
    if first.mission != "TESS":
        return Times(**series, satellite=np.full((len(frames), 3), np.nan), direction=direction)
    rounding_error = _undo_rounding(series, first)
    satellite, position_error = tess.satellite_position(
        series["time"] - series["timecorr"], first.time_reference
    )
    expected = tess.correction(satellite, unit_vectors(*direction))
    if not _holds(first, series["timecorr"], expected, max(position_error, TIME_AGREEMENT)):
        for name in _MOMENTS:
            series[name] += expected - series["timecorr"]
        series["timecorr"] = expected
    return Times(
        **series,
        satellite=satellite,
        direction=direction,
        position_error=position_error,
        rounding_error=rounding_error,
    )


def _undo_rounding(series, frame):
    """Put times of single precision, in place, on the straight line that the satellite's clock
    follows; return how far times may be off by rounding, s.
    """
    # the mean of two such times, start and stop, is a multiple of this many days
    if frame.times_for == "image" or (series["time"] % 2**-14).any():
        return 0.0
    clock = series["time"] - series["timecorr"]
    error = float(np.spacing(np.float32(clock.max()))) / 2 * DAY
    moved, told = 0.0, "may be off by as much"
    if clock.size >= MIN_IMAGES:
        count = np.round((clock - clock[0]) * DAY / frame.cadence)
        line = np.polynomial.Polynomial.fit(count, clock, 1)(count)
        if np.abs(line - clock).max() * DAY <= error:
            moved, error = line - clock, LINE_ERROR
            told = f"are put on the line of the satellite's clock, right to {LINE_ERROR:.0f} s"
    log.warning(
        "%s: its times are rounded (single precision) to %.0f s; they %s",
        frame.flux.path,
        np.spacing(np.float32(clock.max())) * DAY,
        told,
    )
    for name in _MOMENTS:
        series[name] += moved
    return error


def _holds(frame, timecorr, expected, tolerance):
    """Whether the times of the files are barycentric for the direction in which ``expected`` was
    computed, to ``tolerance`` (s).
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
    if wrong > tolerance:
        log.warning(
            "%s: its barycentric correction is up to %.1f s from what follows from the position "
            "of the satellite; its times are made "
            "barycentric anew",
            frame.flux.path,
            wrong,
        )
    return wrong <= tolerance


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
