"""The sky background: `photometry.prepare.background`."""

import itertools

import numpy as np
import pytest

from photometry.prepare.background import (
    FLUX_CUT,
    GRAIN,
    BackgroundModel,
    camera_centre,
    interpolation_matrix,
    smooth_in_time,
)


@pytest.mark.parametrize(
    ("n_pixels", "tile"), [(256, 32), (2048, 64), (200, 64), (130, 64), (65, 64)]
)
def test_interpolation_keeps_straight_lines_out_to_the_edges(n_pixels, tile):
    matrix = interpolation_matrix(n_pixels, tile)
    edges = np.minimum(np.arange(0, n_pixels + tile, tile), n_pixels)[: matrix.shape[1] + 1]
    means = np.array([np.arange(a, b).mean() for a, b in itertools.pairwise(edges)])
    assert np.allclose(matrix @ (3 + 0.1 * means), 3 + 0.1 * np.arange(n_pixels), atol=1e-9)
    assert np.allclose(matrix.sum(axis=1), 1)


def test_sky_of_a_whole_ccd_with_gradient_and_corner_glow_is_recovered():
    shape = (2048, 2048)
    centre = camera_centre("TESS", 4, shape)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1]) / 2048
    truth = 100 + 0.005 * rows + 3e-9 * columns**3 + 300 * np.clip(distance - 1.2, 0, None) ** 1.5
    image = truth + np.random.default_rng(1).standard_normal(shape)
    model = BackgroundModel(shape, centre)
    mesh, glow, error = model.measure(image)
    difference = model.image(mesh, glow) - truth
    assert error == pytest.approx(1 / 64, rel=0.05)  # standard deviation 1 in 64 x 64 pixels
    assert np.sqrt(np.mean(difference**2)) < 4 * error
    assert abs(difference.mean()) < 0.5 * error
    assert truth[0, -1] - 100 > 25  # the glow matters


def test_stars_and_saturated_pixels_hardly_move_the_background():
    rng = np.random.default_rng(2)
    image = 50 + rng.standard_normal((512, 512))
    rows, columns = rng.integers(0, 512, (2, 1500))
    image[rows, columns] += 10 ** rng.uniform(0, 4, 1500)
    image[100:140, 200:204] = 2 * FLUX_CUT
    image[300:310, 300:310] = np.nan
    model = BackgroundModel(image.shape)
    background = model.image(*model.measure(image)[:2])
    assert np.abs(background - 50).max() < 0.2


def test_image_without_usable_pixels_has_no_background():
    mesh, _, error = BackgroundModel((80, 70)).measure(np.full((80, 70), np.nan))
    assert np.isnan(mesh).all()
    assert np.isnan(error)


def test_background_is_the_same_however_the_rows_are_cut_and_a_multiple_of_the_grain():
    rng = np.random.default_rng(3)
    shape = (256, 256)
    model = BackgroundModel(shape, camera_centre("TESS", 1, shape))
    mesh = 100 + rng.standard_normal((5, *model.mesh_shape))
    glow = rng.uniform(0, 5, (5, model.n_rings))
    whole = model.rows(mesh, glow, 0, 256)
    parts = [model.rows(mesh, glow, start, start + 8) for start in range(0, 256, 8)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(whole * GRAIN, np.rint(whole * GRAIN))


class TestSmoothing:
    time = np.arange(200) / 48  # half hours

    def series(self, level):
        rng = np.random.default_rng(4)
        return level[:, None, None] + 0.1 * rng.standard_normal((200, 6, 6))

    def test_noise_of_tiles_shrinks(self):
        smooth = smooth_in_time(self.time, self.series(np.full(200, 100.0)), np.ones(200, bool))
        assert smooth.std() < 0.06

    def test_a_sudden_change_of_the_whole_sky_stays(self):
        level = 100 + 50.0 * (np.arange(200) == 77)
        smooth = smooth_in_time(self.time, self.series(level), np.ones(200, bool))
        assert np.abs(smooth.mean(axis=(1, 2)) - level).max() < 0.1

    def test_bad_frames_get_what_their_neighbours_have(self):
        mesh = self.series(np.linspace(100, 200, 200))
        mesh[50] = np.nan
        mesh[60] = 1e6
        good = np.ones(200, bool)
        good[60] = False
        smooth = smooth_in_time(self.time, mesh, good)
        assert np.allclose(
            smooth[[50, 60]].mean(axis=(1, 2)), np.linspace(100, 200, 200)[[50, 60]], atol=0.1
        )


@pytest.mark.parametrize(
    ("ccd", "corner"), [(1, (100, 100)), (2, (100, 0)), (3, (100, 100)), (4, (100, 0))]
)
def test_camera_centre_is_at_the_last_row(ccd, corner):
    assert np.allclose(camera_centre("TESS", ccd, (100, 100)), corner, atol=1)
    assert camera_centre("Kepler", ccd, (100, 100)) is None
