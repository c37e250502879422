"""Full-frame images as files: those of a folder, compressed ones unpacked; what each image is of,
and where its pixels lie in the file.

Readable are the calibrated full-frame images of TESS by SPOC (``…_ffic.fits``) and by TICA
(``hlsp_tica_…_img.fits``), TessCut cut-outs (``…_astrocut.fits``) and the full-frame images of
Kepler and K2 (``kplr…_ffi-cal.fits``). One file may hold several images: a cut-out has one per
time, a Kepler file one per channel.

Formats: TESS Science Data Products Description Document (EXP-TESS-ARC-ICD-TM-0014), section 3; TICA
at MAST (archive.stsci.edu/hlsp/tica); Astrocut file formats; Kepler Archive Manual (KDMC-10008),
section 2.3.1.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..constants import DAY
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..fitsfile import Kind, kind_of, open_fits
from .frames import Frame, Plane, nominal_cadence

ENDINGS = (".fits", ".fits.gz", ".fits.fz", ".fit")
ACCEPTED = "a TESS (SPOC, TICA), TessCut or Kepler full-frame image"
KEPLER_CADENCE = 1800  # s, nominal, as for long-cadence target pixel files
# rows, columns that see the sky in an image of 2078 x 2136 pixels
TESS_SCIENCE = ((0, 2048), (44, 2092))
# the same for 1070 x 1132 pixels
KEPLER_SCIENCE = ((20, 1044), (12, 1112))
_SPOC_NAME = re.compile(r"-s(\d{4})-(\d)-(\d)-\d{4}-[a-z]_ffic\.")
_SECTOR_IN_NAME = re.compile(r"[-_]s(\d{4})-")


def find_image_files(folder):
    """All FITS files of a folder and the folders below it, sorted by name; hidden folders are left
    out.

    Raises
    ------
    WrongUseError : the folder does not exist
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise WrongUseError(
            f"{folder}: there is no such folder; expected a folder with {ACCEPTED}s"
        )
    paths = (
        path for path in folder.rglob("*.fit*") if path.name.endswith(ENDINGS) and path.is_file()
    )
    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_file(path, scratch):
    """Frames of one file, or the reason why there are none.

    Parameters
    ----------
    path : file
    scratch : folder for uncompressed copies

    Returns
    -------
    frames : list of Frame
    problem : str, or None
    """
    try:
        frames = read_frames(path)
        if frames and is_packed(path):
            frames = read_frames(unpack(path, scratch))
    except BadInputError as error:
        return [], str(error)
    return frames, None


def unpack(path, folder):
    """An uncompressed copy of a compressed file, in ``folder``; a copy that is there already is
    used.

    Returns
    -------
    copy : pathlib.Path
    """
    copy = Path(folder) / Path(path).name.removesuffix(".gz").removesuffix(".fz")
    if copy.suffix != ".fits":
        copy = copy.with_name(copy.name + ".fits")
    if not copy.exists():
        with open_fits(path) as packed, atomic_write(copy, durable=False) as part:
            fits.HDUList([_plain(hdu) for hdu in packed]).writeto(part, overwrite=True)
    return copy


def _plain(hdu):
    return fits.ImageHDU(hdu.data, hdu.header) if isinstance(hdu, fits.CompImageHDU) else hdu


def read_frames(path):
    """All images of a file, from its headers alone.

    Returns
    -------
    frames : list of Frame; empty where the file is sound, but no full-frame image (a catalogue, a
        target pixel file)

    Raises
    ------
    BadInputError : the file is not FITS, is truncated, or lacks a keyword that is needed
    """
    with open_fits(path) as hdulist:
        headers = [hdu.header for hdu in hdulist]
        kind = kind_of(headers)
        if kind is Kind.CUTOUT:
            read = _cutout
        elif kind is not Kind.FULL_FRAME:
            return []
        elif "MIDTJD" in headers[0]:
            read = _tica
        else:
            read = _spoc if headers[0]["TELESCOP"].strip() == "TESS" else _kepler
        try:
            frames = read(str(path), hdulist)
        except KeyError as error:
            raise BadInputError(
                f"{path}: lacks {error.args[0]}; it is not {ACCEPTED} as published"
            ) from error
        if not is_packed(path):
            _refuse_truncated(path, hdulist)
    for frame in frames:
        frame.check()
        _refuse_foreign_name(frame)
    return frames


