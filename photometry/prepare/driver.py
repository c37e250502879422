"""`photometry prepare`: the full-frame images of a folder become image cubes, one HDF5 file per
CCD.

Two passes over the images. The first measures on each frame alone what can be measured there:
background, stars, usable pixels. Between them the background is smoothed in time, bad frames are
found and the movement of the stars is fitted. The second pass removes the background and puts the
pixels where they belong, the rows of one chunk at a time.

Everything finished is kept in a hidden folder beside the cube, ``.sector001_camera1_ccd1.part``:
batches of measured frames as files of their own, and a list of the rows that are in the cube and on
the disk. Whatever kills the program, the next call goes on from there, with the same result. The
cube gets its name when it is complete.
"""

import contextlib
import json
import logging
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._version import __version__
from ..constants import MAD_TO_SIGMA
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..flags import DEFAULT_BITMASK, bitmask
from ..pixels.imagecube import FORMAT, VERSION, ImageCube, cube_path, small_image_warnings
from ..pixels.stamp import BAD_FRAME, HIGH_BACKGROUND, background_flags
from ..processes import Pool
from . import cubefile
from .background import smooth_in_time
from .cubefile import GIB, WorkFolder
from .ffi import find_image_files, read_file
from .frames import group_frames, headers_of, times_of
from .measure import (
    Measured,
    against_median,
    background_model,
    choose_reference,
    find_bad_frames,
    fit_movement,
    measure,
)

log = logging.getLogger(__name__)
MEMORY = 1.8 * GIB  # bytes, all processes together
BASE_MEMORY = 150 * 2**20  # bytes, of a Python process with its libraries
BATCH = 8  # frames measured between two saves
_KEPT = (
    "TELESCOP INSTRUME DATA_REL PROCVER TICVER SCCONFIG CRMITEN CRBLKSZ EXPOSURE TIMEREF TASSIGN "
    "TIMESYS BJDREFI BJDREFF TIMEUNIT"
    " DEADC TIMEPIXR TIERRELA INT_TIME READTIME FRAMETIM NUM_FRM TIMEDEL BACKAPP DEADAPP VIGNAPP "
    "NREADOUT GAINA GAINB GAINC GAIND"
    " READNOIA READNOIB READNOIC READNOID"
)


@dataclass(frozen=True)
class Prepared:
    """What became of one cube."""

    path: Path
    n_frames: int
    n_bad: int  # frames found bad, beside those that the mission flags
    new: bool  # False: it was there already
    seconds: float


@dataclass(frozen=True)
class Report:
    """What became of a folder."""

    cubes: list
    skipped: list = field(default_factory=list)  # messages, one per file that could not be used


def prepare(
    folder,
    output=None,
    *,
    sector=None,
    camera=None,
    ccd=None,
    workers=1,
    memory=MEMORY,
    overwrite=False,
    progress=None,
):
    """Make the image cubes of all full-frame images in a folder.

    Parameters
    ----------
    folder : folder with FITS files, searched with the folders below it; or one file
    output : folder for the cubes; default: ``folder``
    sector, camera, ccd : int, to prepare only these
    workers : int, processes
    memory : float, bytes that all processes together may use; fewer workers are used where they
        would need more
    overwrite : bool, make cubes anew that are there already
    progress : callable(stage, n_done, n_all), called in this process whenever something is finished

    Returns
    -------
    Report

    Raises
    ------
    WrongUseError : there is nothing to prepare, or images do not fit one another
    TryAgainError : the disk is full, or another process prepares the same cube
    """
    files = find_image_files(folder)
    output = Path(output or (Path(folder).parent if Path(folder).is_file() else folder))
    output.mkdir(parents=True, exist_ok=True)
    progress = progress or (lambda stage, done, n: None)
    frames, skipped = _list_frames(files, output, workers, progress)
    groups, left_out = group_frames(frames, sector=sector, camera=camera, ccd=ccd)
    for problem in left_out:
        log.warning("%s; left out", problem)
    skipped += left_out
    if not groups:
        raise WrongUseError(_nothing_found(folder, frames, skipped))
    cubes, missing = [], []
    for group in groups:
        path = cube_path(output, *group[0].group[1:4])
        try:
            if path.exists() and not overwrite:
                cubes.append(_already_there(path, group))
            else:
                missing.append((path, group))
        except BadInputError as error:
            log.warning("%s; give --overwrite to make it anew", error)
            skipped.append(str(error))
    for path, group in missing:
        try:
            cubes.append(_prepare_cube(path, group, workers, memory, progress))
        except BadInputError as error:
            log.warning("%s; no cube", error)
            skipped.append(str(error))
    with contextlib.suppress(OSError):
        shutil.rmtree(output / ".unpacked")
    return Report(sorted(cubes, key=lambda cube: cube.path), skipped)


