import numpy as np
import pytest
from astropy.io import fits

from photometry.flags import DEFAULT_BITMASK, FLAGS, NO_FLUX_BITMASK, bitmask, decode


def test_default_bitmask_is_that_of_the_specification():
    assert DEFAULT_BITMASK["TESS"] == 1 | 2 | 4 | 8 | 32 | 64 | 128 | 4096


def test_every_table_has_each_bit_and_name_once():
    for flags in FLAGS.values():
        assert len({flag.bit for flag in flags}) == len({flag.name for flag in flags}) == len(flags)
        assert all(flag.bit & (flag.bit - 1) == 0 for flag in flags)


def test_value_is_decoded_into_names():
    assert [flag.name for flag in decode(0)] == []
    assert [flag.name for flag in decode(np.int32(36))] == ["CoarsePoint", "Desat"]
    assert [flag.name for flag in decode(4096)] == ["ScatteredLight"]
    assert [flag.name for flag in decode(4096, "Kepler")] == ["ArgabrighteningOnCCD"]
    assert [flag.bit for flag in decode(1 << 25)] == [1 << 25]  # unknown bits are not lost


def test_bitmask_and_decode_are_inverse():
    names = ["SafeMode", "Desat", "Straylight"]
    assert [flag.name for flag in decode(bitmask(names))] == names
    with pytest.raises(KeyError):
        bitmask(["NoSuchFlag"])


@pytest.mark.parametrize("mission", ["TESS", "Kepler"])
def test_bits_are_those_of_lightkurve(mission):
    utils = pytest.importorskip("lightkurve.utils")
    theirs = {"TESS": utils.TessQualityFlags, "Kepler": utils.KeplerQualityFlags}[mission]
    ours = {flag.name.lower(): flag.bit for flag in FLAGS[mission]}
    same = {
        "impulsiveoutlier",
        "safemode",
        "coarsepoint",
        "earthpoint",
        "attitudetweak",
        "manualexclude",
        "desat",
    }
    same |= (
        {"argabrightening", "discontinuity", "straylight"}
        if mission == "TESS"
        else {"nofinepoint", "thrusterfiring", "nodata"}
    )
    bits = {
        name.lower(): getattr(theirs, name)
        for name in dir(theirs)
        if isinstance(getattr(theirs, name), int)
    }
    assert {name: ours[name] for name in same} == {name: bits[name] for name in same}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "mission"),
    [
        ("tess2018206045859-s0001-0000000025155310-0120-s_lc.fits", "TESS"),
        ("kplr011904151-2012179063303_llc.fits", "Kepler"),
        ("kplr011446443-2009131110544_slc.fits", "Kepler"),
        ("ktwo211117077-c04_llc.fits", "K2"),
    ],
)
def test_official_light_curves_have_no_flux_where_we_give_none(shared_data, name, mission):
    table = fits.getdata(shared_data / "lc" / name, 1)
    quality = table["QUALITY" if mission == "TESS" else "SAP_QUALITY"]
    flagged = (quality & NO_FLUX_BITMASK[mission]) != 0
    assert flagged.any()
    assert np.isnan(table["SAP_FLUX"][flagged]).all()