def _refuse_foreign_name(frame):
    """Refuse an image whose name, as SPOC gives it, is of another CCD than its header."""
    match = _SPOC_NAME.search(Path(frame.flux.path).name)
    if match and tuple(map(int, match.groups())) != frame.group[1:4]:
        sector, camera, ccd = map(int, match.groups())
        raise BadInputError(
            f"{frame.flux.path}: its header says sector {frame.sector}, camera {frame.camera}, CCD "
            f"{frame.ccd}, its name sector {sector}, camera {camera}, CCD {ccd}; one of them is "
            "wrong, get it again"
        )


def _refuse_truncated(path, hdulist):
    """Refuse a file that ends within its last extension, or within the header of one that astropy
    therefore left out.
    """
    last = hdulist[len(hdulist) - 1].fileinfo()
    expected, size = last["datLoc"] + last["datSpan"], Path(path).stat().st_size
    if size != expected:
        raise BadInputError(
            f"{path}: holds {size} bytes, its {len(hdulist)} complete headers announce "
            f"{expected}; it is truncated, get it again"
        )


def is_packed(path):
    """Whether a file is compressed, so that its pixels cannot be read directly."""
    return str(path).endswith((".gz", ".fz"))


def _is_image(hdu):
    return hdu.is_image and hdu.header["NAXIS"] == 2


def _spoc(path, hdulist):
    primary, image = hdulist[0].header, hdulist[1].header
    rows, columns = _science(path, image, TESS_SCIENCE)
    flux = _plane(path, hdulist[1], rows, columns)
    has_errors = len(hdulist) > 2 and _is_image(hdulist[2]) and hdulist[2].shape == hdulist[1].shape
    start, stop = image["TSTART"], image["TSTOP"]
    return [
        Frame(
            mission="TESS",
            sector=_sector(path, primary),
            camera=image["CAMERA"],
            ccd=image["CCD"],
            cadence=nominal_cadence(stop - start),
            time_start=start,
            time_stop=stop,
            time=0.5 * (start + stop),
            time_reference=image.get("BJDREFI", 2457000),
            timecorr=image.get("BARYCORR", 0.0),
            cadenceno=primary.get("FFIINDEX", image.get("FFIINDEX", 0)),
            quality=image.get("DQUALITY", primary.get("DQUALITY", 0)),
            flux=flux,
            error=_plane(path, hdulist[2], rows, columns) if has_errors else None,
            scale=1.0,
            exposure=image.get("EXPOSURE", stop - start) * DAY,
            read_noise=_tess_read_noise(image),
            first_row=image.get("SCIROWS", image.get("CRVAL2P", rows[0] + 1)),
            first_column=image.get("SCCSA", image.get("CRVAL1P", columns[0] + 1)),
            header_units=(0, 1),
            cropped=_is_cropped(image),
        )
    ]


def _tica(path, hdulist):
    """TICA: electrons per exposure in the primary HDU, times of the spacecraft, no errors."""
    header = hdulist[0].header
    (first_column, last_column), (first_row, last_row) = _fits_section(
        path, header.get("SCIPIXS", "[45:2092,1:2048]")
    )
    rows, columns = (first_row - 1, last_row), (first_column - 1, last_column)
    camera = header.get("CAMNUM", header.get("CAM"))
    if camera is None:
        raise KeyError("keyword CAMNUM")
    electrons = str(header.get("UNITS", "electrons")).strip().lower() == "electrons"
    return [
        Frame(
            mission="TESS",
            sector=_sector(path, header),
            camera=camera,
            ccd=header["CCDNUM"],
            cadence=nominal_cadence(header["ENDTJD"] - header["STARTTJD"]),
            time_start=header["STARTTJD"],
            time_stop=header["ENDTJD"],
            time=header["MIDTJD"],
            time_reference=2457000,
            timecorr=0.0,
            cadenceno=header["CADENCE"],
            quality=_tica_quality(header, camera),
            flux=_plane(path, hdulist[0], rows, columns),
            error=None,
            scale=1 / header["EXPTIME"] if electrons else 1.0,
            exposure=header["EXPTIME"],
            read_noise=10.0 * np.sqrt(header["EXPTIME"] / 1.98),
            first_row=first_row,
            first_column=first_column,
            header_units=(0, 0),
            times_for="spacecraft",
        )
    ]


