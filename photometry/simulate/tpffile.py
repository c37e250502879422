"""Target pixel files in the format of TESS (SPOC), Kepler and K2, written piece by piece: any
length in the memory of one piece.

Formats: TESS Science Data Products Description Document (EXP-TESS-ARC-ICD-TM-0014), section 4.1;
Kepler Archive Manual (KDMC-10008), section 2.3.2. Keywords in the order of the files of TESS sector
1 and of Kepler's data release 25.
"""

from datetime import datetime, timedelta

import numpy as np
from astropy.io import fits
from astropy.time import Time

from ..constants import DAY, MISSIONS
from .spacecraft import DETECTORS, KEPLER_MODULES, SCHEDULES, start_time

BLOCK = 2880  # bytes; FITS files consist of such blocks
# the time in the names of TESS sector 1
SECTOR_1_NAME = datetime(2018, 7, 25, 4, 58, 59)
_IMAGES = ("FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR")
COMMENTS = {
    "BJDREFF": "fraction of the day in BJD reference date",
    "BJDREFI": "integer part of BJD reference date",
    "CAMERA": "Camera number",
    "CAMPAIGN": "Observing campaign number",
    "CCD": "CCD chip number",
    "CDELT1": "[deg] pixel scale in RA dimension",
    "CDELT2": "[deg] pixel scale in Dec dimension",
    "CHANNEL": "CCD channel",
    "CRBLKSZ": "[exposures] s/c cosmic ray mitigation block siz",
    "CROWDSAP": "Ratio of target flux to total flux in op. ap.",
    "CRPIX1": "[pixel] reference pixel along image axis 1",
    "CRPIX2": "[pixel] reference pixel along image axis 2",
    "CRVAL1": "[deg] right ascension at reference pixel",
    "CRVAL1P": "value at reference CCD column",
    "CRVAL2": "[deg] declination at reference pixel",
    "CRVAL2P": "value at reference CCD row",
    "DATE-END": "TSTOP as UTC calendar date",
    "DATE-OBS": "TSTART as UTC calendar date",
    "DEADC": "deadtime correction",
    "DEC_OBJ": "[deg] declination",
    "EXPOSURE": "[d] time on source",
    "FLFRCSAP": "Frac. of target flux w/in the op. aperture",
    "FRAMETIM": "[s] frame time (INT_TIME + READTIME)",
    "GAIN": "[electrons/count] channel gain",
    "INT_TIME": "[s] photon accumulation time per frame",
    "KEPLERID": "unique Kepler target identifier",
    "KEPMAG": "[mag] Kepler magnitude (Kp)",
    "LIVETIME": "[d] TELAPSE multiplied by DEADC",
    "LOGG": "[cm/s2] log10 surface gravity",
    "MODULE": "CCD module",
    "NPIXSAP": "Number of pixels in optimal aperture",
    "NREADOUT": "number of read per cadence",
    "NUM_FRM": "number of frames per time stamp",
    "OBSMODE": "observing mode",
    "ORIGIN": "simulated by this program",
    "OUTPUT": "CCD output",
    "QUARTER": "Observing quarter",
    "RADIUS": "[solar radii] stellar radius",
    "RA_OBJ": "[deg] right ascension",
    "READNOIS": "[electrons] read noise",
    "READTIME": "[s] readout time per frame",
    "SECTOR": "Observing sector",
    "SIMDATA": "file is based on simulated data",
    "TASSIGN": "where time is assigned",
    "TEFF": "[K] Effective temperature",
    "TELAPSE": "[d] TSTOP - TSTART",
    "TESSMAG": "[mag] TESS magnitude",
    "TICID": "unique tess target identifier",
    "TIERRELA": "[d] relative time error",
    "TIMEDEL": "[d] time resolution of data",
    "TIMEPIXR": "bin time beginning=0 middle=0.5 end=1",
    "TIMEREF": "barycentric correction applied to times",
    "TIMESYS": "time system is Barycentric Dynamical Time (TDB)",
    "TIMEUNIT": "time unit for TIME, TSTART and TSTOP",
    "TSTART": "observation start time",
    "TSTOP": "observation stop time",
}
"""What keywords mean, for all headers that have them; units as far as they have some."""


def file_name(starid, sector, cadence, mission="TESS"):
    """The name that the mission gives, e.g.
    tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.

    Parameters
    ----------
    starid, sector : int; also a quarter or campaign
    cadence : s
    mission : 'TESS', 'Kepler' or 'K2'
    """
    if mission == "TESS":
        begin = SECTOR_1_NAME + timedelta(days=SCHEDULES["TESS"].days * (sector - 1))
        kind = "a_fast-tp" if cadence < 120 else "s_tp"
        return f"tess{begin:%Y%j%H%M%S}-s{sector:04d}-{starid:016d}-0120-{kind}.fits"
    kind = "spd" if cadence < 120 else "lpd"
    if mission == "K2":
        return f"ktwo{starid:09d}-c{sector:02d}_{kind}-targ.fits"
    # named by the time at which a quarter ends
    end = _utc(start_time(sector + 1, mission), mission)
    return f"kplr{starid:09d}-{end:%Y%j%H%M%S}_{kind}-targ.fits"


