"""Series of simulated radio images, with steady and changing sources and moving pointings, and what
is true of them.

The noise is correlated by the beam, as in a synthesised image. The same seed gives the same bytes.
"""

import json
import warnings
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from .. import sky
from ..errors import ArgumentError
from ..files import atomic_write

LN2 = np.log(2.0)
KINDS = ("steady", "transient", "flare", "fader")


@dataclass(frozen=True)
class Source:
    """A point source.

    Attributes
    ----------
    ra, decl : deg
    flux : Jy, of a steady source, at the maximum of the others
    kind : one of `KINDS`
    start : int, first epoch of a transient, epoch of a flare's peak, epoch after which a fader
        fades
    length : float, epochs that a transient lasts, or in which flare and fader drop to 1/e
    amplitude : float, height of a flare over ``flux``, in units of it
    spectral_index : float, flux is proportional to frequency^index
    """

    ra: float
    decl: float
    flux: float
    kind: str = "steady"
    start: int = 0
    length: float = 1.0
    amplitude: float = 5.0
    spectral_index: float = 0.0

    def flux_at(self, epoch, relative_frequency=1.0):
        """Flux, Jy, in an epoch."""
        age = epoch - self.start
        factor = 1.0
        if self.kind == "transient":
            factor = float(0 <= age < self.length)
        elif self.kind == "flare":
            factor = 1 + self.amplitude * np.exp(-age / self.length) * (age >= 0)
        elif self.kind == "fader":
            factor = np.exp(-max(age, 0) / self.length)
        return self.flux * factor * relative_frequency**self.spectral_index


@dataclass(frozen=True)
class RadioSeries:
    """What a series of radio images is made of.

    Attributes
    ----------
    n_epochs : int
    shape : (n_rows, n_columns)
    sources : tuple of `Source`; see `steady_sources`
    noise : Jy per beam
    beam : (major, minor, angle): full widths at half maximum in arcsec, position angle in deg
    pixel : arcsec
    frequencies, bandwidth : Hz; one image per frequency and epoch
    pointings : tuple of (ra, decl), deg, taken in turn, one per epoch
    start : datetime, UTC; cadence : s; exposure : s
    seed : int
    """

    n_epochs: int = 10
    shape: tuple = (512, 512)
    sources: tuple = ()
    noise: float = 1e-3
    beam: tuple = (60.0, 50.0, 30.0)
    pixel: float = 10.0
    frequencies: tuple = (150e6,)
    bandwidth: float = 2e6
    pointings: tuple = ((123.0, 30.0),)
    start: datetime = field(default=datetime(2024, 1, 1))
    cadence: float = 3600.0
    exposure: float = 600.0
    seed: int = 1

    def header(self, epoch, frequency, pointing=None):
        """The FITS header of an image.

        Parameters
        ----------
        epoch : int
        frequency : float, Hz
        pointing : (ra, decl), deg, by default that of the epoch
        """
        from astropy.io import fits

        ra, decl = pointing or self.pointings[epoch % len(self.pointings)]
        start = self.start + timedelta(seconds=epoch * self.cadence)
        end = start + timedelta(seconds=self.exposure)
        n_rows, n_columns = self.shape
        values = {
            "SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": n_columns, "NAXIS2": n_rows,
            "BUNIT": "JY/BEAM",
            "TELESCOP": "SIMULATED", "EQUINOX": 2000.0, "BMAJ": self.beam[0] / 3600,
            "BMIN": self.beam[1] / 3600,
            "BPA": self.beam[2], "RESTFRQ": float(frequency), "RESTBW": self.bandwidth,
            "CTYPE1": "RA---SIN",
            "CTYPE2": "DEC--SIN", "CRVAL1": ra, "CRVAL2": decl, "CRPIX1": n_columns / 2 + 1,
            "CRPIX2": n_rows / 2 + 1,
            "CDELT1": -self.pixel / 3600, "CDELT2": self.pixel / 3600, "CUNIT1": "deg",
            "CUNIT2": "deg",
            "DATE-OBS": start.isoformat(timespec="microseconds"),
            "END_UTC": end.isoformat(timespec="microseconds"),
            "TIMESYS": "UTC", "FILENAME": f"{epoch:05d}-{frequency / 1e6:.3f}MHz.fits",
        }  # fmt: skip
        return fits.Header(values)

    def image(self, epoch, band=0):
        """Header and (n_rows, n_columns) float32 array of one image."""
        frequency = self.frequencies[band]
        header = self.header(epoch, frequency)
        rng = np.random.default_rng([self.seed, epoch, band])
        halves = (width / self.pixel / 2 for width in self.beam[:2])
        beam = (*halves, np.radians(self.beam[2]))
        pixels = self.noise * correlated_noise(rng, self.shape, beam)
        if self.sources:
            fluxes = self.fluxes(epoch, band)
            wcs = _wcs(header)
            x, y = wcs.world_to_pixel_values(*np.transpose([(s.ra, s.decl) for s in self.sources]))
            near = np.isfinite(x) & np.isfinite(y)
            add_sources(pixels, x[near], y[near], fluxes[near], beam)
        return header, pixels.astype(np.float32)

    def fluxes(self, epoch, band=0):
        """(n_sources,) array, Jy, true fluxes in an image."""
        relative = self.frequencies[band] / self.frequencies[0]
        return np.array([source.flux_at(epoch, relative) for source in self.sources])

    def images(self):
        """Yield (epoch, band, header, pixels) in the order of time, then frequency."""
        for epoch in range(self.n_epochs):
            for band in range(len(self.frequencies)):
                yield epoch, band, *self.image(epoch, band)

    def write(self, folder):
        """Write all images, and the truth beside them as ``truth.json``; returns the paths in the
        order of time."""
        from astropy.io import fits

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for _, _, header, pixels in self.images():
            paths.append(folder / header["FILENAME"])
            with atomic_write(paths[-1], durable=False) as part:
                fits.PrimaryHDU(pixels, header).writeto(part, overwrite=True)
        with atomic_write(folder / "truth.json") as part:
            part.write_text(json.dumps(self.truth(), indent=1) + "\n")
        return paths

    def truth(self):
        """The sources with their fluxes by band and epoch, as plain values."""
        fluxes = np.array(
            [
                [self.fluxes(epoch, band) for epoch in range(self.n_epochs)]
                for band in range(len(self.frequencies))
            ]
        )
        sources = [
            {**vars(source), "fluxes": fluxes[:, :, i].tolist()}
            for i, source in enumerate(self.sources)
        ]
        return {
            "seed": self.seed,
            "noise": self.noise,
            "frequencies": list(self.frequencies),
            "sources": sources,
        }


