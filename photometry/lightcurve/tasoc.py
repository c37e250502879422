"""Our light-curve files: FITS with the columns and keywords of the TASOC light curves, and besides
them those by which lightkurve and astropy find flux, quality and times in a file of the missions::

    lightkurve.read(path)
    astropy.timeseries.TimeSeries.read(path, format="kepler.fits")

PDCSAP_FLUX is FLUX_CORR in e-/s where a light curve has been corrected, FLUX_RAW before. CATALOG
has the stars on the stamp; it is missing where they are unknown. No date of writing is in the file,
neither in its FITS headers (DATE) nor in gzip's; SRC_DATE is that of the pixels. Without the id of
a run (RUNID) the same input gives the same bytes.
"""

from pathlib import Path

import numpy as np

from .._version import __version__
from ..constants import DAY, MISSIONS
from ..files import atomic_write, gzip_compress
from ..flags import DEFAULT_BITMASK
from ..provenance import commit, installed
from ..settings import settings_hash
from .detrend import NOISE_HOURS, quick_cdpp
from .fitsfiles import image_hdu, primary_hdu, table_hdu
from .lightcurve import LightcurveArbitraryRaster

BIT_COLLECTED, BIT_FLUX, BIT_POSITION = 1, 2, 8  # of the APERTURE image
PREFIX = {"TESS": "tess", "Kepler": "kplr", "K2": "ktwo"}
STARS_PER_FOLDER = 1000
ORIGIN = "photometry"
# lightkurve and astropy tell a light curve from pixels by "lightcurve" in CREATOR
CREATOR = "photometry lightcurve"
FILE_VERSION = "1.1"

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
    ("SAP_BKG_ERR", ">f4", "e-/s", "E14.7"),
    ("MOM_CENTR1_ERR", ">f4", "pixels", "E14.7"),
    ("MOM_CENTR2_ERR", ">f4", "pixels", "E14.7"),
    ("PDCSAP_FLUX", ">f4", "e-/s", "E14.7"),
    ("PDCSAP_FLUX_ERR", ">f4", "e-/s", "E14.7"),
    ("SAP_QUALITY", ">i4", None, "B16.16"),
)
STARS = (  # the same of the stars on the stamp; positions are pixels of the detector
    ("STARID", ">i8", None, "I20"),
    ("MAG", ">f4", "mag", "F9.4"),
    ("COLUMN", ">f8", "pixels", "F10.4"),
    ("ROW", ">f8", "pixels", "F10.4"),
)
NOT_OF_TESS = ("SAP_QUALITY",)  # the name of QUALITY in light curves of Kepler and K2
FORMATS = {name: shown for name, _, _, shown in COLUMNS}

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
    "TIERABSO": "[d] absolute time error at most",
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


def write_lightcurve(folder, stamp, extraction, settings, *, run_id=None, cards=()):
    """Write the light-curve file of a target, replacing an older one.

    Parameters
    ----------
    folder : the output folder; the folders below it are made
    stamp : Stamp, with its sum image
    extraction : Extraction
    settings : PhotometrySettings
    run_id : str or None, id of the run that makes it
    cards : sequence of (keyword, value, comment), more of the primary header

    Returns
    -------
    str : the path relative to ``folder``
    """
    starid, output = stamp.target.starid, settings.output
    name = (
        f"{PREFIX[stamp.mission]}{starid:011d}-s{stamp.sector:03d}-{stamp.camera}-{stamp.ccd}"
        f"-c{stamp.cadence:04d}-dr{output.data_release:02d}-v{output.version:02d}-tasoc_lc.fits.gz"
    )
    relative = f"c{stamp.cadence:04d}/{starid // STARS_PER_FOLDER:08d}/{name}"
    path = Path(folder) / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    content = lightcurve_bytes(stamp, extraction, settings, run_id=run_id, cards=cards)
    with atomic_write(path) as part:
        part.write_bytes(gzip_compress(content, output.compress_level))
    return relative


