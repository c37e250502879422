"""The sky background of full-frame images: measured in tiles, interpolated to pixels, smoothed in
time.

The background of an image is a *mesh*, one value per tile of 64 pixels (the sigma-clipped mode, by
photutils), plus a *glow*, a function of the distance from the camera's centre: the corners of TESS
images that are farthest from it glow. (Handberg et al. 2021, AJ 162, 170, section 3.1.) Both are
few numbers per image, from which any row of the background can be had at any time.
"""

import warnings

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.ndimage import median_filter, percentile_filter

# pixels; images smaller than 512 pixels have tiles of an eighth of them, but not below 32
TILE = 64
FLUX_CUT = 8e4  # e-/s; pixels above it are near saturation and not used
# in sides of the image, distance from the camera's centre where the glow begins
GLOW_FROM = 2400 / 2048
GLOW_STEP = 15 / 2048  # same unit, width of a ring
SMOOTHING = 3 / 24  # days, width of the moving median in time
# the background is a multiple of 1/1024 e-/s, far below the noise: its zeros compress and add up
# exactly
GRAIN = 1024
# bounds the memory; fixed, so that the rounding never depends on how work is cut up
_FRAMES_AT_ONCE = 128


class BackgroundModel:
    """Where tiles and rings lie in an image of a given shape, and what measured values mean for
    each pixel.

    Parameters
    ----------
    shape : (n_rows, n_columns) of the part of the images that sees the sky
    centre : (row, column) of the camera's centre in pixels of that part, or None where there is no
        glow
    """

    def __init__(self, shape, centre=None):
        self.shape = tuple(shape)
        self.tile = tuple(min(TILE, max(32, size // 8), size) for size in self.shape)
        self.mesh_shape = tuple(
            -(-size // tile) for size, tile in zip(self.shape, self.tile, strict=True)
        )
        self._in_rows = interpolation_matrix(self.shape[0], self.tile[0])
        self._in_columns = interpolation_matrix(self.shape[1], self.tile[1])
        self._rings = _Rings(self.shape, centre)

    @property
    def n_rings(self):
        """Number of values that describe the glow; 0 where there is none"""
        return self._rings.n

    def measure(self, image, *, unusable=False, rounds=1):
        """Measure the background of one image.

        The tiles are measured a second time on what a first measurement leaves: a slope within a
        tile, as scattered light has it, would widen the distribution of its pixels, so that more of
        the stars' light passes for sky.

        Parameters
        ----------
        image : (n_rows, n_columns) array, e-/s
        unusable : (n_rows, n_columns) bool array, pixels not to use, beside those above `FLUX_CUT`
            and without a value
        rounds : int
            How often mesh and glow are measured in turn, each on what the other one leaves.

        Returns
        -------
        mesh : (n_tile_rows, n_tile_columns) array, e-/s; NaN where the image has too few usable
            pixels
        glow : (n_rings,) array, e-/s
        error : float, e-/s, uncertainty of the background in a typical tile
        """
        unusable = ~(image < FLUX_CUT) | unusable  # also true for NaN
        glow = np.zeros(self.n_rings)
        first = unusable | self._rings.mask() if self.n_rings else unusable
        mesh, error = tile_modes(image, first, self.tile)  # the sky without the glow
        for _ in range(rounds if np.isfinite(error) else 0):
            mesh = self._slopes(mesh, first)
            residual = image - self._mesh_image(mesh)
            if self.n_rings:
                glow = self._rings.measure(residual, unusable)
                residual -= self._rings.image(glow)
            more, error = tile_modes(residual, unusable, self.tile)
            mesh = mesh + more
        return mesh, glow, error

    def _slopes(self, mesh, unusable):
        """The mesh without what single tiles have; tiles with few usable pixels continue the
        surface through the others.
        """
        usable_pixels = np.add.reduceat(
            np.add.reduceat(
                ~unusable, np.arange(0, self.shape[0], self.tile[0]), axis=0, dtype=int
            ),
            np.arange(0, self.shape[1], self.tile[1]),
            axis=1,
        )
        poor = usable_pixels < 0.5 * self.tile[0] * self.tile[1]
        if poor.any() and (~poor).sum() > 12:
            y, x = np.indices(mesh.shape).reshape(2, -1) / max(mesh.shape)
            basis = np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=1)
            surface = basis @ np.linalg.lstsq(basis[~poor.ravel()], mesh[~poor], rcond=None)[0]
            mesh = np.where(poor, surface.reshape(mesh.shape), mesh)
        return median_filter(mesh, 3, mode="nearest")

    def image(self, mesh, glow):
        """Background of one frame, (n_rows, n_columns) float32 array, e-/s."""
        return self.rows(np.asarray(mesh)[None], np.asarray(glow)[None], 0, self.shape[0])[0]

    def rows(self, mesh, glow, start, stop):
        """Background of some rows in all frames.

        Parameters
        ----------
        mesh : (n_times, n_tile_rows, n_tile_columns) array, e-/s
        glow : (n_times, n_rings) array, e-/s
        start, stop : int, the rows

        Returns
        -------
        background : (n_times, stop - start, n_columns) float32 array, e-/s, multiples of 1 /
            `GRAIN`
        """
        background = np.empty((len(mesh), stop - start, self.shape[1]), dtype=np.float32)
        for first in range(0, len(mesh), _FRAMES_AT_ONCE):
            some = slice(first, first + _FRAMES_AT_ONCE)
            values = self._in_rows[start:stop] @ mesh[some] @ self._in_columns.T
            self._rings.add(values, glow[some], start, stop)
            values *= GRAIN
            np.rint(values, out=values)
            background[some] = values / GRAIN
        return background

    def _mesh_image(self, mesh):
        return self._in_rows @ mesh @ self._in_columns.T


class _Rings:
    """The glow: rings around the camera's centre, beyond `GLOW_FROM`; between the middles of rings
    it is linear.
    """

    MIN_PIXELS = 20  # in a ring, to measure it

    def __init__(self, shape, centre):
        self.n = 0
        self.shape = shape
        if centre is None:
            return
        side = max(shape)
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        distance = np.hypot(rows - centre[0], columns - centre[1]) / side
        step = max(GLOW_STEP, 2 / side)
        position = (distance - GLOW_FROM) / step  # in rings
        self.row, self.column = np.nonzero(position > 0)
        self.position = position[self.row, self.column]
        counts = np.bincount(self.position.astype(int)) if self.position.size else np.zeros(0)
        self.n = int(
            np.argmin(np.append(counts >= self.MIN_PIXELS, False))
        )  # rings before the first poor one
        self._sort_into_rings()

    def _sort_into_rings(self):
        """Which pixels are in each ring, as a rectangle of (n_rings, n_pixels), filled up where a
        ring has fewer.
        """
        if not self.n:
            return
        ring = np.minimum(self.position.astype(int), self.n - 1)
        order = np.argsort(ring, kind="stable")
        counts = np.bincount(ring)
        columns = np.arange(counts.max())
        self._filling = columns >= counts[:, None]
        first = np.cumsum(counts) - counts
        self._members = order[np.minimum(first[:, None] + columns, len(order) - 1)]

    def measure(self, image, unusable):
        """Sigma-clipped median of the usable pixels of each ring, (n_rings,) array; 0 where a ring
        has none.
        """
        from astropy.stats import sigma_clip

        values = np.where(unusable, np.nan, image)[self.row, self.column][self._members]
        values[self._filling] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rings of NaN
            clipped = sigma_clip(values, sigma=3, maxiters=5, axis=1, masked=False, copy=False)
            return np.nan_to_num(np.nanmedian(clipped, axis=1))

    def mask(self):
        mask = np.zeros(self.shape, dtype=bool)
        mask[self.row, self.column] = True
        return mask

    def image(self, glow):
        image = np.zeros((1, *self.shape))
        self.add(image, np.asarray(glow)[None], 0, self.shape[0])
        return image[0]

    def add(self, images, glow, start, stop):
        """Add the glow (n_times, n_rings) to rows ``start`` to ``stop`` of images (n_times, n_rows,
        n_columns).
        """
        if not self.n:
            return
        here = slice(*np.searchsorted(self.row, [start, stop]))  # np.nonzero sorts by row
        with_zero = np.column_stack(
            [np.zeros(len(glow)), glow]
        )  # the glow begins at 0 at half a ring before the first
        position = np.clip(self.position[here] + 0.5, 0, self.n)
        lower = np.minimum(position.astype(int), self.n - 1)
        weight = position - lower
        value = with_zero[:, lower] * (1 - weight) + with_zero[:, lower + 1] * weight
        images[:, self.row[here] - start, self.column[here]] += value


def tile_modes(image, unusable, tile):
    """Sigma-clipped mode of each tile; tiles that a bright star spoils are taken from their
    neighbours.

    The mode is 2.5 median - 1.5 mean, or the median where stars crowd so much that this would
    overshoot (Bertin & Arnouts 1996).

    Parameters
    ----------
    image : (n_rows, n_columns) array, e-/s
    unusable : (n_rows, n_columns) bool array
    tile : (n_rows, n_columns) of a tile, pixels

    Returns
    -------
    mesh : (n_tile_rows, n_tile_columns) array, NaN throughout where no tile has enough usable
        pixels
    error : float, median over the tiles of the scatter of their pixels over the root of their
        number
    """
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, SExtractorBackground

    mesh_shape = tuple(-(-size // side) for size, side in zip(image.shape, tile, strict=True))
    if unusable.mean() > 0.9:
        return np.full(mesh_shape, np.nan), np.nan
    try:
        sky = Background2D(
            image,
            tile,
            mask=unusable,
            exclude_percentile=50,
            filter_size=1,
            sigma_clip=SigmaClip(sigma=3, maxiters=5),
            bkg_estimator=SExtractorBackground(),
        )
    except ValueError:  # photutils: every tile has more than half of its pixels masked
        return np.full(mesh_shape, np.nan), np.nan
    n_pixels = np.prod(tile)
    mesh = _without_outliers(np.array(sky.background_mesh, dtype=float))
    return mesh, float(np.median(sky.background_rms_mesh) / np.sqrt(n_pixels))


def _without_outliers(mesh, limit=8):
    """Replace tiles that stand out from the eight around them by the median of those.

    A tile stands out if it is beyond their range by more than that range, and by far more than such
    tiles mostly are: a gradient, or a corner of it, does not.
    """
    if min(mesh.shape) < 3:
        return mesh
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    low, around, high = (
        percentile_filter(mesh, percentage, footprint=ring, mode="nearest")
        for percentage in (0, 50, 100)
    )
    excess = np.maximum(mesh - high, low - mesh)
    noise = np.median(np.abs(mesh - around))
    return np.where(excess > np.maximum(high - low, limit * noise + 1e-9), around, mesh)


def interpolation_matrix(n_pixels, tile):
    """Matrix (n_pixels, n_tiles) that takes the values of tiles to pixels along one axis.

    A cubic spline through the tiles' centres; from the outermost centres to the image's edges the
    trend of the last two tiles goes on, as a straight line.
    """
    edges = np.minimum(np.arange(0, n_pixels + tile, tile), n_pixels)
    edges = edges[: -(-n_pixels // tile) + 1]
    centres = 0.5 * (edges[:-1] + edges[1:]) - 0.5
    n = len(centres)
    if n == 1:
        return np.ones((n_pixels, 1))
    values = np.eye(n)
    ends = np.array([-0.5, n_pixels - 0.5])
    before = values[0] + (values[1] - values[0]) * (ends[0] - centres[0]) / (
        centres[1] - centres[0]
    )
    after = values[-1] + (values[-1] - values[-2]) * (ends[1] - centres[-1]) / (
        centres[-1] - centres[-2]
    )
    knots = np.concatenate([ends[:1], centres, ends[1:]])
    spline = make_interp_spline(knots, np.vstack([before, values, after]), k=3)
    return spline(np.arange(n_pixels))


def smooth_in_time(time, mesh, good, width=SMOOTHING):
    """Smooth the meshes of a series by a moving median in time.

    What all tiles have in common, a plane over the image, is well measured in every frame and stays
    as it is, however fast it changes; only each tile's difference from it is smoothed. Windows are
    symmetric, and shrink at the ends of the series and at gaps. Frames that are not good do not
    count, and get the mean of their good neighbours in time.

    Parameters
    ----------
    time : (n_times,) array, days, increasing
    mesh : (n_times, n_tile_rows, n_tile_columns) array, e-/s
    good : (n_times,) bool array

    Returns
    -------
    smooth : array like ``mesh``
    """
    flat = mesh.reshape(len(mesh), -1)
    good = good & np.isfinite(flat).all(axis=1)
    if not good.any():
        return np.zeros_like(mesh)
    plane = _plane_of(mesh[good].shape[1:])
    common = flat[good] @ plane.T
    residual = flat[good] - common
    smooth = common + _moving_median(time[good], residual, width)
    filled = np.array([np.interp(time, time[good], tile) for tile in smooth.T]).T
    filled[good] = smooth
    return filled.reshape(mesh.shape)


def _plane_of(shape):
    """Matrix (n_tiles, n_tiles) that projects a flattened mesh on a plane (as far as it has tiles
    to define one).
    """
    rows, columns = np.indices(shape).reshape(2, -1).astype(float)
    basis = np.stack([np.ones(rows.size), rows - rows.mean(), columns - columns.mean()], axis=1)
    return basis @ np.linalg.pinv(basis)


def _moving_median(time, values, width):
    """Median over the frames within half of ``width`` before and after, as many before as after."""
    smooth = np.empty_like(values)
    first = np.searchsorted(time, time - 0.5 * width - 1e-6)
    last = np.searchsorted(time, time + 0.5 * width + 1e-6, side="right") - 1
    here = np.arange(len(time))
    half = np.minimum(here - first, last - here)
    for i in here:
        smooth[i] = np.median(values[i - half[i] : i + half[i] + 1], axis=0)
    return smooth


def camera_centre(mission, ccd, shape):
    """(row, column) of the camera's centre in pixels of an image of a whole CCD, or None where it
    is not known.

    The four CCDs of a TESS camera meet at its centre with their last rows: CCDs 1 and 3 with their
    last columns, CCDs 2 and 4 with their first ones. (TESS Instrument Handbook, figure 4.3.) The
    gap between them, about 1 mm, is neglected.

    Parameters
    ----------
    mission : 'TESS', 'Kepler' or 'K2'
    ccd : int
    shape : (n_rows, n_columns) of the image
    """
    if mission != "TESS":
        return None
    return shape[0] - 0.5, (shape[1] - 0.5 if ccd in (1, 3) else -0.5)