def steady_sources(series, n, snr=(20.0, 200.0), *, separation=12.0, margin=40, seed=None):
    """Sources at random places of a series' first field, away from one another and from its edges.

    Parameters
    ----------
    series : RadioSeries
    n : int
    snr : (lowest, highest) flux in units of the noise; uniform in its logarithm
    separation : float, smallest distance in major half widths of the beam
    margin : float, px
    seed : int, by default the series'

    Returns
    -------
    tuple of Source

    Raises
    ------
    ArgumentError : so many do not fit
    """
    rng = np.random.default_rng([series.seed if seed is None else seed, 7])
    n_rows, n_columns = series.shape
    least = separation * series.beam[0] / series.pixel / 2
    radius = min(n_rows, n_columns) / 2 - margin
    chosen, tries = np.full((n, 2), np.inf), 0
    # circles cover at most 0.91 of a plane
    crowded = radius <= 0 or n * (least / 2) ** 2 > 0.91 * (radius + least / 2) ** 2
    for number in range(n):
        while True:
            tries += 1
            if crowded or tries > 1000 * n:
                raise ArgumentError(
                    f"{n} sources {separation:g} half widths of the beam apart do not fit into "
                    f"{n_rows} x {n_columns} pixels"
                )
            at = rng.uniform(-radius, radius, 2)
            if np.hypot(*at) < radius and (np.hypot(*(chosen[:number] - at).T) > least).all():
                chosen[number] = at
                break
    wcs = _wcs(series.header(0, series.frequencies[0]))
    x, y = np.transpose(chosen)
    ra, decl = wcs.pixel_to_world_values(x + n_columns / 2, y + n_rows / 2)
    fluxes = series.noise * np.exp(rng.uniform(*np.log(snr), n))
    return tuple(
        Source(float(a) % 360, float(d), float(f)) for a, d, f in zip(ra, decl, fluxes, strict=True)
    )


