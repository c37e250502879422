"""Light curves with a known planet, for the tests of the searches."""

import numpy as np

from photometry.transits.transit_model import inclination_of_impact, separation, transit_flux


def planet(days=40.0, minutes=30, period=4.37, t0=1.9, depth=1500e-6, noise=300e-6, seed=2):
    """Times, flux: a limb-darkened transit, the deepest of its kind being about ``depth``, in white
    noise.
    """
    times = np.arange(0, days, minutes / 1440)
    axis = 4.2 * period ** (2 / 3)  # the Sun
    orbit = {
        "period": period,
        "t0": t0,
        "semi_major_axis": axis,
        "inclination": inclination_of_impact(0.2, axis),
    }
    flux = transit_flux(separation(times, **orbit), np.sqrt(depth / 1.2), 0.48, 0.19)
    return times, flux + noise * np.random.default_rng(seed).standard_normal(times.size)
