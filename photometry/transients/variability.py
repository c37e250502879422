"""Variability of a light curve: V (scatter over mean) and eta (reduced chi-square of a constant
source).

Running statistics are Welford's (1962, Technometrics 4, 419; weighted: West 1979, CACM 22, 532):
means and sums of squared deviations. The textbook's differences of means of squares cancel for
steady bright sources.
"""

import numpy as np

MEAN_OF_ZERO = 1e-6
"""What V is divided by where the mean flux is exactly 0."""


def update(state, flux, weight):
    """Take one more point into running statistics of many light curves.

    Parameters
    ----------
    state : dict of (k,) arrays ``n, mean, m2, weight_sum, wmean, wm2``; n of 0 for a light curve
        without points
    flux : (k,) array
    weight : (k,) array, 1 / error^2

    Returns
    -------
    dict of the same arrays, new
    """
    n = state["n"] + 1
    step = flux - state["mean"]
    mean = state["mean"] + step / n
    weight_sum = state["weight_sum"] + weight
    wstep = flux - state["wmean"]
    wmean = state["wmean"] + wstep * (weight / weight_sum)
    return {
        "n": n,
        "mean": mean,
        "m2": state["m2"] + step * (flux - mean),
        "weight_sum": weight_sum,
        "wmean": wmean,
        "wm2": state["wm2"] + weight * wstep * (flux - wmean),
    }


def v_and_eta(n, mean, m2, wm2):
    """V and eta from running statistics.

    Parameters
    ----------
    n : (k,) int array, points
    mean : (k,) array, mean flux
    m2, wm2 : (k,) arrays, sums of squared deviations from the mean, and, times their weights, from
    the weighted mean

    Returns
    -------
    v, eta : (k,) arrays; 0 for a single point
    """
    freedom = np.maximum(np.asarray(n) - 1, 1)
    v = np.sqrt(np.maximum(m2, 0) / freedom) / np.where(mean == 0, MEAN_OF_ZERO, mean)
    eta = np.maximum(wm2, 0) / freedom
    single = np.asarray(n) < 2
    return np.where(single, 0.0, v), np.where(single, 0.0, eta)


def metrics(flux, error):
    """V and eta of one light curve, in two passes.

    Parameters
    ----------
    flux, error : (n,) arrays of one unit

    Returns
    -------
    v, eta : floats
    """
    flux, weight = np.asarray(flux, float), 1 / np.asarray(error, float) ** 2
    mean, wmean = flux.mean(), np.average(flux, weights=weight)
    m2, wm2 = ((flux - mean) ** 2).sum(), (weight * (flux - wmean) ** 2).sum()
    v, eta = v_and_eta(np.array([len(flux)]), np.array([mean]), np.array([m2]), np.array([wm2]))
    return float(v[0]), float(eta[0])
