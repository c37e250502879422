"""The layout of an image cube on disk, how its pixels get into it (second pass of `prepare`), and
the hidden folder in which it waits until it is complete.

A cube is an ordinary HDF5 file. Its large datasets (time, row, column) are cut into chunks of all
times (up to 2048) by 8x8 pixels, not compressed, so that a stamp lies in a few contiguous pieces;
neighbouring chunks of a row follow one another.

The HDF5 library writes a *skeleton* once: all small datasets and attributes, and the space of every
chunk. From then on nothing but plain bytes are put where they belong, by several processes at once.
There is no moment at which killing a process leaves a file that HDF5 cannot read, and doing a piece
again writes the same bytes to the same bytes of the file.
"""

import fcntl
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import TryAgainError
from ..files import atomic_write, write_json
from ..pixels.imagecube import QUANTITIES
from ..pixels.stamp import pixel_flags
from .background import FLUX_CUT, BackgroundModel

log = logging.getLogger(__name__)

TILE = 8  # pixels, side of a chunk
MAX_TIMES = 2048  # in a chunk
GIB = 2**30
# to be counted up when results change: cubes begun by an older version are begun anew
PLAN_VERSION = 2


@dataclass(frozen=True)
class ChunkLayout:
    """Where the chunks of one (time, row, column) dataset lie in the file."""

    offset: int  # bytes, of the first chunk
    chunk: tuple  # (n_times, n_rows, n_columns)
    n_chunks: tuple  # likewise, of the whole dataset
    dtype: str

    @property
    def chunk_bytes(self):
        return int(np.prod(self.chunk)) * np.dtype(self.dtype).itemsize

    def write_band(self, handle, block, band, values):
        """Put one block of times of one band, the rows of a chunk over all columns, into the file.

        Parameters
        ----------
        handle : file descriptor open for writing
        block, band : int, number of the chunk in time and in rows
        values : (n_times, n_rows, n_columns) array; at most one chunk in time and rows
        """
        n_times, n_rows, n_columns = self.chunk
        padded = values
        width = self.n_chunks[2] * n_columns
        if values.shape != (
            n_times,
            n_rows,
            width,
        ):  # at the far edges chunks reach beyond the data
            padded = np.zeros((n_times, n_rows, width), dtype=self.dtype)
            padded[: values.shape[0], : values.shape[1], : values.shape[2]] = values
        chunks = padded.reshape(n_times, n_rows, self.n_chunks[2], n_columns).transpose(2, 0, 1, 3)
        first = (block * self.n_chunks[1] + band) * self.n_chunks[2]
        write_at(
            handle,
            self.offset + first * self.chunk_bytes,
            np.ascontiguousarray(chunks, dtype=self.dtype),
        )


@dataclass(frozen=True)
class Layout:
    """Places of everything in a skeleton that is filled later."""

    shape: tuple  # (n_times, n_rows, n_columns)
    chunks: dict  # quantity -> ChunkLayout
    sumimage_offset: int  # bytes; (n_rows, n_columns) float32

    @property
    def n_bands(self):
        return self.chunks["flux"].n_chunks[1]

    def time_blocks(self):
        """Slices of the times of each chunk."""
        step = self.chunks["flux"].chunk[0]
        return [
            slice(first, min(first + step, self.shape[0]))
            for first in range(0, self.shape[0], step)
        ]

    def band_rows(self, band):
        """(start, stop) of the rows of a band"""
        step = self.chunks["flux"].chunk[1]
        return band * step, min((band + 1) * step, self.shape[1])


def write_skeleton(path, shape, datasets, attributes):
    """Write an HDF5 file with everything but the pixels, whose space is set aside.

    Parameters
    ----------
    path : file to write, replacing what is there
    shape : (n_times, n_rows, n_columns)
    datasets : dict of small arrays
    attributes : dict of numbers and strings
    """
    import h5py

    with h5py.File(path, "w", libver="v110") as file:
        # texts of fixed length: they lie under the checksums of the file, those of any length on a
        # heap that has none, and HDF5 can read for ever in a damaged one
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
        for name, value in datasets.items():
            texts = isinstance(value, list) and isinstance(value[0], str)
            # as an array: of a list, h5py makes texts of any length
            data = np.array([text.encode() for text in value]) if texts else value
            file.create_dataset(name, data=data)
        _set_aside(file, "sumimage", shape[1:], None, np.float32)
        for name, dtype in QUANTITIES.items():
            chunk = tuple(
                min(limit, size) for limit, size in zip((MAX_TIMES, TILE, TILE), shape, strict=True)
            )
            _set_aside(file, name, shape, chunk, dtype)