def simulated_series(n_epochs=20, n_steady=20, *, changing=True, seed=1, **options):
    """A series with steady sources and, among them, a transient, a flare and a fader.

    Parameters
    ----------
    n_epochs, n_steady : int
    changing : bool
    seed : int
    options : further attributes of `RadioSeries`
    """
    series = RadioSeries(n_epochs=n_epochs, seed=seed, **options)
    sources = steady_sources(series, n_steady + 3 * changing)
    if changing:
        noise, middle = series.noise, n_epochs // 2
        changes = (
            {"kind": "transient", "flux": 30 * noise, "start": middle, "length": 1},
            {"kind": "flare", "flux": 25 * noise, "start": middle, "length": 3.0, "amplitude": 4.0},
            {"kind": "fader", "flux": 100 * noise, "start": 1, "length": n_epochs / 6},
        )
        changed = (replace(s, **c) for s, c in zip(sources[n_steady:], changes, strict=True))
        sources = (*sources[:n_steady], *changed)
    return replace(series, sources=sources)


def _wcs(header):
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(header)


def correlated_noise(rng, shape, beam):
    """Noise of unit variance with the correlation that a beam gives to white noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (n_rows, n_columns)
    beam : (major, minor, angle): half widths, px, and rad from y towards negative x
    """
    from scipy.fft import irfft2, rfft2

    n_rows, n_columns = shape
    v, u = np.fft.fftfreq(n_rows)[:, None], np.fft.rfftfreq(n_columns)
    s, c = np.sin(beam[2]), np.cos(beam[2])
    # the transform of a Gaussian of width sigma has the width 1 / (2 pi sigma)
    along, across = -s * u + c * v, c * u + s * v
    sigma = [half / np.sqrt(2 * LN2) for half in beam[:2]]
    transfer = np.exp(-2 * np.pi**2 * ((along * sigma[0]) ** 2 + (across * sigma[1]) ** 2))
    noise = irfft2(rfft2(rng.standard_normal(shape)) * transfer, s=shape)
    # variance by Parseval: columns other than the first and last stand for two
    weight = np.full(len(u), 2.0)
    weight[0] = 1.0
    if n_columns % 2 == 0:
        weight[-1] = 1.0
    return noise / np.sqrt((transfer**2 * weight).sum() / (n_rows * n_columns))


def add_sources(pixels, x, y, fluxes, beam):
    """Add beams to an image, in place.

    Parameters
    ----------
    pixels : (n_rows, n_columns) float array
    x, y : (k,) arrays, px
    fluxes : (k,) array, peaks
    beam : (major, minor, angle): half widths, px, and rad from y towards negative x
    """
    n_rows, n_columns = pixels.shape
    half = int(np.ceil(5 * beam[0]))
    s, c = np.sin(beam[2]), np.cos(beam[2])
    for px, py, flux in zip(x, y, fluxes, strict=True):
        rows = slice(max(int(py) - half, 0), min(int(py) + half + 1, n_rows))
        columns = slice(max(int(px) - half, 0), min(int(px) + half + 1, n_columns))
        if rows.start >= rows.stop or columns.start >= columns.stop or flux == 0:
            continue
        dy, dx = np.ogrid[rows, columns]
        dx, dy = dx - px, dy - py
        along, across = -s * dx + c * dy, c * dx + s * dy
        pixels[rows, columns] += flux * np.exp(
            -LN2 * ((along / beam[0]) ** 2 + (across / beam[1]) ** 2)
        )


def true_positions(series):
    """(n_sources, 2) array of ra, decl, deg, of a series."""
    return np.array([(source.ra, source.decl) for source in series.sources])


def nearest_source(series, ra, decl):
    """Index of the true source nearest to each position, and its distance in arcsec.

    Parameters
    ----------
    series : RadioSeries
    ra, decl : (n,) arrays, deg
    """
    truth = true_positions(series)
    distance, index = sky.tree(*truth.T).query(
        sky.unit_vectors(np.atleast_1d(ra), np.atleast_1d(decl)).T
    )
    return index, np.degrees(2 * np.arcsin(distance / 2)) * 3600
