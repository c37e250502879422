"""Target pixel files in the format of TESS's pipeline (SPOC), written piece by piece.

Format: TESS Science Data Products Description Document (EXP-TESS-ARC-ICD-TM-0014), section 4.1; keywords in the order of
the files of sector 1. A file of any length is written with the memory of one piece.
"""

from datetime import datetime, timedelta

import numpy as np
from astropy.io import fits

from . import detector
from .spacecraft import DAY, DAYS_PER_SECTOR, start_time

BLOCK = 2880  # bytes; FITS files consist of such blocks
SECTOR_1_NAME = datetime(2018, 7, 25, 4, 58, 59)  # the time in the names of sector 1
BTJD_0 = datetime(2014, 12, 8, 12, 0, 0)  # 2457000


def file_name(starid, sector, cadence):
    """The name that SPOC gives, e.g. tess2018206045859-s0001-0000000025155310-0120-s_tp.fits."""
    begin = SECTOR_1_NAME + timedelta(days=DAYS_PER_SECTOR * (sector - 1))
    kind = "a_fast-tp" if cadence < 120 else "s_tp"
    return f"tess{begin:%Y%j%H%M%S}-s{sector:04d}-{starid:016d}-0120-{kind}.fits"


def write_target_pixel_file(path, target, stamp, pieces, n_times):
    """Write one file.

    Parameters
    ----------
    path : file to write
    target : dict of starid, ra, decl (deg, year 2000), pm_ra, pm_decl (mas/yr), tmag, teff, logg, radius
    stamp : dict of sector, camera, ccd, cadence (s), wcs, column, row (of the first pixel), aperture ((n_rows, n_columns)
        int array), crowding, captured (shares for CROWDSAP and FLFRCSAP)
    pieces : iterable of structured arrays with the type :func:`row_type`, together ``n_times`` rows
    """
    primary = fits.PrimaryHDU(header=_primary_header(target, stamp, n_times)).header
    table = _table_header(target, stamp, n_times)
    with open(path, "wb") as file:
        file.write(primary.tostring().encode())
        file.write(table.tostring().encode())
        _write_data(file, (piece.tobytes() for piece in pieces))
        file.write(_aperture_header(target, stamp).tostring().encode())
        _write_data(file, [stamp["aperture"].astype(">i4").tobytes()])
        file.write(_cosmic_ray_header().tostring().encode())


def row_type(shape):
    """The numpy type of one row of the table PIXELS: one cadence."""
    images = ("FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR")
    return np.dtype(
        [("TIME", ">f8"), ("TIMECORR", ">f4"), ("CADENCENO", ">i4"), ("RAW_CNTS", ">i4", shape)]
        + [(name, ">f4", shape) for name in images]
        + [("QUALITY", ">i4"), ("POS_CORR1", ">f4"), ("POS_CORR2", ">f4")]
    )


def _write_data(file, pieces):
    size = sum(file.write(piece) for piece in pieces)
    file.write(bytes(-size % BLOCK))


def _extension_header(name, shown):
    header = fits.Header()
    header["INHERIT"] = (True, "inherit the primary header")
    header["EXTNAME"] = (name, "name of extension")
    header["EXTVER"] = (1, "extension version number (not format version)")
    header["SIMDATA"] = (True, "file is based on simulated data")
    header.extend(shown)
    return header


