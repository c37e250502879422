"""Basis vectors in files, in the layout of the missions' own, and the light curves they are made
of.

Ours hold one extension of vectors, as TESS's do (``CBV.single-scale.CAMERA.CCD`` with TIME,
CADENCENO, GAP, VECTOR_1, …), and beside it ``STARS``, the quiet stars with their weights, and
``MEMBERS``, the stars that the vectors are for. Kepler's files have one extension per output
(``MODOUT_MODULE_OUTPUT``).
"""

from pathlib import Path

import numpy as np
from astropy.io import fits

from ..constants import DAY, MISSIONS
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..fitsfile import open_fits
from ..flags import DEFAULT_BITMASK, bitmask
from .basis import BasisVectors
from .fitsfiles import mission_of

MIN_FRACTION = 0.5
"""Cadences at which fewer of the stars have a good value are left out of an ensemble."""

SCATTERED_LIGHT = bitmask(["ScatteredLight"], "TESS")
FIRST_OWN_SECTOR = 20  # from it on the mission flags scattered light per target


class LightCurves:
    """Light curves of one sector, camera, CCD and cadence on a common list of cadences.

    Attributes
    ----------
    path : list of Path
    mission : str, or None where there are none
    starid, column, row, tmag, level : (n_stars,) arrays; pixels, mag, e-/s
    cadenceno : (n_times,) int array; time : (n_times,) array, d
    flux : (n_stars, n_times) array, relative, about 0, NaN where there is no good value
    background : (n_stars, n_times) array, e-/s
    failed : dict, path -> why it could not be used
    """

    def __init__(self, paths):
        """Read light-curve files; what cannot be used goes into ``failed``."""
        self.failed = {}
        self.path, curves = [], []
        for path in paths:
            try:
                curves.append(_read_curve(path))
                self.path.append(Path(path))
            except BadInputError as error:
                self.failed[str(path)] = str(error)
        self.mission = curves[0]["mission"] if curves else None
        for name in ("starid", "tmag", "level", "column", "row"):
            setattr(self, name, np.array([curve[name] for curve in curves]))
        self._align(curves)

    def __len__(self):
        return len(self.path)

    def _align(self, curves):
        """Put all on the cadences that most of them have."""
        if not curves:
            self.cadenceno, self.time = np.zeros(0, int), np.zeros(0)
            self.flux = self.background = np.zeros((0, 0))
            return
        every = np.unique(np.concatenate([curve["cadenceno"] for curve in curves]))
        self.flux, self.background = np.full((2, len(curves), len(every)), np.nan)
        times = np.full((len(curves), len(every)), np.nan)
        for i, curve in enumerate(curves):
            at = np.searchsorted(every, curve["cadenceno"])
            self.flux[i, at] = curve["flux"]
            self.background[i, at] = curve["background"]
            times[i, at] = curve["time"]
        seen = np.isfinite(self.flux).mean(axis=0) >= MIN_FRACTION
        self.flux, self.background = self.flux[:, seen], self.background[:, seen]
        self.cadenceno = every[seen]
        # barycentric times differ by seconds between stars of a CCD: the median star's are near
        # enough for trends of hours
        self.time = np.nanmedian(times[:, seen], axis=0)


def own_scattered_light(quality, flux, background, *, mission, sector):
    """Flag scattered light by the star's own background, not by that of its CCD.

    The flag is set where the light that is added to the background is more than the star and its
    median background together, so that photon noise alone is 1.4 times the median one. Less is for
    the additive vectors. The mission's own flags are per target from sector 20 on, and stay;
    those before are of a whole CCD and are dropped.

    Parameters
    ----------
    quality : (n_times,) int array, bits of `flags.TESS`
    flux, background : (n_times,) arrays, e-/s in the mask; NaN where they are not known
    mission : str
    sector : int or None

    Returns
    -------
    (n_times,) int array; ``quality`` itself for missions other than TESS, and where the background
    is not known
    """
    known = np.isfinite(flux) & np.isfinite(background)
    if mission != "TESS" or not known.any():
        return quality
    reference = float(np.median(background[known]))
    limit = float(np.median(flux[known])) + max(reference, 0.0)
    high = known & (background - reference > limit) & (limit > 0)
    if sector is not None and sector < FIRST_OWN_SECTOR:
        quality = quality & ~SCATTERED_LIGHT
    return np.where(high, quality | SCATTERED_LIGHT, quality)