def write_target_pixel_file(path, target, stamp, pieces, n_times):
    """Write one file.

    Parameters
    ----------
    path : file to write
    target : dict of starid, ra, decl (deg, year 2000), pm_ra, pm_decl (mas/yr), tmag, teff, logg,
        radius
    stamp : dict of sector, camera, ccd, cadence (s), wcs, column, row (of the first pixel),
        aperture ((n_rows, n_columns) int array), crowding, captured (fractions for CROWDSAP and
        FLFRCSAP), mission (default TESS), and timecorr, days at the first and last time (default 0)
    pieces : iterable of structured arrays with the type :func:`row_type`, together ``n_times`` rows
    n_times : int
    """
    stamp = {"mission": "TESS"} | stamp
    with open(path, "wb") as file:
        _write_hdu(file, fits.PrimaryHDU(header=_primary_header(target, stamp, n_times)).header)
        _write_hdu(file, _table_header(target, stamp, n_times), pieces)
        _write_hdu(file, _aperture_header(target, stamp), [stamp["aperture"].astype(">i4")])
        if stamp["mission"] == "TESS":
            _write_hdu(file, _cosmic_ray_header())


def row_type(shape, mission="TESS"):
    """The numpy type of one row of the table, one cadence, for images of a shape."""
    images = (*_IMAGES, *(() if mission == "TESS" else ("COSMIC_RAYS",)))
    return np.dtype(
        [("TIME", ">f8"), ("TIMECORR", ">f4"), ("CADENCENO", ">i4"), ("RAW_CNTS", ">i4", shape)]
        + [(name, ">f4", shape) for name in images]
        + [("QUALITY", ">i4"), ("POS_CORR1", ">f4"), ("POS_CORR2", ">f4")]
    )


def _write_hdu(file, header, pieces=()):
    for keyword in header:
        if keyword in COMMENTS:
            header.comments[keyword] = COMMENTS[keyword]
    file.write(header.tostring().encode())
    size = sum(file.write(piece.tobytes()) for piece in pieces)
    file.write(bytes(-size % BLOCK))


def _extension(name):
    return {"INHERIT": True, "EXTNAME": name, "EXTVER": 1, "SIMDATA": True}


def _primary_header(target, stamp, n_times):
    mission, span = MISSIONS[stamp["mission"]], _span(stamp, n_times)
    is_tess = mission.name == "TESS"
    header = fits.Header()
    header.update({"NEXTEND": 3 if is_tess else 2, "EXTNAME": "PRIMARY", "EXTVER": 1})
    # lightkurve knows the files by these words of CREATOR
    creator = "photometry TargetPixelExporterPipelineModule simulation"
    header.update({"SIMDATA": True, "ORIGIN": "photometry", "DATE": span["DATE-END"][:10]})
    if is_tess:
        header.update(span)
    header.update({"CREATOR": creator, "PROCVER": "simulated", "FILEVER": "1.0"})
    header.update({"TIMVERSN": "OGIP/93-003", **_instrument(target, mission)})
    header.update(_detector(stamp, mission))
    header.update(_position(target["ra"], target["decl"]))
    # Kepler gives arcsec/yr
    scale = 1 if is_tess else 1000
    motion = {"PMRA": target["pm_ra"] / scale, "PMDEC": target["pm_decl"] / scale}
    header.update(motion | {"PMTOTAL": float(np.hypot(*motion.values()))})
    header.update({mission.magnitude_keyword: target["tmag"], "TEFF": target["teff"]})
    header.update({"LOGG": target["logg"], "MH" if is_tess else "FEH": 0.0})
    header["RADIUS"] = target["radius"]
    if is_tess:
        header.update({"TICVER": 8, "CRMITEN": stamp["cadence"] >= 120, "CRBLKSZ": 10})
        header["CRSPOC"] = False
    unit = "[mas/yr]" if is_tess else "[arcsec/yr]"
    for keyword, name in (("PMRA", "RA"), ("PMDEC", "Dec"), ("PMTOTAL", "total")):
        header.comments[keyword] = f"{unit} {name} proper motion"
    return header


