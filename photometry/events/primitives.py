"""Primitives that make pictures of FITS images, and `BaseImg`, the base of those that stack frames.

Where a pipeline's ``primitive_path`` names this module, its table finds them by their file names in
the original too: ``simple_fits_reader.SimpleFitsReader``, ``noise_removal``, ``hist_equal2d``,
``save_png``, ``create_contact_sheet_HTML``."""

import warnings
from pathlib import Path

import numpy as np

from . import pictures
from .config import literal
from .event import Arguments
from .pipeline import BasePrimitive


class BaseImg(BasePrimitive):
    """A primitive with operations on images; the base of those that stack frames."""

    def average(self, file_list):
        """The mean of the first images of FITS files of equal dimensions: (n_rows, n_columns) float
        array; None of no file."""
        images = [_first_image(path) for path in file_list]
        return np.mean(images, axis=0) if images else None

    def save_fits_like(self, new_name, img, like_file, new_imtype):
        """Write an image with the header of another file into the temporary directory.

        Parameters
        ----------
        new_name : name of the file to write
        img : (n_rows, n_columns) array
        like_file : FITS file whose primary header it gets
        new_imtype : str, its keyword IMTYPE
        """
        from astropy.io import fits

        header = fits.getheader(like_file)
        header["IMTYPE"] = new_imtype
        folder = Path(self.config.temp_directory)
        folder.mkdir(parents=True, exist_ok=True)
        with pictures.atomic_write(folder / new_name) as part:
            fits.writeto(part, img, header, overwrite=True)


class SimpleFitsReader(BasePrimitive):
    """Read the image of the file that the event names; large ones are made smaller. Gives
    ``img``."""

    def _pre_condition(self):
        return Path(self.action.args.name).is_file()

    def _perform(self):
        image = _first_image(self.action.args.name)
        return Arguments(
            name=self.action.args.name, img=pictures.shrink(image), frame=list(image.shape)
        )


class NoiseRemoval(BasePrimitive):
    """Replace pixels that deviate from the mean by the median of their surroundings.

    ``denoise_sizes`` (pixels) and ``denoise_sigmas`` of the configuration `fits2png` say how often,
    and how; default: 3 x 3 pixels beyond 3 standard deviations, once."""

    def _perform(self):
        from scipy.ndimage import median_filter

        img = np.array(self.action.args.img, dtype=float)
        sizes = _option(self.config, "denoise_sizes", (3,))
        sigmas = _option(self.config, "denoise_sigmas", (3,))
        for size, sigma in zip(sizes, sigmas, strict=False):
            deviates = np.abs(img - np.nanmean(img)) > sigma * np.nanstd(img)
            img = np.where(deviates, median_filter(img, size=size), img)
        return Arguments(**{**vars(self.action.args), "img": img})


class HistEqual2d(BasePrimitive):
    """Adaptive histogram equalisation, so that what is faint can be seen beside what is bright.
    ``img`` becomes 0..1."""

    def _perform(self):
        img = pictures.equalise(np.asarray(self.action.args.img))
        return Arguments(**{**vars(self.action.args), "img": img})


class SavePng(BasePrimitive):
    """Write the picture, named like the file, into the output directory. Gives its path as
    ``name``.

    ``output_extension`` of the configuration `fits2png` makes it another format, for example
    ``".jpg"``. A class of one's own with ``axes = True`` draws axes in pixels of the frame."""

    axes = False

    def _perform(self):
        name, extension = self.action.args.name, _option(self.config, "output_extension", ".png")
        path = picture_path(name, self.context, extension)
        frame = vars(self.action.args).get("frame") if self.axes else None
        pictures.write_picture(path, self.action.args.img, Path(name).name, frame=frame)
        return Arguments(name=str(path), source=name)


class CreateContactSheetHTML(BasePrimitive):
    """Write a page with all pictures of a directory. Arguments, all optional: ``dir_name``,
    ``out_name``, ``pattern``."""

    def _perform(self):
        given = vars(self.action.args)
        patterns = (given["pattern"],) if "pattern" in given else pictures.PICTURES
        pictures.write_contact_sheet(
            given.get("dir_name", self.config.output_directory),
            given.get("out_name", "index.html"),
            self.config.name,
            patterns,
        )
        return self.action.args


# by the names of the original's files
noise_removal = NoiseRemoval
hist_equal2d = HistEqual2d
save_png = SavePng
create_contact_sheet_HTML = CreateContactSheetHTML


def open_nowarning(filename):
    """A FITS file opened by astropy without its warnings; to be closed by the caller."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        return fits.open(filename, memmap=False)


def picture_path(filename, context, extension=".png"):
    """Where the picture of a file goes: its name without ``.fits`` and ``.gz``, with another
    extension.

    Files in sub-directories of the data directory go to the same sub-directories of the output
    directory.

    Parameters
    ----------
    filename : str
    context : ProcessingContext
    extension : str

    Returns
    -------
    pathlib.Path
    """
    path, root = Path(filename).absolute(), context.config.data_directory
    below = path.parent.relative_to(root) if root and path.is_relative_to(root) else ""
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    return Path(context.config.output_directory, below, stem + extension)


def _first_image(path):
    from ..fitsfile import read_image

    return read_image(path).pixels


def _option(config, key, default):
    """A key of the configuration `fits2png`: a section, a ConfigClass, or a ConfigParser, as the
    pipeline has made it."""
    given = config.fits2png
    if given is None:
        return default
    text = given.get(key) if isinstance(given, dict) else given.get("DEFAULT", key, fallback=None)
    value = literal(text) if isinstance(text, str) else text
    return default if value is None else value