def _read_curve(path):
    """Cadence numbers, times, relative flux and background of the good samples of a file."""
    with open_fits(path, memmap=False) as hdulist:
        if "LIGHTCURVE" not in hdulist or "FLUX_RAW" not in hdulist["LIGHTCURVE"].columns.names:
            raise BadInputError(f"{path}: no column FLUX_RAW; not a light curve of ours")
        header, table = hdulist[0].header, hdulist["LIGHTCURVE"].data
        mission = mission_of(header)
        keywords = MISSIONS[mission]
        flux, background = (np.asarray(table[n], dtype=float) for n in ("FLUX_RAW", "FLUX_BKG"))
        sector = header.get(keywords.period_keyword)
        quality = own_scattered_light(
            table["QUALITY"], flux, background, mission=mission, sector=sector
        )
        good = np.isfinite(table["TIME"]) & np.isfinite(flux)
        good &= quality & DEFAULT_BITMASK[mission] == 0
        level = float(np.median(flux[good])) if good.any() else np.nan
        if not level > 0:
            raise BadInputError(f"{path}: the median flux of its good samples is {level:g}")
        return {
            "mission": mission,
            "starid": int(header.get(keywords.id_keyword) or 0),
            "tmag": float(header.get(keywords.magnitude_keyword) or np.nan),
            "level": level,
            "column": _middle(table["MOM_CENTR1"][good]),
            "row": _middle(table["MOM_CENTR2"][good]),
            "cadenceno": np.asarray(table["CADENCENO"][good], dtype=int),
            "time": np.asarray(table["TIME"][good], dtype=float),
            "flux": flux[good] / level - 1,
            "background": background[good],
        }


def _middle(values):
    """Median of the numbers among values; NaN where there is none."""
    values = np.asarray(values, dtype=float)
    return float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else np.nan


# Files of vectors


def vectors_name(header):
    """Name of the file of vectors of an ensemble.

    Parameters
    ----------
    header : dict of mission, sector, camera, ccd, cadence, areas
    """
    areas = "-".join(str(area) for area in header["areas"])
    return (
        f"{header['mission'].lower()}-s{header['sector']:04d}-{header['camera']}-{header['ccd']}"
        f"-a{areas}-c{header['cadence']:04d}-cbv.fits"
    )


def write_vectors(path, basis, members):
    """Write basis vectors.

    Parameters
    ----------
    path : path
    basis : BasisVectors, whose ``header`` says mission, sector, camera, ccd, cadence and areas
    members : (n,) int array, stars that the vectors are for
    """
    header = basis.header
    mission = MISSIONS[header["mission"]]
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = (header["mission"], "telescope")
    primary.header[mission.period_keyword] = (header["sector"], mission.period_name)
    primary.header["CREATOR"] = ("photometry cotrend", "program that made this file")
    columns = [
        fits.Column("TIME", "D", unit=f"BJD - {mission.time_reference}, days", array=basis.time),
        fits.Column("CADENCENO", "J", array=basis.cadenceno),
        fits.Column("GAP", "L", array=np.zeros(len(basis.time), bool)),
        *(
            fits.Column(f"VECTOR_{number}", "D", array=vector)
            for number, vector in enumerate(basis.vectors, 1)
        ),
    ]
    name = f"CBV.single-scale.{header['camera']}.{header['ccd']}"
    vectors = fits.BinTableHDU.from_columns(columns, name=name)
    vectors.header["CAMERA"] = (header["camera"], "camera (Kepler: module)")
    vectors.header["CCD"] = (header["ccd"], "CCD (Kepler: output)")
    vectors.header["CADENCE"] = (header["cadence"], "[s] time between samples")
    vectors.header["AREAS"] = (",".join(map(str, header["areas"])), "CBV areas of the stars")
    vectors.header["CBVVALID"] = (1, "nonzero if the vectors are valid")
    vectors.header["NADDVEC"] = (int(basis.additive.sum()), "first vectors, that add flux in e-/s")
    for number, error in enumerate(basis.error, 1):
        vectors.header[f"ERR{number}"] = (float(error), f"noise of each value of VECTOR_{number}")
    for number, scatter in enumerate(basis.prediction):
        vectors.header[f"PRED{number}"] = (float(scatter), f"left out beside {number} vectors")
    stars = fits.BinTableHDU.from_columns(
        [
            fits.Column("STARID", "K", array=basis.starid),
            fits.Column("COLUMN", "D", unit="pixel", array=basis.column),
            fits.Column("ROW", "D", unit="pixel", array=basis.row),
            fits.Column("MAG", "D", unit="mag", array=basis.tmag),
            fits.Column("WEIGHTS", f"{basis.weights.shape[1]}D", array=basis.weights),
        ],
        name="STARS",
    )
    table = fits.BinTableHDU.from_columns(
        [fits.Column("STARID", "K", array=np.asarray(members))], name="MEMBERS"
    )
    hdulist = fits.HDUList([primary, vectors, stars, table])
    with atomic_write(path) as part:
        hdulist.writeto(part, overwrite=True, checksum=True)


