"""Which target pixel file of a folder a task is about: by index, else by file name, else by header.

The index `tpf_files.sqlite` says which file of a folder holds which star, so that workers need not
look into a million files. It is written once, when the TODO-file is made, and read by many workers
at the same time, perhaps over a network disk. It is therefore opened as *immutable*: SQLite takes
no locks on it. It is replaced, never changed.
"""

import contextlib
import functools
import logging
import os
import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInputError, TargetNotFoundError, TodoFileError
from ..files import atomic_write
from ..fitsstream import open_stream
from .targetpixelfile import identity, refuse_other_files, starid_of

log = logging.getLogger(__name__)

FITS_ENDINGS = (".fits", ".fits.gz", ".fit", ".fit.gz")
LIGHT_CURVE_ENDINGS = ("lc.fits", "lc.fits.gz")  # …_lc, …_llc, …_slc, also of the missions
LISTING_SHARE = 10  # a folder is listed again after so many times the time that it takes
CHECKED = ("sector", "camera", "ccd", "cadence")  # keys of a task that a file must agree with

# tess2018206045859-s0001-0000000025155310-0120-s_tp.fits, …-a_fast-tp.fits,
# hlsp_tess-spoc_tess_phot_…-s0024_tess_v1_tp.fits kplr008462852-2009131105131_lpd-targ.fits,
# ktwo221312395-c91_lpd-targ.fits.gz
_NAMES = (
    (re.compile(r"tess\d+-s(?P<sector>\d{4})-(?P<starid>\d{16})-\d{4}-[a-z]_tp\.fits(\.gz)?"), 120),
    (
        re.compile(
            r"tess\d+-s(?P<sector>\d{4})-(?P<starid>\d{16})-\d{4}-[a-z]_fast-tp\.fits(\.gz)?"
        ),
        20,
    ),
    (
        re.compile(
            r"hlsp_tess-spoc_tess_phot_(?P<starid>\d{16})-s(?P<sector>\d{4})_tess_v\d+_tp\.fits(\.gz)?"
        ),
        None,
    ),
    (
        re.compile(r"(kplr|ktwo)(?P<starid>\d{9})-(c(?P<sector>\d+)|\d{13})_lpd-targ\.fits(\.gz)?"),
        1800,
    ),
    (
        re.compile(r"(kplr|ktwo)(?P<starid>\d{9})-(c(?P<sector>\d+)|\d{13})_spd-targ\.fits(\.gz)?"),
        60,
    ),
)


@dataclass(frozen=True)
class _File:
    """A file that may be a target pixel file; None: not known yet."""

    path: str
    sector: int | None
    cadence: int | None


@dataclass(frozen=True)
class _Listing:
    """The FITS files in and below a folder."""

    named: dict  # starid -> list of _File, for names that give it
    others: tuple  # paths of the other files
    mtime_ns: int  # when the folder was changed
    made: float  # s, when it was listed
    seconds: float  # how long that took


def find_target_pixel_file(folder, task):
    """The target pixel file that a task is about.

    Parameters
    ----------
    folder : str or Path, searched with the folders below it
    task : dict
        With `starid`, `datasource` ('tpf': the file of `starid`; 'tpf:N': the file of star N),
        `sector`, `cadence`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TargetNotFoundError : no such file; the message says where was looked and what for
    """
    starid = primary_starid(task)
    path = lookup(folder, starid, task["sector"], task["cadence"])
    if path is not None and path.is_file():
        return path
    listing = _list_files(str(folder))
    found = _search(listing, starid, task)
    if not found and _is_out_of_date(listing, folder):
        _list_files.cache_clear()
        listing = _list_files(str(folder))
        found = _search(listing, starid, task)
    if not found:
        raise TargetNotFoundError(
            f"{folder}: no target pixel file of star {starid}, sector {task['sector']}, cadence "
            f"{task['cadence']} s; looked "
            f"at the names of {sum(map(len, listing.named.values()))} and the headers of "
            f"{len(listing.others)} FITS files"
        )
    return Path(found[-1].path)  # the last by name: the missions' names begin with a time


def primary_starid(task):
    """The star whose target pixel file a task is about: N for datasource 'tpf:N', else the task's
    own star.
    """
    kind, _, primary = task["datasource"].partition(":")
    if kind != "tpf":
        raise BadInputError(f"datasource={task['datasource']!r}: expected 'tpf' or 'tpf:STARID'")
    if not primary:
        return int(task["starid"])
    if not primary.isascii() or not primary.isdigit():
        raise BadInputError(
            f"datasource={task['datasource']!r}: expected 'tpf' or 'tpf:STARID', as in "
            "'tpf:25155310'"
        )
    return int(primary)


def refuse_other_target(path, task, found):
    """Raise BadInputError unless a file is of the star, sector, camera, ccd and cadence that the
    task names.

    Parameters
    ----------
    task : dict; None for a key means that it is not known
    found : dict with what the file's header says: starid, sector, camera, ccd, cadence
    """
    wanted = {"starid": primary_starid(task)} | {key: task.get(key) for key in CHECKED}
    wrong = [
        key
        for key, value in wanted.items()
        if None not in (value, found[key]) and value != found[key]
    ]
    if wrong:
        said = ", ".join(f"{key} {found[key]} (expected {wanted[key]})" for key in wrong)
        raise BadInputError(f"{path}: its header says that it is of another target: {said}")


