"""Our light-curve archive: four columns (time [s], flux, flag, uncertainty) as text, gzipped or not, or as ``.npy``.

The files of the EAS pipeline (``plato_wp36``) have this form. Some of them, by a defect of their writer, have the flux
in the flag column; all samples of such a file count as good. The files hold seconds and light curves days, so a time may
change by one unit in the last place when it is written and read.
"""

import gzip
import io

import numpy as np

from ..errors import BadInputError
from ..files import atomic_write
from .lightcurve import DAY, LightcurveArbitraryRaster, plain_values
from .texttable import check_samples, decode, parse_table, read_bytes

NPY = b"\x93NUMPY"
COLUMNS = 4


def write_archive(lc, path, *, binary=False, gzipped=True):
    """Write ``lc``; see `Lightcurve.to_file`."""
    table = np.column_stack([lc.get_times() * DAY, lc.fluxes, lc.flags, lc.uncertainties])
    content = io.BytesIO()
    if binary:
        np.save(content, table)
    else:
        np.savetxt(content, table)
    gzipped = bool(gzipped) and not binary
    data = (
        gzip.compress(content.getvalue(), compresslevel=6, mtime=0)
        if gzipped
        else content.getvalue()
    )
    with atomic_write(path) as part:
        part.write_bytes(data)
    return {"binary": bool(binary), "gzipped": gzipped}


def read_archive(path, metadata, cut_off_time=None):
    """Read a file of the archive; its first bytes tell whether it is text or binary, gzipped or not.

    Parameters
    ----------
    path : path
    metadata : dict for the light curve
    cut_off_time : float, optional, days

    Returns
    -------
    LightcurveArbitraryRaster
    """
    content = read_bytes(path)
    table = (
        _binary_table(content, path)
        if content.startswith(NPY)
        else parse_table(decode(content, path), path, columns={COLUMNS})
    )
    return lightcurve_from_table(table, path, metadata, cut_off_time)


def lightcurve_from_table(table, path, metadata, cut_off_time=None):
    """Light curve from the (n_samples, 4) table of a file."""
    times, fluxes, flags, uncertainties = np.ascontiguousarray(table.T)
    if np.array_equal(flags, fluxes, equal_nan=True):
        flags = np.isnan(fluxes).astype(float)
    times = times / DAY
    check_samples(path, times, fluxes, flags)
    lc = LightcurveArbitraryRaster(times, fluxes, uncertainties, flags, plain_values(metadata))
    return lc if cut_off_time is None else lc.select(lc.times <= cut_off_time)


def _binary_table(content, path):
    try:
        table = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInputError(f"{path}: damaged numpy file ({error})") from error
    if table.ndim != 2 or table.shape[1] != COLUMNS or table.dtype.kind not in "fiu":
        raise BadInputError(
            f"{path}: array of shape {table.shape}, type {table.dtype}; expected (samples, 4) numbers: time [s], flux, flag, uncertainty"
        )
    return table.astype(float)
