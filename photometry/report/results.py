"""Results of runs: as tables for other programs (`results_table`, `lightcurve_table`), and what
differs between two of them (`compare`).

Tables are Parquet, ECSV or CSV; units and descriptions go along where the format has room for them
(Parquet and ECSV do).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..constants import MISSIONS
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..status import STATUS
from ..taskmanager.schema import star_label
from ..taskmanager.view import read_results

FORMATS = {".parquet": "parquet", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}
UNITS = {
    "cadence": "s",
    "tmag": "mag",
    "elaptime": "s",
    "worker_wait_time": "s",
    "mean_flux": "electron / s",
    "pos_row": "pixel",
    "pos_column": "pixel",
    "mask_size": "pixel",
    "edge_flux": "electron / s",
    "stamp_width": "pixel",
    "stamp_height": "pixel",
}
IDENTITY = ("starid", "sector", "camera", "ccd", "cadence", "datasource")


def results_table(todo_file):
    """The targets of a TODO-file with what became of them.

    Parameters
    ----------
    todo_file : path; only read

    Returns
    -------
    astropy Table, one row per target by priority: the columns of ``todolist`` and ``diagnostics``,
    with units, and ``label`` (TIC 25155310) and ``status_name``; what is not known is masked or NaN
    """
    table = read_results(todo_file)
    for name in table.colnames:
        if name in UNITS:
            table[name].unit = UNITS[name]
    numbers = np.ma.asarray(table["status"]).astype(float).filled(np.nan)
    table["status_name"] = [
        "to do" if np.isnan(number) else STATUS(int(number)).name for number in numbers
    ]
    table["label"] = [
        star_label(int(row["starid"]), str(row["datasource"]), int(row["cadence"])) for row in table
    ]
    return table


def lightcurve_table(paths):
    """Light curves of many files in one table.

    Parameters
    ----------
    paths : paths of light-curve files of ours

    Returns
    -------
    table : astropy Table, one row per time: ``starid``, ``time`` (d, BJD less ``time_reference`` of
        the table's metadata), ``flux``, ``flux_bkg`` (e-/s), ``flux_corr`` (relative),
        ``quality``, ``centroid_column``, ``centroid_row`` (pixels)
    failed : dict, path -> why it could not be read
    """
    from .plots import read_curve

    parts, failed, missions = [], {}, set()
    for path in paths:
        try:
            curve = read_curve(path)
        except (BadInputError, FileNotFoundError) as error:
            failed[str(path)] = str(error)
            continue
        missions.add(curve.mission)
        starid = curve.primary.get(MISSIONS[curve.mission].id_keyword)
        parts.append({
            "starid": np.full(len(curve.time), starid), "time": curve.time, "flux": curve.flux,
            "flux_corr": curve.corrected, "flux_bkg": curve.background, "quality": curve.quality,
            "centroid_column": curve.centroid[:, 0], "centroid_row": curve.centroid[:, 1],
        })  # fmt: skip
    if len({MISSIONS[name].time_reference for name in missions}) > 1:
        raise WrongUseError(
            f"light curves of {' and '.join(sorted(missions))} have no common time; export them "
            f"apart"
        )
    table = Table()
    for name in parts[0] if parts else ():
        table[name] = np.concatenate([part[name] for part in parts])
    units = {"time": "d", "flux": "electron / s", "flux_bkg": "electron / s",
             "centroid_column": "pixel", "centroid_row": "pixel"}  # fmt: skip
    for name in set(units) & set(table.colnames):
        table[name].unit = units[name]
    for mission in missions:
        table.meta["time_reference"] = MISSIONS[mission].time_reference
    return table, failed


def write_table(table, path, *, rows_per_file=None):
    """Write a table, in several files where asked.

    Parameters
    ----------
    table : astropy Table
    path : path; its ending is the format: .parquet, .ecsv or .csv
    rows_per_file : int, or None for one file; parts are named NAME-0001.ecsv, NAME-0002.ecsv, …

    Returns
    -------
    list of Path
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise WrongUseError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    if rows_per_file is None:
        return [_write(table, path)]
    starts = range(0, max(len(table), 1), rows_per_file)
    return [
        _write(table[start : start + rows_per_file], path.with_stem(f"{path.stem}-{number:04d}"))
        for number, start in enumerate(starts, 1)
    ]


def _write(table, path):
    kind = FORMATS[path.suffix]
    try:
        with atomic_write(path) as part:
            table.write(part, format=kind, overwrite=True)
    except ImportError as error:
        raise WrongUseError(
            f"{path}: Parquet needs pyarrow: pip install 'photometry[parquet]'"
        ) from error
    return path


def read_table(paths):
    """Read back what `write_table` wrote: one table."""
    from astropy.table import vstack

    tables = [Table.read(path, format=FORMATS[Path(path).suffix]) for path in paths]
    return tables[0] if len(tables) == 1 else vstack(tables)


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
