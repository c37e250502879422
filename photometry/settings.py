"""Typed settings. Unknown names and values outside their range are refused, by name.

`PhotometrySettings` holds what changes a light curve; settings of a run (workers, time limits) do not belong in it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import SettingsError


class Section(BaseModel):
    """Base of all sections: fixed after construction, no unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApertureSettings(Section):
    """Method ``aperture``: how the pixel mask is made."""

    mask: Literal["own", "pipeline"] = Field(
        "own", description="our own pixel mask, or the one in the target pixel file"
    )
    threshold: float = Field(0.8, gt=0, description="cut above the mode of the sum image, in units of its MAD")
    min_pixels: int = Field(4, ge=1, description="smaller clusters of pixels are no mask")
    saturation_limit: float = Field(7.0, description="mag; masks of brighter stars follow saturated columns")


class OutputSettings(Section):
    """The light-curve file."""

    data_release: int = Field(0, ge=0, le=99, description="number after -dr in the file name")
    version: int = Field(1, ge=0, le=99, description="number after -v in the file name")
    compress_level: int = Field(1, ge=0, le=9, description="of gzip; 0 is fastest and largest")


class PhotometrySettings(Section):
    """All settings that change a light curve."""

    good_quality: int | None = Field(
        None, ge=0, description="times with one of these quality bits are not good; none: flags.DEFAULT_BITMASK"
    )
    faint_limit: float = Field(18.0, description="mag; fainter stars of the catalogue are not looked at")
    aperture: ApertureSettings = ApertureSettings()
    output: OutputSettings = OutputSettings()


def photometry_settings(values=None):
    """Check settings given as nested dicts.

    Parameters
    ----------
    values : dict, PhotometrySettings or None

    Returns
    -------
    PhotometrySettings

    Raises
    ------
    SettingsError : one sentence per setting that is wrong: its name, what was found, what is accepted
    """
    if isinstance(values, PhotometrySettings):
        return values
    try:
        return PhotometrySettings(**(values or {}))
    except ValidationError as error:
        raise SettingsError("; ".join(map(_sentence, error.errors()))) from None


def _sentence(problem):
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return (
            f"unknown setting {name!r} (value {problem['input']!r}); known are {', '.join(_known(problem['loc'][:-1]))}"
        )
    return f"{name}={problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _known(sections):
    model = PhotometrySettings
    for section in sections:
        model = model.model_fields[section].annotation
    return model.model_fields
