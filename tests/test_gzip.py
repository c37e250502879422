import gzip
import io

import pytest

from photometry.files import GZIP_ERRORS, gzip_compress, gzip_reader

CONTENT = bytes(range(256)) * 5000


@pytest.fixture(params=["installed", "not installed"], autouse=True)
def isal(request, monkeypatch):
    """With and without the fast library."""
    if request.param == "not installed":
        monkeypatch.setattr("photometry.files.igzip", None)


@pytest.mark.parametrize("level", range(10))
def test_what_is_compressed_is_read_back_at_every_level(level):
    packed = gzip_compress(CONTENT, level)
    assert gzip.decompress(packed) == CONTENT
    with gzip_reader(io.BytesIO(packed)) as file:
        assert file.read() == CONTENT


def test_same_content_gives_the_same_bytes():
    packed = gzip_compress(CONTENT, 1)
    assert packed[4:8] == bytes(4)  # the time of writing
    assert packed == gzip_compress(CONTENT, 1)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_file_raises_one_of_the_known_errors(damage):
    packed = bytearray(gzip.compress(CONTENT))
    if damage == "cut":
        del packed[-100:]
    else:
        packed[len(packed) // 2] ^= 255
    with pytest.raises(GZIP_ERRORS), gzip_reader(io.BytesIO(packed)) as file:
        file.read()
