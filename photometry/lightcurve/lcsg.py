"""Light curves of PLATO's light-curve stitching group: CSV, ``time [d], flux, flag`` and perhaps an uncertainty.

Lines that start with ``#`` are comments; a comment of the form ``# #key=value`` is metadata.
"""

import re
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from .lightcurve import LightcurveArbitraryRaster
from .texttable import GZIP, check_samples, decode, parse_table, read_bytes

METADATA_LINE = re.compile(
    r"^[ \t]*#[ \t]*#[ \t]*([^=\s]+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.MULTILINE
)


def read_lcsg_lightcurve(file_path, gzipped=None, cut_off_time=None):
    """Read a light curve of the stitching group.

    Parameters
    ----------
    file_path : path
    gzipped : bool, optional
        Insist that the file is, or is not, gzipped; by default its first bytes tell
    cut_off_time : float, optional
        Leave out samples later than this [d]

    Returns
    -------
    LightcurveArbitraryRaster, whose metadata also has ``filename``. Uncertainties are 0 where the file has none

    Raises
    ------
    BadInputError : with the number of the bad line
    """
    _check_gzipped(file_path, gzipped)
    return lightcurve_from_text(decode(read_bytes(file_path), file_path), file_path, cut_off_time)


def lightcurve_from_text(text, path, cut_off_time=None):
    """Light curve from the text of a file; see `read_lcsg_lightcurve`."""
    table = parse_table(text, path, delimiter=",", columns={3, 4})
    times, fluxes, flags = table[:, 0], table[:, 1], table[:, 2]
    check_samples(path, times, fluxes, flags)
    uncertainties = table[:, 3].copy() if table.shape[1] == 4 else None
    metadata = {**_metadata(text), "filename": Path(path).name}
    lc = LightcurveArbitraryRaster(
        times.copy(), fluxes.copy(), uncertainties, flags.copy(), metadata
    )
    return lc if cut_off_time is None else lc.select(lc.times <= cut_off_time)


def is_lcsg(text, table):
    """Whether a comma-separated text of at least three columns is of this kind: it has metadata lines, or a third column of flags."""
    return bool(METADATA_LINE.search(text)) or (
        table.shape[1] > 2 and np.isin(table[:, 2], (0, 1)).all()
    )


def _metadata(text):
    return {key: number_or_text(value) for key, value in METADATA_LINE.findall(text)}


def number_or_text(value):
    """A text as float if it is one"""
    try:
        return float(value)
    except ValueError:
        return value


def _check_gzipped(path, expected):
    if expected is None:
        return
    with open(path, "rb") as file:
        found = file.read(2) == GZIP
    if found != bool(expected):
        raise BadInputError(
            f"{path}: is {'' if found else 'not '}gzipped, but gzipped={expected!r} was given"
        )
