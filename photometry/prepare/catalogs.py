"""For which CCDs a folder of data needs catalogues, which part of the sky each sees, and making
them all.
"""

import itertools
import logging
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from ..catalog.ccd import find_star_table
from ..catalog.tables import make_catalog, read_stars, sector_epoch
from ..errors import BadInputError, WrongUseError
from ..pixels.find import identify
from ..pixels.imagecube import find_cubes
from ..pixels.tess import FIRST_COLUMN, FIRST_ROW, optical_axis
from ..sky import in_polygon, propagate
from .ffi import find_image_files, read_frames
from .frames import headers_of

log = logging.getLogger(__name__)

MARGIN = 20  # pixels: stars beside a CCD whose light still falls on it
WHOLE_CCD = (2048, 2048)  # rows, columns


def make_catalogs(folder, *, stars=None, chosen=None, epoch=None, ticver=None):
    """Make the catalogue of every CCD.

    Parameters
    ----------
    folder : the input folder
    stars : table of stars; default the file ``catalog.{ecsv,csv,fits,vot,parquet}`` of the folder
    chosen : dict of sector, camera, ccd -> list of int, or None: those of the data in the folder
    epoch : float, Julian year; default that of the cube, or of the sector
    ticver : str, where the stars come from

    Yields
    ------
    path, n_stars : of each catalogue, when it is made

    Raises
    ------
    WrongUseError : the folder is missing, there is no table of stars, it cannot be read or has no
        star on a CCD, or it is not known for which CCDs
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WrongUseError(f"{folder}: no such folder; expected the folder with the data")
    table = find_star_table(folder) if stars is None else Path(stars)
    if table is None:
        raise WrongUseError(
            f"{folder}: no catalog.ecsv, .csv, .fits, .vot or .parquet; put the stars there, or "
            "say --stars FILE"
        )
    content = read_stars(table)
    for (sector, camera, ccd), footprint in _wanted(folder, chosen or {}).items():
        year = sector_epoch(sector) if epoch is None else epoch
        here = content if footprint is None else content[_on(footprint["corners"], content, year)]
        if len(here) == 0:
            raise WrongUseError(
                f"{table}: none of its {len(content)} stars is on sector {sector}, camera "
                f"{camera}, CCD {ccd}"
            )
        centre = (footprint or {}).get("camera_centre") or _centre_in_header(content)
        corners = footprint["corners"] if footprint else ()
        path = make_catalog(
            here,
            folder,
            sector,
            camera,
            ccd,
            epoch=year,
            ticver=ticver,
            camera_centre=centre,
            footprint=corners,
        )
        yield path, len(here)


def _wanted(folder, chosen):
    """The CCDs that are asked for, among those of the data where these are known: (sector, camera,
    ccd) -> footprint or None.
    """
    found = _ccds_of_cubes(folder) or _ccds_of_images(folder)
    names = ("sector", "camera", "ccd")
    wanted = {
        key: value
        for key, value in found.items()
        if all(chosen.get(n) is None or k in chosen[n] for n, k in zip(names, key, strict=True))
    }
    if not wanted and all(chosen.get(name) for name in names):
        wanted = dict.fromkeys(itertools.product(*(chosen[name] for name in names)))
    if not wanted:
        present = ", ".join(f"{s}/{k}/{c}" for s, k, c in sorted(found)) or "none"
        raise WrongUseError(
            f"{folder}: no data of the sector, camera and CCD asked for (there are {present}); "
            "say --sector, --camera and --ccd for a catalogue without data"
        )
    return wanted


def _ccds_of_cubes(folder):
    return {
        (cube.sector, cube.camera, cube.ccd): _footprint(cube.wcs, cube)
        for cube in find_cubes(folder)
    }


def _ccds_of_images(folder):
    """From the FITS files: full-frame images say what they see, target pixel files only of which
    CCD they are.
    """
    found = {}
    for path in find_image_files(folder):
        try:
            frames = read_frames(path)
            if not frames:
                what = identify(path)
                found.setdefault((what["sector"], what["camera"], what["ccd"]), None)
        except BadInputError as error:
            log.debug("passed over while looking for CCDs: %s", error)
            continue
        for frame in frames[:1] if len({frame.group for frame in frames}) == 1 else frames:
            if found.get(frame.group[1:4]) is None:
                found[frame.group[1:4]] = _footprint(WCS(headers_of(frame)[1]), frame)
    return found


def _footprint(wcs, image):
    """Corners on the sky with a margin, and the camera's centre where it is known, as (ra, decl)
    in deg.
    """
    n_rows, n_columns = image.shape
    low, right, top = -0.5 - MARGIN, n_columns - 0.5 + MARGIN, n_rows - 0.5 + MARGIN
    corners = wcs.all_pix2world([(low, low), (right, low), (right, top), (low, top)], 0)
    centre = None
    if image.mission == "TESS" and image.shape == WHOLE_CCD:
        row, column = optical_axis(image.ccd)
        centre = tuple(wcs.all_pix2world([(column - FIRST_COLUMN, row - FIRST_ROW)], 0)[0].tolist())
    return {"corners": np.array(corners), "camera_centre": centre}


def _on(corners, stars, year):
    """Which stars are within the corners in that year."""
    moved = propagate(
        *(np.asarray(stars[n]) for n in ("ra_J2000", "decl_J2000", "pm_ra", "pm_decl")),
        year - 2000.0,
    )
    return in_polygon(*moved, corners)


def _centre_in_header(stars):
    """The camera's centre as the header of the star table gives it (simulated ones do), or None."""
    centre = tuple(stars.meta.get(f"camera_centre_{name}") for name in ("ra", "dec"))
    return None if None in centre else centre
