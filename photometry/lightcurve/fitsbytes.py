"""HDUs as bytes, quickly: for programs that write a million small FITS files.

Astropy spends more time on the headers of a light curve than it takes to measure it. Nearly all
cards are the same in every file, so each is formatted by astropy once and then remembered; what an
HDU is beyond that, is put together here.
"""

from functools import lru_cache

import numpy as np
from astropy.io import fits

BLOCK = 2880  # bytes: FITS standard 4.0, section 3.1
COMMENT_WIDTH = 72
_NO_CHECKSUM = "0" * 16  # what CHECKSUM holds while the sum is taken
_FITS_KINDS = {">f8": "D", ">f4": "E", ">i4": "J", ">i8": "K"}  # numpy type -> TFORM
_BITPIX = {">f4": -32, ">i4": 32}


def primary_hdu(cards):
    """A primary HDU without data, with extensions to follow.

    ``cards`` are (keyword, value, comment) or (keyword, value).
    """
    return _hdu(
        [("SIMPLE", True, "conforms to FITS standard"), *_size(8, ()), ("EXTEND", True), *cards],
        b"",
    )


def image_hdu(name, pixels, cards):
    """An image extension.

    Parameters
    ----------
    name : str, EXTNAME
    pixels : (n_rows, n_columns) array of a type in `_BITPIX`
    cards : list of (keyword, value, comment)
    """
    size = _size(_BITPIX[pixels.dtype.str], pixels.shape)
    kind = ("XTENSION", "IMAGE", "Image extension")
    return _hdu(
        [kind, *size, *_extension(0), ("EXTNAME", name, "name of extension"), *cards],
        pixels.tobytes(),
    )


def table_hdu(name, rows, units, formats, cards):
    """A binary table extension.

    Parameters
    ----------
    name : str, EXTNAME
    rows : structured array of the types in `_FITS_KINDS`
    units, formats : dict of column name to TUNIT (None: no unit) and TDISP
    cards : list of (keyword, value, comment) that follow the description of the columns
    """
    columns = []
    for i, column in enumerate(rows.dtype.names, start=1):
        columns += [(f"TTYPE{i}", column), (f"TFORM{i}", _FITS_KINDS[rows.dtype[column].str])]
        if units[column]:
            columns.append((f"TUNIT{i}", units[column]))
        columns.append((f"TDISP{i}", formats[column]))
    kind = ("XTENSION", "BINTABLE", "binary table extension")
    size = [*_size(8, (len(rows), rows.dtype.itemsize)), *_extension(len(rows.dtype.names))]
    return _hdu(
        [kind, *size, *columns, ("EXTNAME", name, "name of extension"), *cards], rows.tobytes()
    )


def _size(bitpix, shape):
    axes = [(f"NAXIS{i}", length) for i, length in enumerate(reversed(shape), start=1)]
    return [
        ("BITPIX", bitpix, "array data type"),
        ("NAXIS", len(shape), "number of array dimensions"),
        *axes,
    ]


def _extension(n_fields):
    fields = [("TFIELDS", n_fields, "number of table fields")] if n_fields else []
    return [
        ("PCOUNT", 0, "group parameter count (not used)"),
        ("GCOUNT", 1, "group count (not used)"),
        *fields,
    ]


def _hdu(cards, data):
    """Header and data in blocks, with CHECKSUM and DATASUM (FITS standard 4.0, section 4.4.2.7)"""
    datasum = ones_complement_sum(data)  # the zeros behind it add nothing
    cards = [
        *cards,
        ("CHECKSUM", _NO_CHECKSUM, "HDU checksum"),
        ("DATASUM", str(datasum), "data unit checksum"),
    ]
    header = _header(cards)
    total = ones_complement_sum(header) + datasum
    total = (total & 0xFFFFFFFF) + (total >> 32)
    header = header.replace(_NO_CHECKSUM.encode(), encode_checksum(0xFFFFFFFF - total))
    return b"".join([header, data, b"\0" * (-len(data) % BLOCK)])


def _header(cards):
    text = "".join(image for card in cards for image in _images(*card)) + "END".ljust(80)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _images(keyword, value, comment=""):
    """The 80 characters of a card; of several for long text."""
    if keyword != "COMMENT":
        return [_image(keyword, value, comment)]
    text = value.encode("ascii", "replace").decode("ascii")
    return [
        f"COMMENT {text[i : i + COMMENT_WIDTH]:{COMMENT_WIDTH}}"
        for i in range(0, len(text), COMMENT_WIDTH)
    ]


# typed: 1, 1.0 and True are equal, but not the same in a header
@lru_cache(maxsize=4096, typed=True)
def _image(keyword, value, comment):
    return fits.Card(keyword, value, comment).image


def ones_complement_sum(content):
    """Sum of 4-byte numbers, where what runs over is added at the other end."""
    total = int(np.frombuffer(content, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(value):
    """The 16 letters and digits that add ``value`` to the sum of a header (FITS standard 4.0,
    appendix J)."""
    columns = []
    for byte in value.to_bytes(4, "big"):
        quarter, rest = divmod(byte, 4)
        letters = [ord("0") + quarter + rest, *[ord("0") + quarter] * 3]
        # move away from punctuation; the sum stays
        while not all(chr(letter).isalnum() for letter in letters):
            for i in (0, 2):
                if not (chr(letters[i]).isalnum() and chr(letters[i + 1]).isalnum()):
                    letters[i] += 1
                    letters[i + 1] -= 1
        columns.append(letters)
    text = bytes(column[i] for i in range(4) for column in columns)
    return text[-1:] + text[:-1]
