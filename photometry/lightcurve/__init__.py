"""The light curve itself: classes, files, resampling, correction, conversion, pictures.

Names are imported when they are first used.
"""

from .. import lazy_names

_HOMES = {
    "Lightcurve": "lightcurve",
    "LightcurveArbitraryRaster": "lightcurve",
    "LightcurveFixedStep": "lightcurve",
    "LightcurveResampler": "raster",
    "read_lcsg_lightcurve": "lightcurve",
    "bin_to_cadence": "raster",
    "verify": "raster",
    "cdpp": "detrend",
    "flatten": "detrend",
    "quick_cdpp": "detrend",
    "transit_mask": "detrend",
    "correct_file": "correct",
    "extraction_to_lightcurve": "tasoc",
    "plot_lightcurve": "plots",
    "stitch": "parts",
    "write_stitched": "parts",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
