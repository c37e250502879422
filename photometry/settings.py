"""Typed settings: one way for all rooms, for methods of other packages and for task types.

A `Section` declares names, types, ranges and defaults. `PhotometrySettings` holds what changes a
light curve, `RunSettings` how a run is carried out, `Settings` both, and the sections that others
registered. Unknown names and values outside their range are refused with the name, where it was
set, and the nearest name that exists.
"""

import difflib
import functools
import hashlib
import json
import os
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from .errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENVIRONMENT = (
    "PHOTOMETRY_"  # followed by the levels of a setting's name, with two underscores between them
)
# section -> entry points whose ``settings`` are sections in it
PLUGINS = {"photometry": "photometry.methods"}
# rooms with sections of their own, which `photometry.ROOM.settings` registers when it is imported
ROOMS = ("chains", "events")


class Section(BaseModel):
    """Base of all sections: fixed after construction, no unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApertureSettings(Section):
    """Method ``aperture``: how the pixel mask is made."""

    mask: Literal["own", "pipeline"] = Field(
        "own", description="our own pixel mask, or the one in the target pixel file"
    )
    threshold: float = Field(
        0.8, gt=0, description="cut above the mode of the sum image, in units of its MAD"
    )
    min_pixels: int = Field(4, ge=1, description="smaller clusters of pixels are no mask")
    saturation_limit: float | None = Field(
        None,
        description=(
            "mag; masks of brighter stars follow saturated columns; none: 7 for TESS, 11.5 for "
            "Kepler"
        ),
    )


class PsfSettings(Section):
    """Methods ``psf`` and ``linpsf``."""

    prf: str | None = Field(
        None,
        description=(
            "folder with the mission's PRF files; none: an analytic PRF, fitted to the stars of "
            "the stamp"
        ),
    )


class OutputSettings(Section):
    """The light-curve file."""

    data_release: int = Field(0, ge=0, le=99, description="number after -dr in the file name")
    version: int = Field(1, ge=0, le=99, description="number after -v in the file name")
    compress_level: int = Field(1, ge=0, le=9, description="of gzip; 0 is fastest and largest")


class PhotometrySettings(Section):
    """All settings that change a light curve."""

    good_quality: int | None = Field(
        None,
        ge=0,
        description=(
            "times with one of these quality bits are not good; none: flags.DEFAULT_BITMASK"
        ),
    )
    faint_limit: float = Field(
        18.0, description="mag; fainter stars of the catalogue are not looked at"
    )
    aperture: ApertureSettings = ApertureSettings()
    psf: PsfSettings = PsfSettings()
    output: OutputSettings = OutputSettings()


class RunSettings(Section):
    """How a run is carried out; nothing in it changes a light curve."""

    task_timeout: float | None = Field(
        3600.0, gt=0, description="s; time limit of one task, none: no limit"
    )
    task_timeouts: dict[str, float] = Field(
        {}, description="s; time limits of single methods, by name"
    )
    max_attempts: int = Field(
        3, ge=1, description="a task that took its worker down this often is set aside"
    )
    isolate: bool = Field(
        False, description="run each task in a child process, so that a crash costs only that task"
    )
    recycle: int | None = Field(
        None, ge=1, description="replace the process that does the tasks after so many"
    )
    grace: float = Field(
        60.0, ge=0, description="s that running tasks get to end after a request to stop"
    )
    time_limit: str | None = Field(
        None, description="the run is over by then: a duration, or 'auto'"
    )
    closing_time: float = Field(
        60.0, ge=0, description="s kept free before the time limit, for saving and closing"
    )
    durability: Literal["process", "second", "record"] = Field(
        "process", description="what a saved result survives"
    )
    in_memory: bool = Field(
        True, description="work on a copy of the TODO-file in memory, with a journal beside it"
    )
    backup_interval: int | None = Field(
        10_000, ge=1, description="results after which the TODO-file on disk is renewed"
    )
    summary_interval: int = Field(
        200, ge=1, description="results after which the summary is renewed"
    )


class Settings(Section):
    """All settings of a run."""

    photometry: PhotometrySettings = PhotometrySettings()
    run: RunSettings = RunSettings()


_registered = {}  # dotted name of a section -> its class


def register_section(name, section):
    """Make a section known that is not declared here: that of a method, of a task type, of another
    room.

    Parameters
    ----------
    name : str, the section's name in a settings file, for example ``'photometry.mine'``
    section : subclass of `Section`

    Raises
    ------
    SettingsError : ``section`` is no `Section`, or the name is one of the program's own
    """
    if not (isinstance(section, type) and issubclass(section, Section)):
        raise SettingsError(
            f"settings of {name!r}: {section!r} found, expected a subclass of "
            "photometry.settings.Section"
        )
    parent, _, last = name.rpartition(".")
    base = {"": Settings, "photometry": PhotometrySettings}.get(parent) or _registered.get(parent)
    if base is not None and last in base.model_fields:
        raise SettingsError(f"section [{name}] is one of the program's own; choose another name")
    _registered[name] = section


def load_settings(path=None, overrides=None):
    """Settings of a run: defaults < settings file < environment < ``overrides``.

    ``PHOTOMETRY_RUN__GRACE=30`` in the environment is ``grace = 30`` in the section ``[run]``, and
    ``PHOTOMETRY_PHOTOMETRY__APERTURE__MASK=own`` is ``mask = "own"`` in ``[photometry.aperture]``.

    Parameters
    ----------
    path : settings file (TOML) or None
    overrides : nested dict, from the command line

    Returns
    -------
    Settings

    Raises
    ------
    SettingsError : the file is missing or no TOML, or one message per setting that is wrong, with
        where it was set
    """
    sources = [
        (str(path), read_toml(path) if path is not None else {}),
        (ENVIRONMENT, _environment(os.environ)),
        ("command line", overrides or {}),
    ]
    return check(Settings, *sources)


def photometry_settings(values=None, changes=None):
    """Check settings given as nested dicts.

    Parameters
    ----------
    values : nested dict, PhotometrySettings or None
    changes : nested dict or None, goes before ``values``

    Returns
    -------
    PhotometrySettings

    Raises
    ------
    SettingsError : one message per setting that is wrong: its name, what was found, what is
        accepted
    """
    if isinstance(values, PhotometrySettings):
        registered = frozenset(_registered.items())
        if not changes and type(values) is _extended(PhotometrySettings, "photometry", registered):
            return values
        values = values.model_dump()
    return check(PhotometrySettings, ("", values or {}), ("", changes or {}), name="photometry")


def check(model, *sources, name=""):
    """Values of a section, from several sources.

    Parameters
    ----------
    model : subclass of `Section`
    sources : (str, nested dict) tuples, the name of a source and its values, from the weakest to
        the strongest
    name : str, the section's own name, under which others may have registered sections in it; None:
        settings of a file of their own, in which others register none

    Returns
    -------
    object of ``model``, with the registered sections

    Raises
    ------
    SettingsError : one message per value that is wrong: where it was set, its name, what was found,
        what is accepted
    """
    values = functools.reduce(_merged, (values for _, values in sources), {})
    if name is not None:
        _register_installed(values, name)
        model = _extended(model, name, frozenset(_registered.items()))
    try:
        return model(**values)
    except ValidationError as error:
        messages = [_message(model, sources, problem) for problem in error.errors()]
    raise SettingsError("; ".join(messages))


def read_toml(path):
    """The content of a settings file: nested dict.

    Raises
    ------
    SettingsError : it is missing, cannot be read, or is no TOML
    """
    try:
        return tomllib.loads(Path(path).read_bytes().decode())
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such settings file") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; expected TOML") from None
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise SettingsError(f"{path}: is not UTF-8 text ({byte}); expected TOML") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def settings_hash(settings):
    """Twelve hexadecimal digits that are equal for equal settings."""
    text = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def did_you_mean(name, names):
    """`` did you mean 'grace'?`` for the nearest of some names; empty where none is near."""
    nearest = difflib.get_close_matches(name, names, n=1)
    return f" did you mean {nearest[0]!r}?" if nearest else ""


def _environment(environ):
    """Settings in the environment, as a nested dict. Other variables with the same beginning have
    no two underscores.
    """
    values = {}
    for variable, text in environ.items():
        if not variable.upper().startswith(ENVIRONMENT) or "__" not in variable:
            continue
        *levels, last = variable[len(ENVIRONMENT) :].lower().split("__")
        section = values
        for level in levels:
            section = section.setdefault(level, {})
            if not isinstance(section, dict):
                raise SettingsError(f"{variable}: {level!r} is set as a whole already")
        if text in ("null", "none"):
            section[last] = None
            continue
        try:  # lists and tables are JSON; pydantic makes numbers and booleans of text
            section[last] = json.loads(text) if text.startswith(("{", "[")) else text
        except ValueError as error:
            raise SettingsError(f"{variable}={text!r}: is not JSON: {error}") from None
    return values


def _merged(values, changes):
    both = dict(values)
    for name, value in changes.items():
        old = both.get(name)
        both[name] = (
            _merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
        )
    return both


def _register_installed(values, name):
    """Register the sections of rooms and of installed methods that some values are for."""
    for room in () if name else set(values).intersection(ROOMS) - set(_registered):
        import_module(f".{room}.settings", __package__)
    for section, group in PLUGINS.items():
        inside = values if section == name else values.get(section)
        inside = inside if isinstance(inside, dict) else {}
        new = {name for name in inside if f"{section}.{name}" not in _registered}
        new -= set(PhotometrySettings.model_fields)
        for point in entry_points(group=group) if new else ():
            if point.name in new and (declared := getattr(point.load(), "settings", None)):
                register_section(f"{section}.{point.name}", declared)


@functools.lru_cache
def _extended(model, name, registered):
    """The class of a section with the sections that are registered in it."""
    sections = {
        field: declared.annotation
        for field, declared in model.model_fields.items()
        if isinstance(declared.annotation, type) and issubclass(declared.annotation, Section)
    }
    for dotted, section in _registered.items():  # as `registered`, in their order
        parent, _, last = dotted.rpartition(".")
        if parent == name:
            sections[last] = section
    fields = {}
    for last, section in sections.items():
        extended = _extended(section, f"{name}.{last}".lstrip("."), registered)
        if extended is not section or last not in model.model_fields:
            required = any(field.is_required() for field in extended.model_fields.values())
            fields[last] = (extended, ... if required else extended())
    if not fields:
        return model
    made = create_model(model.__name__, __base__=model, **fields)
    made.__reduce__ = lambda self: (_restore, (model, name, registered, self.model_dump()))
    return made


def _restore(model, name, registered, values):
    """What `pickle` calls for a section with registered sections: its class is made anew in another
    process.
    """
    _registered.update(registered)
    return _extended(model, name, frozenset(_registered.items()))(**values)


def _message(model, sources, problem):
    """One of pydantic's problems: where the value was set, its name, what was found, what is
    accepted.
    """
    name = ".".join(map(str, problem["loc"]))
    source = next(
        (label for label, values in reversed(sources) if _has(values, problem["loc"])), ""
    )
    if source == ENVIRONMENT:
        start = ENVIRONMENT + "__".join(map(str, problem["loc"])).upper()
        source = next(variable for variable in os.environ if variable.upper().startswith(start))
    where = f"{source}: " if source else ""
    if problem["type"] == "extra_forbidden":
        *sections, last = problem["loc"]
        for section in sections:
            model = model.model_fields[section].annotation
        names = list(model.model_fields)
        hint = did_you_mean(str(last), names)
        return (
            f"{where}unknown setting {name!r} (value {problem['input']!r});{hint} known are "
            f"{', '.join(names)}"
        )
    return f"{where}{name}={problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _has(values, levels):
    for level in levels:
        if not isinstance(values, dict) or level not in values:
            return False
        values = values[level]
    return True
