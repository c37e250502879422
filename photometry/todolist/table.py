"""The targets that a table lists: CSV, ECSV, FITS, VOTable or Parquet."""

import re
from pathlib import Path

import numpy as np

from ..catalog.tables import NAMES, read_table
from ..errors import WrongUseError
from .targets import Found, cbv_area
from .template import DATASOURCE

COLUMNS = (
    "starid",
    "sector",
    "camera",
    "ccd",
    "cadence",
    "datasource",
    "tmag",
    "method",
    "cbv_area",
)
WHOLE = ("starid", "sector", "camera", "ccd", "cadence", "cbv_area")
REQUIRED = ("starid", "sector", "camera", "ccd", "tmag")
OTHER_NAMES = {
    "starid": NAMES["starid"],
    "tmag": NAMES["tmag"],
    "sector": ("quarter", "campaign"),
    "camera": ("module",),
    "ccd": ("output",),
}
TPF_CADENCE = 120  # s
FFI_CADENCES = ((27, 1800), (56, 600))  # s, before which sector; then 200


def targets_of_table(folder, template, *, table=None):
    """Read the targets of a table.

    Parameters
    ----------
    folder : pathlib.Path, from which the path in the template is seen
    template : Template
    table : path that counts instead of the one in the template

    Raises
    ------
    WrongUseError : no table is named, it cannot be read, lacks a column (also one that the template
        names), or holds a value that cannot be
    """
    path = _path(folder, template, table)
    content = read_table(path, error=WrongUseError)
    source = template.table
    names = _names(content.colnames, source, path)
    columns = {ours: _column(content[theirs], ours, path) for ours, theirs in names.items()}
    missing = [name for name in REQUIRED if name not in columns and name not in source.defaults]
    if missing:
        raise WrongUseError(
            f"{path}: no column {', '.join(missing)} (it has {', '.join(content.colnames)}); name "
            "the columns in [table.columns] of the "
            "template, or give a value for all rows in [table.defaults]"
        )
    columns = {
        name: columns.get(name, [source.defaults.get(name)] * len(content)) for name in COLUMNS
    }
    rows = [
        dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return Found(rows=[_completed(row, number, path) for number, row in enumerate(rows, 1)])


def _path(folder, template, table):
    if table is not None:
        return Path(table)
    if template.table.file is None:
        raise WrongUseError(
            "the template names no table: write file = '…' into its section [table], or say "
            "--table FILE"
        )
    return folder / template.table.file


def _names(found, source, path):
    """Which column of the table is which of ours: as the template says, else by name."""
    for ours in (*source.columns, *source.defaults):
        if ours not in COLUMNS:
            raise WrongUseError(
                f"[table]: {ours!r} is no column of a TODO-file; accepted are {', '.join(COLUMNS)}"
            )
    for ours, theirs in source.columns.items():
        if theirs not in found:
            raise WrongUseError(
                f"[table.columns]: {ours} = {theirs!r}, but {path} has {', '.join(found)}"
            )
    lower = {name.lower(): name for name in reversed(found)}
    by_name = {}
    for ours in COLUMNS:
        known = next(
            (lower[name] for name in (ours, *OTHER_NAMES.get(ours, ())) if name in lower), None
        )
        if known is not None:
            by_name[ours] = known
    return by_name | source.columns


def _column(column, ours, path):
    """Values as SQLite stores them: int, float, str; None where there is none."""
    values = np.ma.asarray(column).tolist()  # masked values become None
    convert = _whole if ours in WHOLE else float if ours == "tmag" else _text
    converted = []
    for number, value in enumerate(values, 1):
        try:
            converted.append(None if value is None or value != value else convert(value))
        except ValueError:
            kind = "a whole number" if ours in WHOLE else "a number"
            raise WrongUseError(
                f"{path}: row {number}, column {column.name}: {str(value)!r} is not {kind}"
            ) from None
    return converted


def _whole(value):
    if isinstance(value, str | bytes):
        value = re.sub(r"^\s*(TIC|KIC|EPIC)\s*", "", _text(value) or "", flags=re.IGNORECASE)
        return int(value)
    if value != int(value):
        raise ValueError(value)
    return int(value)


def _text(value):
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.strip() or None


def _completed(row, number, path):
    """Check one row and fill in what follows from the rest."""
    row["datasource"] = row["datasource"] or "ffi"
    if not re.match(DATASOURCE, row["datasource"]):
        raise WrongUseError(
            f"{path}: row {number}: datasource {row['datasource']!r} is not 'ffi', 'tpf' or "
            "'tpf:STARID'"
        )
    for name in ("starid", "sector", "camera", "ccd"):
        if row[name] is None:
            raise WrongUseError(f"{path}: row {number} has no {name}")
    if row["cadence"] is None:
        row["cadence"] = TPF_CADENCE if row["datasource"] != "ffi" else _ffi_cadence(row["sector"])
    if row["cbv_area"] is None:
        row["cbv_area"] = cbv_area(row["camera"], row["ccd"])
    return row


def _ffi_cadence(sector):
    return next((cadence for before, cadence in FFI_CADENCES if sector < before), 200)