def _tica_quality(header, camera):
    """TICA's statements as bits of SPOC: 4 coarse pointing, 32 reaction wheels desaturated, 4096
    stray light, 32768 other.
    """
    said = {4: "COARSE", 32: "RW_DESAT", 4096: f"STRAYLT{camera}", 32768: "QUAL_BIT"}
    return sum(bit for bit, keyword in said.items() if header.get(keyword, 0))


def _cutout(path, hdulist):
    """TessCut: one image per row of a table; each lies at a fixed offset of its row, so it is a
    plane like any other.
    """
    primary, table = hdulist[0].header, hdulist[1]
    rows = table.data
    camera, ccd = (primary.get(key) or table.header.get(key) for key in ("CAMERA", "CCD"))
    times = np.asarray(rows["TIME"], dtype=float)
    cadence = _cutout_cadence(path, table.header, times)
    numbers = np.asarray(rows["CADENCENO"])
    if not numbers.any():
        numbers = np.arange(1, len(rows) + 1)
    corrected = np.nan_to_num(np.asarray(rows["TIMECORR"], dtype=float)).any()
    of_the_sun = str(primary.get("TIMEREF", "")).strip() == "SOLARSYSTEM"
    common = Frame(
        mission="TESS",
        sector=primary.get("SECTOR") or _sector(path, primary),
        camera=camera,
        ccd=ccd,
        cadence=cadence,
        time_start=np.nan,
        time_stop=np.nan,
        time=np.nan,
        time_reference=table.header.get("BJDREFI", 2457000),
        timecorr=0.0,
        cadenceno=0,
        quality=0,
        flux=_column_plane(path, table, "FLUX"),
        error=_column_plane(path, table, "FLUX_ERR"),
        scale=1.0,
        exposure=table.header.get("EXPOSURE", cadence * 0.8 * 0.99 / DAY) * DAY,
        read_noise=0.0,
        first_row=table.header["2CRV5P"],
        first_column=table.header["1CRV5P"],
        header_units=(0, 2),
        times_for="detector" if corrected else "image" if of_the_sun else "spacecraft",
    )
    width = table.header["NAXIS1"]
    frames = []
    for i in np.flatnonzero(np.isfinite(times) & (times > 0)).tolist():
        frames.append(
            replace(
                common,
                time_start=times[i] - 0.5 * cadence / DAY,
                time_stop=times[i] + 0.5 * cadence / DAY,
                time=times[i],
                timecorr=float(rows["TIMECORR"][i]),
                cadenceno=int(numbers[i]),
                quality=int(rows["QUALITY"][i]),
                flux=replace(common.flux, offset=common.flux.offset + i * width),
                error=replace(common.error, offset=common.error.offset + i * width),
            )
        )
    return frames


def _cutout_cadence(path, header, times):
    if "TIMEDEL" in header:
        return nominal_cadence(header["TIMEDEL"])
    if len(times) < 2:
        raise BadInputError(
            f"{path}: one image and no TIMEDEL: the time between exposures is not known"
        )
    return nominal_cadence(float(np.nanmedian(np.diff(times))))


def _kepler(path, hdulist):
    """Kepler and K2: one image per CCD channel."""
    primary = hdulist[0].header
    sector = primary.get("QUARTER", primary.get("CAMPAIGN"))
    mission = "K2" if "CAMPAIGN" in primary else "Kepler"
    if primary.get("IMAGTYPE", "SocCal") != "SocCal":
        return []  # raw pixels, or the uncertainties of another file
    frames = []
    for unit in range(1, len(hdulist)):
        if not _is_image(hdulist[unit]):
            continue
        image = hdulist[unit].header
        rows, columns = _science(path, image, KEPLER_SCIENCE)
        start, stop = image["TSTART"], image["TSTOP"]
        frames.append(
            Frame(
                mission=mission,
                sector=sector,
                camera=image["MODULE"],
                ccd=image["OUTPUT"],
                cadence=KEPLER_CADENCE,
                time_start=start,
                time_stop=stop,
                time=0.5 * (start + stop),
                time_reference=image.get("BJDREFI", 2454833),
                timecorr=image.get("BARYCORR", 0.0),
                cadenceno=primary.get("FFIINDEX", 0),
                quality=32 if primary.get("MMNTMDMP") else 0,
                flux=_plane(path, hdulist[unit], rows, columns),
                error=None,
                scale=1.0,
                exposure=image["EXPOSURE"] * DAY,
                read_noise=image.get("READNOIS", 0.0) * np.sqrt(image.get("NUM_FRM", 1)),
                first_row=rows[0],
                first_column=columns[0],
                header_units=(0, unit),
            )
        )
    return frames


