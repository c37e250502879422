"""A crowded part of a simulated CCD, from images to light curves by the commands that a user types:
against what was put in.
"""

import numpy as np
import pytest
from astropy.table import Table, join
from astropy.timeseries import BoxLeastSquares
from running import photometry, run_pipeline

from photometry.demo.figures import noise_plot, photon_limit, read_flux
from photometry.taskmanager import read_results


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Folder with light curves by aperture and by linpsf; 1,600 stars to magnitude 15 per 256 x 256
    pixels.
    """
    folder = tmp_path_factory.mktemp("crowded")
    words = ["--size", 128, "--frames", 300, "--stars", 400, "--seed", 11]
    for command in (
        ["simulate", "ffi", folder, *words],
        ["catalog", folder],
        ["prepare", folder],
        ["todo", "ffi", folder],
    ):
        done = photometry(*command)
        assert done.returncode == 0, done.stderr
    for method in ("linpsf", "aperture"):  # the last one leaves its TODO-file for the plot
        done = run_pipeline(
            "processes",
            folder,
            "--overwrite",
            "--method",
            method,
            "--output",
            folder / method,
            "--tmag-max",
            13,
        )
        assert done.returncode == 0, done.stderr
        read_results(folder / "todo.sqlite").write(folder / f"{method}.ecsv")
    return folder


@pytest.fixture(scope="module")
def results(field):
    """{method: table of results and truth of all stars that both methods measured}"""
    truth = Table.read(field / "truth.ecsv")[
        "starid", "kind", "flux", "period", "t0", "duration", "amplitude", "row", "column"
    ]
    tables = {name: Table.read(field / f"{name}.ecsv") for name in ("aperture", "linpsf")}
    made = {
        name: table[np.isin(np.ma.filled(table["status"], 0), (1, 3))]
        for name, table in tables.items()
    }
    both = set(made["aperture"]["starid"]) & set(made["linpsf"]["starid"])
    return {
        name: join(table[[s in both for s in table["starid"]]], truth, keys="starid")
        for name, table in made.items()
    }


def quiet(results):
    """Stars that do not vary, without much foreign light in their aperture, away from the rim;
    magnitude 8 to 12.
    """
    table = results["aperture"]
    inside = (np.minimum(table["row"], table["column"]) > 8) & (
        np.maximum(table["row"], table["column"]) < 119
    )
    return (table["kind"] == "constant") & (table["tmag"] > 8) & (table["tmag"] < 12) & inside


@pytest.mark.parametrize("method", ["aperture", "linpsf"])
def test_noise_is_within_30_percent_of_the_photon_limit(results, method):
    chosen = quiet(results) & (results["aperture"]["contamination"] < 0.1)
    stars = results[method][chosen]
    assert len(stars) > 10
    assert np.median(stars["rms_hour"] / photon_limit(stars["tmag"])[0]) < 1.3


def test_linpsf_is_unbiased_and_quieter_where_apertures_have_ten_percent_of_foreign_light(results):
    crowded = (results["aperture"]["contamination"] > 0.1) & (
        results["aperture"]["kind"] == "constant"
    )
    bias = {
        name: table["mean_flux"][crowded] / table["flux"][crowded] - 1
        for name, table in results.items()
    }
    assert crowded.sum() > 10
    assert abs(np.median(bias["linpsf"])) < 0.01
    assert np.median(np.abs(bias["aperture"])) > 0.05
    assert np.median(np.abs(bias["linpsf"])) < 0.01
    noise = {
        name: np.median(
            table["ptp"][crowded] * table["mean_flux"][crowded] / table["flux"][crowded]
        )
        for name, table in results.items()
    }
    assert noise["linpsf"] < noise["aperture"]


def test_transits_that_were_put_in_are_found(field, results):
    table = results["linpsf"]
    planets = table[(table["kind"] == "transit") & (table["tmag"] < 12.5)]
    assert len(planets) >= 3
    for star in planets:
        time, flux, error = read_flux(field / "linpsf" / star["lightcurve"])
        search = BoxLeastSquares(time, flux / np.median(flux), error / np.median(flux))
        power = search.power(np.linspace(1.4, 4.2, 3000), star["duration"])
        best = np.argmax(power.power)
        assert power.period[best] == pytest.approx(star["period"], rel=0.02), star["starid"]
        assert power.depth[best] == pytest.approx(star["amplitude"], rel=0.25)


def test_noise_plot_is_drawn_and_says_what_it_shows(field, tmp_path):
    said = noise_plot(field, field / "aperture", tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 20_000
    assert said["stars"] > 50
    assert set(said["over_limit"]) <= {8, 9, 10, 11}
    ratios = np.array(list(said["over_limit"].values()))  # of three stars and more each
    assert np.all((ratios > 0.8) & (ratios < 3))
    assert np.median(ratios) < 1.5


def test_photon_limit_of_a_bright_star_is_that_of_its_photons_and_of_a_faint_one_that_of_the_sky():
    limit, of_star, of_sky = photon_limit(np.array([5.0, 17.0]))
    seconds = 3600 * 0.99 * 0.8
    assert of_star[0] == pytest.approx(1 / np.sqrt(10 ** (-0.4 * (5 - 20.54)) * seconds))
    assert limit[0] == pytest.approx(of_star[0], rel=0.02)
    assert limit[1] == pytest.approx(of_sky[1], rel=0.1)
    slow = [
        np.sqrt(
            (26.0 * share + n * (100.0 + np.mean([10.05, 7.72, 7.54, 9.88]) ** 2 / 1.98)) / seconds
        )
        / (26.0 * share)
        for n, share in ((1, 0.4), (4, 0.7))
    ]
    assert limit[1] < min(slow) * 1.5