def read_vectors(path, detector=None):
    """Read basis vectors: ours, or the mission's.

    Parameters
    ----------
    path : path
    detector : (camera, ccd) of TESS or (module, output) of Kepler; needed where a file holds
        several

    Returns
    -------
    basis : BasisVectors; without stars where the file is the mission's
    members : (n,) int array, or None where the file does not say which stars it is for

    Raises
    ------
    BadInputError : not a file of vectors, damaged, or none in it of this detector
    """
    with open_fits(path, memmap=False) as hdulist:
        hdu = _vectors_of(hdulist, path, detector)
        data, header = hdu.data, hdu.header
        names = [name for name in hdu.columns.names if name.startswith("VECTOR_")]
        gap = np.asarray(data["GAP" if "GAP" in hdu.columns.names else "GAPFLAG"], dtype=bool)
        vectors = np.array([data[name] for name in names], dtype=float)
        time_column = "TIME" if "TIME" in hdu.columns.names else "TIME_MJD"
        time = np.asarray(data[time_column], dtype=float)
        usable = ~gap & np.isfinite(time) & np.isfinite(vectors).all(axis=0)
        if usable.sum() < 2 * len(vectors):
            raise BadInputError(f"{path}: vectors at {usable.sum()} times only")
        if (np.diff(time[usable]) <= 0).any():
            raise BadInputError(f"{path}: times of the vectors do not increase")
        vectors = vectors[:, usable]
        vectors = vectors[np.ptp(vectors, axis=1) > 0]
        if not len(vectors):
            raise BadInputError(f"{path}: none of the {len(names)} vectors varies")
        stars = _stars_of(hdulist, len(vectors))
        if stars is None:  # the mission's, which need be neither orthonormal nor of mean 0
            vectors = np.linalg.qr((vectors - vectors.mean(axis=1, keepdims=True)).T)[0].T
            stars = {name: np.zeros(0) for name in ("starid", "column", "row", "tmag")}
            stars["weights"] = np.zeros((0, len(vectors)))
        additive = np.arange(len(vectors)) < header.get("NADDVEC", 0)
        primary = hdulist[0].header
        mission = primary.get("TELESCOP", "").strip() or "TESS"
        kind = MISSIONS.get(mission, MISSIONS["Kepler"])
        if mission == "Kepler" and "CAMPAIGN" in primary:
            kind = MISSIONS["K2"]
        members = np.asarray(hdulist["MEMBERS"].data["STARID"]) if "MEMBERS" in hdulist else None
        return (
            BasisVectors(
                cadenceno=np.asarray(data["CADENCENO"], dtype=int)[usable],
                time=time[usable],
                vectors=vectors,
                error=np.array([header.get(f"ERR{n}", 0.0) for n in range(1, len(vectors) + 1)]),
                additive=additive,
                header={
                    "mission": kind.name,
                    "sector": primary.get(kind.period_keyword),
                    "cadence": header.get("CADENCE") or _cadence(time[usable]),
                    "path": str(path),
                },
                **stars,
            ),
            members,
        )


def _cadence(time):
    """Seconds between samples."""
    return round(DAY * float(np.median(np.diff(time))))


def _vectors_of(hdulist, path, detector):
    """The extension with the vectors of a detector."""
    tables = [
        hdu
        for hdu in hdulist
        if hdu.name.upper().startswith(("CBV.SINGLE-SCALE", "MODOUT_")) and hdu.data is not None
        and len(hdu.data)
    ]  # fmt: skip
    if not tables:
        raise BadInputError(
            f"{path}: no basis vectors in it; expected an extension CBV.single-scale.CAMERA.CCD "
            "or MODOUT_MODULE_OUTPUT"
        )
    if detector is None:
        if len(tables) > 1:
            raise WrongUseError(f"{path}: vectors of {len(tables)} detectors; say which")
        return tables[0]
    ending = (f".{detector[0]}.{detector[1]}", f"_{detector[0]}_{detector[1]}")
    for hdu in tables:
        if hdu.name.endswith(ending):
            return hdu
    raise BadInputError(
        f"{path}: no vectors of detector {detector[0]}, {detector[1]}; it has "
        f"{', '.join(hdu.name for hdu in tables[:4])}{' …' if len(tables) > 4 else ''}"
    )


def _stars_of(hdulist, n_vectors):
    """The quiet stars of our files, as attributes of BasisVectors; None in a mission's file."""
    if "STARS" not in hdulist:
        return None
    stars = hdulist["STARS"].data
    weights = np.asarray(stars["WEIGHTS"], dtype=float).reshape(len(stars), n_vectors)
    columns = {"starid": "STARID", "column": "COLUMN", "row": "ROW", "tmag": "MAG"}
    return {name: np.asarray(stars[key]) for name, key in columns.items()} | {"weights": weights}


def read_members(path):
    """The stars that the vectors of a file are for: (n,) int array, empty where it does not say."""
    with open_fits(path, memmap=False) as hdulist:
        if "MEMBERS" not in hdulist:
            return np.zeros(0, int)
        return np.array(hdulist["MEMBERS"].data["STARID"], dtype=int)
