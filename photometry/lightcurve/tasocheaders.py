"""The FITS keywords of a light-curve file, as lists of (keyword, value, comment)."""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import numpy as np

from .._version import __version__
from ..constants import DAY

# lightkurve knows a TASOC product by this ORIGIN, but takes its times for TESS times: the Kepler files have another one
ORIGIN = {"TESS": "TASOC/Aarhus", "Kepler": "photometry", "K2": "photometry"}
CREATOR = "photometry lightcurve"  # "lightcurve": how lightkurve knows that a Kepler file is no target pixel file
FILE_VERSION = "1.0"
STAR_KEYWORDS = {  # identity, sector, camera, ccd, magnitude
    "TESS": ("TICID", "SECTOR", "CAMERA", "CCD", "TESSMAG"),
    "Kepler": ("KEPLERID", "QUARTER", "MODULE", "OUTPUT", "KEPMAG"),
    "K2": ("KEPLERID", "CAMPAIGN", "MODULE", "OUTPUT", "KEPMAG"),
}
CATALOGUE = {"TESS": "TIC", "Kepler": "KIC", "K2": "EPIC"}
_PACKAGES = {
    "VER_NUMP": "numpy",
    "VER_SCIP": "scipy",
    "VER_ASTR": "astropy",
    "VER_SKIM": "scikit-image",
}
_HANDED_ON = {  # keywords of the input file that hold for the light curve too
    "EXPOSURE": "[d] time on source",
    "TELAPSE": "[d] TSTOP - TSTART",
    "LIVETIME": "[d] TELAPSE multiplied by DEADC",
    "TSTART": "observation start time in BJD - BJDREF",
    "TSTOP": "observation stop time in BJD - BJDREF",
    "DATE-OBS": "TSTART as UTC calendar date",
    "DATE-END": "TSTOP as UTC calendar date",
    "DEADC": "deadtime correction",
    "TIMEPIXR": "bin time beginning=0 middle=0.5 end=1",
    "TIERRELA": "[d] relative time error",
    "INT_TIME": "[s] photon accumulation time per frame",
    "READTIME": "[s] readout time per frame",
    "FRAMETIM": "[s] frame time (INT_TIME + READTIME)",
    "NUM_FRM": "number of frames per time stamp",
    "TIMEDEL": "[d] time resolution of data",
    "NREADOUT": "number of reads per time stamp",
    "CRMITEN": "cosmic ray mitigation enabled",
    "CRBLKSZ": "[exposures] cosmic ray mitigation block size",
    "GAIN": "[electrons/count] gain",
    "READNOIS": "[electrons] read noise",
}
_TESS_TIMING = {"INT_TIME": 1.98, "READTIME": 0.02, "FRAMETIM": 2.0}  # s


def primary_header(stamp, extraction, settings):
    """Cards of the primary HDU: star, instrument, method, versions."""
    return [
        *_origin_cards(stamp, settings),
        *_star_cards(stamp),
        *_method_cards(stamp, extraction, settings),
        *(("COMMENT", sentence) for sentence in extraction.errors),
    ]


def _origin_cards(stamp, settings):
    source = stamp.headers
    return [
        ("EXTNAME", "PRIMARY", "name of extension"),
        ("ORIGIN", ORIGIN[stamp.mission], "whose format of light curves this is"),
        ("TELESCOP", "TESS" if stamp.mission == "TESS" else "Kepler", "telescope"),
        ("INSTRUME", source.get("INSTRUME", f"{stamp.mission} Photometer"), "detector type"),
        ("MISSION", stamp.mission, "mission"),
        ("CREATOR", CREATOR, "program that made this file"),
        ("PROCVER", __version__, "version of that program"),
        ("FILEVER", FILE_VERSION, "version of the file format"),
        ("DATA_REL", settings.output.data_release, "data release of this light curve"),
        ("SRC_DREL", source.get("DATA_REL"), "data release of the pixels"),
        ("SRC_PROC", source.get("PROCVER")),
        *(
            (keyword, _installed(package), f"version of {package}")
            for keyword, package in _PACKAGES.items()
        ),
    ]