def _primary_header(target, stamp, n_times):
    start, stop = _time_span(stamp, n_times)
    header = _extension_header("PRIMARY", ())
    header.remove("INHERIT")
    header.insert(0, ("NEXTEND", 3, "number of standard extensions"))
    header.extend(
        [
            ("ORIGIN", "photometry", "simulated by this program"),
            ("DATE", f"{_utc(stop):%Y-%m-%d}", "file creation date."),
            ("TSTART", start, "observation start time in BTJD"),
            ("TSTOP", stop, "observation stop time in BTJD"),
            (
                "DATE-OBS",
                f"{_utc(start).isoformat(timespec='milliseconds')}Z",
                "TSTART as UTC calendar date",
            ),
            (
                "DATE-END",
                f"{_utc(stop).isoformat(timespec='milliseconds')}Z",
                "TSTOP as UTC calendar date",
            ),
            (
                "CREATOR",
                "photometry TargetPixelSimulation",
                "program that made this file",
            ),  # lightkurve looks for TargetPixel
            ("PROCVER", "simulated", "SW version"),
            ("FILEVER", "1.0", "file format version"),
            ("TIMVERSN", "OGIP/93-003", "OGIP memo number for file format"),
            *_instrument(target),
            ("DATA_REL", 0, "data release version number"),
            ("SECTOR", stamp["sector"], "Observing sector"),
            ("CAMERA", stamp["camera"], "Camera number"),
            ("CCD", stamp["ccd"], "CCD chip number"),
            ("PXTABLE", 128, "pixel table id"),
            *_position(target["ra"], target["decl"]),
            ("PMRA", target["pm_ra"], "[mas/yr] RA proper motion"),
            ("PMDEC", target["pm_decl"], "[mas/yr] Dec proper motion"),
            (
                "PMTOTAL",
                float(np.hypot(target["pm_ra"], target["pm_decl"])),
                "[mas/yr] total proper motion",
            ),
            ("TESSMAG", target["tmag"], "[mag] TESS magnitude"),
            ("TEFF", target["teff"], "[K] Effective temperature"),
            ("LOGG", target["logg"], "[cm/s2] log10 surface gravity"),
            ("MH", 0.0, "[log10([M/H])] metallicity"),
            ("RADIUS", target["radius"], "[solar radii] stellar radius"),
            ("TICVER", 8, "TICVER"),
            ("CRMITEN", stamp["cadence"] >= 120, "spacecraft cosmic ray mitigation enabled"),
            ("CRBLKSZ", 10, "[exposures] s/c cosmic ray mitigation block siz"),
            ("CRSPOC", False, "SPOC cosmic ray cleaning enabled"),
        ]
    )
    return header


def _table_header(target, stamp, n_times):
    columns = fits.ColDefs(_columns(stamp["aperture"].shape))
    header = fits.BinTableHDU.from_columns(columns, nrows=0).header
    header["NAXIS2"] = n_times
    for name in ("RAW_CNTS", "FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR"):
        header.extend(_column_wcs(columns.names.index(name) + 1, stamp))
    ra, decl = stamp["wcs"].wcs.crval
    shown = [
        *_instrument(target),
        *_position(ra, decl),
        *_times(stamp, n_times),
        *_electronics(stamp),
    ]
    header.extend(_extension_header("PIXELS", shown))
    return header


def _columns(shape):
    n_rows, n_columns = shape
    pixels, dim = n_rows * n_columns, f"({n_columns},{n_rows})"
    number = {"format": "E", "disp": "E14.7"}
    image = {"format": f"{pixels}E", "disp": "E14.7", "unit": "e-/s", "dim": dim}
    return [
        fits.Column("TIME", "D", unit="BJD - 2457000, days", disp="D14.7"),
        fits.Column("TIMECORR", unit="d", **number),
        fits.Column("CADENCENO", "J", disp="I10"),
        fits.Column("RAW_CNTS", f"{pixels}J", unit="count", null=-1, disp="I8", dim=dim),
        *(fits.Column(name, **image) for name in ("FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR")),
        fits.Column("QUALITY", "J", disp="B16.16"),
        *(fits.Column(name, unit="pixel", **number) for name in ("POS_CORR1", "POS_CORR2")),
    ]


