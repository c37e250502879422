"""Target pixel files with known truth: files as SPOC's, and beside them ``truth.ecsv`` and the
catalogue ``catalog.ecsv``.

A pixel holds the light of all stars through the pixel response function, moved by the pointing, and
the background; charge above the full well runs along the columns. Each pixel then gets independent
shot and read noise, of which FLUX_ERR is the exact standard deviation. The background that is
subtracted is wrong by a number common to the stamp, drawn anew at each time with the standard
deviation FLUX_BKG_ERR, as in the real files.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from ..constants import DAY
from ..files import atomic_write
from ..methods.prf import GaussianPRF
from . import field, spacecraft
from .field import TargetPixelSettings, make_room
from .spacecraft import DETECTORS, bleed
from .tpffile import file_name, row_type, write_target_pixel_file

COLLECTED, OPTIMAL, FOR_BACKGROUND, FOR_CENTROID = 1, 2, 4, 8  # bits of APERTURE
OUTPUT_A = 32  # and 64, 128, 256 for outputs B, C, D of TESS
BACKGROUND_ERROR = 0.26  # e-/s, coherent over the stamp: FLUX_BKG_ERR of a file of sector 1
SUN_GRAVITY = 4.44  # log10(cm/s2)
PIECE = 1_000_000  # pixels that are computed at once; bounds the memory


def simulate_target_pixel_files(folder, settings=None, *, prf=None, overwrite=False, progress=iter):
    """Write target pixel files, ``truth.ecsv`` and ``catalog.ecsv`` into a folder. The same
    settings give the same bytes.

    Parameters
    ----------
    folder : is made if it does not exist
    settings : TargetPixelSettings
    prf : PRF, default the analytic one
    overwrite : bool, replace an earlier simulation with other settings
    progress : function that wraps the sequence of targets, e.g. ``rich.progress.track``

    Returns
    -------
    truth : astropy Table, one row per target; see :func:`_truth`

    Raises
    ------
    WrongUseError : the folder holds another simulation, or a catalogue that is not simulated
    """
    settings = settings or TargetPixelSettings()
    prf = prf or GaussianPRF(DETECTORS[settings.mission].prf)
    folder = Path(folder)
    make_room(folder, asdict(settings), overwrite=overwrite)
    rng = np.random.default_rng(settings.seed)
    if settings.mission == "TESS":
        wcs = spacecraft.ccd_wcs(settings.ccd, settings.ra, settings.decl)
    else:
        wcs = spacecraft.channel_wcs(settings.ra, settings.decl)
    targets = field.draw_targets(settings, wcs, rng)
    neighbours = field.draw_neighbours(targets, settings, wcs, rng)
    span = settings.times * DETECTORS[settings.mission].step(settings.cadence) / DAY
    start = spacecraft.start_time(settings.sector, settings.mission)
    targets = field.draw_signals(targets, span, start, settings, rng)
    pointing = spacecraft.simulate_pointing(
        settings.times,
        settings.cadence,
        settings.sector,
        rng,
        jitter=settings.jitter,
        background=settings.background,
        mission=settings.mission,
    )
    stars = _Stars(targets, neighbours)
    rows = [
        _write_target(folder, k, targets[k], stars, wcs, pointing, settings, prf)
        for k in progress(range(len(targets)))
    ]
    truth = _truth(targets, rows, settings)
    _write_table(truth, folder / "truth.ecsv")
    if settings.catalog:
        _write_table(stars.catalog(settings), folder / "catalog.ecsv")
    return truth


class _Stars:
    """All stars, to be found by their position on the detector."""

    def __init__(self, targets, neighbours):
        from astropy.table import vstack
        from scipy.spatial import cKDTree

        self.table = vstack([targets, neighbours])
        self._tree = cKDTree(np.column_stack([self.table["row"], self.table["column"]]))

    def near(self, row, column, reach):
        """Indices of the stars within a square, the one at its middle first."""
        found = np.array(self._tree.query_ball_point([row, column], reach, p=np.inf))
        offset = np.hypot(self.table["row"][found] - row, self.table["column"][found] - column)
        return found[np.argsort(offset, kind="stable")]

    def catalog(self, settings):
        """The table that an astronomer would have: no detector positions, no signals."""
        catalog = self.table["starid", "ra_J2000", "decl_J2000", "pm_ra", "pm_decl", "tmag", "teff"]
        catalog.sort(["tmag", "starid"])
        catalog.meta = {"simulated": True}
        if settings.mission == "TESS":
            catalog.meta |= {"camera_centre_ra": settings.ra, "camera_centre_dec": settings.decl}
        return catalog


@dataclass(frozen=True)
class _Scene:
    """What falls on one stamp."""

    rows: np.ndarray  # detector rows and columns of the pixels
    columns: np.ndarray
    wcs: WCS
    row: np.ndarray  # (n_stars,) detector positions; the target is the first star
    column: np.ndarray
    flux: np.ndarray  # (n_stars,) e-/s

    def image(self, prf, motion=(0.0, 0.0), signal=1.0, stars=slice(None)):
        """Image(s) in e-/s; ``motion`` (..., 2) pixels, ``signal`` (...) relative flux of the
        target.
        """
        motion = np.asarray(motion, dtype=float)
        flux = np.broadcast_to(self.flux, (*motion.shape[:-1], self.flux.size)).copy()
        flux[..., 0] *= signal
        row, column = self.row + motion[..., :1], self.column + motion[..., 1:]
        return prf.render(
            flux[..., stars], row[..., stars], column[..., stars], self.rows, self.columns
        )


def _scene(target, stars, wcs, settings):
    """The stamp of a target and the stars that shine on it, placed by the stamp's own WCS."""
    shape = _stamp_shape(target["tmag"], settings)
    corner = [
        round(float(target[axis])) - size // 2
        for axis, size in zip(("row", "column"), shape, strict=True)
    ]
    rows, columns = (start + np.arange(size) for start, size in zip(corner, shape, strict=True))
    stamp_wcs = spacecraft.local_wcs(wcs, target["column"], target["row"], (columns[0], rows[0]))
    near = stars.table[stars.near(target["row"], target["column"], max(shape) / 2 + 8)]
    column, row = stamp_wcs.wcs_world2pix(near["ra"], near["decl"], 0)
    flux = field.flux_of(near["tmag"], settings.mission)
    return _Scene(rows, columns, stamp_wcs, row + rows[0], column + columns[0], flux)


