"""Tables of numbers in text files, gzipped or not; every fault is one sentence with the number of the line."""

import gzip
import zlib

import numpy as np

from ..errors import BadInputError

GZIP = b"\x1f\x8b"


def read_bytes(path):
    """The content of a file, unzipped if its first two bytes say that it is gzipped."""
    with open(path, "rb") as file:
        content = file.read()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path}: gzip data is damaged or cut short ({error})") from error


def decode(content, path):
    """Bytes as text; a file with bytes that are not text is refused."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path}: neither FITS, numpy's binary format nor text; accepted is a light curve in one of these"
        ) from error
    if "\0" in text:
        raise BadInputError(
            f"{path}: text with zero bytes; accepted is a light curve as FITS, numpy's binary format or text"
        )
    return text


def parse_table(text, path, *, delimiter=None, columns):
    """Numbers of a text table, one sample per line; blank lines and lines that start with ``#`` are skipped.

    Parameters
    ----------
    text : str
    path : for messages
    delimiter : str, optional
        Blanks by default
    columns : collection of int
        How many columns are accepted

    Returns
    -------
    (n_lines, n_columns) float array
    """
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise BadInputError(
            f"{path}: no samples in this file; expected lines of {_one_of(columns)} numbers"
        )
    try:
        table = np.loadtxt(lines, delimiter=delimiter, ndmin=2, comments=None)
    except ValueError:
        raise BadInputError(_first_bad_line(text, path, delimiter, columns)) from None
    if table.shape[1] not in columns:
        raise BadInputError(f"{path}: {table.shape[1]} columns; expected {_one_of(columns)}")
    return table


def check_samples(path, times, fluxes, flags):
    """Refuse times that are not finite or not sorted, and fluxes that are not finite in samples not flagged bad."""
    if len(times) == 0:
        raise BadInputError(f"{path}: no samples in this file")
    if not np.isfinite(times).all():
        raise BadInputError(
            f"{path}: the time of sample {np.argmin(np.isfinite(times)) + 1} is not a finite number"
        )
    backwards = np.flatnonzero(np.diff(times) < 0)
    if backwards.size:
        at = backwards[0] + 1
        raise BadInputError(
            f"{path}: sample {at + 1} ({times[at]:.6f} d) is earlier than the one before it "
            f"({times[at - 1]:.6f} d); expected samples sorted in time"
        )
    bad = ~np.isfinite(fluxes) & (flags == 0)
    if bad.any():
        raise BadInputError(
            f"{path}: the flux of sample {np.argmax(bad) + 1} is not a finite number and its flag does not say bad"
        )


def _first_bad_line(text, path, delimiter, columns):
    width = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(delimiter)
        width = width or len(words)
        if len(words) != width:
            return (
                f"{path}, line {number}: {len(words)} columns where the lines before have {width}"
            )
        for word in words:
            try:
                float(word)
            except ValueError:
                return f"{path}, line {number}: {word.strip()[:40]!r} is not a number; expected lines of {_one_of(columns)} numbers"
    return f"{path}: not a table of numbers"


def _one_of(columns):
    return " or ".join(str(n) for n in sorted(columns))
