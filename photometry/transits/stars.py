"""Light curves of stars that vary: of PSLS, the PLATO Solar-like Light-curve Simulator (Samadi et
al. 2019, A&A 624, A117), and of a small stand-in with oscillations, granulation and white noise
from scaling relations.

The task of the stand-in has a name of its own, ``synthesis_simple``; it is never used silently in
the place of PSLS. Power spectrum of its star, by frequency nu, in ppm^2/muHz:

* granulation: two components of Kallinger et al. (2014, A&A 570, A41, model F and table 2);
* oscillations: a comb of modes of degree 0 to 2 under a Gaussian envelope; frequencies by the
  asymptotic relation, ``numax`` and ``delta_nu`` by the scaling relations of Kjeldsen & Bedding
  (1995, A&A 293, 87).

PSLS is GPL software and stays a program of its own: it is called, not imported, and only where the
user installed it (``pip install psls``). It makes star and noise; the transits are ours,
multiplied in, so that ``t0``, ``impact_parameter``, ``star_radius`` and ``eccentricity`` take
effect, which they do not in PSLS. ``nsr`` takes effect because the noise model is PSLS's ``User``
unless systematics are asked for.

PSLS comes without stellar models. Main-sequence stars oscillate with the modes of
`Oscillations`, given to it as a table, unless ``stellar_model`` names a file of its own; red
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
from .synthesis import (
    MODES,
    TransitSpecs,
    check_star_specs,
    checked_keys,
    require,
    sample_times,
    transit_specs_of,
    white_noise,
    whole,
    with_transits,
)

# muHz, muHz, K (Huber et al. 2011, ApJ 743, 143)
NUMAX_SUN, DELTA_NU_SUN, TEFF_SUN = 3090.0, 135.1, 5777.0
LOGG_SUN = 4.438
MUHZ = 1e-6  # Hz
# power of a degree relative to radial modes (Ballot et al. 2011, A&A 531, A124)
MODE_VISIBILITY = {
    0: 1.0,
    1: 1.5,
    2: 0.5,
}
# of the asymptotic relation, the latter in delta_nu (White et al. 2011, ApJ 743, 161)
EPSILON, SMALL_SPACING = 1.4, 0.06
STAR_ID = 1
EXPOSURE = 22.0 / 25.0  # part of the cadence that PLATO integrates
TIMEOUT = 3600.0  # s


@dataclass(frozen=True)
class Oscillations:
    """What the scaling relations say of a star."""

    teff: float  # K
    logg: float  # log10(cm/s^2)

    @property
    def numax(self):
        """Frequency of the strongest oscillations [muHz]"""
        return NUMAX_SUN * 10 ** (self.logg - LOGG_SUN) * (self.teff / TEFF_SUN) ** -0.5

    @property
    def delta_nu(self):
        """Large separation [muHz]: Huber et al. (2011), figure 8: nearly numax^0.77"""
        return DELTA_NU_SUN * (self.numax / NUMAX_SUN) ** 0.77

    def modes(self):
        """(n, 3) array: frequency [muHz], width [muHz] and height [ppm^2/muHz] of each mode"""
        numax, spacing = self.numax, self.delta_nu
        # muHz, full width at half maximum (Mosser et al. 2012, A&A 537, A30)
        envelope = 0.66 * numax**0.88
        # muHz (Corsaro et al. 2012, ApJ 757, 190)
        width = min(max(np.exp((self.teff - TEFF_SUN) / 601.0), 0.1), 10.0)
        # ppm, rms of a radial mode (Kallinger et al. 2014)
        amplitude = 3.6 * (NUMAX_SUN / numax) ** 0.75
        rows = []
        for order in range(1, int(2 * numax / spacing) + 1):
            for degree, visibility in MODE_VISIBILITY.items():
                frequency = spacing * (
                    order + degree / 2 + EPSILON - SMALL_SPACING * degree * (degree + 1) / 3
                )
                power = (
                    amplitude**2
                    * visibility
                    * np.exp(-4 * np.log(2) * ((frequency - numax) / envelope) ** 2)
                )
                rows.append((frequency, width, 2 * power / (np.pi * width)))
        table = np.array(rows)
        return table[(np.abs(table[:, 0] - numax) < 1.5 * envelope) & (table[:, 2] > 0)]

    def granulation(self, frequency):
        """Power density of granulation [ppm^2/muHz] at frequencies [muHz]"""
        amplitude = 3382.0 * self.numax**-0.609  # ppm, of each component
        density = np.zeros_like(frequency)
        for scale, exponent in ((0.317, 0.970), (0.948, 0.992)):
            knee = scale * self.numax**exponent
            density += 2 * np.sqrt(2) / np.pi * amplitude**2 / knee / (1 + (frequency / knee) ** 4)
        return density

    def power_density(self, frequency):
        """Power density of the star [ppm^2/muHz] at frequencies [muHz]"""
        density = self.granulation(frequency)
        for centre, width, height in self.modes():
            near = slice(*np.searchsorted(frequency, [centre - 50 * width, centre + 50 * width]))
            density[near] += height / (1 + (2 * (frequency[near] - centre) / width) ** 2)
        return density


@dataclass(frozen=True)
class StarSpecs:
    """What a light curve with a star's own variation is made from; names and defaults as
    `PslsSpecs`."""

    mode: str = "main_sequence"  # or 'red_giant'
    duration: float = 730.0  # d
    sampling_cadence: float = 25.0  # s
    nsr: float = 73.0  # ppm in one hour, of one camera
    number_camera_groups: int = 4
    number_cameras_per_group: int = 6
    enable_transits: bool = True
    enable_random_noise: bool = True
    enable_oscillations: bool = True
    t0: float = 1.0  # d
    star_radius: float = TransitSpecs.star_radius  # Jupiter radii
    planet_radius: float = 1.0  # Jupiter radii
    orbital_period: float = 365.0  # d
    semi_major_axis: float = 1.0  # AU
    orbital_angle: float | None = None  # deg
    impact_parameter: float | None = None
    eccentricity: float = 0.0
    master_seed: int | None = None

    @classmethod
    def from_dict(cls, specs):
        """From the ``specs`` of a task; refuses unknown keys and values outside their range."""
        return cls(**checked_keys(specs, cls))

    def __post_init__(self):
        check_star_specs(self)

    def transits(self):
        """The transits, as `TransitSpecs`"""
        return transit_specs_of(self)


def synthesize_star(specs=None):
    """Make the light curve of a star that oscillates, with granulation, white noise and transits.

    Parameters
    ----------
    specs : StarSpecs, or dict of the same

    Returns
    -------
    LightcurveArbitraryRaster; its metadata as of `synthesize_transits`
    """
    specs = specs if isinstance(specs, StarSpecs) else StarSpecs.from_dict(specs or {})
    rng = np.random.default_rng(whole(specs.master_seed))
    times = sample_times(specs.duration, specs.sampling_cadence)
    sigma = white_noise(specs)
    flux = np.ones(len(times))
    if specs.enable_oscillations:
        flux += 1e-6 * coloured_noise(
            Oscillations(*MODES[specs.mode]).power_density, len(times), specs.sampling_cadence, rng
        )
    if specs.enable_random_noise:
        flux += sigma * rng.standard_normal(len(times))
    return with_transits(LightcurveArbitraryRaster(times, flux, np.full(len(times), sigma)), specs)


def coloured_noise(power_density, n, cadence, rng):
    """Noise with a given spectrum: normal Fourier amplitudes (Timmer & König 1995, A&A 300, 707).

    Parameters
    ----------
    power_density : function of frequency [muHz], giving ppm^2/muHz, one-sided
    n : int
    cadence : float, s
    rng : numpy Generator

    Returns
    -------
    (n,) array, ppm
    """
    frequency = np.fft.rfftfreq(n, cadence) / MUHZ
    amplitude = np.zeros(len(frequency))
    averaging = np.sinc(frequency[1:] * MUHZ * cadence) ** 2  # a sample is a mean over the cadence
    amplitude[1:] = (
        np.sqrt(power_density(frequency[1:]) * averaging * (frequency[1] if n > 1 else 0)) * n / 2
    )
    return np.fft.irfft(
        amplitude
        * (rng.standard_normal(len(frequency)) + 1j * rng.standard_normal(len(frequency))),
        n,
    )


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