def _stamp_shape(tmag, settings):
    """Rows and columns of a stamp: taller for stars that bleed along the columns, with room to
    spare.
    """
    n_rows, n_columns = settings.stamp_shape
    # pixels that the light in the star's two main columns fills
    full_well = DETECTORS[settings.mission].full_well
    filled = 0.7 * field.flux_of(tmag, settings.mission) / full_well
    return n_rows + 2 * int(np.ceil(filled)) * (filled > 1), n_columns


def _write_target(folder, number, target, stars, wcs, pointing, settings, prf):
    """Write the file of one target; returns what is only known now, for the truth."""
    scene = _scene(target, stars, wcs, settings)
    aperture, measures = _optimal_aperture(scene, prf, settings)
    name = file_name(target["starid"], settings.sector, settings.cadence, settings.mission)
    star = {key: target[key].item() for key in ("starid", "pm_ra", "pm_decl", "tmag", "teff")}
    star |= {
        "ra": target["ra_J2000"].item(),
        "decl": target["decl_J2000"].item(),
        "logg": SUN_GRAVITY,
        "radius": 1.0,
    }
    names = ("mission", "sector", "camera", "ccd", "cadence")
    stamp = {key: getattr(settings, key) for key in names}
    stamp |= {
        "wcs": scene.wcs,
        "column": int(scene.columns[0]),
        "row": int(scene.rows[0]),
        "aperture": aperture,
    }
    stamp |= {"crowding": measures["crowding"], "captured": measures["aperture_fraction"]}
    times = pointing.barycentric(target["ra"], target["decl"])
    stamp["timecorr"] = times[1][0], times[1][-1]
    pieces = _pieces(scene, target, times, pointing, prf, settings, number)
    with atomic_write(folder / name, durable=False) as part:
        write_target_pixel_file(part, star, stamp, pieces, settings.times)
        if target["truncated"]:
            _cut_off(part)
    return {"file": name, **measures}


