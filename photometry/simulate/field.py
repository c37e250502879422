"""The field that is simulated: settings with their ranges, per mission, and where it may be
written; the stars of a CCD: targets, their neighbours, and what some of them do.

Signals are functions of time with parameters that an analysis should find again.
"""

import re
from dataclasses import dataclass

import numpy as np
from astropy.table import Table, vstack

from ..catalog.tables import read_table, sector_epoch
from ..constants import J2000, MISSIONS, YEAR
from ..errors import SettingsError, WrongUseError
from ..sky import propagate
from .spacecraft import DETECTORS, KEPLER_MODULES, SCHEDULES, start_time

# what a setting is that is left open. Kepler: the middle of its field; K2: campaign 5; sky of 22
# mag/arcsec2
DEFAULTS = {
    "TESS": {
        "cadence": 120, "sector": 1, "camera": 1, "ccd": 1, "ra": 84.0, "decl": -66.0,
        "tmag_min": 7.5, "tmag_max": 12.5, "background": 100.0, "jitter": 0.01, "stamp": 11,
    },
    "Kepler": {
        "cadence": 1800, "sector": 1, "camera": 13, "ccd": 1, "ra": 290.67, "decl": 44.5,
        "tmag_min": 12.0, "tmag_max": 15.0, "background": 275.0, "jitter": 0.003, "stamp": 7,
    },
    "K2": {
        "cadence": 1800, "sector": 5, "camera": 13, "ccd": 1, "ra": 130.2, "decl": 16.8,
        "tmag_min": 11.0, "tmag_max": 14.0, "background": 275.0, "jitter": 0.01, "stamp": 9,
    },
}  # fmt: skip
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


