"""Did a search find the transit that is in the light curve?"""

import numpy as np

TOLERANCE = 0.03  # of the period
MAX_HARMONIC = 10


def transit_detection_quality_control(lc, metadata):
    """Compare the period that a search found with the true one. The criterion of the EAS pipeline:
    within 3 %.

    Parameters
    ----------
    lc : Lightcurve, its metadata has ``orbital_period`` [d] (and perhaps ``t0``)
    metadata : dict, result of the search: ``period`` [d] (and perhaps ``t0``)

    Returns
    -------
    dict with exactly ``outcome``: PASS, FAIL, or UNDEFINED where one of the periods is missing;
    and ``target_period``: the true period [d], NaN where UNDEFINED
    """
    target, observed = (
        _number(values.get(key))
        for values, key in ((lc.metadata, "orbital_period"), (metadata, "period"))
    )
    if target is None or observed is None:
        return {"outcome": "UNDEFINED", "target_period": float("nan")}
    passed = observed > 0 and 1 - TOLERANCE < target / observed < 1 + TOLERANCE
    return {"outcome": "PASS" if passed else "FAIL", "target_period": target}


def detection_details(lc, metadata):
    """More about a detection than passed or failed.

    Returns
    -------
    dict; ``harmonic``: observed over true period as n or 1/n, if within 3 % of one, else NaN;
    ``t0_offset`` [d]: observed minus true time of transit, to the nearest transit, if both have a
    ``t0``, else NaN
    """
    target, observed = _number(lc.metadata.get("orbital_period")), _number(metadata.get("period"))
    t0, observed_t0 = _number(lc.metadata.get("t0")), _number(metadata.get("t0"))
    details = {"harmonic": float("nan"), "t0_offset": float("nan")}
    if target and observed and observed > 0:
        ratios = np.array(
            [*range(1, MAX_HARMONIC + 1), *(1 / n for n in range(2, MAX_HARMONIC + 1))]
        )
        nearest = ratios[np.argmin(np.abs(np.log(observed / target / ratios)))]
        if abs(observed / target / nearest - 1) < TOLERANCE:
            details["harmonic"] = float(nearest)
    if target and t0 is not None and observed_t0 is not None:
        details["t0_offset"] = (observed_t0 - t0 + 0.5 * target) % target - 0.5 * target
    return details


def _number(value):
    """A plain or a metadata value as float; None where there is none"""
    value = getattr(value, "value", value)
    return None if value is None else float(value)
