"""One light curve from the parts of one star: sectors, quarters, campaigns.

Each part is divided by its own level, after the light of other stars was taken from it (CROWDSAP),
unless its flux has that correction already. Trends are removed in each part alone, so nothing is
carried across an edge. All samples of a part get its own scatter as their error, which weighs
parts of different cadence as their noise does.
"""

import numpy as np

from ..constants import MAD_TO_SIGMA, MISSIONS
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..sky import separation
from .detrend import flatten
from .fitsfiles import PART_KEYWORDS, Part, primary_hdu, table_hdu
from .lightcurve import LightcurveArbitraryRaster

MIN_SAMPLES = 10
SAME_STAR = 5 / 3600  # deg: positions nearer than this are of one star, across catalogues
COPIED = ("object", "starid", "mission", "magnitude", "radius", "teff", "logg", "ra", "decl")


def stitch(lightcurves, *, window=None, progress=None):
    """Join the parts of one star.

    Parameters
    ----------
    lightcurves : sequence of Lightcurve, as `Lightcurve.read` gives them, in any order
    window : float, d, optional
        Remove the trend of each part with this window (`flatten`)
    progress : callable, optional, ``progress(done, total)``

    Returns
    -------
    LightcurveArbitraryRaster, relative flux; its metadata has ``joined`` (True) and ``parts``, a
    list of `Part`

    Raises
    ------
    WrongUseError : parts of two stars, or one observing period twice
    BadInputError : a part without good samples, with flux not above zero, or CROWDSAP outside 0..1
    """
    if not lightcurves:
        raise WrongUseError("no light curve to stitch")
    lightcurves = sorted(lightcurves, key=lambda lc: _start(lc) + _reference(lc))
    for other in lightcurves[1:]:
        _check_same_star(lightcurves[0], other)
    reference = _reference(lightcurves[0])
    columns, parts = [], []
    for number, lc in enumerate(lightcurves):
        flat, part = _level(lc, window)
        shift = _reference(lc) - reference
        part = part._replace(start=part.start + shift, end=part.end + shift)
        for before in parts:
            if part.start < before.end:
                raise WrongUseError(
                    f"{_name(lc)} overlaps {before.name} in time: give each observing period once"
                )
        errors = np.full(len(flat), part.noise)
        columns.append((flat.get_times() + shift, flat.fluxes, errors, flat.flags))
        parts.append(part)
        if progress is not None:
            progress(number + 1, len(lightcurves))
    first = lightcurves[0].metadata
    metadata = {key: first[key] for key in COPIED if key in first}
    metadata |= {
        "time_reference": reference,
        "flux_unit": "relative",
        "crowding_applied": True,
        "joined": True,
        "parts": parts,
    }
    joined = (np.concatenate(column) for column in zip(*columns, strict=True))
    return LightcurveArbitraryRaster(*joined, metadata=metadata)


def _start(lc):
    return float(lc.get_time_of_point(0)) if len(lc) else 0.0


def _reference(lc):
    return lc.metadata.get("time_reference", 0)


def _name(lc):
    """'sector 5' by the metadata, else the file"""
    mission, period = lc.metadata.get("mission"), lc.metadata.get("sector")
    if mission in MISSIONS and period is not None:
        return f"{MISSIONS[mission].period_name} {period}"
    return lc.metadata.get("filename", f"part at {_start(lc):.1f} d")


def _check_same_star(a, b):
    one, other = a.metadata, b.metadata
    if one.get("mission") == other.get("mission"):
        if one.get("starid") != other.get("starid"):
            raise WrongUseError(
                f"{_name(a)} is of {one.get('object', one.get('starid'))}, {_name(b)} of "
                f"{other.get('object', other.get('starid'))}: only parts of one star can be joined"
            )
        return
    positions = [(m.get("ra"), m.get("decl")) for m in (one, other)]
    if any(value is None for position in positions for value in position):
        raise WrongUseError(
            f"{_name(a)} and {_name(b)} are of two missions, and without coordinates: "
            "whether they are of one star is not known"
        )
    apart = float(separation(*positions[0], *positions[1]))
    if apart > SAME_STAR:
        raise WrongUseError(
            f"{_name(a)} and {_name(b)} are of stars {3600 * apart:.0f} arcsec apart: "
            "only parts of one star can be joined"
        )


