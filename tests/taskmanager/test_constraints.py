import math
import sqlite3

import numpy as np
import pytest
from todo_helpers import make_row

from photometry import build_constraints
from photometry.taskmanager import TaskManager, create_todo


@pytest.fixture(scope="module")
def cursor(tmp_path_factory):
    """Rows of all kinds, and what a loop in Python would select from them."""
    path = tmp_path_factory.mktemp("constraints") / "todo.sqlite"
    rows = [
        make_row(1, datasource="tpf", tmag=4.0, cadence=120),
        make_row(
            2, datasource="tpf:1", tmag=14.0, cadence=120
        ),  # secondary in the pixels of a bright star
        make_row(3, datasource="tpf", tmag=12.0, cadence=120, camera=2, ccd=3, cbv_area=231),
        make_row(4, datasource="ffi", tmag=8.0),
        make_row(5, datasource="ffi", tmag=9.0, sector=2, camera=3),
        make_row(6, datasource="tpf:999", tmag=6.0, cadence=120),  # its primary is not in the list
    ]
    create_todo(path, rows)
    with TaskManager(path) as tm:
        yield tm.cursor


def selected(cursor, **constraints):
    sql = "SELECT starid FROM todolist WHERE 1" + build_constraints(**constraints)
    return {row["starid"] for row in cursor.execute(sql)}


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ({}, {1, 2, 3, 4, 5, 6}),
        ({"priority": 4}, {4}),
        ({"priority": [1, 5]}, {1, 5}),
        ({"starid": "3"}, {3}),
        ({"starid": np.array([3, 4])}, {3, 4}),
        ({"sector": 2}, {5}),
        ({"camera": {2, 3}}, {3, 5}),
        ({"ccd": np.int64(3)}, {3}),
        ({"cbv_area": 231}, {3}),
        ({"cadence": 120}, {1, 2, 3, 6}),
        ({"cadence": "ffi"}, {4, 5}),
        ({"datasource": "ffi"}, {4, 5}),
        ({"cadence": "ffi", "datasource": "ffi"}, {4, 5}),
        ({"cadence": "ffi", "datasource": "tpf"}, set()),
        ({"cadence": 120, "datasource": "ffi"}, set()),
        ({"datasource": "tpf"}, {1, 2, 3, 6}),
        ({"tmag_max": 8.0}, {1, 2, 4, 6}),
        ({"tmag_min": 8.0}, {3, 4, 5}),
        ({"tmag_min": 8, "datasource": "ffi", "sector": 1}, {4}),
    ],
)
def test_constraints_select_what_they_say(cursor, constraints, expected):
    assert selected(cursor, **constraints) == expected


def test_magnitude_limits_of_a_secondary_are_those_of_its_primary(cursor):
    assert 2 in selected(cursor, tmag_max=5.0)
    assert 2 not in selected(cursor, tmag_min=5.0)


def test_no_constraints_are_the_empty_text():
    assert build_constraints() == ""
    assert build_constraints(return_list=True) == []


def test_return_list_has_the_same_conditions_as_the_text():
    conditions = build_constraints(camera=1, tmag_max=8, datasource="tpf", return_list=True)
    assert len(conditions) == 3
    assert build_constraints(camera=1, tmag_max=8, datasource="tpf") == " AND " + " AND ".join(
        conditions
    )


@pytest.mark.parametrize(
    "value", ["1; DROP TABLE todolist", "x", "", math.nan, math.inf, True, np.True_, 1.5, [], 2**70]
)
@pytest.mark.parametrize(
    "name", ["priority", "starid", "sector", "cadence", "camera", "ccd", "cbv_area"]
)
def test_values_that_are_no_whole_numbers_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name}="):
        build_constraints(**{name: value})


@pytest.mark.parametrize("value", ["1 OR 1=1", math.nan, True, [3.0], object()])
@pytest.mark.parametrize("name", ["tmag_min", "tmag_max"])
def test_magnitudes_that_are_no_numbers_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name}="):
        build_constraints(**{name: value})


@pytest.mark.parametrize("value", [1, "", ["ffi"]])
def test_datasource_that_is_no_text_is_refused(value):
    with pytest.raises(ValueError, match=r"^datasource="):
        build_constraints(datasource=value)


def test_numbers_come_back_exactly_as_sqlite_sees_them():
    (condition,) = build_constraints(tmag_max=0.1 + 0.2, return_list=True)
    limit = condition.rsplit("<= ", 1)[1]
    assert sqlite3.connect(":memory:").execute(f"SELECT {limit}").fetchone()[0] == 0.1 + 0.2