@dataclass(frozen=True)
class TargetPixelSettings:
    """What to simulate; each field is an option of ``photometry simulate tpf``. None: the
    mission's, see `DEFAULTS`.

    Attributes
    ----------
    mission : 'TESS', 'Kepler' or 'K2'
    targets, times : int, number of files and of exposures
    cadence : s, nominal; Kepler and K2: 1800 or 60
    sector, camera, ccd : int; Kepler and K2: quarter or campaign, module, output
    ra, decl : deg, where the camera points (TESS), or the middle of the channel
    tmag_min, tmag_max : magnitudes of the targets, in the mission's band
    isolated : fraction of the targets without any other star in the stamp
    neighbours : faint stars in the stamp of each of the other targets, on average, besides a
        brighter companion
    transits, variables : fractions of the targets
    saturated : int, number of targets with saturated pixels
    truncated : int, number of files that are cut off
    background : e-/s per pixel
    jitter : pixels
    stamp : pixels, height and width for stars that do not saturate: 11, or '4x6' for 4 rows of 6
    empty : int, number of exposures in which no pixel has a value, though QUALITY is 0
    errors : bool; False: FLUX_ERR is NaN everywhere
    catalog : bool; False: no catalog.ecsv
    """

    mission: str = "TESS"
    targets: int = 60
    times: int = 1000
    seed: int = 1
    cadence: int | None = None
    sector: int | None = None
    camera: int | None = None
    ccd: int | None = None
    ra: float | None = None
    decl: float | None = None
    tmag_min: float | None = None
    tmag_max: float | None = None
    isolated: float = 0.5
    neighbours: float = 3.0
    transits: float = 0.3
    variables: float = 0.2
    saturated: int = 0
    truncated: int = 0
    background: float | None = None
    jitter: float | None = None
    stamp: int | str | None = None
    empty: int = 0
    errors: bool = True
    catalog: bool = True

    def __post_init__(self):
        if self.mission not in DEFAULTS:
            raise SettingsError(f"mission={self.mission!r}: expected {', '.join(DEFAULTS)}")
        for name, value in DEFAULTS[self.mission].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, (lowest, highest) in self._ranges().items():
            check_range(name, getattr(self, name), lowest, highest)
        if self.mission != "TESS" and self.cadence not in DETECTORS[self.mission].steps:
            raise SettingsError(f"cadence={self.cadence}: expected 1800 or 60 for {self.mission}")
        if self.mission != "TESS" and self.camera not in KEPLER_MODULES:
            raise SettingsError(
                f"camera={self.camera}: expected a module, 2 to 24 without 5 and 21"
            )
        for size in self.stamp_shape:
            check_range("stamp", size, 3, 101)
        if self.transits + self.variables > 1:
            raise SettingsError(
                f"transits={self.transits} and variables={self.variables}: expected fractions "
                "with a sum of at most 1"
            )
        if self.saturated + self.truncated > self.targets:
            raise SettingsError(
                f"saturated={self.saturated} and truncated={self.truncated}: more than the "
                f"{self.targets} targets"
            )

    def _ranges(self):
        tess = self.mission == "TESS"
        return {
            "targets": (1, 100_000),
            "times": (1, 1_000_000),
            "seed": (0, 2**63 - 1),
            "cadence": (2, 3600),
            "sector": (1 if tess else 0, 999),
            "camera": (1, 4) if tess else (2, 24),
            "ccd": (1, 4),
            "ra": (0, 360),
            "decl": (-90, 90),
            "tmag_max": (-2, 25),
            "tmag_min": (-2, self.tmag_max),
            "isolated": (0, 1),
            "neighbours": (0, 1000),
            "transits": (0, 1),
            "variables": (0, 1),
            "saturated": (0, self.targets),
            "truncated": (0, self.targets),
            "background": (0, 1e6),
            "jitter": (0, 100),
            "empty": (0, self.times),
        }

    @property
    def stamp_shape(self):
        """(n_rows, n_columns) of the stamp of a star that does not saturate."""
        if isinstance(self.stamp, int):
            return self.stamp, self.stamp
        match = re.fullmatch(r"(\d{1,3})(?:x(\d{1,3}))?", str(self.stamp))
        if not match:
            raise SettingsError(
                f"stamp={self.stamp!r}: expected pixels, as in 11, or rows and columns, as in 4x6"
            )
        return int(match[1]), int(match[2] or match[1])

    @property
    def saturated_range(self):
        """Magnitudes of the saturated targets."""
        limit = MISSIONS[self.mission].saturation_limit
        return limit - 3.0, limit - 2.0


def make_room(folder, settings, *, overwrite=False):
    """Make the folder of a simulation; refuse one that holds anything but an earlier simulation
    with the same settings.

    Simulated stars between real ones would pass for real: the catalogue of a folder is of one sky.

    Parameters
    ----------
    folder : pathlib.Path
    settings : dict, what the file ``truth.ecsv`` of this simulation will have as ``settings`` in
        its header
    overwrite : bool, remove the files of an earlier simulation with other settings

    Raises
    ------
    WrongUseError : the folder holds something else
    """
    truth = folder / "truth.ecsv"
    if folder.exists() and not folder.is_dir():
        raise WrongUseError(f"{folder}: is a file; expected a folder for the simulation")
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if names and not truth.exists():
        raise WrongUseError(
            f"{folder}: is not empty (it has "
            f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}); simulated data "
            "would pass for real ones there: choose a new folder"
        )
    if not names:
        return
    earlier = read_table(truth)
    if earlier.meta.get("settings") == settings:
        return
    if not overwrite:
        raise WrongUseError(
            f"{folder}: holds a simulation with other settings; choose another folder, or say "
            "--overwrite"
        )
    for name in [*earlier["file"], "catalog.ecsv"] if "file" in earlier.colnames else ():
        (folder / name).unlink(missing_ok=True)


def check_range(name, value, lowest, highest):
    """Raise SettingsError where a setting is not a number from ``lowest`` to ``highest``.

    Parameters
    ----------
    name : str, for the message
    value : any
    lowest, highest : numbers
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not lowest <= value <= highest:
        raise SettingsError(f"{name}={value!r}: expected {lowest} to {highest}")


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
