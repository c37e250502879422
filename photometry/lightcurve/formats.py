"""Light curves in files and in the objects of other packages: what a file is, found from what it
holds, not from its name.

Text and numpy formats are read here, FITS in `fitsfiles`; both give `Samples`, from which
`photometry.lightcurve.lightcurve` makes its objects.

Our archive has four columns (time [s], flux, flag, uncertainty) as text, gzipped or not, or as
``.npy``, as in the EAS pipeline (``plato_wp36``). Some of its files, by a defect of their writer,
have the flux in the flag column; all samples of such a file count as good. The files hold seconds
and light curves days, so a time may change by one unit in the last place when written and read.

Light curves of PLATO's light-curve stitching group (LCSG) are CSV: ``time [d], flux, flag`` and
perhaps an uncertainty. Lines that start with ``#`` are comments; a comment of the form
``# #key=value`` is metadata.
"""

import configparser
import gzip
import io
import re
import zlib
from pathlib import Path

import numpy as np

from ..constants import DAY, MISSIONS
from ..errors import BadInputError, WrongUseError
from ..files import GZIP_MAGIC, atomic_write
from .fitsfiles import Samples, samples_from_fits

FITS_MAGIC = b"SIMPLE  ="
NPY_MAGIC = b"\x93NUMPY"
ARCHIVE_COLUMNS = 4
# lightkurve's names of times: btjd, bkjd
_TIME_FORMATS = {mission.time_reference: mission.time_name.lower() for mission in MISSIONS.values()}
METADATA_LINE = re.compile(
    r"^[ \t]*#[ \t]*#[ \t]*([^=\s]+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.MULTILINE
)


def read_samples(path, *, flux=None):
    """Samples of a light-curve file of any known format.

    Parameters
    ----------
    path : path
    flux : str, optional
        The column to take from a FITS file; by default the pipeline's corrected flux

    Returns
    -------
    Samples

    Raises
    ------
    BadInputError : the file is not a light curve; one message says what was found
    """
    path = Path(path)
    if not path.is_file():
        raise BadInputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    content = read_bytes(path)
    if content.startswith(FITS_MAGIC):
        samples = samples_from_fits(path, flux=flux)
    elif flux is not None:
        raise BadInputError(
            f"{path}: flux={flux!r} names a column of a FITS file, which this is not"
        )
    elif content.startswith(NPY_MAGIC):
        samples = _from_archive_table(_npy_table(content, path), path, sibling_metadata(path))
    else:
        samples = _from_text(decode(content, path), path)
    samples.metadata.setdefault("filename", path.name)
    return samples


def _from_text(text, path):
    """Archive (four columns, blanks), LCSG (commas, flags), or a table: time [d], flux, error."""
    lines = (line for line in text.splitlines() if line.strip())
    first = next((line for line in lines if not line.lstrip().startswith("#")), "")
    delimiter = "," if "," in first else None
    text = _without_column_names(text, first, delimiter)
    table = parse_table(text, path, delimiter=delimiter, columns={2, 3, 4})
    if delimiter is None and table.shape[1] == ARCHIVE_COLUMNS:
        return _from_archive_table(table, path, sibling_metadata(path))
    has_flags = table.shape[1] > 2 and np.isin(table[:, 2], (0, 1)).all()
    if delimiter == "," and (has_flags or METADATA_LINE.search(text)):
        return lcsg_samples(text, path)
    if table.shape[1] == 4:
        raise BadInputError(
            f"{path}: 4 columns between commas, the third not a flag of 0 or 1; "
            "expected time, flux, flag, uncertainty"
        )
    times, fluxes = table[:, 0].copy(), table[:, 1].copy()
    _check_samples(path, times, fluxes, np.zeros(len(times)))
    errors = table[:, 2].copy() if table.shape[1] == 3 else None
    return Samples(times, fluxes, errors, None, sibling_metadata(path))


