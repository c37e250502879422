"""Sum, difference and product of two light curves. The result has the raster and the kind of the left one."""

import numpy as np


def add(a, b):
    """a + b; metadata from the one with the larger ``mes``."""
    metadata = max(a, b, key=lambda lc: lc.metadata.get("mes", 0)).metadata
    b = _on_raster_of(a, b)
    return _result(a, a.fluxes + b.fluxes, np.hypot(a.uncertainties, b.uncertainties), b, metadata)


def subtract(a, b):
    """a - b; metadata of both, those of b win."""
    metadata = {**a.metadata, **b.metadata}
    b = _on_raster_of(a, b)
    return _result(a, a.fluxes - b.fluxes, np.hypot(a.uncertainties, b.uncertainties), b, metadata)


def multiply(a, b):
    """a * b; metadata of both, those of b win.

    On an arbitrary raster the first and the last sample are dropped: their pixels may stick out of b.
    """
    metadata = {**a.metadata, **b.metadata}
    b = _on_raster_of(a, b)
    uncertainties = np.hypot(a.uncertainties * b.fluxes, b.uncertainties * a.fluxes)
    product = _result(a, a.fluxes * b.fluxes, uncertainties, b, metadata)
    return product.select(slice(1, -1)) if hasattr(product, "select") else product


def _on_raster_of(a, b):
    from .resample import LightcurveResampler

    return LightcurveResampler(b).match_to_other_lightcurve(a)


def _result(a, fluxes, uncertainties, b, metadata):
    new = a.with_fluxes(fluxes, uncertainties)
    new.flags = ((a.flags != 0) | (b.flags != 0)).astype(float)
    new.metadata = dict(metadata)
    return new
