"""Is an image good enough? Flat, NaN, noise, beam, noise history, and for LOFAR the theoretical
noise and bright sources."""

from typing import NamedTuple

import numpy as np

from .. import sky
from . import lofar
from .clipping import central_region, clipped_rms

RMS, BEAM, BRIGHT_SOURCE, TAU_TIME, NAN, FLAT = range(6)
"""Reasons, as in the table ``rejectreason``."""


class Rejection(NamedTuple):
    """Why an image is not used."""

    reason: int
    comment: str


def rms_qc(image, sigma=4, fraction=8):
    """Noise in the middle of an image, Jy.

    Parameters
    ----------
    image : ImageAccessor
    sigma : float, limit of the clipping
    fraction : int, the middle has a width of 2/fraction of the image
    """
    return clipped_rms(central_region(image.pixels, fraction), sigma)


def check_image(image, rms, settings):
    """All tests of one image on its own.

    Parameters
    ----------
    image : ImageAccessor
    rms : float, see `rms_qc`
    settings : dict of the sections ``quality`` and ``quality_lofar`` of the job's settings

    Returns
    -------
    Rejection or None: the first test that fails
    """
    limits = settings["quality"]
    if found := check_pixels(image.pixels):
        return found
    if image.lofar:
        return check_lofar(image, rms, settings) or check_rms(
            rms, limits["rms_est_min"], limits["rms_est_max"]
        )
    return check_rms(rms, limits["rms_est_min"], limits["rms_est_max"]) or check_beam(
        image.beam, limits["oversampled_x"], limits["elliptical_x"]
    )


def check_pixels(pixels):
    """Is there anything in the image?"""
    finite = np.isfinite(pixels)
    if not finite.any():
        return Rejection(NAN, "no pixel is a number")
    low, high = np.nanmin(pixels), np.nanmax(pixels)
    if low == high:
        return Rejection(FLAT, f"all pixels are {low:g}")
    middle = central_region(finite, 8) if min(pixels.shape) >= 16 else finite
    if not middle.any():
        return Rejection(NAN, "no pixel in the middle of the image is a number")
    return None


def check_rms(rms, low, high):
    """Is the noise, Jy, between the limits?

    Parameters
    ----------
    rms : float, Jy
    low, high : float, Jy, limits that it lies between
    """
    if low < rms < high:
        return None
    return Rejection(
        RMS, f"noise of {rms:.4g} Jy; expected more than {low:g} and less than {high:g}"
    )


def check_beam(beam, oversampled_x=30, elliptical_x=2.0):
    """Is the beam finite, sampled, and round enough?

    Parameters
    ----------
    beam : (semi-major, semi-minor, angle), px and rad
    oversampled_x : float, px, largest half width
    elliptical_x : float, largest ratio of the axes
    """
    major, minor, _ = beam
    shape = f"half widths of {major:.3g} x {minor:.3g} px"
    if not np.isfinite([major, minor]).all():
        return Rejection(BEAM, "the beam is infinite")
    if min(2 * major, 2 * minor) <= 1:
        return Rejection(BEAM, f"undersampled: {shape}; expected more than 0.5")
    if max(major, minor) > oversampled_x:
        return Rejection(BEAM, f"oversampled: {shape}; expected at most {oversampled_x:g}")
    if major / minor > elliptical_x:
        return Rejection(BEAM, f"elliptical: {shape}; expected a ratio of at most {elliptical_x:g}")
    return None


def check_history(rms, history, n_history, sigma=3):
    """Is the noise like that of the images before?

    Parameters
    ----------
    rms : float, Jy
    history : (n,) array, Jy, of the last images of this band before this one, rejected ones too:
        noise may change for good
    n_history : int; with fewer there is no test
    sigma : float
    """
    if len(history) < n_history or len(history) < 2:
        return None
    mean, spread = np.mean(history), np.std(history)
    if abs(rms - mean) <= sigma * spread or np.isclose(rms, mean, rtol=1e-9):
        return None
    return Rejection(
        RMS, f"noise of {rms:.4g} Jy; the last {len(history)} images: {mean:.4g} +- {spread:.2g}"
    )


def check_lofar(image, rms, settings):
    """The tests for images of LOFAR: a `Rejection` or None.

    Parameters
    ----------
    image : accessors.LofarImage
    rms : float, Jy
    settings : dict of dicts, with the section ``quality_lofar``
    """
    limits, own = settings["quality_lofar"], image.lofar
    if image.tau_time == 0:
        return Rejection(TAU_TIME, "the exposure has length 0")
    noise = lofar.theoretical_noise(
        image.freq_eff, own["subbandwidth"], image.tau_time, own["antenna_set"], own["ncore"],
        own["nremote"],
        own["nintl"], n_subbands=own["subbands"],
    )  # fmt: skip
    if not limits["low_bound"] * noise <= rms <= limits["high_bound"] * noise:
        return Rejection(
            RMS, f"noise of {rms:.4g} Jy is {rms / noise:.3g} times the theoretical one"
        )
    quality = settings["quality"]
    if found := check_beam(image.beam, quality["oversampled_x"], quality["elliptical_x"]):
        return found
    return check_bright_sources(image, limits["min_separation"])


def check_bright_sources(image, min_separation):
    """Is the middle of the image away (deg) from the brightest sources of the sky?"""
    for name, (ra, decl) in lofar.bright_sources(image.taustart_ts).items():
        distance = float(sky.separation(image.centre_ra, image.centre_decl, ra, decl))
        if distance < min_separation:
            return Rejection(BRIGHT_SOURCE, f"{name} is {distance:.1f} deg away")
    return None
