"""The cube file: `photometry.prepare.cubefile` and `imagecube`."""

import os

import h5py
import numpy as np
import pytest

from photometry.errors import BadInputError, TargetNotFoundError
from photometry.pixels.imagecube import ImageCube, cube_path, find_cube, find_cubes
from photometry.prepare import cubefile


@pytest.mark.parametrize("shape", [(5, 16, 24), (5, 17, 9), (1, 1, 1), (40, 8, 3), (33, 20, 20)])
def test_pixels_put_into_a_skeleton_are_what_hdf5_reads(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(cubefile, "MAX_TIMES", 16)  # several chunks in time
    path = tmp_path / "cube.hdf5"
    cubefile.write_skeleton(path, shape, {"time": np.arange(3.0)}, {"sector": 7})
    layout = cubefile.read_layout(path)
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    handle = os.open(path, os.O_WRONLY)
    for band in range(layout.n_bands):
        start, stop = layout.band_rows(band)
        for block, times in enumerate(layout.time_blocks()):
            layout.chunks["error"].write_band(handle, block, band, values[times, start:stop])
            layout.chunks["pixel_flags"].write_band(
                handle, block, band, (values[times, start:stop] > 0).astype(np.uint8)
            )
    cubefile.write_at(handle, layout.sumimage_offset, values[0].copy())
    os.close(handle)
    with h5py.File(path, "r") as file:
        assert np.array_equal(file["error"][:], values)
        assert np.array_equal(file["pixel_flags"][:], values > 0)
        assert np.array_equal(file["sumimage"][:], values[0])
        assert file.attrs["sector"] == 7


def test_a_stamp_over_all_times_lies_in_few_pieces(tmp_path):
    cubefile.write_skeleton(tmp_path / "cube.hdf5", (1300, 64, 64), {}, {})
    with h5py.File(tmp_path / "cube.hdf5", "r") as file:
        assert file["flux"].chunks == (1300, 8, 8)  # a stamp of 15x15 touches at most 3 x 3 of them
        assert file["flux"].compression is None


def test_a_missing_cube_is_a_target_not_found(tmp_path):
    with pytest.raises(TargetNotFoundError, match="photometry prepare"):
        find_cube(tmp_path, 1, 2, 3)
    assert list(find_cubes(tmp_path)) == []


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_what_is_no_cube_is_refused_with_its_name(tmp_path, content):
    path = cube_path(tmp_path, 1, 2, 3)
    if content is None:
        h5py.File(path, "w").close()
    else:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"sector001_camera2_ccd3\.hdf5"):
        ImageCube(path)


def test_texts_of_a_cube_lie_under_its_checksums(tmp_path):
    """HDF5 can read for ever in a damaged heap, where texts of any length would be."""
    path = tmp_path / "cube.hdf5"
    names = {"filename": ["one.fits", "another.fits"], "time": np.arange(2.0)}
    cubefile.write_skeleton(path, (2, 8, 8), names, {"mission": "TESS", "sector": 7})
    with h5py.File(path) as file:
        assert {name for name in file if h5py.check_vlen_dtype(file[name].dtype)} == set()
        assert isinstance(file.attrs["mission"], bytes)
        assert file["filename"].asstr()[:].tolist() == names["filename"]
