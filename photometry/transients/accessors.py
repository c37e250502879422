"""Images as the pipeline wants them: pixels, beam, position, frequency and time from FITS files or
from memory.

Radio images (also cubes with axes of length 1, AMI and LOFAR) have their beam and frequency in the
header. Optical ones have a filter and the width of their point spread function, given or measured,
in place of these.
"""

import logging
import re
import warnings
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import numpy as np

from ..constants import SPEED_OF_LIGHT
from ..errors import BadInputError

log = logging.getLogger(__name__)

DEFAULT_BANDWIDTH = 1e6
"""Hz, of a radio image that does not say."""

SQUARE = 1e-7
"""deg; the two sides of a pixel may differ by this."""

# Effective wavelength and width of filters, nm: Bessell 2005, ARA&A 43, 293, table 1; SDSS:
# Fukugita et al. 1996, AJ 111, 1748.
FILTERS = {
    "U": (366, 65), "B": (436, 89), "V": (545, 84), "R": (641, 158), "I": (798, 154),
    "u": (355, 57), "g": (477, 138), "r": (623, 138), "i": (763, 153), "z": (905, 137),
    "clear": (600, 400),
}  # fmt: skip

_CLEAN = re.compile(r"CLEAN\s+BMAJ=\s*([-+.\dEe]+)\s+BMIN=\s*([-+.\dEe]+)\s+BPA=\s*([-+.\dEe]+)")
_LOFAR_KEYWORDS = {
    "antenna_set": "ANTENNA", "ncore": "NCORE", "nremote": "NREMOTE", "nintl": "NINTL",
    "subbandwidth": "SUBBANDW", "subbands": "SUBBANDS",
}  # fmt: skip


