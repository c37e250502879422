import sqlite3

import pytest

from photometry.errors import TodoFileError
from photometry.pixels.find import INDEX_NAME, lookup, write_index


def test_indexed_star_is_found_by_star_sector_and_cadence(tmp_path):
    write_index(
        tmp_path,
        [(1, 5, 120, "a/one.fits"), (1, 6, 120, "six.fits"), (1, 5, 20, tmp_path / "fast.fits.gz")],
    )
    assert lookup(tmp_path, 1, 5, 120) == tmp_path / "a" / "one.fits"
    assert lookup(tmp_path, 1, 6, 120) == tmp_path / "six.fits"
    assert lookup(tmp_path, 1, 5, 20) == tmp_path / "fast.fits.gz"
    assert lookup(tmp_path, 2, 5, 120) is None


def test_folder_without_index_knows_no_star(tmp_path):
    assert lookup(tmp_path, 1, 5, 120) is None


def test_moved_folder_keeps_its_index(tmp_path):
    (tmp_path / "old").mkdir()
    write_index(tmp_path / "old", [(1, 5, 120, tmp_path / "old" / "one.fits")])
    (tmp_path / "old").rename(tmp_path / "new, with a # and a ?")
    assert (
        lookup(tmp_path / "new, with a # and a ?", 1, 5, 120)
        == tmp_path / "new, with a # and a ?" / "one.fits"
    )


def test_later_file_of_the_same_star_counts(tmp_path):
    write_index(tmp_path, [(1, 5, 120, "tess2020.fits"), (1, 5, 120, "tess2018.fits")])
    assert lookup(tmp_path, 1, 5, 120) == tmp_path / "tess2020.fits"


def test_index_written_again_forgets_the_old_one(tmp_path):
    write_index(tmp_path, [(1, 5, 120, "one.fits")])
    write_index(tmp_path, [(2, 5, 120, "two.fits")])
    assert lookup(tmp_path, 1, 5, 120) is None
    assert [p.name for p in tmp_path.iterdir()] == [INDEX_NAME]


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be looked at as one" * 3, b""]
)
def test_index_that_is_none_is_refused(tmp_path, content):
    (tmp_path / INDEX_NAME).write_bytes(content)
    with pytest.raises(TodoFileError, match="not an index"):
        lookup(tmp_path, 1, 5, 120)


def test_index_is_read_without_locks(tmp_path):
    index = write_index(tmp_path, [(1, 5, 120, "one.fits")])
    holder = sqlite3.connect(index, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert lookup(tmp_path, 1, 5, 120) is not None
    holder.close()
