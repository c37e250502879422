"""A small stand-in for a simulator of stars: oscillations, granulation and white noise, from
scaling relations.

Its task has a name of its own, ``synthesis_simple``; it is never used silently in the place of
PSLS.

Power spectrum of the star, by frequency nu, in ppm^2/muHz:

* granulation: two components of Kallinger et al. (2014, A&A 570, A41, model F and table 2);
* oscillations: a comb of modes of degree 0 to 2 under a Gaussian envelope; frequencies by the
asymptotic relation,
  ``numax`` and ``delta_nu`` by the scaling relations of Kjeldsen & Bedding (1995, A&A 293, 87).
"""

from dataclasses import dataclass, fields

import numpy as np

from ..constants import EASConstants
from ..errors import WrongUseError
from ..lightcurve.lightcurve import LightcurveArbitraryRaster
from .synthesis import (
    TransitSpecs,
    checked_keys,
    require,
    require_seed,
    sample_times,
    transit_light_curve,
    transit_strength,
    whole,
)

NUMAX_SUN, DELTA_NU_SUN, TEFF_SUN = (
    3090.0,
    135.1,
    5777.0,
)  # muHz, muHz, K (Huber et al. 2011, ApJ 743, 143)
LOGG_SUN = 4.438
HOUR = 3600.0  # s
MUHZ = 1e-6  # Hz
# power of a degree relative to radial modes (Ballot et al. 2011, A&A 531, A124)
MODE_VISIBILITY = {
    0: 1.0,
    1: 1.5,
    2: 0.5,
}
EPSILON, SMALL_SPACING = (
    1.4,
    0.06,
)  # of the asymptotic relation, the latter in delta_nu (White et al. 2011, ApJ 743, 161)
# effective temperature [K], log g of the two modes of synthesis: a star like the Sun, a red giant
MODES = {"main_sequence": (5778.0, 4.438), "red_giant": (4800.0, 2.5)}


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
        width = min(
            max(np.exp((self.teff - TEFF_SUN) / 601.0), 0.1), 10.0
        )  # muHz (Corsaro et al. 2012, ApJ 757, 190)
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


def check_star_specs(specs):
    """Refuse a mode that does not exist and noise that is none; the rest is checked with the
    transits."""
    if specs.mode not in tuple(MODES):
        raise WrongUseError(f"mode={specs.mode!r}: expected {' or '.join(MODES)}")
    require(specs, "nsr", lambda value: value >= 0, "0 or more (ppm in one hour)")
    for name in ("number_camera_groups", "number_cameras_per_group"):
        require(specs, name, lambda value: value >= 1, "1 or more")
    require_seed(specs, "master_seed")
    for name in (item.name for item in fields(specs) if isinstance(item.default, bool)):
        if getattr(specs, name) not in (True, False):
            raise WrongUseError(f"{name}={getattr(specs, name)!r}: expected true or false")
    specs.transits()


def transit_specs_of(specs):
    """`TransitSpecs` with the values that ``specs`` shares with them; MES for the noise that
    ``specs`` means"""
    common = (
        "duration", "sampling_cadence", "t0", "star_radius", "planet_radius", "orbital_period",
        "semi_major_axis", "orbital_angle", "impact_parameter", "eccentricity",
    )  # fmt: skip
    values = {name: getattr(specs, name) for name in common if hasattr(specs, name)}
    return TransitSpecs(**values, mes_assume_noise=EASConstants().plato_noise * specs.nsr / 73.0)


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


def white_noise(specs):
    """Relative noise of one sample: the NSR of one camera in an hour, over all cameras and the
    time of a sample"""
    cameras = specs.number_camera_groups * specs.number_cameras_per_group
    return 1e-6 * specs.nsr * np.sqrt(HOUR / specs.sampling_cadence / cameras)


def with_transits(lc, specs):
    """The light curve times the transits of ``specs`` (if it has any), with all settings and their
    strength as metadata."""
    transits = specs.transits()
    signal = transit_light_curve(lc.times, transits) if specs.enable_transits else np.ones(len(lc))
    settings = {name: getattr(specs, name) for name in specs.__dataclass_fields__}
    metadata = {
        key: value
        for key, value in {**transits.settings(), **settings}.items()
        if value is not None
    }
    strength = transit_strength(signal, transits.mes_assume_noise, specs.sampling_cadence)
    return LightcurveArbitraryRaster(
        lc.times, lc.fluxes * signal, lc.uncertainties, lc.flags, {**metadata, **strength}
    )


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
