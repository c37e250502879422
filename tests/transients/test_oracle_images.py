"""Quality, noise, errors of fits and geometry: numbers of the original pipeline (spec, section
15.4)."""

from datetime import datetime

import numpy as np
import pytest
from oracle import close

from photometry import sky
from photometry.transients import clipping, gaussians, lofar
from photometry.transients.accessors import beam_in_pixels
from photometry.transients.database.matching import alpha
from photometry.transients.islands import sub_thresholds
from photometry.transients.steps import group_per_timestep


def test_the_middle_of_an_image_and_what_clipping_keeps():
    assert clipping.central_region(np.zeros((800, 800)), 4).shape == (400, 400)
    values = np.full((50, 50), 10.0)
    assert clipping.clipped_rms(values, 4) == 0
    values[3, 4] = 20
    assert len(clipping.clip(values, 4)) == 2499


@pytest.mark.parametrize(("arguments", "expected"), [
    ((66308593.75, 200e3, 18654.3, "LBA_INNER", 23, 8, 0), 0.0159015),
    ((150e6, 2e6, 3600, "HBA_DUAL", 24, 14, 0), 5.214013556e-4),
    ((128.61328125e6, 1.94091796875e6, 58141509, "HBA_DUAL", 41, 0, 0), 5.44064112e-6),
    ((180e6, 1e6, 60, "HBA_DUAL", 24, 14, 8), 3.70594144e-3),
])  # fmt: skip
def test_theoretical_noise_of_lofar(arguments, expected):
    assert close(lofar.theoretical_noise(*arguments), expected, 5e-6 if expected > 0.01 else 1e-8)


def test_a_cell_is_clipped_at_two_sigma():
    row, column = np.mgrid[:50, :50]
    cell = ((37 * row + 4 * column) % 97) / 97 - 0.5
    cell.flat[5] = 50
    found = clipping.cell_statistics(cell)
    assert (found.n_kept, found.rounds) == (2499, 1)
    assert close([found.sigma, found.median], [0.2887040947, -0.00515463918], 1e-8)


def test_clipping_a_normal_distribution_keeps_its_sigma():
    noise = np.random.default_rng(1).standard_normal(200_000)
    assert clipping.cell_statistics(noise).sigma == pytest.approx(1.0, abs=0.01)


def test_levels_of_deblending():
    assert close(
        sub_thresholds(1, 10, 5), [1.46779927, 2.15443469, 3.16227766, 4.64158883, 6.81292069]
    )


def test_errors_of_free_fits():
    found = gaussians.shape_errors(
        [10, 100, 20], [3, 3, 6], [2.5, 2.5, 4], [0.6, 0.6, 0.3], 1, (3, 2.5)
    )
    expected = {
        "peak": [9.9, 99.99, 19.95], "peak_err": [0.99, 0.9999, 1.04182], "flux": [10, 100, 64],
        "flux_err": [1.732051, 1.732051, 4.265119], "x_err": [0.320652, 0.032065, 0.255741],
    }  # fmt: skip
    for name, values in expected.items():
        assert np.allclose(found[name], values, rtol=0, atol=6e-7 + 5e-6 * (name == "peak_err")), (
            name
        )
    assert np.allclose(found["y_err"][[0, 2]], [0.342336, 0.385684], atol=6e-7)
    assert np.allclose(
        [found[f"{k}_err"][0] for k in ("major", "minor", "angle")],
        [0.3, 0.25, 0.385695],
        atol=6e-7,
    )


def test_geometry():
    for decl, width in (
        (10, 1.0154282149),
        (45, 1.41428538),
        (60, 2.00030478),
        (80, 5.76821698),
        (88.9, 65.381356),
        (89.5, 180),
    ):
        assert close(alpha(1, decl), width, 1e-8)
    assert close(sky.separation(123, 10.5, 123.03, 10.5) * 3600, 106.19153)
    assert close(beam_in_pixels(54 / 3600, 54 / 3600, 0, -1 / 30, 1 / 30)[:2], 0.225)
    beam = beam_in_pixels(60 / 3600, 50 / 3600, 30, -10 / 3600, 10 / 3600)
    assert close(beam, [3.0, 2.5, 0.523599], 1e-6)


def test_images_are_grouped_by_time_and_sorted_by_frequency():
    times = [datetime(2012, 1, day) for day in (1, 2, 3)]
    images = [(f"{t.day}-{f}", t, f) for t in times for f in (124e6, 149e6, 156e6, 185e6)]
    shuffled = [images[i] for i in np.random.default_rng(1).permutation(len(images))]
    groups = group_per_timestep(shuffled)
    assert [time for time, _ in groups] == times
    assert [url for _, urls in groups for url in urls] == [url for url, _, _ in images]
