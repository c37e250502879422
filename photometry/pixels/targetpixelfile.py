"""Target pixel files of TESS (SPOC), Kepler and K2 -> `Stamp`.

Formats: TESS Science Data Products Description Document (EXP-TESS-ARC-ICD-TM-0014), section 4;
Kepler Archive Manual (KDMC-10008), section 2.3.2.
"""

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from ..constants import DAY
from ..errors import BadInputError
from ..fitsfile import Kind, column_names, kind_of
from ..fitsstream import Header, open_stream
from .stamp import Stamp, Target

ACCEPTED = "a TESS, Kepler or K2 target pixel file (…_tp.fits, …-targ.fits, plain or gzipped)"
BIT_COLLECTED, BIT_OPTIMAL = 1, 2
KEPLER_CADENCES = {"long cadence": 1800, "short cadence": 60}  # s, nominal
# attribute of `Stamp` -> column
_SERIES = {
    "time": "TIME",
    "timecorr": "TIMECORR",
    "cadenceno": "CADENCENO",
    "flux": "FLUX",
    "flux_err": "FLUX_ERR",
    "background": "FLUX_BKG",
    "background_err": "FLUX_BKG_ERR",
    "quality": "QUALITY",
}
_COLUMNS = [*_SERIES.values(), "POS_CORR1", "POS_CORR2"]
_KEPT_PRIMARY = (
    "OBJECT TELESCOP INSTRUME MISSION DATA_REL PROCVER TICVER PXTABLE CHANNEL SEASON CRMITEN "
    "CRBLKSZ CRSPOC DATE"
)
_KEPT_TABLE = (
    "EXPOSURE TIMEREF TASSIGN TIMESYS BJDREFI BJDREFF TIMEUNIT TELAPSE LIVETIME TSTART TSTOP "
    "DATE-OBS DATE-END DEADC TIMEPIXR"
    " TIERRELA TIERABSO INT_TIME READTIME FRAMETIM NUM_FRM TIMEDEL BACKAPP DEADAPP VIGNAPP"
    " NREADOUT GAIN READNOIS"
    " CROWDSAP FLFRCSAP GAINA GAINB GAINC GAIND READNOIA READNOIB READNOIC READNOID"
)


def read_target_pixel_file(path, *, datasource="tpf", target=None):
    """Read a target pixel file, only what photometry needs of it.

    Parameters
    ----------
    path : file, plain or gzipped
    datasource : str
        'tpf', or 'tpf:STARID' where the stamp is used for another star than the one it was made
        for.
    target : Target, optional
        The star, where it is not the one that the file's header names.

    Returns
    -------
    Stamp, with an empty catalogue

    Raises
    ------
    BadInputError : the file is truncated, of another kind, lacks a part, or holds no pixel with a
        number
    """
    path = str(path)
    with open_stream(path) as stream:
        primary = stream.next_header()
        table = stream.next_header()
        refuse_other_files(path, primary, table)
        columns = stream.read_columns(table, _COLUMNS)
        header = stream.next_header()
        while header is not None and header.get("EXTNAME") != "APERTURE":
            header = stream.next_header()
        if header is None:
            raise BadInputError(
                f"{path}: no APERTURE extension, so it is not known which pixels were collected; "
                "get the file again"
            )
        aperture = stream.read_image(header)
        _refuse_useless(path, columns, aperture)
        return Stamp(
            target=target or _target(path, primary),
            **identity(path, primary, table),
            datasource=datasource,
            time_reference=number(table, "BJDREFI", 0),
            pos_corr=np.column_stack([columns["POS_CORR1"], columns["POS_CORR2"]]),
            **{name: columns[column] for name, column in _SERIES.items()},
            aperture=aperture,
            row=number(header, "CRVAL2P", 0),
            column=number(header, "CRVAL1P", 0),
            wcs=celestial_wcs(header),
            headers={
                keyword: kept[keyword]
                for kept, keywords in ((primary, _KEPT_PRIMARY), (table, _KEPT_TABLE))
                for keyword in keywords.split()
                if keyword in kept and not isinstance(kept[keyword], fits.card.Undefined)
            },
            path=path,
        )


def identity(path, primary, table=None):
    """What a file is of: dict of mission, sector, camera, ccd, and cadence (s; None without the
    table's header).

    Parameters
    ----------
    path : for messages
    primary, table : astropy.io.fits.Header of the first two HDUs
    """
    mission = _mission(primary)
    if mission == "TESS":
        where = {"sector": "SECTOR", "camera": "CAMERA", "ccd": "CCD"}
        timedel = number(table, "TIMEDEL") if table is not None else None
        if table is not None and timedel is None:
            raise BadInputError(
                f"{path}: no TIMEDEL in the table's header: the time between its exposures is not "
                "known"
            )
        cadence = None if timedel is None else round(timedel * DAY)
    else:
        period = "QUARTER" if mission == "Kepler" else "CAMPAIGN"
        where = {"sector": period, "camera": "MODULE", "ccd": "OUTPUT"}
        mode = str(primary.get("OBSMODE", "")).strip()
        if mode not in KEPLER_CADENCES:
            raise BadInputError(
                f"{path}: OBSMODE in the primary header is {mode!r}: expected "
                f"{' or '.join(KEPLER_CADENCES)}"
            )
        cadence = KEPLER_CADENCES[mode]
    numbers = {name: number(primary, keyword, 0) for name, keyword in where.items()}
    return {"mission": mission, **numbers, "cadence": cadence}


