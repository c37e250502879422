"""Star catalogues: searches against astropy's own separations, motions against astropy's,
magnitudes against the TIC.
"""

import sqlite3
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from photometry.catalog.ccd import open_catalog
from photometry.catalog.tables import catalog_path, make_catalog, read_stars
from photometry.errors import WrongUseError
from photometry.sky import propagate

REAL = Path(__file__).parents[3] / "shared/data/catalog/tic25155310_field_stars.csv"


def sky(n=20000, seed=1):
    """Stars all over the sky, dense at both poles and at right ascension 0."""
    rng = np.random.default_rng(seed)
    ra, decl = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    ra[: n // 4] = rng.uniform(-1, 1, n // 4) % 360
    decl[: n // 4] = rng.uniform(-1, 1, n // 4)
    decl[n // 4 : n // 2] = rng.choice([-1, 1], n // 4) * rng.uniform(88, 90, n // 4)
    return Table(
        {"starid": np.arange(1, n + 1), "ra": ra, "decl": decl, "tmag": rng.uniform(5, 16, n)}
    )


@pytest.fixture(scope="module", params=["sqlite", "table"])
def catalog(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    sky().write(folder / "catalog.ecsv")
    if request.param == "sqlite":
        make_catalog(folder / "catalog.ecsv", folder, 1, 2, 3, epoch=2000.0)
        (folder / "catalog.ecsv").unlink()
    return open_catalog(folder, 1, 2, 3, epoch=2000.0)


@pytest.mark.parametrize(
    ("ra", "decl", "radius"),
    [
        (10, 20, 3),
        (0.1, 0.0, 0.4),
        (359.95, 0.2, 0.3),
        (123, 89.9, 0.5),
        (200, -89.5, 1),
        (77, -90, 0.7),
        (0, 0, 0.01),
    ],
    ids=[
        "plain",
        "across ra 0",
        "across ra 360",
        "over the north pole",
        "over the south pole",
        "at the pole",
        "small",
    ],
)
def test_cone_holds_the_stars_that_astropy_finds(catalog, ra, decl, radius):
    stars = sky()
    near = (
        SkyCoord(stars["ra"], stars["decl"], unit="deg").separation(SkyCoord(ra, decl, unit="deg"))
        <= radius * u.deg
    )
    assert sorted(catalog.cone(ra, decl, radius)["starid"]) == list(stars["starid"][near])
    assert near.any()


def test_cone_is_sorted_by_magnitude_and_ends_at_the_limit(catalog):
    stars = catalog.cone(0, 0, 1, tmag_max=12)
    assert list(stars["tmag"]) == sorted(stars["tmag"])
    assert 11 < stars["tmag"].max() <= 12


def test_cone_without_stars_is_an_empty_table_with_all_columns(catalog):
    empty = catalog.cone(90, 45, 1e-6)
    assert (len(empty), empty.colnames) == (
        0,
        ["starid", "ra", "decl", "pm_ra", "pm_decl", "tmag", "teff"],
    )


@pytest.mark.parametrize("turn", [1, -1])
def test_polygon_across_the_meridian_holds_the_stars_inside_it(catalog, turn):
    corners = np.array([(359.5, -0.5), (0.7, -0.5), (0.7, 0.6), (359.5, 0.6)])[::turn]
    stars = sky()
    offset = (stars["ra"] + 180) % 360 - 180
    inside = (offset > -0.5) & (offset < 0.7) & (stars["decl"] > -0.5) & (stars["decl"] < 0.6)
    found = set(catalog.polygon(corners)["starid"])
    # Edges are great circles, which leave a parallel by less than 1e-4 deg here.
    assert len(found ^ set(stars["starid"][inside])) <= 2
    assert len(found) > 500


def test_star_is_found_by_its_number(catalog):
    assert catalog.star(17)["tmag"] == sky()["tmag"][16]
    assert catalog.star(10**12) is None


def test_search_in_the_file_uses_the_index(tmp_path):
    stars = sky(1000)
    stars.write(tmp_path / "catalog.ecsv")
    opened = open_catalog(
        make_catalog(tmp_path / "catalog.ecsv", tmp_path, 1, 1, 1).parent, 1, 1, 1
    )
    queries = []
    opened._conn.set_trace_callback(queries.append)
    opened.cone(10, 20, 0.05)
    plan = opened._conn.execute("EXPLAIN QUERY PLAN " + queries[0]).fetchall()
    assert any("USING INDEX catalog_zone" in row[-1] for row in plan)


def test_file_is_preferred_to_the_table_and_opened_once(tmp_path):
    sky(100).write(tmp_path / "catalog.ecsv")
    make_catalog(sky_table_of_one(tmp_path), tmp_path, 5, 1, 2)
    assert len(open_catalog(tmp_path, 5, 1, 2)) == 1
    assert len(open_catalog(tmp_path, 5, 1, 3)) == 100
    assert open_catalog(tmp_path, 5, 1, 2) is open_catalog(tmp_path, 5, 1, 2)


def sky_table_of_one(folder):
    path = folder / "one.csv"
    path.write_text("starid,ra,decl,tmag\n1,0,0,10\n")
    return path


def test_folder_without_catalogue_gives_none(tmp_path):
    assert open_catalog(tmp_path, 1, 1, 1) is None


def test_proper_motion_moves_stars_to_the_epoch_of_the_images(tmp_path):
    """Barnard's star (TIC 325554331), and a fast star right beside the pole, against astropy."""
    table = Table(
        {
            "ID": [325554331, 2],
            "ra": [269.452076, 45.0],
            "dec": [4.693365, 89.9999],
            "Tmag": [7.31, 9.0],
        }
    )
    table["pmRA"], table["pmDEC"] = [-801.551, 5000.0], [10362.394, 9000.0]
    table.write(tmp_path / "catalog.ecsv")
    got = open_catalog(tmp_path, 80, 1, 1, epoch=2024.5).stars()
    truth = SkyCoord(
        table["ra"] * u.deg, table["dec"] * u.deg, frame="icrs",
        obstime=Time(2000.0, format="jyear"), pm_ra_cosdec=table["pmRA"] * u.mas / u.yr,
        pm_dec=table["pmDEC"] * u.mas / u.yr, distance=10 * u.pc,
    ).apply_space_motion(Time(2024.5, format="jyear"))  # fmt: skip
    apart = truth.separation(SkyCoord(got["ra"], got["decl"], unit="deg")).to_value(u.mas)
    assert apart == pytest.approx(0, abs=5)  # of 250,000 mas


def test_motion_across_ra_zero_keeps_right_ascension_below_360():
    ra, decl = propagate(
        np.array([359.999, 0.001]), np.zeros(2), np.array([3.6e4, -3.6e4]), 0.0, 20.0
    )
    assert (ra, decl) == (pytest.approx([0.199, 359.801], abs=1e-5), pytest.approx([0, 0]))


def test_gaia_table_without_epoch_is_of_2016_and_gets_tess_magnitudes(tmp_path):
    path = tmp_path / "gaia.vot"
    table = Table(
        {
            "source_id": [5282551135306160000],
            "ra": [100.0],
            "dec": [0.0],
            "pmra": [3600.0],
            "pmdec": [0.0],
        }
    )
    table["phot_g_mean_mag"], table["phot_bp_mean_mag"], table["phot_rp_mean_mag"] = (
        [12.0],
        [12.4],
        [11.6],
    )
    table.write(path, format="votable")
    star = read_stars(path)[0]
    assert star["starid"] == 5282551135306160000
    assert star["ra_J2000"] == pytest.approx(100 - 16 / 1000)  # 16 years of 3.6 arcsec
    assert star["tmag"] == pytest.approx(
        12 - 0.42, abs=0.01
    )  # a star like the Sun has G - T = 0.42


@pytest.mark.parametrize("ending", ["ecsv", "csv", "fits", "vot", "parquet", "fits.gz", "csv.gz"])
def test_every_format_gives_the_same_stars(tmp_path, ending):
    table = sky(48)
    table["teff"] = MaskedColumn(np.arange(48) * 100.0, mask=np.arange(48) % 2 == 1)
    path = tmp_path / f"catalog.{ending}"
    if ending == "parquet":
        from pyarrow import parquet
        from pyarrow import table as arrow_table

        parquet.write_table(
            arrow_table({n: np.ma.filled(table[n].astype(float), np.nan) for n in table.colnames}),
            path,
        )
    else:
        table.write(
            path, format={"vot": "votable", "csv": "ascii.csv", "csv.gz": "ascii.csv"}.get(ending)
        )
    stars = open_catalog(tmp_path, 1, 1, 1, epoch=2000.0).stars()
    stars.sort("starid")
    assert stars["starid"].tolist() == table["starid"].tolist()
    assert np.array(stars["ra"]) == pytest.approx(np.array(table["ra"]))
    assert np.isnan(stars["teff"]).tolist() == [False, True] * 24


def test_rows_without_magnitude_and_repeated_stars_are_left_out(tmp_path):
    (tmp_path / "catalog.csv").write_text(
        "TIC,RA,Dec,Tmag\nTIC 7,1,1,9\nTIC 7,1,1,9\n8,1,1,\n9,1,1,10\n"
    )
    assert read_stars(tmp_path / "catalog.csv")["starid"].tolist() == [7, 9]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "ra,dec,tmag\n1,1,9\n",
            r"no column starid; accepted names are starid, ticid.*the file has ra, dec, tmag",
        ),
        ("starid,dec,tmag\n1,1,9\n", r"no column ra; accepted names are ra, raj2000"),
        ("starid,ra,dec\n1,1,9\n", r"no column tmag; accepted names are tmag"),
        ("starid,ra,dec,tmag\n1,1,900,9\n", r"column dec holds 900.*degrees from -90 to 90"),
        ("starid,ra,dec,tmag\n1,06:32:11,12,9\n", r"column ra holds '06:32:11', expected numbers"),
        ("starid,ra,dec,tmag\nVega,1,1,0\n", r"column starid holds 'Vega', expected a number"),
        ("\x00\x01\x02", r"catalog\.csv: "),
    ],
)
def test_table_that_is_not_a_catalogue_is_refused_in_one_message(tmp_path, content, message):
    (tmp_path / "catalog.csv").write_text(content)
    with pytest.raises(WrongUseError, match=message) as raised:
        open_catalog(tmp_path, 1, 1, 1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"not SQLite at all" * 100, None])
