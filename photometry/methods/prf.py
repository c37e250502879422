"""The pixel response function (PRF): which fraction of a star's flux each pixel gets.

Two models with the same three verbs: :class:`GaussianPRF`, analytic and quick, and
:class:`TessPRF`, made from the files that the TESS mission publishes. ``open_prf`` takes the files
where they are and the analytic model otherwise.

Rows and columns are detector pixel numbers with integers at pixel centres. Any origin will do for
``evaluate`` as long as it is the same for all stars and pixels; only a model that varies over the
detector needs the mission's own numbers (TESS counts from 1; columns 45–2092 of the full-frame
images see the sky).
"""

import re
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter
from scipy.special import erf

from ..errors import WrongUseError

# Sum of three Gaussians close to the published TESS PRFs of camera 4, CCD 1: half of the flux in
# the brightest 1.6 pixels, 90 % within 4x4 pixels, and faint wings. (fraction of the flux, sigma in
# pixels)
TESS_LIKE = ((0.72, 0.56), (0.22, 1.28), (0.06, 3.0))

# The PRF files dated 2018 were fitted to sectors 1-3, those dated 2019 serve all later ones (MAST,
# models/prf_fitsfiles).
FIRST_SECTOR_OF_SECOND_SET = 4
_TESS_FILE = re.compile(
    r"tess(?P<year>\d{4})\d+-prf-(?P<camera>\d)-(?P<ccd>\d)-row\d+-col\d+\.fits(\.gz)?$"
)


STRETCH_LIMITS = (0.5, 3.0)
STRETCH_ROUNDS = 30
MAX_OFFSET = 0.8  # pixels, of the stars from where they are expected


class PRF(ABC):
    """The response of pixels to one electron from a star."""

    @abstractmethod
    def evaluate(self, row, column, rows, columns):
        """Fraction of each star's flux in each pixel of a rectangle.

        Parameters
        ----------
        row, column : arrays of one shape S, positions of the stars (S may be (), (n_stars,),
            (n_times, n_stars)…)
        rows : (n_rows,) or S + (n_rows,) array, consecutive detector rows of the pixels; the second
            form gives each star a rectangle of its own
        columns : (n_columns,) or S + (n_columns,) array, likewise

        Returns
        -------
        fraction : S + (n_rows, n_columns) array; over a large rectangle it sums to about 1
        """

    def render(self, flux, row, column, rows, columns):
        """Image of several stars: the sum of ``flux * evaluate(…)`` over the last axis of the
        positions.

        Parameters
        ----------
        flux, row, column : (..., n_stars) arrays; flux in e-/s
        rows, columns : (n_rows,) and (n_columns,) arrays, consecutive detector rows and columns

        Returns
        -------
        image : (..., n_rows, n_columns) array, e-/s
        """
        return np.einsum("...s,...sij->...ij", flux, self.evaluate(row, column, rows, columns))


class GaussianPRF(PRF):
    """Sum of Gaussians integrated over each pixel, optionally widening away from the optical axis.

    The integral of a Gaussian over a pixel is a difference of error functions in row times one in
    column.

    Parameters
    ----------
    components : sequence of (fraction, sigma), sigma in pixels; fractions are scaled to sum 1
    widening : float
        Relative growth of sigma at 2048 pixels from ``axis``, separately in row and column and with
        the square of the distance: stars become larger and elongated towards the far corner.
    axis : (row, column) of the optical axis on the detector
    """

    DETECTOR_SIZE = 2048  # pixels; the distance at which `widening` is reached

    def __init__(self, components=TESS_LIKE, *, widening=0.0, axis=(0.0, 0.0)):
        self.fractions, self.sigmas = np.array(components, dtype=float).T
        if np.any(self.sigmas <= 0) or np.any(self.fractions <= 0):
            raise ValueError(f"components={components!r}: expected positive fractions and sigmas")
        self.fractions /= self.fractions.sum()
        self.widening = float(widening)
        self.axis = axis

    def evaluate(self, row, column, rows, columns):
        in_row = self._along(row, rows, self.axis[0])
        in_column = self._along(column, columns, self.axis[1])
        return np.einsum("k,k...i,k...j->...ij", self.fractions, in_row, in_column, optimize=True)

    def render(self, flux, row, column, rows, columns):
        in_row = self._along(row, rows, self.axis[0])  # (n_components, ..., n_stars, n_rows)
        in_column = self._along(column, columns, self.axis[1])
        weight = self.fractions[(...,) + (None,) * np.ndim(row)] * flux
        per_component = np.swapaxes(in_row * weight[..., None], -1, -2) @ in_column
        return per_component.sum(axis=0)

    def _along(self, star, pixels, axis):
        """Fraction of each component's flux in each pixel of one axis, shape (n_components,) + S +
        (n_pixels,).
        """
        star, pixels = np.asarray(star, dtype=float)[..., None], np.asarray(pixels, dtype=float)
        edges = np.concatenate([pixels - 0.5, pixels[..., -1:] + 0.5], axis=-1)
        sigma = self.sigmas[(...,) + (None,) * star.ndim] * (
            1 + self.widening * ((star - axis) / self.DETECTOR_SIZE) ** 2
        )
        return 0.5 * np.diff(erf((edges - star) / (np.sqrt(2) * sigma)), axis=-1)


