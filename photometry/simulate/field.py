"""The stars of a simulated CCD: targets, their neighbours, and what some of them do."""

import numpy as np
from astropy.table import Table, vstack

from ..catalog.ccd import sector_epoch
from ..pixels import tesscamera
from ..sky import propagate

ZERO_POINT = 20.54  # magnitude that gives 1 e-/s (TESS)
MAGNITUDE_SLOPE = 0.3  # log10 of the number of stars per magnitude
FAINTEST = 17.0
FIRST_STARID = 100_000_000


def flux_of(tmag):
    """Expected flux of a star, e-/s."""
    return 10 ** (-0.4 * (np.asarray(tmag) - ZERO_POINT))


def draw_targets(settings, wcs, rng):
    """Targets at places so far from one another that their stamps rarely touch.

    Returns
    -------
    astropy Table: starid, row, column (detector), ra, decl (epoch of the images), ra_J2000, decl_J2000, pm_ra, pm_decl, tmag,
        teff, isolated, saturated, truncated (bool)
    """
    n = settings.targets
    table = Table({"row": np.empty(n), "column": np.empty(n)})
    table["row"], table["column"] = _spread_out(n, rng)
    table["tmag"] = rng.uniform(settings.tmag_min, settings.tmag_max, n)
    order = rng.permutation(n)
    table["saturated"] = _first(order, settings.saturated)
    table["truncated"] = _first(order[::-1], settings.truncated)
    table["isolated"] = _first(rng.permutation(n), round(settings.isolated * n))
    table["tmag"][table["saturated"]] = rng.uniform(4.0, 5.0, settings.saturated)
    return _on_the_sky(table, FIRST_STARID, wcs, settings, rng)


def draw_neighbours(targets, settings, wcs, rng):
    """Stars around the targets that are not isolated: one companion each, and a field that gets denser with magnitude."""
    crowded = targets[~targets["isolated"]]
    n = len(crowded)
    angle, distance = rng.uniform(0, 2 * np.pi, n), rng.uniform(1.5, 5.0, n)
    companions = Table(
        {
            "row": crowded["row"] + distance * np.sin(angle),
            "column": crowded["column"] + distance * np.cos(angle),
        }
    )
    companions["tmag"] = np.clip(crowded["tmag"] + rng.uniform(0.5, 4.0, n), None, FAINTEST)
    reach = settings.stamp / 2 + 3
    near = np.repeat(
        np.arange(n), rng.poisson(settings.neighbours * (2 * reach / settings.stamp) ** 2, n)
    )
    field = Table({"row": crowded["row"][near] + rng.uniform(-reach, reach, near.size)})
    field["column"] = crowded["column"][near] + rng.uniform(-reach, reach, near.size)
    field["tmag"] = _field_magnitudes(near.size, settings.tmag_min, rng)
    return _on_the_sky(vstack([companions, field]), FIRST_STARID * 2, wcs, settings, rng)


def draw_signals(targets, span, start, settings, rng):
    """Add columns with transits and variability: period, epoch, duration, depth; NaN where a star has none.

    Parameters
    ----------
    span, start : days, length and begin of the observations
    """
    n = len(targets)
    quiet = np.flatnonzero(~targets["saturated"])
    chosen = rng.permutation(quiet)
    n_transits, n_variables = (
        round(share * n) for share in (settings.transits, settings.variables)
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
    since_2000 = sector_epoch(settings.sector) - 2000
    table["ra_J2000"], table["decl_J2000"] = propagate(
        table["ra"].data,
        table["decl"].data,
        table["pm_ra"].data,
        table["pm_decl"].data,
        -since_2000,
    )
    table["teff"] = rng.uniform(3500, 7500, n)
    return table


def _spread_out(n, rng):
    """Rows and columns of n places, each in a cell of its own of a grid over the CCD, away from the rim of the cell."""
    per_side = int(np.ceil(np.sqrt(n)))
    size = (tesscamera.LAST_ROW - tesscamera.FIRST_ROW) / per_side
    cells = rng.permutation(per_side**2)[:n]
    freedom = max(size - 40, 0.3 * size)
    place = np.array(np.divmod(cells, per_side)) + 0.5
    row, column = place * size + rng.uniform(-freedom / 2, freedom / 2, (2, n))
    return row + tesscamera.FIRST_ROW, column + tesscamera.FIRST_COLUMN


def _field_magnitudes(n, brightest, rng):
    """Magnitudes of a power law in flux between the brightest target and the faintest star."""
    low, high = 10 ** (MAGNITUDE_SLOPE * np.array([brightest, FAINTEST]))
    return np.log10(rng.uniform(low, high, n)) / MAGNITUDE_SLOPE


def _first(order, number):
    chosen = np.zeros(order.size, dtype=bool)
    chosen[order[:number]] = True
    return chosen


def _only_at(indices, values):
    column = np.full(values.size, np.nan)
    column[indices] = values[indices]
    return column
