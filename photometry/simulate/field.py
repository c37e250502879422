"""The stars of a simulated CCD: targets, their neighbours, and what some of them do.

Signals are functions of time with parameters that an analysis should find again.
"""

import numpy as np
from astropy.table import Table, vstack

from ..catalog.ccd import sector_epoch
from ..constants import J2000, MISSIONS, YEAR
from ..sky import propagate
from .detector import DETECTORS
from .spacecraft import SCHEDULES, start_time

# log10 of the number of stars per magnitude
MAGNITUDE_SLOPE = 0.3
# mag below the faintest target
DEPTH = 4.5
# fraction of the duration in ingress, and as much in egress: a planet of a tenth of the star's
# radius, central
INGRESS = 0.15
# of the targets, and of their neighbours, in the ranges of the mission's catalogue
FIRST_STARIDS = {
    "TESS": (100_000_000, 200_000_000),
    "Kepler": (1_000_000, 2_000_000),
    "K2": (201_000_001, 202_000_001),
}


def flux_of(tmag, mission="TESS"):
    """Expected flux of a star of a magnitude in the mission's band, e-/s."""
    return 10 ** (-0.4 * (np.asarray(tmag, dtype=float) - MISSIONS[mission].zero_point))


def epoch_of(settings):
    """Julian year of the observations."""
    if settings.mission == "TESS":
        return sector_epoch(settings.sector)
    middle = start_time(settings.sector, settings.mission) + SCHEDULES[settings.mission].days / 2
    days = MISSIONS[settings.mission].time_reference + middle - J2000
    return 2000 + days / YEAR


def draw_targets(settings, wcs, rng):
    """Targets at positions so far from one another that their stamps rarely touch.

    Parameters
    ----------
    settings : TargetPixelSettings
    wcs : WCS of the CCD, origin 1
    rng : numpy Generator

    Returns
    -------
    astropy Table: starid, row, column (detector), ra, decl (epoch of the images), ra_J2000,
    decl_J2000, pm_ra, pm_decl, tmag,
        teff, isolated, saturated, truncated (bool)
    """
    n = settings.targets
    table = Table({"row": np.empty(n), "column": np.empty(n)})
    table["row"], table["column"] = _spread_out(n, settings.mission, rng)
    table["tmag"] = rng.uniform(settings.tmag_min, settings.tmag_max, n)
    order = rng.permutation(n)
    table["saturated"] = _first(order, settings.saturated)
    table["truncated"] = _first(order[::-1], settings.truncated)
    table["isolated"] = _first(rng.permutation(n), round(settings.isolated * n))
    table["tmag"][table["saturated"]] = rng.uniform(*settings.saturated_range, settings.saturated)
    return _on_the_sky(table, FIRST_STARIDS[settings.mission][0], wcs, settings, rng)


def draw_neighbours(targets, settings, wcs, rng):
    """Stars around the targets that are not isolated: one companion each, and a field that gets
    denser with magnitude.

    Parameters
    ----------
    targets : Table of `draw_targets`
    settings : TargetPixelSettings
    wcs : WCS of the CCD, origin 1
    rng : numpy Generator
    """
    crowded = targets[~targets["isolated"]]
    n = len(crowded)
    angle, distance = rng.uniform(0, 2 * np.pi, n), rng.uniform(1.5, 5.0, n)
    companions = Table(
        {
            "row": crowded["row"] + distance * np.sin(angle),
            "column": crowded["column"] + distance * np.cos(angle),
        }
    )
    companions["tmag"] = np.clip(
        crowded["tmag"] + rng.uniform(0.5, 4.0, n), None, settings.tmag_max + DEPTH
    )
    size = max(settings.stamp_shape)
    reach = size / 2 + 3
    near = np.repeat(np.arange(n), rng.poisson(settings.neighbours * (2 * reach / size) ** 2, n))
    field = Table({"row": crowded["row"][near] + rng.uniform(-reach, reach, near.size)})
    field["column"] = crowded["column"][near] + rng.uniform(-reach, reach, near.size)
    field["tmag"] = _field_magnitudes(near.size, settings, rng)
    first = FIRST_STARIDS[settings.mission][1]
    return _on_the_sky(vstack([companions, field]), first, wcs, settings, rng)


