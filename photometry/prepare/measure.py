"""First pass of `prepare`: what is measured on every frame (background, stars, usable pixels),
which frames are bad, and how the stars move over the detector from frame to frame.

The background of one frame, the reference, is measured in full; of every other one, what it has
more or less than that. In the difference of two frames the stars are gone: in a crowded field, how
much of their light passes for sky depends on where clipping stops, differs from frame to frame, and
would go into the light curves times the pixels of a mask.

Stars move by pointing jitter, aberration and thermal drift. Centroids of bright stars that are
neither saturated nor crowded are measured in every frame; a linear function of position (shift,
rotation, stretch) that fits their motion is the movement of the whole image.
"""

import zipfile
import zlib
from dataclasses import dataclass, fields

import numpy as np
from astropy.wcs.utils import proj_plane_pixel_scales

from ..errors import BadInputError, TryAgainError
from ..flags import DEFAULT_BITMASK
from ..pixels.imagecube import movement_basis
from ..sky import unit_vectors
from .background import FLUX_CUT, BackgroundModel, camera_centre
from .frames import headers_of, wcs_of

BOX = 4  # pixels to each side of a star's brightest pixel that its centroid may use
WINDOW = 1.3  # pixels, sigma of the Gaussian that weights them; about that of the stars
MAX_STARS = 200
MAX_PEAK = 3e4  # e-/s; brighter stars may saturate
MIN_STARS_LINEAR = 12  # fewer give a shift only
MIN_STARS = 3  # fewer give no movement at all
# fraction of the pixels that need a value
MIN_FINITE = 0.5
# flux of the reference stars over their median flux: outside, the image is smeared or veiled
FLUX_RANGE = (0.7, 1.3)
# pixels from the median position
MAX_MOVEMENT = 1.0
# pixels from where most frames look, of the one that gives the cube its coordinates
MAX_OFFSET = 10.0


def find_reference_stars(image, max_stars=MAX_STARS):
    """Bright, unsaturated, isolated stars of an image.

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s, background removed

    Returns
    -------
    pixels : (n_stars, 2) int array: row, column of their brightest pixels, brightest star first
    """
    from astropy.stats import mad_std
    from scipy.ndimage import maximum_filter

    clean = np.nan_to_num(image)
    size = 2 * BOX + 1
    if min(clean.shape) <= size:
        return np.zeros((0, 2), dtype=int)
    # the brightest pixel within two boxes of itself: nothing brighter is near
    alone = clean == maximum_filter(clean, size=2 * size - 1)
    alone[: BOX + 1] = alone[-BOX - 1 :] = False
    alone[:, : BOX + 1] = alone[:, -BOX - 1 :] = False
    bright = (clean > 50 * mad_std(clean)) & (clean < MAX_PEAK)
    rows, columns = np.nonzero(alone & bright)
    order = np.argsort(-clean[rows, columns], kind="stable")[:max_stars]
    return np.column_stack([rows, columns])[order]


def centroids(image, pixels, rounds=8):
    """Centroids of stars, weighted by a Gaussian that follows them.

    The mean position of flux times a Gaussian lies half-way between the Gaussian's centre and the
    star (where both have the same width), so twice the step is taken; a few rounds converge. (The
    windowed centroid of SExtractor.)

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s, background removed
    pixels : (n_stars, 2) int array, row and column of a pixel near each star

    Returns
    -------
    positions : (n_stars, 2) array: row, column; NaN where a star has pixels without value or
        wandered off
    flux : (n_stars,) array, e-/s, in the box
    """
    offsets = np.arange(-BOX, BOX + 1)
    boxes = image[
        pixels[:, 0, None, None] + offsets[:, None], pixels[:, 1, None, None] + offsets
    ].astype(float)
    shift = np.zeros((len(pixels), 2))
    for _ in range(rounds):
        in_row = np.exp(-0.5 * ((offsets - shift[:, :1]) / WINDOW) ** 2)
        in_column = np.exp(-0.5 * ((offsets - shift[:, 1:]) / WINDOW) ** 2)
        weighted = boxes * in_row[:, :, None] * in_column[:, None, :]
        total = weighted.sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):  # stars without light, in blank images
            mean_row = (weighted.sum(axis=2) * offsets).sum(axis=1) / total
            mean_column = (weighted.sum(axis=1) * offsets).sum(axis=1) / total
        shift += 2 * (np.column_stack([mean_row, mean_column]) - shift)
        shift = np.clip(shift, -BOX, BOX)
    shift[~(np.abs(shift).max(axis=1, initial=0) < BOX - 1)] = np.nan
    return pixels + shift, boxes.sum(axis=(1, 2))


