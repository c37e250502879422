"""Second pass of `prepare`: pixels from the FITS files, minus the background, to their places in the cube."""

import os
from dataclasses import dataclass

import numpy as np

from .background import FLUX_CUT, BackgroundModel
from .cubefile import Layout, write_at
from .pixelflags import pixel_flags


@dataclass(frozen=True)
class Sky:
    """The background of all frames, as it is removed."""

    model: BackgroundModel
    mesh: np.ndarray  # (n_times, n_tile_rows, n_tile_columns) e-/s, smoothed
    glow: np.ndarray  # (n_times, n_rings) e-/s
    jumped: np.ndarray  # (n_times, n_tile_rows, n_tile_columns) bool: the mesh as measured is far from the smoothed one

    def jumped_pixels(self, times, start, stop):
        """(n_times, n_rows, n_columns) bool array for some rows"""
        rows = np.arange(start, stop) // self.model.tile[0]
        columns = np.arange(self.model.shape[1]) // self.model.tile[1]
        return self.jumped[times][:, rows][:, :, columns]


def write_band(path, layout: Layout, frames, sky: Sky, good, band):
    """Fill one band of the cube, the rows of one chunk in all frames, and make sure that it is on the disk.

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
            layout.places["flux"].write_band(handle, block, band, flux)
            layout.places["background"].write_band(handle, block, band, background)
            layout.places["pixel_flags"].write_band(handle, block, band, flags)
            _accumulate(flux, good[times], total, count)
            del flux, background, flags  # before the errors take as much
            errors = _read(frames[times], "read_error", start, stop)
            layout.places["error"].write_band(handle, block, band, errors)
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        offset = layout.sumimage_offset + start * layout.shape[2] * 4
        write_at(handle, offset, mean.astype(np.float32))
        os.fsync(handle)
    finally:
        os.close(handle)


def band_memory(shape, n_rows):
    """Bytes that `write_band` needs at most: flux, background, a copy in the order of the chunks, flags and what makes them."""
    from .cubefile import MAX_TIMES

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
        known = np.isfinite(flux[i])
        total += np.where(known, flux[i], 0)
        count += known
