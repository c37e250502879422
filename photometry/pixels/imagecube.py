"""`ImageCube`: the full-frame images of one sector, camera and CCD as one HDF5 file, made by
`photometry prepare`.

for cube in find_cubes(folder):      # sector, camera, ccd, cadence, shape, reference_time, wcs
    ...
with find_cube(folder, sector=1, camera=1, ccd=1, cadence=1800) as cube:
    flux = cube.read("flux", rows=(100, 115), columns=(200, 215))      # (n_times, 15, 15)
"""

import contextlib
import functools
import json
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..constants import J2000, MISSIONS
from ..errors import BadInputError, TargetNotFoundError

FORMAT, VERSION = "photometry image cube", 2
QUANTITIES = {
    "flux": np.float32,
    "error": np.float32,
    "background": np.float32,
    "pixel_flags": np.uint8,
}
SMALLEST = 32
"""Pixels: in images with a shorter side the sky cannot be separated from the light of a bright
star.

Measured on simulated fields with a star of magnitude 6, 8 and 10 in the middle: the background is
too high by 2, 2 and 1 e-/s per pixel in 32 x 32 pixels, by 76, 17 and 2 in 15 x 15, by 2100, 370
and 60 in 6 x 6.
"""
CHUNK_CACHE = 64 * 2**20  # bytes; HDF5 reads chunks larger than its cache piece by tiny piece
_NUMBERS = ("sector", "camera", "ccd", "cadence", "time_reference", "first_row", "first_column")
# what h5py, numpy and astropy raise for damaged files
_DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    fits.VerifyError,
)
_SERIES = ("time", "timecorr", "time_start", "time_stop", "cadenceno", "quality", "background_err")