def fit_movement(positions, reference, shape):
    """The linear function of position that best describes how stars moved in each frame.

    Parameters
    ----------
    positions : (n_times, n_stars, 2) array: row, column
    reference : (n_stars, 2) array, the same in the reference frame
    shape : (n_rows, n_columns) of the image

    Returns
    -------
    movement : (n_times, 2, 3) array: for row and column, the coefficients of 1, y and x, where y
        and x run from -1 to 1 over the image (see `pixels.imagecube.movement_at`); zeros where
        there are too few stars
    scatter : (n_times,) array, pixels, of single stars around it; NaN where there are too few stars
    """
    movement = np.zeros((len(positions), 2, 3))
    scatter = np.full(len(positions), np.nan)
    basis = movement_basis(reference[:, 0], reference[:, 1], shape)
    for i, measured in enumerate(positions):
        moved = measured - reference
        used = np.isfinite(moved).all(axis=1)
        for _ in range(4):
            if used.sum() < MIN_STARS:
                break
            n_terms = 3 if used.sum() >= MIN_STARS_LINEAR else 1
            found = np.linalg.lstsq(basis[used, :n_terms], moved[used], rcond=None)[0]
            residual = moved - basis[:, :n_terms] @ found
            movement[i] = 0
            movement[i, :, :n_terms] = found.T
            length = np.hypot(*residual.T)
            scatter[i] = np.sqrt(np.mean(length[used] ** 2))
            used = length <= 3 * np.median(length[used]) + 1e-9
    return movement, scatter


def against_median(movement, measured, usable):
    """Movement against the median position of the stars instead of against where the reference
    frame happened to point.

    Parameters
    ----------
    movement : (n_times, 2, 3) array against the reference frame
    measured : (n_times,) bool array; frames without enough stars keep a movement of zero
    usable : (n_times,) bool array, frames that the median is taken of

    Returns
    -------
    array like ``movement``, whose median over the usable frames is zero
    """
    counted = measured & usable
    if not counted.any():
        return movement
    median = np.median(movement[counted], axis=0)
    return np.where(measured[:, None, None], movement - median, movement)


@dataclass(frozen=True)
class Reference:
    """The frame that the others are compared with."""

    index: int
    image: (
        np.ndarray
    )  # (n_rows, n_columns) e-/s, as in the file; zeros where no frame has a background
    mesh: np.ndarray  # its background, e-/s
    glow: np.ndarray
    pixels: np.ndarray  # (n_stars, 2) int: row, column of the reference stars
    positions: np.ndarray  # (n_stars, 2) their centroids


