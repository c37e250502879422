"""Fill FLUX_CORR and FLUX_CORR_ERR of our own light-curve files, in place.

A method of correction is a function in `METHODS`: it takes the good samples of a light curve and
returns a `Correction`. The file, its columns and its checksums are the same for all methods.
"""

import gzip
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..constants import DAY, MISSIONS
from ..errors import ArgumentError, BadInputError, WrongUseError
from ..files import GZIP_MAGIC, atomic_write
from ..fitsfile import open_fits
from ..fitsstream import open_stream
from ..flags import DEFAULT_BITMASK
from . import detrend
from .basis import prior
from .cotrend import fit, flat_prior, model, remove
from .fitsfiles import PPM, mission_of
from .lightcurve import LightcurveArbitraryRaster
from .tasoc import BIT_FLUX
from .vectors import own_scattered_light, read_members, read_vectors

NEEDED = ("TIME", "FLUX_RAW", "FLUX_RAW_ERR", "FLUX_CORR", "FLUX_CORR_ERR", "QUALITY")
FOLDER = "cotrend"
"""Folder of the files of vectors, beside the light curves."""

MIN_COMMON = 0.5  # of the good samples that must be at times of the vectors


@dataclass(frozen=True)
class Correction:
    """What a method makes of the good samples of a light curve."""

    fluxes: np.ndarray  # (n,) relative, about 1; NaN where it cannot be corrected
    uncertainties: np.ndarray  # (n,) relative, 1 sigma
    cards: tuple = ()  # (keyword, value, comment) for the table's header: how it was made


def biweight(lc, *, window=detrend.DEFAULT_WINDOW):
    """Divide by a sliding biweight (`detrend.flatten`): keeps transits, not slow variation.

    Parameters
    ----------
    lc : Lightcurve, positive fluxes, all good
    window : float, days, of the trend

    Returns
    -------
    Correction
    """
    flat = detrend.flatten(lc, window)
    cards = (("CORRWIN", window, "[d] window of the trend"),)
    return Correction(flat.fluxes, flat.uncertainties, cards)


def cotrend(lc, *, vectors=None):
    """Take out what the star has in common with others of its detector.

    Parameters
    ----------
    lc : light curve of good samples, e-/s, whose metadata say ``path``, ``starid``, ``mission``,
        ``sector``, ``camera``, ``ccd``, ``cadence`` [s], ``tmag``, ``column``, ``row`` and
        ``cadenceno`` (n,)
    vectors : path of a file of vectors; None: the one of the star in the folder ``cotrend`` at or
        above the light curve

    Returns
    -------
    Correction; fluxes are NaN where there are no vectors, uncertainties include those of the fit

    Raises
    ------
    BadInputError : no vectors for this light curve, or vectors of another sector, cadence or time
    """
    star = lc.metadata
    path = Path(vectors) if vectors else vectors_of(star["path"], star["starid"])
    if path is None:
        raise BadInputError(
            f"{star['path']}: no basis vectors for {star['starid']}; make them with photometry "
            f"cotrend"
        )
    basis = _read_vectors(path, (star["camera"], star["ccd"]), path.stat().st_mtime_ns)
    level = float(np.median(lc.fluxes))
    flux, at = _on_vectors(lc, level, basis, path)
    if len(basis.starid):
        position = ([star["column"]], [star["row"]], [star["tmag"]])
        weights = prior(basis, *position, [level], [star["starid"]])
    else:
        weights = flat_prior(flux, basis.vectors)
    fitted = fit(basis.vectors, basis.time, flux, weights)
    hours = 1.0 if star["mission"] == "TESS" else detrend.NOISE_HOURS
    removed = remove(
        lc.times,
        lc.fluxes / level,
        fitted,
        lambda part: _corrected(lc, level, basis, part, at),
        hours,
    )
    cards = [
        ("CTFILE", path.name[:60], ""),
        ("CTNVEC", len(basis.vectors), "number of basis vectors"),
        ("CTNADD", int(basis.additive.sum()), "of them, that add flux (scattered light)"),
        ("CTPRIOR", len(basis.starid), "quiet stars of the prior; 0: no prior"),
        *removed.cards(basis.vectors, flux[0]),
    ]
    return Correction(removed.fluxes, removed.uncertainties, tuple(cards))