def draw_signals(targets, span, start, settings, rng):
    """Add columns with transits and variability: period, epoch, duration, depth; NaN where a star
    has none.

    Parameters
    ----------
    span, start : days, length and begin of the observations
    """
    n = len(targets)
    quiet = np.flatnonzero(~targets["saturated"])
    chosen = rng.permutation(quiet)
    n_transits, n_variables = (
        round(fraction * n) for fraction in (settings.transits, settings.variables)
    )
    transiting, variable = chosen[:n_transits], chosen[n_transits : n_transits + n_variables]
    period = rng.uniform(0.2, 0.6, n) * min(span, 27.0)
    signals = {
        "transit_period": period,  # days
        "transit_epoch": start + period * rng.uniform(0.1, 0.9, n),  # BTJD of the first mid-transit
        "transit_duration": period * rng.uniform(0.08, 0.12, n),  # days
        "transit_depth": rng.uniform(0.01, 0.03, n),  # relative
    }
    for name, values in signals.items():
        targets[name] = _only_at(transiting, values)
    targets["variable_period"] = _only_at(variable, rng.uniform(0.05, 0.3, n) * min(span, 27.0))
    targets["variable_amplitude"] = _only_at(variable, 10 ** rng.uniform(-3, -2, n))
    return targets


def _on_the_sky(table, first_starid, wcs, settings, rng):
    """Add identifiers, sky positions, proper motions and temperatures."""
    n = len(table)
    table["starid"] = first_starid + np.cumsum(rng.integers(1, 1000, n))
    table["ra"], table["decl"] = wcs.wcs_pix2world(table["column"], table["row"], 1)
    table["pm_ra"], table["pm_decl"] = rng.normal(0, 20, (2, n))  # mas/yr
    since_2000 = epoch_of(settings) - 2000
    table["ra_J2000"], table["decl_J2000"] = propagate(
        table["ra"].data,
        table["decl"].data,
        table["pm_ra"].data,
        table["pm_decl"].data,
        -since_2000,
    )
    table["teff"] = rng.uniform(3500, 7500, n)
    return table


def _spread_out(n, mission, rng):
    """Rows and columns of n positions, each in a cell of its own of a grid over the CCD, away from
    the rim of the cell.
    """
    detector, per_side = DETECTORS[mission], int(np.ceil(np.sqrt(n)))
    cells = np.array(np.divmod(rng.permutation(per_side**2)[:n], per_side)) + 0.5
    positions = []
    for cell, (first, last) in zip(cells, (detector.rows, detector.columns), strict=True):
        size = (last - first) / per_side
        freedom = max(size - 40, 0.3 * size)
        positions.append(first + cell * size + rng.uniform(-freedom / 2, freedom / 2, n))
    return positions


def _field_magnitudes(n, settings, rng):
    """Magnitudes of a power law in flux between the brightest target and the faintest star."""
    limits = np.array([settings.tmag_min, settings.tmag_max + DEPTH])
    low, high = 10 ** (MAGNITUDE_SLOPE * limits)
    return np.log10(rng.uniform(low, high, n)) / MAGNITUDE_SLOPE


def _first(order, number):
    chosen = np.zeros(order.size, dtype=bool)
    chosen[order[:number]] = True
    return chosen


def _only_at(indices, values):
    column = np.full(values.size, np.nan)
    column[indices] = values[indices]
    return column


def transit(time, period, epoch, duration, depth):
    """Trapezoidal transits.

    Parameters
    ----------
    time : array, days
    period, epoch, duration : float, days; middle of a transit, and time from first to fourth
        contact
    depth : float, relative flux missing in the middle

    Returns
    -------
    array, relative flux: 1 outside transits, ``1 - depth`` inside
    """
    from_middle = np.abs((time - epoch + period / 2) % period - period / 2)
    return 1 - depth * np.clip((duration / 2 - from_middle) / (INGRESS * duration), 0, 1)


def sinusoid(time, period, amplitude):
    """Relative flux of a pulsating or spotted star: mean 1, ``amplitude`` up and down.

    Parameters
    ----------
    time : array, days
    period : float, days
    amplitude : float, relative flux
    """
    return 1 + amplitude * np.sin(2 * np.pi * time / period)
