import os

import numpy as np
import pytest
from astropy.io import fits

from photometry.errors import BadInputError, TargetNotFoundError
from photometry.pixels.find import (
    find_target_pixel_file,
    identify,
    refuse_other_target,
    write_index,
)

IMAGES = np.ones((3, 4, 5))


def task(starid=1234, datasource="tpf", sector=5, cadence=120, **others):
    return {
        "starid": starid,
        "datasource": datasource,
        "sector": sector,
        "cadence": cadence,
        **others,
    }


def spoc_name(starid, sector=5, ending="s_tp.fits"):
    return f"tess2019085135100-s{sector:04d}-{starid:016d}-0140-{ending}"


def test_file_is_found_by_the_mission_s_name(tmp_path, make_tpf):
    wanted = make_tpf(tmp_path / spoc_name(1234), IMAGES)
    make_tpf(tmp_path / spoc_name(99), IMAGES, starid=99)
    make_tpf(tmp_path / spoc_name(1234, sector=6), IMAGES, sector=6)
    make_tpf(tmp_path / spoc_name(1234, ending="a_fast-tp.fits"), IMAGES, cadence=20)
    assert find_target_pixel_file(tmp_path, task()) == wanted
    assert find_target_pixel_file(tmp_path, task(sector=6)).name == spoc_name(1234, sector=6)
    assert find_target_pixel_file(tmp_path, task(cadence=20)).name == spoc_name(
        1234, ending="a_fast-tp.fits"
    )


def test_file_in_a_folder_below_is_found(tmp_path, make_tpf):
    (tmp_path / "s0005" / "0000").mkdir(parents=True)
    wanted = make_tpf(tmp_path / "s0005" / "0000" / (spoc_name(1234) + ".gz"), IMAGES)
    assert find_target_pixel_file(tmp_path, task()) == wanted


def test_file_with_any_name_is_found_by_its_header(tmp_path, make_tpf):
    wanted = make_tpf(tmp_path / "my_favourite_star.fits", IMAGES)
    make_tpf(tmp_path / "its_next_sector.fits", IMAGES, sector=6)
    make_tpf(tmp_path / "its_fast_cadence.fits", IMAGES, cadence=20)
    (tmp_path / "notes.fits").write_text("this is no FITS file")
    assert find_target_pixel_file(tmp_path, task()) == wanted


def test_secondary_target_is_found_in_the_file_of_its_primary(tmp_path, make_tpf):
    wanted = make_tpf(tmp_path / spoc_name(1234), IMAGES)
    assert find_target_pixel_file(tmp_path, task(starid=77, datasource="tpf:1234")) == wanted


def test_index_comes_before_names_and_headers(tmp_path, make_tpf):
    make_tpf(tmp_path / spoc_name(1234), IMAGES)
    wanted = make_tpf(tmp_path / "newer.fits", IMAGES)
    write_index(tmp_path, [(1234, 5, 120, "newer.fits")])
    assert find_target_pixel_file(tmp_path, task()) == wanted


def test_file_that_is_gone_from_where_the_index_says_is_looked_for(tmp_path, make_tpf):
    wanted = make_tpf(tmp_path / spoc_name(1234), IMAGES)
    write_index(tmp_path, [(1234, 5, 120, "removed.fits")])
    assert find_target_pixel_file(tmp_path, task()) == wanted


def test_file_that_arrived_after_the_first_search_is_found(tmp_path, make_tpf):
    with pytest.raises(TargetNotFoundError):
        find_target_pixel_file(tmp_path, task())
    wanted = make_tpf(tmp_path / spoc_name(1234), IMAGES)
    os.utime(
        tmp_path, ns=(1, 1)
    )  # a clock too coarse to see the change would be the fault of the test
    assert find_target_pixel_file(tmp_path, task()) == wanted


def test_missing_file_is_not_found_and_the_message_says_what_was_looked_for(tmp_path, make_tpf):
    make_tpf(tmp_path / spoc_name(1234), IMAGES)
    with pytest.raises(
        TargetNotFoundError, match="no target pixel file of star 1234, sector 7, cadence 120 s"
    ):
        find_target_pixel_file(tmp_path, task(sector=7))
    with pytest.raises(TargetNotFoundError, match="the input folder does not exist"):
        find_target_pixel_file(tmp_path / "nowhere", task())


def test_file_cut_within_its_second_header_is_found(tmp_path, make_tpf):
    path = make_tpf(tmp_path / "cut.fits", IMAGES)
    path.write_bytes(path.read_bytes()[:3000])
    assert find_target_pixel_file(tmp_path, task()) == path
    assert identify(path)["cadence"] is None


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"starid": 9}, r"starid 9 \(expected 1234\)"),
        ({"sector": 6, "ccd": 1}, r"sector 6 \(expected 5\), ccd 1 \(expected 3\)"),
    ],
)
def test_file_of_another_target_is_refused(found, message):
    truth = {"starid": 1234, "sector": 5, "camera": 2, "ccd": 3, "cadence": 120}
    refuse_other_target("x.fits", task(camera=2, ccd=3), truth)
    refuse_other_target("x.fits", task(camera=None, ccd=None), truth)
    with pytest.raises(BadInputError, match=message):
        refuse_other_target("x.fits", task(camera=2, ccd=3), truth | found)


def test_datasource_of_images_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="datasource='ffi': expected 'tpf' or 'tpf:STARID'"):
        find_target_pixel_file(tmp_path, task(datasource="ffi"))


@pytest.mark.real_data
def test_quarters_of_a_kepler_star_are_told_apart(shared_data):
    names = {
        quarter: find_target_pixel_file(
            shared_data / "tpf", task(starid=8462852, sector=quarter, cadence=1800)
        ).name
        for quarter in (0, 8, 17)
    }
    assert names == {
        0: "kplr008462852-2009131105131_lpd-targ.fits",
        8: "kic8462852-q08-100cad_tpf.fits",
        17: "kplr008462852-2013131215648_lpd-targ.fits",
    }


def test_light_curves_among_the_files_are_passed_over(tmp_path, make_tpf):
    wanted = make_tpf(tmp_path / "pixels.fits", IMAGES)
    with fits.open(wanted) as hdus:
        hdus[1].name = "LIGHTCURVE"
        hdus.writeto(tmp_path / "zz_later_by_name.fits")
        hdus.writeto(tmp_path / "zz_later_by_name_lc.fits.gz")
    assert find_target_pixel_file(tmp_path, task()) == wanted
    with pytest.raises(BadInputError, match="this is a light curve"):
        identify(tmp_path / "zz_later_by_name.fits")


def test_hidden_files_and_folders_are_no_target_pixel_files(tmp_path, make_tpf):
    """Half-written light curves of other processes begin with a dot."""
    for name in (".tess2018-0001.part.fits.gz", ".hidden/pixels.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_tpf(tmp_path / name, IMAGES)
    with pytest.raises(TargetNotFoundError, match="the names of 0 and the headers of 0 FITS files"):
        find_target_pixel_file(tmp_path, task())


@pytest.mark.parametrize("datasource", ["tpf:x", "tpf:-5", "tpf:1.5", "tpf: 7"])
def test_a_data_source_that_names_no_star_is_one_message(tmp_path, datasource):
    with pytest.raises(BadInputError, match="expected 'tpf' or 'tpf:STARID', as in 'tpf:25155310'"):
        find_target_pixel_file(tmp_path, task(datasource=datasource))
