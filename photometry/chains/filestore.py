"""The file store: where versions of products lie, and which paths may name them.

A version is ``<store>/<directory>/<repository id>``; the name that people see stands in the
database only.
"""

import hashlib
import os
import re
import shutil
import time
from pathlib import Path, PurePosixPath

from ..errors import BadInputError, WrongUseError
from ..files import atomic_write
from .schema import DIRECTORY_LENGTH, FILENAME_LENGTH

ID_LENGTH = 32
_CHUNK = 1 << 20


def check_directory(directory):
    """A working directory, in its plain form; refused where it would leave the store.

    Raises
    ------
    WrongUseError : absolute, with ``..``, NUL or a backslash, or too long
    """
    if not isinstance(directory, str):
        raise WrongUseError(f"working_directory={directory!r}: expected a string")
    path = PurePosixPath(directory)
    if path.is_absolute() or ".." in path.parts or not _is_plain(directory):
        raise WrongUseError(
            f"working_directory={directory!r}: expected a folder inside the file store, "
            "without '..'"
        )
    plain = "" if str(path) == "." else str(path)
    if len(plain) > DIRECTORY_LENGTH:
        raise WrongUseError(
            f"working_directory: {len(plain)} characters, at most {DIRECTORY_LENGTH} are accepted"
        )
    return plain


def check_filename(filename):
    """The name of a product; refused where it is no plain name.

    Raises
    ------
    WrongUseError : empty, with a slash, ``..``, NUL or a backslash, or too long
    """
    if not isinstance(filename, str):
        raise WrongUseError(f"file name {filename!r}: expected a string")
    if filename in ("", ".", "..") or "/" in filename or not _is_plain(filename):
        raise WrongUseError(
            f"file name {filename!r}: expected a plain name; folders go into working_directory"
        )
    if len(filename) > FILENAME_LENGTH:
        raise WrongUseError(
            f"file name of {len(filename)} characters: at most {FILENAME_LENGTH} are accepted"
        )
    return filename


def _is_plain(text):
    return "\\" not in text and not re.search(r"[\x00-\x1f\x7f]", text)


def md5_of(path):
    """Hexadecimal MD5 of a file's content."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def repository_id(timestamp, filename, *fields):
    """Name of a file in the store: UTC time and a hash of ``fields``, 32 characters with the
    extension.

    Parameters
    ----------
    timestamp : s since 1970
    filename : str, whose last extension is kept
    fields : anything that makes it unique
    """
    extension = Path(filename).suffix
    if len(extension) > 8:
        extension = ""
    moment = time.strftime("%Y%m%d_%H%M%S_", time.gmtime(timestamp))
    text = "_".join(map(str, (*fields, filename)))
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return f"{moment}{digest}"[: ID_LENGTH - len(extension)] + extension


class FileStore:
    """The folder with all versions.

    Parameters
    ----------
    root : path
    """

    def __init__(self, root):
        self.root = Path(root)

    def path(self, directory, name):
        """Path of a version, which need not exist."""
        return self.root / check_directory(directory) / check_filename(name)

    def add(self, directory, name, source, *, preserve=False):
        """Put a file into the store, whole or not at all; returns (size, MD5).

        Parameters
        ----------
        directory : str
        name : str, repository id
        source : path
        preserve : bool, leave the source where it is
        """
        if not Path(source).is_file():
            raise ValueError(f"{source}: there is no such file to put into the store")
        target = self.path(directory, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as part:
            shutil.copyfile(source, part)
        if not preserve:
            os.unlink(source)
        return target.stat().st_size, md5_of(target)

    def check(self, directory, name, size, md5):
        """Refuse a version that is gone or not what it was.

        Parameters
        ----------
        directory, name : str
        size : bytes
        md5 : str

        Raises
        ------
        BadInputError
        """
        path = self.path(directory, name)
        if not path.is_file():
            raise BadInputError(f"{path}: the file is gone from the store")
        if path.stat().st_size != size or md5_of(path) != md5:
            raise BadInputError(f"{path}: is not the file that was stored (size or MD5 differ)")

    def delete(self, directory, name):
        """Delete a version; returns whether there was one. Empty folders go too."""
        path = self.path(directory, name)
        existed = path.is_file()
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.root or self.root not in folder.parents:
                break
            try:
                folder.rmdir()
            except OSError:
                break
        return existed
