"""Make a TODO-file: find the targets, apply the template, sort, write."""

import logging
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..errors import WrongUseError
from ..pixels.find import write_index
from ..taskmanager.create import create_todo
from .pixelfiles import targets_of_folder
from .table import targets_of_table
from .targets import targets_of_cubes
from .template import load_template

log = logging.getLogger(__name__)

TODO_NAME = "todo.sqlite"
# full-frame targets this bright have no useful aperture
HALO_TMAG = 2.0
IDENTITY = ("starid", "sector", "camera", "ccd", "cadence", "datasource")


@dataclass(frozen=True)
class Made:
    """What went into a TODO-file."""

    path: Path
    rows: list  # of dicts, brightest first
    damaged: list  # messages about files that will end as ERROR
    passed_over: dict  # other files: what -> how many
    left_out: int  # targets that the template does not want
    duplicates: int
    warnings: tuple = ()

    def summary(self):
        """The same as numbers, for people and for JSON."""
        kinds = Counter(
            "secondary" if row["datasource"].startswith("tpf:") else row["datasource"]
            for row in self.rows
        )
        return {
            "todo_file": str(self.path),
            "targets": len(self.rows),
            "by_datasource": dict(sorted(kinds.items())),
            "by_method": dict(
                sorted(
                    Counter(row["method"] or "chosen by the program" for row in self.rows).items()
                )
            ),
            "sectors": sorted({row["sector"] for row in self.rows}),
            "cadences": sorted({row["cadence"] for row in self.rows}),
            "without_magnitude": sum(row["tmag"] is None for row in self.rows),
            "damaged_files": self.damaged,
            "left_out_by_template": self.left_out,
            "duplicates_dropped": self.duplicates,
            "warnings": list(self.warnings),
            "other_files": dict(sorted(self.passed_over.items())),
        }


def make_todo(template, folder, *, table=None, overwrite=False, dry_run=False, progress=iter):
    """Make ``todo.sqlite`` in a folder.

    Parameters
    ----------
    template : path or name of a template
    folder : the input folder
    table : table file, instead of the one that the template names
    overwrite : bool, replace an existing TODO-file, and with it all results that it holds
    dry_run : bool, find out what would be written, and write nothing
    progress : function that wraps the sequence of files to look into

    Returns
    -------
    Made

    Raises
    ------
    WrongUseError : the folder is not there, holds nothing to do or a TODO-file already; a template
        or a catalogue cannot be used
    """
    template, folder = load_template(template), Path(folder)
    path = folder / TODO_NAME
    if table is not None and template.source != "table":
        raise WrongUseError(
            f"--table {table}: the template has source = {template.source!r}, which reads no "
            f"table; "
            "expected the template table, or one with source = 'table'"
        )
    if not folder.is_dir():
        raise WrongUseError(f"{folder}: no such folder; expected the folder with the data")
    if path.exists() and not (overwrite or dry_run):
        raise WrongUseError(
            f"{path}: exists already; --overwrite replaces it, and with it the results it holds"
        )
    if template.source == "tpf":
        found = targets_of_folder(folder, template, progress=progress)
    elif template.source == "ffi":
        found = targets_of_cubes(folder, template, progress=progress)
    else:
        found = targets_of_table(folder, template, table=table)
    rows, left_out, duplicates = arrange(found.rows, template)
    if not rows:
        raise WrongUseError(
            f"{folder}: none of the {len(found.rows)} targets that were found is wanted by the "
            "template"
        )
    if not dry_run:
        create_todo(path, rows)
        if found.files:
            write_index(
                folder, [(f.starid, f.sector, f.cadence, f.path.absolute()) for f in found.files]
            )
    return Made(
        path,
        rows,
        found.damaged,
        dict(found.passed_over),
        left_out,
        duplicates,
        tuple(found.warnings),
    )


def arrange(rows, template):
    """Apply the template's rules, drop duplicates, and sort by magnitude; stars of unknown
    magnitude come last.

    Returns
    -------
    rows : list of dicts with the columns of ``todolist``, in the order of their priority
    left_out, duplicates : int, how many rows were dropped
    """
    wanted = [row for row in rows if template.keeps(row)]
    unique = list({tuple(row[name] for name in IDENTITY): row for row in reversed(wanted)}.values())
    unique.sort(
        key=lambda row: (
            math.inf if row["tmag"] is None else row["tmag"],
            *(row[name] for name in IDENTITY),
        )
    )
    for row in unique:
        row["method"] = template.method_for(row) or row.get("method") or _usual_method(row)
    unknown = sum(row["tmag"] is None for row in unique)
    if unknown:
        log.warning(
            "%d targets have no magnitude, neither in their file nor in the catalogue; they come "
            "last",
            unknown,
        )
    return unique, len(rows) - len(wanted), len(wanted) - len(unique)


def _usual_method(row):
    """What a target gets that has no method: None, the program chooses when it sees the
    pixels.
    """
    bright = row["tmag"] is not None and row["tmag"] <= HALO_TMAG
    return "halo" if row["datasource"] == "ffi" and bright else None
