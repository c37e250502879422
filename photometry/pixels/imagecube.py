"""`ImageCube`: the full-frame images of one sector, camera and CCD as one HDF5 file, made by `photometry prepare`.

for cube in find_cubes(folder):      # sector, camera, ccd, cadence, shape, reference_time, wcs
    ...
with find_cube(folder, sector=1, camera=1, ccd=1, cadence=1800) as cube:
    flux = cube.read("flux", rows=(100, 115), columns=(200, 215))      # (n_times, 15, 15)
"""

import functools
import json
from pathlib import Path

import numpy as np

from ..constants import J2000
from ..errors import BadInputError, TargetNotFoundError

FORMAT, VERSION = "photometry image cube", 1
QUANTITIES = {
    "flux": np.float32,
    "error": np.float32,
    "background": np.float32,
    "pixel_flags": np.uint8,
}
CHUNK_CACHE = 64 * 2**20  # bytes; HDF5 reads chunks larger than its cache piece by tiny piece
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

    and, read when first asked for, `time`, `timecorr`, `time_start`, `time_stop` (n_times, days, for the middle of the
    image), `cadenceno`, `quality`, `background_err` (n_times).
    """

    def __init__(self, path):
        import h5py

        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r", rdcc_nbytes=CHUNK_CACHE)
        except FileNotFoundError as error:
            raise TargetNotFoundError(
                f"{path}: there is no such image cube; make it with 'photometry prepare'"
            ) from error
        except OSError as error:
            raise BadInputError(f"{path}: not an HDF5 file, or truncated ({error})") from error
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT:
            self.close()
            raise BadInputError(
                f"{path}: not an image cube of this program; make it with 'photometry prepare'"
            )
        if attributes["version"] > VERSION:
            self.close()
            raise BadInputError(
                f"{path}: version {attributes['version']} is newer than this program ({VERSION})"
            )
        self.mission = attributes["mission"]
        (
            self.sector,
            self.camera,
            self.ccd,
            self.cadence,
            self.time_reference,
            self.first_row,
            self.first_column,
        ) = (
            int(attributes[name])
            for name in (
                "sector",
                "camera",
                "ccd",
                "cadence",
                "time_reference",
                "first_row",
                "first_column",
            )
        )
        self.n_times, *shape = self._file["flux"].shape
        self.shape = tuple(shape)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file; twice is harmless."""
        self._file.close()

    def __repr__(self):
        return f"<ImageCube {self.path.name}: {self.n_times} times of {self.shape[0]} x {self.shape[1]} pixels, {self.cadence} s>"

    def __getattr__(self, name):
        if name in _SERIES:
            self.__dict__[name] = self._file[name][:]
            return self.__dict__[name]
        raise AttributeError(name)

    @functools.cached_property
    def headers(self):
        """Keywords of the reference image worth handing on to light curves, as a dict"""
        return json.loads(self._file.attrs["headers"])

    @property
    def time_direction(self):
        """(ra, decl) in degrees of the place for which the times are barycentric"""
        return self._file.attrs["time_ra"], self._file.attrs["time_decl"]

    @functools.cached_property
    def wcs(self):
        """WCS of the reference frame: celestial coordinates <-> 0-based (column, row) of the cube"""
        from astropy.wcs import WCS

        return WCS(self.header)

    @functools.cached_property
    def header(self):
        """FITS header of the reference frame's image extension, moved to the cube's pixels"""
        return self._header("header_image")

    @functools.cached_property
    def primary_header(self):
        """FITS primary header of the reference frame"""
        return self._header("header_primary")

    def _header(self, name):
        from astropy.io import fits

        return fits.Header.fromstring(self._file.attrs[name], sep="\n")

    @property
    def reference_time(self):
        """Middle of the series, days since `time_reference`: the time for which positions from proper motions are best"""
        return 0.5 * (self.time[0] + self.time[-1])

    @property
    def epoch(self):
        """`reference_time` as a Julian year"""
        return 2000.0 + (self.reference_time + self.time_reference - J2000) / 365.25

    @functools.cached_property
    def movement(self):
        """(n_times, 2, 3) array, see `movement_at`"""
        return self._file["movement"][:]

    @functools.cached_property
    def earth(self):
        """(n_times, 3) array, seconds of light: from the barycentre to the Earth, ICRS; NaN where times cannot be moved"""
        return self._file["earth"][:]

    @functools.cached_property
    def sumimage(self):
        """(n_rows, n_columns) array, e-/s: mean of the good frames after background"""
        return self._file["sumimage"][:]

    @functools.cached_property
    def filenames(self):
        """(n_times,) array of str, the files that the frames came from"""
        return self._file["filename"].asstr()[:]

    def read(self, quantity, rows=None, columns=None, times=None):
        """Pixels of a rectangle over all times.

        Parameters
        ----------
        quantity : 'flux', 'error', 'background' (e-/s) or 'pixel_flags' (bits of `flags.CUBE_PIXELS`)
        rows, columns : (start, stop); default: all
        times : slice, default: all

        Returns
        -------
        (n_times, n_rows, n_columns) array
        """
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity={quantity!r}: expected one of {', '.join(QUANTITIES)}")
        selection = (times or slice(None), slice(*(rows or (None,))), slice(*(columns or (None,))))
        return self._file[quantity][selection]

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


def cube_path(folder, sector, camera, ccd):
    """Where the cube of a CCD is, or would be."""
    return Path(folder) / f"sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.hdf5"


def find_cubes(folder):
    """The image cubes of a folder, in order of their names; unfinished ones are not among them.

    Returns
    -------
    cubes : generator of ImageCube, each closed again when the next one is asked for
    """
    for path in sorted(Path(folder).glob("sector*_camera*_ccd*.hdf5")):
        with ImageCube(path) as cube:
            yield cube


def find_cube(folder, sector, camera, ccd, cadence=None):
    """The image cube of a CCD.

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
    """How far a place of the image moved.

    Returns
    -------
    moved : (n_times, 2) array, pixels: column, row (the order of `Stamp.pos_corr`)
    """
    return (movement @ movement_basis(row, column, shape))[:, ::-1]


def movement_basis(row, column, shape):
    """Coefficients of the linear functions of position that `movement` consists of: 1, y, x, from -1 to 1 over the image."""
    y = 2 * np.asarray(row, dtype=float) / shape[0] - 1
    x = 2 * np.asarray(column, dtype=float) / shape[1] - 1
    return np.stack([np.ones_like(y), y, x], axis=-1)
