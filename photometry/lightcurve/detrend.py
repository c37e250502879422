"""Take slow trends out of a light curve and keep its transits; measure the noise that is left; join
the parts of one star: sectors, quarters, campaigns.

The trend is Tukey's biweight in a sliding window of time: the best of the methods that Hippke et
al. (2019, AJ 158, 143) compared at keeping transits. The work is done by their library, wotan.

Each part is divided by its own level, after the light of other stars was taken from it (CROWDSAP),
unless its flux has that correction already. Trends are removed in each part alone, so nothing is
carried across an edge. All samples of a part get its own scatter as their error, which weighs
parts of different cadence as their noise does.
"""

from functools import lru_cache

import numpy as np

from ..constants import MAD_TO_SIGMA, MISSIONS
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..sky import separation
from .fitsfiles import PART_KEYWORDS, Part, primary_hdu, table_hdu
from .lightcurve import LightcurveArbitraryRaster

# d; about 3 times the longest transit that shall be kept (Hippke et al. 2019, section 3)
DEFAULT_WINDOW = 1.5
# d; trend removed before the noise is measured, as the window of Gilliland et al. 2011
CDPP_WINDOW = 2.0
OUTLIER = 5.0  # robust standard deviations
NOISE_HOURS = 6.5  # of the noise that is noted in files
MIN_STRETCHES = 3  # of the length over which noise is measured, without gaps
QUICK_BIN, QUICK_ROUNDS = 0.5, 3  # h, of samples that `quick_cdpp` joins; its rounds of outliers
MIN_SAMPLES = 10  # good ones of a part that is joined
SAME_STAR = 5 / 3600  # deg: positions nearer than this are of one star, across catalogues
COPIED = ("object", "starid", "mission", "magnitude", "radius", "teff", "logg", "ra", "decl")


def flatten(lc, window=DEFAULT_WINDOW, *, mask=None, edge_cutoff=0.0, return_trend=False):
    """Divide a light curve by its trend.

    Parameters
    ----------
    lc : Lightcurve, positive fluxes
    window : float, days
        Slower variation is removed. At least 3 times the longest transit to be kept
    mask : (n_samples,) bool array, optional
        Samples that must not shape the trend, e.g. of known transits: `transit_mask`
    edge_cutoff : float, days
        So much beside every gap becomes NaN, because the trend is less certain there
    return_trend : bool

    Returns
    -------
    flat : light curve of the same kind: flux relative to the trend, about 1; uncertainties
        likewise; NaN, and flagged, where the trend is not known
    trend : (n_samples,) array, only with ``return_trend``; flagged samples do not shape it
    """
    trend = _trend(lc, window, mask, edge_cutoff)
    flat = lc.with_fluxes(lc.fluxes / trend, lc.uncertainties / trend)
    flat.metadata = {**lc.metadata, "flux_unit": "relative", "detrended": f"biweight, {window:g} d"}
    return (flat, trend) if return_trend else flat


def _trend(lc, window, mask, edge_cutoff):
    if not window > 0:
        raise WrongUseError(f"window={window!r}: expected days, above zero")
    level = good_level(lc)
    if not level > 0:
        raise WrongUseError(
            f"{lc!r}: the median of its good samples is {level:g}, "
            "so it cannot be divided by its trend"
        )
    excluded = ~lc.good() if mask is None else ~lc.good() | mask
    options = {
        "window_length": window,
        "method": "biweight",
        "edge_cutoff": edge_cutoff,
        "mask": excluded,
    }
    _, trend = _wotan_flatten()(lc.get_times(), lc.fluxes / level, return_trend=True, **options)
    return trend * level


def good_level(lc):
    """Median flux of the good samples; NaN where there is none"""
    good = lc.fluxes[lc.good()]
    return float(np.median(good)) if good.size else float("nan")


def _wotan_flatten():
    try:
        from wotan import flatten as wotan_flatten
    except ImportError as error:
        raise WrongUseError("detrending needs wotan: pip install 'photometry[search]'") from error
    return wotan_flatten


def transit_mask(times, period, duration, t0):
    """Samples in transit.

    Parameters
    ----------
    times : (n,) array, days
    period, duration, t0 : float, days; of the transits at ``t0 + i * period``

    Returns
    -------
    (n,) bool array, True within half a ``duration`` of a mid-transit time
    """
    return np.abs((np.asarray(times) - t0 + 0.5 * period) % period - 0.5 * period) < 0.5 * duration


