"""Numbers that more than one room needs, each with its source; per mission where these differ."""

from dataclasses import dataclass
from types import MappingProxyType

DAY = 86400.0
"""Seconds in a day."""

YEAR = 365.25
"""Days in a Julian year."""

J2000 = 2451545.0
"""Julian Date (TDB) of the epoch J2000.0."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation: 1 / Phi^-1(3/4).
"""

SPEED_OF_LIGHT = 299792.458
"""km/s (exact, SI)."""


@dataclass(frozen=True)
class Mission:
    """What differs between the missions.

    Attributes
    ----------
    name : 'TESS', 'Kepler' or 'K2', as in the header keyword MISSION or TELESCOP
    zero_point : mag of a star that gives 1 e-/s
    saturation_limit : mag; brighter stars fill the wells of their pixels and bleed along columns
    full_well : e-/s; a pixel holds no more in one exposure
    band : name of the photometric band of the magnitudes
    catalog : name of the star catalogue, as people write it before a star's number
    id_keyword, magnitude_keyword : FITS keywords of the star's number and magnitude
    period_keyword : FITS keyword of the observing period (sector, quarter, campaign)
    period_name : that period's name in prose
    detector_keywords : FITS keywords of the two numbers that name a detector
    time_reference : integer part of the Barycentric Julian Date that times count from (BJDREFI)
    time_name : name of times counted from it
    """

    name: str
    zero_point: float
    saturation_limit: float
    full_well: float
    band: str
    catalog: str
    id_keyword: str
    magnitude_keyword: str
    period_keyword: str
    period_name: str
    detector_keywords: tuple
    time_reference: int
    time_name: str

    def label(self, starid):
        """A star's name for people, for example ``'TIC 25155310'``."""
        return f"{self.catalog} {starid}"


TESS = Mission(
    name="TESS",
    # Handberg et al. 2021, AJ 162, 170, section 3: 10^(-0.4 (Tmag - 20.54)) e-/s
    zero_point=20.54,
    # Handberg & Lund 2014 for Kepler; TESS Instrument Handbook v0.1: bleeding from about Tmag 7
    saturation_limit=7.0,
    # 200,000 e- in exposures of 1.98 s: TESS Instrument Handbook v0.1
    full_well=200_000 / 1.98,
    band="Tmag",
    catalog="TIC",
    id_keyword="TICID",
    magnitude_keyword="TESSMAG",
    period_keyword="SECTOR",
    period_name="sector",
    detector_keywords=("CAMERA", "CCD"),
    time_reference=2457000,
    time_name="BTJD",
)
KEPLER = Mission(
    name="Kepler",
    # 1.74e5 e-/s at Kp = 12: Kepler Instrument Handbook (KSCI-19033), section 5.1
    zero_point=25.1,
    # Kepler Instrument Handbook (KSCI-19033), section 6.10
    saturation_limit=11.5,
    # 1.05e6 e- in exposures of 6.02 s: Kepler Instrument Handbook (KSCI-19033)
    full_well=1.05e6 / 6.02,
    band="Kp",
    catalog="KIC",
    id_keyword="KEPLERID",
    magnitude_keyword="KEPMAG",
    period_keyword="QUARTER",
    period_name="quarter",
    detector_keywords=("MODULE", "OUTPUT"),
    time_reference=2454833,
    time_name="BKJD",
)
K2 = Mission(
    name="K2",
    zero_point=KEPLER.zero_point,
    saturation_limit=KEPLER.saturation_limit,
    full_well=KEPLER.full_well,
    band="Kp",
    catalog="EPIC",
    id_keyword="KEPLERID",
    magnitude_keyword="KEPMAG",
    period_keyword="CAMPAIGN",
    period_name="campaign",
    detector_keywords=("MODULE", "OUTPUT"),
    time_reference=2454833,
    time_name="BKJD",
)
MISSIONS = MappingProxyType({mission.name: mission for mission in (TESS, KEPLER, K2)})
"""Mission by name."""


class EASConstants:
    """Numbers for the expressions of task chains; the same values as in the EAS pipeline
    (``plato_wp36``)."""

    def __init__(self):
        self.day = 1.0  # d
        self.month = 28.0  # d
        self.year = 365.25  # d
        self.sun_radius = 6.955e8  # m
        self.earth_radius = 6.371e6  # m
        self.jupiter_radius = 7.1492e7  # m
        self.phy_AU = 149597870700.0  # m
        self.Rearth = 0.08911486  # Jupiter radii, as the EAS pipeline rounds it
        self.plato_noise = 0.000315  # relative flux noise of one sample of 25 s (PSLS, 24 cameras)
