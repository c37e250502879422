"""The full-frame images of a folder: which files there are, compressed ones unpacked, and what is
in them.
"""

from pathlib import Path

from astropy.io import fits

from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from ..fitsfile import open_fits
from .ffi import ACCEPTED, is_packed, read_frames

ENDINGS = (".fits", ".fits.gz", ".fits.fz", ".fit")


def find_image_files(folder):
    """All FITS files of a folder and the folders below it, sorted by name; hidden folders are left
    out.

    Raises
    ------
    WrongUseError : the folder does not exist
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise WrongUseError(
            f"{folder}: there is no such folder; expected a folder with {ACCEPTED}s"
        )
    paths = (
        path for path in folder.rglob("*.fit*") if path.name.endswith(ENDINGS) and path.is_file()
    )
    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_file(path, scratch):
    """Frames of one file, or the reason why there are none.

    Parameters
    ----------
    path : file
    scratch : folder for uncompressed copies

    Returns
    -------
    frames : list of Frame
    problem : str, or None
    """
    try:
        frames = read_frames(path)
        if frames and is_packed(path):
            frames = read_frames(unpack(path, scratch))
    except BadInputError as error:
        return [], str(error)
    return frames, None


def unpack(path, folder):
    """An uncompressed copy of a compressed file, in ``folder``; a copy that is there already is
    used.

    Returns
    -------
    copy : pathlib.Path
    """
    copy = Path(folder) / Path(path).name.removesuffix(".gz").removesuffix(".fz")
    if copy.suffix != ".fits":
        copy = copy.with_name(copy.name + ".fits")
    if not copy.exists():
        with open_fits(path) as packed, atomic_write(copy, durable=False) as part:
            fits.HDUList([_plain(hdu) for hdu in packed]).writeto(part, overwrite=True)
    return copy


def _plain(hdu):
    return fits.ImageHDU(hdu.data, hdu.header) if isinstance(hdu, fits.CompImageHDU) else hdu
