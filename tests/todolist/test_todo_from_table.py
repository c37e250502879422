"""TODO-files from tables."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from photometry.errors import WrongUseError
from photometry.todolist.make import make_todo


def template(folder, text=""):
    path = folder / "template.toml"
    path.write_text('source = "table"\n' + text)
    return path


@pytest.mark.parametrize("ending", ["csv", "ecsv", "fits", "vot", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, rows, ending):
    table = Table(
        {
            "starid": [3, 1, 2],
            "sector": [1, 1, 2],
            "camera": [1, 2, 3],
            "ccd": [4, 3, 2],
            "tmag": [10.5, 9.5, 11.5],
        }
    )
    table["datasource"] = ["tpf", "ffi", "tpf:9"]
    path = tmp_path / f"targets.{ending}"
    if ending == "parquet":
        from pyarrow import parquet
        from pyarrow import table as arrow_table

        parquet.write_table(
            arrow_table({name: table[name].tolist() for name in table.colnames}), path
        )
    else:
        table.write(path, format={"vot": "votable", "csv": "ascii.csv"}.get(ending))
    make_todo("table", tmp_path, table=path)
    columns = ("starid", "sector", "camera", "ccd", "tmag", "datasource", "cadence")
    assert [tuple(row[name] for name in columns) for row in rows(tmp_path)] == [
        (1, 1, 2, 3, 9.5, "ffi", 1800),
        (3, 1, 1, 4, 10.5, "tpf", 120),
        (2, 2, 3, 2, 11.5, "tpf:9", 120),
    ]


def test_template_maps_columns_and_gives_defaults(tmp_path, rows):
    (tmp_path / "targets.csv").write_text("TIC number,T\nTIC 7,10\nTIC 8,9\n")
    path = template(tmp_path, """
        [table]
        file = "targets.csv"
        columns = {starid = "TIC number", tmag = "T"}
        defaults = {sector = 30, camera = 1, ccd = 2}
    """)  # fmt: skip
    make_todo(path, tmp_path)
    columns = ("starid", "sector", "camera", "ccd", "datasource")
    assert [tuple(row[name] for name in columns) for row in rows(tmp_path)] == [
        (8, 30, 1, 2, "ffi"),
        (7, 30, 1, 2, "ffi"),
    ]


@pytest.mark.parametrize(("sector", "cadence"), [(26, 1800), (27, 600), (55, 600), (56, 200)])
def test_cadence_of_full_frame_targets_follows_from_the_sector(tmp_path, rows, sector, cadence):
    (tmp_path / "t.csv").write_text(f"starid,sector,camera,ccd,tmag\n1,{sector},1,1,10\n")
    make_todo("table", tmp_path, table=tmp_path / "t.csv")
    assert rows(tmp_path)[0]["cadence"] == cadence


def test_full_frame_targets_of_magnitude_2_and_brighter_get_halo_unless_a_method_is_given(
    tmp_path, rows
):
    (tmp_path / "t.csv").write_text(
        "starid,sector,camera,ccd,tmag,datasource,method\n1,1,1,1,1.5,ffi,\n2,1,1,1,2.0,ffi,\n3,1,1,1,2.1,ffi,\n4,1,1,1,1.0,tpf,\n5,1,1,1,1.0,ffi,aperture\n"
    )
    make_todo("table", tmp_path, table=tmp_path / "t.csv")
    assert {r["starid"]: r["method"] for r in rows(tmp_path)} == {
        1: "halo",
        2: "halo",
        3: None,
        4: None,
        5: "aperture",
    }


def test_duplicate_rows_are_dropped_and_counted(tmp_path, rows):
    (tmp_path / "t.csv").write_text(
        "starid,sector,camera,ccd,tmag\n1,1,1,1,10\n1,1,1,1,10\n1,2,1,1,10\n"
    )
    made = make_todo("table", tmp_path, table=tmp_path / "t.csv")
    assert len(rows(tmp_path)) == 2
    assert made.duplicates == 1


def test_missing_magnitudes_come_last(tmp_path, rows):
    table = Table({"starid": [1, 2], "sector": [1, 1], "camera": [1, 1], "ccd": [1, 1]})
    table["tmag"] = MaskedColumn([0.0, 12.0], mask=[True, False])
    table.write(tmp_path / "t.ecsv")
    make_todo("table", tmp_path, table=tmp_path / "t.ecsv")
    assert [(r["starid"], r["tmag"]) for r in rows(tmp_path)] == [(2, 12.0), (1, None)]


def test_a_hundred_thousand_rows_keep_their_order(tmp_path, rows):
    n = 100_000
    rng = np.random.default_rng(1)
    table = Table(
        {
            "starid": np.arange(n),
            "sector": np.ones(n, int),
            "camera": np.ones(n, int),
            "ccd": np.ones(n, int),
        }
    )
    table["tmag"] = rng.uniform(5, 15, n)
    table.write(tmp_path / "t.fits")
    make_todo("table", tmp_path, table=tmp_path / "t.fits")
    todo = rows(tmp_path)
    assert [r["starid"] for r in todo] == np.argsort(table["tmag"]).tolist()
    assert [r["priority"] for r in todo[:3]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "starid,sector,camera,ccd\n1,1,1,1\n",
            r"no column tmag \(it has starid, sector, camera, ccd\)",
        ),
        (
            "starid,sector,camera,ccd,tmag\nVega,1,1,1,0\n",
            r"row 1, column starid: 'Vega' is not a whole number",
        ),
        (
            "starid,sector,camera,ccd,tmag\n1,1.5,1,1,0\n",
            r"row 1, column sector: '1.5' is not a whole number",
        ),
        ("starid,sector,camera,ccd,tmag\n1,1,1,1,9\n2,,1,1,9\n", r"row 2 has no sector"),
        (
            "starid,sector,camera,ccd,tmag,datasource\n1,1,1,1,9,cube\n",
            r"row 1: datasource 'cube' is not 'ffi', 'tpf'",
        ),
    ],
)
def test_table_with_a_fault_is_refused_with_the_place_of_it(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(WrongUseError, match=message):
        make_todo("table", tmp_path, table=tmp_path / "t.csv")
    assert not (tmp_path / "todo.sqlite").exists()


def test_table_that_is_missing_or_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(WrongUseError, match="no such file"):
        make_todo("table", tmp_path, table=tmp_path / "t.csv")
    with pytest.raises(WrongUseError, match=r"accepted endings are \.ecsv, \.csv"):
        make_todo("table", tmp_path, table=tmp_path / "t.xls")
    with pytest.raises(WrongUseError, match=r"names no table: write file = .* or say --table FILE"):
        make_todo("table", tmp_path)


def test_template_that_speaks_of_columns_that_are_not_there_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("starid,sector,camera,ccd,tmag\n1,1,1,1,10\n")
    with pytest.raises(WrongUseError, match=r"starid = 'TIC', but .*t\.csv has starid"):
        make_todo(template(tmp_path, '[table]\nfile="t.csv"\ncolumns={starid="TIC"}'), tmp_path)
    with pytest.raises(
        WrongUseError, match=r"'magnitude' is no column of a TODO-file; accepted are starid"
    ):
        make_todo(template(tmp_path, '[table]\nfile="t.csv"\ncolumns={magnitude="tmag"}'), tmp_path)