def _detector(stamp, mission):
    """Keywords that say which detector, and when."""
    if mission.name == "TESS":
        numbers = {"SECTOR": stamp["sector"], "CAMERA": stamp["camera"], "CCD": stamp["ccd"]}
        return {"DATA_REL": 0, **numbers, "PXTABLE": 128}
    module, output = stamp["camera"], stamp["ccd"]
    numbers = {"CHANNEL": 4 * KEPLER_MODULES.index(module) + output, "MODULE": module}
    numbers |= {"OUTPUT": output, mission.period_keyword: stamp["sector"]}
    if mission.name == "Kepler":
        # quarter 0 was observed in season 3
        numbers["SEASON"] = (stamp["sector"] + 3) % 4
    mode = "short cadence" if stamp["cadence"] < 120 else "long cadence"
    return {**numbers, "DATA_REL": 0, "OBSMODE": mode, "MISSION": mission.name, "TTABLEID": 1}


def _table_header(target, stamp, n_times):
    mission = MISSIONS[stamp["mission"]]
    columns = fits.ColDefs(_columns(stamp["aperture"].shape, mission))
    header = fits.BinTableHDU.from_columns(columns, nrows=0).header
    header["NAXIS2"] = n_times
    for number, name in enumerate(columns.names, start=1):
        if name in (*_IMAGES, "RAW_CNTS", "COSMIC_RAYS"):
            header.update(_column_wcs(number, stamp))
    header.update(_extension("PIXELS" if mission.name == "TESS" else "TARGETTABLES"))
    header.update(_instrument(target, mission))
    header.update(_position(*stamp["wcs"].wcs.crval))
    header.update(_times(stamp, n_times))
    header.update(_electronics(stamp))
    return header


def _columns(shape, mission):
    n_rows, n_columns = shape
    pixels, dim = n_rows * n_columns, f"({n_columns},{n_rows})"
    number = {"format": "E", "disp": "E14.7"}
    image = {"format": f"{pixels}E", "disp": "E14.7", "unit": "e-/s", "dim": dim}
    is_tess = mission.name == "TESS"
    unit = f"BJD - {mission.time_reference}{', days' if is_tess else ''}"
    images = (*_IMAGES, *(() if is_tess else ("COSMIC_RAYS",)))
    return [
        fits.Column("TIME", "D", unit=unit, disp="D14.7"),
        fits.Column("TIMECORR", unit="d", **number),
        fits.Column("CADENCENO", "J", disp="I10"),
        fits.Column("RAW_CNTS", f"{pixels}J", unit="count", null=-1, disp="I8", dim=dim),
        *(fits.Column(name, **image) for name in images),
        fits.Column("QUALITY", "J", disp="B16.16"),
        *(fits.Column(name, unit="pixel", **number) for name in ("POS_CORR1", "POS_CORR2")),
    ]


def _column_wcs(n, stamp):
    """Detector coordinates and sky coordinates of the images in column ``n`` of the table."""
    (x, y), (ra, decl), scale, pc = _linear_wcs(stamp["wcs"])
    physical = {f"WCSN{n}P": "PHYSICAL", f"WCAX{n}P": 2}
    physical |= {f"1CTY{n}P": "RAWX", f"2CTY{n}P": "RAWY", f"1CUN{n}P": "PIXEL"}
    physical |= {f"2CUN{n}P": "PIXEL", f"1CRV{n}P": stamp["column"], f"2CRV{n}P": stamp["row"]}
    physical |= {f"1CDL{n}P": 1.0, f"2CDL{n}P": 1.0, f"1CRP{n}P": 1, f"2CRP{n}P": 1}
    sky = {f"WCAX{n}": 2, f"1CTYP{n}": "RA---TAN", f"2CTYP{n}": "DEC--TAN"}
    sky |= {f"1CRPX{n}": x, f"2CRPX{n}": y, f"1CRVL{n}": ra, f"2CRVL{n}": decl}
    sky |= {f"1CUNI{n}": "deg", f"2CUNI{n}": "deg", f"1CDLT{n}": -scale, f"2CDLT{n}": scale}
    return physical | sky | {f"{i + 1}{j + 1}PC{n}": pc[i, j] for i in (0, 1) for j in (0, 1)}