def read_layout(path):
    """Where a skeleton wants its pixels.

    Raises
    ------
    OSError : the file is not an HDF5 file, or its chunks do not follow one another
    """
    import h5py

    with h5py.File(path, "r") as file:
        chunks = {name: _chunk_layout(file[name]) for name in QUANTITIES}
        return Layout(file["flux"].shape, chunks, file["sumimage"].id.get_offset())


def _chunk_layout(dataset):
    chunk = dataset.chunks
    n_chunks = tuple(-(-size // side) for size, side in zip(dataset.shape, chunk, strict=True))
    last_corner = tuple((n - 1) * side for n, side in zip(n_chunks, chunk, strict=True))
    first, last = (
        dataset.id.get_chunk_info_by_coord(corner) for corner in ((0, 0, 0), last_corner)
    )
    layout = ChunkLayout(first.byte_offset, chunk, n_chunks, dataset.dtype.str)
    if last.byte_offset != layout.offset + (int(np.prod(n_chunks)) - 1) * layout.chunk_bytes:
        raise OSError(
            f"{dataset.file.filename}: the chunks of {dataset.name} do not lie one after the other"
        )
    return layout


def _set_aside(file, name, shape, chunk, dtype):
    """Make a dataset whose space is allocated now and filled afterwards."""
    import h5py

    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunk is not None:
        creation.set_chunk(chunk)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)  # the same images give the same bytes
    kind = h5py.h5t.py_create(np.dtype(dtype))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), creation)


def write_at(handle, offset, values):
    """Write an array's bytes at an offset of a file, all of them.

    Parameters
    ----------
    handle : file descriptor open for writing
    offset : int, bytes
    values : contiguous array
    """
    view = memoryview(values).cast("B")
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


@dataclass(frozen=True)
class Sky:
    """The background of all frames, as it is removed."""

    model: BackgroundModel
    mesh: np.ndarray  # (n_times, n_tile_rows, n_tile_columns) e-/s, smoothed
    glow: np.ndarray  # (n_times, n_rings) e-/s
    # (n_times, n_tile_rows, n_tile_columns) bool: the mesh as measured is far from the smoothed one
    jumped: np.ndarray

    def jumped_pixels(self, times, start, stop):
        """(n_times, n_rows, n_columns) bool array for some rows

        Parameters
        ----------
        times : slice
        start, stop : int, the rows
        """
        rows = np.arange(start, stop) // self.model.tile[0]
        columns = np.arange(self.model.shape[1]) // self.model.tile[1]
        return self.jumped[times][:, rows][:, :, columns]


def write_band(path, layout: Layout, frames, sky: Sky, good, band):
    """Fill one band of the cube, the rows of one chunk in all frames, and make sure that it is on
    the disk.

    Parameters
    ----------
    path : the cube's file
    frames : list of Frame
    good : (n_times,) bool array, the frames that count in the sum image
    band : int
    """
    start, stop = layout.band_rows(band)
    total = np.zeros((stop - start, layout.shape[2]))
    count = np.zeros(total.shape, dtype=np.int64)
    handle = os.open(path, os.O_WRONLY)
    try:
        for block, times in enumerate(layout.time_blocks()):
            flux = _read(frames[times], "read_flux", start, stop)
            background = sky.model.rows(sky.mesh[times], sky.glow[times], start, stop)
            flags = pixel_flags(flux, FLUX_CUT, sky.jumped_pixels(times, start, stop))
            flux -= background
            layout.chunks["flux"].write_band(handle, block, band, flux)
            layout.chunks["background"].write_band(handle, block, band, background)
            layout.chunks["pixel_flags"].write_band(handle, block, band, flags)
            _accumulate(flux, good[times], total, count)
            del flux, background, flags  # before the errors take as much
            errors = _read(frames[times], "read_error", start, stop)
            layout.chunks["error"].write_band(handle, block, band, errors)
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        offset = layout.sumimage_offset + start * layout.shape[2] * 4
        write_at(handle, offset, mean.astype(np.float32))
        os.fsync(handle)
    finally:
        os.close(handle)