class TessPRF(PRF):
    """The mission's PRF: samples on a grid of 1/9 pixel at several positions of a CCD.

    Sample ``k`` of an axis of a file is the response of a pixel whose centre lies ``(k - 58) / 9``
    pixels from the star. Between samples it is interpolated by cubic splines, between the positions
    on the CCD bilinearly, and beyond the outermost positions it stays as it is there. (TESS archive
    manual, and the tutorial on PRFs by MAST.)

    Parameters
    ----------
    rows, columns : (n,) and (m,) arrays, detector rows and columns of the positions, increasing
    samples : (n, m, 117, 117) array
    """

    OVERSAMPLING = 9

    def __init__(self, rows, columns, samples):
        self.rows, self.columns = np.asarray(rows, dtype=float), np.asarray(columns, dtype=float)
        samples = np.asarray(samples, dtype=float)
        if samples.shape[:2] != (self.rows.size, self.columns.size):
            raise ValueError(
                f"samples of shape {samples.shape}: expected "
                f"{(self.rows.size, self.columns.size)} + (size, size)"
            )
        self.centre = (samples.shape[-1] - 1) / 2
        self._splines = np.array(
            [[spline_filter(image, order=3) for image in line] for line in samples]
        )

    @classmethod
    def read(cls, folder, camera, ccd, sector=FIRST_SECTOR_OF_SECOND_SET):
        """Read the PRF files of one CCD from a folder or the folders below it.

        Parameters
        ----------
        folder : path
        camera, ccd, sector : int

        Raises
        ------
        WrongUseError : there are none, or they are not a full grid of positions
        """
        from astropy.io import fits

        images = {}
        for path in _tess_files(folder, camera, ccd, sector):
            with fits.open(path) as hdulist:
                header = hdulist[0].header
                images[header["CCD_RREF"], header["CCD_CREF"]] = np.array(
                    hdulist[0].data, dtype=float
                )
        rows, columns = (np.unique([position[axis] for position in images]) for axis in (0, 1))
        if len(images) != rows.size * columns.size:
            raise WrongUseError(
                f"{folder}: PRF files of camera {camera}, CCD {ccd} are for {len(images)} "
                "positions, expected one for each "
                f"of {rows.size} rows x {columns.size} columns; some file is missing"
            )
        return cls(rows, columns, [[images[row, column] for column in columns] for row in rows])

    def evaluate(self, row, column, rows, columns):
        row, column = np.broadcast_arrays(
            np.asarray(row, dtype=float), np.asarray(column, dtype=float)
        )
        in_row = (np.asarray(rows) - row[..., None]) * self.OVERSAMPLING + self.centre
        in_column = (np.asarray(columns) - column[..., None]) * self.OVERSAMPLING + self.centre
        shape = (*row.shape, in_row.shape[-1], in_column.shape[-1])
        samples = np.array(
            [
                np.broadcast_to(in_row[..., :, None], shape),
                np.broadcast_to(in_column[..., None, :], shape),
            ]
        )
        fraction = np.zeros(shape)
        for node, weight in self._nodes(row, column):
            used = weight > 0
            values = map_coordinates(
                self._splines[node], samples[:, used], order=3, prefilter=False, mode="constant"
            )
            fraction[used] += weight[used][..., None, None] * values
        return fraction

    def _nodes(self, row, column):
        """Yield (index of a position of a file, its weight in the bilinear interpolation for every
        star), for those that count.
        """
        in_row, in_column = _hat_weights(self.rows, row), _hat_weights(self.columns, column)
        for j in range(self.rows.size):
            for i in range(self.columns.size):
                weight = in_row[j] * in_column[i]
                if np.any(weight > 0):
                    yield (j, i), weight