class ImageAccessor:
    """One image.

    Parameters
    ----------
    header : astropy.io.fits.Header
    pixels : (n_rows, n_columns) array, optional; read from ``url`` when needed if not given
    url : str

    Attributes
    ----------
    beam : (semi-major, semi-minor, angle) of the beam or PSF: half widths at half maximum, px; rad
        from y towards negative x
    centre_ra, centre_decl : deg, of the middle of the image
    freq_eff, freq_bw : Hz
    taustart_ts : datetime, UTC; tau_time : s
    deltax, deltay : deg per pixel; pixelsize : both, absolute
    wcs : astropy.wcs.WCS of the two axes on the sky, pixels from 0
    url, telescope : str
    is_optical : bool

    Raises
    ------
    BadInputError : the header lacks what is needed, or has it in other units
    """

    lofar = None

    def __init__(self, header, pixels=None, url=""):
        self.url, self.header = str(url), header
        self._pixels = pixels
        self.telescope = str(header.get("TELESCOP", "")).strip()
        self.shape = tuple(int(header.get(f"NAXIS{i}", 0)) for i in (2, 1))
        if min(self.shape) < 1:
            raise BadInputError(f"{self.url}: no image of two axes")
        self._read_wcs()
        self.is_optical = (
            "BMAJ" not in header and _clean_beam(header) is None and self._has_filter()
        )
        self.freq_eff, self.freq_bw = self._filter() if self.is_optical else self._frequency()
        self.beam = self._psf() if self.is_optical else self._beam()
        self.taustart_ts, self.tau_time = self._times()

    @property
    def pixels(self):
        """(n_rows, n_columns) float array: the first plane of further axes."""
        if self._pixels is None:
            self._pixels = _read_pixels(self.url)
        return self._pixels

    @property
    def data(self):
        """The pixels as [x][y]."""
        return self.pixels.T

    def __getstate__(self):
        # what can be read again need not travel between processes
        state = {k: v for k, v in self.__dict__.items() if k not in ("_pixels", "wcs", "maps")}
        return state | {"_pixels": None if self.is_file else self._pixels}

    def __setstate__(self, state):
        self.__dict__.update(state)
        if self._pixels is None:
            self._pixels = _recent_pixels(self.url)
        self._read_wcs()

    @property
    def is_file(self):
        return bool(self.url) and Path(self.url).is_file()

    def metadata(self):
        """What the row of ``image`` needs."""
        major, minor, angle = self.beam
        return {
            "beam_smaj_pix": major, "beam_smin_pix": minor, "beam_pa_rad": angle,
            "centre_ra": self.centre_ra,
            "centre_decl": self.centre_decl, "deltax": self.deltax, "deltay": self.deltay,
            "freq_bw": self.freq_bw,
            "freq_eff": self.freq_eff, "tau_time": self.tau_time, "taustart_ts": self.taustart_ts,
            "url": self.url,
            "half_size": min(self.shape) / 2,
        }  # fmt: skip

    def _read_wcs(self):
        self.wcs = wcs_of(self.header, self.url)
        if self.wcs.naxis != 2:
            raise BadInputError(f"{self.url}: no coordinates on the sky (CTYPE1, CTYPE2)")
        if any(str(unit) not in ("deg", "") for unit in self.wcs.wcs.cunit):
            raise BadInputError(f"{self.url}: coordinates in {self.wcs.wcs.cunit[0]}; expected deg")
        matrix = self.wcs.pixel_scale_matrix
        scale = np.sqrt((matrix**2).sum(axis=0))
        if not np.isclose(
            *scale, rtol=0, atol=SQUARE if not self._has_filter() else 0.01 * scale[0]
        ):
            raise BadInputError(f"{self.url}: pixels of {scale[0]} x {scale[1]} deg are not square")
        flipped = np.linalg.det(matrix) > 0
        self.deltax, self.deltay = float(scale[0] if flipped else -scale[0]), float(scale[1])
        self.pixelsize = (float(scale[0]), float(scale[1]))
        middle = self.wcs.pixel_to_world_values(self.shape[1] / 2, self.shape[0] / 2)
        if not np.isfinite(middle).all():
            raise BadInputError(f"{self.url}: the middle of the image is not on the sky")
        self.centre_ra, self.centre_decl = float(middle[0]) % 360, float(middle[1])

    def _has_filter(self):
        return "FILTER" in self.header and "BMAJ" not in self.header

    def _frequency(self):
        header = self.header
        if "RESTFRQ" in header:
            return float(header["RESTFRQ"]), float(header.get("RESTBW", DEFAULT_BANDWIDTH))
        for axis in (3, 4):
            if str(header.get(f"CTYPE{axis}", "")).strip()[:4] in ("FREQ", "VOPT"):
                value, step = header.get(f"CRVAL{axis}"), header.get(f"CDELT{axis}", 0)
                if value:
                    return float(value), abs(float(step)) or DEFAULT_BANDWIDTH
        if "RESTFREQ" in header:
            return float(header["RESTFREQ"]), DEFAULT_BANDWIDTH
        raise BadInputError(
            f"{self.url}: no frequency (RESTFRQ, an axis FREQ, RESTFREQ), no FILTER"
        )

    def _filter(self):
        name = str(self.header["FILTER"]).strip()
        key = next((k for k in (name, name[-1:], name.lower()) if k in FILTERS), "clear")
        centre, width = FILTERS[key]
        metres = centre * 1e-9
        return SPEED_OF_LIGHT * 1e3 / metres, SPEED_OF_LIGHT * 1e3 / metres * width / centre

    def _beam(self):
        header, clean = self.header, _clean_beam(self.header)
        if "BMAJ" in header and "BMIN" in header:
            major, minor, angle = (float(header.get(k, 0)) for k in ("BMAJ", "BMIN", "BPA"))
        elif clean:
            major, minor, angle = clean
        else:
            raise BadInputError(f"{self.url}: no beam (BMAJ and BMIN, or a CLEAN line of AIPS)")
        return beam_in_pixels(major, minor, angle, self.deltax, self.deltay)

    def _psf(self):
        """The point spread function of an optical image: of the header, in arcsec, or measured on
        its stars."""
        for key in ("PSF_FWHM", "SEEING", "FWHM"):
            width = self.header.get(key)
            if isinstance(width, (int, float)) and width > 0:
                half = width / 3600 / self.pixelsize[0] / 2
                return half, half, 0.0
        from .optical import measure_psf

        half = measure_psf(self.pixels) / 2
        if not np.isfinite(half):
            raise BadInputError(
                f"{self.url}: no PSF_FWHM in the header, and no stars to measure it on"
            )
        return half, half, 0.0

    def _times(self):
        header = self.header
        start = _time(header, "DATE-OBS", self.url)
        length = 0.0
        if start is not None and (end := _time(header, "END_UTC", self.url)) is not None:
            length = (end - start).total_seconds()
        else:
            length = next((float(header[k]) for k in ("EXPTIME", "EXPOSURE") if k in header), 0.0)
        if start is None:
            known = Path(self.url).stat().st_mtime if self.is_file else datetime.now().timestamp()
            start = datetime.fromtimestamp(known, timezone.utc).replace(tzinfo=None)
            length = 0.0
            log.warning("%s: no DATE-OBS; taken for an exposure of length 0 at %s", self.url, start)
        return start, length

    @cached_property
    def maps(self):
        """Backgrounds and noises found for this image, by their parameters; see
        `noisemaps.noise_maps`."""
        return {}


class LofarImage(ImageAccessor):
    """An image of LOFAR, with what its theoretical noise follows from: the attribute ``lofar``, a
    dict."""

    def __init__(self, header, pixels=None, url=""):
        super().__init__(header, pixels, url)
        missing = [k for k in _LOFAR_KEYWORDS.values() if k not in header]
        if missing:
            raise BadInputError(f"{self.url}: image of LOFAR without {', '.join(missing)}")
        self.lofar = {name: header[keyword] for name, keyword in _LOFAR_KEYWORDS.items()}

    def __getattr__(self, name):
        lofar = self.__dict__.get("lofar") or {}
        if name in lofar:
            return lofar[name]
        raise AttributeError(name)


