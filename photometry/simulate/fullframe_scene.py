"""What a simulated CCD looks at: stars that vary, moving objects, and light that is not from stars.

Everything is a function of time that can be asked for one frame, so that whole CCDs need the memory
of one frame only.
"""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from .field import flux_of, sinusoid, transit
from .spacecraft import PIXEL_SCALE

KINDS = ("constant", "transit", "eclipse", "pulsation")
SHARES = (0.7, 0.1, 0.1, 0.1)  # of the stars
FIRST_FAINT_STARID = 10_000_001
BRIGHTER_PER_MAG = 0.35  # log10 of the growth of the number of stars per magnitude


@dataclass(frozen=True)
class Sky:
    """Light that is not from stars, e-/s per pixel."""

    level: float = 100.0  # zodiacal light, at the middle of the image
    gradient: tuple = (10.0, -5.0)  # change from the first to the last row, and column
    glow: float = 20.0  # in the corner farthest from the camera's centre
    # largest scattered light, at the end of the series, at the bright side of the image
    scattered: float = 60.0
    scattered_days: float = 1.0  # how long it takes to rise, relative to a series of ten days

    def image(self, shape, ccd, phase):
        """Background of one frame.

        Parameters
        ----------
        shape : (n_rows, n_columns)
        ccd : int, says in which corner the camera's centre is
        phase : float, from 0 at the start of the series to 1 at its end

        Returns
        -------
        (n_rows, n_columns) array, e-/s
        """
        y, x = np.ogrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
        # in sides of the image
        zodiacal = (
            self.level * (1 + 0.05 * np.sin(2 * np.pi * phase))
            + self.gradient[0] * y
            + self.gradient[1] * x
        )
        scattered = (
            self.scattered
            * np.exp(-0.5 * ((1 - phase) / (0.1 * self.scattered_days)) ** 2)
            * (0.75 + 0.5 * x)
        )
        from_centre = np.hypot(0.5 - y, (0.5 - x) if ccd in (1, 3) else (0.5 + x))
        beyond = np.clip((from_centre - GLOW_BEGINS) / (np.sqrt(2) - GLOW_BEGINS), 0, None)
        return zodiacal + scattered + self.glow * beyond**1.5


GLOW_BEGINS = 1.2  # sides of the image from the camera's centre


def draw_stars(n, wcs, shape, rng, *, bright=6.0, faint=15.0, epoch=2018.6):
    """A star field: magnitudes from a luminosity function, some stars vary.

    Parameters
    ----------
    n : int
    wcs : WCS of the image, 0-based pixels
    bright, faint : limits of the magnitudes
    epoch : Julian year of the images

    Returns
    -------
    stars : Table with starid, ra, decl (deg, J2000), pm_ra, pm_decl (mas/yr), tmag, teff (K), row,
        column (0-based, at ``epoch``), kind, period, t0, duration (days), amplitude; brightest
        first
    """
    tmag = np.sort(draw_magnitudes(n, bright, faint, rng))
    row, column = (rng.uniform(-0.5, size - 0.5, n) for size in shape)
    stars = Table(
        {"starid": np.arange(1, n + 1), "tmag": np.round(tmag, 4), "row": row, "column": column}
    )
    stars["teff"] = np.round(rng.normal(5500, 800, n).clip(3000, 12000))
    for name in ("pm_ra", "pm_decl"):
        stars[name] = np.round(rng.normal(0, 20, n), 3)
    place_on_sky(stars, wcs, epoch)
    _draw_signals(stars, rng)
    return stars


def draw_faint_stars(n, wcs, shape, rng, *, bright, faint, epoch):
    """Constant stars below the targets: a Table with starid, ra, decl, pm_ra, pm_decl, tmag, teff,
    row, column, flux (e-/s).

    Parameters
    ----------
    n : int
    wcs : WCS of the image, 0-based pixels
    shape : (n_rows, n_columns)
    rng : numpy Generator
    bright, faint : float, mag, limits
    epoch : float, Julian year of the images
    """
    tmag = np.sort(draw_magnitudes(n, bright, faint, rng))
    row, column = (rng.uniform(-0.5, size - 0.5, n) for size in shape)
    stars = Table(
        {
            "starid": FIRST_FAINT_STARID + np.arange(n),
            "tmag": np.round(tmag, 4),
            "row": row,
            "column": column,
        }
    )
    stars["pm_ra"], stars["pm_decl"], stars["teff"] = np.zeros(n), np.zeros(n), np.full(n, 5500.0)
    stars["flux"] = flux_of(stars["tmag"])
    place_on_sky(stars, wcs, epoch)
    return stars


def draw_magnitudes(n, bright, faint, rng):
    """Magnitudes between two limits whose number grows by a constant factor per magnitude, (n,)
    array.

    Parameters
    ----------
    n : int
    bright, faint : float, mag, limits
    rng : numpy Generator
    """
    lowest = 10 ** (BRIGHTER_PER_MAG * (bright - faint))
    return faint + np.log10(rng.uniform(lowest, 1, n)) / BRIGHTER_PER_MAG


