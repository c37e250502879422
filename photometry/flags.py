"""Quality flags as data: bit, name, text. Decoding, documentation and plots are made from these
tables.

TESS: Science Data Products Description Document (EXP-TESS-ARC-ICD-TM-0014), section 9, and the
notes of later data releases. Kepler, K2: Kepler Archive Manual (KDMC-10008), table 2-3.
"""

from typing import NamedTuple


class Flag(NamedTuple):
    """One bit of a quality column."""

    bit: int  # value of the bit: 1, 2, 4, 8, …
    name: str
    text: str


def _table(*rows):
    return tuple(Flag(1 << i, *row) for i, row in rows)


TESS = _table(
    (0, ("AttitudeTweak", "spacecraft attitude was being adjusted")),
    (1, ("SafeMode", "spacecraft in safe mode")),
    (2, ("CoarsePoint", "spacecraft in coarse pointing")),
    (3, ("EarthPoint", "spacecraft pointing at Earth")),
    (4, ("Argabrightening", "diffuse light over the detector")),
    (5, ("Desat", "reaction wheels are desaturated")),
    (6, ("ApertureCosmic", "cosmic ray in the optimal aperture")),
    (7, ("ManualExclude", "excluded by hand")),
    (8, ("Discontinuity", "sudden change of sensitivity of a pixel")),
    (9, ("ImpulsiveOutlier", "outlier removed before the systematics were corrected")),
    (10, ("CollateralCosmic", "cosmic ray in the collateral data")),
    (11, ("Straylight", "Earth or Moon in the field of view of the camera, stray light expected")),
    (12, ("ScatteredLight", "scattered light from Earth or Moon seen in the images")),
    (13, ("PlanetSearchExclude", "excluded from the search for planets")),
    (14, ("BadCalibrationExclude", "excluded: bad calibration")),
    (15, ("InsufficientTargets", "too few targets for the correction of systematics")),
)
KEPLER = _table(
    (0, ("AttitudeTweak", "spacecraft attitude was being adjusted")),
    (1, ("SafeMode", "spacecraft in safe mode")),
    (2, ("CoarsePoint", "spacecraft in coarse pointing")),
    (3, ("EarthPoint", "spacecraft pointing at Earth")),
    (4, ("ZeroCrossing", "reaction wheel speed crosses zero")),
    (5, ("Desat", "reaction wheels are desaturated")),
    (6, ("Argabrightening", "diffuse light over several channels")),
    (7, ("ApertureCosmic", "cosmic ray in the optimal aperture")),
    (8, ("ManualExclude", "excluded by hand")),
    (10, ("SensitivityDropout", "sudden loss of sensitivity")),
    (11, ("ImpulsiveOutlier", "outlier removed before the systematics were corrected")),
    (12, ("ArgabrighteningOnCCD", "diffuse light on this channel")),
    (13, ("CollateralCosmic", "cosmic ray in the collateral data")),
    (14, ("DetectorAnomaly", "detector anomaly")),
    (15, ("NoFinePoint", "spacecraft not in fine point")),
    (16, ("NoData", "no data collected")),
    (17, ("RollingBandAperture", "rolling band in the optimal aperture")),
    (18, ("RollingBandMask", "rolling band in the pixels collected")),
    (19, ("PossibleThrusterFiring", "thrusters may have fired")),
    (20, ("ThrusterFiring", "thrusters fired")),
)
FOUND = _table(  # what this package finds in full-frame images, above the bits of the missions
    (24, ("BadFrame", "empty, smeared or displaced image; always with ManualExclude")),
    (25, ("HighBackground", "the background of the whole image is far above its median level")),
    (26, ("BackgroundJump", "the background of this target jumps against the times around it")),
    (
        27,
        (
            "HighLocalBackground",
            "the background of this target is far above its median level: scattered light",
        ),
    ),
)
CUBE_PIXELS = _table(  # of single pixels in an image cube
    (0, ("NoData", "the image has no value here (NaN)")),
    (1, ("NearSaturation", "above 8e4 e-/s; not used to measure the background")),
    (2, ("TileJump", "the background around it differs from what it was shortly before and after")),
)
PIXEL_QUALITY = _table(
    (0, ("NotMeasured", "no flux: all pixels of the mask are without a value or zero")),
    (1, ("PartlyMissing", "some pixels of the mask are without a value")),
    (2, ("Argabrightening", "no flux: diffuse light, the background is not known")),
)
FLAGS = {"TESS": TESS + FOUND, "Kepler": KEPLER + FOUND, "K2": KEPLER + FOUND}
FLAGS |= {"PIXEL_QUALITY": PIXEL_QUALITY, "CUBE_PIXELS": CUBE_PIXELS}


def bitmask(names, flags="TESS"):
    """The bits of several flags in one number."""
    bits = {flag.name: flag.bit for flag in FLAGS[flags]}
    return sum({bits[name] for name in names})


def decode(value, flags="TESS"):
    """The flags whose bits are set in a quality value.

    Parameters
    ----------
    value : int
    flags : str
        'TESS', 'Kepler', 'K2', 'PIXEL_QUALITY' or 'CUBE_PIXELS': which table

    Returns
    -------
    list of Flag; a bit that the table does not know comes as ``Flag(bit, 'Unknown', …)``
    """
    known = {flag.bit: flag for flag in FLAGS[flags]}
    bits = [1 << i for i in range(int(value).bit_length()) if int(value) >> i & 1]
    return [
        known.get(bit, Flag(bit, "Unknown", f"bit {bit} has no meaning that we know of"))
        for bit in bits
    ]


DEFAULT_NAMES = {
    "TESS": "AttitudeTweak SafeMode CoarsePoint EarthPoint Desat ApertureCosmic ManualExclude "
    "ScatteredLight",
    "Kepler": "AttitudeTweak SafeMode CoarsePoint EarthPoint Desat ManualExclude "
    "ArgabrighteningOnCCD DetectorAnomaly"
    " NoData ThrusterFiring",
}
DEFAULT_NAMES["K2"] = DEFAULT_NAMES["Kepler"]
DEFAULT_BITMASK = {
    mission: bitmask(names.split(), mission) for mission, names in DEFAULT_NAMES.items()
}
# times with one of these bits do not count as good; TESS: 1|2|4|8|32|64|128|4096

# The missions' pipelines give no flux at these times although the pixels have values: the
# background is not known then. So it is in all official light curves that we looked at.
NO_FLUX_BITMASK = {
    "TESS": bitmask(["Argabrightening"]),
    "Kepler": bitmask(["ArgabrighteningOnCCD"], "Kepler"),
    "K2": bitmask(["ArgabrighteningOnCCD"], "K2"),
}
