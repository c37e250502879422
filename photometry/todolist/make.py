"""Make a TODO-file: read the template, find the targets, apply it, sort, write.

Templates are TOML files that say which targets go into a TODO-file, and how each is measured.
"""

import logging
import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import SettingsError, WrongUseError
from ..pixels.find import write_index
from ..taskmanager.create import create_todo
from .pixelfiles import targets_of_folder
from .targets import targets_of_cubes, targets_of_table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("templates")
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


# --- templates


class _Strict(BaseModel):
    """Unknown keys and values of the wrong kind are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=False
    )


class Condition(_Strict):
    """Which targets a rule is for: those that meet all that is said."""

    starid: list[int] | None = Field(None, description="only these stars")
    datasource: str | None = Field(
        None,
        pattern="^(ffi|tpf|secondary)$",
        description="only 'ffi', 'tpf' or 'secondary' targets",
    )
    sector: list[int] | None = Field(None, description="only these sectors")
    camera: list[int] | None = Field(None, description="only these cameras")
    ccd: list[int] | None = Field(None, description="only these CCDs")
    cadence: list[int] | None = Field(None, description="only these cadences, in seconds")
    tmag_min: float | None = Field(None, description="only stars this faint or fainter")
    tmag_max: float | None = Field(None, description="only stars this bright or brighter")

    def met_by(self, row):
        """Whether a row of the TODO-file meets the condition. A star of unknown magnitude meets no
        limit on it.
        """
        for name in ("starid", "sector", "camera", "ccd", "cadence"):
            accepted = getattr(self, name)
            if accepted is not None and row[name] not in accepted:
                return False
        kind = "secondary" if row["datasource"].startswith("tpf:") else row["datasource"]
        if self.datasource is not None and kind != self.datasource:
            return False
        if self.tmag_min is None and self.tmag_max is None:
            return True
        tmag = row["tmag"]
        return (
            tmag is not None
            and (self.tmag_min is None or tmag >= self.tmag_min)
            and (self.tmag_max is None or tmag <= self.tmag_max)
        )


class MethodRule(Condition):
    """``[[method]]``: how the targets that meet the condition are measured."""

    use: str = Field(description="name of the method")

    @field_validator("use")
    @classmethod
    def _known(cls, name):
        from ..methods import get_method

        try:
            get_method(name)
        except SettingsError as error:
            raise ValueError(str(error).partition(": ")[2] or str(error)) from None
        return name


class TableSource(_Strict):
    """``[table]``: where the table is, and what its columns are called."""

    file: str | None = Field(None, description="the table, relative to the input folder")
    columns: dict[str, str] = Field(default_factory=dict, description="our name = the table's name")
    defaults: dict[str, int | float | str] = Field(
        default_factory=dict, description="values of columns that the table lacks"
    )


class Template(_Strict):
    """All that a template can say."""

    source: str = Field(
        pattern="^(tpf|ffi|table)$",
        description="'tpf': target pixel files; 'ffi': image cubes; 'table': a table",
    )
    description: str = ""
    tmag_min: float | None = Field(None, description="leave brighter stars out")
    tmag_max: float | None = Field(None, description="leave fainter stars out")
    secondaries: bool = Field(
        True,
        description="tpf: also take catalogue stars that fall on a stamp made for another star",
    )
    faint_limit: float = Field(15.0, description="faintest magnitude of stars from the catalogue")
    exclude: list[Condition] = Field(default_factory=list, description="leave these targets out")
    method: list[MethodRule] = Field(
        default_factory=list, description="the first rule that fits a target names its method"
    )
    table: TableSource = Field(default_factory=TableSource)

    @model_validator(mode="after")
    def _limits(self):
        if (
            self.tmag_min is not None
            and self.tmag_max is not None
            and self.tmag_min > self.tmag_max
        ):
            raise ValueError(
                f"tmag_min={self.tmag_min} is above tmag_max={self.tmag_max}: no star would be left"
            )
        return self

    def method_for(self, row):
        """The method that the template names for a row, or None: the program chooses."""
        return next((rule.use for rule in self.method if rule.met_by(row)), None)

    def keeps(self, row):
        """Whether a row stays in the list. A star of unknown magnitude stays: leaving it out would
        hide it.
        """
        tmag = row["tmag"]
        too_bright = tmag is not None and self.tmag_min is not None and tmag < self.tmag_min
        too_faint = tmag is not None and self.tmag_max is not None and tmag > self.tmag_max
        return not (too_bright or too_faint or any(rule.met_by(row) for rule in self.exclude))


def load_template(name):
    """Read and check a template.

    Parameters
    ----------
    name : path of a TOML file, or the name of a template that comes with the program, e.g. 'tpf'

    Raises
    ------
    WrongUseError : there is none of that name, it is not TOML, or it says something that is not
        understood
    """
    path = _find(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path}: not TOML ({error})") from error
    try:
        return Template.model_validate(content)
    except ValidationError as error:
        findings = sorted(
            error.errors(), key=lambda finding: finding["type"] != "extra_forbidden"
        )  # a misspelt key explains a missing one
        raise WrongUseError(f"{path}: {_message(findings[0])}") from None


def shipped_templates():
    """Names of the templates that come with the program."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _find(name):
    path = Path(name)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{path.name.removesuffix('.toml')}.toml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    raise WrongUseError(
        f"{name}: no such template; expected the path of a TOML file or one of "
        f"{', '.join(shipped_templates())}"
    )


def _message(error):
    """One of pydantic's findings as the key, what was found, and what is accepted."""
    key = _key(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; accepted here: {', '.join(_accepted(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"key {key} is missing; it must be given"
    if error["type"] == "string_pattern_mismatch":
        choices = error["ctx"]["pattern"].strip("^$()").replace("|", "', '")
        return f"{key} = {error['input']!r}: expected one of '{choices}'"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "value_error":
        return f"{key} = {error['input']!r}: {message}" if key else message
    return f"{key} = {error['input']!r}: expected {message}"


def _key(location):
    """('method', 0, 'tmag_max') -> 'method[1].tmag_max', counted as a person counts."""
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _accepted(location):
    """The keys that are accepted at one level of the template."""
    models = {"method": MethodRule, "exclude": Condition, "table": TableSource}
    return sorted((models[location[0]] if location else Template).model_fields)