class StretchedPRF(PRF):
    """Sum of Gaussians integrated over each pixel, with widths of their own in row and column.

    Parameters
    ----------
    stretch : (row, column), factors on the widths of `prf.TESS_LIKE`
    smear : (row, column), pixels, standard deviation of a motion that the image is a mean over
    """

    def __init__(self, stretch, smear=(0.0, 0.0)):
        self.fractions, self.sigmas = np.array(TESS_LIKE).T
        self.stretch = tuple(stretch)
        self.smear = tuple(smear)

    def evaluate(self, row, column, rows, columns):
        in_row = self._along(row, rows, self.stretch[0], self.smear[0])
        in_column = self._along(column, columns, self.stretch[1], self.smear[1])
        return np.einsum("k,k...i,k...j->...ij", self.fractions, in_row, in_column, optimize=True)

    def _along(self, star, pixels, stretch, smear):
        """Fraction of each Gaussian in each pixel of one axis, shape (n_gaussians,) + S +
        (n_pixels,).
        """
        star = np.asarray(star, dtype=float)[..., None]
        edges = np.concatenate([pixels - 0.5, pixels[..., -1:] + 0.5], axis=-1)
        sigma = np.hypot(stretch * self.sigmas, smear)[(...,) + (None,) * star.ndim]
        return 0.5 * np.diff(erf((edges - star) / (np.sqrt(2) * sigma)), axis=-1)


def fit_prf(
    image, weight, row, column, rows, columns, smear=(0.0, 0.0), flux_ratios=None, constant=True
):
    """The stretched PRF with the smallest residual from an image; fluxes and a common offset of its
    stars are free.

    Parameters
    ----------
    image, weight : (n_rows, n_columns) arrays; weight 0 where a pixel is not to be used
    row, column : (n_stars,) arrays, positions of the stars
    rows, columns : (n_rows,) and (n_columns,) arrays, numbers of the pixels
    smear : (row, column), pixels, standard deviation of the motion during the times that the image
        is the mean of
    flux_ratios : (n_stars, n_free) array, fluxes of the stars in each of the fluxes that are free;
        default: each on its own

    constant : bool, whether the image may have a residual background

    Returns
    -------
    StretchedPRF; not stretched where there are too few pixels
    """
    from scipy.optimize import least_squares

    used = weight > 0
    flux_ratios = np.eye(len(row)) if flux_ratios is None else flux_ratios
    if used.sum() <= flux_ratios.shape[1] + 5:
        return StretchedPRF((1.0, 1.0))
    scale = np.sqrt(weight[used])

    def residual(parameters):
        """Of the weighted pixels, after the stars and the residual background."""
        prf = StretchedPRF(np.exp(parameters[:2]), smear)
        stars = prf.evaluate(row + parameters[2], column + parameters[3], rows, columns)[:, used].T
        design = stars @ flux_ratios * scale[:, None]
        design = np.column_stack([design, scale]) if constant else design
        flux = np.linalg.lstsq(design, image[used] * scale, rcond=None)[0]
        return image[used] * scale - design @ flux

    limits = np.array([np.log(STRETCH_LIMITS)] * 2 + [(-MAX_OFFSET, MAX_OFFSET)] * 2).T
    solution = least_squares(
        residual, np.zeros(4), bounds=limits, x_scale=0.1, diff_step=1e-4, max_nfev=STRETCH_ROUNDS
    )
    return StretchedPRF(np.exp(solution.x[:2]), smear)


def open_prf(folder=None, camera=0, ccd=0, sector=FIRST_SECTOR_OF_SECOND_SET):
    """The mission's PRF from ``folder``, or the analytic one that resembles it where no folder is
    given.

    Parameters
    ----------
    folder : folder with the mission's PRF files, or None
    camera, ccd, sector : int, of TESS
    """
    return GaussianPRF() if folder is None else TessPRF.read(folder, camera, ccd, sector)


def _hat_weights(nodes, positions):
    """Weights of linear interpolation, shape (n_nodes,) + S; constant beyond the ends."""
    return np.array([np.interp(positions, nodes, unit) for unit in np.eye(nodes.size)])


def _tess_files(folder, camera, ccd, sector):
    """The PRF files of one CCD in ``folder``, of the set that was made for ``sector`` if both sets
    are there.
    """
    sets = {True: [], False: []}
    for path in sorted(Path(folder).rglob("*-prf-*.fits*")):
        match = _TESS_FILE.search(path.name)
        if match and (int(match["camera"]), int(match["ccd"])) == (camera, ccd):
            sets[match["year"] != "2018"].append(path)
    later = sector >= FIRST_SECTOR_OF_SECOND_SET
    files = sets[later] or sets[not later]
    if not files:
        raise WrongUseError(
            f"{folder}: no PRF files of camera {camera}, CCD {ccd}; expected names like "
            f"tess2019107181900-prf-{camera}-{ccd}-row0001-col0045.fits, as in "
            "models/prf_fitsfiles at MAST"
        )
    return files
