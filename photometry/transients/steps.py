"""Small things that the steps of `main` are made of: grouping, records of images, counts, log
files."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

log = logging.getLogger(__name__)


class ImageRecord(NamedTuple):
    """How one image of a timestep went. The first two fields are what the original promises.

    Attributes
    ----------
    rms_qc : float, Jy
    band : int, id of the frequency band
    image : int, id
    url : str
    rejected : str, why the image was rejected; empty where it was not
    n_blind, n_new, n_new_sources, n_forced, n_monitored : int, numbers of measurements
    """

    rms_qc: float
    band: int
    image: int
    url: str
    rejected: str = ""
    n_blind: int = 0
    n_new: int = 0
    n_new_sources: int = 0
    n_forced: int = 0
    n_monitored: int = 0


@dataclass
class Summary:
    """What a run has done.

    Attributes
    ----------
    dataset : int
    done, failed, n_timesteps : int, timesteps; those of an earlier run count as done
    n_images, n_rejected, n_new_sources : int, of this run
    skipped : dict, url -> reason, images that could not be used
    failures : dict, start of a timestep -> reason
    stopped : bool, a signal ended the run before its last timestep
    """

    dataset: int = 0
    done: int = 0
    n_timesteps: int = 0
    n_images: int = 0
    n_rejected: int = 0
    n_new_sources: int = 0
    skipped: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)
    stopped: bool = False

    @property
    def failed(self):
        return len(self.failures)

    def count(self, records):
        """Add the images of a timestep."""
        self.done += 1
        self.n_images += len(records)
        self.n_rejected += sum(bool(record.rejected) for record in records)
        self.n_new_sources += sum(record.n_new_sources for record in records)


def group_per_timestep(metadatas):
    """Images with the same start time, in time order, each group by frequency.

    Parameters
    ----------
    metadatas : list of (url or image, datetime, frequency in Hz)

    Returns
    -------
    list of (datetime, [url, ...])
    """
    groups = {}
    for url, time, frequency in metadatas:
        groups.setdefault(time, []).append((frequency, str(url), url))
    return [
        (time, [url for _, _, url in sorted(groups[time], key=lambda entry: entry[:2])])
        for time in sorted(groups)
    ]


def log_to_files(folder, debug=False):
    """Log to ``trap.log`` and ``trap.debug.log`` of a folder, until `stop_logging`; returns the
    handlers."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    handlers = []
    root = logging.getLogger("photometry")
    for name, level in (("trap.log", logging.INFO), ("trap.debug.log", logging.DEBUG)):
        handler = logging.FileHandler(folder / name, encoding="utf-8")
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
        root.addHandler(handler)
        handlers.append(handler)
    root.setLevel(logging.DEBUG if debug else min(root.level or logging.INFO, logging.INFO))
    return handlers


class ColorFormatter(logging.Formatter):
    """Warnings yellow, errors red."""

    def format(self, record):
        text = super().format(record)
        color = 31 if record.levelno >= logging.ERROR else 33
        return f"\033[{color}m{text}\033[0m" if record.levelno >= logging.WARNING else text


def color_console():
    """Colour what is logged to a terminal, where there is one."""
    for handler in logging.getLogger().handlers:
        stream = getattr(handler, "stream", None)
        if stream is not None and stream.isatty():
            handler.setFormatter(ColorFormatter("%(asctime)s %(levelname)-7s %(message)s"))


def stop_logging(handlers):
    """Close the files of `log_to_files`."""
    for handler in handlers:
        logging.getLogger("photometry").removeHandler(handler)
        handler.close()


def pixels_to_bytes(pixels):
    """(n_rows, n_columns) pixels as little-endian float32, to be stored; see
    `pixels_from_bytes`."""
    return np.asarray(pixels, "<f4").tobytes()


def pixels_from_bytes(data, header):
    """The pixels of an image stored in ``imagedata``, (n_rows, n_columns); ``header``: its header
    text."""
    from astropy.io import fits

    header = fits.Header.fromstring(header, sep="\n")
    return np.frombuffer(data, "<f4").reshape(header["NAXIS2"], header["NAXIS1"]), header


def stored_image(database, row):
    """An accessor for an image of the database: what was kept of it there, the rest from its file.

    Parameters
    ----------
    database : Database
    row : row of ``image``

    Raises
    ------
    BadInputError : neither has it
    """
    import sqlalchemy as sa
    from astropy.io import fits

    from .accessors import ImageAccessor, open_image
    from .database import schema

    table = schema.imagedata
    stored = database.rows(sa.select(table).where(table.c.image == row.id))
    if not stored:
        return open_image(row.url)
    if stored[0].fits_data is None:
        # a frame whose coordinates were found by matching
        return ImageAccessor(fits.Header.fromstring(stored[0].fits_header, sep="\n"), None, row.url)
    pixels, header = pixels_from_bytes(stored[0].fits_data, stored[0].fits_header)
    return open_image((header, pixels))