def _column_wcs(n, stamp):
    """Detector coordinates and sky coordinates of the images in column ``n`` of the table."""
    (x, y), (ra, decl), scale, pc = _linear_wcs(stamp["wcs"])
    return [
        (f"WCSN{n}P", "PHYSICAL", "table column WCS name"),
        (f"WCAX{n}P", 2, "table column physical WCS dimensions"),
        (f"1CTY{n}P", "RAWX", "table column physical WCS axis 1 type, CCD col"),
        (f"2CTY{n}P", "RAWY", "table column physical WCS axis 2 type, CCD row"),
        (f"1CUN{n}P", "PIXEL", "table column physical WCS axis 1 unit"),
        (f"2CUN{n}P", "PIXEL", "table column physical WCS axis 2 unit"),
        (f"1CRV{n}P", stamp["column"], "table column physical WCS ax 1 ref value"),
        (f"2CRV{n}P", stamp["row"], "table column physical WCS ax 2 ref value"),
        (f"1CDL{n}P", 1.0, "table column physical WCS a1 step"),
        (f"2CDL{n}P", 1.0, "table column physical WCS a2 step"),
        (f"1CRP{n}P", 1, "table column physical WCS a1 reference"),
        (f"2CRP{n}P", 1, "table column physical WCS a2 reference"),
        (f"WCAX{n}", 2, "number of WCS axes"),
        (f"1CTYP{n}", "RA---TAN", "right ascension coordinate type"),
        (f"2CTYP{n}", "DEC--TAN", "declination coordinate type"),
        (f"1CRPX{n}", x, "[pixel] reference pixel along image axis 1"),
        (f"2CRPX{n}", y, "[pixel] reference pixel along image axis 2"),
        (f"1CRVL{n}", ra, "[deg] right ascension at reference pixel"),
        (f"2CRVL{n}", decl, "[deg] declination at reference pixel"),
        (f"1CUNI{n}", "deg", "physical unit in column dimension"),
        (f"2CUNI{n}", "deg", "physical unit in row dimension"),
        (f"1CDLT{n}", -scale, "[deg] pixel scale in RA dimension"),
        (f"2CDLT{n}", scale, "[deg] pixel scale in DEC dimension"),
        (f"11PC{n}", pc[0, 0], "linear transformation matrix element"),
        (f"12PC{n}", pc[0, 1], "linear transformation matrix element"),
        (f"21PC{n}", pc[1, 0], "linear transformation matrix element"),
        (f"22PC{n}", pc[1, 1], "linear transformation matrix element"),
    ]


def _aperture_header(target, stamp):
    (x, y), (ra, decl), scale, pc = _linear_wcs(stamp["wcs"])
    shown = [
        *_instrument(target),
        *_position(ra, decl),
        ("WCSAXES", 2, "number of WCS axes"),
        ("CTYPE1", "RA---TAN", "right ascension coordinate type"),
        ("CTYPE2", "DEC--TAN", "declination coordinate type"),
        ("CRPIX1", x, "[pixel] reference pixel along image axis 1"),
        ("CRPIX2", y, "[pixel] reference pixel along image axis 2"),
        ("CRVAL1", ra, "[deg] right ascension at reference pixel"),
        ("CRVAL2", decl, "[deg] declination at reference pixel"),
        ("CUNIT1", "deg", "physical unit in column dimension"),
        ("CUNIT2", "deg", "physical unit in row dimension"),
        ("CDELT1", -scale, "[deg] pixel scale in RA dimension"),
        ("CDELT2", scale, "[deg] pixel scale in Dec dimension"),
        ("PC1_1", pc[0, 0], "linear transformation element"),
        ("PC1_2", pc[0, 1], "linear transformation element"),
        ("PC2_1", pc[1, 0], "linear transformation element"),
        ("PC2_2", pc[1, 1], "linear transformation element"),
        ("WCSNAMEP", "PHYSICAL", "name of world coordinate system alternate P"),
        ("WCSAXESP", 2, "number of WCS physical axes"),
        ("CTYPE1P", "RAWX", "physical WCS axis 1 type CCD col"),
        ("CUNIT1P", "PIXEL", "physical WCS axis 1 unit"),
        ("CRPIX1P", 1, "reference CCD column"),
        ("CRVAL1P", stamp["column"], "value at reference CCD column"),
        ("CDELT1P", 1.0, "physical WCS axis 1 step"),
        ("CTYPE2P", "RAWY", "physical WCS axis 2 type CCD row"),
        ("CUNIT2P", "PIXEL", "physical WCS axis 2 units"),
        ("CRPIX2P", 1, "reference CCD row"),
        ("CRVAL2P", stamp["row"], "value at reference CCD row"),
        ("CDELT2P", 1.0, "physical WCS axis 2 step"),
        (
            "NPIXSAP",
            int(np.sum((stamp["aperture"] & 2) > 0)),
            "Number of pixels in optimal aperture",
        ),
        ("NPIXMISS", 0, "Number of op. aperture pixels not collected"),
    ]
    hdu = fits.ImageHDU(
        np.zeros(stamp["aperture"].shape, dtype=np.int32),
        header=_extension_header("APERTURE", shown),
    )
    return hdu.header


def _cosmic_ray_header():
    columns = [
        fits.Column("CADENCENO", "J", disp="I10"),
        fits.Column("RAWX", "I", unit="pixel", disp="I4"),
        fits.Column("RAWY", "I", unit="pixel", disp="I4"),
        fits.Column("COSMIC_RAY", "E", unit="e-/s", disp="E14.7"),
    ]
    header = fits.BinTableHDU.from_columns(columns, nrows=0).header
    header.extend(_extension_header("TARGET COSMIC RAY", ()))
    return header


