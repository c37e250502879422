"""The image work, one function per step, called with one image at a time; see `runner`."""

import numpy as np

from . import finder, optical, quality
from .accessors import open_image, read_frame


def get_accessors(image):
    """An image opened."""
    return open_image(image)


def get_metadata_for_ordering(image):
    """(url, start, frequency in Hz) of an image."""
    accessor = open_image(image)
    return accessor.url, accessor.taustart_ts, accessor.freq_eff


def stars_of_frame(frame):
    """Header, stars, and width of the point spread function (px) of an optical frame: a path, or
    (header, pixels)."""
    if isinstance(frame, tuple):
        header, pixels = frame
    else:
        header, pixels = read_frame(frame)
    return header, optical.find_stars(pixels), optical.measure_psf(pixels)


def match_frame(item, reference):
    """The affine map of (name, stars) of a frame to the stars of the reference frame, see
    `optical.match`."""
    return optical.match(item[1], reference)[0]


def extract_metadatas(accessor, sigma, fraction):
    """What the row of ``image`` needs, with the noise in the middle of the image.

    Parameters
    ----------
    accessor : ImageAccessor
    sigma, fraction : see `quality.rms_qc`
    """
    return accessor.metadata() | {"rms_qc": quality.rms_qc(accessor, sigma, fraction)}


def open_as_fits(accessor):
    """(pixels, header text) of an image, to be stored."""
    accessor = open_image(accessor)
    return accessor.pixels, accessor.header.tostring(sep="\n")


def quality_reject_check(item, settings):
    """A `quality.Rejection` or None for (accessor, rms_qc)."""
    accessor, rms = item
    return quality.check_image(accessor, rms, settings)


def extract_sources(accessor, settings):
    """The sources of an image, a `finder.Extraction`; ``settings``: the section
    ``source_extraction``."""
    return finder.find_sources(accessor, **_finder_options(settings))


def forced_fits(item, settings):
    """Fluxes at given positions.

    Parameters
    ----------
    item : (accessor, (n, 2) positions, n ids)
    settings : dict, the section ``source_extraction``

    Returns
    -------
    records : (m, 20) array
    ids : list of m, of the positions that could be measured
    """
    accessor, positions, ids = item
    options = _finder_options(settings)
    for name in ("detection_threshold", "analysis_threshold", "deblend_nthresh", "force_beam"):
        del options[name]
    box = settings["box_in_beampix"]
    records, index = finder.measure_at(
        accessor, np.reshape(positions, (-1, 2)), box_in_beampix=box, **options
    )
    return records, [ids[i] for i in index]


def _finder_options(settings):
    names = (
        "detection_threshold", "analysis_threshold", "deblend_nthresh", "force_beam", "ew_sys_err",
        "ns_sys_err", "back_size_x",
        "back_size_y", "margin", "extraction_radius_pix", "background",
    )  # fmt: skip
    options = {name: settings[name] for name in names}
    return options | {"flux_error_model": settings["flux_error_model"] or None}
