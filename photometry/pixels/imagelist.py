"""Which full-frame images a folder holds, sorted into the cubes that they make."""

import logging
from collections import defaultdict
from pathlib import Path

import numpy as np

from ..errors import BadInputError, WrongUseError
from .ffi import ACCEPTED, is_packed, read_frames, unpack

log = logging.getLogger(__name__)
ENDINGS = (".fits", ".fits.gz", ".fits.fz", ".fit")


def find_image_files(folder):
    """All FITS files of a folder and the folders below it, sorted by name; hidden folders are left out.

    Raises
    ------
    WrongUseError : the folder does not exist
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise WrongUseError(
            f"{folder}: there is no such folder; expected a folder with {ACCEPTED}s"
        )
    paths = (
        path for path in folder.rglob("*.fit*") if path.name.endswith(ENDINGS) and path.is_file()
    )
    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_file(path, scratch):
    """Frames of one file, or the reason why there are none.

    Parameters
    ----------
    path : file
    scratch : folder for uncompressed copies

    Returns
    -------
    frames : list of Frame
    problem : str, or None
    """
    try:
        frames = read_frames(path)
        if frames and is_packed(path):
            frames = read_frames(unpack(path, scratch))
    except BadInputError as error:
        return [], str(error)
    return frames, None


def group_frames(frames, *, sector=None, camera=None, ccd=None):
    """Sort frames into cubes.

    Returns
    -------
    groups : dict (mission, sector, camera, ccd, cadence) -> list of Frame in order of time

    Raises
    ------
    WrongUseError : two groups would be the same cube, or images of one cube do not fit one another
    """
    groups = defaultdict(list)
    wanted = (sector, camera, ccd)
    for frame in frames:
        if all(
            want is None or want == have
            for want, have in zip(wanted, frame.group[1:4], strict=True)
        ):
            groups[frame.group].append(frame)
    _refuse_same_cube(groups)
    return {group: _in_order(groups[group]) for group in sorted(groups)}


def _in_order(frames):
    frames = sorted(frames, key=lambda frame: (frame.time, frame.flux.path))
    first = frames[0]
    for frame in frames:
        if (frame.shape, frame.first_row, frame.first_column) != (
            first.shape,
            first.first_row,
            first.first_column,
        ):
            raise WrongUseError(
                f"{frame.flux.path}: {frame.shape} pixels from row {frame.first_row}, column {frame.first_column}, but "
                f"{first.flux.path} has {first.shape} from {first.first_row}, {first.first_column}; images of different parts of "
                f"a CCD do not make one cube: put them in folders of their own"
            )
    repeated = np.flatnonzero(np.diff([frame.time for frame in frames]) == 0)
    if repeated.size:
        a, b = frames[repeated[0]], frames[repeated[0] + 1]
        raise WrongUseError(
            f"{a.flux.path} and {b.flux.path} are of the same time; keep one of them"
        )
    return frames


def _refuse_same_cube(groups):
    seen = {}
    for group in groups:
        if group[1:4] in seen:
            raise WrongUseError(
                f"images of sector {group[1]}, camera {group[2]}, CCD {group[3]} are of different missions or cadences "
                f"({seen[group[1:4]][0]} {seen[group[1:4]][4]} s, {group[0]} {group[4]} s); put them in folders of their own"
            )
        seen[group[1:4]] = group