def roll(lc, *, pixels=None):
    """Take out what K2's roll does to a star: `photometry.lightcurve.roll.roll`."""
    from .roll import roll as unrolled

    return Correction(*unrolled(lc, pixels=pixels))


METHODS = {"biweight": biweight, "cotrend": cotrend, "roll": roll}
_METHODS_CARDS = (
    "CORRWIN", "CTFILE", "CTN", "CTPRIOR", "CTPOS", "CTPIX", "CTSIZE", "CTSHRINK", "CTHOURS",
    "CTW", "CTKEPT", "CTOVER", "CTUNDER",
)  # fmt: skip
OPTIONS = {"biweight": ("window",), "cotrend": ("vectors",), "roll": ("pixels",)}
"""Options of each method."""


def best_method(star, vectors=None):
    """``'cotrend'`` where there are basis vectors for the star, else ``'roll'`` in K2 where the
    star's position is known, else ``'biweight'``.

    Parameters
    ----------
    star : dict, metadata of a light curve as `correct_file` makes them
    vectors : path of a file of vectors, or None
    """
    from .roll import can_unroll

    if vectors or vectors_of(star["path"], star["starid"]):
        return "cotrend"
    return "roll" if can_unroll(star) else "biweight"


def correct_file(path, *, method=None, overwrite=False, dry_run=False, **options):
    """Fill the corrected columns of one light-curve file, atomically.

    FLUX_CORR is the corrected flux relative to its level, minus 1, in ppm; NaN where the quality is
    bad. PDCSAP_FLUX is the same in e-/s. QUALITY of TESS gets the star's own flag of scattered
    light (`own_scattered_light`). All else in the file stays; its checksums are made anew.

    Parameters
    ----------
    path : path of a file that this package wrote, gzipped or not
    method : str, a key of `METHODS`; None: `best_method`
    overwrite : bool
        Also where the columns are filled already
    dry_run : bool
        Compute, but do not write
    options : of the methods: ``window`` [d] of 'biweight', ``vectors`` (path) of 'cotrend',
        ``pixels`` (path of the star's target pixel file) of 'roll'

    Returns
    -------
    dict of ``path`` (str), ``corrected`` (bool; False: was corrected before), ``method`` and
    ``cdpp`` (ppm over 6.5 h)

    Raises
    ------
    BadInputError : not one of our light curves, or nothing in it can be corrected
    """
    if method is not None and method not in METHODS:
        raise ArgumentError(f"method={method!r}: expected {' or '.join(METHODS)}")
    with open_fits(path, memmap=False) as hdulist:
        _ = [hdu.data for hdu in hdulist]  # all of it: a file cut short is not corrected
        table = _table(hdulist, path)
        if np.isfinite(table.data["FLUX_CORR"]).any() and not overwrite:
            done = table.header.get("CORRMETH")
            cdpp = table.header.get("CDPP")
            return {"path": str(path), "corrected": False, "method": done, "cdpp": cdpp}
        good, lc, level = _good_samples(table, hdulist[0].header, path)
        if "APERTURE" in hdulist:
            lc.metadata["mask"] = hdulist["APERTURE"].data & BIT_FLUX > 0
        if method is None:
            method = best_method(lc.metadata, options.get("vectors"))
        wanted = {name: options[name] for name in OPTIONS[method] if name in options}
        correction = METHODS[method](lc, **wanted)
        corrected = LightcurveArbitraryRaster(
            lc.times, correction.fluxes, correction.uncertainties, metadata=lc.metadata
        )
        noise = detrend.cdpp(corrected, detrend.NOISE_HOURS)
        noise = noise if np.isfinite(noise) else None
        _fill(table, good, correction, level)
        _forget_cards(table.header)
        table.header["CORRMETH"] = (method, "method that made FLUX_CORR")
        for keyword, value, comment in correction.cards:
            table.header[keyword] = (value, comment)
        table.header["CDPP"] = (noise, "[ppm] noise of FLUX_CORR over 6.5 hours")
        if not dry_run:
            _write(hdulist, path)
    return {"path": str(path), "corrected": True, "method": method, "cdpp": noise}


