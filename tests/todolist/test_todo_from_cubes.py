"""TODO-files of image cubes, and the catalogues of their CCDs."""

import numpy as np
import pytest
from astropy.table import Table

from photometry.catalog.ccd import open_catalog
from photometry.errors import WrongUseError
from photometry.pixels.imagecube import find_cubes
from photometry.prepare.catalogs import make_catalogs
from photometry.prepare.driver import prepare
from photometry.simulate.fullframe import simulate_full_frames
from photometry.todolist.make import make_todo

SIZE = 48
# (starid, column, row, tmag); a star is on the detector where -0.5 <= position <= 47.5
STARS = [
    (1, 20.0, 20.0, 9.0),
    (2, -0.45, 10.0, 10.0),
    (3, -0.55, 10.0, 10.1),
    (4, 47.45, 47.45, 11.0),
    (5, 10.0, 47.55, 11.1),
    (6, 30.0, 30.0, 15.1),
    (7, 25.0, 30.0, 14.9),
    (8, 40.0, 5.0, 1.9),
    (9, 400.0, 400.0, 8.0),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cube of 6 images, and a catalogue with stars in and around it that are put there through
    the cube's own WCS.
    """
    folder = tmp_path_factory.mktemp("cube")
    simulate_full_frames(folder, size=SIZE, n_frames=6, stars=10)
    prepare(folder)
    starid, column, row, tmag = np.array(STARS).T
    for cube in find_cubes(folder):
        ra, decl = cube.wcs.all_pix2world(column, row, 0)
    table = Table(
        {"starid": starid.astype(int), "ra": ra, "decl": decl, "tmag": tmag}, meta={"epoch": 2018.6}
    )
    table.write(folder / "catalog.ecsv", overwrite=True)
    return folder


@pytest.fixture
def no_todo(folder):
    for name in ("todo.sqlite", "catalog_sector001_camera1_ccd1.sqlite"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.usefixtures("no_todo")
@pytest.mark.parametrize("with_file", [False, True], ids=["table", "per-CCD file"])
def test_every_catalogue_star_on_the_detector_to_the_faint_limit_is_a_target(
    folder, rows, with_file
):
    if with_file:
        [(path, number)] = make_catalogs(folder)
        assert (path.name, number) == (
            "catalog_sector001_camera1_ccd1.sqlite",
            len(STARS) - 1,
        )  # all but number 9, far away
    make_todo("ffi", folder)
    todo = rows(folder)
    assert [r["starid"] for r in todo] == [8, 1, 2, 4, 7]
    assert {(r["sector"], r["camera"], r["ccd"], r["cadence"], r["datasource"]) for r in todo} == {
        (1, 1, 1, 1800, "ffi")
    }


@pytest.mark.usefixtures("no_todo")
def test_target_of_magnitude_2_or_brighter_gets_halo(folder, rows):
    make_todo("ffi", folder)
    assert {r["starid"]: r["method"] for r in rows(folder)} == {
        8: "halo",
        1: None,
        2: None,
        4: None,
        7: None,
    }


@pytest.mark.usefixtures("no_todo")
def test_catalogue_for_chosen_ccds_without_data_keeps_all_stars(tmp_path, folder):
    [(path, number)] = make_catalogs(
        tmp_path,
        stars=folder / "catalog.ecsv",
        chosen={"sector": [5], "camera": [2], "ccd": [3]},
        ticver="8.2",
    )
    assert (path.name, number) == ("catalog_sector005_camera2_ccd3.sqlite", len(STARS))
    assert open_catalog(tmp_path, 5, 2, 3).settings["ticver"] == "8.2"


def test_catalogues_that_cannot_be_made_say_why(tmp_path, folder):
    with pytest.raises(WrongUseError, match=r"no catalog\.ecsv.*--stars FILE"):
        list(make_catalogs(tmp_path))
    with pytest.raises(WrongUseError, match=r"no data of the sector.*there are 1/1/1"):
        list(make_catalogs(folder, chosen={"sector": [99]}))
    (tmp_path / "far.csv").write_text("starid,ra,decl,tmag\n1,270,60,9\n")
    with pytest.raises(WrongUseError, match="none of its 1 stars is on sector 1"):
        list(make_catalogs(folder, stars=tmp_path / "far.csv"))


@pytest.mark.usefixtures("no_todo")
def test_a_damaged_cube_is_passed_over_with_a_message_and_the_others_go_on(
    folder, tmp_path, caplog
):
    good = folder / "sector001_camera1_ccd1.hdf5"
    (tmp_path / "catalog.ecsv").write_bytes((folder / "catalog.ecsv").read_bytes())
    content = good.read_bytes()
    bad = tmp_path / "sector001_camera1_ccd2.hdf5"
    bad.write_bytes(content[: len(content) // 3])
    with pytest.raises(WrongUseError, match=r"no image cube can be read: .*ccd2\.hdf5: "):
        make_todo("ffi", tmp_path)
    (tmp_path / good.name).write_bytes(content)
    made = make_todo("ffi", tmp_path)
    assert made.passed_over == {"damaged image cube": 1}
    assert len(made.rows) > 0
    assert "ccd2.hdf5: not an HDF5 file, or truncated" in caplog.text


def test_folder_without_cubes_or_without_catalogue_is_refused(tmp_path, folder):
    with pytest.raises(WrongUseError, match=r"no image cube.*photometry prepare"):
        make_todo("ffi", tmp_path)
    (tmp_path / "sector001_camera1_ccd1.hdf5").symlink_to(folder / "sector001_camera1_ccd1.hdf5")
    with pytest.raises(WrongUseError, match=r"no star catalogue for sector001_camera1_ccd1\.hdf5"):
        make_todo("ffi", tmp_path)


def test_catalogue_of_target_pixel_files_is_made_for_their_ccd_with_all_stars(tmp_path):
    from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

    simulate_target_pixel_files(
        tmp_path, TargetPixelSettings(targets=3, times=3, sector=7, camera=2, ccd=4)
    )
    [(path, number)] = make_catalogs(tmp_path)
    catalog = open_catalog(tmp_path, 7, 2, 4)
    assert (path.name, number) == (
        "catalog_sector007_camera2_ccd4.sqlite",
        len(Table.read(tmp_path / "catalog.ecsv")),
    )
    assert (catalog.settings["camera_centre_ra"], catalog.settings["camera_centre_dec"]) == (
        84.0,
        -66.0,
    )
