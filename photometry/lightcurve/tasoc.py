"""Light-curve files: FITS with the columns and keywords of the TASOC light curves, which lightkurve can read::

    lightkurve.read(path, flux_column="flux_raw")

The same input gives the same bytes: no date of writing is in the file, neither in its FITS headers nor in gzip's.
"""

from pathlib import Path

import numpy as np

from ..files import atomic_write, gzip_compress
from .fitsbytes import image_hdu, primary_hdu, table_hdu
from .tasocheaders import image_header, primary_header, table_header

BIT_COLLECTED, BIT_FLUX, BIT_POSITION = 1, 2, 8  # of the APERTURE image
PREFIX = {"TESS": "tess", "Kepler": "kplr", "K2": "ktwo"}
STARS_PER_FOLDER = 1000

COLUMNS = (  # name, type, unit, how it is shown
    ("TIME", ">f8", "BJD - {reference}, days", "D14.7"),
    ("TIMECORR", ">f4", "d", "E13.6"),
    ("CADENCENO", ">i4", None, "I10"),
    ("FLUX_RAW", ">f4", "e-/s", "E14.7"),
    ("FLUX_RAW_ERR", ">f4", "e-/s", "E14.7"),
    ("FLUX_BKG", ">f4", "e-/s", "E14.7"),
    ("FLUX_CORR", ">f4", "ppm", "E14.7"),
    ("FLUX_CORR_ERR", ">f4", "ppm", "E14.7"),
    ("QUALITY", ">i4", None, "B16.16"),
    ("PIXEL_QUALITY", ">i4", None, "B16.16"),
    ("MOM_CENTR1", ">f8", "pixels", "F10.5"),
    ("MOM_CENTR2", ">f8", "pixels", "F10.5"),
    ("POS_CORR1", ">f4", "pixels", "F14.7"),
    ("POS_CORR2", ">f4", "pixels", "F14.7"),
)
FORMATS = {name: shown for name, _, _, shown in COLUMNS}


def lightcurve_path(stamp, settings):
    """Where the light curve of a stamp's target goes: str, relative to the output folder."""
    starid = stamp.target.starid
    name = (
        f"{PREFIX[stamp.mission]}{starid:011d}-s{stamp.sector:03d}-{stamp.camera}-{stamp.ccd}-c{stamp.cadence:04d}"
        f"-dr{settings.output.data_release:02d}-v{settings.output.version:02d}-tasoc_lc.fits.gz"
    )
    return f"c{stamp.cadence:04d}/{starid // STARS_PER_FOLDER:08d}/{name}"


def write_lightcurve(folder, stamp, extraction, settings):
    """Write the light-curve file of a target, replacing an older one.

    Parameters
    ----------
    folder : the output folder; the folders below it are made
    stamp : Stamp, with its sum image
    extraction : Extraction
    settings : PhotometrySettings

    Returns
    -------
    str : the path relative to ``folder``
    """
    relative = lightcurve_path(stamp, settings)
    path = Path(folder) / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    content = lightcurve_bytes(stamp, extraction, settings)
    with atomic_write(path) as part:
        part.write_bytes(gzip_compress(content, settings.output.compress_level))
    return relative


def lightcurve_bytes(stamp, extraction, settings):
    """The light-curve file before compression."""
    image = image_header(stamp)
    aperture = _aperture_bits(stamp, extraction).astype(">i4")
    return b"".join(
        [
            primary_hdu(primary_header(stamp, extraction, settings)),
            table_hdu(
                "LIGHTCURVE", _rows(stamp, extraction), _units(stamp), FORMATS, table_header(stamp)
            ),
            image_hdu(
                "SUMIMAGE",
                stamp.sumimage.astype(">f4"),
                [("BUNIT", "e-/s", "unit of the pixels"), *image],
            ),
            image_hdu("APERTURE", aperture, image),
        ]
    )


def _rows(stamp, extraction):
    rows = np.empty(len(stamp.time), [(name, kind) for name, kind, _, _ in COLUMNS])
    for name, values in _series(stamp, extraction).items():
        rows[name] = values
    return rows


def _units(stamp):
    return {
        name: unit and unit.format(reference=stamp.time_reference) for name, _, unit, _ in COLUMNS
    }


def _series(stamp, extraction):
    return {
        "TIME": stamp.time,
        "TIMECORR": stamp.timecorr,
        "CADENCENO": stamp.cadenceno,
        "FLUX_RAW": extraction.flux,
        "FLUX_RAW_ERR": extraction.flux_err,
        "FLUX_BKG": extraction.background,
        "FLUX_CORR": np.nan,
        "FLUX_CORR_ERR": np.nan,
        "QUALITY": stamp.quality,
        "PIXEL_QUALITY": extraction.pixel_quality,
        "MOM_CENTR1": extraction.centroid[:, 0],
        "MOM_CENTR2": extraction.centroid[:, 1],
        "POS_CORR1": stamp.pos_corr[:, 0],
        "POS_CORR2": stamp.pos_corr[:, 1],
    }


def _aperture_bits(stamp, extraction):
    return (
        BIT_COLLECTED * stamp.collected
        | BIT_FLUX * extraction.mask
        | BIT_POSITION * extraction.position_mask
    )