def _table(hdulist, path):
    names = hdulist["LIGHTCURVE"].columns.names if "LIGHTCURVE" in hdulist else []
    missing = [name for name in NEEDED if name not in names]
    if missing:
        with open_stream(path) as stream:  # one that is cut short says so, astropy leaves it out
            while stream.next_header() is not None:
                pass
        raise BadInputError(
            f"{path}: no column {', '.join(missing)}; "
            "only light curves that this package wrote can be corrected"
        )
    return hdulist["LIGHTCURVE"]


def _good_samples(table, primary, path):
    """(n_rows,) bool array, light curve of the good samples, their median flux [e-/s]"""
    mission = mission_of(primary)
    _flag_scattered_light(table, mission, primary)
    times = np.asarray(table.data["TIME"], dtype=float)
    flux, error = (
        np.asarray(table.data[name], dtype=float) for name in ("FLUX_RAW", "FLUX_RAW_ERR")
    )
    good = np.isfinite(times) & np.isfinite(flux)
    good &= table.data["QUALITY"] & DEFAULT_BITMASK[mission] == 0
    lc = LightcurveArbitraryRaster(
        times[good], flux[good], error[good], metadata=_about(table, primary, mission, good, path)
    )
    level = detrend.good_level(lc)
    if not level > 0:
        raise BadInputError(
            f"{path}: the median of its good samples is {level:g}, "
            "so it cannot be divided by its trend"
        )
    return good, lc, level


def _flag_scattered_light(table, mission, primary):
    """Put the star's own flag of scattered light in place of its CCD's"""
    if "FLUX_BKG" not in table.columns.names:
        return
    sector = primary.get(MISSIONS[mission].period_keyword)
    series = (table.data[name] for name in ("QUALITY", "FLUX_RAW", "FLUX_BKG"))
    table.data["QUALITY"] = own_scattered_light(*series, mission=mission, sector=sector)


def _about(table, primary, mission, good, path):
    """What a method may want to know of the star besides its flux."""
    keywords = MISSIONS[mission]
    module, output = keywords.detector_keywords

    def pair(name):
        """(n, 2) array of a column and its row; NaN where the file has none"""
        names = (f"{name}1", f"{name}2")
        if not set(names) <= set(table.columns.names):
            return np.full((good.sum(), 2), np.nan)
        return np.column_stack([np.asarray(table.data[n][good], dtype=float) for n in names])

    def middle(values):
        return float(np.nanmedian(values)) if np.isfinite(values).any() else np.nan

    centroid = pair("MOM_CENTR")
    magnitude = primary.get(keywords.magnitude_keyword)
    return {
        "path": str(path),
        "mission": mission,
        "starid": int(primary.get(keywords.id_keyword) or 0),
        "sector": primary.get(keywords.period_keyword),
        "camera": primary.get(module),
        "ccd": primary.get(output),
        "cadence": round(DAY * table.header["TIMEDEL"]) if table.header.get("TIMEDEL") else None,
        "tmag": float("nan") if magnitude is None else float(magnitude),
        "column": middle(centroid[:, 0]),
        "row": middle(centroid[:, 1]),
        "contamination": float("nan") if primary.get("CONTAM") is None else primary["CONTAM"],
        "centroid": centroid,
        "pos_corr": pair("POS_CORR"),
        "cadenceno": (
            np.asarray(table.data["CADENCENO"][good], dtype=int)
            if "CADENCENO" in table.columns.names
            else np.full(good.sum(), -1)
        ),
    }


def _forget_cards(header):
    """Take out what an earlier correction by another method says of itself."""
    for keyword in [key for key in header if key.startswith(_METHODS_CARDS)]:
        del header[keyword]


def _fill(table, good, correction, level):
    values = {
        "FLUX_CORR": (correction.fluxes - 1) / PPM,
        "FLUX_CORR_ERR": correction.uncertainties / PPM,
        "PDCSAP_FLUX": correction.fluxes * level,
        "PDCSAP_FLUX_ERR": correction.uncertainties * level,
    }
    for name in set(values) & set(table.columns.names):  # files of version 1.0 have no PDCSAP_FLUX
        table.data[name] = np.nan
        table.data[name][good] = values[name]


def _write(hdulist, path):
    for hdu in hdulist:
        hdu.add_checksum(when="checksum of the HDU")  # astropy would put the present time here
    content = io.BytesIO()
    hdulist.writeto(content)
    with open(path, "rb") as file:
        gzipped = file.read(2) == GZIP_MAGIC
    data = gzip.compress(content.getbuffer(), mtime=0) if gzipped else content.getbuffer()
    with atomic_write(path) as part:
        part.write_bytes(data)


