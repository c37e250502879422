"""`Extraction`: what every method makes of a `Stamp`; and what the TODO-file says of it, measured
on times of good quality.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ..notebook import Shown
from ..status import STATUS

HOUR = 1 / 24  # d


@dataclass(frozen=True, repr=False)
class Extraction(Shown):
    """The light curve of one target, with what has to be known to judge it. The same for every
    method.
    """

    method: str  # name of the method in the registry
    flux: np.ndarray  # (n_times,) e-/s, background removed; NaN where it could not be measured
    flux_err: np.ndarray  # (n_times,) e-/s, 1 sigma
    background: np.ndarray  # (n_times,) e-/s, the background that was removed
    background_err: np.ndarray  # (n_times,) e-/s
    # (n_times, 2) detector column, row; pixels, integers at pixel centres, as the mission counts
    # them
    centroid: np.ndarray
    mask: np.ndarray  # (n_rows, n_columns) bool, pixels that the flux is from
    position_mask: np.ndarray  # (n_rows, n_columns) bool, pixels that the centroid is from
    pixel_quality: np.ndarray  # (n_times,) int, bits of flags.PIXEL_QUALITY
    # (n_times, 2) pixels, 1 sigma, of the centroid; None: the method does not know it
    centroid_err: np.ndarray | None = None
    status: STATUS = STATUS.OK
    # fraction of the flux in the mask that is from other stars; NaN where it is not known
    contamination: float = np.nan
    # the flux is the target's alone, whatever lies in the mask: other stars were fitted with it
    deblended: bool = False
    skip_targets: tuple = ()  # starid of other stars in the mask
    edge_flux: float = np.nan  # e-/s, flux of those pixels of the mask that lie on the stamp's edge
    stamp_resizes: int = 0
    errors: tuple = field(default=())  # messages that belong in the diagnostics

    def _shown(self):
        measured = self.flux[np.isfinite(self.flux)]
        median = f"{np.median(measured):.6g} e-/s" if len(measured) else "no flux"
        n_pixels = int(self.mask.sum())
        times = f"{len(measured)} of {len(self.flux)} times"
        line = f"{self.method}, {self.status.name}, {median}, {times}, {n_pixels} pixels"
        pairs = [
            ("method", self.method),
            ("status", self.status.name),
            ("median flux", median),
            ("measured", times),
            ("pixels in the mask", n_pixels),
            ("contamination", f"{self.contamination:.3g}"),
            ("stars in the mask", ", ".join(map(str, self.skip_targets)) or "the target"),
            *(("message", message) for message in self.errors),
        ]
        return "Extraction", line, pairs

    def lightcurve(self, stamp):
        """The light curve of this extraction, to detrend, search and plot.

        Parameters
        ----------
        stamp : Stamp, from which it was made; has times, quality and target

        Returns
        -------
        photometry.lightcurve.LightcurveArbitraryRaster, flux in e-/s; see
        `photometry.lightcurve.extraction_to_lightcurve`
        """
        from ..lightcurve.tasoc import extraction_to_lightcurve

        return extraction_to_lightcurve(stamp, self)


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
    """Root mean square of the means in bins of time of one width.

    Parameters
    ----------
    time : (n,) array, days
    relative : (n,) array, flux relative to its median, minus 1
    width : float, days
    """
    bins = np.floor((time - time[0]) / width).astype(int)
    bins -= bins.min()
    counts = np.bincount(bins)
    means = np.bincount(bins, weights=relative)[counts > 0] / counts[counts > 0]
    return np.sqrt(np.mean(means**2))


def variability(time, relative, relative_err):
    """Standard deviation around a weighted cubic in time, in units of the median error.

    Parameters
    ----------
    time : (n,) array, days
    relative, relative_err : (n,) arrays, flux relative to its median, minus 1, and its error
    """
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