def band_memory(shape, n_rows):
    """Bytes that `write_band` needs at most: flux, background, a copy in the order of the chunks,
    flags and what makes them.
    """
    return min(shape[0], MAX_TIMES) * n_rows * shape[2] * (4 + 4 + 4 + 6)


def _read(frames, read, start, stop):
    first = getattr(frames[0], read)(start, stop)
    values = np.empty((len(frames), *first.shape), dtype=np.float32)
    values[0] = first
    for i, frame in enumerate(frames[1:], start=1):
        values[i] = getattr(frame, read)(start, stop)
    return values


def _accumulate(flux, good, total, count):
    """Add the good frames to a running sum, one at a time: no copies."""
    for i in np.flatnonzero(good):
        finite = np.isfinite(flux[i])
        total += np.where(finite, flux[i], 0)
        count += finite


class WorkFolder:
    """The hidden folder beside a cube that holds what is finished of it. A context manager that
    locks it.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.folder = self.path.with_name(f".{self.path.stem}.part")
        self.cube = self.folder / "cube.hdf5"
        self._bands = self.folder / "bands_on_disk.txt"
        self._plan = self.folder / "plan.json"
        self._lock = None

    def __getstate__(self):
        return self.__dict__ | {"_lock": None}

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise TryAgainError(
                f"{self.path}: another process is preparing it; wait for it, or stop it"
            ) from error
        return self

    def __exit__(self, *_):
        self._lock.close()

    def begin(self, frames):
        """Keep what is finished if it is of the same images, otherwise start from nothing."""
        plan = {"version": PLAN_VERSION, "frames": [_identity(frame) for frame in frames]}
        plan = json.loads(json.dumps(plan))
        if self._read_plan() == plan:
            log.info("%s: going on where an earlier call stopped", self.path)
            return
        for old in self.folder.iterdir():
            if old.name != "lock":
                old.unlink()
        write_json(self._plan, plan, durable=True)

    def _read_plan(self):
        """What is kept here is of; None where that is not known, because nothing is kept or the
        file is damaged.
        """
        try:
            return json.loads(self._plan.read_text())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            log.warning("%s: damaged; the cube is begun anew", self._plan)
            return None

    def measured(self, i):
        """Path of a batch of measured frames."""
        return self.folder / f"measured_{i:05d}.npz"

    def make_skeleton(self, frames, datasets, attributes):
        """Write the cube without its pixels, unless it is there.

        Parameters
        ----------
        frames : list of Frame
        datasets : dict of small arrays
        attributes : dict of numbers and texts
        """
        if self.cube.exists():
            return
        shape = (len(frames), *frames[0].shape)
        needed = np.prod(shape) * sum(np.dtype(kind).itemsize for kind in QUANTITIES.values())
        free = shutil.disk_usage(self.folder).free
        if free < 1.02 * needed:
            raise TryAgainError(
                f"{self.folder}: the cube needs {needed / GIB:.1f} GiB, the disk has "
                f"{free / GIB:.1f} GiB free"
            )
        self._bands.unlink(missing_ok=True)
        with atomic_write(self.cube) as part:
            write_skeleton(part, shape, datasets, attributes)

    def finished_bands(self):
        """Set of the bands that are on the disk. A last line that was cut short is removed."""
        if not self._bands.exists():
            return set()
        whole, newline, _ = self._bands.read_text(errors="replace").rpartition("\n")
        if not all(line.isascii() and line.isdigit() for line in whole.split()):
            log.warning("%s: damaged; all pixels are written anew", self._bands)
            self._bands.unlink()
            return set()
        with atomic_write(self._bands) as part:
            part.write_text(whole + newline)
        return {int(line) for line in whole.split()}

    def note_band(self, band):
        """Note that a band is on the disk."""
        with open(self._bands, "a") as file:
            file.write(f"{band}\n")

    def remove_leftovers(self):
        """Remove the folder if it is still there, because `finish` was killed in the middle."""
        if self.folder.exists():
            with self:
                shutil.rmtree(self.folder)

    def finish(self):
        """Give the cube its name and remove the folder."""
        self.cube.replace(self.path)
        shutil.rmtree(self.folder)


def _identity(frame):
    stat = Path(frame.flux.path).stat()
    return [frame.flux.path, frame.flux.offset, stat.st_size, stat.st_mtime_ns, *frame.flux.rows]