def lightcurve_files(folder):
    """Paths of all our light-curve files at and below ``folder``, sorted."""
    return sorted(
        path for pattern in ("*_lc.fits.gz", "*_lc.fits") for path in Path(folder).rglob(pattern)
    )


def _on_vectors(lc, level, basis, path):
    """(1, n_times) relative flux at the times of the vectors, and the vectors' index of each
    sample.
    """
    star = lc.metadata
    for name in ("mission", "sector"):
        theirs = basis.header.get(name)
        if theirs is not None and theirs != star[name]:
            raise BadInputError(
                f"{star['path']}: {name} {star[name]}, but {path} has vectors of {name} {theirs}"
            )
    theirs = basis.header.get("cadence")
    if theirs and abs(theirs / star["cadence"] - 1) > 0.05:
        raise BadInputError(
            f"{star['path']}: a sample each {star['cadence']} s, but {path} has vectors for "
            f"{theirs} s"
        )
    at = np.searchsorted(basis.cadenceno, star["cadenceno"])
    at = np.minimum(at, len(basis.cadenceno) - 1)
    at = np.where(basis.cadenceno[at] == star["cadenceno"], at, -1)
    common = np.mean(at >= 0)
    if common < MIN_COMMON:
        raise BadInputError(
            f"{star['path']}: {common:.0%} of its good samples are at cadences of the vectors in "
            f"{path}; at least {MIN_COMMON:.0%} are needed"
        )
    flux = np.full((1, len(basis.time)), np.nan)
    flux[0, at[at >= 0]] = lc.fluxes[at >= 0] / level - 1
    if np.isfinite(flux).mean() < MIN_COMMON:
        raise BadInputError(
            f"{star['path']}: good samples at {np.isfinite(flux).mean():.0%} of the vectors' "
            f"cadences; at least {MIN_COMMON:.0%} are needed"
        )
    return flux, at


def _corrected(lc, level, basis, fitted, at):
    """Flux without what adds to it, over what multiplies it; and its uncertainty."""
    parts = []
    for kind in (basis.additive, ~basis.additive):
        trend = (fitted.weights[:, kind] @ basis.vectors[kind])[0]
        parts.append(np.where(at >= 0, trend[at], np.nan))
    added, multiplied = parts
    _, error = model(fitted, basis.vectors, basis.error)
    fluxes = (lc.fluxes / level - added) / (1 + multiplied)
    fluxes = fluxes / np.nanmedian(fluxes)
    uncertainties = np.hypot(lc.uncertainties / level, np.where(at >= 0, error[0][at], np.nan))
    return fluxes, uncertainties


def vectors_of(path, starid):
    """The file of vectors of a star, in the folder ``cotrend`` at or above its light curve.

    Parameters
    ----------
    path : path of the light curve
    starid : int

    Returns
    -------
    Path or None
    """
    for folder in Path(path).resolve().parents:
        if (folder / FOLDER).is_dir():
            files = tuple(
                (file, file.stat().st_mtime_ns)
                for file in sorted((folder / FOLDER).glob("*-cbv.fits"))
            )
            own = Path(path).name
            for file, _ in files:
                if int(starid) in _members(files).get(file, ()) and _same_series(own, file.name):
                    return file
            return None
    return None


def _same_series(lightcurve, vectors):
    """Whether the names are of one sector and cadence: ``…-s001-…-c0120-…`` and
    ``…-s0001-…-c0120-…``.
    """

    def numbers(name):
        parts = name.split("-")
        sector = next((int(p[1:]) for p in parts if p[:1] == "s" and p[1:].isdigit()), None)
        cadence = next((int(p[1:]) for p in parts if p[:1] == "c" and p[1:].isdigit()), None)
        return sector, cadence

    return numbers(lightcurve) == numbers(vectors)


@lru_cache(maxsize=4)
def _members(files):
    """{file: stars that its vectors are for}; the times of change are in the key of the cache."""
    return {file: frozenset(read_members(file).tolist()) for file, _ in files}


@lru_cache(maxsize=8)
def _read_vectors(path, detector, _changed):
    try:
        return read_vectors(path, detector)[0]
    except WrongUseError as error:
        raise BadInputError(str(error)) from error