def lightcurve_bytes(stamp, extraction, settings, *, run_id=None, cards=()):
    """The light-curve file before compression.

    Parameters
    ----------
    stamp : Stamp, with its sum image
    extraction : Extraction
    settings : PhotometrySettings
    run_id : str or None, id of the run that makes it
    cards : sequence of (keyword, value, comment), more of the primary header
    """
    star, mission, image = stamp.target, MISSIONS[stamp.mission], _image_cards(stamp)
    target = [
        ("TELESCOP", "TESS" if stamp.mission == "TESS" else "Kepler", "telescope"),
        ("OBJECT", mission.label(star.starid), "string version of the target id"),
        (mission.id_keyword, star.starid, "number of the target in the catalogue"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        ("RA_OBJ", float(star.ra), "[deg] right ascension"),
        ("DEC_OBJ", float(star.decl), "[deg] declination"),
    ]
    aperture = (
        BIT_COLLECTED * stamp.collected
        | BIT_FLUX * extraction.mask
        | BIT_POSITION * extraction.position_mask
    )
    units = {
        name: unit and unit.format(reference=stamp.time_reference) for name, _, unit, _ in COLUMNS
    }
    primary = [*_primary_cards(stamp, extraction, settings, run_id, target), *cards]
    table = _table_cards(stamp, extraction, settings, target)
    sum_cards = [("BUNIT", "e-/s", "unit of the pixels"), *image]
    return b"".join(
        [
            primary_hdu(primary),
            table_hdu("LIGHTCURVE", _rows(stamp, extraction), units, FORMATS, table),
            image_hdu("SUMIMAGE", stamp.sumimage.astype(">f4"), sum_cards),
            image_hdu("APERTURE", aperture.astype(">i4"), image),
            *([_catalog_hdu(stamp)] if stamp.has_catalog and len(stamp.catalog) else []),
        ]
    )


def _catalog_hdu(stamp):
    """The stars on the stamp, the target among them; a file without says that they are unknown."""
    stars, (n_rows, n_columns) = stamp.catalog, stamp.shape
    row, column = (np.asarray(stars[name], float) for name in ("row", "column"))
    on_stamp = (np.abs(row - (n_rows - 1) / 2) <= n_rows / 2) & (
        np.abs(column - (n_columns - 1) / 2) <= n_columns / 2
    )
    rows = np.empty(on_stamp.sum(), [(name, kind) for name, kind, _, _ in STARS])
    rows["STARID"], rows["MAG"] = stars["starid"][on_stamp], stars["tmag"][on_stamp]
    rows["COLUMN"] = column[on_stamp] + stamp.column
    rows["ROW"] = row[on_stamp] + stamp.row
    units = {name: unit for name, _, unit, _ in STARS}
    cards = [
        ("EXTVER", 1, "extension version number (not format version)"),
        ("MAGBAND", MISSIONS[stamp.mission].band, "band of MAG"),
    ]
    return table_hdu("CATALOG", rows, units, {name: shown for name, *_, shown in STARS}, cards)


def extraction_to_lightcurve(stamp, extraction):
    """The light curve that a method of `photometry.methods` made.

    Parameters
    ----------
    stamp : Stamp, for times, quality and target
    extraction : Extraction

    Returns
    -------
    LightcurveArbitraryRaster, flux in e-/s; times at which no exposure was made are left out
    """
    made = np.isfinite(stamp.time)
    flags = ((stamp.quality & DEFAULT_BITMASK[stamp.mission]) != 0).astype(float)
    metadata = {
        "object": MISSIONS[stamp.mission].label(stamp.target.starid),
        "starid": stamp.target.starid,
        "mission": stamp.mission,
        "sector": stamp.sector,
        "cadence": stamp.cadence,
        "magnitude": stamp.target.tmag,
        "method": extraction.method,
        "flux_unit": "e-/s",
        "time_reference": stamp.time_reference,
    }
    return LightcurveArbitraryRaster(
        stamp.time[made], extraction.flux[made], extraction.flux_err[made], flags[made], metadata
    )


def _rows(stamp, extraction):
    centroid_err = getattr(extraction, "centroid_err", None)
    if centroid_err is None:
        centroid_err = np.full((len(stamp.time), 2), np.nan)
    series = {
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
        "SAP_BKG_ERR": extraction.background_err,
        "MOM_CENTR1_ERR": centroid_err[:, 0],
        "MOM_CENTR2_ERR": centroid_err[:, 1],
        "PDCSAP_FLUX": extraction.flux,
        "PDCSAP_FLUX_ERR": extraction.flux_err,
        "SAP_QUALITY": stamp.quality,
    }
    left_out = NOT_OF_TESS if stamp.mission == "TESS" else ()
    kinds = [(name, kind) for name, kind, _, _ in COLUMNS if name not in left_out]
    rows = np.empty(len(stamp.time), kinds)
    for name, _ in kinds:
        rows[name] = series[name]
    return rows


def _primary_cards(stamp, extraction, settings, run_id, target):
    """Star, instrument, method, versions"""
    star, mission, source = stamp.target, MISSIONS[stamp.mission], stamp.headers
    camera, ccd = mission.detector_keywords
    kepler = {"CHANNEL": "CCD channel", "SEASON": "season of the roll of the spacecraft"}
    return [
        ("EXTNAME", "PRIMARY", "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("ORIGIN", ORIGIN, "whose program made this file"),
        *target,
        ("INSTRUME", source.get("INSTRUME", f"{stamp.mission} Photometer"), "detector type"),
        ("MISSION", stamp.mission, "mission"),
        ("CREATOR", CREATOR, "program that made this file"),
        ("PROCVER", __version__, "version of that program"),
        ("COMMIT", commit(), "git commit of that program"),
        ("RUNID", run_id, "id of the run that made this file"),
        ("SETHASH", settings_hash(settings), "hash of the settings"),
        ("FILEVER", FILE_VERSION, "version of the file format"),
        ("DATA_REL", settings.output.data_release, "data release of this light curve"),
        ("SRC_DREL", source.get("DATA_REL"), "data release of the pixels"),
        ("SRC_PROC", source.get("PROCVER")),
        ("SRC_DATE", source.get("DATE"), "date of the file with the pixels"),
        *(
            (keyword, installed(package), f"version of {package}")
            for keyword, package in _PACKAGES.items()
        ),
        (mission.period_keyword, stamp.sector, "observing period"),
        (camera, stamp.camera, "where on the focal plane"),
        (ccd, stamp.ccd, "where on the focal plane"),
        *((key, source[key], comment) for key, comment in kepler.items() if key in source),
        ("PMRA", float(star.pm_ra), "[mas/yr] proper motion in right ascension"),
        ("PMDEC", float(star.pm_decl), "[mas/yr] proper motion in declination"),
        (mission.magnitude_keyword, float(star.tmag), f"[mag] {mission.band}"),
        ("TEFF", float(star.teff), "[K] effective temperature"),
        ("LOGG", float(star.logg), "[cm/s2] log10 surface gravity"),
        ("RADIUS", float(star.radius), "[solar radii] stellar radius"),
        ("TICVER", source.get("TICVER"), "version of the TIC"),
        ("PHOTMET", extraction.method, "photometric method"),
        ("DATASRC", stamp.datasource, "where the pixels are from"),
        ("STATUS", extraction.status.name, "outcome of the photometry"),
        ("MASKTYPE", settings.aperture.mask, "own pixel mask, or that of the pipeline"),
        ("MASKSIZE", int(extraction.mask.sum()), "[pixels] size of the flux mask"),
        ("KP_THRES", settings.aperture.threshold, "threshold of the pixel mask, in MAD"),
        (
            "CONTAM",
            extraction.contamination,
            "fraction of flux from other stars in the mask",
        ),
        ("EDGEFLUX", extraction.edge_flux, "[e-/s] flux in the mask on the stamp's edge"),
        ("NRESIZES", extraction.stamp_resizes, "how often the stamp was enlarged"),
        *(("COMMENT", message) for message in extraction.errors),
    ]


def _table_cards(stamp, extraction, settings, target):
    """Besides the description of columns: the star, how times are to be read, crowding, noise"""
    source, tess = stamp.headers, stamp.mission == "TESS"
    if extraction.deblended:
        crowding, fraction = 1.0, None
    elif settings.aperture.mask == "pipeline":
        crowding, fraction = source.get("CROWDSAP"), source.get("FLFRCSAP")
    else:  # of a mask of our own only the catalogue can say whose light it holds
        crowding, fraction = 1 - extraction.contamination, None
    timing = {"NUM_FRM": round(stamp.cadence / 2), **_TESS_TIMING} if tess else {}
    good = ((stamp.quality & DEFAULT_BITMASK[stamp.mission]) == 0) & np.isfinite(extraction.flux)
    good &= np.isfinite(stamp.time)
    noise = quick_cdpp(stamp.time[good], extraction.flux[good], NOISE_HOURS)
    known = {"TIMEDEL": stamp.cadence / DAY, "TIMEPIXR": 0.5, **timing, **source}
    return [
        ("EXTVER", 1, "extension version number (not format version)"),
        *target,
        ("TIMEREF", "SOLARSYSTEM", "barycentric correction applied to times"),
        ("TASSIGN", "SPACECRAFT", "where time is assigned"),
        ("TIMESYS", "TDB", "time system is Barycentric Dynamical Time"),
        ("BJDREFI", stamp.time_reference, "integer part of BJD reference date"),
        ("BJDREFF", 0.0, "fraction of the day in BJD reference date"),
        ("TIMEUNIT", "d", "time unit for TIME, TSTART and TSTOP"),
        *((key, known[key], comment) for key, comment in _HANDED_ON.items() if key in known),
        ("BACKAPP", True, "background is subtracted"),
        ("DEADAPP", True, "deadtime applied"),
        ("VIGNAPP", True, "vignetting or collimator correction applied"),
        # CROWDSAP and FLFRCSAP of the flux in this file, then of the pipeline's own aperture
        ("CROWDSAP", crowding, "fraction of the flux that is the target's"),
        ("FLFRCSAP", fraction, "fraction of the target's flux in the mask"),
        ("SRC_CROW", source.get("CROWDSAP"), "CROWDSAP of the pipeline's aperture"),
        ("SRC_FLFR", source.get("FLFRCSAP"), "FLFRCSAP of the pipeline's aperture"),
        ("CDPP", noise, "[ppm] noise of FLUX_RAW over 6.5 hours"),
    ]


def _image_cards(stamp):
    """Celestial coordinates, and as alternative P the pixels of the detector"""
    cards = [
        ("WCSNAMEP", "PHYSICAL", "name of world coordinate system alternate P"),
        ("WCSAXESP", 2, "number of WCS physical axes"),
    ]
    axes = (1, "RAWX", "column", stamp.column), (2, "RAWY", "row", stamp.row)
    for axis, name, what, first in axes:
        cards += [
            (f"CTYPE{axis}P", name, f"physical WCS axis {axis} type: CCD {what}"),
            (f"CUNIT{axis}P", "pixel", f"physical WCS axis {axis} unit"),
            (f"CRPIX{axis}P", 1, f"reference CCD {what}"),
            (f"CRVAL{axis}P", first, f"value at reference CCD {what}"),
            (f"CDELT{axis}P", 1.0, f"physical WCS axis {axis} step"),
        ]
    if not stamp.wcs.has_celestial:
        return cards
    # written card by card: WCS.to_header costs as much as all other headers together
    w, pc, cdelt = stamp.wcs.wcs, stamp.wcs.wcs.get_pc(), stamp.wcs.wcs.get_cdelt()
    matrix = [(f"PC{i + 1}_{j + 1}", float(pc[i, j])) for i in range(2) for j in range(2)]
    return [
        ("WCSAXES", 2, "number of WCS axes"),
        ("RADESYS", w.radesys or "ICRS", "reference frame of celestial coordinates"),
        *((f"CTYPE{i + 1}", w.ctype[i], "type of coordinate") for i in range(2)),
        *((f"CRPIX{i + 1}", float(w.crpix[i]), "[pixel] reference pixel") for i in range(2)),
        *((f"CRVAL{i + 1}", float(w.crval[i]), "[deg] at the reference pixel") for i in range(2)),
        *((f"CUNIT{i + 1}", "deg", "unit of coordinate") for i in range(2)),
        *((f"CDELT{i + 1}", float(cdelt[i]), "[deg] pixel scale") for i in range(2)),
        *((keyword, value, "linear transformation") for keyword, value in matrix),
        *(() if stamp.wcs.sip is None else _distortion_cards(stamp.wcs.sip)),
        *cards,
    ]


def _distortion_cards(sip):
    """Polynomials of the SIP convention (Shupe et al. 2005) that are there, and their inverses"""
    for name in ("a", "b", "ap", "bp"):
        values = getattr(sip, name)
        if values is not None:
            name = name.upper()
            yield f"{name}_ORDER", len(values) - 1, "order of the distortion polynomial"
            for i, j in zip(*map(np.ndarray.tolist, np.nonzero(values)), strict=True):
                yield f"{name}_{i}_{j}", float(values[i, j]), "coefficient of the distortion"
