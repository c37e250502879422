"""TODO-files of target pixel files: each rule in a folder so small that its answer is known."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from photometry.errors import BadInputError, WrongUseError
from photometry.pixels.find import lookup
from photometry.pixels.targetpixelfile import read_target_pixel_file
from photometry.todolist.make import make_todo

REAL = Path(__file__).parents[3] / "shared/data"
real_data = [pytest.mark.real_data, pytest.mark.skipif(not REAL.is_dir(), reason="no real data")]


def template(tmp_path, text):
    path = tmp_path / "template.toml"
    path.write_text('source = "tpf"\n' + text)
    return path


def pairs(rows):
    return [(row["starid"], row["datasource"]) for row in rows]


def test_each_file_gives_its_star_and_priority_1_is_the_brightest(sky, rows):
    sky.tpf(11, 500, 500, 12.0)
    sky.tpf(12, 600, 500, 8.0, subfolder="deep/er")
    sky.tpf(13, 700, 500, 10.0)
    made = make_todo("tpf", sky.folder)
    todo = rows(sky.folder)
    assert [(row["priority"], row["starid"], row["tmag"]) for row in todo] == [
        (1, 12, 8.0),
        (2, 13, 10.0),
        (3, 11, 12.0),
    ]
    assert {
        (
            r["sector"],
            r["camera"],
            r["ccd"],
            r["cadence"],
            r["datasource"],
            r["status"],
            r["method"],
        )
        for r in todo
    } == {(1, 1, 1, 120, "tpf", None, None)}
    assert made.summary()["targets"] == 3


def test_catalogue_star_on_a_collected_pixel_is_a_secondary_and_one_beside_the_stamp_is_not(
    sky, rows
):
    sky.tpf(1, 500, 500, 9.0)  # collects rows and columns 495-505
    sky.star(2, 503.2, 498.1, 11.0)
    sky.star(3, 505.4, 505.4, 11.1)  # in the corner pixel
    sky.star(4, 505.6, 500.0, 11.2)  # its pixel is row 506
    sky.catalog()
    make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf"), (2, "tpf:1"), (3, "tpf:1")]


def test_star_on_a_pixel_that_was_not_collected_is_no_secondary(sky, rows):
    collected = np.ones((11, 11), dtype=bool)
    collected[8, 3] = False  # row 503, column 498
    sky.tpf(1, 500, 500, 9.0, collected=collected)
    sky.star(2, 503.2, 498.1, 11.0)
    sky.star(3, 503.2, 499.1, 11.0)
    sky.catalog()
    make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf"), (3, "tpf:1")]


def test_secondaries_end_at_the_faint_limit_which_is_15_by_default(sky, rows, tmp_path):
    sky.tpf(1, 500, 500, 9.0)
    sky.star(2, 502, 500, 14.9)
    sky.star(3, 498, 500, 15.1)
    sky.catalog()
    make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf"), (2, "tpf:1")]
    make_todo(template(tmp_path, "faint_limit = 16.0"), sky.folder, overwrite=True)
    assert pairs(rows(sky.folder)) == [(1, "tpf"), (2, "tpf:1"), (3, "tpf:1")]


def test_secondary_that_is_also_primary_is_dropped(sky, rows):
    sky.tpf(1, 500, 500, 9.0)
    sky.tpf(2, 503, 503, 10.0)  # lies on the stamp of 1, and 1 on that of 2
    sky.catalog()
    make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf"), (2, "tpf")]


def test_primary_of_another_cadence_is_still_a_secondary(sky, rows):
    sky.tpf(1, 500, 500, 9.0, cadence=120)
    sky.tpf(2, 503, 503, 10.0, cadence=20)
    sky.catalog()
    make_todo("tpf", sky.folder)
    assert {(r["starid"], r["datasource"], r["cadence"]) for r in rows(sky.folder)} == {
        (1, "tpf", 120), (1, "tpf:2", 20), (2, "tpf", 20), (2, "tpf:1", 120),
    }  # fmt: skip


def test_secondary_in_several_stamps_is_kept_where_it_is_farthest_from_the_edge(sky, rows):
    sky.tpf(1, 500, 500, 9.0)  # rows 495-505
    sky.tpf(2, 508, 500, 9.5)  # rows 503-513
    sky.star(3, 503.4, 500.0, 11.0)  # 2.1 pixels from the edge of 1, 0.9 from that of 2
    sky.star(4, 504.6, 500.0, 12.0)  # 0.9 and 2.1
    sky.catalog()
    make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf"), (2, "tpf"), (3, "tpf:1"), (4, "tpf:2")]


def test_two_files_of_one_target_give_one_row_and_the_later_file_counts(sky, rows):
    sky.tpf(
        1,
        500,
        500,
        9.0,
        name="tess2018206045859-s0001-0000000000000001-0120-s_tp.fits",
        subfolder="old",
    )
    later = sky.tpf(
        1,
        500,
        500,
        9.0,
        name="tess2018206045900-s0001-0000000000000001-0120-s_tp.fits",
        subfolder="new",
    )
    make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf")]
    assert lookup(sky.folder, 1, 1, 120) == later


def test_good_file_counts_more_than_a_damaged_one_of_the_same_target(sky, rows):
    good = sky.tpf(1, 500, 500, 9.0, name="a_tp.fits")
    bad = sky.tpf(1, 500, 500, 9.0, name="b_tp.fits")
    bad.write_bytes(bad.read_bytes()[:20000])
    made = make_todo("tpf", sky.folder)
    assert (made.damaged, lookup(sky.folder, 1, 1, 120)) == ([], good)


def test_without_catalogue_there_are_primaries_only(sky, rows):
    sky.tpf(1, 500, 500, 9.0)
    sky.star(2, 502, 500, 11.0)
    make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf")]


def test_template_can_ask_for_primaries_only(sky, rows):
    sky.tpf(1, 500, 500, 9.0)
    sky.star(2, 502, 500, 11.0)
    sky.catalog()
    make_todo("tpf-primaries", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf")]


def test_magnitude_limits_exclusions_and_methods_of_the_template_hold(sky, rows, tmp_path):
    for starid, tmag in ((1, 5.0), (2, 8.0), (3, 9.0), (4, 10.0), (5, 14.0)):
        sky.tpf(starid, 300 + 100 * starid, 500, tmag)
    sky.star(6, 502, 500, 9.5)  # on the stamp of 2
    sky.catalog()
    text = """
        tmag_min = 6.0
        tmag_max = 12.0
        [[exclude]]
        starid = [3]
        [[method]]
        use = "aperture"
        datasource = "secondary"
        [[method]]
        use = "aperture"
        tmag_min = 9.9
    """
    made = make_todo(template(tmp_path, text), sky.folder)
    assert [(r["starid"], r["method"]) for r in rows(sky.folder)] == [
        (2, None),
        (6, "aperture"),
        (4, "aperture"),
    ]
    assert made.left_out == 3


@pytest.mark.parametrize(
    ("row", "column", "ring"),
    [
        (2040, 2085, 1),
        (1650, 1650, 1),
        (1500, 1400, 2),
        (1000, 1000, 3),
        (2040, 100, 3),
        (60, 60, 4),
    ],
)
def test_cbv_area_has_the_ring_by_the_distance_from_the_camera_centre(sky, rows, row, column, ring):
    """Rings of 4.243 deg. The simulated camera has 21 arcsec per pixel; its centre is 52 pixels off
    row 2048, column 2092.
    """
    offset = np.hypot(2100 - row, 2144 - column) * 21 / 3600
    assert int(np.degrees(np.arctan(np.radians(offset))) // 4.243) + 1 == ring
    sky.tpf(1, row, column, 9.0)
    make_todo("tpf", sky.folder)
    assert rows(sky.folder)[0]["cbv_area"] == 110 + ring


def test_camera_centre_of_the_catalogue_decides_the_ring(sky, rows):
    from photometry.catalog.tables import make_catalog

    ra, decl = sky.star(1, 60, 60, 9.0)
    sky.tpf(1, 60, 60, 9.0)
    sky.catalog()
    make_catalog(
        sky.folder / "catalog.ecsv", sky.folder, 1, 1, 1, camera_centre=(ra, decl + 5)
    )  # 5 deg: ring 2
    make_todo("tpf", sky.folder)
    assert rows(sky.folder)[0]["cbv_area"] == 112


def test_damaged_file_that_names_its_star_gets_a_row_and_the_report_says_so(sky, rows):
    sky.tpf(1, 500, 500, 9.0)
    for starid, size in ((2, 20000), (3, 6000)):  # within the table's rows, within its header
        path = sky.tpf(starid, 700, 500, 10.0)
        path.write_bytes(path.read_bytes()[:size])
    made = make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf"), (2, "tpf"), (3, "tpf")]
    assert len(made.damaged) == 2
    assert {row["cadence"] for row in rows(sky.folder)} == {120}


def test_a_folder_without_star_catalogue_is_reported_once(sky, caplog):
    for starid in (1, 2):
        sky.tpf(starid, 500, 500 + 100 * starid, 9.0)
    made = make_todo("tpf", sky.folder)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no star catalogue: contamination is unknown" in caplog.text
    assert made.summary()["warnings"] == [caplog.records[0].getMessage()]
    sky.catalog()
    assert make_todo("tpf", sky.folder, overwrite=True).warnings == ()


def test_many_damaged_files_are_one_line_a_cause_in_the_words_of_the_run(sky, caplog):
    sky.tpf(1, 500, 500, 9.0)
    sky.catalog()
    for starid in range(2, 42):
        path = sky.tpf(starid, 700, 500, 10.0)
        path.write_bytes(path.read_bytes()[: 20000 + 60 * starid])
    for number in range(30):
        (sky.folder / f"{number}.fits").write_bytes(b"no FITS at all")
    made = make_todo("tpf", sky.folder)
    with pytest.raises(BadInputError) as raised:
        read_target_pixel_file(path)
    assert made.damaged[-1] == str(raised.value)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "39 more files like it" in warnings[0]
    assert "29 more files like it" in warnings[1]


def test_light_curves_and_other_files_are_passed_over_and_counted(sky, rows, tmp_path):
    sky.tpf(1, 500, 500, 9.0)
    columns = [
        fits.Column("TIME", "D", array=np.arange(10.0)),
        fits.Column("SAP_FLUX", "E", array=np.ones(10)),
    ]
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"TELESCOP": "TESS", "TICID": 1, "SECTOR": 1, "CAMERA": 1, "CCD": 1, "NEXTEND": 2}
    )
    curve = [
        primary,
        fits.BinTableHDU.from_columns(columns, name="LIGHTCURVE"),
        fits.ImageHDU(np.ones((11, 11)), name="APERTURE"),
    ]
    fits.HDUList(curve).writeto(sky.folder / "tess2018-s0001-0000000000000001-0120-s_lc.fits")
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(sky.folder / "flat.fits")
    (sky.folder / "notes.fits").write_text("no FITS at all")
    (sky.folder / "empty.fits").touch()
    (sky.folder / "README").write_text("hello")
    made = make_todo("tpf", sky.folder)
    assert pairs(rows(sky.folder)) == [(1, "tpf")]
    assert made.passed_over == {
        "a light curve": 1,
        "a FITS file that names no star": 1,
        "not readable as FITS": 2,
    }


def test_star_without_magnitude_takes_it_from_the_catalogue_or_comes_last(sky, rows):
    for starid, row in ((1, 500), (2, 700), (3, 900)):
        path = sky.tpf(starid, row, 500, 12.0)
        if starid != 3:
            with fits.open(path, mode="update") as hdulist:
                hdulist[0].header["TESSMAG"] = None
    sky.stars = [star for star in sky.stars if star[0] != 1]
    sky.catalog()
    made = make_todo("tpf", sky.folder)
    assert [(r["starid"], r["tmag"]) for r in rows(sky.folder)] == [(2, 12.0), (3, 12.0), (1, None)]
    assert made.summary()["without_magnitude"] == 1


def test_index_of_files_is_written_with_the_todo_file(sky):
    path = sky.tpf(7, 500, 500, 9.0, subfolder="sub")
    make_todo("tpf", sky.folder)
    assert lookup(sky.folder, 7, 1, 120) == path


def test_existing_todo_file_is_replaced_only_when_asked(sky, rows):
    sky.tpf(1, 500, 500, 9.0)
    make_todo("tpf", sky.folder)
    sky.tpf(2, 700, 500, 10.0)
    with pytest.raises(WrongUseError, match="exists already; --overwrite"):
        make_todo("tpf", sky.folder)
    assert len(rows(sky.folder)) == 1
    make_todo("tpf", sky.folder, overwrite=True)
    assert len(rows(sky.folder)) == 2


def test_dry_run_writes_nothing(sky):
    sky.tpf(1, 500, 500, 9.0)
    made = make_todo("tpf", sky.folder, dry_run=True)
    assert made.summary()["targets"] == 1
    assert sorted(p.suffix for p in sky.folder.iterdir()) == [".fits"]


def test_folder_that_is_missing_empty_or_without_wanted_targets_is_refused(sky, tmp_path):
    with pytest.raises(WrongUseError, match="no such folder"):
        make_todo("tpf", tmp_path / "nowhere")
    with pytest.raises(WrongUseError, match=r"no target pixel file here .*no FITS file at all"):
        make_todo("tpf", sky.folder)
    sky.tpf(1, 500, 500, 9.0)
    with pytest.raises(WrongUseError, match="none of the 1 targets"):
        make_todo(template(tmp_path, "tmag_max = 5.0"), sky.folder)


def test_catalogue_that_cannot_be_read_stops_the_work(sky):
    sky.tpf(1, 500, 500, 9.0)
    (sky.folder / "catalog.csv").write_text("starid,ra\n1,2\n")
    with pytest.raises(WrongUseError, match="no column decl"):
        make_todo("tpf", sky.folder)


def test_simulated_folder_lists_all_its_targets_and_the_companions_on_their_stamps(tmp_path, rows):
    from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

    truth = simulate_target_pixel_files(
        tmp_path, TargetPixelSettings(targets=20, times=3, truncated=1)
    )
    make_todo("tpf", tmp_path)
    todo = rows(tmp_path)
    assert {r["starid"] for r in todo if r["datasource"] == "tpf"} == set(truth["starid"].tolist())
    expected = {}
    for row in truth[~truth["truncated"]]:
        expected[row["starid"]] = row["stars_in_stamp"] - 1
    found = {starid: sum(r["datasource"] == f"tpf:{starid}" for r in todo) for starid in expected}
    assert all(
        found[starid] <= expected[starid] for starid in expected
    )  # the catalogue's faintest are below the limit
    isolated = truth["starid"][truth["isolated"] & ~truth["truncated"]]
    assert all(found[starid] == 0 for starid in isolated)
    assert sum(found.values()) >= 5


class TestRealFiles:
    pytestmark = real_data

    @pytest.fixture
    def copy(self, tmp_path):
        def copy(*names):
            for name in names:
                shutil.copytree(REAL / name, tmp_path / name)
            return tmp_path

        return copy

    def test_every_good_file_gives_a_row_as_its_header_says(self, copy, rows):
        folder = copy("tpf", "lc")
        made = make_todo("tpf", folder)
        todo = {(r["starid"], r["sector"]): r for r in rows(folder)}
        assert len(todo) == 10
        assert made.damaged == []
        tess = todo[25155310, 1]
        assert (tess["camera"], tess["ccd"], tess["cadence"], tess["tmag"]) == (
            4,
            1,
            120,
            pytest.approx(10.555),
        )
        assert tess["cbv_area"] == 413  # 10.3 deg from the ecliptic pole, where camera 4 looks
        assert (
            todo[8462852, 8]["camera"],
            todo[8462852, 8]["ccd"],
            todo[8462852, 8]["cadence"],
        ) == (16, 4, 1800)
        assert (221312395, 91) in todo

    def test_each_broken_file_gives_a_row(self, copy, rows):
        folder = copy("tpf_broken")
        made = make_todo("tpf", folder)
        assert {(r["starid"], r["sector"]) for r in rows(folder)} == {
            (261136679, 1),
            (261136679, 68),
            (7024511, 11),
        }
        assert len(made.damaged) == 3

    def test_real_catalogue_gives_the_neighbours_on_the_stamp(self, copy, rows):
        """TIC stars within the 11x11 pixels of TIC 25155310, as found by their angular distance."""
        folder = copy("tpf")
        shutil.copy(REAL / "catalog/tic25155310_field_stars.csv", folder / "catalog.csv")
        make_todo("tpf", folder)
        secondaries = [r for r in rows(folder) if r["datasource"] == "tpf:25155310"]
        from astropy import units as u
        from astropy.coordinates import SkyCoord

        from photometry.catalog.tables import read_stars

        stars = {row["starid"]: row for row in read_stars(folder / "catalog.csv")}
        middle = SkyCoord(63.3739, -69.2267, unit="deg")
        for row in secondaries:
            star = stars[row["starid"]]
            apart = (
                SkyCoord(star["ra_J2000"], star["decl_J2000"], unit="deg")
                .separation(middle)
                .to_value(u.arcsec)
            )
            assert apart < 7.8 * 20.34 + 30
            assert row["tmag"] <= 15
        near = [
            i
            for i, s in stars.items()
            if s["tmag"] <= 15
            and i != 25155310
            and SkyCoord(s["ra_J2000"], s["decl_J2000"], unit="deg")
            .separation(middle)
            .to_value(u.arcsec)
            < 4.5 * 20.34
        ]
        assert set(near) <= {row["starid"] for row in secondaries}
        assert near