def open_image(source):
    """An accessor for a FITS file, an HDU or list of HDUs, or (header, pixels).

    Parameters
    ----------
    source : path, astropy.io.fits HDU or HDUList, tuple of header and (n_rows, n_columns) array, or
        an accessor

    Raises
    ------
    BadInputError : naming the file and what is wrong with it
    """
    from astropy.io import fits

    if isinstance(source, ImageAccessor):
        return source
    if isinstance(source, (str, Path)):
        header, pixels, url = _read_header(source), None, str(source)
    elif isinstance(source, tuple):
        header, pixels = source
        url = str(header.get("URL", header.get("FILENAME", "")))
        pixels = _plane(np.asarray(pixels), url)
    else:
        hdu = source[0] if isinstance(source, fits.HDUList) else source
        header, url = hdu.header, str(hdu.header.get("FILENAME", ""))
        pixels = _plane(hdu.data, url)
    lofar = str(header.get("TELESCOP", "")).strip() == "LOFAR" and "ANTENNA" in header
    return (LofarImage if lofar else ImageAccessor)(header, pixels, url)


def read_frame(path):
    """Header and (n_rows, n_columns) pixels of a FITS image that need not have coordinates."""
    return _read_header(path), _read_pixels(str(path))


def wcs_of(header, url):
    """The coordinates of the two axes on the sky of a FITS header; ``url``: for messages."""
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            return WCS(header).celestial
        except Exception as error:  # noqa: BLE001 - astropy raises a dozen classes for bad headers
            raise BadInputError(f"{url}: no coordinates: {error}") from None


def beam_in_pixels(major, minor, angle, deltax, deltay):
    """A beam's half widths at half maximum in pixels, and its angle in rad.

    Parameters
    ----------
    major, minor : float, deg, full widths at half maximum
    angle : float, deg, position angle from north through east
    deltax, deltay : float, deg per pixel
    """
    s, c = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    semi_major = major / 2 * np.hypot(s / deltax, c / deltay)
    semi_minor = minor / 2 * np.hypot(c / deltax, s / deltay)
    # east on the right: the other way round
    angle = np.radians(angle if deltax < 0 else -angle)
    return float(semi_major), float(semi_minor), float(angle)


def _clean_beam(header):
    for line in header.get("HISTORY", ()):
        if found := _CLEAN.search(str(line)):
            return tuple(float(number) for number in found.groups())
    return None


def _time(header, keyword, url):
    """A time of a header as naive UTC; None where there is none."""
    text = str(header.get(keyword, "")).strip()
    if not text:
        return None
    if old := re.fullmatch(r"(\d\d)/(\d\d)/(\d\d)", text):
        day, month, year = old.groups()
        text = f"19{year}-{month}-{day}"
    from astropy.time import Time

    scale = str(header.get("TIMESYS", "UTC")).strip().lower() or "utc"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            time = Time(text, scale=scale if scale in Time.SCALES else "utc")
            moment = time.utc.to_datetime()
    except ValueError:
        raise BadInputError(f"{url}: {keyword} = {text!r} is not a time") from None
    return moment.replace(tzinfo=None)


def _read_header(path):
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=True) as hdus:
                header = hdus[_image_hdu(hdus, path)].header.copy()
        header.tostring()
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, fits.VerifyError) as error:
        raise BadInputError(f"{path}: not a readable FITS image: {error}") from None
    return header


def _image_hdu(hdus, path):
    for number, hdu in enumerate(hdus):
        if hdu.header.get("NAXIS", 0) >= 2 and hdu.is_image:
            return number
    raise BadInputError(f"{path}: no image with two axes")


_recent = {}


def _recent_pixels(url):
    return _recent.get(url)


def _read_pixels(path):
    """The pixels of a file; those of the last one or two are kept, as one image is asked for in
    several steps."""
    from astropy.io import fits

    if path in _recent:
        return _recent[path]
    try:
        with warnings.catch_warnings():
            # a truncated file is only a warning to astropy
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False, ignore_missing_simple=True) as hdus:
                pixels = _plane(hdus[_image_hdu(hdus, path)].data, path)
    except (OSError, ValueError, TypeError, AttributeError, fits.VerifyError) as error:
        raise BadInputError(f"{path}: the pixels cannot be read: {error}") from None
    while len(_recent) > 1:
        del _recent[next(iter(_recent))]
    _recent[path] = pixels
    return pixels


def _plane(data, url):
    if data is None or data.ndim < 2:
        raise BadInputError(f"{url}: no pixels")
    data = data.reshape(-1, *data.shape[-2:])[0]
    return np.ascontiguousarray(data, dtype=np.float64 if data.dtype.itemsize > 4 else np.float32)