def _list_frames(paths, output, workers, progress):
    scratch = output / ".unpacked"
    if any(path.suffix in (".gz", ".fz") for path in paths):
        scratch.mkdir(exist_ok=True)
    frames, skipped = [], []
    with Pool(workers, _read_one, (scratch,)) as pool:
        for done, (found, problem) in enumerate(pool.in_order(paths), start=1):
            frames += found
            if problem:
                log.warning("%s; left out", problem)
                skipped.append(problem)
            progress("reading headers", done, len(paths))
    return frames, skipped


def _read_one(shared, path):
    return read_file(path, shared[0])


def _nothing_found(folder, frames, skipped):
    if frames:
        kinds = sorted({frame.group[1:4] for frame in frames})
        present = "; ".join("sector {}, camera {}, CCD {}".format(*kind) for kind in kinds[:5])
        return f"{folder}: no images of the sector, camera and CCD asked for; there are {present}"
    broken = f" ({len(skipped)} could not be read; the first: {skipped[0]})" if skipped else ""
    return (
        f"{folder}: no full-frame images found{broken}; expected FITS files of TESS (SPOC, TICA), "
        "TessCut or Kepler"
    )


def _prepare_cube(path, frames, workers, memory, progress):
    began = time.monotonic()
    for warning in small_image_warnings(frames[0].shape):
        log.warning("%s: %s", path, warning)
    if frames[0].cropped:
        log.warning(
            "%s: is cropped, its header announces more pixels than it has; the %d x %d that are "
            "there are taken, counted from "
            "the first of the CCD",
            frames[0].flux.path,
            *frames[0].shape,
        )
    with WorkFolder(path) as work:
        work.begin(frames)
        model = background_model(frames[0])
        reference = choose_reference(frames, model)
        measured = _first_pass(
            work,
            frames,
            model,
            reference,
            affordable(workers, _measure_memory(frames), memory),
            progress,
        )
        times = times_of(frames, reference.index)
        sky, good, datasets = _model_background(frames, times, measured, model, reference)
        work.make_skeleton(frames, datasets, _attributes(frames, times, reference))
        needed = cubefile.band_memory((len(frames), *frames[0].shape), cubefile.TILE)
        _second_pass(work, frames, sky, good, affordable(workers, needed, memory), progress)
        work.finish()
    return Prepared(
        path,
        len(frames),
        int(np.count_nonzero(datasets["quality"] & BAD_FRAME.bit)),
        True,
        time.monotonic() - began,
    )


def _already_there(path, frames):
    WorkFolder(path).remove_leftovers()
    with ImageCube(path) as cube:
        if cube.n_times != len(frames):
            raise WrongUseError(
                f"{path}: is there already, with {cube.n_times} images, but the folder has "
                f"{len(frames)}; "
                f"remove it or give --overwrite to make it anew"
            )
        n_bad = int(np.count_nonzero(cube.quality & BAD_FRAME.bit))
    return Prepared(path, len(frames), n_bad, False, 0.0)


