"""What is simulated: settings with their ranges, per mission; and where it may be written."""

import re
from dataclasses import dataclass

from ..catalog.tables import read_table
from ..constants import MISSIONS
from ..errors import SettingsError, WrongUseError
from .detector import DETECTORS
from .tpffile import KEPLER_MODULES

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
