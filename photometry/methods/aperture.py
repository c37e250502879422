"""Aperture photometry: sums of pixels in a mask, for all times at once.

The mask comes from `pixelmask`, or from the target pixel file itself.
"""

import numpy as np

from ..catalog.stars import target_position
from ..errors import BadInputError
from ..pixels.targetpixelfile import BIT_OPTIMAL
from ..status import STATUS
from .extraction import Extraction
from .pixelmask import in_mask, minimum_mask, pixel_masks, total_magnitude
from .sums import NO_FLUX, flux_centroid, flux_error, inside, judge_pixels, pixel_sum

# mag; Kepler: Instrument Handbook (KSCI-19033), section 6.10
SATURATION_LIMIT = {
    "TESS": 7.0,
    "Kepler": 11.5,
    "K2": 11.5,
}


def aperture(stamp, settings):
    """Aperture photometry of a target.

    Parameters
    ----------
    stamp : Stamp with its sum image and catalogue
    settings : PhotometrySettings

    Returns
    -------
    Extraction; with status ERROR if the target lies in several masks, and WARNING if in none

    Raises
    ------
    BadInputError : ``mask='pipeline'`` and the file has no aperture for this target, or the target lies off the pixels
    """
    if settings.aperture.mask == "pipeline":
        mask, status, errors = pipeline_mask(stamp), STATUS.OK, ()
    else:
        mask, status, errors = own_mask(stamp, settings.aperture)
    return measure(stamp, mask, method="aperture", status=status, errors=errors)


def measure(stamp, mask, **known):
    """Everything about the flux in one mask, as an `Extraction`; ``known`` are its other values."""
    flux, background_err = inside(stamp.flux, mask), inside(stamp.background_err, mask)
    pixel_quality = judge_pixels(flux, stamp.quality, stamp.mission)
    rows, columns = np.nonzero(mask)
    series = {
        "flux": pixel_sum(flux),
        "flux_err": flux_error(inside(stamp.flux_err, mask), background_err),
        "background": pixel_sum(inside(stamp.background, mask)),
        "background_err": pixel_sum(background_err),
        "centroid": flux_centroid(flux, stamp.row + rows, stamp.column + columns),
    }
    for values in series.values():
        values[(pixel_quality & NO_FLUX) != 0] = np.nan
    return Extraction(
        **series,
        mask=mask,
        position_mask=mask,
        pixel_quality=pixel_quality,
        contamination=contamination(stamp, mask),
        skip_targets=other_stars(stamp, mask),
        edge_flux=edge_flux(stamp.sumimage, mask),
        **known,
    )


def pipeline_mask(stamp):
    """The aperture that the mission's own pipeline chose: (n_rows, n_columns) bool array."""
    if stamp.datasource not in ("tpf", "ffi"):
        raise BadInputError(
            f"{stamp.path}: its aperture is not for TIC {stamp.target.starid}, a secondary target; use mask='own'"
        )
    mask = (stamp.aperture & BIT_OPTIMAL) != 0
    if not mask.any():
        raise BadInputError(
            f"{stamp.path}: APERTURE marks no pixel as the pipeline's aperture (bit 2); use mask='own'"
        )
    return mask


def own_mask(stamp, settings):
    """The pixel mask over the target's pixel.

    Returns
    -------
    mask : (n_rows, n_columns) bool array
    status : STATUS
    errors : tuple of sentences
    """
    row, column = target_position(stamp)
    masks = pixel_masks(
        stamp.sumimage,
        stamp.catalog,
        threshold=settings.threshold,
        min_pixels=settings.min_pixels,
        saturation_limit=_saturation_limit(stamp, settings),
    )
    over_target = [mask for mask in masks if in_mask({"row": [row], "column": [column]}, mask)[0]]
    if len(over_target) == 1:
        return over_target[0], STATUS.OK, ()
    if over_target:
        sentence = f"the target lies in {len(over_target)} pixel masks at the same time"
        return over_target[0], STATUS.ERROR, (sentence,)
    mask = minimum_mask(stamp.shape, row, column) & np.isfinite(stamp.sumimage)
    if not mask.any():
        raise BadInputError(
            f"{stamp.path}: the target lies at row {row:.1f}, column {column:.1f} of the stamp, where no pixel of the "
            f"{stamp.shape[0]} x {stamp.shape[1]} was collected"
        )
    return (
        mask,
        STATUS.WARNING,
        (f"no pixel mask found for the target, a minimum mask of {mask.sum()} pixels was used",),
    )


def _saturation_limit(stamp, settings):
    return (
        SATURATION_LIMIT[stamp.mission]
        if settings.saturation_limit is None
        else settings.saturation_limit
    )


def contamination(stamp, mask):
    """Share of the flux in a mask that is from other stars, by their magnitudes (Lund & Handberg 2014, equation 6).

    NaN if the magnitude of the target is not known.
    """
    tmag = stamp.target.tmag
    others = in_mask(stamp.catalog, mask) & (
        np.asarray(stamp.catalog["starid"]) != stamp.target.starid
    )
    total = total_magnitude([tmag, *np.asarray(stamp.catalog["tmag"])[others]])
    return float(max(1 - 10 ** (0.4 * (total - tmag)), 0.0))  # max: rounding errors; NaN stays NaN


def other_stars(stamp, mask):
    """Stars of the catalogue in a mask besides the target: tuple of starid."""
    starids = np.asarray(stamp.catalog["starid"])[in_mask(stamp.catalog, mask)]
    return tuple(int(starid) for starid in starids if starid != stamp.target.starid)


def edge_flux(image, mask):
    """Flux of the pixels of a mask that lie on the edge of the stamp, e-/s."""
    edge = np.ones(mask.shape, bool)
    edge[1:-1, 1:-1] = False
    return float(np.nansum(image[edge & mask]))
