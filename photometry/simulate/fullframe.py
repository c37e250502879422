"""Full-frame images of one CCD with known truth: FITS files as TESS makes them (``…_ffic.fits``), a
catalogue, and what is in them.

Format: TESS Science Data Products Description Document (EXP-TESS-ARC-ICD-TM-0014), section 3.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.time import Time

from .._version import __version__
from ..catalog.tables import sector_epoch
from ..constants import DAY
from ..errors import SettingsError
from ..files import atomic_write
from ..methods.prf import PRF, GaussianPRF
from ..sky import unit_vectors
from . import spacecraft
from .field import check_range, flux_of, make_room
from .fullframe_scene import (
    BRIGHTER_PER_MAG,
    Sky,
    draw_faint_stars,
    draw_stars,
    image_wcs,
    place_on_image,
    relative_flux,
)
from .spacecraft import bleed, simulate_pointing, start_time

CATALOG_COLUMNS = ["starid", "ra", "decl", "pm_ra", "pm_decl", "tmag", "teff"]
# mag below the faintest targets that the catalogue goes, as the TESS Input Catalog does
CATALOG_DEPTH = 3.0
# Side of the square that gets a star's light, in pixels to each side of it: the flux beyond is
# below 0.01 e-/s per pixel.
PATCHES = ((4.0, 60), (8.0, 20), (99.0, 10))  # (down to this magnitude, pixels)
COSMIC_RAYS = 1e-6  # per pixel and second, that survive on board
MEAN_HIT = 500.0  # e-
FAINT_PATCH = 6  # likewise, for stars below the faint limit
SMALL = 0.02  # pixels
STARS_AT_ONCE = 5000  # bounds the memory
# images smaller than 16 pixels have no room for a star
RANGES = {
    "size": (16, 2048), "n_frames": (1, 100_000), "stars": (0, 1_000_000),
    "seed": (0, 2**63 - 1), "sector": (1, 999), "camera": (1, 4), "ccd": (1, 4),
    "cadence": (2, 3600), "jitter": (0, 100), "asteroids": (0, 10_000),
    "bright": (-2, 25), "faint": (-2, 25), "fainter": (0, 10), "ra": (0, 360), "decl": (-90, 90),
}  # fmt: skip
LEADING_COLUMNS, TRAILING_COLUMNS, TRAILING_ROWS = 44, 44, 30  # that see no sky


@dataclass
class FullFrameSimulation:
    """One CCD in one sector. Image ``i`` is made when it is asked for, the same for the same seed
    in any order.

    Parameters
    ----------
    size : int, rows and columns that see the sky; 2048 is a whole CCD
    n_frames : int, exposures of the sector; some fall into the gap in its middle and are not made
    stars : int, or a table as `tables.read_stars` or `fullframe_scene.draw_stars` make it
    prf : pixel response; default: analytic, wider far from the camera's centre
    jitter : float, pixels, scatter of the pointing. The default is what SPOC's POS_CORR has in
        sectors 1 and 24, in means of 30 minutes and without what is slower than two days: 0.0016 to
        0.0074, mostly near 0.001.
    cosmic_rays, saturation, collateral : bool; collateral adds the columns and rows that see no sky
    asteroids : int, moving objects
    bright, faint : float, limits of the magnitudes where stars are drawn
    fainter : float, mag; where stars are drawn, the images also have the constant stars that the
        luminosity function lets expect down to so many magnitudes below ``faint``. They are the
        floor of every real image of TESS; the catalogue has the brighter ones of them
        (`CATALOG_DEPTH`).
    ra, decl : float, deg, where the middle of the image looks
    """

    size: int = 256
    n_frames: int = 300
    stars: int | Table = 400
    seed: int = 1
    sector: int = 1
    camera: int = 1
    ccd: int = 1
    cadence: int = 1800
    prf: PRF | None = None
    sky: Sky = field(default_factory=Sky)
    jitter: float = 0.002
    cosmic_rays: bool = True
    saturation: bool = True
    collateral: bool = False
    asteroids: int = 0
    bright: float = 6.0
    faint: float = 15.0
    fainter: float = 5.0
    ra: float = 90.0
    decl: float = -60.0

    def __post_init__(self):
        for name, (lowest, highest) in RANGES.items():
            if name != "stars" or isinstance(self.stars, int):
                check_range(name, getattr(self, name), lowest, highest)
        for name in ("level", "glow", "scattered"):
            check_range(name, getattr(self.sky, name), 0, 1e6)
        if self.bright >= self.faint:
            raise SettingsError(f"bright={self.bright}: expected less than faint={self.faint}")
        rng = np.random.default_rng(self.seed)
        self.shape = (self.size, self.size)
        self.wcs = image_wcs(self.shape, self.ra, self.decl)
        self.epoch = sector_epoch(self.sector)
        self.pointing = simulate_pointing(
            self.n_frames, self.cadence, self.sector, rng, jitter=self.jitter
        )
        self.exposures = np.flatnonzero(self.pointing.exposed)  # the frames that exist
        n_faint = 0
        if isinstance(self.stars, int):
            n_faint = round(self.stars * (10 ** (BRIGHTER_PER_MAG * self.fainter) - 1))
            self.stars = draw_stars(
                self.stars,
                self.wcs,
                self.shape,
                rng,
                bright=self.bright,
                faint=self.faint,
                epoch=self.epoch,
            )
        elif "kind" not in self.stars.colnames:
            self.stars = place_on_image(self.stars, self.wcs, self.epoch, self.shape)
        self.flux = flux_of(self.stars["tmag"])
        self._directions = unit_vectors(
            *self.wcs.all_pix2world(self.stars["column"], self.stars["row"], 0)
        )
        if self.prf is None:
            centre = self.size - 0.5, (self.size - 0.5 if self.ccd in (1, 3) else -0.5)
            self.prf = GaussianPRF(
                widening=0.3 * (GaussianPRF.DETECTOR_SIZE / self.size) ** 2, axis=centre
            )
        self._asteroids = self._draw_asteroids(rng)
        self._patches = self._sort_into_patches()
        self.faint_stars = draw_faint_stars(
            n_faint,
            self.wcs,
            self.shape,
            rng,
            bright=self.faint,
            faint=self.faint + self.fainter,
            epoch=self.epoch,
        )
        self._floor = self._render_faint_stars()

    def star_image(self, i):
        """Light of the stars alone in exposure ``i``, (n_rows, n_columns) array, e-/s, before
        saturation.
        """
        # signals are functions of the star's own barycentric time
        delay = self.pointing.satellite[i] @ self._directions / DAY
        flux = self.flux * relative_flux(self.stars, self._since_start(i) + delay)
        motion = self.pointing.motion[i]
        row, column = (
            np.asarray(self.stars["row"]) + motion[0],
            np.asarray(self.stars["column"]) + motion[1],
        )
        image = self._floor[0] + motion @ self._floor[1:]
        for some, half in self._patches:
            image += self._render(flux[some], row[some], column[some], half)
        if len(self._asteroids["flux"]):
            position = self._asteroids["start"] + self._asteroids["speed"] * (self._since_start(i))
            image += self._render(self._asteroids["flux"], *(position + motion).T, 10)
        return image.reshape(self.shape)

    def background(self, i):
        """Light that is not from stars in exposure ``i``, (n_rows, n_columns) array, e-/s."""
        return self.sky.image(self.shape, self.ccd, self._phase(i))

    def image(self, i):
        """One exposure as the detector sees it.

        Returns
        -------
        flux, error : (n_rows, n_columns) float32 arrays, e-/s
        """
        rng = np.random.default_rng([self.seed, int(i)])
        signal = self.star_image(i) + self.background(i)
        if self.saturation:
            signal = bleed(signal)
        columns = spacecraft.FIRST_COLUMN + np.arange(self.size) * 2048 // self.size
        error = spacecraft.noise(signal, columns, self.cadence)
        flux = signal + error * rng.standard_normal(signal.shape)
        if self.cosmic_rays:
            self._add_cosmic_rays(flux, rng)
        return flux.astype(np.float32), error.astype(np.float32)

    def truth(self):
        """Table of the stars: position in the image (0-based, at the mean pointing), flux (e-/s),
        and how they vary.
        """
        truth = self.stars.copy()
        truth["flux"] = self.flux
        first = start_time(self.sector)
        truth["t0"] = truth["t0"] + first  # BTJD
        names = ("seed", "sector", "camera", "ccd", "cadence", "size")
        truth.meta = {name: getattr(self, name) for name in names}
        truth.meta |= {
            "epoch": self.epoch,
            "full_well": "200000 e- in 1.98 s",
            "t0": "BTJD of a transit's middle",
            "settings": {name: getattr(self, name) for name in RANGES if name != "stars"}
            | {
                "stars": len(self.stars),
                "sky": asdict(self.sky) | {"gradient": list(self.sky.gradient)},
            },
        }
        return truth

    def catalog(self):
        """Table of the stars as a catalogue, J2000."""
        deep = self.faint_stars[self.faint_stars["tmag"] <= self.faint + CATALOG_DEPTH]
        return (
            vstack([self.stars[CATALOG_COLUMNS], deep[CATALOG_COLUMNS]])
            if len(deep)
            else self.stars[CATALOG_COLUMNS]
        )

    def _since_start(self, i):
        return self.pointing.time[i] - start_time(self.sector)

    def _phase(self, i):
        return i / max(self.n_frames - 1, 1)

    def _sort_into_patches(self):
        """Stars by the size of the square that their light is put into: list of (indices, half of
        the side).
        """
        patches, above = [], -np.inf
        for limit, half in PATCHES:
            some = np.flatnonzero((self.stars["tmag"] > above) & (self.stars["tmag"] <= limit))
            if some.size:
                patches.append((some, half))
            above = limit
        return patches

    def _render(self, flux, row, column, half):
        """Flattened image of stars, each in a square of its own."""
        offsets = np.arange(-half, half + 1)
        rows, columns = (
            np.rint(position).astype(int)[:, None] + offsets for position in (row, column)
        )
        light = flux[:, None, None] * self.prf.evaluate(row, column, rows, columns)
        inside = ((rows >= 0) & (rows < self.size))[:, :, None] & (
            (columns >= 0) & (columns < self.size)
        )[:, None, :]
        pixel = rows[:, :, None] * self.size + columns[:, None, :]
        return np.bincount(pixel[inside], light[inside], minlength=self.size * self.size)

    def _render_faint_stars(self):
        """Flattened image of the faint stars and how it changes per pixel of motion in row and
        column, (3, n_pixels) array.
        """
        flux, row, column = (
            np.asarray(self.faint_stars[name]) for name in ("flux", "row", "column")
        )
        floor = np.zeros((3, self.size * self.size))
        for i in range(0, len(flux), STARS_AT_ONCE):
            some = slice(i, i + STARS_AT_ONCE)
            for image, (dy, dx) in zip(floor, ((0, 0), (SMALL, 0), (0, SMALL)), strict=True):
                image += self._render(flux[some], row[some] + dy, column[some] + dx, FAINT_PATCH)
        floor[1:] = (floor[1:] - floor[0]) / SMALL
        return floor

    def _draw_asteroids(self, rng):
        n = self.asteroids
        days = self.n_frames * self.cadence / DAY
        angle = rng.uniform(0, 2 * np.pi, n)
        path = rng.uniform(0.3, 0.9, n) * self.size
        return {
            "flux": flux_of(rng.uniform(11, 15, n)),
            "start": rng.uniform(0.2, 0.8, (n, 2)) * self.size
            - 0.5 * (path * [np.sin(angle), np.cos(angle)]).T,
            "speed": (path / days * [np.sin(angle), np.cos(angle)]).T,  # pixels per day
        }

    def _add_cosmic_rays(self, flux, rng):
        n = rng.poisson(
            COSMIC_RAYS * flux.size * self.cadence * (1 - spacecraft.COSMIC_RAY_REJECTION)
        )
        rows, columns = (rng.integers(0, size, n) for size in self.shape)
        np.add.at(
            flux, (rows, columns), rng.exponential(MEAN_HIT, n) / spacecraft.frames(self.cadence)[1]
        )


def simulate_full_frames(folder, *, progress=None, **parameters):
    """Write a simulated sector of one CCD: ``ffi/*.fits``, ``catalog.ecsv`` and ``truth.ecsv``.

    Parameters
    ----------
    folder : path, made if it does not exist
    progress : callable(n_done, n_all)
    parameters : those of `FullFrameSimulation`

    Returns
    -------
    FullFrameSimulation

    Raises
    ------
    SettingsError : a parameter is outside its range
    WrongUseError : the folder holds something else than an earlier simulation
    """
    simulation, folder = FullFrameSimulation(**parameters), Path(folder)
    make_room(folder, simulation.truth().meta["settings"])
    (folder / "ffi").mkdir(parents=True, exist_ok=True)
    for name, table in (("catalog.ecsv", simulation.catalog()), ("truth.ecsv", simulation.truth())):
        with atomic_write(folder / name, durable=False) as part:
            table.write(part, format="ascii.ecsv", overwrite=True)
    writer = FullFrameWriter(simulation)
    for done, i in enumerate(simulation.exposures, start=1):
        writer.write(folder / "ffi", i)
        if progress:
            progress(done, len(simulation.exposures))
    return simulation


class FullFrameWriter:
    """Writes the exposures of a `FullFrameSimulation`; what is the same in all headers is made
    once.
    """

    def __init__(self, simulation):
        self.simulation = simulation
        self._primary = fits.Header()
        self._primary.update(
            self._common()
            | {"SIMDATA": True, "CREATOR": f"photometry {__version__}", "DATA_REL": 1}
        )
        self._image = fits.Header()
        self._image.update(self._common() | self._electronics() | self._science_pixels())
        self._image.update(simulation.wcs.to_header(relax=True))
        self._shift_wcs()
        # barycentric for the middle of the image; there is no BTC_PIX1, so that readers take that
        # too
        self._times = simulation.pointing.barycentric(simulation.ra, simulation.decl)

    def write(self, folder, i):
        """Write exposure ``i``; its name is made of the time at which it began."""
        simulation = self.simulation
        number = int(simulation.pointing.cadenceno[i])
        half = 0.5 * simulation.cadence / DAY
        time, correction = (float(series[i]) for series in self._times)
        moments = {"TSTART": time - half, "TSTOP": time + half}
        utc = {
            key: Time(t - correction + 2457000, format="jd", scale="tdb").utc
            for key, t in moments.items()
        }
        dates = {"DATE-OBS": utc["TSTART"].isot + "Z", "DATE-END": utc["TSTOP"].isot + "Z"}
        self._primary.update(moments | dates | {"FFIINDEX": number})
        quality = int(simulation.pointing.quality[i])
        self._image.update(moments | dates | {"BARYCORR": correction, "DQUALITY": quality})
        where = f"s{simulation.sector:04d}-{simulation.camera}-{simulation.ccd}"
        name = f"tess{utc['TSTART'].strftime('%Y%j%H%M%S')}-{where}-0000-s_ffic.fits"
        with atomic_write(folder / name, durable=False) as part:
            self._hdulist(*simulation.image(i)).writeto(part, overwrite=True)

    def _hdulist(self, flux, error):
        label = f"CAMERA.CCD {self.simulation.camera}.{self.simulation.ccd}"
        return fits.HDUList(
            [
                fits.PrimaryHDU(header=self._primary),
                fits.ImageHDU(self._framed(flux), self._image, name=f"{label} CAL"),
                fits.ImageHDU(self._framed(error), self._image, name=f"{label} UNCERT"),
            ]
        )

    def _framed(self, image):
        """Put the pixels that see no sky around an image, if they are wanted."""
        if not self.simulation.collateral:
            return image
        return np.pad(image, ((0, TRAILING_ROWS), (LEADING_COLUMNS, TRAILING_COLUMNS)))

    def _common(self):
        simulation = self.simulation
        return {
            "TELESCOP": "TESS",
            "INSTRUME": "TESS Photometer",
            "SECTOR": simulation.sector,
            "CAMERA": simulation.camera,
            "CCD": simulation.ccd,
            "RADESYS": "ICRS",
            "EQUINOX": 2000.0,
        }

    def _electronics(self):
        n_frames, exposure = spacecraft.frames(self.simulation.cadence)
        outputs = tuple(zip("ABCD", spacecraft.GAINS, spacecraft.READ_NOISE, strict=True))
        gains = {f"GAIN{output}": gain for output, gain, _ in outputs}
        noise = {f"READNOI{output}": value for output, _, value in outputs}
        return {
            "EXPOSURE": exposure / DAY,
            "TIMEREF": "SOLARSYSTEM",
            "TIMESYS": "TDB",
            "BJDREFI": 2457000,
            "BJDREFF": 0.0,
            "TIMEUNIT": "d",
            "INT_TIME": spacecraft.INT_TIME,
            "READTIME": spacecraft.READ_TIME,
            "FRAMETIM": spacecraft.INT_TIME + spacecraft.READ_TIME,
            "NUM_FRM": n_frames,
            "TIMEDEL": self.simulation.cadence / DAY,
            "BUNIT": "electrons/s",
            "BACKAPP": False,
            **gains,
            **noise,
        }

    def _science_pixels(self):
        """Which pixels see the sky: as the mission says it, or for bare images by the detector
        number of the first pixel.
        """
        size = self.simulation.size
        first_row, first_column = spacecraft.FIRST_ROW, spacecraft.FIRST_COLUMN
        if self.simulation.collateral:
            last_row, last_column = first_row + size - 1, first_column + size - 1
            return {
                "SCIROWS": first_row,
                "SCIROWE": last_row,
                "SCCSA": first_column,
                "SCCED": last_column,
            }
        physical = {
            "WCSNAMEP": "PHYSICAL",
            "CRPIX1P": 1,
            "CRPIX2P": 1,
            "CDELT1P": 1.0,
            "CDELT2P": 1.0,
        }
        return physical | {"CRVAL1P": first_column, "CRVAL2P": first_row}

    def _shift_wcs(self):
        if self.simulation.collateral:
            self._image["CRPIX1"] += LEADING_COLUMNS
