"""Simulated images as TESS calibrated full-frame images (``…_ffic.fits``): headers, extensions,
file names.

Format: TESS Science Data Products Description Document (EXP-TESS-ARC-ICD-TM-0014), section 3.
"""

import numpy as np
from astropy.io import fits
from astropy.time import Time

from .._version import __version__
from ..constants import DAY
from ..files import atomic_write
from . import detector

LEADING_COLUMNS, TRAILING_COLUMNS, TRAILING_ROWS = 44, 44, 30  # that see no sky


class Writer:
    """Writes the exposures of a `FullFrameSimulation`; what is the same in all headers is made
    once.
    """

    def __init__(self, simulation):
        self.simulation = simulation
        self._primary = fits.Header()
        self._primary.update(
            self._common()
            | {"SIMDATA": True, "CREATOR": f"photometry {__version__}", "DATA_REL": 1}
        )
        self._image = fits.Header()
        self._image.update(self._common() | self._electronics() | self._science_pixels())
        self._image.update(simulation.wcs.to_header(relax=True))
        self._shift_wcs()
        # barycentric for the middle of the image; there is no BTC_PIX1, so that readers take that
        # too
        self._times = simulation.pointing.barycentric(simulation.ra, simulation.decl)

    def write(self, folder, i):
        """Write exposure ``i``; its name is made of the time at which it began."""
        simulation = self.simulation
        number = int(simulation.pointing.cadenceno[i])
        half = 0.5 * simulation.cadence / DAY
        time, correction = (float(series[i]) for series in self._times)
        moments = {"TSTART": time - half, "TSTOP": time + half}
        utc = {
            key: Time(t - correction + 2457000, format="jd", scale="tdb").utc
            for key, t in moments.items()
        }
        dates = {"DATE-OBS": utc["TSTART"].isot + "Z", "DATE-END": utc["TSTOP"].isot + "Z"}
        self._primary.update(moments | dates | {"FFIINDEX": number})
        quality = int(simulation.pointing.quality[i])
        self._image.update(moments | dates | {"BARYCORR": correction, "DQUALITY": quality})
        where = f"s{simulation.sector:04d}-{simulation.camera}-{simulation.ccd}"
        name = f"tess{utc['TSTART'].strftime('%Y%j%H%M%S')}-{where}-0000-s_ffic.fits"
        with atomic_write(folder / name, durable=False) as part:
            self._hdulist(*simulation.image(i)).writeto(part, overwrite=True)

    def _hdulist(self, flux, error):
        label = f"CAMERA.CCD {self.simulation.camera}.{self.simulation.ccd}"
        return fits.HDUList(
            [
                fits.PrimaryHDU(header=self._primary),
                fits.ImageHDU(self._framed(flux), self._image, name=f"{label} CAL"),
                fits.ImageHDU(self._framed(error), self._image, name=f"{label} UNCERT"),
            ]
        )

    def _framed(self, image):
        """Put the pixels that see no sky around an image, if they are wanted."""
        if not self.simulation.collateral:
            return image
        return np.pad(image, ((0, TRAILING_ROWS), (LEADING_COLUMNS, TRAILING_COLUMNS)))

    def _common(self):
        simulation = self.simulation
        return {
            "TELESCOP": "TESS",
            "INSTRUME": "TESS Photometer",
            "SECTOR": simulation.sector,
            "CAMERA": simulation.camera,
            "CCD": simulation.ccd,
            "RADESYS": "ICRS",
            "EQUINOX": 2000.0,
        }

    def _electronics(self):
        n_frames, exposure = detector.frames(self.simulation.cadence)
        gains = {f"GAIN{output}": gain for output, gain in zip("ABCD", detector.GAINS, strict=True)}
        noise = {
            f"READNOI{output}": value
            for output, value in zip("ABCD", detector.READ_NOISE, strict=True)
        }
        return {
            "EXPOSURE": exposure / DAY,
            "TIMEREF": "SOLARSYSTEM",
            "TIMESYS": "TDB",
            "BJDREFI": 2457000,
            "BJDREFF": 0.0,
            "TIMEUNIT": "d",
            "INT_TIME": detector.INT_TIME,
            "READTIME": detector.READ_TIME,
            "FRAMETIM": detector.INT_TIME + detector.READ_TIME,
            "NUM_FRM": n_frames,
            "TIMEDEL": self.simulation.cadence / DAY,
            "BUNIT": "electrons/s",
            "BACKAPP": False,
            **gains,
            **noise,
        }

    def _science_pixels(self):
        """Which pixels see the sky: as the mission says it, or for bare images by the detector
        number of the first pixel.
        """
        size = self.simulation.size
        first_row, first_column = detector.FIRST_ROW, detector.FIRST_COLUMN
        if self.simulation.collateral:
            last_row, last_column = first_row + size - 1, first_column + size - 1
            return {
                "SCIROWS": first_row,
                "SCIROWE": last_row,
                "SCCSA": first_column,
                "SCCED": last_column,
            }
        physical = {
            "WCSNAMEP": "PHYSICAL",
            "CRPIX1P": 1,
            "CRPIX2P": 1,
            "CDELT1P": 1.0,
            "CDELT2P": 1.0,
        }
        return physical | {"CRVAL1P": first_column, "CRVAL2P": first_row}

    def _shift_wcs(self):
        if self.simulation.collateral:
            self._image["CRPIX1"] += LEADING_COLUMNS