class ImageCube:
    """An image cube, open for reading. A context manager.

    Attributes
    ----------
    path : pathlib.Path
    mission : 'TESS', 'Kepler' or 'K2'
    sector, camera, ccd : int (Kepler: quarter, module, output)
    cadence : int, s, nominal time between exposures
    n_times : int
    shape : (n_rows, n_columns)
    time_reference : int, BJD of the zero of all times
    first_row, first_column : the mission's numbers of the first row and column

    and, read when first asked for, `time`, `timecorr`, `time_start`, `time_stop` (n_times, days,
    for the middle of the image), `cadenceno`, `quality`, `background_err` (n_times).
    """

    def __init__(self, path):
        import h5py

        self.path, self._pixels = Path(path), {}
        try:
            self._file = h5py.File(self.path, "r", rdcc_nbytes=CHUNK_CACHE)
        except FileNotFoundError as error:
            raise TargetNotFoundError(
                f"{path}: there is no such image cube; make it with 'photometry prepare'"
            ) from error
        except OSError as error:
            raise BadInputError(f"{path}: not an HDF5 file, or truncated ({error})") from error
        try:
            self._read_attributes()
        except BadInputError:
            self.close()
            raise

    def _read_attributes(self):
        with self._reading():
            attributes = self._file.attrs
            if _text(attributes.get("format")) != FORMAT:
                raise BadInputError(
                    f"{self.path}: not an image cube of this program; make it with 'photometry "
                    "prepare'"
                )
            if attributes["version"] > VERSION:
                raise BadInputError(
                    f"{self.path}: version {attributes['version']} is newer than this program "
                    f"({VERSION})"
                )
            self.mission = _text(attributes["mission"])
            for name in _NUMBERS:
                setattr(self, name, int(attributes[name]))
            self.n_times, *shape = self._file["flux"].shape
            self.shape = tuple(shape)
            if self.mission not in MISSIONS or len(shape) != 2 or not self._file["flux"].size:
                raise BadInputError(
                    f"{self.path}: mission {self.mission!r}, pixels of shape "
                    f"{self._file['flux'].shape}: damaged image cube; "
                    "make it again with 'photometry prepare'"
                )
            shapes = dict.fromkeys(_SERIES, (self.n_times,)) | dict.fromkeys(
                QUANTITIES, (self.n_times, *self.shape)
            )
            shapes |= {"movement": (self.n_times, 2, 3), "satellite": (self.n_times, 3)}
            for name, expected in (shapes | {"sumimage": self.shape}).items():
                if self._file[name].shape != expected or self._file[name].dtype.kind not in "iuf":
                    raise ValueError(
                        f"{name} has shape {self._file[name].shape}, expected {expected}"
                    )

    @contextlib.contextmanager
    def _reading(self):
        """Within this block, whatever HDF5 and numpy say of damage becomes one `BadInputError`."""
        try:
            yield
        except _DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadInputError(
                f"{self.path}: damaged image cube ({reason}); make it again with 'photometry "
                "prepare'"
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file; twice is harmless."""
        self._file.close()

    def __repr__(self):
        n_rows, n_columns = self.shape
        return (
            f"<ImageCube {self.path.name}: {self.n_times} times of {n_rows} x {n_columns} pixels, "
            f"{self.cadence} s>"
        )

    def __getattr__(self, name):
        if name in _SERIES:
            self.__dict__[name] = self._dataset(name)
            return self.__dict__[name]
        raise AttributeError(name)

    def _dataset(self, name):
        with self._reading():
            return self._file[name][:]

    @functools.cached_property
    def headers(self):
        """Keywords of the reference image worth handing on to light curves, as a dict"""
        with self._reading():
            return dict(json.loads(_text(self._file.attrs["headers"])))

    @functools.cached_property
    def time_direction(self):
        """(ra, decl) in degrees of the position for which the times are barycentric"""
        with self._reading():
            return float(self._file.attrs["time_ra"]), float(self._file.attrs["time_decl"])

    @functools.cached_property
    def wcs(self):
        """WCS of the reference frame: celestial coordinates <-> 0-based (column, row)"""
        from astropy.wcs import WCS

        with self._reading(), warnings.catch_warnings():
            # astropy reports which dates it adds
            warnings.simplefilter("ignore")
            wcs = WCS(self.header)
            if not wcs.has_celestial:
                raise ValueError("its header gives no coordinates on the sky")
            return wcs

    @functools.cached_property
    def header(self):
        """FITS header of the reference frame's image extension, moved to the cube's pixels"""
        return self._header("header_image")

    @functools.cached_property
    def primary_header(self):
        """FITS primary header of the reference frame"""
        return self._header("header_primary")

    def _header(self, name):
        with self._reading():
            header = fits.Header.fromstring(_text(self._file.attrs[name]), sep="\n")
            # astropy reads a card when it is asked for it; damage shall show here
            for card in header.cards:
                card.verify("exception")
            return header

    @property
    def reference_time(self):
        """Middle of the series, days since `time_reference`: the time for which positions from
        proper motions are best
        """
        return 0.5 * (self.time[0] + self.time[-1])

    @property
    def epoch(self):
        """`reference_time` as a Julian year"""
        return 2000.0 + (self.reference_time + self.time_reference - J2000) / 365.25

    @property
    def warnings(self):
        """What is doubtful about all pixels of the cube, a tuple of messages."""
        return small_image_warnings(self.shape)

    @functools.cached_property
    def movement(self):
        """(n_times, 2, 3) array, see `movement_at`"""
        return self._dataset("movement")

    @functools.cached_property
    def satellite(self):
        """(n_times, 3) array, seconds of light: from the barycentre to the satellite, ICRS; NaN
        where times cannot be moved
        """
        return self._dataset("satellite")

    @functools.cached_property
    def time_errors(self):
        """How far off may be: `satellite`, seconds of light; the times, s, because the files round
        them
        """
        with self._reading():
            names = ("position_error", "rounding_error")
            return tuple(float(self._file.attrs[name]) for name in names)

    @functools.cached_property
    def sumimage(self):
        """(n_rows, n_columns) array, e-/s: mean of the good frames after background"""
        return self._dataset("sumimage")

    @functools.cached_property
    def filenames(self):
        """(n_times,) array of str, the files that the frames came from"""
        with self._reading():
            return self._file["filename"].asstr()[:]

    def read(self, quantity, rows=None, columns=None, times=None):
        """Pixels of a rectangle over all times.

        Parameters
        ----------
        quantity : 'flux', 'error', 'background' (e-/s) or 'pixel_flags' (bits of
            `flags.CUBE_PIXELS`)
        rows, columns : (start, stop); default: all
        times : slice, default: all

        Returns
        -------
        (n_times, n_rows, n_columns) array
        """
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity={quantity!r}: expected one of {', '.join(QUANTITIES)}")
        selection = (times or slice(None), slice(*(rows or (None,))), slice(*(columns or (None,))))
        with self._reading():
            if quantity not in self._pixels:  # opening it takes as long as a small stamp
                self._pixels[quantity] = self._file[quantity]
            return self._pixels[quantity][selection]

    def pixel_position(self, ra, decl):
        """0-based (row, column) in the cube of positions in the sky, which may lie outside it.

        Parameters
        ----------
        ra, decl : float or array, deg, at `epoch`

        Returns
        -------
        row, column : arrays
        """
        column, row = self.wcs.all_world2pix(ra, decl, 0, quiet=True)
        return row, column

    def footprint(self):
        """(4, 2) array of ra, decl (deg): the corners of the detector."""
        n_rows, n_columns = self.shape
        columns = np.array([0, n_columns, n_columns, 0]) - 0.5
        rows = np.array([0, 0, n_rows, n_rows]) - 0.5
        return np.column_stack(self.wcs.all_pix2world(columns, rows, 0))


def small_image_warnings(shape):
    """What to say of images of a shape (n_rows, n_columns) that are too small for a background of
    their own.
    """
    if min(shape) >= SMALLEST:
        return ()
    return (
        f"images of {shape[0]} x {shape[1]} pixels: the background was measured on the stars "
        "themselves and takes light from bright "
        f"ones; make cut-outs of {SMALLEST} x {SMALLEST} pixels or more",
    )


def cube_path(folder, sector, camera, ccd):
    """Where the cube of a CCD is, or would be.

    Parameters
    ----------
    folder : path
    sector, camera, ccd : int
    """
    return Path(folder) / f"sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.hdf5"


def _text(value):
    """A text as it is in the file: of fixed length, or of any length in older cubes."""
    return value.decode() if isinstance(value, bytes) else value


def cube_paths(folder):
    """Files of the image cubes of a folder, in order of their names; unfinished ones are not among
    them.
    """
    return sorted(Path(folder).glob("sector*_camera*_ccd*.hdf5"))


def find_cubes(folder):
    """The image cubes of a folder, in order of their names.

    Returns
    -------
    cubes : generator of ImageCube, each closed again when the next one is asked for
    """
    for path in cube_paths(folder):
        with ImageCube(path) as cube:
            yield cube


def find_cube(folder, sector, camera, ccd, cadence=None):
    """The image cube of a CCD.

    Parameters
    ----------
    folder : path
    sector, camera, ccd : int
    cadence : int, s; default: any

    Returns
    -------
    ImageCube, open

    Raises
    ------
    TargetNotFoundError : it is not in the folder, or is of another cadence
    BadInputError : it is damaged, or no image cube
    """
    cube = ImageCube(cube_path(folder, sector, camera, ccd))
    if cadence is not None and cube.cadence != cadence:
        found = cube.cadence
        cube.close()
        raise TargetNotFoundError(
            f"{cube.path}: its images are {found} s apart, the task asks for {cadence} s"
        )
    return cube


def movement_at(movement, row, column, shape):
    """How far a position of the image moved.

    Parameters
    ----------
    movement : (n_times, 2, 3) array, pixels, see `ImageCube.movement`
    row, column : float, pixels, 0-based
    shape : (n_rows, n_columns) of the image

    Returns
    -------
    moved : (n_times, 2) array, pixels: column, row (the order of `Stamp.pos_corr`)
    """
    return (movement @ movement_basis(row, column, shape))[:, ::-1]


def movement_basis(row, column, shape):
    """Coefficients of the linear functions of position that `movement` consists of: 1, y, x, from
    -1 to 1 over the image.

    Parameters
    ----------
    row, column : floats or arrays of one shape, pixels, 0-based
    shape : (n_rows, n_columns) of the image
    """
    y = 2 * np.asarray(row, dtype=float) / shape[0] - 1
    x = 2 * np.asarray(column, dtype=float) / shape[1] - 1
    return np.stack([np.ones_like(y), y, x], axis=-1)
