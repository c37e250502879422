"""What the TODO-file's diagnostics tell about a light curve, measured on times of good quality."""

import math

import numpy as np

HOUR = 1 / 24  # d


def diagnostics(stamp, extraction, good):
    """The ``details`` of a Result; a number that could not be measured is left out.

    Parameters
    ----------
    stamp : Stamp
    extraction : Extraction
    good : (n_times,) bool array, times of good quality

    Returns
    -------
    dict, see "Result" in the architecture
    """
    good = good & np.isfinite(extraction.flux)
    numbers = {
        **flux_metrics(stamp.time[good], extraction.flux[good], extraction.flux_err[good]),
        "contamination": extraction.contamination,
        "edge_flux": extraction.edge_flux,
    }
    details = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
    centroid = median_centroid(extraction.centroid[good])
    if centroid is not None:
        details["pos_centroid"] = centroid
    n_rows, n_columns = stamp.shape
    return details | {
        "mask_size": int(extraction.mask.sum()),
        "stamp": (stamp.row, stamp.row + n_rows, stamp.column, stamp.column + n_columns),
        "stamp_resizes": extraction.stamp_resizes,
        "skip_targets": list(extraction.skip_targets),
        "errors": list(extraction.errors),
    }


def flux_metrics(time, flux, flux_err):
    """Metrics of a light curve without gaps in its values.

    Parameters
    ----------
    time : (n,) array, days
    flux, flux_err : (n,) arrays, e-/s

    Returns
    -------
    dict of mean_flux (median, e-/s), and of the flux relative to it: variance, rms_hour, ptp,
    variability; NaN where there are too few values
    """
    if len(flux) == 0:
        return {}
    mean_flux = np.median(flux)
    relative = flux / mean_flux - 1
    return {
        "mean_flux": mean_flux,
        "variance": np.var(relative, ddof=1) if len(flux) > 1 else np.nan,
        "rms_hour": rms_binned(time, relative, HOUR),
        "ptp": np.median(np.abs(np.diff(relative))) if len(flux) > 1 else np.nan,
        "variability": variability(time, relative, flux_err / abs(mean_flux)),
    }


def rms_binned(time, relative, width):
    """Root mean square of the means in bins of time of one width."""
    bins = np.floor((time - time[0]) / width).astype(int)
    bins -= bins.min()
    counts = np.bincount(bins)
    means = np.bincount(bins, weights=relative)[counts > 0] / counts[counts > 0]
    return np.sqrt(np.mean(means**2))


def variability(time, relative, relative_err):
    """Standard deviation around a weighted cubic in time, in units of the median error."""
    usable = relative_err > 0
    if usable.sum() <= 4:  # a cubic goes through four points
        return np.nan
    time, relative, relative_err = time[usable], relative[usable], relative_err[usable]
    # within -1 and 1, where Legendre polynomials are nearly orthogonal: normal equations lose no
    # digits, and take a tenth of the time of a singular value decomposition
    x = (time - time[0]) / max((time[-1] - time[0]) / 2, np.finfo(float).tiny) - 1
    powers = np.polynomial.legendre.legvander(x, 3)
    weighted = powers / relative_err[:, None] ** 2
    cubic = np.linalg.lstsq(weighted.T @ powers, weighted.T @ relative, rcond=None)[0]
    return np.std(relative - powers @ cubic) / np.median(relative_err)


def median_centroid(centroid):
    """Median (column, row) in pixels as a tuple; None without any."""
    column, row = centroid.T
    measured = np.isfinite(column) & np.isfinite(row)
    if not measured.any():
        return None
    return float(np.median(column[measured])), float(np.median(row[measured]))
