"""`Extraction`: what every method makes of a `Stamp`."""

from dataclasses import dataclass, field

import numpy as np

from ..notebook import Shown
from ..status import STATUS


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
