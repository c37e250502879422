"""Stamps of stars with known flux, position and motion."""

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from photometry.methods.prf import TESS_LIKE, GaussianPRF
from photometry.pixels.stamp import Stamp, Target, mean_image
from photometry.simulate.spacecraft import noise

# mag of 1 e-/s: Handberg et al. 2021 (TESS); Kepler Instrument Handbook, 1.74e5 e-/s at magnitude
# 12
ZERO_POINTS = {"TESS": 20.54, "Kepler": 25.1, "K2": 25.1}
# (fraction, sigma in pixels): what methods assume for TESS, and others that they have to find out
PRFS = {
    "TESS": TESS_LIKE,
    "Kepler": ((0.6, 0.6), (0.3, 1.1), (0.1, 2.5)),
    "K2": ((0.5, 0.7), (0.4, 1.2), (0.1, 2.5)),
}


def make_stamp(
    tmag,
    row,
    column,
    *,
    n_times=200,
    shape=(15, 15),
    signal=None,
    motion=None,
    offset=(0.0, 0.0),
    prf=None,
    seed=1,
    corner=(500, 600),
    bleed=None,
    mission="TESS",
    in_catalog=None,
):
    """A stamp of 1800 s exposures; the first star is the target.

    Parameters
    ----------
    tmag, row, column : sequences, magnitudes and stamp positions in the catalogue
    signal : (n_stars, n_times) array, relative flux; default: constant
    motion : (n_times, 2) array, pixels: column, row, known to the stamp
    offset : (row, column) that the stars are from where the catalogue has them
    bleed : function that is applied to the images without noise
    mission : 'TESS', 'Kepler' or 'K2', with a PRF of its own unless ``prf`` is given
    in_catalog : int, so many of the stars are in the catalogue; 1: there is none; default: all

    Returns
    -------
    stamp : Stamp
    flux : (n_stars,) array, e-/s
    """
    rng = np.random.default_rng(seed)
    prf = prf or GaussianPRF(PRFS[mission])
    tmag, row, column = (np.asarray(values, dtype=float) for values in (tmag, row, column))
    flux = 10 ** (-0.4 * (tmag - ZERO_POINTS[mission]))
    signal = np.ones((len(flux), n_times)) if signal is None else np.asarray(signal)
    motion = np.zeros((n_times, 2)) if motion is None else motion
    rows, columns = corner[0] + np.arange(shape[0]), corner[1] + np.arange(shape[1])
    at_row, at_column = (
        corner[0] + row + offset[0] + motion[:, 1:],
        corner[1] + column + offset[1] + motion[:, :1],
    )
    light = np.array(
        [
            prf.render(flux * signal[:, t], at_row[t], at_column[t], rows, columns)
            for t in range(n_times)
        ]
    )
    light = light if bleed is None else bleed(light)
    errors = noise(light + 100.0, columns, 1800)
    images = (light + errors * rng.standard_normal(light.shape)).astype(np.float32)
    stars = Table(
        {
            "starid": np.arange(1, len(flux) + 1),
            "ra": 0.0 * row,
            "decl": 0.0 * row,
            "tmag": tmag,
            "row": row,
            "column": column,
        }
    )
    if in_catalog is not None:
        stars = stars[:in_catalog]
        stars.meta["path"] = "" if in_catalog == 1 else "made in code"
    series = np.arange(n_times)
    stamp = Stamp(
        target=Target(1, 0.0, 0.0, float(tmag[0])),
        mission=mission,
        sector=1,
        camera=4,
        ccd=1,
        cadence=1800,
        datasource="ffi" if mission == "TESS" else "tpf",
        time=1325 + series / 48,
        time_reference=2457000,
        timecorr=np.zeros(n_times),
        cadenceno=series,
        quality=np.zeros(n_times, dtype=np.int32),
        flux=images,
        flux_err=errors.astype(np.float32),
        background=np.full(images.shape, 100.0, np.float32),
        background_err=np.zeros(images.shape, np.float32),
        aperture=np.ones(shape, dtype=np.int32),
        row=corner[0],
        column=corner[1],
        wcs=WCS(naxis=2),
        pos_corr=motion,
        catalog=stars,
        path="made in code",
        sumimage=mean_image(images, np.ones(n_times, dtype=bool)),
    )
    return stamp, flux
