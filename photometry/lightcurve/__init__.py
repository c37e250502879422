"""The light curve itself: the classes, how they are stored, resampled, corrected, converted and drawn.

Names are imported when they are first used.
"""

from importlib import import_module

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


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