def _without_column_names(text, first, delimiter):
    """``text`` with a first line such as ``time,flux`` made a comment"""
    words = [word.strip() for word in first.split(delimiter)]
    is_header = words and all(
        word.replace("_", "").isalpha() and word.lower() not in ("nan", "inf") for word in words
    )
    return text.replace(first, "#" + first, 1) if is_header else text


def write_archive(lc, path, *, binary=False, gzipped=True):
    """Write ``lc`` to our archive; see `Lightcurve.to_file`.

    Parameters
    ----------
    lc : Lightcurve
    path : path, written atomically
    binary, gzipped : bool

    Returns
    -------
    dict of ``binary`` and ``gzipped``
    """
    table = np.column_stack([lc.get_times() * DAY, lc.fluxes, lc.flags, lc.uncertainties])
    content = io.BytesIO()
    (np.save if binary else np.savetxt)(content, table)
    data, gzipped = content.getvalue(), bool(gzipped) and not binary
    with atomic_write(path) as part:
        part.write_bytes(gzip.compress(data, compresslevel=6, mtime=0) if gzipped else data)
    return {"binary": bool(binary), "gzipped": gzipped}


def read_archive(path, metadata):
    """Samples of an archive file; its first bytes show if it is text or binary, gzipped or not.

    Parameters
    ----------
    path : path
    metadata : dict for the light curve
    """
    content = read_bytes(path)
    if content.startswith(NPY_MAGIC):
        table = _npy_table(content, path)
    else:
        table = parse_table(decode(content, path), path, columns={ARCHIVE_COLUMNS})
    return _from_archive_table(table, path, dict(metadata))


def _from_archive_table(table, path, metadata):
    times, fluxes, flags, uncertainties = np.ascontiguousarray(table.T)
    if np.array_equal(flags, fluxes, equal_nan=True):
        flags = np.isnan(fluxes).astype(float)
    times = times / DAY
    _check_samples(path, times, fluxes, flags)
    return Samples(times, fluxes, uncertainties, flags, metadata)


def _npy_table(content, path):
    try:
        table = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInputError(f"{path}: damaged numpy file ({error})") from error
    if table.ndim != 2 or table.shape[1] != ARCHIVE_COLUMNS or table.dtype.kind not in "fiu":
        raise BadInputError(
            f"{path}: array of shape {table.shape}, type {table.dtype}; "
            "expected (samples, 4) numbers: time [s], flux, flag, uncertainty"
        )
    return table.astype(float)


def lcsg_samples(text, path):
    """Samples of a text of the stitching group; uncertainties are None where the file has none.

    Parameters
    ----------
    text : str, content of the file
    path : for messages and as ``filename`` of the metadata
    """
    table = parse_table(text, path, delimiter=",", columns={3, 4})
    times, fluxes, flags = (table[:, i].copy() for i in range(3))
    _check_samples(path, times, fluxes, flags)
    uncertainties = table[:, 3].copy() if table.shape[1] == 4 else None
    metadata = {key: _number_or_text(value) for key, value in METADATA_LINE.findall(text)}
    return Samples(times, fluxes, uncertainties, flags, {**metadata, "filename": Path(path).name})


def sibling_metadata(path):
    """Section ``[metadata]`` of ``<path>.metadata.cfg``; numbers as floats. Empty without a
    file."""
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str  # names keep their case
    try:
        config.read(f"{path}.metadata.cfg", encoding="utf-8")
    except configparser.Error as error:
        raise BadInputError(f"{path}.metadata.cfg: {str(error).splitlines()[0]}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}.metadata.cfg: not text in UTF-8 ({error})") from error
    section = config["metadata"] if config.has_section("metadata") else {}
    return {key: _number_or_text(value) for key, value in section.items()}


