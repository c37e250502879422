import numpy as np
import pytest

from photometry.methods.pixelmask import (
    clusters,
    follow_columns,
    in_mask,
    minimum_mask,
    pixel_masks,
    shortest_interval,
    sky_level,
    total_magnitude,
)

SHAPE = (15, 17)


def flux_cut(image, threshold):
    """The flux above which a pixel belongs to a star: mode + threshold * MAD, e-/s."""
    mode, noise = sky_level(image)
    return mode + threshold * noise


def paint(stars, *, shape=SHAPE, sigma=1.0, noise=1.0, seed=1):
    """An image of round stars with a noisy background of zero; stars: (row, column, flux, tmag)."""
    rows, columns = np.indices(shape)
    image = np.random.default_rng(seed).normal(0, noise, shape)
    for row, column, flux, _ in stars:
        image += (
            flux
            * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2 / sigma**2)
            / (2 * np.pi * sigma**2)
        )
    return image


def catalogue(stars):
    row, column, _, tmag = np.array(stars, float).T
    return {"row": row, "column": column, "tmag": tmag}


def mask_over(masks, row, column):
    (mask,) = [mask for mask in masks if mask[row, column]]
    return mask


def slow_dbscan(above, min_pixels=4):
    """DBSCAN as its authors write it, for pixels above the cut, with a distance of sqrt(2): a set
    of sets of core points.
    """
    points = [tuple(p) for p in np.argwhere(above)]
    near = {p: [q for q in points if max(abs(p[0] - q[0]), abs(p[1] - q[1])) <= 1] for p in points}
    core = {p for p in points if len(near[p]) >= min_pixels}
    groups, seen = [], set()
    for start in core:
        if start in seen:
            continue
        group, queue = set(), [start]
        while queue:
            p = queue.pop()
            if p not in group:
                group.add(p)
                queue += [q for q in near[p] if q in core]
        seen |= group
        groups.append(group)
    return core, groups


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_those_of_dbscan(seed):
    above = np.random.default_rng(seed).random((12, 13)) < 0.3
    core, groups = slow_dbscan(above)
    found = clusters(above)
    cores_found = [{tuple(p) for p in np.argwhere(cluster)} & core for cluster in found]
    assert sorted(map(sorted, cores_found)) == sorted(map(sorted, groups))
    for cluster in found:  # every other pixel of a cluster has a core pixel of it beside it
        members = {tuple(p) for p in np.argwhere(cluster)}
        assert all(
            any(max(abs(p[0] - q[0]), abs(p[1] - q[1])) <= 1 for q in members & core)
            for p in members
        )


def test_mask_of_an_isolated_star_is_a_disc_around_it():
    stars = [(7, 8, 5000.0, 10.0)]
    (mask,) = pixel_masks(paint(stars), catalogue(stars), threshold=5)
    rows, columns = np.nonzero(mask)
    assert (rows.mean(), columns.mean()) == pytest.approx((7, 8), abs=0.2)
    # flux / (2 pi) * exp(-r^2 / 2) falls to the cut at this radius
    radius = np.sqrt(2 * np.log(5000 / (2 * np.pi) / flux_cut(paint(stars), 5)))
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.15)


def test_two_stars_get_a_mask_each_divided_between_them():
    stars = [(7, 5, 5000.0, 10.0), (7, 10, 5000.0, 10.0)]
    masks = pixel_masks(paint(stars, noise=0.01), catalogue(stars), threshold=5)
    left, right = mask_over(masks, 7, 5), mask_over(masks, 7, 10)
    assert not (left & right).any()
    assert np.nonzero(left)[1].max() <= 8
    assert np.nonzero(right)[1].min() >= 7


def test_star_that_is_not_in_the_catalogue_does_not_split_a_mask():
    stars = [(7, 5, 5000.0, 10.0), (7, 10, 3000.0, 10.0)]
    masks = pixel_masks(paint(stars), catalogue(stars[:1]), threshold=5)
    assert mask_over(masks, 7, 5)[7, 10]


def test_faint_star_far_from_any_maximum_does_not_split_a_mask():
    stars = [(7, 6, 5000.0, 10.0), (7, 9.5, 3000.0, 10.0)]
    shifted = catalogue(stars)
    shifted["row"][1] = 12.0  # five pixels from its maximum: more than 2 sqrt(2)
    assert len(pixel_masks(paint(stars, noise=0.01), shifted, threshold=5)) == 1


def test_image_of_noise_has_no_large_mask():
    masks = pixel_masks(
        paint([]),
        {"row": np.array([7.0]), "column": np.array([8.0]), "tmag": np.array([15.0])},
        threshold=5,
    )
    assert masks == []


def test_pixels_that_were_not_collected_are_in_no_mask():
    stars = [(7, 8, 50000.0, 10.0)]
    image = paint(stars)
    image[7, 9] = np.nan
    (mask,) = pixel_masks(image, catalogue(stars), threshold=5)
    assert mask[7, 8]
    assert not mask[7, 9]


