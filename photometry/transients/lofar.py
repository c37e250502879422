"""LOFAR: the noise that an image should have, and the bright sources that spoil one.

After R. Nijboer, M. Pandey-Pommier & A. G. de Bruyn, "LOFAR imaging capabilities and system
sensitivity", 2009.
"""

import numpy as np

from ..constants import SPEED_OF_LIGHT

BOLTZMANN = 1.380649e-23
"""J/K (exact, SI)."""

_A_TEAM = {
    "CasA": (6.123487680622104, 1.0265153995604648),
    "CygA": (5.233686575770755, 0.7109409582180791),
    "TauA": (1.4596748493730913, 0.38422502335921294),
    "HerA": (4.4119087330382163, 0.087135562905816893),
    "VirA": (3.276086511413598, 0.21626589533567378),
}
"""J2000, rad."""

_TILES = {"core": 24, "remote": 48, "international": 96}
_TILE_AREA = 1.5625
"""m2, of one of the 16 dipoles of a tile at most."""

# Distance of each dipole of a low-band station to the nearest one, m.
# fmt: off
_INNER = np.array([
    2.55, 2.55, 2.55, 2.55, 2.55, 2.55, 2.55, 3.6, 3.34, 3.26, 3.49, 3.19, 3.19, 3.51, 3.42, 3.18,
    3.59, 3.66, 4.32, 3.23, 3.23, 3.38, 3.49, 3.19, 3.89, 3.4, 3.51, 3.49, 4.12, 3.82, 3.13, 3.13,
    2.99, 2.99, 3.32, 3.38, 3.36, 3.36, 4.75, 2.79, 2.79, 3.4, 4.15, 3.98, 3.98, 4.49, 27.04,
    27.48,
])
_OUTER = np.array([
    3.07, 3.07, 6.27, 4.14, 4.39, 5.36, 5.03, 7.17, 4.92, 5.01, 4.59, 8.19, 6.2, 6.27, 6.27, 6,
    4.14, 4.39, 7.84, 8.14, 7.38, 7.17, 9.36, 5.8, 9.83, 7.08, 7.34, 7.4, 6, 10.25, 9.37, 8.83,
    8.64, 5.27, 7.66, 8.23, 8.23, 6.72, 5.8, 6.28, 11.06, 7.4, 10.8, 10.81, 8.64, 5.27, 7.66,
    9.06,
])
_INTERNATIONAL = np.array([
    3.55, 3.41, 3.87, 3.41, 5.61, 4.52, 4.96, 4.96, 3.81, 4.03, 4.03, 4.15, 3.41, 3.42, 3.42,
    3.42, 3.54, 3.46, 3.87, 4.68, 5.3, 5.54, 5.17, 5.77, 3.62, 3.94, 4.07, 4.07, 3.92, 3.92, 5.65,
    6, 3.91, 3.49, 6.5, 6.5, 3.52, 3.48, 3.71, 3.71, 4.74, 4.31, 7.99, 7.03, 3.56, 3.7, 3.5, 4.15,
    4.34, 4.1, 4.98, 3.49, 3.25, 6.69, 3.61, 3.41, 6.92, 3.85, 3.94, 6.85, 4.07, 3.85, 4.31, 3.41,
    3.54, 3.48, 3.42, 4.22, 3.35, 3.35, 3.47, 4.74, 3.7, 4.36, 3.54, 3.61, 3.54, 4.15, 3.81, 5.98,
    4.77, 4.34, 3.87, 3.63, 5.17, 3.52, 7.21, 3.42, 3.41, 7.75, 3.48, 3.25, 4.95, 3.47, 3.5, 3.42,
])
# Where stations outside the core differ.
_INNER_REMOTE = {
    7: 3.51, 8: 3.51, 9: 3.18, 10: 3.48, 12: 3.25, 13: 3.43, 14: 3.48, 16: 3.58, 22: 3.5, 25: 3.39,
    30: 3.12, 31: 3.12,
    41: 3.39, 43: 3.99, 44: 3.99, 46: 21.02, 47: 19.6,
}
_OUTER_REMOTE = {7: 7.18, 12: 6.19, 21: 7.18, 33: 5.28, 45: 5.28}
# fmt: on

