"""Method ``cotrend`` of `correct`: one light curve, the vectors of its detector, its corrected
flux.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import BadInputError, WrongUseError
from . import basis as bases
from .cotrend import fit, flat_prior, model, remove
from .detrend import NOISE_HOURS
from .vectors import read_members, read_vectors

FOLDER = "cotrend"
"""Folder of the files of vectors, beside the light curves."""

MIN_COMMON = 0.5  # of the good samples that must be at times of the vectors


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
    fluxes : (n,) array, relative, about 1; NaN where there are no vectors
    uncertainties : (n,) array, those of the fit included
    cards : list of (keyword, value, comment)

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
    basis = _read(path, (star["camera"], star["ccd"]), path.stat().st_mtime_ns)
    level = float(np.median(lc.fluxes))
    flux, at = _on_vectors(lc, level, basis, path)
    if len(basis.starid):
        position = ([star["column"]], [star["row"]], [star["tmag"]])
        prior = bases.prior(basis, *position, [level], [star["starid"]])
    else:
        prior = flat_prior(flux, basis.vectors)
    fitted = fit(basis.vectors, basis.time, flux, prior)
    hours = 1.0 if star["mission"] == "TESS" else NOISE_HOURS
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
    return removed.fluxes, removed.uncertainties, cards


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


# Which vectors


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
def _read(path, detector, _changed):
    try:
        return read_vectors(path, detector)[0]
    except WrongUseError as error:
        raise BadInputError(str(error)) from error
