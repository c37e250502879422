"""Reading a FITS file once from its beginning to its end, plain or gzipped, keeping what is wanted.

Target pixel files are read by the million, and half of what is in them is not needed. Astropy would
map or decompress the whole file first and convert column by column afterwards; here rows pass
through a small buffer that stays in the processor's cache, and the wanted columns go from there
into native arrays. Likewise headers: target pixel files have 400 cards, of which photometry reads
60; astropy's header takes a third of a target's time for them. Cards in the plain forms of the
standard are read here, all others are left to astropy.
"""

import contextlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits

from .errors import BadInputError
from .files import GZIP_ERRORS, GZIP_MAGIC, gzip_reader

BLOCK = 2880  # bytes: FITS standard 4.0, section 3.1
BUFFER = 2**20  # bytes; a megabyte was as fast as any other size between 0.5 and 10
_NUMPY_TYPES = dict(
    zip("LBIJKEDCM", ["i1", "u1", ">i2", ">i4", ">i8", ">f4", ">f8", ">c8", ">c16"], strict=True)
)
_OTHER_BYTES = {"X": 1, "P": 64, "Q": 128}  # bits: bits, descriptors of variable-length arrays
_BITPIX = (8, 16, 32, 64, -32, -64)
MAX_FIELDS = 999  # FITS standard 4.0, section 7.2.1
# what astropy raises for damaged headers: a disk that fails is no damage of the file
_DAMAGED_HEADER = (ValueError, TypeError, LookupError, OverflowError, fits.VerifyError)

CARD = 80  # characters: FITS standard 4.0, section 4.1
# The value of a card, between its value indicator and a comment: section 4.2. No quote within a
# string, no other exponent than E
_VALUE = re.compile(
    r" *(?:'(?P<text>[^']*)'|(?P<logical>[TF])|(?P<integer>[+-]?\d+)"
    r"|(?P<real>[+-]?(?:\d+\.\d*|\.\d+)(?:E[+-]?\d+)?))? *(?:/|$)"
)
_CONVERT = {
    "text": str.rstrip,
    "logical": "T".__eq__,
    "integer": int,
    "real": float,
}
_NO_VALUE = ("COMMENT ", "HISTORY ", "        ")


class Header(Mapping):
    """Keywords and values of one header; of a keyword that occurs twice the first, as in astropy.

    Parameters
    ----------
    text : str, its cards, END and the blanks after it included
    """

    def __init__(self, text):
        self._text = text
        self._cards, self._values, self._whole = {}, {}, None
        for start in range(0, len(text), CARD):
            keyword = text[start : start + 8]
            if keyword == "END     ":
                break
            if keyword in ("CONTINUE", "HIERARCH"):  # values that this class does not read
                self._whole = self.astropy()
            if keyword not in _NO_VALUE:
                self._cards.setdefault(keyword.rstrip(), text[start : start + CARD])

    def astropy(self):
        """The same header as `astropy.io.fits.Header`."""
        return fits.Header.fromstring(self._text)

    def __getitem__(self, keyword):
        if self._whole is not None:
            return self._whole[keyword]
        if keyword not in self._values:
            card = self._cards[keyword]
            found = _VALUE.match(card, 10) if card[8:10] == "= " else None
            if found is None or found.lastgroup is None:
                value = fits.Card.fromstring(card).value
                value = None if isinstance(value, fits.card.Undefined) else value
            else:
                value = _CONVERT[found.lastgroup](found[found.lastgroup])
            self._values[keyword] = value
        return self._values[keyword]

    def __iter__(self):
        return iter(self._cards if self._whole is None else self._whole)

    def __len__(self):
        return len(self._cards if self._whole is None else self._whole)