def _aperture_header(target, stamp):
    (x, y), (ra, decl), scale, pc = _linear_wcs(stamp["wcs"])
    header = fits.ImageHDU(np.zeros(stamp["aperture"].shape, dtype=np.int32)).header
    header.update(_extension("APERTURE") | _instrument(target, MISSIONS[stamp["mission"]]))
    header.update(_position(ra, decl) | {"WCSAXES": 2, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header.update({"CRPIX1": x, "CRPIX2": y, "CRVAL1": ra, "CRVAL2": decl})
    header.update({"CUNIT1": "deg", "CUNIT2": "deg", "CDELT1": -scale, "CDELT2": scale})
    header.update({f"PC{i + 1}_{j + 1}": pc[i, j] for i in (0, 1) for j in (0, 1)})
    header.update({"WCSNAMEP": "PHYSICAL", "WCSAXESP": 2})
    for axis, name, key in ((1, "RAWX", "column"), (2, "RAWY", "row")):
        header.update({f"CTYPE{axis}P": name, f"CUNIT{axis}P": "PIXEL", f"CRPIX{axis}P": 1})
        header.update({f"CRVAL{axis}P": stamp[key], f"CDELT{axis}P": 1.0})
    header.update({"NPIXSAP": int(np.sum((stamp["aperture"] & 2) > 0)), "NPIXMISS": 0})
    return header


def _cosmic_ray_header():
    columns = [
        fits.Column("CADENCENO", "J", disp="I10"),
        fits.Column("RAWX", "I", unit="pixel", disp="I4"),
        fits.Column("RAWY", "I", unit="pixel", disp="I4"),
        fits.Column("COSMIC_RAY", "E", unit="e-/s", disp="E14.7"),
    ]
    header = fits.BinTableHDU.from_columns(columns, nrows=0).header
    header.update(_extension("TARGET COSMIC RAY"))
    return header


def _instrument(target, mission):
    telescope = "TESS" if mission.name == "TESS" else "Kepler"
    return {
        "TELESCOP": telescope,
        "INSTRUME": f"{telescope} Photometer",
        "OBJECT": mission.label(target["starid"]),
        mission.id_keyword: target["starid"],
    }


def _position(ra, decl):
    return {"RADESYS": "ICRS", "RA_OBJ": ra, "DEC_OBJ": decl, "EQUINOX": 2000.0}


def _times(stamp, n_times):
    span = _span(stamp, n_times)
    mission, detector = MISSIONS[stamp["mission"]], DETECTORS[stamp["mission"]]
    number, exposure = detector.frames(stamp["cadence"])
    step, elapsed = detector.step(stamp["cadence"]), span["TSTOP"] - span["TSTART"]
    live = exposure / step
    return {
        "EXPOSURE": elapsed * live,
        "TIMEREF": "SOLARSYSTEM",
        "TASSIGN": "SPACECRAFT",
        "TIMESYS": "TDB",
        "BJDREFI": mission.time_reference,
        "BJDREFF": 0.0,
        "TIMEUNIT": "d",
        "TELAPSE": elapsed,
        "LIVETIME": elapsed * live,
        **span,
        "DEADC": live,
        "TIMEPIXR": 0.5,
        "TIERRELA": 1.16e-5,
        "INT_TIME": detector.int_time,
        "READTIME": detector.read_time,
        "FRAMETIM": detector.int_time + detector.read_time,
        "NUM_FRM": number,
        "TIMEDEL": step / DAY,
        "BACKAPP": True,
        "DEADAPP": True,
        "VIGNAPP": True,
    }


def _electronics(stamp):
    detector = DETECTORS[stamp["mission"]]
    _, exposure = detector.frames(stamp["cadence"])
    outputs = "ABCD" if len(detector.gains) == 4 else [""]
    keywords = {f"GAIN{o}": gain for o, gain in zip(outputs, detector.gains, strict=True)}
    keywords |= {f"READNOI{o or 'S'}": r for o, r in zip(outputs, detector.read_noise, strict=True)}
    keywords |= {"NREADOUT": round(exposure / detector.int_time)}
    if stamp["mission"] == "TESS":
        keywords["FXDOFF"] = 209700
    return keywords | {"CROWDSAP": stamp["crowding"], "FLFRCSAP": stamp["captured"]}


def _linear_wcs(wcs):
    """Reference pixel and position, scale (deg), and the rotation that is left when the scale is
    taken out.
    """
    matrix = wcs.pixel_scale_matrix
    scale = float(np.sqrt(np.abs(np.linalg.det(matrix))))
    pixel, position = wcs.wcs.crpix.tolist(), wcs.wcs.crval.tolist()
    return pixel, position, scale, matrix / np.array([[-scale], [scale]])


def _span(stamp, n_times):
    """When the observations start and stop, barycentric, as keywords."""
    first = start_time(stamp["sector"], stamp["mission"])
    days = n_times * DETECTORS[stamp["mission"]].step(stamp["cadence"]) / DAY
    dates = [_utc(time, stamp["mission"]) for time in (first, first + days)]
    start, stop = np.add((first, first + days), stamp.get("timecorr", (0.0, 0.0))).tolist()
    keywords = {"TSTART": start, "TSTOP": stop}
    for keyword, date in zip(("DATE-OBS", "DATE-END"), dates, strict=True):
        keywords[keyword] = f"{date.isoformat(timespec='milliseconds')}Z"
    return keywords


def _utc(days, mission):
    """Calendar date of days since the mission's zero, TDB."""
    return Time(MISSIONS[mission].time_reference, days, format="jd", scale="tdb").utc.datetime
