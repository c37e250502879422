"""Hypothesis strategies for light curves."""

import numpy as np
from hypothesis import strategies as st

from photometry.lightcurve import LightcurveArbitraryRaster

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def lightcurves(draw, min_size=4, nan=False):
    """Sorted light curves of up to 30 samples; with ``nan`` some fluxes are NaN (and so flagged)"""
    n = draw(st.integers(min_size, 30))
    steps = draw(st.lists(st.floats(1e-3, 2.0), min_size=n, max_size=n))
    fluxes, errors = (np.array(draw(st.lists(numbers, min_size=n, max_size=n))) for _ in range(2))
    flags = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), dtype=float)
    if nan and draw(st.booleans()):
        fluxes[draw(st.integers(0, n - 1))] = np.nan
    return LightcurveArbitraryRaster(np.cumsum(steps), fluxes, np.abs(errors), flags)