@dataclass
class FitsStream:
    """The HDUs of one FITS file in their order: `next_header`, then `read_columns`, `read_image` or
    neither.

    Every way in which the file can end too early, or be no FITS file, raises `BadInputError`.

    Attributes
    ----------
    path : for messages
    file : the opened file, decompressed
    size : int, bytes; None where it is not known before the end, as of a gzipped file
    """

    path: str
    file: object
    size: int | None = None
    # the present HDU: its header, and where its data begin and end, and the next HDU begins (bytes)
    _header: Header | None = field(default=None, init=False)
    _start: int = field(default=0, init=False)
    _end: int = field(default=0, init=False)
    _next: int = field(default=0, init=False)
    _number: int = field(default=-1, init=False)

    @property
    def is_zipped(self):
        """Whether the file is gzipped, so that passing over data means to decompress it."""
        return self.size is None

    def next_header(self):
        """The header of the next HDU, a `Header`; None after the last one.

        Raises
        ------
        BadInputError : the file ends within the data of the HDU before, or within the header
        """
        if self._end > self._start and self.file.tell() < self._end:
            size = self.size
            if size is None:
                self.file.seek(self._end - 1)
                size = self._end if self.file.read(1) else self.file.tell()
            if size < self._end:
                self._refuse_truncated(size)
        # padding may be missing at the very end: some writers forget it
        self.file.seek(self._next)
        blocks = [self.file.read(BLOCK)]
        if not blocks[0].strip(b"\0 "):
            return None
        while not any(blocks[-1][i : i + 8] == b"END     " for i in range(0, BLOCK, CARD)):
            blocks.append(self.file.read(BLOCK))
            if len(blocks[-1]) < BLOCK:
                raise BadInputError(
                    f"{self.path}: truncated, it ends within a header; get the file again"
                )
        content = b"".join(blocks)
        if not content.isascii():
            raise BadInputError(
                f"{self.path}: damaged, a header holds bytes that are no text; get the file again"
            )
        header = Header(content.decode("ascii"))
        self._header, self._start = header, self._next + len(content)
        self._number += 1
        n_bytes = self._data_size(header)
        self._end = self._start + n_bytes
        self._next = self._start + -(-n_bytes // BLOCK) * BLOCK
        return header

    def read_columns(self, header, names):
        """Read columns of the table that ``header`` describes.

        Parameters
        ----------
        header : the header that `next_header` has just returned
        names : list of str; columns that the table does not have are left out

        Returns
        -------
        dict of name to array of the machine's own byte order; shape (n_rows,) or (n_rows, n_y, n_x)
        as TDIM says
        """
        dtype, n_rows = self._row_type(header), self._count(header, "NAXIS2")
        if self.size is not None and self._start + n_rows * dtype.itemsize > self.size:
            self._refuse_truncated(self.size)
        try:
            columns = {
                name: np.empty(n_rows, dtype[name].newbyteorder("="))
                for name in names
                if name in dtype.names
            }
        except (MemoryError, ValueError, OverflowError):
            raise BadInputError(
                f"{self.path}: table {header.get('EXTNAME')} is said to have {n_rows} rows of "
                f"{dtype.itemsize} bytes, more "
                "than fits into memory; the header is damaged, get the file again"
            ) from None
        step = max(BUFFER // dtype.itemsize, 1)
        for start in range(0, n_rows, step):
            rows = self._read(dtype, min(step, n_rows - start))
            for name, column in columns.items():
                column[start : start + len(rows)] = rows[name]
        return columns

    def read_image(self, header):
        """Read the image that ``header`` describes: (n_y, n_x) array of the machine's own byte
        order.
        """
        kind = "f" if header["BITPIX"] < 0 else "i"
        shape = tuple(
            self._count(header, f"NAXIS{i}") for i in range(self._count(header, "NAXIS"), 0, -1)
        )
        dtype = np.dtype(f">{kind}{abs(header['BITPIX']) // 8}")
        n_pixels = math.prod(shape)
        if self.size is not None and self._start + n_pixels * dtype.itemsize > self.size:
            self._refuse_truncated(self.size)
        try:
            image = self._read(dtype, n_pixels)
        except (MemoryError, ValueError, OverflowError):
            raise BadInputError(
                f"{self.path}: image {header.get('EXTNAME')} is said to have {shape} pixels, more "
                "than fit into memory; the "
                "header is damaged, get the file again"
            ) from None
        return image.reshape(shape).astype(dtype.newbyteorder("="))

    def _read(self, dtype, count):
        """The next values of the present HDU, as they are in the file.

        By `read`, as `readinto` of a gzipped file reads and copies.
        """
        n_bytes = count * dtype.itemsize
        content = self.file.read(n_bytes)
        while len(content) < n_bytes and (more := self.file.read(n_bytes - len(content))):
            content += more
        if len(content) < n_bytes:
            self._refuse_truncated(self.file.tell())
        return np.frombuffer(content, dtype, count)

    def _refuse_truncated(self, size):
        """Raise BadInputError for a file of so many bytes, too few for the present HDU."""
        header = self._header
        name, n_bytes = header.get("EXTNAME", f"of HDU {self._number}"), max(size - self._start, 0)
        if str(header.get("XTENSION", "")).strip() == "BINTABLE":
            whole, n_rows = n_bytes // max(header["NAXIS1"], 1), header["NAXIS2"]
            if whole < n_rows:
                raise BadInputError(
                    f"{self.path}: truncated, table {name} ends after {whole} of its {n_rows} "
                    "rows; get the file again"
                )
        raise BadInputError(
            f"{self.path}: truncated, it ends within image {name}; get the file again"
        )

    def _count(self, header, keyword):
        """A whole number from 0 under a keyword."""
        value = header[keyword]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadInputError(
                f"{self.path}: damaged, {keyword} is {value!r}, expected a whole number from 0; "
                "get the file again"
            )
        return value

    def _data_size(self, header):
        """Bytes of the data unit without padding: FITS standard 4.0, equation 2."""
        bitpix, n_axes = header["BITPIX"], self._count(header, "NAXIS")
        n_fields = self._count(header, "TFIELDS") if "TFIELDS" in header else 0
        if bitpix not in _BITPIX or max(n_axes, n_fields) > MAX_FIELDS:
            raise BadInputError(
                f"{self.path}: damaged, BITPIX is {bitpix!r}, NAXIS {n_axes} and TFIELDS "
                f"{n_fields}; get the file again"
            )
        if n_axes == 0:
            return 0
        n_elements = math.prod(self._count(header, f"NAXIS{i + 1}") for i in range(n_axes))
        groups, heap = (
            self._count(header, keyword) if keyword in header else default
            for keyword, default in (("GCOUNT", 1), ("PCOUNT", 0))
        )
        return abs(bitpix) // 8 * groups * (heap + n_elements)

    def _row_type(self, header):
        """The numpy dtype of a row of a binary table."""
        fields, names = [], set()
        for i in range(1, min(self._count(header, "TFIELDS"), MAX_FIELDS) + 1):
            form = re.match(r"\s*(\d{0,9})([LXBIJKAECMDPQ])", str(header[f"TFORM{i}"]))
            if not form:
                raise BadInputError(
                    f"{self.path}: damaged, TFORM{i} is {header[f'TFORM{i}']!r}, which is no "
                    "format of a column; get the file again"
                )
            name = str(header.get(f"TTYPE{i}", ""))
            # numpy wants names, each once
            name = f"col{i}" if name in names or not name else name
            names.add(name)
            repeat, letter = int(form[1] or 1), form[2]
            shape = tuple(int(n) for n in re.findall(r"\d+", str(header.get(f"TDIM{i}") or "")))[
                ::-1
            ]
            if letter == "A":
                kind, shape = f"S{repeat}", ()
            elif letter in _OTHER_BYTES:
                kind, shape = "u1", (-(-repeat * _OTHER_BYTES[letter] // 8),)
            else:
                kind = _NUMPY_TYPES[letter]
                if not shape or math.prod(shape) != repeat:
                    shape = () if repeat == 1 else (repeat,)
            fields.append((name, kind, shape))
        dtype = np.dtype(fields)
        if dtype.itemsize != self._count(header, "NAXIS1") or not fields:
            raise BadInputError(
                f"{self.path}: damaged, the columns of table {header.get('EXTNAME')} take "
                f"{dtype.itemsize} bytes a row, NAXIS1 is "
                f"{header['NAXIS1']}; get the file again"
            )
        return dtype


@contextlib.contextmanager
def open_stream(path):
    """Open a FITS file, gzipped or not whatever its name, as a `FitsStream`.

    Raises
    ------
    BadInputError : it is empty, not FITS, or damaged; also while the stream is read within the
        context
    FileNotFoundError, PermissionError, ... : as from ``open``
    """
    with open(path, "rb", buffering=0) as raw:
        start = raw.read(2)
        raw.seek(0)
        if not start:
            raise BadInputError(f"{path}: the file is empty (0 bytes); get it again")
        zipped = start == GZIP_MAGIC
        try:
            with gzip_reader(raw) if zipped else contextlib.nullcontext(raw) as file:
                if file.read(9) != b"SIMPLE  =":
                    raise BadInputError(
                        f"{path}: not a FITS file (plain or gzipped): it does not begin with SIMPLE"
                    )
                file.seek(0)
                yield FitsStream(path, file, None if zipped else os.fstat(raw.fileno()).st_size)
        except _DAMAGED_HEADER as error:
            reason = " ".join(str(error).split())
            raise BadInputError(
                f"{path}: damaged, a header lacks a keyword or has one without sense: {reason}"
            ) from error
        except GZIP_ERRORS as error:
            raise BadInputError(
                f"{path}: damaged, it cannot be decompressed ({error}); get the file again"
            ) from error