def bleeding_star():
    """A star whose central column is full: charge flows up and down to rows 1 and 13."""
    stars = [(7, 8, 2e5, 5.0)]
    image = paint(stars, noise=0.5)
    image[1:14, 8] = 1e5 + np.arange(13) * 10
    return stars, image


def test_bleeding_column_belongs_to_its_star():
    stars, image = bleeding_star()
    mask = mask_over(pixel_masks(image, catalogue(stars)), 7, 8)
    assert mask[1:14, 8].all()


def test_bleeding_column_that_the_watershed_cut_off_is_followed():
    _, image = bleeding_star()
    core = np.zeros(SHAPE, bool)
    core[5:10, 6:11] = True
    mask = follow_columns(image, core, image > 100)
    assert mask[1:14, 8].all()
    assert not mask[0, 8]
    np.testing.assert_array_equal(np.delete(mask, 8, axis=1), np.delete(core, 8, axis=1))


def test_column_is_followed_only_to_pixels_connected_with_it():
    _, image = bleeding_star()
    image[3, 8] = 0.0
    core = np.zeros(SHAPE, bool)
    core[5:10, 6:11] = True
    mask = follow_columns(image, core, image > 100)
    assert mask[4:14, 8].all()
    assert not mask[:4, 8].any()


def test_only_single_pixel_holes_are_filled():
    image = np.ones(SHAPE)
    image[3:10, 3:12] = 100.0
    image[5, 5] = image[7, 8] = image[7, 9] = 1.0
    filled = mask_over(pixel_masks(image, catalogue([(4, 4, 100.0, 10.0)])), 4, 4)
    assert filled[5, 5]
    assert not filled[7, 8]
    assert not filled[7, 9]


def test_mode_is_the_top_of_the_distribution():
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(50, 3, 5000), rng.uniform(60, 500, 500)])
    assert sky_level(values)[0] == pytest.approx(50, abs=1)


def test_mode_is_that_of_the_sky_also_where_a_bright_star_fills_most_of_the_stamp():
    rows, columns = np.indices((101, 11))
    star = 4e6 * np.exp(-((rows - 50) ** 2 + (columns - 5) ** 2) / 2 / 5**2) / (2 * np.pi * 25)
    image = star + np.random.default_rng(1).normal(3, 0.5, star.shape)
    assert (star > 0.1).mean() > 0.4  # so much of it is star
    assert flux_cut(image, 0.8) == pytest.approx(3 + 0.8 * 0.5, abs=0.3)


def test_shortest_interval_is_found():
    assert shortest_interval(np.array([9.0, 1, 5, 5.1, 5.2, 20, 30, 40]), 0.25) == (5, 5.2)
    assert shortest_interval(np.array([7.0]), 0.25) == (7, 7)


def test_cut_is_mode_plus_threshold_times_the_noise():
    image = np.random.default_rng(3).normal(100, 7, (60, 60))
    assert flux_cut(image, 3.0) == pytest.approx(100 + 3 * 7, abs=3)


def test_image_of_one_value_has_a_cut():
    assert flux_cut(np.full((5, 5), 3.0), 0.8) == 3.0


@pytest.mark.parametrize(
    ("row", "column", "size"),
    [(5.0, 5.0, (3, 3)), (5.5, 5.5, (2, 2)), (5.1, 5.6, (3, 2)), (0.0, 5.5, (2, 2))],
)
def test_minimum_mask_is_two_to_three_pixels_wide(row, column, size):
    mask = minimum_mask((11, 11), row, column)
    assert (mask.any(axis=1).sum(), mask.any(axis=0).sum()) == size
    assert mask[round(row), int(column)]


def test_stars_off_the_stamp_are_in_no_mask():
    stars = {"row": [-0.6, -0.4, 3.0, 14.6], "column": [2.0, 2.0, 17.0, 3.0]}
    np.testing.assert_array_equal(in_mask(stars, np.ones(SHAPE, bool)), [False, True, False, False])


def test_two_equal_stars_are_three_quarters_of_a_magnitude_brighter():
    assert total_magnitude([10, 10]) == pytest.approx(10 - 2.5 * np.log10(2))
    assert total_magnitude([]) == np.inf


@pytest.mark.parametrize(("limit", "follows"), [(4.0, False), (7.0, True)])
def test_only_masks_of_stars_that_saturate_follow_columns(limit, follows):
    stars, image = bleeding_star()
    image[:4, 8], image[2, 8], image[4, 8] = (
        9.5e4,
        9.8e4,
        9.2e4,
    )  # a dip, and beyond it a maximum that another star claims
    stars.append((2, 8, 0.0, 12.0))
    masks = pixel_masks(image, catalogue(stars), saturation_limit=limit)
    bright = mask_over(masks, 10, 8)
    assert bright[2, 8] == follows


def test_pixels_without_light_are_in_no_mask_where_the_background_took_too_much():
    rng = np.random.default_rng(6)
    image = rng.normal(
        -8, 2, (15, 15)
    )  # in a crowded field, the light of faint stars passes for sky
    image[rng.random(image.shape) < 0.3] += rng.uniform(8, 40)
    assert flux_cut(image, 0.8) > 0
