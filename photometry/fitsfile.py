"""Reading a FITS file once from its beginning to its end, plain or gzipped, keeping only what is wanted.

Target pixel files are read by the million, and half of what is in them is not needed. Astropy would map or decompress
the whole file first and convert column by column afterwards; here rows pass through a small buffer that stays in the
processor's cache, and the wanted columns go from there into native arrays. Headers are left to astropy.
"""

import contextlib
import re

import numpy as np
from astropy.io import fits

from .errors import BadInputError
from .files import GZIP_ERRORS, GZIP_MAGIC, gzip_reader

BLOCK = 2880  # bytes: FITS standard 4.0, section 3.1
BUFFER = 2**20  # bytes; a megabyte was as fast as any other size between 0.5 and 10
_NUMPY_TYPES = {
    "L": "i1",
    "B": "u1",
    "I": ">i2",
    "J": ">i4",
    "K": ">i8",
    "E": ">f4",
    "D": ">f8",
    "C": ">c8",
    "M": ">c16",
}
_HEAP_POINTERS = {"P": 8, "Q": 16}  # bytes: descriptors of variable-length arrays


class FitsStream:
    """The HDUs of one FITS file in their order: `next_header`, then `read_columns`, `read_image` or neither.

    Every way in which the file can end too early, or be no FITS file, raises `BadInputError`.
    """

    def __init__(self, path, file):
        self.path = path
        self._file = file
        self._left = 0  # bytes of the present data unit, padding included, that were not read

    def next_header(self):
        """The header of the next HDU, an `astropy.io.fits.Header`; None after the last one."""
        self._skip(self._left)
        blocks = [self._file.read(BLOCK)]
        if not blocks[0].strip(b"\0 "):
            return None
        while not _has_end(blocks[-1]):
            blocks.append(self._file.read(BLOCK))
            if len(blocks[-1]) < BLOCK:
                raise BadInputError(
                    f"{self.path}: truncated, it ends within a header; get the file again"
                )
        content = b"".join(blocks)
        if not content.isascii():
            raise BadInputError(
                f"{self.path}: damaged, a header holds bytes that are no text; get the file again"
            )
        header = fits.Header.fromstring(content)
        self._left = -(-_data_size(header) // BLOCK) * BLOCK
        return header

    def read_columns(self, header, names):
        """Read columns of the table that ``header`` describes.

        Parameters
        ----------
        header : the header that `next_header` has just returned
        names : list of str; columns that the table does not have are left out

        Returns
        -------
        dict of name to array of the machine's own byte order; shape (n_rows,) or (n_rows, n_y, n_x) as TDIM says
        """
        dtype = _row_type(header)
        columns = {
            name: np.empty(header["NAXIS2"], dtype[name].newbyteorder("="))
            for name in names
            if name in dtype.names
        }
        buffer = np.empty(max(BUFFER // dtype.itemsize, 1), dtype)
        for start in range(0, header["NAXIS2"], len(buffer)):
            rows = buffer[: header["NAXIS2"] - start]
            missing = self._fill(rows)
            if missing:
                whole = start + (rows.nbytes - missing) // dtype.itemsize
                raise BadInputError(
                    f"{self.path}: truncated, table {header.get('EXTNAME')} ends after {whole} of its {header['NAXIS2']} rows; "
                    "get the file again"
                )
            for name, column in columns.items():
                column[start : start + len(rows)] = rows[name]
        return columns

    def read_image(self, header):
        """Read the image that ``header`` describes: (n_y, n_x) array of the machine's own byte order."""
        kind = "f" if header["BITPIX"] < 0 else "i"
        shape = tuple(header[f"NAXIS{i}"] for i in range(header["NAXIS"], 0, -1))
        image = np.empty(shape, f">{kind}{abs(header['BITPIX']) // 8}")
        if self._fill(image):
            raise BadInputError(
                f"{self.path}: truncated, it ends within image {header.get('EXTNAME')}; get the file again"
            )
        return image.astype(image.dtype.newbyteorder("="))

    def _fill(self, array):
        """Read the bytes of an array; returns how many are missing because the file ends."""
        wanted = memoryview(array.reshape(-1).view(np.uint8))
        self._left -= len(wanted)
        while wanted and (got := self._file.readinto(wanted)):
            wanted = wanted[got:]
        return len(wanted)

    def _skip(self, n_bytes):
        """Leave out bytes; those missing at the very end are padding that some writers forget."""
        self._file.seek(n_bytes, 1)
        self._left = 0


@contextlib.contextmanager
def open_stream(path):
    """Open a FITS file, gzipped or not whatever its name, as a `FitsStream`.

    Raises
    ------
    BadInputError : it is empty, not FITS, or damaged; also while the stream is read within the context
    FileNotFoundError, PermissionError, ... : as from ``open``
    """
    with open(path, "rb", buffering=0) as raw:
        start = raw.read(2)
        raw.seek(0)
        if not start:
            raise BadInputError(f"{path}: the file is empty (0 bytes); get it again")
        try:
            with gzip_reader(raw) if start == GZIP_MAGIC else contextlib.nullcontext(raw) as file:
                if file.read(9) != b"SIMPLE  =":
                    raise BadInputError(
                        f"{path}: not a FITS file (plain or gzipped): it does not begin with SIMPLE"
                    )
                file.seek(0)
                yield FitsStream(path, file)
        except (KeyError, fits.VerifyError) as error:
            raise BadInputError(
                f"{path}: damaged, a header lacks a keyword or has one without sense: {error}"
            ) from error
        except GZIP_ERRORS as error:
            raise BadInputError(
                f"{path}: damaged, it cannot be decompressed ({error}); get the file again"
            ) from error


def _has_end(block):
    return any(block[i : i + 8] == b"END     " for i in range(0, BLOCK, 80))


def _data_size(header):
    """Bytes of the data unit without padding: FITS standard 4.0, equation 2."""
    if header["NAXIS"] == 0:
        return 0
    n_elements = np.prod([header[f"NAXIS{i + 1}"] for i in range(header["NAXIS"])], dtype=int)
    return int(
        abs(header["BITPIX"])
        // 8
        * header.get("GCOUNT", 1)
        * (header.get("PCOUNT", 0) + n_elements)
    )


def _row_type(header):
    """The numpy dtype of a row of a binary table."""
    fields = []
    for i in range(1, header["TFIELDS"] + 1):
        repeat, letter = re.match(r"(\d*)([A-Z])", header[f"TFORM{i}"]).groups()
        fields.append(
            (
                header.get(f"TTYPE{i}", f"col{i}"),
                *_field_type(int(repeat or 1), letter, header.get(f"TDIM{i}")),
            )
        )
    return np.dtype(fields)


def _field_type(repeat, letter, tdim):
    if letter == "A":
        return f"S{repeat}", ()
    if letter == "X":  # bits
        return "u1", (-(-repeat // 8),)
    if letter in _HEAP_POINTERS:
        return "u1", (repeat * _HEAP_POINTERS[letter],)
    shape = tuple(int(n) for n in re.findall(r"\d+", tdim or ""))[::-1]
    if not shape or np.prod(shape) != repeat:
        shape = () if repeat == 1 else (repeat,)
    return _NUMPY_TYPES[letter], shape