def place_on_sky(stars, wcs, epoch):
    """Give stars at rows and columns the coordinates that proper motion moves there.

    Parameters
    ----------
    stars : Table with row, column, pm_ra, pm_decl (mas/yr); gets ra, decl (deg, J2000)
    wcs : WCS of the image, 0-based pixels
    epoch : float, Julian year of the images
    """
    ra, decl = wcs.all_pix2world(stars["column"], stars["row"], 0)
    years = epoch - 2000.0
    stars["ra"] = ra - stars["pm_ra"] * years / 3.6e6 / np.cos(np.radians(decl))
    stars["decl"] = decl - stars["pm_decl"] * years / 3.6e6


def place_on_image(stars, wcs, epoch, shape):
    """Give stars of a catalogue rows and columns, and constant flux; those outside the image by
    over 10 pixels are left out.

    Parameters
    ----------
    stars : Table with ra, decl (deg, J2000), pm_ra, pm_decl (mas/yr)
    wcs : WCS of the image, 0-based pixels
    epoch : float, Julian year of the images
    shape : (n_rows, n_columns)
    """
    years = epoch - 2000.0
    decl = stars["decl"] + np.nan_to_num(stars["pm_decl"]) * years / 3.6e6
    ra = stars["ra"] + np.nan_to_num(stars["pm_ra"]) * years / 3.6e6 / np.cos(np.radians(decl))
    stars = stars.copy()
    stars["column"], stars["row"] = wcs.all_world2pix(ra, decl, 0, quiet=True)
    near = np.ones(len(stars), dtype=bool)
    for name, size in (("row", shape[0]), ("column", shape[1])):
        near &= (stars[name] > -10) & (stars[name] < size + 10)
    stars = stars[near]
    stars["kind"] = "constant"
    for name in ("period", "t0", "duration", "amplitude"):
        stars[name] = np.nan
    return stars


def _draw_signals(stars, rng):
    n = len(stars)
    stars["kind"] = rng.choice(KINDS, n, p=SHARES)
    stars["period"] = rng.uniform(1.5, 4.0, n)
    stars["t0"] = rng.uniform(0, 1, n) * stars["period"]  # after the start of the series
    stars["duration"] = 0.06 * stars["period"]
    amplitude = {"constant": np.nan, "transit": 0.01, "eclipse": 0.2, "pulsation": 0.01}
    stars["amplitude"] = [amplitude[kind] for kind in stars["kind"]]
    pulsating = stars["kind"] == "pulsation"
    stars["period"][pulsating] = rng.uniform(0.1, 1.0, pulsating.sum())
    for name in ("period", "t0", "duration"):
        stars[name][stars["kind"] == "constant"] = np.nan
    stars["duration"][pulsating] = np.nan


def relative_flux(stars, time):
    """Flux of each star relative to its mean or to that outside eclipses.

    Parameters
    ----------
    time : (n_stars,) array or float, barycentric days since the start of the series

    Returns
    -------
    (n_stars,) array
    """
    flux, time = np.ones(len(stars)), np.broadcast_to(time, len(stars))
    for kind in KINDS[1:]:
        some = np.asarray(stars["kind"] == kind)
        period, t0, duration, amplitude = (
            np.asarray(stars[name][some], dtype=float)
            for name in ("period", "t0", "duration", "amplitude")
        )
        if kind == "pulsation":
            flux[some] = sinusoid(time[some] - t0, period, amplitude)
        else:
            flux[some] = transit(time[some], period, t0, duration, amplitude)
        if kind == "eclipse":  # the secondary is a third as deep
            flux[some] += transit(time[some], period, t0 + period / 2, duration, amplitude / 3) - 1
    return flux


def image_wcs(shape, ra, decl, position_angle=25.0):
    """WCS of an image whose middle looks at ``ra, decl`` (deg), with distortions like those of
    TESS.

    The coefficients of the distortion have the size of those of sector 1, camera 4, CCD 3, and are
    scaled so that the corners of a small image are moved as much as those of a whole CCD would be,
    relative to its size.

    Parameters
    ----------
    shape : (n_rows, n_columns)
    ra, decl : float, deg
    position_angle : float, deg
    """
    from astropy.io import fits
    from astropy.wcs import WCS

    angle = np.radians(position_angle)
    scale = 2048 / max(shape)
    header = fits.Header()
    header.update(
        {
            "WCSAXES": 2,
            "CTYPE1": "RA---TAN-SIP",
            "CTYPE2": "DEC--TAN-SIP",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CRPIX1": 0.5 * shape[1] + 0.5,
            "CRPIX2": 0.5 * shape[0] + 0.5,
            "CRVAL1": ra,
            "CRVAL2": decl,
            "CD1_1": -PIXEL_SCALE * np.cos(angle),
            "CD1_2": PIXEL_SCALE * np.sin(angle),
            "CD2_1": PIXEL_SCALE * np.sin(angle),
            "CD2_2": PIXEL_SCALE * np.cos(angle),
            "RADESYS": "ICRS",
            "EQUINOX": 2000.0,
            "A_ORDER": 2,
            "A_2_0": 2.0e-5 * scale,
            "A_1_1": 1.7e-5 * scale,
            "A_0_2": 3.0e-6 * scale,
            "B_ORDER": 2,
            "B_0_2": 2.0e-5 * scale,
            "B_1_1": 1.7e-5 * scale,
            "B_2_0": 3.0e-6 * scale,
        }
    )
    return WCS(header)
