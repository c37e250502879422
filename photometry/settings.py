"""Typed settings. Unknown names and values outside their range are refused, by name.

`PhotometrySettings` holds what changes a light curve, `RunSettings` how a run is carried out, `Settings` both.
"""

import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, TomlConfigSettingsSource

from .errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
        description="mag; masks of brighter stars follow saturated columns; none: 7 for TESS, 11.5 for Kepler",
    )


class PsfSettings(Section):
    """Methods ``psf`` and ``linpsf``."""

    prf: str | None = Field(
        None,
        description="folder with the mission's PRF files; none: an analytic PRF, fitted to the stars of the stamp",
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
        description="times with one of these quality bits are not good; none: flags.DEFAULT_BITMASK",
    )
    faint_limit: float = Field(
        18.0, description="mag; fainter stars of the catalogue are not looked at"
    )
    aperture: ApertureSettings = ApertureSettings()
    psf: PsfSettings = PsfSettings()
    output: OutputSettings = OutputSettings()


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
    SettingsError : one sentence per setting that is wrong: its name, what was found, what is accepted
    """
    if isinstance(values, PhotometrySettings) and not changes:
        return values
    if isinstance(values, PhotometrySettings):
        values = values.model_dump()
    return _checked(PhotometrySettings, _merged(values or {}, changes or {}))


def _merged(values, changes):
    both = dict(values)
    for name, value in changes.items():
        both[name] = (
            _merged(both[name], value)
            if isinstance(value, dict) and isinstance(both.get(name), dict)
            else value
        )
    return both


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


class Settings(BaseSettings):
    """All settings. From the environment: ``PHOTOMETRY_RUN__GRACE=30``, ``PHOTOMETRY_PHOTOMETRY__APERTURE__MASK=own``."""

    model_config = SettingsConfigDict(
        env_prefix="PHOTOMETRY_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    photometry: PhotometrySettings = PhotometrySettings()
    run: RunSettings = RunSettings()


def load_settings(path=None, overrides=None):
    """Settings of a run: defaults < settings file < environment < ``overrides``.

    Parameters
    ----------
    path : settings file (TOML) or None
    overrides : nested dict, what the command line says

    Returns
    -------
    Settings

    Raises
    ------
    SettingsError : the file is missing or no TOML, or one sentence per setting that is wrong
    """

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **others):
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    if path is not None and not Path(path).is_file():
        raise SettingsError(f"{path}: there is no such settings file")
    try:
        return _checked(FromFile, overrides or {})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}" if path else str(error)) from None


def _checked(model, values):
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_sentence(model, problem) for problem in error.errors())
        ) from None


def _sentence(model, problem):
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_known(model, problem["loc"][:-1]))
        return f"unknown setting {name!r} (value {problem['input']!r}); known are {known}"
    return f"{name}={problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _known(model, sections):
    for section in sections:
        model = model.model_fields[section].annotation
    return model.model_fields
