"""The targets of a folder of target pixel files: the stars the files were made for, and others that
fall on their pixels.
"""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..catalog.ccd import open_catalog
from ..constants import J2000, MISSIONS, YEAR
from ..errors import BadInputError, WrongUseError
from ..fitsfile import Kind, kind_of
from ..fitsstream import open_stream
from ..pixels.find import FITS_ENDINGS, identity_of_name
from ..pixels.targetpixelfile import celestial_wcs, identity, number, starid_of
from ..pixels.tess import distance_from_axis
from ..sky import separation
from .targets import Found, cbv_area

if TYPE_CHECKING:
    from astropy.wcs import WCS

log = logging.getLogger(__name__)

# the end of the names of this program's own products
OUR_LIGHT_CURVES = "-tasoc_lc.fits.gz"
# kinds of damage that are logged one by one
MAX_CAUSES = 5


@dataclass(frozen=True)
class PixelFile:
    """A target pixel file, as far as making a TODO-file needs it."""

    path: Path
    starid: int
    mission: str
    sector: int
    camera: int
    ccd: int
    cadence: int  # s
    tmag: float | None
    damage: str = ""  # what is wrong with it; then the following are not known
    epoch: float | None = None  # Julian year in the middle of the observations
    wcs: "WCS | None" = None  # celestial position <-> 0-based (column, row) of the stamp
    collected: np.ndarray | None = None  # (n_rows, n_columns) bool
    row: int = 0  # detector row and column of the stamp's first pixel
    column: int = 0
    ra: float = np.nan  # deg, of the target
    decl: float = np.nan


def find_fits_files(folder):
    """All FITS files in and below a folder, but hidden ones and this program's own light curves,
    sorted by name.
    """
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(where) / name
            for name in names
            if name.lower().endswith(FITS_ENDINGS)
            and not name.startswith(".")
            and not name.endswith(OUR_LIGHT_CURVES)
        ]
    return sorted(found, key=lambda path: (path.name, str(path)))


def inspect_file(path):
    """Look into one file.

    Returns
    -------
    PixelFile; one with ``damage`` for a file that names its star but is cut short, or whose name is
    that of another star. Or a str that says what else the file is.

    Raises
    ------
    BadInputError : it is not readable as FITS
    """
    with open_stream(path) as stream:
        primary = stream.next_header()
        try:
            starid = starid_of(path, primary)
        except BadInputError:
            return "a FITS file that names no star"
        table = aperture = None
        try:
            table = stream.next_header()
            if table is None:
                raise BadInputError(f"{path}: holds a primary header and nothing else")
            kind = kind_of([primary, table])
            if kind is Kind.LIGHT_CURVE:
                _refuse_truncated_light_curve(path, stream, primary)
            if kind is not Kind.TARGET_PIXELS:
                return kind.value
            aperture = stream.next_header()
            while aperture is not None and aperture.get("EXTNAME") != "APERTURE":
                aperture = stream.next_header()
            if aperture is None:
                raise BadInputError(
                    f"{path}: no APERTURE extension, so it is not known which pixels were "
                    "collected; get the file again"
                )
            bits = stream.read_image(aperture)
        except BadInputError as error:
            return PixelFile(**_known(path, primary, table, starid), damage=str(error))
        named = identity_of_name(path)[0]
        if named not in (None, starid):
            known = {**_known(path, primary, table, named), "tmag": None}
            return PixelFile(**known, damage=f"{path}: its header says that it is of star {starid}")
        return PixelFile(
            **_known(path, primary, table, starid),
            epoch=_epoch(table),
            wcs=celestial_wcs(aperture),
            collected=(bits & 1) > 0,
            row=number(aperture, "CRVAL2P", 0),
            column=number(aperture, "CRVAL1P", 0),
            ra=number(table, "RA_OBJ", np.nan),
            decl=number(table, "DEC_OBJ", np.nan),
        )


def _named(path, damage):
    """A file whose name says which star it is of, though its content does not; None for another
    name. What the name does not say is 0.
    """
    starid, sector, cadence = identity_of_name(path)
    if starid is None:
        return None
    mission = {"kplr": "Kepler", "ktwo": "K2"}.get(path.name[:4], "TESS")
    return PixelFile(path, starid, mission, sector or 0, 0, 0, cadence or 0, None, damage)


def _refuse_truncated_light_curve(path, stream, primary):
    """A whole light curve is passed over; one that ends early may be a download of anything."""
    extensions = 1
    while stream.next_header() is not None:
        extensions += 1
    if extensions < (number(primary, "NEXTEND") or 0):
        raise BadInputError(f"{path}: a light curve that is truncated, and no target pixel file")


def _known(path, primary, table, starid):
    """What the headers say; what they do not is 0, as where the file is read, and the cadence that
    of nearly all such files.
    """
    known = identity(path, primary, table)
    missing = [name for name in ("camera", "ccd") if not known[name]]
    if known["cadence"] is None:
        known["cadence"] = 20 if "fast" in path.name else 120
        missing.append("cadence")
    if missing:
        log.info(
            "%s: its headers lack %s; taken as %s",
            path,
            ", ".join(missing),
            ", ".join(str(known[name]) for name in missing),
        )
    return {
        **known,
        "path": path,
        "starid": starid,
        "tmag": number(primary, MISSIONS[known["mission"]].magnitude_keyword),
    }


