"""The targets of a folder of target pixel files: the stars the files were made for, and others that fall on their pixels.

A row is a dict with the columns of ``todolist``: starid, sector, camera, ccd, cadence, datasource, tmag, cbv_area.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ..catalog.ccd import open_catalog
from ..errors import WrongUseError
from ..pixels.tesscamera import distance_from_axis
from ..sky import separation
from .area import cbv_area
from .pixelfiles import PixelFile, find_fits_files, inspect_file

log = logging.getLogger(__name__)


@dataclass
class Found:
    """What a source of targets holds."""

    rows: list = field(default_factory=list)
    files: list = field(default_factory=list)  # of PixelFile, for the index
    damaged: list = field(default_factory=list)  # what is wrong with which file, one sentence each
    passed_over: Counter = field(default_factory=Counter)  # what other files there are -> how many


def targets_of_folder(folder, template, *, progress=iter):
    """Find the targets of all target pixel files in and below a folder.

    Parameters
    ----------
    folder : pathlib.Path
    template : Template
    progress : function that wraps the sequence of files

    Raises
    ------
    WrongUseError : there is no target pixel file
    CatalogError : the star catalogue of the folder cannot be read
    """
    found = Found()
    for path in progress(find_fits_files(folder)):
        what = inspect_file(path)
        if isinstance(what, PixelFile):
            found.files.append(what)
        else:
            found.passed_over[what] += 1
    if not found.files:
        others = (
            "; ".join(f"{number} x {what}" for what, number in found.passed_over.items())
            or "no FITS file at all"
        )
        raise WrongUseError(
            f"{folder}: no target pixel file here or in the folders below ({others})"
        )
    found.files = _one_per_target(found.files)
    found.damaged = [file.damage for file in found.files if file.damage]
    found.rows = [_primary(file, _catalog(folder, file)) for file in found.files]
    if template.secondaries:
        found.rows += _secondaries(folder, found.files, template.faint_limit)
    return found


def _one_per_target(files):
    """Of several files of one star, sector and cadence, the last that is not damaged: names begin with a time."""
    best = {}
    for file in files:
        key = (file.starid, file.sector, file.cadence)
        if key in best:
            log.info(
                "two files of star %d, sector %d, cadence %d s: %s and %s",
                *key,
                best[key].path,
                file.path,
            )
        if key not in best or best[key].damage or not file.damage:
            best[key] = file
    return list(best.values())


def _catalog(folder, file):
    """The catalogue of the file's CCD, at the epoch at which the pixels will be read (see ``catalog.stars``)."""
    epoch = None if file.mission == "TESS" or file.epoch is None else round(file.epoch, 1)
    return open_catalog(folder, file.sector, file.camera, file.ccd, epoch=epoch)


def _primary(file, catalog):
    tmag = file.tmag
    if tmag is None and catalog is not None and (star := catalog.star(file.starid)):
        tmag = star["tmag"]
    place = (np.nan, np.nan)
    if file.wcs is not None and np.isfinite(file.ra) and file.wcs.has_celestial:
        place = [float(x) for x in file.wcs.wcs_world2pix(file.ra, file.decl, 0)]
    return _row(file, file.starid, "tpf", tmag, (file.ra, file.decl), place, catalog)


def _row(file, starid, datasource, tmag, sky, place, catalog):
    where = {name: getattr(file, name) for name in ("sector", "camera", "ccd", "cadence")}
    area = cbv_area(file.camera, file.ccd, _distance(file, sky, place, catalog))
    return {
        "starid": int(starid),
        **where,
        "datasource": datasource,
        "tmag": tmag,
        "cbv_area": area,
    }


def _distance(file, sky, place, catalog):
    """Degrees from the camera's centre: on the sky if the catalogue tells where that is, else on the detector; None if unknown."""
    if file.mission != "TESS" or not np.isfinite([*sky, *place]).all():
        return None
    settings = catalog.settings if catalog is not None else {}
    centre = (settings.get("camera_centre_ra"), settings.get("camera_centre_dec"))
    if None not in centre:
        return float(separation(*centre, *sky))
    return float(distance_from_axis(file.ccd, file.row + place[1], file.column + place[0]))


def _secondaries(folder, files, faint_limit):
    """Catalogue stars on collected pixels of stamps made for other stars, each in the stamp where it is farthest from the edge."""
    primaries = {(file.starid, file.sector, file.cadence) for file in files}
    best = {}
    for file in files:
        catalog = None if file.damage else _catalog(folder, file)
        if catalog is None:
            continue
        for star, place in _stars_on(file, catalog, faint_limit):
            key = (int(star["starid"]), file.sector, file.cadence)
            margin = _from_edge(place, file.collected.shape)
            if key not in primaries and (key not in best or margin > best[key][0]):
                row = _row(
                    file,
                    key[0],
                    f"tpf:{file.starid}",
                    float(star["tmag"]),
                    (star["ra"], star["decl"]),
                    place,
                    catalog,
                )
                best[key] = (margin, row)
    return [row for _, row in best.values()]


def _stars_on(file, catalog, faint_limit):
    """Yield (star, (column, row) in the stamp) of the catalogue stars whose pixel was collected."""
    if not file.wcs.has_celestial:
        return
    n_rows, n_columns = file.collected.shape
    ra, decl = file.wcs.wcs_pix2world((n_columns - 1) / 2, (n_rows - 1) / 2, 0)
    scale = np.sqrt(np.abs(np.linalg.det(file.wcs.pixel_scale_matrix)))
    stars = catalog.cone(
        float(ra), float(decl), (np.hypot(n_rows, n_columns) / 2 + 1) * scale, tmag_max=faint_limit
    )
    if len(stars) == 0:
        return
    column, row = file.wcs.all_world2pix(stars["ra"], stars["decl"], 0)
    for star, x, y in zip(stars, column, row, strict=True):
        i, j = round(float(x)), round(float(y))
        if 0 <= i < n_columns and 0 <= j < n_rows and file.collected[j, i]:
            yield star, (float(x), float(y))


def _from_edge(place, shape):
    """Pixels between a position and the nearest edge of the stamp."""
    (x, y), (n_rows, n_columns) = place, shape
    return min(x + 0.5, y + 0.5, n_columns - 0.5 - x, n_rows - 0.5 - y)
