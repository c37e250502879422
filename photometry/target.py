"""The work of one target: from its task to its stamp, from the stamp to its flux, and to its light
curve and its result.

Without a method named, it is aperture photometry; the brightest stars, whose light is not all on
the stamp, get halo photometry instead.
"""

import dataclasses
import logging
import time
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .catalog.ccd import Catalog, catalog_for, with_stars, with_target
from .constants import MISSIONS
from .errors import BadInputError, PhotometryError
from .lightcurve.tasoc import write_lightcurve
from .methods import get_method
from .methods.extraction import diagnostics, plot_target
from .notebook import TargetResult
from .pixels.cubestamp import area_of, cube_of, grown_area, max_resizes, stamp_from_cube, target_of
from .pixels.find import CHECKED, find_target_pixel_file, refuse_other_target
from .pixels.imagecube import cube_path
from .pixels.stamp import good_times, mean_image
from .pixels.targetpixelfile import read_target_pixel_file
from .provenance import file_state, made_from
from .settings import PhotometrySettings, photometry_settings
from .status import STATUS

if TYPE_CHECKING:
    from .injection.work import Injection

log = logging.getLogger(__name__)
MADE = (STATUS.OK, STATUS.WARNING)  # a light curve is written for these
MAX_HALO_TMAG = 6.0  # mag; only stars as bright are switched to halo photometry
HALO_EDGE = 0.01  # fraction of the expected flux on the edge of the stamp, above which they are
SWITCHED = "Automatically switched to Halo photometry"


def photometry(
    task, *, input_folder, output_folder, settings=None, method=None, plot=False, catalog=None,
    run_id=None, injection=None,
):  # fmt: skip
    """Make the light curve of one target.

    Parameters
    ----------
    task : dict, see "Task" in docs/architecture
    input_folder : where the target pixel files or the image cubes are, and the star catalogue
    output_folder : where the light curve goes
    settings : PhotometrySettings, or nested dict of the same. What the task itself has under
        ``settings`` goes first.
    method : name of the method to use instead of the task's, see `methods.get_method`
    plot : bool; also draw what was done, beside the light curve
    catalog : star catalogue of the CCD, if the caller has opened it already
    run_id : str or None, id of the run, for the header of the light curve
    injection : injection.work.Injection, signals to put into the pixels; None: the real light curve

    Returns
    -------
    TargetResult, a dict : see "Result" in docs/architecture

    Raises
    ------
    TargetError : the target cannot be done; its class and message say why
    """
    start = time.perf_counter()
    _check_types(task)
    method = method or task.get("method")
    get_method(method)  # so that its section of the settings is known
    settings = photometry_settings(settings, task.get("settings"))
    source = StampSource(task, input_folder, settings, catalog, injection)
    stamp, good, extraction = extract(source, method)
    extraction = judge(extraction, stamp, good)
    details = diagnostics(stamp, extraction, good)
    details |= made_from(source.states, input_folder, settings, method)
    if extraction.status in MADE:
        cards = injection.cards(stamp, extraction, good) if injection else ()
        details["filepath_lightcurve"] = write_lightcurve(
            output_folder, stamp, extraction, settings, run_id=run_id, cards=cards
        )
        if plot:
            _draw(output_folder, details["filepath_lightcurve"], stamp, extraction, good)
    result = {
        "status": extraction.status,
        "method_used": extraction.method,
        "time": time.perf_counter() - start,
        "details": details,
    }
    return TargetResult(task | result)


@dataclass(frozen=True)
class StampSource:
    """Makes the stamps of one task.

    Parameters
    ----------
    task : dict, see "Task" in docs/architecture
    folder : the input folder
    settings : PhotometrySettings
    catalog : star catalogue of the CCD, if the caller has opened it already
    injection : injection.work.Injection or None

    Attributes
    ----------
    states : dict, path of what was read, pixels and the star catalogue, if any -> its
        `provenance.file_state`
    """

    task: dict
    folder: Path | str
    settings: PhotometrySettings
    catalog: Catalog | None = None
    injection: "Injection | None" = None
    states: dict = dataclasses.field(default_factory=dict, compare=False)

    def make(self, area=None):
        """All that a method needs to know about the task.

        Parameters
        ----------
        area : cubestamp.Area; default: that of the target's magnitude (target pixel files are
            always used whole)

        Returns
        -------
        stamp : Stamp with its stars and its sum image
        good : (n_times,) bool array, times of good quality
        """
        task, folder = self.task, self.folder
        if task["datasource"] == "ffi":
            path = cube_path(folder, *(task[key] for key in ("sector", "camera", "ccd")))
            self.states[path] = file_state(path) if path.exists() else None
            cube = cube_of(task, folder)
            catalog = self.catalog or catalog_for(cube, folder)
            stamp = stamp_from_cube(cube, target_of(task, catalog, folder), area)
        else:
            path = find_target_pixel_file(folder, task)
            self.states[path] = file_state(path)
            stamp = read_target_pixel_file(path, datasource=task["datasource"])
            found = {key: getattr(stamp, key) for key in CHECKED}
            refuse_other_target(path, task, {"starid": stamp.target.starid, **found})
            catalog = self.catalog or catalog_for(stamp, folder)
            if task["starid"] != stamp.target.starid:
                stamp = with_target(stamp, task["starid"], catalog)
        if catalog is not None:
            self.states[catalog.path] = file_state(catalog.path)
        stamp = with_stars(stamp, catalog, self.settings.faint_limit)
        good = good_times(stamp, self.settings.good_quality)
        stamp = dataclasses.replace(stamp, sumimage=mean_image(stamp.flux, good))
        if self.injection:
            stamp = self.injection.into(stamp, good, self.settings)
        return stamp, good

    def larger(self, stamp, mask):
        """The area to make a larger stamp from, because a mask touches the edge; None where there
        are no more pixels.
        """
        if self.task["datasource"] != "ffi":
            return None
        cube = cube_of(self.task, self.folder)
        area = area_of(stamp, cube)
        grown = grown_area(area, mask, cube.shape)
        return None if grown == area else grown