def cdpp(lc, hours=6.5, *, window=CDPP_WINDOW):
    """Combined differential photometric precision: the noise over the time of a transit.

    As Gilliland et al. (2011, ApJS 197, 6) and Van Cleve et al. (2016, PASP 128, 075002) estimate
    it: remove the trend (a quadratic in a sliding window) and outliers, take the running mean over
    ``hours``, then its standard deviation. Outliers, deep transits among them, are found first,
    against a robust trend, so that they do not shape the quadratic.

    Parameters
    ----------
    lc : Lightcurve
    hours : float
    window : float, days, of the trend; None: there is no trend

    Returns
    -------
    float, ppm; NaN where less than 3 stretches of ``hours`` are free of gaps
    """
    flat = lc if window is None else flatten(lc, window)
    good = flat.good() & np.isfinite(flat.fluxes)
    times, flux = flat.get_times()[good], flat.fluxes[good] / np.median(flat.fluxes[good])
    times, flux = _without_outliers(times, flux)
    if len(times) < 2 or not np.median(np.diff(times)) > 0:
        return float("nan")
    if window is not None:
        flux = flux / _sliding_quadratic(times, flux, window)
    return float(np.std(_running_means(times, flux, hours / 24)) * 1e6)


def quick_cdpp(times, flux, hours=NOISE_HOURS, *, window=CDPP_WINDOW):
    """The `cdpp` of a light curve within about 10 %, in milliseconds.

    Samples are joined in bins of half an hour, and outliers (transits too, where they stand out of
    such a bin) are found against the quadratic itself, a few times in turn.

    Parameters
    ----------
    times : (n,) array, d, sorted
    flux : (n,) array, finite, any unit
    hours : float
    window : float, days, of the trend

    Returns
    -------
    float, ppm; NaN where less than 3 stretches of ``hours`` are free of gaps, or the median is not
    above 0
    """
    if len(times) < 2 or not np.median(flux) > 0:
        return float("nan")
    bins = np.floor(times * 24 / QUICK_BIN)
    (starts,) = np.nonzero(np.diff(bins, prepend=-np.inf))
    count = np.diff(starts, append=len(times))
    times, flux = (np.add.reduceat(values, starts) / count for values in (times, flux))
    if len(times) < 2 or not np.median(np.diff(times)) > 0:
        return float("nan")
    flux = flux / np.median(flux)
    clean, before = flux, np.zeros(len(flux), bool)
    for _ in range(QUICK_ROUNDS):
        trend = _sliding_quadratic(times, clean, window)
        deviation = np.abs(flux - trend)
        outlier = deviation > OUTLIER * MAD_TO_SIGMA * np.median(deviation)
        if not (outlier | before).any():
            break  # nothing to replace: the next trend would be the same
        clean, before = np.where(outlier, trend, flux), outlier
    flat = (flux / trend)[~outlier]
    return float(np.std(_running_means(times[~outlier], flat, hours / 24)) * 1e6)


def _without_outliers(times, flux):
    deviation = np.abs(flux - 1)
    keep = deviation <= OUTLIER * MAD_TO_SIGMA * np.median(deviation)
    return times[keep], flux[keep]


def _sliding_quadratic(times, flux, window):
    """Savitzky-Golay filter of second order, over as many samples as ``window`` days hold; at the
    ends, the quadratic of the first and of the last so many samples.
    """
    count = min(round(window / np.median(np.diff(times))), len(flux) - 1) // 2 * 2 + 1
    if not 3 < count <= len(flux):
        return np.ones(len(flux))
    powers, fit = _quadratic(count)
    half = count // 2
    first, last = powers @ (fit @ flux[:count]), powers @ (fit @ flux[-count:])
    middle = np.correlate(flux, powers[half] @ fit, "valid")
    return np.concatenate([first[:half], middle, last[half + 1 :]])


@lru_cache(maxsize=8)
def _quadratic(count):
    """Quadratics over ``count`` samples, (count, 3), and the matrix that fits their coefficients,
    (3, count).
    """
    powers = np.vander(np.linspace(-1, 1, count), 3)
    return powers, np.linalg.pinv(powers)


def _running_means(times, flux, length):
    """Means over all stretches of ``length`` days in which at most a tenth of samples is missing"""
    step = np.median(np.diff(times))
    count = max(round(length / step), 1)
    if len(times) < count:
        return np.array([np.nan])
    total = np.concatenate([[0.0], np.cumsum(flux - 1)])
    means = (total[count:] - total[:-count]) / count
    spans = times[count - 1 :] - times[: len(times) - count + 1]
    whole = spans <= (1.1 * count - 1) * step + 1e-9
    # of fewer the scatter says nothing
    enough = whole.sum() > (MIN_STRETCHES - 1) * count
    return means[whole] if enough else np.array([np.nan])


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
