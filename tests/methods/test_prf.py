"""The pixel response function against sums, a two-dimensional integral, and the numbers in the
mission's own files.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import dblquad

from photometry.errors import WrongUseError
from photometry.methods.prf import GaussianPRF, TessPRF, open_prf

PRF_FOLDER = Path(__file__).parents[3] / "shared/data/prf"
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not PRF_FOLDER.is_dir(), reason="no real PRF files"),
]


@pytest.fixture(scope="module")
def two_place_prf():
    """A PRF file's worth of samples of known Gaussians: narrow at row 0, wide at row 100."""
    offsets = (np.arange(117) - 58) / 9

    def samples(sigma):
        """The response of pixel (0, 0) to stars at all the offsets."""
        return GaussianPRF([(1, sigma)]).evaluate(
            *np.meshgrid(-offsets, -offsets, indexing="ij"), [0], [0]
        )[..., 0, 0]

    return TessPRF([0, 100], [0], [[samples(0.6)], [samples(1.0)]])


def test_fractions_of_a_star_sum_to_one_over_a_large_stamp():
    pixels = np.arange(-30, 31)
    assert GaussianPRF().evaluate(0.3, -0.4, pixels, pixels).sum() == pytest.approx(1, abs=1e-6)


def test_a_pixel_gets_the_integral_of_the_gaussian_over_its_area():
    sigma, row, column = 0.7, 4.2, 6.9

    def density(x, y):
        square = (x - column) ** 2 + (y - row) ** 2
        return np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)

    truth, _ = dblquad(density, 4.5, 5.5, 5.5, 6.5)  # pixel row 5, column 6
    got = GaussianPRF([(1, sigma)]).evaluate(row, column, np.arange(5, 6), np.arange(6, 7))
    assert got == pytest.approx(np.array([[truth]]), rel=1e-9)


def test_rows_are_the_first_axis_and_columns_the_second():
    image = GaussianPRF().evaluate(1, 4, np.arange(5), np.arange(8))
    assert np.unravel_index(image.argmax(), image.shape) == (1, 4)


def test_centroid_of_the_image_is_the_position_of_the_star():
    pixels = np.arange(-30, 31)
    image = GaussianPRF().evaluate(1.37, -2.21, pixels, pixels)
    assert (image.sum(axis=1) @ pixels, image.sum(axis=0) @ pixels) == pytest.approx(
        (1.37, -2.21), abs=1e-3
    )


def test_many_stars_and_times_give_what_one_by_one_gives():
    prf, rng = GaussianPRF(widening=0.5), np.random.default_rng(1)
    row, column = rng.uniform(0, 9, (2, 3, 4))
    rows, columns = np.arange(9), np.arange(7)
    together = prf.evaluate(row, column, rows, columns)
    assert together.shape == (3, 4, 9, 7)
    for t, s in np.ndindex(3, 4):
        assert together[t, s] == pytest.approx(prf.evaluate(row[t, s], column[t, s], rows, columns))


def test_each_star_may_have_its_own_rectangle():
    prf = GaussianPRF()
    rows = np.array([[10, 11, 12], [50, 51, 52]])
    columns = np.array([[3, 4], [8, 9]])
    both = prf.evaluate(np.array([11.2, 50.9]), np.array([3.3, 8.8]), rows, columns)
    assert both[1] == pytest.approx(prf.evaluate(50.9, 8.8, rows[1], columns[1]))


@pytest.mark.parametrize("model", ["analytic", "sampled"])
def test_rendered_image_is_the_sum_of_the_stars(model, two_place_prf):
    prf = GaussianPRF(widening=0.3) if model == "analytic" else two_place_prf
    flux, row, column = np.array([100.0, 30.0]), np.array([2.2, 5.1]), np.array([3.0, 6.4])
    rows, columns = np.arange(9), np.arange(8)
    truth = sum(
        f * prf.evaluate(r, c, rows, columns) for f, r, c in zip(flux, row, column, strict=True)
    )
    assert prf.render(flux, row, column, rows, columns) == pytest.approx(truth)


def test_widening_stretches_a_star_away_from_the_optical_axis():
    prf, pixels = GaussianPRF([(1, 0.8)], widening=1.0, axis=(0, 0)), np.arange(-15, 16)
    image = prf.evaluate(2048.0, 0.0, 2048 + pixels, pixels)
    width = [np.sqrt(image.sum(axis=1 - axis) @ pixels**2) for axis in (0, 1)]
    # A pixel adds 1/12 to the variance of what falls into it.
    assert width == pytest.approx([np.sqrt(1.6**2 + 1 / 12), np.sqrt(0.8**2 + 1 / 12)], rel=1e-3)