def _instrument(target):
    return [
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("OBJECT", f"TIC {target['starid']}", "string version of target id"),
        ("TICID", target["starid"], "unique tess target identifier"),
    ]


def _position(ra, decl):
    return [
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("RA_OBJ", ra, "[deg] right ascension"),
        ("DEC_OBJ", decl, "[deg] declination"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
    ]


def _times(stamp, n_times):
    start, stop = _time_span(stamp, n_times)
    number, exposure = detector.frames(stamp["cadence"])
    live = exposure / stamp["cadence"]
    return [
        ("EXPOSURE", (stop - start) * live, "[d] time on source"),
        ("TIMEREF", "SOLARSYSTEM", "barycentric correction applied to times"),
        ("TASSIGN", "SPACECRAFT", "where time is assigned"),
        ("TIMESYS", "TDB", "time system is Barycentric Dynamical Time (TDB)"),
        ("BJDREFI", 2457000, "integer part of BTJD reference date"),
        ("BJDREFF", 0.0, "fraction of the day in BTJD reference date"),
        ("TIMEUNIT", "d", "time unit for TIME, TSTART and TSTOP"),
        ("TELAPSE", stop - start, "[d] TSTOP - TSTART"),
        ("LIVETIME", (stop - start) * live, "[d] TELAPSE multiplied by DEADC"),
        ("TSTART", start, "observation start time in BTJD"),
        ("TSTOP", stop, "observation stop time in BTJD"),
        (
            "DATE-OBS",
            f"{_utc(start).isoformat(timespec='milliseconds')}Z",
            "TSTART as UTC calendar date",
        ),
        (
            "DATE-END",
            f"{_utc(stop).isoformat(timespec='milliseconds')}Z",
            "TSTOP as UTC calendar date",
        ),
        ("DEADC", live, "deadtime correction"),
        ("TIMEPIXR", 0.5, "bin time beginning=0 middle=0.5 end=1"),
        ("TIERRELA", 1.16e-5, "[d] relative time error"),
        ("INT_TIME", detector.INT_TIME, "[s] photon accumulation time per frame"),
        ("READTIME", detector.READ_TIME, "[s] readout time per frame"),
        (
            "FRAMETIM",
            detector.INT_TIME + detector.READ_TIME,
            "[s] frame time (INT_TIME + READTIME)",
        ),
        ("NUM_FRM", number, "number of frames per time stamp"),
        ("TIMEDEL", stamp["cadence"] / DAY, "[d] time resolution of data"),
        ("BACKAPP", True, "background is subtracted"),
        ("DEADAPP", True, "deadtime applied"),
        ("VIGNAPP", True, "vignetting or collimator correction applied"),
    ]


def _electronics(stamp):
    _, exposure = detector.frames(stamp["cadence"])
    outputs = "ABCD"
    return [
        *(
            (f"GAIN{o}", gain, f"[electrons/count] CCD output {o} gain")
            for o, gain in zip(outputs, detector.GAINS, strict=True)
        ),
        *(
            (f"READNOI{o}", r, f"[electrons] read noise CCD output {o}")
            for o, r in zip(outputs, detector.READ_NOISE, strict=True)
        ),
        ("NREADOUT", round(exposure / detector.INT_TIME), "number of read per cadence"),
        ("FXDOFF", 209700, "compression fixed offset"),
        ("CROWDSAP", stamp["crowding"], "Ratio of target flux to total flux in op. ap."),
        ("FLFRCSAP", stamp["captured"], "Frac. of target flux w/in the op. aperture"),
    ]


def _linear_wcs(wcs):
    """Reference pixel and position, scale (deg), and the rotation that is left when the scale is taken out."""
    matrix = wcs.pixel_scale_matrix
    scale = float(np.sqrt(np.abs(np.linalg.det(matrix))))
    return (
        wcs.wcs.crpix.tolist(),
        wcs.wcs.crval.tolist(),
        scale,
        matrix / np.array([[-scale], [scale]]),
    )


def _time_span(stamp, n_times):
    start = start_time(stamp["sector"])
    return start, start + n_times * stamp["cadence"] / DAY


def _utc(btjd):
    """Calendar date of a BTJD, leaving out the minute between TDB and UTC and the minutes of light travel."""
    return BTJD_0 + timedelta(days=btjd)
