"""From the stamp of a task to its flux: which method, and on how large a stamp.

Without a method named, it is aperture photometry; the brightest stars, whose light is not all on the stamp, get halo
photometry instead.
"""

import dataclasses

from .methods.registry import get_method
from .pixels.cubestamp import max_resizes

HALO_TMAG = 6.0  # mag; only stars as bright are switched to halo photometry
HALO_EDGE = 0.01  # share of the expected flux on the edge of the stamp, above which they are
SWITCHED = "Automatically switched to Halo photometry"
# mag of 1 e-/s; Kepler: 1.74e5 e-/s at magnitude 12
ZERO_POINT = {
    "TESS": 20.54,
    "Kepler": 25.1,
    "K2": 25.1,
}


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
    if method is None and not is_secondary(stamp) and needs_halo(stamp, extraction, complete):
        halo = get_method("halo")(stamp, source.settings)
        resizes = extraction.stamp_resizes
        extraction = dataclasses.replace(
            halo, stamp_resizes=resizes, errors=(*halo.errors, SWITCHED)
        )
    return stamp, good, extraction


def grow(source, method):
    """Measure on a stamp that grows as long as the mask touches its edge, if the source has more pixels.

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
    """Whether aperture photometry misses light of a bright star that halo photometry can do without."""
    if not stamp.target.tmag <= HALO_TMAG:
        return False
    return not complete or extraction.edge_flux > HALO_EDGE * expected_flux(stamp)


def expected_flux(stamp):
    """Flux of the target by its magnitude, e-/s."""
    return 10 ** (-0.4 * (stamp.target.tmag - ZERO_POINT[stamp.mission]))


def is_secondary(stamp):
    """Whether the stamp is the target pixel file of another star."""
    return ":" in stamp.datasource
