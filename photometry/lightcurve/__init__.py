"""The light curve itself: classes, files, resampling, correction, conversion, pictures.

Names are imported when they are first used.
"""

from .. import lazy_names

_HOMES = {
    "Lightcurve": "lightcurve",
    "LightcurveArbitraryRaster": "lightcurve",
    "LightcurveFixedStep": "lightcurve",
    "LightcurveResampler": "views",
    "read_lcsg_lightcurve": "lightcurve",
    "bin_to_cadence": "views",
    "verify": "views",
    "cdpp": "detrend",
    "flatten": "detrend",
    "quick_cdpp": "detrend",
    "transit_mask": "detrend",
    "correct_file": "correct",
    "extraction_to_lightcurve": "tasoc",
    "plot_lightcurve": "views",
    "stitch": "detrend",
    "write_stitched": "detrend",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
