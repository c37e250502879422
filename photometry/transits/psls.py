"""Light curves of PSLS, the PLATO Solar-like Light-curve Simulator (Samadi et al. 2019, A&A 624,
A117).

PSLS is GPL software and stays a program of its own: it is called, not imported, and only where the
user installed it (``pip install psls``). It makes star and noise; the transits are ours,
multiplied in, so that ``t0``, ``impact_parameter``, ``star_radius`` and ``eccentricity`` take
effect, which they do not in PSLS. ``nsr`` takes effect because the noise model is PSLS's ``User``
unless systematics are asked for.

PSLS comes without stellar models. Main-sequence stars oscillate with the modes of
`stars.Oscillations`, given to it as a table, unless ``stellar_model`` names a file of its own; red
giants with its universal pattern.
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import DAY
from ..errors import BadInputError, TargetError, WrongUseError
from ..lightcurve.lightcurve import LightcurveArbitraryRaster
from .stars import (
    MODES,
    Oscillations,
    check_star_specs,
    transit_specs_of,
    white_noise,
    with_transits,
)
from .synthesis import TransitSpecs, checked_keys, require

STAR_ID = 1
EXPOSURE = 22.0 / 25.0  # part of the cadence that PLATO integrates
TIMEOUT = 3600.0  # s


@dataclass(frozen=True)
class PslsSpecs:
    """What `synthesize_psls` takes; names and defaults of the EAS pipeline's task
    ``synthesis_psls``."""

    mode: str = "main_sequence"  # or 'red_giant'
    enable_transits: bool = True
    nsr: float = 73.0  # ppm in one hour, of one camera
    mask_updates: bool = False
    enable_systematics: bool = False
    enable_random_noise: bool = True
    number_camera_groups: int = 4
    number_cameras_per_group: int = 6
    duration: float = 730.0  # d
    t0: float = 1.0  # d, middle of the first transit
    star_radius: float = TransitSpecs.star_radius  # Jupiter radii
    planet_radius: float = 1.0  # Jupiter radii
    orbital_period: float = 365.0  # d
    semi_major_axis: float = 1.0  # AU
    orbital_angle: float | None = None  # deg
    impact_parameter: float | None = None  # stellar radii
    sampling_cadence: float = 25.0  # s, a multiple of 25
    # Not in the original:
    eccentricity: float = 0.0
    master_seed: int = 1
    mag: float = 10.0  # V
    stellar_model: str | None = None  # path of a .gsm file
    # path of one of PSLS's tables, needed with enable_systematics
    systematics_table: str | None = None

    @classmethod
    def from_dict(cls, specs):
        """From the ``specs`` of a task; refuses unknown keys and values outside their range."""
        return cls(**checked_keys(specs, cls))

    def __post_init__(self):
        check_star_specs(self)
        require(self, "mag", lambda value: True, "finite")
        if self.sampling_cadence % 25:
            raise WrongUseError(
                f"sampling_cadence={self.sampling_cadence!r}: PSLS takes multiples of 25 s"
            )
        if self.enable_systematics and not self.systematics_table:
            raise WrongUseError(
                "enable_systematics needs systematics_table, the path of one of the tables that "
                "PSLS's source package has"
            )

    def transits(self):
        """The transits, as `TransitSpecs`"""
        return transit_specs_of(self)


def psls_program():
    """Path of the program ``psls``, or None where it is not installed"""
    return shutil.which("psls") or shutil.which("psls.py")


def synthesize_psls(specs=None, *, program=None):
    """Make a light curve with PSLS and our transits.

    Parameters
    ----------
    specs : PslsSpecs, or dict of the same
    program : path of ``psls``, by default the one on the search path

    Returns
    -------
    LightcurveArbitraryRaster, from time 0 on; its metadata as of `synthesize_transits`

    Raises
    ------
    WrongUseError : PSLS is not installed, or a spec is wrong
    TargetError : PSLS failed; the message has its last words
    """
    specs = specs if isinstance(specs, PslsSpecs) else PslsSpecs.from_dict(specs or {})
    program = program or psls_program()
    if program is None:
        raise WrongUseError(
            "PSLS is not installed: pip install psls (GPL), or use synthesis_simple"
        )
    with tempfile.TemporaryDirectory(prefix="psls-") as folder:
        table = _run(Path(folder), specs, program)
    times = (table[:, 0] - table[0, 0]) / DAY
    inside = times < specs.duration
    sigma = white_noise(specs) if specs.enable_random_noise else 0.0
    lc = LightcurveArbitraryRaster(
        times[inside],
        1 + 1e-6 * table[inside, 1],
        np.full(inside.sum(), sigma),
        (table[inside, 2] != 0).astype(float),
    )
    return with_transits(lc, specs)


def _run(folder, specs, program):
    """Call PSLS in a folder of its own; returns its table: time [s], flux [ppm], flag"""
    config = psls_config(specs)
    if config["Star"]["ModelType"] == "text":
        np.savetxt(folder / config["Star"]["ModelName"], Oscillations(*MODES[specs.mode]).modes())
    (folder / "star.yaml").write_text(json.dumps(config))  # JSON is YAML
    try:
        done = subprocess.run(
            [program, "star.yaml"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"{program}: not ready after {TIMEOUT:.0f} s") from error
    output = folder / f"{STAR_ID:010d}.dat"
    if done.returncode or not output.is_file():
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise TargetError(
            f"{program} ended with {done.returncode} and without a light curve: "
            f"{said[-1] if said else 'it said nothing'}"
        )
    table = np.loadtxt(output, ndmin=2)
    if table.shape[1] != 3 or len(table) == 0:
        raise BadInputError(
            f"{program} wrote a table of shape {table.shape}; expected time, flux, flag"
        )
    return table


def psls_config(specs):
    """The configuration of PSLS 2.0 for `PslsSpecs`, as nested dict"""
    return {
        "Observation": {
            "QuarterDuration": [specs.duration + 1.0],
            "MasterSeed": int(specs.master_seed),
            "Gaps": {"Enable": 0, "Seed": 0},
        },
        "Instrument": _instrument(specs),
        "Star": _star(specs),
        "Oscillations": _oscillations(specs),
        "Activity": {
            "Enable": 0,
            "Sigma": 40.0,
            "Tau": 0.2,
            "Seed": 0,
            "Spot": {"Enable": 0, "Seed": 0},
            "Flare": {"Enable": 0, "Seed": 0},
        },
        "Granulation": {"Enable": 1, "Type": 1, "Seed": 0},
        "Transit": {"Enable": 0},
        "External": {"Enable": 0},
    }


def _instrument(specs):
    return {
        "Sampling": specs.sampling_cadence,
        "IntegrationTime": specs.sampling_cadence * EXPOSURE,
        "GroupID": list(range(1, int(specs.number_camera_groups) + 1)),
        "NCamera": int(specs.number_cameras_per_group),
        "TimeShift": 0.0,
        "RandomNoise": {
            "Enable": int(specs.enable_random_noise),
            "Type": "PLATO_SIMU" if specs.enable_systematics else "User",
            "NSR": float(specs.nsr),
        },
        "Systematics": {
            "Enable": int(specs.enable_systematics),
            "Table": specs.systematics_table or "",
            "Version": 2,
            "DriftLevel": "any",
            "Seed": 0,
            "MaskUpdate": int(specs.mask_updates),
        },
    }


def _star(specs):
    teff, logg = MODES[specs.mode]
    model = Path(specs.stellar_model) if specs.stellar_model else None
    own = {
        "ModelType": "UP" if specs.mode == "red_giant" else "text",
        "ModelDir": ".",
        "ModelName": "modes.txt",
    }
    theirs = (
        {"ModelType": "single", "ModelDir": str(model.parent.resolve()), "ModelName": model.name}
        if model
        else {}
    )
    return {
        "ID": STAR_ID,
        "Mag": float(specs.mag),
        "Teff": teff,
        "Logg": logg,
        "ES": "ms" if specs.mode == "main_sequence" else "rg",
        "SurfaceRotationPeriod": 0.0,
        "CoreRotationFreq": 0.0,
        "Inclination": 0.0,
        **own,
        **theirs,
    }


def _oscillations(specs):
    relations = Oscillations(*MODES[specs.mode])
    return {
        "Enable": 1,
        "numax": relations.numax,
        "delta_nu": relations.delta_nu,
        "DPI": -1.0,
        "q": 0.0,
        "SurfaceEffects": 0,
        "Seed": 0,
    }