def _epoch(table):
    start, stop = number(table, "TSTART"), number(table, "TSTOP")
    if start is None or stop is None:
        return None
    return 2000 + (number(table, "BJDREFI", 0) + (start + stop) / 2 - J2000) / YEAR


def targets_of_folder(folder, template, *, progress=iter):
    """Find the targets of all target pixel files in and below a folder.

    Parameters
    ----------
    folder : pathlib.Path
    template : Template
    progress : function that wraps the sequence of files

    Raises
    ------
    WrongUseError : there is no target pixel file, or the star catalogue of the folder cannot be
        read
    """
    found = Found()
    for path in progress(find_fits_files(folder)):
        try:
            what = inspect_file(path)
        except BadInputError as error:
            what = _named(path, str(error)) or "not readable as FITS"
            if isinstance(what, str):
                found.unreadable.append(str(error))
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
    _warn("damaged, their targets will end as ERROR", found.damaged)
    _warn("not readable as FITS, and passed over", found.unreadable)
    if all(_catalog(folder, file) is None for file in found.files if not file.damage):
        found.warnings.append(
            f"{folder}: no star catalogue: contamination is unknown, masks are split at peaks "
            "only; 'photometry catalog' makes one"
        )
        log.warning("%s", found.warnings[-1])
    found.rows = [_primary(file, _catalog(folder, file)) for file in found.files]
    if template.secondaries:
        found.rows += _secondaries(folder, found.files, template.faint_limit)
    return found


def _warn(what, messages):
    """Log damaged files by cause, however many there are: of each cause the number and the first
    file.
    """
    causes = {}
    for message in messages:
        causes.setdefault(re.sub(r"\d+", "N", message.partition(": ")[2]), []).append(message)
    for alike in sorted(causes.values(), key=len, reverse=True)[:MAX_CAUSES]:
        more = f" (and {len(alike) - 1} more files like it)" if len(alike) > 1 else ""
        log.warning("%s: %s%s", what, alike[0], more)
    if len(causes) > MAX_CAUSES:
        log.warning("%s: %d causes more", what, len(causes) - MAX_CAUSES)


def _one_per_target(files):
    """Of several files of one star, sector and cadence, the last that is not damaged: names begin
    with a time.
    """
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
    """The catalogue of the file's CCD, at the epoch at which the pixels will be read (see
    ``catalog.ccd``).
    """
    epoch = None if file.mission == "TESS" or file.epoch is None else round(file.epoch, 1)
    return open_catalog(folder, file.sector, file.camera, file.ccd, epoch=epoch)


def _primary(file, catalog):
    tmag = file.tmag
    if tmag is None and catalog is not None and (star := catalog.star(file.starid)):
        tmag = star["tmag"]
    position = (np.nan, np.nan)
    if file.wcs is not None and np.isfinite(file.ra) and file.wcs.has_celestial:
        position = [float(x) for x in file.wcs.wcs_world2pix(file.ra, file.decl, 0)]
    return _row(file, file.starid, "tpf", tmag, (file.ra, file.decl), position, catalog)


def _row(file, starid, datasource, tmag, sky, position, catalog):
    where = {name: getattr(file, name) for name in ("sector", "camera", "ccd", "cadence")}
    area = cbv_area(file.camera, file.ccd, _distance(file, sky, position, catalog))
    return {
        "starid": int(starid),
        **where,
        "datasource": datasource,
        "tmag": tmag,
        "cbv_area": area,
    }


def _distance(file, sky, position, catalog):
    """Degrees from the camera's centre: on the sky if the catalogue says where that is, else on
    the detector; None if unknown.
    """
    if file.mission != "TESS" or not np.isfinite([*sky, *position]).all():
        return None
    settings = catalog.settings if catalog is not None else {}
    centre = (settings.get("camera_centre_ra"), settings.get("camera_centre_dec"))
    if None not in centre:
        return float(separation(*centre, *sky))
    return float(distance_from_axis(file.ccd, file.row + position[1], file.column + position[0]))


def _secondaries(folder, files, faint_limit):
    """Catalogue stars on collected pixels of stamps made for other stars, each in the stamp where
    it is farthest from the edge.
    """
    primaries = {(file.starid, file.sector, file.cadence) for file in files}
    best = {}
    for file in files:
        catalog = None if file.damage else _catalog(folder, file)
        if catalog is None:
            continue
        for star, position in _stars_on(file, catalog, faint_limit):
            key = (int(star["starid"]), file.sector, file.cadence)
            margin = _from_edge(position, file.collected.shape)
            if key not in primaries and (key not in best or margin > best[key][0]):
                row = _row(
                    file,
                    key[0],
                    f"tpf:{file.starid}",
                    float(star["tmag"]),
                    (star["ra"], star["decl"]),
                    position,
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


def _from_edge(position, shape):
    """Pixels between a position and the nearest edge of the stamp."""
    (x, y), (n_rows, n_columns) = position, shape
    return min(x + 0.5, y + 0.5, n_columns - 0.5 - x, n_rows - 0.5 - y)