def _pieces(scene, target, times, pointing, prf, settings, number):
    """Rows of the table, a bounded number of pixels at a time. Random numbers do not depend on how
    many.
    """
    seeds = np.random.SeedSequence([settings.seed, number]).spawn(2)
    for_pixels, for_background = (np.random.default_rng(seed) for seed in seeds)
    wrong_background = BACKGROUND_ERROR * for_background.standard_normal((len(pointing), 1, 1))
    n_pixels = scene.rows.size * scene.columns.size
    step = max(1, PIECE // n_pixels)
    empty = _empty_times(pointing, settings)
    signal = _signal(target, times[0])
    for start in range(0, len(pointing), step):
        part = slice(start, start + step)
        table = _piece(scene, signal, times, pointing, part, prf, settings, for_pixels)
        table["FLUX"] -= wrong_background[part]
        table["FLUX_BKG"] += wrong_background[part]
        for name in ("FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR"):
            table[name][empty[part]] = np.nan
        if not settings.errors:
            table["FLUX_ERR"] = np.nan
        yield table


def _empty_times(pointing, settings):
    """Times at which no pixel has a value though nothing is flagged, (n_times,) bool array."""
    candidates = np.flatnonzero(pointing.exposed & (pointing.quality == 0))
    rng = np.random.default_rng([settings.seed, 1])
    empty = np.zeros(len(pointing), dtype=bool)
    empty[rng.permutation(candidates)[: settings.empty]] = True
    return empty


def _piece(scene, signal, times, pointing, part, prf, settings, rng):
    """Rows of the table for some times, with the background as it is."""
    camera = DETECTORS[settings.mission]
    background, exposed = pointing.background[part, None, None], pointing.exposed[part]
    light = scene.image(prf, pointing.motion[part], signal[part]) + background
    light = bleed(light, camera.full_well)
    error = camera.noise(light, scene.columns, settings.cadence)
    measured = light + error * rng.standard_normal(light.shape, dtype=np.float32)
    table = np.zeros(exposed.size, row_type(light.shape[1:], settings.mission))
    table["TIME"], table["TIMECORR"] = (series[part] for series in times)
    table["CADENCENO"], table["QUALITY"] = pointing.cadenceno[part], pointing.quality[part]
    _, exposure = camera.frames(settings.cadence)
    gains = np.array(camera.gains)[camera.output_of(scene.columns)]
    table["RAW_CNTS"] = measured * (exposure / gains)
    table["FLUX"] = measured - background
    table["FLUX_ERR"] = error
    table["FLUX_BKG"] = background
    table["FLUX_BKG_ERR"] = BACKGROUND_ERROR
    table["POS_CORR2"], table["POS_CORR1"] = pointing.motion[part].T
    for name in ("FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR", "POS_CORR1", "POS_CORR2"):
        table[name][~exposed] = np.nan
    if "COSMIC_RAYS" in table.dtype.names:
        table["COSMIC_RAYS"] = np.nan
    table["RAW_CNTS"][~exposed] = -1
    return table


def _signal(target, time):
    """Relative flux of the target at each time."""
    time = np.nan_to_num(time)
    relative = np.ones(time.size)
    if np.isfinite(target["transit_period"]):
        relative *= field.transit(
            time, *(target[f"transit_{name}"] for name in ("period", "epoch", "duration", "depth"))
        )
    if np.isfinite(target["variable_period"]):
        relative *= field.sinusoid(time, target["variable_period"], target["variable_amplitude"])
    return relative


def _optimal_aperture(scene, prf, settings):
    """The APERTURE image, with the pixels whose sum has the best signal to noise, and what can be
    said of its sum.

    Pixels are added in the order of their own signal to noise, as in Bryson et al. 2010 (Proc. SPIE
    7740, 77401D).
    """
    camera = DETECTORS[settings.mission]
    own = bleed(scene.image(prf, stars=slice(0, 1)), camera.full_well)
    light = bleed(scene.image(prf), camera.full_well)
    variance = camera.noise(light + settings.background, scene.columns, settings.cadence) ** 2
    order = np.argsort(-(own / np.sqrt(variance)).ravel(), kind="stable")
    signal, noise2 = np.cumsum(own.ravel()[order]), np.cumsum(variance.ravel()[order])
    chosen = np.zeros(own.size, dtype=bool)
    chosen[order[: np.argmax(signal / np.sqrt(noise2)) + 1]] = True
    chosen = chosen.reshape(own.shape)
    bits = COLLECTED + chosen * OPTIMAL
    if settings.mission == "TESS":
        bits += chosen * FOR_CENTROID + (light < 5) * ~chosen * FOR_BACKGROUND
        bits += OUTPUT_A * 2 ** camera.output_of(scene.columns)
    coherent = BACKGROUND_ERROR * chosen.sum()
    return bits, {
        "aperture_fraction": float(own[chosen].sum() / scene.flux[0]),
        "crowding": float(own[chosen].sum() / light[chosen].sum()),
        "aperture_flux": float(light[chosen].sum()),
        "aperture_noise": float(np.sqrt(variance[chosen].sum() + coherent**2)),
        "aperture_pixels": int(chosen.sum()),
        "stars_in_stamp": int(np.sum(_inside(scene))),
    }


def _inside(scene):
    in_rows = (scene.row >= scene.rows[0] - 0.5) & (scene.row <= scene.rows[-1] + 0.5)
    return (
        in_rows
        & (scene.column >= scene.columns[0] - 0.5)
        & (scene.column <= scene.columns[-1] + 0.5)
    )


def _truth(targets, rows, settings):
    """What was put in, one row per target.

    Positions (ra, decl at the epoch of the images; detector row and column without motion),
    ``flux`` (e-/s, without transits and noise), the signals, and for the aperture of the file:
    ``aperture_fraction`` (fraction of the star's flux in it), ``crowding`` (fraction of the star in
    its light), ``aperture_flux`` (e-/s, all stars), ``aperture_noise`` (e-/s at one time) and
    ``aperture_pixels``.
    """
    truth = targets.copy()
    truth["flux"] = field.flux_of(truth["tmag"], settings.mission)
    for name in rows[0]:
        truth[name] = [row[name] for row in rows]
    front = ["starid", "file", "tmag", "flux", "ra", "decl", "row", "column"]
    truth = truth[front + [name for name in truth.colnames if name not in front]]
    truth.meta = {"settings": asdict(settings)}
    return truth


def _write_table(table, path):
    with atomic_write(path, durable=False) as part:
        table.write(part, format="ascii.ecsv", overwrite=True)


def _cut_off(path):
    """Keep six tenths of a file: it ends within the table of pixels."""
    with open(path, "r+b") as file:
        file.truncate(int(path.stat().st_size * 0.6))