def _level(lc, window):
    """(light curve of relative flux, Part)"""
    good = lc.good() & np.isfinite(lc.fluxes)
    if good.sum() < MIN_SAMPLES:
        raise BadInputError(
            f"{lc.metadata.get('filename', _name(lc))}: {good.sum()} good samples; "
            f"a part needs at least {MIN_SAMPLES}"
        )
    level = float(np.median(lc.fluxes[good]))
    if not level > 0:
        raise BadInputError(
            f"{lc.metadata.get('filename', _name(lc))}: the median of its good samples is "
            f"{level:g}; a part needs flux above zero"
        )
    crowding = _crowding(lc)
    target = 1.0 if not np.isfinite(crowding) else crowding
    # what other stars add is constant: CROWDSAP is the target's fraction of the median
    relative = lc.with_fluxes(
        (lc.fluxes / level - (1 - target)) / target, lc.uncertainties / level / target
    )
    if window:
        relative = flatten(relative, window)
    good &= np.isfinite(relative.fluxes)
    steps = np.diff(relative.fluxes[good])
    noise = MAD_TO_SIGMA * float(np.median(np.abs(steps - np.median(steps)))) / np.sqrt(2)
    if not noise > 0:
        noise = float(np.std(relative.fluxes[good])) or np.finfo(float).eps
    times = lc.get_times()[good]
    part = Part(
        name=_name(lc),
        start=float(times[0]),
        end=float(times[-1]),
        level=level * target,
        crowding=crowding,
        noise=float(noise),
        samples=int(good.sum()),
    )
    return relative, part


def _crowding(lc):
    """The CROWDSAP to correct for: 1 where the flux has been, NaN where it is not known"""
    if lc.metadata.get("crowding_applied"):
        return 1.0
    crowding = lc.metadata.get("crowding")
    if crowding is None or not np.isfinite(crowding):
        return float("nan")
    if not 0 < crowding <= 1:
        raise BadInputError(
            f"{lc.metadata.get('filename', _name(lc))}: CROWDSAP is {crowding:g}; "
            "expected a fraction above 0, up to 1"
        )
    return float(crowding)


def write_stitched(lc, path):
    """Write a stitched light curve as FITS that we, lightkurve and astropy read.

    Parameters
    ----------
    lc : Lightcurve from `stitch`
    path : path, written atomically
    """
    parts, metadata = lc.metadata["parts"], lc.metadata
    mission = MISSIONS.get(metadata.get("mission"))
    quality = "QUALITY" if mission is None or mission.name == "TESS" else "SAP_QUALITY"
    names = ("TIME", "PDCSAP_FLUX", "PDCSAP_FLUX_ERR", quality, "PART")
    rows = np.empty(len(lc), list(zip(names, (">f8", ">f8", ">f8", ">i4", ">i4"), strict=True)))
    times = lc.get_times()
    number = np.searchsorted([part.start for part in parts], times, side="right")
    # flagged samples get the bit of every mission's default mask that says: excluded by hand
    manual = 128 if quality == "QUALITY" else 256
    columns = (times, lc.fluxes, lc.uncertainties, np.where(lc.good(), 0, manual), number)
    for name, values in zip(names, columns, strict=True):
        rows[name] = values
    units = dict.fromkeys(names) | {"TIME": f"BJD - {metadata.get('time_reference', 0)}, days"}
    formats = dict(zip(names, ("D14.7", "D18.10", "E14.7", "B16.16", "I5"), strict=True))
    star = [
        ("TELESCOP", "TESS" if mission is None or mission.name == "TESS" else "Kepler"),
        ("OBJECT", metadata.get("object")),
        *((key, metadata.get(name)) for key, name in (("RA_OBJ", "ra"), ("DEC_OBJ", "decl"))),
    ]
    if mission is not None:
        star.append((mission.id_keyword, metadata.get("starid")))
        star.append((mission.magnitude_keyword, metadata.get("magnitude")))
    star += [(key.upper(), metadata.get(key)) for key in ("radius", "teff", "logg")]
    primary = [
        ("EXTNAME", "PRIMARY"),
        ("EXTVER", 1),
        ("ORIGIN", "photometry", "whose program made this file"),
        ("CREATOR", "photometry lightcurve", "program that made this file"),
        ("MISSION", None if mission is None else mission.name),
        *star,
        ("STITCHED", len(parts), "number of parts"),
    ]
    cards = [
        ("EXTVER", 1),
        *star,
        ("TIMESYS", "TDB", "time system is Barycentric Dynamical Time"),
        ("BJDREFI", int(metadata.get("time_reference", 0)), "integer part of BJD reference date"),
        ("BJDREFF", float(metadata.get("time_reference", 0)) % 1, "fraction of it"),
    ]
    for k, part in enumerate(parts, start=1):
        crowding = float(part.crowding) if np.isfinite(part.crowding) else None
        values = (*part[:4], crowding, *part[5:])
        cards += [
            (f"{keyword}{k}", value, f"of part {k}: {field}")
            for keyword, field, value in zip(PART_KEYWORDS, Part._fields, values, strict=True)
        ]
    table = table_hdu("LIGHTCURVE", rows, units, formats, cards)
    with atomic_write(path) as file:
        file.write_bytes(primary_hdu(primary) + table)