def _sector(path, header):
    if header.get("SECTOR"):
        return int(header["SECTOR"])
    match = _SECTOR_IN_NAME.search(Path(path).name)
    if not match:
        raise BadInputError(
            f"{path}: no SECTOR in the header, and no -sNNNN- in the name: its sector is not known"
        )
    return int(match[1])


def _science(path, header, full):
    """Rows and columns that see the sky: named by the header, those of a full image, or (no
    collateral pixels) all.
    """
    n_rows, n_columns = header["NAXIS2"], header["NAXIS1"]
    if "SCCSA" in header:
        # SCIROWS and SCCSA count detector pixels from 1; images with collateral pixels start at
        # pixel 1
        rows = header["SCIROWS"] - 1, header.get("SCIROWE", n_rows)
        columns = header["SCCSA"] - 1, header.get("SCCED", n_columns)
    else:
        rows, columns = full
        has_collateral = header.get("TELESCOP") == "Kepler" or (
            n_rows >= rows[1] and n_columns >= columns[1]
        )
        if not has_collateral:
            return (0, n_rows), (0, n_columns)
    rows, columns = (rows[0], min(rows[1], n_rows)), (columns[0], min(columns[1], n_columns))
    if not (0 <= rows[0] < rows[1] and 0 <= columns[0] < columns[1]):
        raise BadInputError(
            f"{path}: {n_rows} x {n_columns} pixels, none of which sees the sky: by its header "
            f"these begin at row {rows[0] + 1}, "
            f"column {columns[0] + 1}; it is cropped"
        )
    return rows, columns


def _is_cropped(header):
    """Whether the header announces more rows or columns that see the sky than there are."""
    return header.get("SCIROWE", 0) > header["NAXIS2"] or header.get("SCCED", 0) > header["NAXIS1"]


def _fits_section(path, text):
    """``[45:2092,1:2048]`` -> ((45, 2092), (1, 2048))"""
    numbers = re.fullmatch(r"\[(\d+):(\d+),(\d+):(\d+)\]", text.replace(" ", ""))
    if not numbers:
        raise BadInputError(
            f"{path}: SCIPIXS is {text!r}: expected a section like [45:2092,1:2048]"
        )
    a, b, c, d = map(int, numbers.groups())
    return (a, b), (c, d)


def _plane(path, hdu, rows, columns):
    # the header as written: astropy forgets BSCALE and BZERO once the pixels are read, and they are
    # not read here
    header = hdu.header
    return Plane(
        path=path,
        offset=hdu.fileinfo()["datLoc"],
        shape=(header["NAXIS2"], header["NAXIS1"]),
        bitpix=header["BITPIX"],
        bscale=header.get("BSCALE", 1.0),
        bzero=header.get("BZERO", 0.0),
        rows=rows,
        columns=columns,
    )


def _column_plane(path, table, name):
    """The image of a table's first row in column ``name``."""
    number = table.columns.names.index(name)
    n_columns, n_rows = map(int, table.header[f"TDIM{number + 1}"].strip("()").split(","))
    return Plane(
        path=path,
        offset=table.fileinfo()["datLoc"] + table.data.dtype.fields[name][1],
        shape=(n_rows, n_columns),
        bitpix=-32,
        rows=(0, n_rows),
        columns=(0, n_columns),
    )


def _tess_read_noise(header):
    """Read noise of an exposure (e-): that of one readout, of which an exposure holds NUM_FRM."""
    return header.get("READNOIA", 10.0) * np.sqrt(header.get("NUM_FRM", 720))
