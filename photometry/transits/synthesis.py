"""Light curves with transits, made from a few numbers: the task ``synthesis_batman``; and what the
syntheses of stars (`stars`) have in common.
"""

from dataclasses import asdict, dataclass, field, fields

import numpy as np

from ..constants import DAY, EASConstants
from ..errors import WrongUseError
from ..lightcurve.lightcurve import LightcurveArbitraryRaster
from . import transit_model

NOISE_CADENCE = 25.0  # s, to which `noise` refers
MAX_MES = 1e8
_const = EASConstants()
HOUR = 3600.0  # s
# effective temperature [K], log g of the two modes of synthesis: a star like the Sun, a red giant
MODES = {"main_sequence": (5778.0, 4.438), "red_giant": (4800.0, 2.5)}


@dataclass(frozen=True)
class TransitSpecs:
    """What a light curve with transits is made from; names and defaults of the EAS pipeline."""

    duration: float = 730.0  # d
    t0: float = 1.0  # d, middle of the first transit
    eccentricity: float = 0.0
    star_radius: float = _const.sun_radius / _const.jupiter_radius  # Jupiter radii
    planet_radius: float = 1.0  # Jupiter radii
    orbital_period: float = 365.0  # d
    semi_major_axis: float = 1.0  # AU
    # deg, inclination away from edge-on; 0 if impact_parameter is not given either
    orbital_angle: float | None = None
    impact_parameter: float | None = None  # stellar radii; where both are given, this one counts
    noise: float = 0.0  # relative flux noise of one sample of 25 s
    mes_assume_noise: float | None = None  # noise for the MES only; by default `noise`
    sampling_cadence: float = 25.0  # s
    threads: int = 1  # accepted for old chains; one thread is enough
    # Not in the original:
    argument_of_periastron: float = 90.0  # deg
    limb_darkening: tuple = field(default=(0.1, 0.3))  # quadratic
    seed: int | None = None  # of the noise

    @classmethod
    def from_dict(cls, specs):
        """From the ``specs`` of a task.

        Raises
        ------
        WrongUseError : unknown key, or a value outside its range
        """
        return cls(**checked_keys(specs, cls))

    def __post_init__(self):
        for name in (
            "duration",
            "star_radius",
            "orbital_period",
            "semi_major_axis",
            "sampling_cadence",
        ):
            require(self, name, lambda value: value > 0, "above 0")
        for name in ("planet_radius", "noise", "mes_assume_noise", "impact_parameter"):
            require(self, name, lambda value: value >= 0, "0 or more")
        for name in ("t0", "orbital_angle", "argument_of_periastron"):
            require(self, name, lambda value: True, "finite")
        require(self, "eccentricity", lambda value: 0 <= value < 1, "0 to below 1")
        require(self, "threads", lambda value: value >= 1, "1 or more")
        require_seed(self, "seed")
        if not (isinstance(self.limb_darkening, tuple | list) and len(self.limb_darkening) == 2):
            raise WrongUseError(
                f"limb_darkening={self.limb_darkening!r}: expected two numbers, of the quadratic "
                f"law"
            )
        for value in self.limb_darkening:
            require_number("limb_darkening", value, lambda value: True, "finite")
        if self.semi_major_axis_in_radii * (1 - self.eccentricity) <= 1:
            raise WrongUseError(
                f"semi_major_axis={self.semi_major_axis!r} AU: the orbit runs into the star of "
                f"{self.star_radius:g} Jupiter radii"
            )

    @property
    def semi_major_axis_in_radii(self):
        """In stellar radii"""
        return self.semi_major_axis * _const.phy_AU / _const.jupiter_radius / self.star_radius

    @property
    def radius_ratio(self):
        """Planet's over star's"""
        return self.planet_radius / self.star_radius

    @property
    def inclination(self):
        """deg, 90 is edge-on"""
        if self.impact_parameter is None:
            return 90.0 - (self.orbital_angle or 0.0)
        orbit = (self.semi_major_axis_in_radii, self.eccentricity, self.argument_of_periastron)
        try:
            return transit_model.inclination_of_impact(self.impact_parameter, *orbit)
        except ValueError as error:
            raise WrongUseError(str(error)) from None

    def settings(self):
        """All settings, with what followed from others, without those that do not apply"""
        values = asdict(self)
        values["mes_assume_noise"] = (
            self.noise if self.mes_assume_noise is None else self.mes_assume_noise
        )
        values["orbital_angle"] = (
            None if self.impact_parameter is not None else self.orbital_angle or 0.0
        )
        return {key: value for key, value in values.items() if value is not None}


