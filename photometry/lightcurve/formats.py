"""`read`: one call that finds out what a light-curve file is, from what it holds, not from its name."""

import configparser
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..files import atomic_write
from . import archive, fitsfiles, lcsg
from .lightcurve import LightcurveArbitraryRaster
from .texttable import check_samples, decode, parse_table, read_bytes

FITS = b"SIMPLE  ="


def read(path, *, flux=None, cut_off_time=None):
    """Read a light curve of any known format; see `Lightcurve.read`."""
    path = Path(path)
    if not path.is_file():
        raise BadInputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    content = read_bytes(path)
    if content.startswith(FITS):
        lc = fitsfiles.lightcurve_from_fits(content, path, flux=flux)
    elif flux is not None:
        raise BadInputError(
            f"{path}: flux={flux!r} names a column of a FITS file, which this is not"
        )
    elif content.startswith(archive.NPY):
        lc = archive.read_archive(path, sibling_metadata(path))
    else:
        lc = _from_text(decode(content, path), path)
    lc.metadata.setdefault("filename", path.name)
    return lc if cut_off_time is None else lc.select(lc.times <= cut_off_time)


def sibling_metadata(path):
    """What stands in ``<path>.metadata.cfg``, section ``[metadata]``; numbers as floats. Empty without such a file."""
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str  # names keep their case
    try:
        config.read(f"{path}.metadata.cfg", encoding="utf-8")
    except configparser.Error as error:
        raise BadInputError(f"{path}.metadata.cfg: {str(error).splitlines()[0]}") from error
    section = config["metadata"] if config.has_section("metadata") else {}
    return {key: lcsg.number_or_text(value) for key, value in section.items()}


def write_sibling_metadata(path, metadata):
    """Write metadata where `sibling_metadata` finds them, atomically."""
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str
    config["metadata"] = {key: str(value) for key, value in sorted(metadata.items())}
    with atomic_write(f"{path}.metadata.cfg") as part, open(part, "w", encoding="utf-8") as file:
        config.write(file)


def _from_text(text, path):
    """Archive (four columns between blanks), LCSG (commas and flags), or a table of time [d], flux and perhaps error."""
    first = next(
        (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")),
        "",
    )
    delimiter = "," if "," in first else None
    text = _without_column_names(text, first, delimiter)
    table = parse_table(text, path, delimiter=delimiter, columns={2, 3, 4})
    if delimiter is None and table.shape[1] == archive.COLUMNS:
        return archive.lightcurve_from_table(table, path, sibling_metadata(path))
    if delimiter == "," and lcsg.is_lcsg(text, table):
        return lcsg.lightcurve_from_text(text, path)
    if table.shape[1] == 4:
        raise BadInputError(
            f"{path}: 4 columns between commas, the third not a flag of 0 or 1; expected time, flux, flag, uncertainty"
        )
    return _from_plain_table(table, path)


def _without_column_names(text, first, delimiter):
    """``text`` with a first line such as ``time,flux`` made a comment"""
    words = [word.strip() for word in first.split(delimiter)]
    is_header = words and all(
        word.replace("_", "").isalpha() and word.lower() not in ("nan", "inf") for word in words
    )
    return text.replace(first, "#" + first, 1) if is_header else text


def _from_plain_table(table, path):
    times, fluxes = table[:, 0].copy(), table[:, 1].copy()
    check_samples(path, times, fluxes, np.zeros(len(times)))
    errors = table[:, 2].copy() if table.shape[1] == 3 else None
    return LightcurveArbitraryRaster(times, fluxes, errors, metadata=sibling_metadata(path))