def write_sibling_metadata(path, metadata):
    """Write metadata where `sibling_metadata` finds them, atomically."""
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str
    config["metadata"] = {key: str(value) for key, value in sorted(metadata.items())}
    with atomic_write(f"{path}.metadata.cfg") as part, open(part, "w", encoding="utf-8") as file:
        config.write(file)


def _number_or_text(value):
    try:
        return float(value)
    except ValueError:
        return value


def read_bytes(path):
    """The content of a file, unzipped if its first two bytes say that it is gzipped."""
    with open(path, "rb") as file:
        content = file.read()
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path}: gzip data is damaged or cut short ({error})") from error


def decode(content, path):
    """Bytes as text; a file with bytes that are not text is refused."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path}: neither FITS, numpy's binary format nor text; "
            "accepted is a light curve in one of these"
        ) from error
    if "\0" in text:
        raise BadInputError(
            f"{path}: text with zero bytes; "
            "accepted is a light curve as FITS, numpy's binary format or text"
        )
    return text


def parse_table(text, path, *, delimiter=None, columns):
    """Numbers of a text table, one sample per line; blank lines and comments (#) are skipped.

    Parameters
    ----------
    text : str
    path : for messages
    delimiter : str, optional
        Blanks by default
    columns : collection of int
        How many columns are accepted

    Returns
    -------
    (n_lines, n_columns) float array
    """
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    accepted = f"{' or '.join(str(n) for n in sorted(columns))}"
    if not lines:
        raise BadInputError(
            f"{path}: no samples in this file; expected lines of {accepted} numbers"
        )
    try:
        table = np.loadtxt(lines, delimiter=delimiter, ndmin=2, comments=None)
    except ValueError:
        raise BadInputError(_first_bad_line(text, path, delimiter, accepted)) from None
    if table.shape[1] not in columns:
        raise BadInputError(f"{path}: {table.shape[1]} columns; expected {accepted}")
    return table


def _first_bad_line(text, path, delimiter, accepted):
    width = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(delimiter)
        width = width or len(words)
        if len(words) != width:
            return (
                f"{path}, line {number}: {len(words)} columns where the lines before have {width}"
            )
        for word in words:
            try:
                float(word)
            except ValueError:
                return (
                    f"{path}, line {number}: {word.strip()[:40]!r} is not a number; "
                    f"expected lines of {accepted} numbers"
                )
    return f"{path}: not a table of numbers"


def _check_samples(path, times, fluxes, flags):
    """Refuse times that are not finite or not sorted, and good samples without a finite flux."""
    if len(times) == 0:
        raise BadInputError(f"{path}: no samples in this file")
    if not np.isfinite(times).all():
        raise BadInputError(
            f"{path}: the time of sample {np.argmin(np.isfinite(times)) + 1} is not a finite number"
        )
    backwards = np.flatnonzero(np.diff(times) < 0)
    if backwards.size:
        at = backwards[0] + 1
        raise BadInputError(
            f"{path}: sample {at + 1} ({times[at]:.6f} d) is earlier than the one before it "
            f"({times[at - 1]:.6f} d); expected samples sorted in time"
        )
    bad = ~np.isfinite(fluxes) & (flags == 0)
    if bad.any():
        raise BadInputError(
            f"{path}: the flux of sample {np.argmax(bad) + 1} is not a finite number "
            "and its flag does not say bad"
        )


# Objects of astropy and lightkurve


def to_timeseries(lc):
    """As `astropy.timeseries.TimeSeries`.

    Returns
    -------
    TimeSeries with columns ``flux``, ``flux_err``, ``flags``; time as BJD in the TDB scale: the
    light curve's times plus its ``time_reference`` (0 if it has none). The metadata is in ``meta``
    """
    from astropy.timeseries import TimeSeries

    series = TimeSeries(time=_absolute_time(lc))
    for name, values in (("flux", lc.fluxes), ("flux_err", lc.uncertainties), ("flags", lc.flags)):
        series[name] = values
    series.meta.update(lc.metadata)
    return series


def to_lightkurve(lc):
    """As a light curve of lightkurve.

    Returns
    -------
    TessLightCurve or KeplerLightCurve by the ``mission`` of the metadata, else LightCurve: flux and
    flux_err with their unit, a column ``flags``, time as BTJD or BKJD where that is its zero point,
    label and target id
    """
    try:
        import lightkurve
    except ImportError as error:
        raise WrongUseError("lightkurve is not installed: pip install lightkurve") from error
    from astropy import units

    kinds = {"TESS": "TessLightCurve", "Kepler": "KeplerLightCurve", "K2": "KeplerLightCurve"}
    kind = getattr(lightkurve, kinds.get(lc.metadata.get("mission"), "LightCurve"))
    unit = {"e-/s": units.electron / units.second, "relative": units.dimensionless_unscaled}.get(
        lc.metadata.get("flux_unit")
    )
    flux, flux_err = lc.fluxes, lc.uncertainties
    if unit is not None:
        flux, flux_err = flux * unit, flux_err * unit
    time, own_format = _absolute_time(lc), _TIME_FORMATS.get(lc.metadata.get("time_reference"))
    if own_format:
        time.format = own_format
    converted = kind(time=time, flux=flux, flux_err=flux_err)
    converted["flags"] = lc.flags
    converted.meta.update(lc.metadata)
    converted.meta["NORMALIZED"] = lc.metadata.get("flux_unit") == "relative"
    for key, name in (("LABEL", "object"), ("OBJECT", "object"), ("TARGETID", "starid")):
        if lc.metadata.get(name) is not None:
            converted.meta[key] = lc.metadata[name]
    return converted


def from_timeseries(series, *, flux="flux"):
    """From `astropy.timeseries.TimeSeries`, or from `lightkurve.LightCurve`, which is one.

    Parameters
    ----------
    series : TimeSeries with a column ``flux`` and perhaps ``flux_err``; flags from a column
        ``flags`` or, if there is none, ``quality`` (any bit counts as bad)
    flux : str
        Name of the flux column

    Returns
    -------
    Samples; masked and NaN fluxes are flagged, rows with masked times are left out
    """
    if flux not in series.colnames:
        raise WrongUseError(
            f"the time series has no column {flux!r}; it has {', '.join(series.colnames)}"
        )
    reference = series.meta.get("time_reference", _format_reference(series.time))
    times = _filled(series.time.tdb.jd1 - reference) + _filled(series.time.tdb.jd2)
    fluxes = _filled(series[flux])
    error = f"{flux}_err"
    uncertainties = _filled(series[error]) if error in series.colnames else None
    flag_column = next((name for name in ("flags", "quality") if name in series.colnames), None)
    flags = (_filled(series[flag_column]) != 0).astype(float) if flag_column == "quality" else None
    flags = _filled(series["flags"]) if flag_column == "flags" else flags
    keep = np.isfinite(times)
    columns = (None if a is None else a[keep] for a in (fluxes, uncertainties, flags))
    metadata = {key: value for key, value in series.meta.items() if not key.startswith("__")}
    return Samples(times[keep], *columns, {**metadata, "time_reference": reference})


def _absolute_time(lc):
    from astropy.time import Time

    return Time(lc.metadata.get("time_reference", 0.0), lc.get_times(), format="jd", scale="tdb")


def _format_reference(time):
    """JD of the zero point of a time's own format, so that times come back as they are shown"""
    references = {name: reference for reference, name in _TIME_FORMATS.items()}
    return {**references, "mjd": 2400000.5}.get(time.format, 0)


def _filled(column):
    """A column (plain, masked, with or without unit) as floats, NaN where it is masked"""
    mask = np.broadcast_to(getattr(column, "mask", False), len(column))
    bare = getattr(column, "unmasked", getattr(column, "data", column))
    values = np.array(getattr(bare, "value", bare), dtype=float)
    values[mask] = np.nan
    return values