def synthesize_transits(specs=None, *, engine="own"):
    """Make a light curve with transits and white noise.

    Parameters
    ----------
    specs : TransitSpecs, or dict of the same
    engine : str
        'own' (`transit_model`) or 'batman' (Kreidberg 2015, PASP 127, 1161; extra ``batman``, GPL)

    Returns
    -------
    LightcurveArbitraryRaster
        metadata: all settings, and of the light curve before noise ``integrated_transit_power``
        (sum of 1 - flux), ``pixels_in_transit``, ``pixels_out_of_transit`` and ``mes``
    """
    specs = specs if isinstance(specs, TransitSpecs) else TransitSpecs.from_dict(specs or {})
    times = sample_times(specs.duration, specs.sampling_cadence)
    flux = transit_light_curve(times, specs, engine=engine)
    metadata = {
        **specs.settings(),
        **transit_strength(flux, specs.settings()["mes_assume_noise"], specs.sampling_cadence),
    }
    sigma = specs.noise * np.sqrt(NOISE_CADENCE / specs.sampling_cadence)
    if sigma > 0:
        flux = flux + np.random.default_rng(whole(specs.seed)).normal(0, sigma, len(flux))
    return LightcurveArbitraryRaster(times, flux, np.full(len(flux), sigma), metadata=metadata)


def sample_times(duration, cadence):
    """(n,) days: from 0 to before ``duration`` [d], every ``cadence`` [s]"""
    return np.arange(0, duration, cadence / DAY)


def transit_light_curve(times, specs, *, engine="own"):
    """Transits without noise.

    Parameters
    ----------
    times : (n,) array, d
    specs : TransitSpecs
    engine : str, 'own' or 'batman'

    Returns
    -------
    (n,) array, relative flux
    """
    if engine == "batman":
        return _batman_light_curve(times, specs)
    if engine != "own":
        raise WrongUseError(f"engine={engine!r}: expected 'own' or 'batman'")
    distance = transit_model.separation(
        times,
        period=specs.orbital_period,
        t0=specs.t0,
        semi_major_axis=specs.semi_major_axis_in_radii,
        inclination=specs.inclination,
        eccentricity=specs.eccentricity,
        omega=specs.argument_of_periastron,
    )
    return transit_model.transit_flux(distance, specs.radius_ratio, *specs.limb_darkening)


def _batman_light_curve(times, specs):
    try:
        import batman
    except ImportError as error:
        raise WrongUseError("batman is not installed: pip install 'photometry[batman]'") from error
    orbit = batman.TransitParams()
    orbit.t0, orbit.per, orbit.rp, orbit.a = (
        specs.t0,
        specs.orbital_period,
        specs.radius_ratio,
        specs.semi_major_axis_in_radii,
    )
    orbit.inc, orbit.ecc, orbit.w = (
        specs.inclination,
        specs.eccentricity,
        specs.argument_of_periastron,
    )
    orbit.limb_dark, orbit.u = "quadratic", list(specs.limb_darkening)
    return batman.TransitModel(orbit, times).light_curve(orbit)


def transit_strength(flux, noise, cadence):
    """How strong the transits of a light curve without noise are.

    Parameters
    ----------
    flux : (n,) array
    noise : float, relative, of one sample of 25 s
    cadence : float, s

    Returns
    -------
    dict of ``integrated_transit_power``, ``pixels_in_transit``, ``pixels_out_of_transit`` and
    ``mes``, the multiple-event statistic: power / (sigma sqrt(pixels in transit)), at most 1e8; 0
    without transit
    """
    power, inside = float(np.sum(1.0 - flux)), int(np.count_nonzero(flux < 1))
    sigma = noise * np.sqrt(NOISE_CADENCE / cadence)
    mes = (
        0.0
        if inside == 0
        else MAX_MES
        if sigma == 0
        else min(power / (sigma * np.sqrt(inside)), MAX_MES)
    )
    return {
        "integrated_transit_power": power,
        "pixels_in_transit": inside,
        "pixels_out_of_transit": len(flux) - inside,
        "mes": float(mes),
    }


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


def checked_keys(specs, cls):
    """``specs`` as a dict, refused if it has keys that the dataclass ``cls`` does not have"""
    accepted = [item.name for item in fields(cls)]
    unknown = sorted(set(specs) - set(accepted))
    if unknown:
        raise WrongUseError(
            f"unknown spec {', '.join(map(repr, unknown))}; accepted are {', '.join(accepted)}"
        )
    return dict(specs)


def require(specs, name, rule, accepted):
    """Refuse a spec that is not a finite number for which a rule holds; None where it is the
    default.

    Parameters
    ----------
    specs : dataclass of specs
    name : str, of the spec
    rule : function of the value that gives a bool
    accepted : str, the rule in words
    """
    value = getattr(specs, name)
    if not (value is None and specs.__dataclass_fields__[name].default is None):
        require_number(name, value, rule, accepted)


def require_seed(specs, name):
    """Refuse a seed that is not a whole number; None is accepted where it is the default"""
    require(specs, name, lambda value: value >= 0 and value == int(value), "whole, 0 or more")


def whole(seed):
    """A seed as int; None stays None"""
    return None if seed is None else int(seed)


def require_number(name, value, rule, accepted):
    """Refuse what is not a finite number for which a rule holds.

    Parameters
    ----------
    name : str, of the spec
    value : anything
    rule : function of the value that gives a bool
    accepted : str, the rule in words
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not np.isfinite(value)
        or not rule(value)
    ):
        raise WrongUseError(f"{name}={value!r}: expected a number, {accepted}")
