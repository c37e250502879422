"""Tiny full-frame images as SPOC, TICA and Kepler make them, and a star field to put into them."""

import numpy as np
from astropy.io import fits

from photometry.methods.prf import GaussianPRF
from photometry.simulate.fullframe_scene import image_wcs

EXPOSURE = 1425.6 / 86400  # d


def star_image(shape=(80, 72), *, shift=(0.0, 0.0), sky=100.0, n=40, seed=5, noise=1.0):
    """Stars on a flat sky; the noise differs with ``shift``."""
    rng = np.random.default_rng(seed)
    row, column = rng.uniform(6, shape[0] - 7, n), rng.uniform(6, shape[1] - 7, n)
    flux = 10 ** rng.uniform(3.3, 4.5, n)
    image = GaussianPRF().render(
        flux, row + shift[0], column + shift[1], np.arange(shape[0]), np.arange(shape[1])
    )
    rng = np.random.default_rng([seed, *np.abs(np.array(shift) * 1e6).astype(int)])
    return (image + sky + noise * rng.standard_normal(shape)).astype(np.float32)


def write_spoc(
    path,
    flux,
    error=None,
    *,
    time=1330.0,
    number=4700,
    quality=0,
    science=None,
    cadence=1800,
    camera=1,
    ccd=2,
):
    """An image as SPOC's ``…_ffic.fits``; ``science`` is (first row, last row, first column, last
    column), counted from 1.
    """
    half = 0.5 * cadence / 86400
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"TELESCOP": "TESS", "INSTRUME": "TESS Photometer", "FFIINDEX": number, "DATA_REL": 5}
    )
    image = fits.ImageHDU(
        np.asarray(flux), image_wcs(np.shape(flux), 80.0, -50.0).to_header(relax=True)
    )
    image.header.update(
        {"TELESCOP": "TESS", "CAMERA": camera, "CCD": ccd, "BJDREFI": 2457000, "BARYCORR": 0.001}
    )
    image.header.update(
        {
            "TSTART": time - half,
            "TSTOP": time + half,
            "EXPOSURE": EXPOSURE,
            "DQUALITY": quality,
            "NUM_FRM": 900,
        }
    )
    if science:
        image.header.update(
            dict(zip(("SCIROWS", "SCIROWE", "SCCSA", "SCCED"), science, strict=True))
        )
    hdus = [primary, image]
    if error is not None:
        hdus.append(fits.ImageHDU(np.asarray(error)))
    fits.HDUList(hdus).writeto(path)
    return path


def write_tica(path, electrons, *, time=2037.5, number=116470, **more):
    """An image as TICA's ``hlsp_tica_…_img.fits``: electrons per exposure in the primary HDU, with
    collateral pixels.
    """
    half = 0.5 * 600 / 86400
    hdu = fits.PrimaryHDU(
        np.asarray(electrons), image_wcs(np.shape(electrons), 80.0, -50.0).to_header(relax=True)
    )
    hdu.header.update(
        {
            "TELESCOP": "TESS",
            "INSTRUME": "TESS Photometer",
            "CAMNUM": 3,
            "CCDNUM": 1,
            "CADENCE": number,
        }
    )
    hdu.header.update(
        {
            "STARTTJD": time - half,
            "MIDTJD": time,
            "ENDTJD": time + half,
            "EXPTIME": 475.2,
            "UNITS": "electrons",
        }
    )
    hdu.header.update(more)
    hdu.writeto(path)
    return path


def spoc_series(folder, n=12, *, first=1330.0, shape=(80, 72), bad=(), **more):
    """A folder with images half an hour apart whose stars and sky move a little; ``bad`` ones are
    blank.
    """
    folder.mkdir(exist_ok=True)
    paths = []
    for i in range(n):
        shift = 0.05 * np.sin(i), 0.03 * np.cos(2 * i)
        flux = (
            np.zeros(shape, np.float32) if i in bad else star_image(shape, shift=shift, sky=100 + i)
        )
        path = folder / f"tess20182{i:04d}00000-s0003-1-2-0123-s_ffic.fits"
        error = np.sqrt(np.abs(flux) / 1425.6).astype(np.float32)
        paths.append(
            write_spoc(path, flux, error, time=first + i * 1800 / 86400, number=4700 + i, **more)
        )
    return paths
