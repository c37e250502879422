"""`tpf_files.sqlite`: which file of a folder holds which star, so that workers need not look into a million files.

It is written once, when the TODO-file is made, and read by many workers at the same time, perhaps over a network disk.
It is therefore opened as *immutable*: SQLite takes no locks on it. It is replaced, never changed.
"""

import contextlib
import sqlite3
from pathlib import Path

from ..errors import TodoFileError
from ..files import atomic_write

INDEX_NAME = "tpf_files.sqlite"

_SCHEMA = """
CREATE TABLE tpf_files (
    starid INTEGER NOT NULL,
    sector INTEGER NOT NULL,
    cadence INTEGER NOT NULL,
    path TEXT NOT NULL,
    PRIMARY KEY (starid, sector, cadence)
) WITHOUT ROWID
"""


def write_index(folder, rows):
    """Write the index of a folder, replacing an older one.

    Parameters
    ----------
    folder : the folder that is indexed, and that gets the file `tpf_files.sqlite`
    rows : iterable of (starid, sector, cadence, path)
        Cadence in seconds. A path may be relative to the folder, or absolute and inside it; it is kept relative, so
        that the folder can be moved. Of several files of one star, sector and cadence, the last in the order of their
        paths counts: the missions' file names begin with a time.

    Returns
    -------
    pathlib.Path of the index
    """
    folder = Path(folder)
    index = folder / INDEX_NAME
    rows = (
        (int(starid), int(sector), int(cadence), _relative(path, folder))
        for starid, sector, cadence, path in rows
    )
    with (
        atomic_write(index) as part,
        contextlib.closing(sqlite3.connect(part, isolation_level=None)) as conn,
    ):
        conn.execute(
            "PRAGMA journal_mode=OFF"
        )  # the file appears whole or not at all: atomic_write sees to it
        conn.execute("BEGIN")
        conn.execute(_SCHEMA)
        conn.executemany(
            "INSERT OR REPLACE INTO tpf_files VALUES (?,?,?,?)",
            sorted(rows, key=lambda row: row[3]),
        )
        conn.execute("COMMIT")
    return index


def lookup(folder, starid, sector, cadence):
    """Where the target pixel file of a star is.

    Parameters
    ----------
    folder : the folder that may hold `tpf_files.sqlite`
    starid, sector, cadence : int; cadence in seconds

    Returns
    -------
    pathlib.Path below ``folder``; None if the index does not know the star, or if there is no index

    Raises
    ------
    TodoFileError : `tpf_files.sqlite` is there but is not such an index
    """
    index = Path(folder) / INDEX_NAME
    if not index.is_file():
        return None
    try:
        with contextlib.closing(
            sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as conn:
            row = conn.execute(
                "SELECT path FROM tpf_files WHERE starid=? AND sector=? AND cadence=?",
                (int(starid), int(sector), int(cadence)),
            ).fetchone()
    except sqlite3.DatabaseError as error:
        raise TodoFileError(
            f"{index}: not an index of target pixel files ({error}); remove it, or make it again with 'photometry todo'"
        ) from error
    return None if row is None else Path(folder) / row[0]


def _relative(path, folder):
    path = Path(path)
    if path.is_absolute():
        path = path.relative_to(folder.absolute())
    return path.as_posix()