def affordable(workers, needed, memory):
    """As many workers as fit into the memory beside this process, but at least one; ``needed`` is
    what each adds, bytes.

    Parameters
    ----------
    workers : int, wanted
    needed : float, bytes that each adds
    memory : float, bytes of all processes together
    """
    return max(1, min(workers, int((memory - 2 * BASE_MEMORY) // (needed + BASE_MEMORY))))


def _measure_memory(frames):
    return np.prod(frames[0].shape) * 8 * 8  # bytes: measured, about eight images of float64


def _first_pass(work, frames, model, reference, workers, progress):
    batches = [slice(first, first + BATCH) for first in range(0, len(frames), BATCH)]
    missing = [i for i in range(len(batches)) if not work.measured(i).exists()]
    progress(
        "measuring frames", len(frames) - sum(len(frames[batches[i]]) for i in missing), len(frames)
    )
    with Pool(
        min(workers, len(missing)), _measure_batch, (work, frames, model, reference, batches)
    ) as pool:
        for done in pool.as_done(missing):
            missing.remove(done)
            progress(
                "measuring frames",
                len(frames) - sum(len(frames[batches[i]]) for i in missing),
                len(frames),
            )
    return Measured.load([work.measured(i) for i in range(len(batches))])


def _measure_batch(shared, i):
    work, frames, model, reference, batches = shared
    measured = measure(frames[batches[i]], model, reference)
    with atomic_write(work.measured(i)) as part:
        measured.save(part)
    return i


def _second_pass(work, frames, sky, good, workers, progress):
    layout = cubefile.read_layout(work.cube)
    finished = work.finished_bands()
    missing = [band for band in range(layout.n_bands) if band not in finished]
    progress("writing pixels", layout.n_bands - len(missing), layout.n_bands)
    with Pool(min(workers, len(missing)), _write_one, (work, layout, frames, sky, good)) as pool:
        for done, band in enumerate(pool.as_done(missing), start=1):
            work.note_band(band)
            progress("writing pixels", layout.n_bands - len(missing) + done, layout.n_bands)


def _write_one(shared, band):
    work, *arguments = shared
    cubefile.write_band(work.cube, *arguments, band)
    return band


def _model_background(frames, times, measured, model, reference):
    """What follows from the first pass: the background to remove, the good frames, and the small
    datasets of the cube.
    """
    mission_quality = np.array([frame.quality for frame in frames], dtype=np.int64)
    movement, scatter = fit_movement(measured.positions, reference.positions, model.shape)
    bad = find_bad_frames(measured.finite, measured.star_flux, movement)
    bad |= ~np.isfinite(measured.mesh).all(axis=(1, 2))
    level = np.where(bad, np.nan, np.median(measured.mesh, axis=(1, 2)))
    mission = frames[0].mission
    excluded = BAD_FRAME.bit | bitmask(["ManualExclude"], mission)
    quality = (
        mission_quality | np.where(bad, excluded, 0) | background_flags(level, high=HIGH_BACKGROUND)
    )
    usable = ~bad
    movement = against_median(movement, np.isfinite(scatter), usable)
    mesh, glow = smooth_in_time(times.time, measured.mesh, usable), measured.glow
    if model.n_rings:
        glow = smooth_in_time(times.time, glow[:, None, :], usable)[:, 0]
    jumped = _jumped(measured.mesh, mesh, measured.background_err)
    sky = cubefile.Sky(model, mesh, glow, jumped)
    good = (quality & DEFAULT_BITMASK[mission]) == 0
    if not good.any():
        good = usable
    datasets = times.datasets() | {
        "quality": quality.astype(np.int32),
        "cadenceno": np.array([frame.cadenceno for frame in frames], dtype=np.int32),
        "background_err": measured.background_err.astype(np.float32),
        "background_mesh": sky.mesh.astype(np.float32),
        "background_glow": sky.glow.astype(np.float32),
        "movement": movement,
        "movement_scatter": scatter,
        "reference_stars": reference.positions,
        "filename": [Path(frame.flux.path).name for frame in frames],
    }
    return sky, good, datasets


def _jumped(mesh, smooth, error, limit=5):
    """Where a tile as measured is far from what it is between the frames around it."""
    difference = mesh - smooth
    spread = MAD_TO_SIGMA * np.nanmedian(np.abs(difference), axis=0) + 3 * np.nanmedian(error)
    return np.abs(difference) > limit * spread


def _attributes(frames, times, reference):
    frame = frames[reference.index]
    primary, image = headers_of(frame)
    headers = {
        k: h[k]
        for h in (primary, image)
        for k in _KEPT.split()
        if k in h and isinstance(h[k], int | float | str)
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "creator": f"photometry {__version__}",
        "mission": frame.mission,
        "sector": frame.sector,
        "camera": frame.camera,
        "ccd": frame.ccd,
        "cadence": frame.cadence,
        "exposure": frame.exposure,
        "time_reference": frame.time_reference,
        "first_row": frame.first_row,
        "first_column": frame.first_column,
        "time_ra": times.direction[0],
        "time_decl": times.direction[1],
        "position_error": times.position_error,
        "rounding_error": times.rounding_error,
        "reference_frame": reference.index,
        "header_primary": primary.tostring(sep="\n"),
        "header_image": image.tostring(sep="\n"),
        "headers": json.dumps(headers),
    }


def default_workers():
    """Processors that this process may use."""
    import os

    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )


def refuse_bad_numbers(workers, memory):
    """Raise WrongUseError where options are outside their ranges."""
    if workers < 1:
        raise WrongUseError(f"workers={workers}: expected a whole number from 1")
    if memory < 0.5 * GIB:
        raise WrongUseError(f"memory={memory / GIB:g} GiB: expected 0.5 or more")