def extract(source, method=None):
    """Measure a target.

    Parameters
    ----------
    source : StampSource
    method : name of a method; None: chosen as above

    Returns
    -------
    stamp : Stamp
    good : (n_times,) bool array, times of good quality
    extraction : Extraction
    """
    stamp, good, extraction, complete = grow(source, get_method(method or "aperture"))
    if method is None and ":" not in stamp.datasource and needs_halo(stamp, extraction, complete):
        extraction = _with_halo(stamp, source.settings, extraction)
    return stamp, good, extraction


def _with_halo(stamp, settings, aperture):
    """The target by halo photometry; where that cannot be done, as it was, with a WARNING."""
    try:
        halo = get_method("halo")(stamp, settings)
        problem = halo.errors[0] if halo.status is STATUS.ERROR else ""
    except BadInputError as error:
        problem = str(error)
    if not problem:
        resizes, errors = aperture.stamp_resizes, (*halo.errors, SWITCHED)
        return dataclasses.replace(halo, stamp_resizes=resizes, errors=errors)
    status = STATUS.WARNING if aperture.status is STATUS.OK else aperture.status
    errors = (*aperture.errors, f"light is missing at the edge of the stamp, and {problem}")
    return dataclasses.replace(aperture, status=status, errors=errors)


def grow(source, method):
    """Measure on a stamp that grows as long as the mask touches its edge, if the source has more
    pixels.

    Methods that use a stamp of any size whole say so by an attribute ``fixed_stamp``.

    Returns
    -------
    stamp, good, extraction : as from `extract`
    complete : bool, False where the mask still touches an edge that could not be moved
    """
    stamp, good = source.make()
    extraction = method(stamp, source.settings)
    if getattr(method, "fixed_stamp", False):
        return stamp, good, extraction, True
    resizes = 0
    while resizes < max_resizes(stamp.target.tmag) and (
        area := source.larger(stamp, extraction.mask)
    ):
        resizes += 1
        stamp, good = source.make(area)
        extraction = method(stamp, source.settings)
    extraction = dataclasses.replace(extraction, stamp_resizes=resizes)
    return stamp, good, extraction, source.larger(stamp, extraction.mask) is None


def needs_halo(stamp, extraction, complete):
    """Whether aperture photometry misses light of a bright star that halo photometry can do
    without.

    Parameters
    ----------
    stamp : Stamp
    extraction : Extraction by aperture photometry
    complete : bool, False where the mask touches an edge of the stamp that could not be moved
    """
    if not stamp.target.tmag <= MAX_HALO_TMAG:
        return False
    return not complete or extraction.edge_flux > HALO_EDGE * expected_flux(stamp)


def expected_flux(stamp):
    """Flux of the target by its magnitude, e-/s."""
    return 10 ** (-0.4 * (stamp.target.tmag - MISSIONS[stamp.mission].zero_point))


def _check_types(task):
    """Refuse text in a column of numbers, and the reverse, as SQLite keeps whatever it is given."""
    for name in ("starid", "sector", "camera", "ccd", "cadence", "tmag"):
        value = task.get(name)
        if value is not None and not isinstance(value, Real):
            raise BadInputError(f"{name}={value!r} in the TODO-file: expected a number")
    if not isinstance(task["datasource"], str):
        raise BadInputError(f"datasource={task['datasource']!r} in the TODO-file: expected a text")


def _draw(output_folder, lightcurve, stamp, extraction, good):
    """Draw the picture of a target beside its light curve; one that cannot be drawn never fails the
    target.
    """
    try:
        plot_target(Path(output_folder, plot_path(lightcurve)), stamp, extraction, good)
    except PhotometryError:  # the time limit of the target, not the picture
        raise
    except Exception as error:  # noqa: BLE001 - see above; the log of the target says why
        log.warning("%s: the picture could not be drawn: %r", lightcurve, error)


def plot_path(lightcurve):
    """Where the picture of a light curve is, beside it."""
    return lightcurve.removesuffix(".fits.gz") + ".png"


def judge(extraction, stamp, good):
    """The extraction with what only the whole target shows.

    A secondary target whose mask holds the primary of the stamp is SKIPPED: it would be the
    primary's light curve. One without flux at any time of good quality, with negative flux, without
    errors, or with doubtful pixels gets a WARNING.

    Parameters
    ----------
    extraction : Extraction
    stamp : Stamp it was made from
    good : (n_times,) bool array, times of good quality
    """
    primary = stamp.datasource.partition(":")[2]
    if primary and int(primary) in extraction.skip_targets:
        return dataclasses.replace(extraction, status=STATUS.SKIPPED)
    if extraction.status not in MADE:
        return extraction
    doubts = list(stamp.warnings)
    flux, flux_err = (series[good] for series in (extraction.flux, extraction.flux_err))
    measured = np.isfinite(flux)
    if not measured.any():
        doubts.append(
            f"no flux at any of the {good.sum()} times of good quality, among {len(good)} times "
            "in all"
        )
    elif not (median := np.median(flux[measured])) > 0:
        doubts.append(f"the median flux is {median:.3g} e-/s: no star has a negative one")
    elif not np.isfinite(flux_err[measured]).any():
        doubts.append("the pixels have no errors, so the flux has none")
    if not doubts:
        return extraction
    errors = (*extraction.errors, *doubts)
    return dataclasses.replace(extraction, status=STATUS.WARNING, errors=errors)
