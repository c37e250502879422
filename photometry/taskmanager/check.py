"""Is this a TODO-file that we can work with? Looked at without changing one byte of it."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path

from ..errors import TodoFileError
from . import schema
from .migrations import check_migratable

_HEADER_SIZE = 100  # bytes, https://www.sqlite.org/fileformat.html section 1.3
_MAGIC = b"SQLite format 3\0"
_NEEDED = ("priority", "starid", "sector", "camera", "ccd")
_SAMPLES = 64


class TodoFileNotFoundError(TodoFileError, FileNotFoundError):
    """There is no such TODO-file."""


def find_todo_file(path):
    """Path of the TODO-file; a folder means ``todo.sqlite`` in it.

    Raises
    ------
    TodoFileNotFoundError : which is a FileNotFoundError
    """
    path = Path(path)
    path = path / "todo.sqlite" if path.is_dir() else path
    if not path.is_file():
        raise TodoFileNotFoundError(f"{path}: no such TODO-file; make one with `photometry todo`")
    return path.resolve()


def check_header(path):
    """Refuse what is not a SQLite file at all.

    Raises
    ------
    TodoFileError
    """
    with open(path, "rb") as file:
        header = file.read(len(_MAGIC))
    if not header:
        raise TodoFileError(f"{path}: empty; expected a TODO-file (SQLite) with the table todolist")
    if header != _MAGIC:
        raise TodoFileError(
            f"{path}: not a SQLite file; expected a TODO-file with the table todolist"
        )


def check_todo_file(path):
    """Refuse what is not a whole TODO-file.

    One pass over the file is the price (``PRAGMA quick_check``, about 0.2 s per million rows): a damaged page found now
    costs a restart from the last copy, found at night it costs the run.

    Raises
    ------
    TodoFileError : empty, not SQLite, truncated, damaged, or without the table ``todolist``
    CadenceUnknownError : see `migrations`
    """
    check_header(path)
    _check_size(path)
    with contextlib.closing(read_only(path)) as conn:
        try:
            _check_tables(conn, path)
            (verdict,) = conn.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            raise TodoFileError(f"{path}: damaged ({error})") from None
        if verdict != "ok":
            raise TodoFileError(f"{path}: damaged ({verdict.splitlines()[-1]})")
        check_migratable(conn, path)


def read_only(path):
    """Connection that reads a file which nobody writes to, without locks and without files beside it."""
    return sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)


def has_unfinished_business(path):
    """True where SQLite left a log of its own beside the file: a run in file mode was killed."""
    return any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))


def fingerprint(path):
    """Id of a file that carries none yet: a hash of samples of its content."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for place in range(_SAMPLES + 1):
            file.seek(max(0, (size - 4096) * place // _SAMPLES))
            digest.update(file.read(4096))
    return digest.hexdigest()[:32]


def _check_size(path):
    with open(path, "rb") as file:
        header = file.read(_HEADER_SIZE)
    size = path.stat().st_size
    if len(header) < _HEADER_SIZE or size < _expected_size(header):
        raise TodoFileError(
            f"{path}: truncated, {size} bytes of {_expected_size(header) or 'more'}; take another copy"
        )


def _expected_size(header):
    """Bytes that the header promises; 0 where an old program did not say."""
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size
    # else the page count was not updated with the last change
    is_known = header[24:28] == header[92:96]
    return page_size * int.from_bytes(header[28:32], "big") if is_known else 0


def _check_tables(conn, path):
    columns = {row[1] for row in conn.execute("PRAGMA table_info(todolist)")}
    if not columns:
        raise TodoFileError(f"{path}: has no table todolist; is it a TODO-file?")
    for name in _NEEDED:
        if name not in columns:
            raise TodoFileError(
                f"{path}: table todolist has no column {name!r}; the file must be made anew"
            )
    if conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'todo_settings'").fetchone():
        row = conn.execute("SELECT value FROM todo_settings WHERE key = 'format'").fetchone()
        if row and int(row[0]) > schema.FORMAT:
            raise TodoFileError(
                f"{path}: format {row[0]} is newer than this program ({schema.FORMAT}); upgrade photometry"
            )