@dataclass(frozen=True)
class Measured:
    """What is known of the frames after the first pass; arrays of n_times (or of the frames of a
    batch).
    """

    mesh: np.ndarray  # (n_times, n_tile_rows, n_tile_columns) e-/s
    glow: np.ndarray  # (n_times, n_rings) e-/s
    background_err: np.ndarray  # (n_times,) e-/s
    finite: np.ndarray  # (n_times,) fraction of the pixels with a value
    positions: np.ndarray  # (n_times, n_stars, 2) row, column
    star_flux: np.ndarray  # (n_times, n_stars) e-/s

    def save(self, path):
        np.savez(path, **self.__dict__)

    @classmethod
    def load(cls, paths):
        """Join batches, in order."""
        parts = []
        for path in paths:
            try:
                with np.load(path, allow_pickle=False) as file:
                    parts.append({field.name: file[field.name] for field in fields(cls)})
            except (
                ValueError,
                KeyError,
                OSError,
                EOFError,
                zipfile.BadZipFile,
                zlib.error,
            ) as error:
                path.unlink(missing_ok=True)
                raise TryAgainError(
                    f"{path}: damaged, removed; it is made anew by the next call"
                ) from error
        return cls(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def background_model(frame):
    """The model of the background of images like ``frame``; cut-outs are too small for the glow."""
    whole = min(frame.shape) >= 200
    return BackgroundModel(
        frame.shape, camera_centre(frame.mission, frame.ccd, frame.shape) if whole else None
    )


def choose_reference(frames, model):
    """The frame nearest to the middle that the mission calls good, and that has a background and
    coordinates as most frames there; with its stars.

    Raises
    ------
    BadInputError : no frame near the middle has coordinates
    """
    middle = len(frames) // 2
    bitmask = DEFAULT_BITMASK[frames[0].mission]
    good = [i for i, frame in enumerate(frames) if not frame.quality & bitmask] or list(
        range(len(frames))
    )
    good.sort(key=lambda i: abs(i - middle))
    located = _where_most_look(frames, good[:20])
    for index in located:
        image = frames[index].read_flux()
        mesh, glow, _ = model.measure(image)
        if np.isfinite(mesh).all():
            clean = image - model.image(mesh, glow)
            pixels = find_reference_stars(clean)
            return Reference(index, image, mesh, glow, pixels, centroids(clean, pixels)[0])
    nothing = (
        np.zeros(model.shape, dtype=np.float32),
        np.zeros(model.mesh_shape),
        np.zeros(model.n_rings),
    )
    return Reference(located[0], *nothing, np.zeros((0, 2), dtype=int), np.zeros((0, 2)))


def _where_most_look(frames, indices):
    """Those of some frames whose middle is on the sky where that of most of them is: the header of
    one may be damaged, and the coordinates of the cube are those of its reference.
    """
    located, problem = [], None
    for index in indices:
        try:
            wcs = wcs_of(headers_of(frames[index])[1], frames[index].flux.path)
        except BadInputError as error:
            problem = error
            continue
        middle = wcs.all_pix2world(*(0.5 * size for size in reversed(frames[index].shape)), 0)
        located.append((index, unit_vectors(*middle), proj_plane_pixel_scales(wcs.celestial).max()))
    if not located:
        raise problem
    found, directions, scales = map(np.array, zip(*located, strict=True))
    off = np.linalg.norm(directions - np.median(directions, axis=0), axis=1)
    return found[off <= MAX_OFFSET * np.radians(np.median(scales))].tolist() or found.tolist()


def measure(frames, model, reference):
    """Measure some frames.

    Parameters
    ----------
    frames : list of Frame
    model : BackgroundModel
    reference : Reference

    Returns
    -------
    Measured
    """
    rows = []
    for frame in frames:
        image = frame.read_flux()
        mesh, glow, error = model.measure(image - reference.image, unusable=~(image < FLUX_CUT))
        mesh, glow = mesh + reference.mesh, glow + reference.glow
        has_background = np.isfinite(mesh).all()
        stars = centroids(
            image - (model.image(mesh, glow) if has_background else 0), reference.pixels
        )
        rows.append((mesh, glow, error, np.isfinite(image).mean(), *stars))
    return Measured(*(np.array(column) for column in zip(*rows, strict=True)))


def find_bad_frames(finite, star_flux, movement):
    """Which frames cannot be used.

    Parameters
    ----------
    finite : (n_times,) array, fraction of the pixels with a value
    star_flux : (n_times, n_stars) array, e-/s, of the reference stars
    movement : (n_times, 2, 3) array, see `fit_movement`

    Returns
    -------
    bad : (n_times,) bool array
    """
    bad = ~(finite >= MIN_FINITE)
    if star_flux.shape[1] >= 3 and not bad.all():
        median = np.nanmedian(star_flux[~bad], axis=0)
        ratio = np.nanmedian(np.nan_to_num(star_flux) / median, axis=1)
        bad |= (ratio < FLUX_RANGE[0]) | (ratio > FLUX_RANGE[1])
        shift = movement[:, :, 0]
        bad |= np.hypot(*(shift - np.median(shift[~bad], axis=0)).T) > MAX_MOVEMENT
    return bad