def _star_cards(stamp):
    star = stamp.target
    starid, sector, camera, ccd, tmag = STAR_KEYWORDS[stamp.mission]
    return [
        ("OBJECT", f"{CATALOGUE[stamp.mission]} {star.starid}", "string version of the target id"),
        (starid, star.starid, "number of the target in the catalogue"),
        (sector, stamp.sector, "observing period"),
        (camera, stamp.camera, "where on the focal plane"),
        (ccd, stamp.ccd, "where on the focal plane"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        ("RA_OBJ", _real(star.ra), "[deg] right ascension"),
        ("DEC_OBJ", _real(star.decl), "[deg] declination"),
        ("PMRA", _real(star.pm_ra), "[mas/yr] proper motion in right ascension"),
        ("PMDEC", _real(star.pm_decl), "[mas/yr] proper motion in declination"),
        (tmag, _real(star.tmag), "[mag] magnitude in the band of the mission"),
        ("TEFF", _real(star.teff), "[K] effective temperature"),
        ("LOGG", _real(star.logg), "[cm/s2] log10 surface gravity"),
        ("RADIUS", _real(star.radius), "[solar radii] stellar radius"),
        ("TICVER", stamp.headers.get("TICVER"), "version of the TIC"),
    ]


def _method_cards(stamp, extraction, settings):
    return [
        ("PHOTMET", extraction.method, "photometric method"),
        ("DATASRC", stamp.datasource, "where the pixels are from"),
        ("STATUS", extraction.status.name, "outcome of the photometry"),
        ("MASKTYPE", settings.aperture.mask, "own pixel mask, or that of the pipeline"),
        ("MASKSIZE", int(extraction.mask.sum()), "[pixels] size of the flux mask"),
        ("KP_THRES", settings.aperture.threshold, "threshold of the pixel mask, in MAD"),
        ("CONTAM", _real(extraction.contamination), "share of the flux that is from other stars"),
        ("EDGEFLUX", _real(extraction.edge_flux), "[e-/s] flux in the mask on the stamp's edge"),
        ("NRESIZES", extraction.stamp_resizes, "how often the stamp was enlarged"),
    ]


def table_header(stamp):
    """Cards of the table LIGHTCURVE besides those that describe its columns: how its times are to be read."""
    timing = (
        {"NUM_FRM": round(stamp.cadence / 2), **_TESS_TIMING} if stamp.mission == "TESS" else {}
    )
    known = {"TIMEDEL": stamp.cadence / DAY, "TIMEPIXR": 0.5, **timing, **stamp.headers}
    return [
        ("TIMEREF", "SOLARSYSTEM", "barycentric correction applied to times"),
        ("TASSIGN", "SPACECRAFT", "where time is assigned"),
        ("TIMESYS", "TDB", "time system is Barycentric Dynamical Time"),
        ("BJDREFI", stamp.time_reference, "integer part of BJD reference date"),
        ("BJDREFF", 0.0, "fraction of the day in BJD reference date"),
        ("TIMEUNIT", "d", "time unit for TIME, TSTART and TSTOP"),
        *(
            (keyword, known[keyword], comment)
            for keyword, comment in _HANDED_ON.items()
            if keyword in known
        ),
        ("BACKAPP", True, "background is subtracted"),
        ("DEADAPP", True, "deadtime applied"),
        ("VIGNAPP", True, "vignetting or collimator correction applied"),
    ]


def image_header(stamp):
    """Cards of an image of the stamp: celestial coordinates, and as alternative P the pixels of the detector."""
    return [
        *_celestial_cards(stamp.wcs),
        ("WCSNAMEP", "PHYSICAL", "name of world coordinate system alternate P"),
        ("WCSAXESP", 2, "number of WCS physical axes"),
        *_detector_cards(1, "RAWX", "column", stamp.column),
        *_detector_cards(2, "RAWY", "row", stamp.row),
    ]


def _celestial_cards(wcs):
    if not wcs.has_celestial:
        return []
    w = wcs.wcs  # written card by card: WCS.to_header costs as much as all other headers together
    pc = w.get_pc()
    return [
        ("WCSAXES", 2, "number of WCS axes"),
        ("RADESYS", w.radesys or "ICRS", "reference frame of celestial coordinates"),
        *((f"CTYPE{i + 1}", w.ctype[i], "type of coordinate") for i in range(2)),
        *((f"CRPIX{i + 1}", float(w.crpix[i]), "[pixel] reference pixel") for i in range(2)),
        *(
            (f"CRVAL{i + 1}", float(w.crval[i]), "[deg] coordinate at reference pixel")
            for i in range(2)
        ),
        *((f"CUNIT{i + 1}", "deg", "unit of coordinate") for i in range(2)),
        *((f"CDELT{i + 1}", float(w.get_cdelt()[i]), "[deg] pixel scale") for i in range(2)),
        *(
            (f"PC{i + 1}_{j + 1}", float(pc[i, j]), "linear transformation")
            for i in range(2)
            for j in range(2)
        ),
        *(_distortion_cards(wcs.sip) if wcs.sip is not None else ()),
    ]


def _distortion_cards(sip):
    """Polynomials of the SIP convention (Shupe et al. 2005), as far as they are there: A and B, and their inverses."""
    for name in ("a", "b", "ap", "bp"):
        coefficients = getattr(sip, name)
        if coefficients is not None:
            yield (
                f"{name.upper()}_ORDER",
                len(coefficients) - 1,
                "order of the distortion polynomial",
            )
            for i, j in zip(*map(np.ndarray.tolist, np.nonzero(coefficients)), strict=True):
                yield (
                    f"{name.upper()}_{i}_{j}",
                    float(coefficients[i, j]),
                    "coefficient of the distortion",
                )


def _detector_cards(axis, name, what, first):
    return [
        (f"CTYPE{axis}P", name, f"physical WCS axis {axis} type: CCD {what}"),
        (f"CUNIT{axis}P", "pixel", f"physical WCS axis {axis} unit"),
        (f"CRPIX{axis}P", 1, f"reference CCD {what}"),
        (f"CRVAL{axis}P", first, f"value at reference CCD {what}"),
        (f"CDELT{axis}P", 1.0, f"physical WCS axis {axis} step"),
    ]


def _real(value):
    """A number as FITS can hold it: it has no NaN, an undefined value stands for it."""
    return float(value) if np.isfinite(value) else None


@lru_cache
def _installed(package):
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None