def starid_of(path, primary):
    """The TIC, KIC or EPIC number that a primary header names."""
    keyword = "TICID" if _mission(primary) == "TESS" else "KEPLERID"
    starid = number(primary, keyword)
    if starid is None:
        raise BadInputError(
            f"{path}: {keyword} in the primary header is {primary.get(keyword)!r}: expected a "
            "star's number"
        )
    return starid


def _mission(primary):
    telescope = str(primary.get("TELESCOP", "")).strip()
    return "K2" if telescope == "Kepler" and "CAMPAIGN" in primary else telescope


def refuse_other_files(path, primary, table):
    """Raise BadInputError, with a message that says what it is, for a file that is no target pixel
    file by its headers.

    Parameters
    ----------
    path : for messages
    primary, table : astropy.io.fits.Header of the first two HDUs; None where there is no second
    """
    if _mission(primary) not in ("TESS", "Kepler", "K2"):
        raise BadInputError(
            f"{path}: TELESCOP in the primary header is {primary.get('TELESCOP')!r}; accepted is "
            f"{ACCEPTED}"
        )
    if table is None:
        raise BadInputError(
            f"{path}: holds a primary header and nothing else; accepted is {ACCEPTED}"
        )
    kind, name = kind_of([primary, table]), table.get("EXTNAME")
    if kind is Kind.CUTOUT:
        raise BadInputError(
            f"{path}: this is {kind.value}, of no one star; make an image cube of it with "
            "'photometry prepare'"
        )
    if kind not in (Kind.TARGET_PIXELS, Kind.TABLE):
        raise BadInputError(
            f"{path}: this is {kind.value} (first extension {name!r}); accepted is {ACCEPTED}"
        )
    found = column_names(table)
    missing = [column for column in _COLUMNS if column not in found]
    if missing:
        raise BadInputError(
            f"{path}: table {name!r} lacks {', '.join(missing)} (it has "
            f"{', '.join(map(str, found))}); accepted is {ACCEPTED}"
        )
    if str(table.get(f"TDIM{found.index('FLUX') + 1}", "")).count(",") != 1:
        raise BadInputError(
            f"{path}: column FLUX of table {name!r} holds no images (no TDIM); accepted is "
            f"{ACCEPTED}"
        )


def _refuse_useless(path, columns, aperture):
    flux, time = columns["FLUX"], columns["TIME"]
    if len(flux) == 0:
        raise BadInputError(f"{path}: the table has no rows: there is no exposure to measure")
    if aperture.shape != flux.shape[1:]:
        raise BadInputError(
            f"{path}: APERTURE is {aperture.shape} pixels, the images in FLUX are {flux.shape[1:]}"
        )
    if not any(
        np.isfinite(image).any() for image in flux
    ):  # one image at a time: the first nearly always answers
        raise BadInputError(f"{path}: no pixel of FLUX has a value at any time (all are NaN)")
    if not np.isfinite(time).any():
        raise BadInputError(f"{path}: no row has a TIME (all are NaN)")


def _target(path, primary):
    tess = _mission(primary) == "TESS"
    to_mas = 1 if tess else 1000  # Kepler's headers have arcsec/yr
    return Target(
        starid=starid_of(path, primary),
        ra=number(primary, "RA_OBJ", np.nan),
        decl=number(primary, "DEC_OBJ", np.nan),
        tmag=number(primary, "TESSMAG" if tess else "KEPMAG", np.nan),
        teff=number(primary, "TEFF", np.nan),
        logg=number(primary, "LOGG", np.nan),
        radius=number(primary, "RADIUS", np.nan),
        pm_ra=number(primary, "PMRA", np.nan) * to_mas,
        pm_decl=number(primary, "PMDEC", np.nan) * to_mas,
    )


def celestial_wcs(header):
    """The WCS of the APERTURE image. Set value by value where that is enough: reading a header
    costs 20 times as much.
    """
    if str(header.get("CTYPE1", "")).endswith("-SIP"):
        return WCS(header.astropy() if isinstance(header, Header) else header)
    wcs = WCS(naxis=2)
    if number(header, "CRVAL1") is None:
        return wcs
    wcs.wcs.ctype = [header["CTYPE1"], header["CTYPE2"]]
    wcs.wcs.crpix = [header["CRPIX1"], header["CRPIX2"]]
    wcs.wcs.crval = [header["CRVAL1"], header["CRVAL2"]]
    wcs.wcs.cdelt = [header["CDELT1"], header["CDELT2"]]
    wcs.wcs.pc = [[header["PC1_1"], header["PC1_2"]], [header["PC2_1"], header["PC2_2"]]]
    wcs.wcs.radesys = header.get("RADESYS", "ICRS")
    wcs.wcs.set()
    return wcs


def number(header, keyword, default=None):
    """The number under a keyword; ``default`` where it is missing, empty, or text (the missions
    leave many undefined).

    Parameters
    ----------
    header : astropy.io.fits.Header
    keyword : str
    default : any
    """
    value = header.get(keyword)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default
