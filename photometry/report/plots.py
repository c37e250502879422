"""Pictures of light curves from their files alone: one to a page, folded, or many on a sheet."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from ..constants import DAY, MISSIONS
from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..fitsfile import open_fits
from ..flags import DEFAULT_BITMASK
from ..lightcurve.fitsfiles import mission_of
from .verify import CADENCE_TOLERANCE

ENDINGS = (".png", ".pdf", ".svg")
SHEET_COLUMNS = 4
FOLD_BINS = 100


@dataclass(frozen=True)
class Curve:
    """A light-curve file of ours.

    Attributes
    ----------
    path : Path
    mission : str
    header, primary : dict, keywords of the table and of the file
    time : (n,) array, d; flux, error, corrected, background : (n,) arrays, e-/s, corrected:
        relative
    quality : (n,) int array
    centroid : (n, 2) array, pixels
    image, aperture : (n_rows, n_columns) arrays, e-/s and bits
    pixel : (column, row) on the detector of the stamp's first pixel
    target : (column, row) on the stamp of the target, NaN where the file has no coordinates
    stars : Table of the stars on the stamp: starid, tmag, column, row (pixels of the detector);
        None where they are unknown
    """

    path: Path
    mission: str
    header: dict
    primary: dict
    time: np.ndarray
    flux: np.ndarray
    corrected: np.ndarray
    background: np.ndarray
    quality: np.ndarray
    centroid: np.ndarray
    image: np.ndarray
    aperture: np.ndarray
    pixel: tuple = (0, 0)
    target: tuple = (np.nan, np.nan)
    stars: Table | None = None

    @property
    def good(self):
        """(n,) bool array, times of good quality with a flux"""
        bad = self.quality & DEFAULT_BITMASK[self.mission]
        return np.isfinite(self.time) & np.isfinite(self.flux) & (bad == 0)

    @property
    def label(self):
        keywords = MISSIONS[self.mission]
        return keywords.label(self.primary.get(keywords.id_keyword))


def read_curve(path):
    """Read a light-curve file of ours.

    Raises
    ------
    BadInputError : it is none, or damaged
    FileNotFoundError : it is not there
    """
    path = Path(path)
    with open_fits(path, memmap=False) as hdulist:
        missing = [n for n in ("LIGHTCURVE", "SUMIMAGE", "APERTURE") if n not in hdulist]
        if missing:
            raise BadInputError(
                f"{path}: no extension {', '.join(missing)}; expected a light curve of photometry"
            )
        primary, table = hdulist[0].header, hdulist["LIGHTCURVE"]
        image = hdulist["SUMIMAGE"]
        data = {name: np.array(table.data[name]) for name in table.columns.names}
        return Curve(
            path=path,
            mission=mission_of(primary),
            header=dict(table.header),
            primary=dict(primary),
            time=np.asarray(data["TIME"], float),
            flux=np.asarray(data["FLUX_RAW"], float),
            corrected=1 + 1e-6 * np.asarray(data["FLUX_CORR"], float),
            background=np.asarray(data["FLUX_BKG"], float),
            quality=np.asarray(data["QUALITY"], int),
            centroid=np.column_stack([data["MOM_CENTR1"], data["MOM_CENTR2"]]).astype(float),
            image=np.array(image.data, float),
            aperture=np.array(hdulist["APERTURE"].data, int),
            pixel=(image.header.get("CRVAL1P", 0), image.header.get("CRVAL2P", 0)),
            target=_target(primary, image.header),
            stars=_stars(hdulist["CATALOG"].data) if "CATALOG" in hdulist else None,
        )


def _target(primary, header):
    """(column, row) of the target on the stamp, by its coordinates."""
    sky = [primary.get(keyword) for keyword in ("RA_OBJ", "DEC_OBJ")]
    if None in sky or "CTYPE1" not in header:
        return np.nan, np.nan
    column, row = WCS(header).all_world2pix([sky], 0)[0]
    return float(column), float(row)


def _stars(data):
    columns = {"starid": "STARID", "tmag": "MAG", "column": "COLUMN", "row": "ROW"}
    return Table({name: np.array(data[column]) for name, column in columns.items()})


def plot_file(path, curve, *, fold=None, t0=None):
    """Draw a light curve: stamp with mask, flux, background and centroid; folded where asked.

    Parameters
    ----------
    path : path of the picture; its ending is the format: png, pdf or svg
    curve : Curve
    fold : float, d, period to fold with
    t0 : float, d, time that is put in the middle; default: that of the lowest flux
    """
    _check_ending(path)
    if fold is None:
        from ..methods.extraction import plot_target

        plot_target(path, *_as_measured(curve))
        return
    figure = _figure((9, 5))
    axes = figure.subplots()
    draw_folded(axes, curve, fold, t0)
    save(figure, path)


def _as_measured(curve):
    """What the picture of a target needs, from its file: a stamp, an extraction, the good times."""
    keywords = MISSIONS[curve.mission]
    primary = curve.primary
    starid = primary.get(keywords.id_keyword)
    tmag = primary.get(keywords.magnitude_keyword)
    mask = (curve.aperture & 2) != 0
    tmag = np.nan if tmag is None else tmag
    if curve.stars is None:
        column, row = curve.target
        stars = Table({"starid": [starid], "tmag": [tmag], "column": [column], "row": [row]})
    else:
        stars = curve.stars.copy()
        stars["column"] -= curve.pixel[0]
        stars["row"] -= curve.pixel[1]
    stamp = SimpleNamespace(
        target=SimpleNamespace(starid=starid, tmag=tmag),
        mission=curve.mission,
        sector=primary.get(keywords.period_keyword),
        cadence=_cadence(curve),
        time=curve.time,
        time_reference=keywords.time_reference,
        sumimage=curve.image,
        shape=curve.image.shape,
        column=curve.pixel[0],
        row=curve.pixel[1],
        catalog=stars,
        has_catalog=curve.stars is not None,
    )
    contamination = primary.get("CONTAM", curve.header.get("CONTAM"))
    extraction = SimpleNamespace(
        method=str(primary.get("PHOTMET", primary.get("METHOD", "flux"))),
        status=SimpleNamespace(name=primary.get("STATUS", "unknown")),
        flux=curve.flux,
        background=curve.background,
        centroid=curve.centroid,
        mask=mask,
        contamination=np.nan if contamination is None else float(contamination),
    )
    return stamp, extraction, curve.good


def _cadence(curve):
    """The nominal cadence, as the TODO-file has it and the name of the file: 1800 s of Kepler are
    1765.5 s.
    """
    seconds = DAY * curve.header.get("TIMEDEL", np.nan)
    for nominal in (20, 60, 1800):
        if abs(seconds - nominal) <= CADENCE_TOLERANCE * nominal:
            return nominal
    return round(seconds)


def draw_folded(axes, curve, period, t0=None):
    """Draw the flux against the phase, with means over a hundredth of the period.

    Parameters
    ----------
    axes : matplotlib axes
    curve : Curve
    period : float, d
    t0 : float, d, time that is put in the middle; default: where the means are lowest
    """
    if not period > 0:
        raise WrongUseError(f"--fold {period:g}: expected days, above zero")
    good = curve.good
    flux, name = best_flux(curve)
    good &= np.isfinite(flux)
    if not good.any():
        raise BadInputError(f"{curve.path}: no flux of good quality to fold")
    time, flux = curve.time[good], flux[good]
    if t0 is None:
        phase, means = _binned(time, flux, period, time[0])
        t0 = time[0] + phase[np.nanargmin(means)]
    hours = 24 * ((time - t0 + period / 2) % period - period / 2)
    axes.plot(hours, flux, ".", ms=2, color="#9aa5b0", rasterized=True)
    phase, means = _binned(time, flux, period, t0)
    axes.plot(24 * phase, means, "o", ms=3, color="#d1495b")
    axes.set(
        xlabel=f"hours from {t0:.4f} + n x {period:g} d",
        ylabel=f"{name}, relative",
        title=f"{curve.label}, folded with {period:g} d",
    )
    axes.ticklabel_format(useOffset=False)


def _binned(time, flux, period, t0):
    """(phase, mean flux) in hundredths of a period about t0; NaN where there is no flux."""
    phase = (time - t0 + period / 2) % period - period / 2
    edges = np.linspace(-period / 2, period / 2, FOLD_BINS + 1)
    index = np.clip(np.digitize(phase, edges) - 1, 0, FOLD_BINS - 1)
    number = np.bincount(index, minlength=FOLD_BINS)
    total = np.bincount(index, flux, minlength=FOLD_BINS)
    means = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return (edges[:-1] + edges[1:]) / 2, means


def best_flux(curve):
    """Corrected flux where there is any, else raw flux over its median; and its name."""
    if np.isfinite(curve.corrected).any():
        return curve.corrected, "corrected flux"
    good = curve.good
    level = np.median(curve.flux[good]) if good.any() else np.nan
    return curve.flux / level, "raw flux"


def plot_sheet(path, curves):
    """Draw many light curves on one page, each with its name and noise.

    Parameters
    ----------
    path : path of the picture
    curves : list of Curve
    """
    columns = min(SHEET_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    figure = _figure((4.2 * columns, 1.9 * rows + 0.4))
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, curve in zip(panels, curves, strict=False):
        flux, _ = best_flux(curve)
        good = curve.good & np.isfinite(flux)
        axes.plot(curve.time[good], flux[good], ".", ms=1.5, color="#33658a", rasterized=True)
        noise = curve.header.get("CDPP")
        text = "" if noise is None else f", {noise:.0f} ppm"
        axes.set_title(f"{curve.label}{text}", fontsize=8)
        axes.tick_params(labelsize=6)
        axes.ticklabel_format(useOffset=False)
    for axes in panels[len(curves) :]:
        axes.remove()
    names = sorted({MISSIONS[curve.mission].time_name for curve in curves})
    figure.supxlabel(f"time ({' or '.join(names)}, d)", fontsize=9)
    figure.supylabel("flux over its median", fontsize=9)
    figure.suptitle("star, and the noise of its flux over 6.5 hours", fontsize=9)
    save(figure, path)


def _figure(size):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise WrongUseError("plots need matplotlib: pip install 'photometry[plots]'") from error
    return Figure(figsize=size, layout="constrained")


def save(figure, path):
    """Write a figure; its name's ending is the format."""
    _check_ending(path)
    with atomic_write(path, durable=False) as part:
        figure.savefig(part, dpi=130)


def _check_ending(path):
    if Path(path).suffix not in ENDINGS:
        raise WrongUseError(f"{path}: expected a name that ends in {', '.join(ENDINGS)}")