# Instrumental temperature over frequency: MHz, times the temperature of the sky, plus K.
_INSTRUMENT = np.array(
    [
        (0, 0),
        (10, 0.1),
        (40, 0.7),
        (50, 0.85),
        (55, 0.9),
        (60, 0.85),
        (70, 0.6),
        (80, 0.3),
        (90, 0),
        (110, 0),
        (120, 0),
        (300, 0),
    ]
)
_INSTRUMENT_KELVIN = np.array([(0, 0), (110, 0), (120, 200), (300, 200)])


def _distances(antenna_set, station):
    """Distances, m, of the dipoles of a station that a set uses."""
    if station == "international":
        return _INTERNATIONAL
    inner, outer = _INNER.copy(), _OUTER.copy()
    if station == "remote":
        for distances, changes in ((inner, _INNER_REMOTE), (outer, _OUTER_REMOTE)):
            distances[list(changes)] = list(changes.values())
    even = np.arange(len(inner)) % 2 == 0
    sets = {
        "LBA_INNER": inner,
        "LBA_X": inner,
        "LBA_OUTER": outer,
        "LBA_Y": outer,
        "LBA": np.concatenate([inner, outer]),
        "LBA_SPARSE0": np.where(even, inner, outer),
        "LBA_SPARSE1": np.where(even, outer, inner),
    }
    return sets.get(antenna_set, sets["LBA_OUTER"])


def station_area(frequency, antenna_set, station):
    """Effective area of a station, m2.

    Parameters
    ----------
    frequency : float, Hz
    antenna_set : str, for example 'LBA_INNER' or 'HBA_DUAL'
    station : 'core', 'remote' or 'international'
    """
    wavelength = SPEED_OF_LIGHT * 1e3 / frequency
    if antenna_set.startswith("LBA"):
        distance = _distances(antenna_set, station)
        return float(np.minimum(wavelength**2 / 3, np.pi * distance**2 / 4).sum())
    return 16 * _TILES[station] * min(wavelength**2 / 3, _TILE_AREA)


def system_temperature(frequency):
    """Temperature of sky and instrument, K, at a frequency in Hz."""
    wavelength, megahertz = SPEED_OF_LIGHT * 1e3 / frequency, frequency / 1e6
    t_sky = 60.0 * wavelength**2.55
    return t_sky * (1 + np.interp(megahertz, *_INSTRUMENT.T)) + np.interp(
        megahertz, *_INSTRUMENT_KELVIN.T
    )


def theoretical_noise(
    frequency, bandwidth, tau_time, antenna_set, n_core, n_remote, n_international, n_subbands=1
):
    """The noise of an image, Jy.

    Parameters
    ----------
    frequency : float, Hz
    bandwidth : float, Hz, of one subband
    tau_time : float, s
    antenna_set : str
    n_core, n_remote, n_international : int, stations
    n_subbands : int
    """

    def flux(station):
        area = station_area(frequency, antenna_set, station)
        return 2 * BOLTZMANN * system_temperature(frequency) / area * 1e26

    core, remote, international = (flux(s) for s in ("core", "remote", "international"))
    weight = (
        n_core * (n_core - 1) / 2 / core**2
        + n_remote * (n_remote - 1) / 2 / (remote * core)
        + n_international * (n_international - 1) / 2 / international**2
        + n_core * n_remote / (core * remote)
        + n_core * n_international / (core * international)
        + n_remote * n_international / (remote * international)
    )
    return float(1 / np.sqrt(4 * bandwidth * n_subbands * tau_time * weight))


def bright_sources(time):
    """Positions, deg, of the brightest sources of the sky at a time (datetime, UTC): dict name ->
    (ra, decl)."""
    from astropy.coordinates import get_body
    from astropy.time import Time

    sources = {name: tuple(np.degrees(position)) for name, position in _A_TEAM.items()}
    for name in ("sun", "jupiter"):
        body = get_body(name, Time(time))
        sources[name.capitalize()] = (body.ra.deg, body.dec.deg)
    return sources
