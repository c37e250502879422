import gzip
import io

import pytest

from photometry import gzipped

CONTENT = bytes(range(256)) * 5000


@pytest.fixture(params=["installed", "not installed"], autouse=True)
def isal(request, monkeypatch):
    """With and without the fast library."""
    if request.param == "not installed":
        monkeypatch.setattr(gzipped, "igzip", None)


@pytest.mark.parametrize("level", range(10))
def test_what_is_compressed_is_read_back_at_every_level(level):
    packed = gzipped.compress(CONTENT, level)
    assert gzip.decompress(packed) == CONTENT
    with gzipped.reader(io.BytesIO(packed)) as file:
        assert file.read() == CONTENT


def test_same_content_gives_the_same_bytes():
    packed = gzipped.compress(CONTENT, 1)
    assert packed[4:8] == bytes(4)  # the time of writing
    assert packed == gzipped.compress(CONTENT, 1)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_file_raises_one_of_the_known_errors(damage):
    packed = bytearray(gzip.compress(CONTENT))
    if damage == "cut":
        del packed[-100:]
    else:
        packed[len(packed) // 2] ^= 255
    with pytest.raises(gzipped.ERRORS), gzipped.reader(io.BytesIO(packed)) as file:
        file.read()
