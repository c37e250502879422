"""How stars move: `photometry.prepare.measure`."""

import numpy as np
import pytest

from photometry.methods.prf import GaussianPRF
from photometry.pixels.imagecube import movement_at
from photometry.prepare.measure import centroids, find_reference_stars, fit_movement

SHAPE = (200, 220)


@pytest.fixture(scope="module")
def field():
    """Rows, columns and flux of stars, and a function that makes an image of them anywhere."""
    rng = np.random.default_rng(1)
    row, column = rng.uniform(8, 190, 60), rng.uniform(8, 210, 60)
    flux = 10 ** rng.uniform(3.5, 4.7, 60)

    def image(row, column):
        return GaussianPRF().render(
            flux, row, column, np.arange(200), np.arange(220)
        ) + rng.standard_normal(SHAPE)

    return row, column, image


def measured(field, moved):
    row, column, image = field
    first = image(row, column)
    stars = find_reference_stars(first)
    reference = centroids(first, stars)[0]
    positions = np.array([centroids(image(r, c), stars)[0] for r, c in moved])
    return reference, fit_movement(positions, reference, SHAPE)


def test_reference_stars_are_isolated_stars_at_their_places(field):
    row, column, image = field
    stars = find_reference_stars(image(row, column))
    assert len(stars) >= 20
    for place in stars:
        assert np.hypot(row - place[0], column - place[1]).min() < 1


def test_shifts_are_measured_to_hundredths_of_their_size(field):
    row, column, _ = field
    shifts = np.array([(0.02, -0.01), (0.1, -0.2), (-0.4, 0.3)])
    _, (movement, scatter) = measured(field, [(row + dy, column + dx) for dy, dx in shifts])
    found = movement_at(movement, 100, 110, SHAPE)
    assert np.allclose(found, shifts[:, ::-1], atol=0.004, rtol=0.02)
    assert np.all(scatter < 0.03)


def test_rotation_is_measured_as_a_linear_function(field):
    row, column, _ = field
    angle = 1e-3  # rad: 0.1 pixels at the edges
    moved = row + angle * (column - 110), column - angle * (row - 100)
    _, (movement, _) = measured(field, [moved])
    assert np.allclose(movement_at(movement, 100, 210, SHAPE)[0], (0, 0.1), atol=0.005)
    assert np.allclose(movement_at(movement, 190, 110, SHAPE)[0], (-0.09, 0), atol=0.005)


def test_one_star_that_wanders_off_does_not_matter():
    rng = np.random.default_rng(2)
    reference = rng.uniform(0, 200, (30, 2))
    positions = reference + [0.1, 0.2] + 1e-3 * rng.standard_normal((1, 30, 2))
    positions[0, 3] += 2
    positions[0, 4] = np.nan
    movement, _ = fit_movement(positions, reference, SHAPE)
    assert np.allclose(movement_at(movement, 50, 60, SHAPE), (0.2, 0.1), atol=2e-3)


def test_too_few_stars_give_no_movement():
    movement, scatter = fit_movement(np.ones((4, 2, 2)), np.zeros((2, 2)), SHAPE)
    assert not movement.any()
    assert np.isnan(scatter).all()


def test_images_too_small_for_a_box_have_no_reference_stars():
    assert len(find_reference_stars(np.ones((5, 5)))) == 0