def test_sampled_prf_between_its_samples_is_the_function_that_was_sampled(two_place_prf):
    truth = GaussianPRF([(1, 0.6)]).evaluate(0, 0.123, np.arange(-4, 5), np.arange(-4, 5))
    assert two_place_prf.evaluate(0, 0.123, np.arange(-4, 5), np.arange(-4, 5)) == pytest.approx(
        truth, abs=2e-5
    )


def test_sampled_prf_halfway_between_two_places_is_their_mean(two_place_prf):
    pixels = np.arange(-4, 5)
    ends = [two_place_prf.evaluate(row, 0, row + pixels, pixels) for row in (0.0, 100.0)]
    assert two_place_prf.evaluate(50.0, 0, 50 + pixels, pixels) == pytest.approx(
        (ends[0] + ends[1]) / 2
    )


def test_sampled_prf_beyond_the_outermost_place_stays_as_it_is_there(two_place_prf):
    pixels = np.arange(-4, 5)
    assert two_place_prf.evaluate(900.0, 0, 900 + pixels, pixels) == pytest.approx(
        two_place_prf.evaluate(100.0, 0, 100 + pixels, pixels)
    )


def test_folder_without_prf_files_is_refused_with_the_name_that_was_expected(tmp_path):
    with pytest.raises(WrongUseError, match=r"no PRF files of camera 4, CCD 1.*-prf-4-1-row0001"):
        open_prf(tmp_path, 4, 1)


class TestRealFiles:
    pytestmark = real_data

    def test_at_the_place_of_a_file_the_numbers_of_the_file_come_back(self):
        from astropy.io import fits

        file = fits.getdata(PRF_FOLDER / "tess2018243163601-prf-4-1-row0513-col1580.fits")
        prf = TessPRF.read(PRF_FOLDER, 4, 1, sector=1)
        pixels = np.arange(-6, 7)
        # Every ninth sample, 4 + 9 i, is a pixel 0 to 6 pixels off a star in the middle of its own
        # pixel.
        assert prf.evaluate(513.0, 1580.0, 513 + pixels, 1580 + pixels) == pytest.approx(
            file[4::9, 4::9], abs=1e-9
        )

    def test_a_subpixel_step_takes_the_neighbouring_samples(self):
        from astropy.io import fits

        file = fits.getdata(PRF_FOLDER / "tess2018243163601-prf-4-1-row0001-col2092.fits")
        prf = TessPRF.read(PRF_FOLDER, 4, 1, sector=1)
        pixels = np.arange(-6, 7)
        # A star 1/9 pixel to the right sees every pixel centre 1/9 pixel further to the left.
        got = prf.evaluate(1.0, 2092 + 1 / 9, 1 + pixels, 2092 + pixels)
        assert got == pytest.approx(file[4::9, 3::9], abs=1e-4)

    def test_fractions_sum_to_one_within_a_percent_anywhere(self):
        prf = TessPRF.read(PRF_FOLDER, 4, 1, sector=1)
        rng = np.random.default_rng(3)
        row, column = rng.uniform(1, 513, 50), rng.uniform(1580, 2092, 50)
        pixels = np.arange(-7, 8)
        stamps = prf.evaluate(
            row, column, row.round()[:, None] + pixels, column.round()[:, None] + pixels
        )
        assert stamps.sum(axis=(1, 2)) == pytest.approx(1, abs=0.01)

    def test_the_mission_prf_fits_a_real_star_better_than_the_analytic_one(self):
        """TIC 25155310 lies between the four places of these files: the residuals tell whether row
        and column are right.
        """
        from astropy.io import fits
        from scipy.optimize import least_squares

        with fits.open(
            PRF_FOLDER.parent / "tpf/tess25155310-s01-first-cadences.fits.gz"
        ) as hdulist:
            image = hdulist[1].data["FLUX"][1:].mean(axis=0)
            row, column = hdulist[1].header["2CRV5P"], hdulist[1].header["1CRV5P"]
        rows, columns = row + np.arange(11), column + np.arange(11)

        def residuals(parameters, prf):
            return (parameters[0] * prf.evaluate(*parameters[1:], rows, columns) - image).ravel()

        misfit = {}
        for name, prf in {
            "mission": TessPRF.read(PRF_FOLDER, 4, 1, sector=1),
            "analytic": GaussianPRF(),
        }.items():
            fit = least_squares(
                residuals,
                [image.sum(), row + 4.5, column + 5.1],
                args=(prf,),
                x_scale=[100, 0.1, 0.1],
            )
            misfit[name] = np.sqrt(2 * fit.cost) / np.linalg.norm(image)
        assert misfit["mission"] < 0.1
        assert misfit["mission"] < misfit["analytic"]