def test_file_that_is_not_a_catalogue_is_refused(tmp_path, content):
    path = catalog_path(tmp_path, 1, 1, 1)
    if content is None:
        conn = sqlite3.connect(path)
        conn.execute("CREATE TABLE settings (sector)")
        conn.close()
    else:
        path.write_bytes(content)
    with pytest.raises(WrongUseError, match="not a star catalogue"):
        open_catalog(tmp_path, 1, 1, 1)


def test_two_tables_in_a_folder_are_refused_by_name(tmp_path):
    for name in ("catalog.csv", "catalog.ecsv"):
        (tmp_path / name).write_text("starid,ra,decl,tmag\n1,0,0,10\n")
    with pytest.raises(
        WrongUseError, match=r"several star catalogues \(catalog.csv, catalog.ecsv\)"
    ):
        open_catalog(tmp_path, 1, 1, 1)


def test_made_file_has_the_tables_of_the_specification_and_only_stars_of_the_footprint(tmp_path):
    sky().write(tmp_path / "all.ecsv")
    path = make_catalog(
        tmp_path / "all.ecsv", tmp_path, 27, 3, 4, ticver="8.2", camera_centre=(0.0, 5.0),
        footprint=[(359.5, -0.5), (0.5, -0.5), (0.5, 0.5), (359.5, 0.5)],
    )  # fmt: skip
    assert path.name == "catalog_sector027_camera3_ccd4.sqlite"
    conn = sqlite3.connect(path)
    columns = [row[1] for row in conn.execute("PRAGMA table_info(catalog)")]
    conn.close()
    assert columns == [
        "starid",
        "ra",
        "decl",
        "ra_J2000",
        "decl_J2000",
        "pm_ra",
        "pm_decl",
        "tmag",
        "teff",
    ]
    catalog = open_catalog(tmp_path, 27, 3, 4)
    assert (
        catalog.settings["sector"],
        catalog.settings["ticver"],
        catalog.settings["camera_centre_dec"],
    ) == (
        27,
        "8.2",
        5.0,
    )
    assert catalog.epoch == pytest.approx(2020.56, abs=0.05)  # sector 27: 5 to 30 July 2020
    assert len(catalog.settings["footprint"]) == 4
    assert 0 < len(catalog) == len(catalog.polygon(catalog.settings["footprint"]))


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_file(), reason="no real catalogue")
def test_real_field_without_tess_magnitudes_gets_them_from_2mass():
    stars = read_stars(REAL)
    target = stars[stars["starid"] == 25155310]
    assert len(target) == 1  # twice in the file
    assert target["tmag"][0] == pytest.approx(10.555, abs=0.05)  # the TIC's value