def _search(listing, starid, task):
    """Files of a listing that are of a star and of the sector and cadence of a task, by name, else
    by header.
    """
    found = [file for file in listing.named.get(starid, []) if _agrees(file, task)]
    return found or [
        file for file in _read_headers(listing.others).get(starid, []) if _agrees(file, task)
    ]


@functools.lru_cache(maxsize=4)
def _list_files(folder):
    """List the FITS files in and below a folder; once per process, unless something is missing from
    the list.
    """
    try:
        mtime_ns, start = os.stat(folder).st_mtime_ns, time.monotonic()
    except FileNotFoundError as error:
        raise TargetNotFoundError(f"{folder}: the input folder does not exist") from error
    paths = (
        os.path.join(where, name)
        for where, names in _walk(folder)
        for name in names
        if _may_be_pixels(name)
    )
    named, others = {}, []
    for path in sorted(paths, key=os.path.basename):
        starid, file = _parse_name(path)
        if file:
            named.setdefault(starid, []).append(file)
        else:
            others.append(path)
    now = time.monotonic()
    return _Listing(named, tuple(others), mtime_ns, now, now - start)


def _walk(folder):
    """Yield (folder, names of its files) for a folder and those below it, but hidden ones."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield where, names


def _is_out_of_date(listing, folder):
    """Whether listing a folder again may find more; not so often that a run does little else."""
    waited = time.monotonic() - listing.made > LISTING_SHARE * listing.seconds
    return waited and os.stat(folder).st_mtime_ns != listing.mtime_ns


def _may_be_pixels(name):
    """Whether a file may be a target pixel file by its name; our own light curves often are in a
    folder below.
    """
    hidden = name.startswith(".")  # among them the half-written files of another process
    return (
        not hidden
        and name.lower().endswith(FITS_ENDINGS)
        and not name.endswith(LIGHT_CURVE_ENDINGS)
    )


def _parse_name(path):
    for pattern, cadence in _NAMES:
        if match := pattern.fullmatch(os.path.basename(path)):
            return int(match["starid"]), _File(
                path, match["sector"] and int(match["sector"]), cadence
            )
    return None, None


def identity_of_name(path):
    """(starid, sector, cadence) as the name of a target pixel file of the missions says; None for
    what it does not.
    """
    starid, file = _parse_name(path)
    return (None, None, None) if file is None else (starid, file.sector, file.cadence)


@functools.lru_cache(maxsize=4)
def _read_headers(paths):
    """Target pixel files among files whose names say nothing: dict of starid to files."""
    found = {}
    for path in paths:
        try:
            what = identify(path)
        except BadInputError as error:
            log.debug("passed over while looking for target pixel files: %s", error)
            continue
        found.setdefault(what["starid"], []).append(_File(path, what["sector"], what["cadence"]))
    return found


def identify(path):
    """What a file says that it is, from its headers alone.

    Returns
    -------
    dict of starid, mission, sector, camera, ccd, cadence (None where the file is cut before
    that)

    Raises
    ------
    BadInputError : not a target pixel file of TESS, Kepler or K2, or its primary header names no
        star
    """
    with open_stream(path) as stream:
        primary = stream.next_header()
        try:
            table = stream.next_header()
        except (
            BadInputError
        ):  # cut within the second header: which star it is of is known all the same
            table = None
        else:
            refuse_other_files(path, primary, table)
        return {"starid": starid_of(path, primary), **identity(path, primary, table)}


def _agrees(file, task):
    """Whether a file is of the sector and cadence of a task, by its header where its name does not
    tell.
    """
    if file.sector is None or file.cadence is None:
        try:
            what = identify(file.path)
        except BadInputError:
            # the name is right and the content is not: reading it will say why
            return True
        file = _File(file.path, what["sector"], what["cadence"])
    return file.sector == task["sector"] and file.cadence in (None, task["cadence"])


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
        Cadence in seconds. A path may be relative to the folder, or absolute and inside it; it is
        kept relative, so that the folder can be moved. Of several files of one star, sector and
        cadence, the last in the order of their paths counts: the missions' file names begin with a
        time.

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
    rows = _query_index(
        folder,
        "SELECT path FROM tpf_files WHERE starid=? AND sector=? AND cadence=?",
        (int(starid), int(sector), int(cadence)),
    )
    return Path(folder) / rows[0][0] if rows else None


def read_index(folder):
    """The whole index of a folder, for who asks for all of its stars.

    Returns
    -------
    dict : (starid, sector, cadence) -> path relative to the folder; empty where there is no index
    """
    rows = _query_index(folder, "SELECT starid, sector, cadence, path FROM tpf_files")
    return {(starid, sector, cadence): path for starid, sector, cadence, path in rows}


def _query_index(folder, sql, parameters=()):
    """Rows of the index of a folder; none where there is no index."""
    index = Path(folder) / INDEX_NAME
    if not index.is_file():
        return []
    try:
        with contextlib.closing(
            sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as conn:
            return conn.execute(sql, parameters).fetchall()
    except sqlite3.DatabaseError as error:
        raise TodoFileError(
            f"{index}: not an index of target pixel files ({' '.join(str(error).split())}); "
            "remove it, or make it again with 'photometry todo'"
        ) from error


def _relative(path, folder):
    path = Path(path)
    if path.is_absolute():
        path = path.relative_to(folder.absolute())
    return path.as_posix()
