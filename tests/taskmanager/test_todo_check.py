"""What is not a whole TODO-file is refused with one message, and left byte for byte as it was."""

import os

import numpy as np
import pytest
from todo_helpers import execute, make_rows, query

from photometry import TaskManager
from photometry.errors import TodoFileError
from photometry.taskmanager import create_todo


def damage(path, position, size=64):
    content = bytearray(path.read_bytes())
    content[position : position + size] = os.urandom(size)
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def not_sqlite(path):
    path.write_text("priority,starid\n1,100\n")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1000])


def header_only(path):
    path.write_bytes(path.read_bytes()[:60])


def damaged(path):
    damage(path, 4096 * 40, 4096)


def no_table(path):
    execute(path, "ALTER TABLE todolist RENAME TO other")


def no_starid(path):
    execute(path, "DROP INDEX todolist_identity")
    execute(path, "ALTER TABLE todolist DROP COLUMN starid")


def newer(path):
    execute(path, "INSERT OR REPLACE INTO todo_settings VALUES ('format', '7')")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "empty; expected a TODO-file"),
        (not_sqlite, "not a SQLite file; expected a TODO-file"),
        (truncated, r"truncated, \d+ bytes of \d+"),
        (header_only, "truncated, 60 bytes of"),
        (damaged, "damaged"),
        (no_table, "has no table todolist"),
        (no_starid, "has no column 'starid'"),
        (newer, r"format 7 is newer than this program \(2\); upgrade photometry"),
    ],
)
def test_a_file_that_is_not_a_whole_todo_file_is_refused_and_left_as_it_was(
    tmp_path, in_memory, spoil, message
):
    path = tmp_path / "todo.sqlite"
    create_todo(path, make_rows(20000))
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(TodoFileError, match=message) as error:
        TaskManager(path, load_into_memory=in_memory)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["todo.sqlite"]


class TestCreating:
    def test_rows_are_numbered_in_their_order(self, tmp_path):
        assert create_todo(tmp_path / "todo.sqlite", iter(make_rows(3))) == 3
        rows = query(
            tmp_path / "todo.sqlite", "SELECT priority, starid, method, status FROM todolist"
        )
        assert rows == [(1, 100, None, None), (2, 101, None, None), (3, 102, None, None)]

    def test_arrays_and_dicts_make_the_same_file(self, tmp_path):
        kinds = [
            ("starid", "i8"),
            ("sector", "i2"),
            ("datasource", "U12"),
            ("camera", "i1"),
            ("ccd", "i1"),
        ]
        kinds += [("cadence", "i4"), ("tmag", "f4"), ("cbv_area", "i4"), ("method", "S8")]
        rows = make_rows(5)
        rows[3] |= {"method": "halo", "tmag": np.nan}
        array = np.array(
            [
                tuple(row[name] or 0 if name != "method" else row[name] or "" for name, _ in kinds)
                for row in rows
            ],
            kinds,
        )
        create_todo(tmp_path / "a", rows)
        create_todo(tmp_path / "b", array)
        both = [query(tmp_path / name, "SELECT * FROM todolist ORDER BY priority") for name in "ab"]
        assert both[0] == both[1]
        assert both[0][3][-3] is None

    def test_a_target_may_be_there_once(self, tmp_path):
        rows = make_rows(5)
        with pytest.raises(
            TodoFileError, match=r"2 rows are the same target \(starid 100, sector 1, camera 1"
        ):
            create_todo(tmp_path / "todo.sqlite", [*rows, rows[0]])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda row: row.pop("cadence"), "column 'cadence' is missing"),
            (
                lambda row: row.update(colour=1),
                "unknown column 'colour'; expected priority, starid",
            ),
        ],
    )
    def test_columns_are_checked(self, tmp_path, change, message):
        rows = make_rows(2)
        change(rows[0])
        with pytest.raises(TodoFileError, match=message):
            create_todo(tmp_path / "todo.sqlite", rows)

    def test_no_rows_make_an_empty_list(self, tmp_path):
        assert create_todo(tmp_path / "todo.sqlite", []) == 0
        with TaskManager(tmp_path) as tm:
            assert tm.get_task() is None


def test_a_damaged_log_of_a_killed_run_beside_a_foreign_file_is_no_excuse(tmp_path, in_memory):
    path = tmp_path / "todo.sqlite"
    not_sqlite(path)
    (tmp_path / "todo.sqlite-wal").write_bytes(b"x" * 100)
    with pytest.raises(TodoFileError, match="not a SQLite file"):
        TaskManager(path, load_into_memory=in_memory)


def test_a_table_of_ours_that_lacks_a_column_is_damage(todo_file, in_memory):
    """As after a flipped bit in the definition of a table."""
    with TaskManager(todo_file):
        pass
    execute(todo_file, "ALTER TABLE runs RENAME COLUMN reason TO season")
    with pytest.raises(TodoFileError, match="its table runs has no column 'reason'"):
        TaskManager(todo_file, load_into_memory=in_memory)
