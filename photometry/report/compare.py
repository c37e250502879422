"""What differs between two runs: `compare`."""

from dataclasses import dataclass, field

import numpy as np

from ..status import STATUS
from ..taskmanager.view import read_results

IDENTITY = ("starid", "sector", "camera", "ccd", "cadence", "datasource")


@dataclass(frozen=True)
class Comparison:
    """Two runs beside each other.

    Attributes
    ----------
    gained, lost : lists of tuples of `IDENTITY`: targets of one file alone
    changes : dict, (status before, status after) -> list of targets
    flux, noise : dict, whole magnitude -> (number, median ratio, largest deviation of the ratio
        from 1)
    seconds : (before, after), work of all targets, s
    worst : list of (target, ratio of flux), farthest from 1 first
    """

    gained: list
    lost: list
    changes: dict
    flux: dict
    noise: dict
    seconds: tuple
    worst: list = field(default_factory=list)

    def within(self, flux_tolerance, noise_tolerance):
        """Whether the runs are alike.

        Parameters
        ----------
        flux_tolerance : float, largest relative difference of a target's flux
        noise_tolerance : float, largest relative difference of the median noise of a magnitude
        """
        return (
            not self.gained
            and not self.lost
            and not self.changes
            and all(worst <= flux_tolerance for _, _, worst in self.flux.values())
            and all(abs(ratio - 1) <= noise_tolerance for _, ratio, _ in self.noise.values())
        )


def compare(before, after):
    """Compare two runs, target by target.

    Parameters
    ----------
    before, after : paths of TODO-files; only read

    Returns
    -------
    Comparison
    """
    first, second = _by_target(before), _by_target(after)
    common = [key for key in first if key in second]
    changes = {}
    for key in common:
        pair = _status(first[key]), _status(second[key])
        if pair[0] != pair[1]:
            changes.setdefault(pair, []).append(key)
    rows = [(key, first[key], second[key]) for key in common]
    flux = _ratios(rows, "mean_flux")
    worst = sorted(flux, key=lambda item: -abs(item[2] - 1))[:20]
    return Comparison(
        gained=[key for key in second if key not in first],
        lost=[key for key in first if key not in second],
        changes=changes,
        flux=_by_magnitude(flux),
        noise=_by_magnitude(_ratios(rows, "rms_hour")),
        seconds=(_total(first), _total(second)),
        worst=[(key, ratio) for key, _, ratio in worst if ratio != 1],
    )


def _by_target(path):
    table = read_results(path)
    return {tuple(_plain(row[name]) for name in IDENTITY): row for row in table}


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _status(row):
    value = row["status"]
    if value is np.ma.masked or not np.isfinite(float(value)):
        return "to do"
    return STATUS(int(value)).name


def _ratios(rows, name):
    """(target, magnitude, after / before) of the targets for which both are known."""
    ratios = []
    for key, before, after in rows:
        old, new = float(before[name]), float(after[name])
        if np.isfinite(old) and np.isfinite(new) and old != 0:
            ratios.append((key, float(before["tmag"]), new / old))
    return ratios


def _by_magnitude(ratios):
    groups = {}
    for _, tmag, ratio in ratios:
        groups.setdefault(int(np.floor(tmag)) if np.isfinite(tmag) else None, []).append(ratio)
    return {
        magnitude: (
            len(values),
            float(np.median(values)),
            float(np.max(np.abs(np.array(values) - 1))),
        )
        for magnitude, values in sorted(groups.items(), key=lambda item: (item[0] is None, item[0]))
    }


def _total(rows):
    seconds = [float(row["elaptime"]) for row in rows.values()]
    return float(np.nansum(seconds)) if seconds else 0.0
