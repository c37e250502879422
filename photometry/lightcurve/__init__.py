"""The light curve itself: the classes, how they are stored, resampled, corrected, converted and drawn.

Names are imported when they are first used.
"""

from ..lazy import lazy_names

_HOMES = {
    "Lightcurve": "lightcurve",
    "LightcurveArbitraryRaster": "lightcurve",
    "LightcurveFixedStep": "lightcurve",
    "LightcurveResampler": "resample",
    "read_lcsg_lightcurve": "lcsg",
    "bin_to_cadence": "checks",
    "verify": "checks",
    "cdpp": "detrend",
    "flatten": "detrend",
    "transit_mask": "detrend",
    "correct_file": "correct",
    "extraction_to_lightcurve": "convert",
    "plot_lightcurve": "plots",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
