"""Elliptical Gaussians on pixels: many fitted at once, with their errors.

Axes are half widths at half maximum in pixels; angles are measured from the y axis towards negative
x, as position angles on the sky are in an image with east on the left.

The fit is Gauss-Newton on all components together: what overlaps is fitted jointly, whatever the
size of the group; the normal equations are never built, but solved by conjugate gradients with one
small matrix per component as preconditioner.

Errors: Condon 1997, PASP 109, 166, for free shapes in correlated noise. Shape fixed: the amplitudes
of least squares are linear in the pixels, so that their covariance is exact: A^-1 B A^-1 with A the
overlaps of the shapes and B those with the correlation of the noise between; a single beam in noise
that a beam has correlated has sqrt(2) times the noise of a pixel.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np

LN2 = np.log(2.0)

NOISE_MODELS = ("beam", "white", "reference")
"""Noise with the correlation of the beam; independent pixels; or the original's error for fixed
shapes, sqrt(3) too."""

CONVERGED = 1e-3
"""px (and relative, of free shapes' peaks): when the last step was smaller, what is left is its
square."""

CLOSE_DAMPING = 0.3
"""Damping of components within three half widths of another: undamped, two that share their light
drive one another away."""

_MAX_ROUNDS = 30


def quadratic_form(major, minor, angle):
    """Coefficients (xx, xy, yy) of the exponent: exp(-(xx dx^2 + 2 xy dx dy + yy dy^2)) is 1/2 on
    the ellipse.

    Parameters
    ----------
    major, minor : float or arrays, px, half widths at half maximum
    angle : float or array, rad
    """
    s, c = np.sin(angle), np.cos(angle)
    u, v = LN2 / np.square(major), LN2 / np.square(minor)
    return np.array([u * s**2 + v * c**2, (v - u) * s * c, u * c**2 + v * s**2])


def axes(form):
    """Major and minor axis and angle (in [0, pi)) of quadratic forms; inverse of
    `quadratic_form`."""
    xx, xy, yy = form
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    major, minor = np.sqrt(LN2 / (mean - spread)), np.sqrt(LN2 / (mean + spread))
    # the direction of the smaller eigenvalue, from the y axis towards negative x
    return major, minor, (np.arctan2(2 * xy, xx - yy) / 2) % np.pi


@dataclass
class Fit:
    """Fitted components.

    Attributes
    ----------
    peak, x, y : (k,) arrays; px, 0 at the middle of the first pixel
    form : (3, k) array, see `quadratic_form`
    chisq, reduced_chisq : (k,) arrays, over the pixels near each component
    good : (k,) bool array, converged near where it began
    """

    peak: np.ndarray
    x: np.ndarray
    y: np.ndarray
    form: np.ndarray
    chisq: np.ndarray
    reduced_chisq: np.ndarray
    good: np.ndarray


class _Stamps:
    """The pixels near each component, and the sums over components that share pixels."""

    def __init__(self, pixels, usable, x, y, half):
        n_rows, n_columns = pixels.shape
        step = np.arange(-half, half + 1)
        column = np.rint(x).astype(int)[:, None] + np.tile(step, len(step))
        row = np.rint(y).astype(int)[:, None] + np.repeat(step, len(step))
        inside = (column >= 0) & (column < n_columns) & (row >= 0) & (row < n_rows)
        index = np.where(inside, row * n_columns + column, 0)
        inside &= usable.ravel()[index]
        self.weight = inside.astype(float)
        unique, self._slot = np.unique(index, return_inverse=True)
        self._slot = self._slot.reshape(index.shape)
        self._n = len(unique)
        self.data = pixels.ravel()[unique].astype(float)[self._slot]
        self.column, self.row = column.astype(float), row.astype(float)

    def total(self, values):
        """Values of each component's pixels, summed over all components that have the pixel, at
        each component's pixels."""
        summed = np.bincount(self._slot.ravel(), (values * self.weight).ravel(), self._n)
        return summed[self._slot] * self.weight

    def part(self, rows, values):
        """The stamps of some components, with the light of all others (``values`` at the pixels of
        every component) taken away."""
        part = copy(self)
        others = np.ones(len(self.data), bool)
        others[rows] = False
        values = (values * self.weight)[others]
        light = np.bincount(self._slot[others].ravel(), values.ravel(), self._n)
        unique, slot = np.unique(self._slot[rows], return_inverse=True)
        part._slot, part._n = slot.reshape(self._slot[rows].shape), len(unique)
        part.data = self.data[rows] - light[self._slot[rows]]
        for name in ("weight", "column", "row"):
            setattr(part, name, getattr(self, name)[rows])
        return part


def _shapes(stamps, x, y, form):
    dx, dy = stamps.column - x[:, None], stamps.row - y[:, None]
    xx, xy, yy = form[:, :, None]
    return dx, dy, np.exp(-(xx * dx**2 + 2 * xy * dx * dy + yy * dy**2))


def fit(pixels, usable, peak, x, y, form, *, half, free_shape=False, noise=None):
    """Fit Gaussians to an image without background, all together.

    Parameters
    ----------
    pixels : (n_rows, n_columns) array
    usable : (n_rows, n_columns) bool array
    peak, x, y : (k,) arrays, where to begin
    form : (3, k) array, shapes, kept or where to begin
    half : int, px; pixels farther than this from a component in x or y are not its own
    free_shape : bool
    noise : (k,) array, of the pixels near each component, for chi-square; 1 by default

    Returns
    -------
    Fit
    """
    peak, x, y = (np.array(a, float) for a in (peak, x, y))
    form = np.array(form, float)
    if not len(peak):
        return Fit(peak, x, y, form, peak, peak, np.zeros(0, bool))
    stamps = _Stamps(pixels, usable, x, y, half)
    x0, y0 = x.copy(), y.copy()
    size = np.sqrt(LN2 / np.maximum(form[0], form[2]))
    damping = np.where(_has_neighbour(x, y, 3 * size), CLOSE_DAMPING, 1e-3 if free_shape else 0.0)
    active, part = np.arange(len(peak)), stamps
    for _ in range(_MAX_ROUNDS):
        step = _step(
            part, peak[active], x[active], y[active], form[:, active], damping[active], free_shape
        )
        largest = 0.5 * size[active, None]
        shift = np.clip(step[:, 1:3], -largest, largest)
        peak[active] += np.clip(step[:, 0], -0.5 * np.abs(peak[active]), np.abs(peak[active]))
        x[active] += shift[:, 0]
        y[active] += shift[:, 1]
        x, y = np.clip(x, x0 - size, x0 + size), np.clip(y, y0 - size, y0 + size)
        change = np.abs(shift).max(axis=1)
        if free_shape:
            form[:, active] += _limited(form[:, active], step[:, 3:].T)
            at = np.where(peak == 0, 1, peak)[active]
            change = np.maximum(change, np.abs(step[:, 0] / at))
        moving = active[change >= CONVERGED]
        if not len(moving):
            break
        # a few that take long need not hold up the others
        near = _near(x, y, moving, 3 * size)
        if near.sum() < len(active) / 2:
            active = np.flatnonzero(near)
            part = stamps.part(active, peak[:, None] * _shapes(stamps, x, y, form)[2])
    _, _, g = _shapes(stamps, x, y, form)
    residual = (stamps.data - stamps.total(peak[:, None] * g)) * stamps.weight
    near = stamps.weight * (g > 0.1)
    chisq = (residual**2 * near).sum(axis=1) / np.square(1 if noise is None else noise)
    freedom = np.maximum(near.sum(axis=1) - (6 if free_shape else 3), 1)
    good = np.isfinite(peak) & (peak > 0)
    if free_shape:
        good &= (form[0] * form[2] > form[1] ** 2) & (form[0] > 0)
    return Fit(peak, x, y, form, chisq, chisq / freedom, good)


def _step(stamps, peak, x, y, form, damping, free_shape):
    """One step of all components: (k, 3) or (k, 6) array of peak, x, y, and the form."""
    dx, dy, g = _shapes(stamps, x, y, form)
    residual = (stamps.data - stamps.total(peak[:, None] * g)) * stamps.weight
    xx, xy, yy = form[:, :, None]
    scaled = peak[:, None] * g
    columns = [g, 2 * scaled * (xx * dx + xy * dy), 2 * scaled * (xy * dx + yy * dy)]
    if free_shape:
        columns += [-scaled * dx**2, -2 * scaled * dx * dy, -scaled * dy**2]
    jacobian = np.stack(columns, axis=1) * stamps.weight[:, None, :]
    return _solve(stamps, jacobian, residual, damping)


def _solve(stamps, jacobian, residual, damping):
    """Solve the damped normal equations of all components by preconditioned conjugate gradients.

    Parameters
    ----------
    stamps : _Stamps
    jacobian : (k, n_parameters, n_pixels) array
    residual : (k, n_pixels) array
    damping : (k,) array, relative to the diagonal
    """
    transposed = jacobian.transpose(0, 2, 1)
    normal = jacobian @ transposed
    diagonal = np.einsum("kii->ki", normal)
    damping = damping[:, None] * diagonal
    # a parameter that no pixel depends on stays as it is
    diagonal += damping + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    inverse = np.linalg.inv(normal)

    def multiply(vector):
        on_pixels = stamps.total((transposed @ vector[:, :, None])[:, :, 0])
        return (jacobian @ on_pixels[:, :, None])[:, :, 0] + damping * vector

    remaining = (jacobian @ residual[:, :, None])[:, :, 0]
    solution = np.zeros_like(remaining)
    better = (inverse @ remaining[:, :, None])[:, :, 0]
    direction, size = better, (remaining * better).sum()
    first = size
    for _ in range(20):
        # an inexact step is enough: the next round begins from it
        if not size > 1e-6 * first:
            break
        product = multiply(direction)
        length = size / (direction * product).sum()
        solution += length * direction
        remaining -= length * product
        better = (inverse @ remaining[:, :, None])[:, :, 0]
        size, old = (remaining * better).sum(), size
        direction = better + size / old * direction
    return solution


def _near(x, y, some, radius):
    """Which positions lie within a radius, (k,) array, of one of ``some``, indices; (k,) bool
    array."""
    from scipy.spatial import cKDTree

    positions = np.transpose([x, y])
    return cKDTree(positions[some]).query(positions)[0] < radius


def _has_neighbour(x, y, radius):
    """Which positions have another one within a radius, (k,) array; (k,) bool array."""
    from scipy.spatial import cKDTree

    if len(x) < 2:
        return np.zeros(len(x), bool)
    positions = np.transpose([x, y])
    return cKDTree(positions).query(positions, k=2)[0][:, 1] < radius


def _limited(form, step):
    """A step of the shapes, shortened so that none becomes wider or narrower than by half at
    once."""
    largest = np.abs(step).max(axis=0) / np.maximum(form[0], form[2])
    return step * np.minimum(1, 0.4 / np.maximum(largest, 1e-12))


def shape_errors(peak, major, minor, angle, noise, beam):
    """Errors of a Gaussian of free shape in noise that a beam has correlated.

    Parameters
    ----------
    peak : (k,) array, before the correction
    major, minor : (k,) arrays, px
    angle : (k,) array, rad
    noise : (k,) array
    beam : (major, minor) of the beam, px

    Returns
    -------
    dict of (k,) arrays: ``peak`` corrected by -noise^2/peak, ``flux`` (times the area of the beam),
    and the errors ``peak_err, flux_err, x_err, y_err, major_err, minor_err, angle_err``
    """
    peak, major, minor, angle, noise = np.broadcast_arrays(
        *(np.asarray(a, float) for a in (peak, major, minor, angle, noise))
    )
    wide, narrow = 2 * beam[0], 2 * beam[1]

    def rho(at_major, at_minor):
        return np.sqrt(
            major * minor / (wide * narrow)
            * (1 + (wide / (2 * major)) ** 2) ** at_major
            * (1 + (narrow / (2 * minor)) ** 2) ** at_minor
        ) * (peak / noise)  # fmt: skip

    first, second, third = rho(2.5, 0.5), rho(0.5, 2.5), rho(1.5, 1.5)
    along_major = 2 * major / (np.sqrt(2 * LN2) * first)
    along_minor = 2 * minor / (np.sqrt(2 * LN2) * second)
    major_err, minor_err = np.sqrt(2) * major / first, np.sqrt(2) * minor / second
    round_one = major <= minor
    with np.errstate(divide="ignore", invalid="ignore"):
        angle_err = 2 * major * minor / ((major**2 - minor**2) * second)
    flux = peak * major * minor / (beam[0] * beam[1])
    corrected = peak - noise**2 / peak
    peak_err = np.sqrt(2) * corrected / third
    relative = peak_err**2 / corrected**2 + wide * narrow / (4 * major * minor) * (
        (major_err / major) ** 2 + (minor_err / minor) ** 2
    )
    s, c = np.sin(angle), np.cos(angle)
    return {
        "peak": corrected,
        "peak_err": np.abs(peak_err),
        "flux": flux,
        "flux_err": np.abs(flux) * np.sqrt(relative),
        "x_err": np.hypot(along_major * s, along_minor * c),
        "y_err": np.hypot(along_major * c, along_minor * s),
        "major_err": major_err,
        "minor_err": minor_err,
        "angle_err": np.where(round_one, np.pi, np.minimum(angle_err, np.pi)),
    }


def amplitude_errors(x, y, noise, beam, noise_model="beam"):
    """Errors of the amplitudes of Gaussians of the beam's shape, larger where they overlap.

    Parameters
    ----------
    x, y : (k,) arrays, px
    noise : (k,) array, of a pixel near each
    beam : (major, minor, angle), px and rad
    noise_model : 'beam', 'white' or 'reference', see `NOISE_MODELS`
    """
    x, y, noise = (np.asarray(a, float) for a in (x, y, noise))
    if noise_model == "reference":
        return np.sqrt(3) * noise
    # 2 pi sigma_x sigma_y of the beam
    area = np.pi * beam[0] * beam[1] / LN2
    single = np.sqrt(2.0) if noise_model == "beam" else np.sqrt(2 / area)
    errors = single * noise
    for group in _overlapping(x, y, beam):
        dx, dy = x[group, None] - x[group], y[group, None] - y[group]
        xx, xy, yy = quadratic_form(*beam)
        r2 = xx * dx**2 + 2 * xy * dx * dy + yy * dy**2
        overlap = np.exp(-r2 / 2)
        correlated = np.exp(-r2 / 4) if noise_model == "beam" else overlap
        inverse = np.linalg.pinv(overlap, rcond=1e-6)
        variance = np.diag(inverse @ correlated @ inverse)
        errors[group] = single * noise[group] * np.sqrt(np.maximum(variance, 1))
    return errors


def _overlapping(x, y, beam):
    """Groups of at least two components that lie within four half widths of one another: arrays of
    indices."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if len(x) < 2:
        return []
    pairs = cKDTree(np.transpose([x, y])).query_pairs(4 * beam[0], output_type="ndarray")
    if not len(pairs):
        return []
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(x), len(x)))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return [group for group in groups if len(group) > 1]


def amplitude(pixels, usable, x, y, beam, half):
    """The best amplitude of a beam at a position: sum(g d) / sum(g^2), at the true position within
    the pixel.

    Parameters
    ----------
    pixels : (n_rows, n_columns) array, background removed
    usable : (n_rows, n_columns) bool array
    x, y : (k,) arrays, px
    beam : (major, minor, angle), px and rad
    half : int, px, half the side of the box

    Returns
    -------
    peak, chisq, reduced_chisq (times noise^2) : (k,) arrays; NaN where no pixel of the box is
    usable
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if not len(x):
        return x, x, x
    stamps = _Stamps(pixels, usable, x, y, half)
    form = np.repeat(quadratic_form(*beam)[:, None], len(x), axis=1)
    _, _, g = _shapes(stamps, x, y, form)
    g = g * stamps.weight
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = (g * np.where(stamps.weight > 0, stamps.data, 0)).sum(axis=1) / (g**2).sum(axis=1)
    near = g > 0.1
    chisq = ((np.where(near, stamps.data, 0) - peak[:, None] * g * near) ** 2).sum(axis=1)
    return peak, chisq, chisq / np.maximum(near.sum(axis=1) - 1, 1)
