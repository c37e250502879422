"""From simulated pixels to our light-curve files, corrected, read and searched: the rooms fit
together.
"""

import numpy as np
import pytest

from photometry.lightcurve import Lightcurve, correct_file
from photometry.methods.extraction import Extraction
from photometry.pixels.find import identify
from photometry.settings import photometry_settings
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files
from photometry.target import StampSource, extract, photometry


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    """One simulated star with transits: its truth, its task and the folder of its pixels"""
    folder = tmp_path_factory.mktemp("in")
    brightness = {"tmag_min": 8, "tmag_max": 8.5}
    settings = TargetPixelSettings(
        targets=1, times=6000, isolated=1.0, transits=1.0, variables=0, seed=4, **brightness
    )
    truth = simulate_target_pixel_files(folder, settings)[0]
    return (
        truth,
        {"priority": 1, "datasource": "tpf", "method": None, **identify(folder / truth["file"])},
        folder,
    )


@pytest.fixture(scope="module")
def path(star, tmp_path_factory):
    """Its light-curve file"""
    _, task, folder = star
    output = tmp_path_factory.mktemp("out")
    return (
        output
        / photometry(task, input_folder=folder, output_folder=output)["details"][
            "filepath_lightcurve"
        ]
    )


def test_extraction_and_file_are_the_same_light_curve(star, path):
    _, task, folder = star
    stamp, _, extraction = extract(StampSource(task, folder, photometry_settings(None)), None)
    assert isinstance(extraction, Extraction)
    direct, read = extraction.lightcurve(stamp), Lightcurve.read(path, flux="FLUX_RAW")
    np.testing.assert_array_equal(direct.times, read.times)
    np.testing.assert_array_equal(direct.flags, read.flags)
    np.testing.assert_allclose(
        direct.fluxes, read.fluxes, rtol=1e-7
    )  # the file has single precision
    for key in ("starid", "mission", "sector", "cadence", "time_reference"):
        assert direct.metadata[key] == read.metadata[key]


def test_our_own_file_is_corrected_and_its_planet_found(star, path):
    from photometry.transits import find_transits

    truth = star[0]
    assert Lightcurve.read(path).metadata["flux_column"] == "FLUX_RAW"
    correct_file(path)
    lc = Lightcurve.read(path)
    assert (lc.metadata["pipeline"], lc.metadata["flux_column"]) == ("photometry", "FLUX_CORR")
    assert np.median(lc.fluxes[lc.good()]) == pytest.approx(1, abs=1e-4)
    signal, _ = find_transits(lc)
    # of the second transit the first half is seen, the gap has the rest: that excludes 2 P
    assert [event.number for event in signal.events] == [0, 1, 2]
    assert signal.possible_periods == pytest.approx((truth["transit_period"],), rel=1e-3)
    assert signal.depth == pytest.approx(truth["transit_depth"], rel=0.2)
