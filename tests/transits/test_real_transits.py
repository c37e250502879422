"""Planets in real light curves, at the periods that the README of the data gives."""

import pytest

from photometry.chains.searches import run_search
from photometry.lightcurve import Lightcurve, flatten
from photometry.transits import find_planets, find_transits

pytestmark = pytest.mark.real_data

PLANETS = {
    "WASP-126 b": ("lc/tess2018206045859-s0001-0000000025155310-0120-s_lc.fits", 3.2888, 6670),
    "WASP-46 b": ("lc/tess2018206045859-s0001-0000000231663901-0120-s_lc.fits", 1.430, 16100),
    "Kepler-10 b": ("lc/kplr011904151-2012179063303_llc.fits", 0.8375, 174),
    "TrES-2 b": ("lc/kplr011446443-2009131110544_slc.fits", 2.471, 11400),
    "K2-3 b": ("lc/EPIC201367065.csv", 10.05, 1050),
    "EPIC 206154641": ("lc/EPIC206154641.csv", 2.484, 7200),
}


@pytest.mark.parametrize("method", ["tls", "bls"])
@pytest.mark.parametrize("name", PLANETS)
def test_known_planet_is_found(shared_data, name, method):
    path, period, depth = PLANETS[name]
    signal, _ = find_transits(flatten(Lightcurve.read(shared_data / path)), method=method)
    assert signal.period == pytest.approx(period, rel=1e-3)
    assert signal.depth * 1e6 == pytest.approx(
        depth, rel=0.35
    )  # the README gives means over a box, this is the deepest point
    assert signal.snr > 20


@pytest.mark.parametrize("name", ["transit_search_tls", "transit_search_bls_reference"])
def test_plato_demo_gives_50_days_and_its_first_transit_is_at_13_and_a_half(shared_data, name):
    lc = Lightcurve.read(shared_data / "plato/demo_superearth.gz")
    settings = {"exact": False} if "bls" in name else {}
    result = run_search(name, lc, 240.0, settings)
    assert result["period"] == pytest.approx(50.0, rel=2e-4)
    assert result["t0"] == pytest.approx(13.5, abs=0.03)
    assert result["outcome"] == "PASS"
    assert result["mes"] == 238.8847941922455


def test_second_planet_of_k2_3_is_found_after_the_first(shared_data):
    found = find_planets(
        Lightcurve.read(shared_data / "lc/EPIC201367065_detrended.csv"), max_planets=2
    )
    assert [signal.period for signal, _ in found] == pytest.approx([10.054, 24.64], rel=1e-3)
