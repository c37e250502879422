"""Series of simulated frames of a small telescope: a field that drifts, a meridian flip, clouds,
seeing that changes; with truth.

The same seed gives the same bytes.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from ..files import atomic_write

MOFFAT_BETA = 3.5
"""Exponent of the stars' profile: wings wider than a Gaussian's."""


@dataclass(frozen=True)
class OpticalSeries:
    """What a series of frames is made of.

    Attributes
    ----------
    n_frames : int
    shape : (n_rows, n_columns)
    n_stars : int, in an area half as wide again as the frame in both directions
    drift : px, how far the field moves from the first frame to the last
    flip : bool, the field is turned by 180 degrees in the second half
    clouds : float, 0 to 1, largest part of the light that clouds take
    seeing : (lowest, highest) full width at half maximum, px
    sky : ADU per pixel; gain : e-/ADU; read_noise : e-
    scintillation : relative, of each star in each frame, independent
    transit_depth : relative, of the brightest star that is not saturated, in the middle fifth of
        the series
    with_wcs : bool, headers have coordinates
    scale : arcsec per pixel; exposure, cadence : s
    seed : int
    """

    n_frames: int = 60
    shape: tuple = (512, 512)
    n_stars: int = 300
    drift: float = 200.0
    flip: bool = True
    clouds: float = 0.6
    seeing: tuple = (2.6, 4.5)
    sky: float = 200.0
    gain: float = 1.5
    read_noise: float = 8.0
    scintillation: float = 1e-3
    transit_depth: float = 0.02
    with_wcs: bool = False
    scale: float = 1.2
    exposure: float = 60.0
    cadence: float = 75.0
    start: datetime = datetime(2024, 3, 1, 20, 0)
    seed: int = 1

    def stars(self):
        """Positions relative to the middle of the field (px) and fluxes (ADU): (n_stars,) arrays
        ``x, y, flux``."""
        rng = np.random.default_rng([self.seed, 1])
        reach = 0.75 * np.array(self.shape[::-1])
        x, y = np.zeros((2, self.n_stars))
        for i in range(1, self.n_stars):
            # apart from one another, and away from the target, which is in the middle
            for _ in range(1000):
                x[i], y[i] = rng.uniform(-reach, reach)
                near = np.hypot(x[:i] - x[i], y[:i] - y[i])
                if near[0] > 40 and near.min() > 12:
                    break
        # cumulative counts rise by 10^0.4 per magnitude
        flux = np.minimum(1e4 / rng.random(self.n_stars), 2.5e5)
        flux[0] = 4e5
        return x, y, flux

    @property
    def target(self):
        """Index of the star with the transit, the brightest one."""
        return 0

    def in_transit(self):
        """(n_frames,) bool array."""
        middle = np.abs(np.arange(self.n_frames) - (self.n_frames - 1) / 2)
        return middle < self.n_frames / 10

    def conditions(self):
        """What changes from frame to frame: (n_frames,) arrays ``x, y`` (px), ``angle`` (rad),
        ``seeing`` (px), ``transparency``."""
        rng = np.random.default_rng([self.seed, 2])
        phase = np.linspace(0, 1, self.n_frames)
        direction = rng.uniform(0, 2 * np.pi)
        x = self.drift * (phase - 0.5) * np.cos(direction) + rng.normal(0, 1.5, self.n_frames)
        y = self.drift * (phase - 0.5) * np.sin(direction) + rng.normal(0, 1.5, self.n_frames)
        angle = np.where(self.flip & (phase > 0.5), np.pi, 0.0) + rng.normal(
            0, 0.002, self.n_frames
        )
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * (2 * phase + rng.random()))
        seeing = self.seeing[0] + (self.seeing[1] - self.seeing[0]) * wave
        thick = np.clip(np.sin(2 * np.pi * (1.5 * phase + rng.random())), 0, None)
        thick = thick * rng.uniform(0.6, 1.0, self.n_frames)
        return {
            "x": x,
            "y": y,
            "angle": angle,
            "seeing": seeing,
            "transparency": 1 - self.clouds * thick,
        }

    def positions(self, frame):
        """Pixel positions of all stars in a frame: (n_stars,) arrays x, y."""
        x, y, _ = self.stars()
        c = {name: values[frame] for name, values in self.conditions().items()}
        s, k = np.sin(c["angle"]), np.cos(c["angle"])
        middle = (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2
        return middle[0] + k * x - s * y + c["x"], middle[1] + s * x + k * y + c["y"]

    def fluxes(self, frame):
        """Light of all stars in a frame before clouds, ADU, with transit and scintillation."""
        rng = np.random.default_rng([self.seed, 3, frame])
        flux = self.stars()[2] * (1 + self.scintillation * rng.standard_normal(self.n_stars))
        if self.in_transit()[frame]:
            flux[self.target] *= 1 - self.transit_depth
        return flux

    def frame(self, number):
        """Header and (n_rows, n_columns) uint16 array of one frame."""
        rng = np.random.default_rng([self.seed, 4, number])
        c = {name: values[number] for name, values in self.conditions().items()}
        electrons = np.full(self.shape, self.sky * self.gain)
        row, column = np.indices(self.shape)
        electrons *= 1 + 0.05 * (column / self.shape[1] - 0.5) + 0.03 * (row / self.shape[0] - 0.5)
        add_moffats(
            electrons,
            *self.positions(number),
            self.fluxes(number) * self.gain * c["transparency"],
            c["seeing"],
        )
        counts = rng.poisson(electrons) + self.read_noise * rng.standard_normal(self.shape)
        pixels = np.clip(counts / self.gain, 0, 65535).astype(np.uint16)
        return self.header(number), pixels

    def header(self, number):
        """The FITS header of a frame."""
        from astropy.io import fits

        start = self.start + timedelta(seconds=number * self.cadence)
        n_rows, n_columns = self.shape
        header = fits.Header({
            "SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": n_columns, "NAXIS2": n_rows,
            "TELESCOP": "SIMULATED",
            "DATE-OBS": start.isoformat(timespec="microseconds"), "EXPTIME": self.exposure,
            "FILTER": "R", "EGAIN": self.gain,
            "FILENAME": f"frame{number:04d}.fits",
        })  # fmt: skip
        if self.with_wcs:
            header.update(self._wcs(number))
        return header

    def _wcs(self, number):
        c = {name: values[number] for name, values in self.conditions().items()}
        s, k = np.sin(c["angle"]), np.cos(c["angle"])
        # pixel offset = R (x, y); east is towards negative x
        cd = np.array([[-1, 0], [0, 1]]) @ np.array([[k, s], [-s, k]]) * self.scale / 3600
        return {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 20.0,
            "CUNIT1": "deg", "CUNIT2": "deg",
            "CRPIX1": (self.shape[1] - 1) / 2 + c["x"] + 1,
            "CRPIX2": (self.shape[0] - 1) / 2 + c["y"] + 1,
            "CD1_1": cd[0, 0], "CD1_2": cd[0, 1], "CD2_1": cd[1, 0], "CD2_2": cd[1, 1],
        }  # fmt: skip

    def noise_limit(self):
        """Least relative scatter that the target can have: root mean square over the frames of its
        photon noise and scintillation."""
        electrons = self.stars()[2][self.target] * self.gain * self.conditions()["transparency"]
        return float(np.sqrt(np.mean(1 / electrons) + self.scintillation**2))

    def write(self, folder):
        """Write all frames, and the truth beside them as ``truth.json``; returns the paths in the
        order of time."""
        from astropy.io import fits

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number in range(self.n_frames):
            header, pixels = self.frame(number)
            paths.append(folder / header["FILENAME"])
            with atomic_write(paths[-1], durable=False) as part:
                fits.PrimaryHDU(pixels, header).writeto(part, overwrite=True)
        x, y, flux = self.stars()
        truth = {
            "seed": self.seed,
            "target": self.target,
            "transit_depth": self.transit_depth,
            "in_transit": self.in_transit().tolist(),
            "x": x.tolist(),
            "y": y.tolist(),
            "flux": flux.tolist(),
            **{
                name: values.tolist()
                for name, values in self.conditions().items()
                if name not in ("x", "y")
            },
        }
        with atomic_write(folder / "truth.json") as part:
            part.write_text(json.dumps(truth, indent=1) + "\n")
        return paths


def add_moffats(pixels, x, y, flux, fwhm):
    """Add stars to an image, in place.

    Parameters
    ----------
    pixels : (n_rows, n_columns) float array
    x, y : (k,) arrays, px
    flux : (k,) array, total
    fwhm : float, px
    """
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / MOFFAT_BETA) - 1)
    n_rows, n_columns = pixels.shape
    half = int(np.ceil(8 * fwhm))
    for px, py, total in zip(x, y, flux, strict=True):
        rows = slice(max(int(py) - half, 0), min(int(py) + half + 1, n_rows))
        columns = slice(max(int(px) - half, 0), min(int(px) + half + 1, n_columns))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        dy, dx = np.ogrid[rows, columns]
        r2 = (dx - px) ** 2 + (dy - py) ** 2
        peak = total * (MOFFAT_BETA - 1) / (np.pi * alpha**2)
        pixels[rows, columns] += peak * (1 + r2 / alpha**2) ** -MOFFAT_BETA
