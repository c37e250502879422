"""Opening a TODO-file: find it, see that it is one, connect, bring older tables up to date, replay
what a killed run left.
"""

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import stat
import weakref
from pathlib import Path

from ..errors import TodoFileError, TryAgainError
from ..files import abandoned_parts, is_network_disk
from . import schema
from .journal import Segments, find_segments, read_changes, set_aside
from .migrations import check_migratable, migrate
from .schema import apply

_HEADER_SIZE = 100  # bytes, https://www.sqlite.org/fileformat.html section 1.3
_MAGIC = b"SQLite format 3\0"
_NEEDED = ("priority", "starid", "sector", "camera", "ccd")
_SAMPLES = 64
_LOGS = ("-wal", "-journal")  # SQLite's own, beside the file
_HAS_SETTINGS = "SELECT 1 FROM sqlite_master WHERE name = 'todo_settings'"
_READ_ONLY = "immutable=1"  # nobody writes to it: without locks and without files beside it

# wrong SQL, not the disk: https://www.sqlite.org/rescode.html; Python 3.10 does not have it
_SQLITE_ERROR = 1


class TodoFileNotFoundError(TodoFileError, FileNotFoundError):
    """There is no such TODO-file: the FileNotFoundError that the interface promises, with a message
    of ours.
    """


# --- is this a TODO-file that we can work with? Looked at without changing one byte of it


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


def check_file(path, *, to_write=False):
    """Refuse what is not a SQLite file at all; and ``to_write``, what is protected, or what a run
    would tear from its other names.

    Returns
    -------
    header : bytes, the first 100

    Raises
    ------
    TodoFileError
    """
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_SIZE)
    except OSError as error:
        raise TodoFileError(f"{path}: cannot be read ({error.strerror})") from None
    if not header:
        raise TodoFileError(f"{path}: empty; expected a TODO-file (SQLite) with the table todolist")
    if not header.startswith(_MAGIC):
        raise TodoFileError(
            f"{path}: not a SQLite file; expected a TODO-file with the table todolist"
        )
    if not to_write:
        return header
    status = path.stat()
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise TodoFileError(
            f"{path}: lies on a read-only file system; copy it to where it can be worked on, or "
            "only look at it: TaskManager(path, read_only=True)"
        )
    anyone_may = status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if not anyone_may or not os.access(path, os.W_OK):
        raise TodoFileError(
            f"{path}: is write-protected (mode {stat.S_IMODE(status.st_mode):o}); allow writing "
            "with chmod u+w, or only look at it: TaskManager(path, read_only=True)"
        )
    if status.st_nlink > 1:
        raise TodoFileError(
            f"{path}: has {status.st_nlink} names (hard links); a run would be seen under one of "
            "them only. Make a copy of it, or remove the other names"
        )
    return header


def check_todo_file(path):
    """Refuse what is not a whole TODO-file.

    One pass over the file is the price (``PRAGMA quick_check``, about 0.2 s per million rows): a
    damaged page found now costs a restart from the last copy, found at night it costs the run.

    Raises
    ------
    TodoFileError : empty, not SQLite, truncated, damaged, or without the table ``todolist``
    ValueError : the cadences of an older file cannot be known, see `migrations`
    """
    header, size = check_file(path), path.stat().st_size
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size
    # else an old program did not update the number of pages with its last change
    is_current = header[24:28] == header[92:96]
    promised = page_size * int.from_bytes(header[28:32], "big") if is_current else 0
    if size < max(promised, _HEADER_SIZE):
        raise TodoFileError(
            f"{path}: truncated, {size} bytes of {promised or 'more'}; take another copy"
        )
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?{_READ_ONLY}", uri=True)) as conn:
        try:
            columns = {row[1] for row in conn.execute("PRAGMA table_info(todolist)")}
            if not columns:
                raise TodoFileError(f"{path}: has no table todolist; is it a TODO-file?")
            for name in _NEEDED:
                if name not in columns:
                    raise TodoFileError(
                        f"{path}: table todolist has no column {name!r}; the file must be made anew"
                    )
            if conn.execute(_HAS_SETTINGS).fetchone():
                row = conn.execute(
                    "SELECT value FROM todo_settings WHERE key = 'format'"
                ).fetchone()
                if row and not str(row[0]).isdigit():
                    raise TodoFileError(f"{path}: damaged (format {row[0]!r}: expected a number)")
                if row and int(row[0]) > schema.FORMAT:
                    raise TodoFileError(
                        f"{path}: format {row[0]} is newer than this program ({schema.FORMAT}); "
                        "upgrade photometry"
                    )
            (verdict,) = conn.execute("PRAGMA quick_check(1)").fetchone()
            if verdict == "ok" and "cadence" not in columns:
                check_migratable(conn, path)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise TodoFileError(f"{path}: damaged ({error})") from None
    if verdict != "ok":
        raise TodoFileError(f"{path}: damaged ({verdict.splitlines()[-1]})")


def has_unfinished_business(path):
    """True where SQLite left a log of its own beside the file: a run in file mode was killed."""
    return any(path.with_name(path.name + end).exists() for end in _LOGS)


def fingerprint(path):
    """Id of a file that carries none yet: a hash of samples of its content."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for sample in range(_SAMPLES + 1):
            file.seek(max(0, (size - 4096) * sample // _SAMPLES))
            digest.update(file.read(4096))
    return digest.hexdigest()[:32]


# --- the owner opens it


@contextlib.contextmanager
def damage_reported():
    """Around a method of a TaskManager, or what looks at a file: where a page of the file turns out
    to be damaged, a TodoFileError.
    """
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # most subclasses are about what was asked
        if isinstance(error, sqlite3.DatabaseError) and not (
            type(error) is sqlite3.DatabaseError or "decode" in str(error)
        ):
            raise
        raise TodoFileError(
            f"the TODO-file is damaged ({error}); take an earlier copy, or make it anew with "
            "`photometry todo`"
        ) from error


class Connection(sqlite3.Connection):
    """As `sqlite3.Connection`, but it knows its cursors.

    A cursor that was left in the middle of its rows keeps SQLite from leaving the write-ahead log.
    Closing the connection is no way out: as long as such a cursor lives, SQLite keeps the file open
    and locked behind the scenes.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._cursors = weakref.WeakSet()

    def cursor(self, *args, **options):
        cursor = super().cursor(*args, **options)
        self._cursors.add(cursor)
        return cursor

    def own_cursor(self):
        """A cursor for our own questions, rows as tuples."""
        cursor = self.cursor()
        cursor.row_factory = None
        return cursor

    # the methods of sqlite3.Connection do not pass through `cursor`
    def execute(self, *args):
        return self.cursor().execute(*args)

    def executemany(self, *args):
        return self.cursor().executemany(*args)

    def close_cursors(self):
        """Close all cursors, also those in the middle of their rows; before `close`, of a file."""
        for cursor in list(self._cursors):
            cursor.close()


def connect(path):
    """Connection of the one owner of a TODO-file.

    On a disk of this host others may read through it meanwhile. A network disk, where SQLite must
    not share memory between processes, is held for ourselves.

    Parameters
    ----------
    path : Path

    Raises
    ------
    TodoFileError : another program has it open, or it cannot be written
    """
    has_locks = _can_lock(path)
    options = "mode=rw" if has_locks else "mode=rw&nolock=1"
    conn = sqlite3.connect(
        f"{path.as_uri()}?{options}", uri=True, check_same_thread=False, factory=Connection
    )
    try:
        if not has_locks or is_network_disk(path):
            conn.execute("PRAGMA locking_mode = EXCLUSIVE")
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        conn.close()
        raise TodoFileError(
            f"{path}: another program has it open, or it cannot be written ({error})"
        ) from None
    return conn


def recover(path):
    """Tidy up after a run that was killed: SQLite folds its log in, half-written copies of the file
    are removed.

    Returns
    -------
    was_killed : bool, there was a log of SQLite's to fold in
    """
    for part in abandoned_parts(path):
        part.unlink()
    if not has_unfinished_business(path):
        return False
    try:
        with contextlib.closing(connect(path)) as conn:
            conn.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as error:
        raise TodoFileError(
            f"{path}: damaged, what a killed run left cannot be folded in ({error})"
        ) from None
    return True


def load(path):
    """`Connection` to the database of a plain file, in memory."""
    conn = sqlite3.connect(":memory:", check_same_thread=False, factory=Connection)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?{_READ_ONLY}", uri=True)) as disk:
        disk.backup(conn)
    return conn


def identity(conn, path):
    """Id and generation of a TODO-file; one that was never ours is called after its content.

    Raises
    ------
    TodoFileError : the file says nothing sensible
    """
    if not conn.execute(_HAS_SETTINGS).fetchone():
        return fingerprint(path), 1
    settings = dict(conn.execute("SELECT key, value FROM todo_settings").fetchall())
    try:
        return settings["id"], int(settings["generation"])
    except (KeyError, TypeError, ValueError):
        raise TodoFileError(f"{path}: damaged (todo_settings has no id or no generation)") from None


def bring_up_to_date(conn, path, segments, todo_id, generation):
    """Migrate a database and replay journals into it, in one transaction; what does not fit is set
    aside.

    Parameters
    ----------
    conn : sqlite3.Connection, of the file, or of a copy on disk or in memory
    path : Path of the TODO-file
    segments : journal.Segments
    todo_id, generation : see `identity`

    Returns
    -------
    generation, crc : int, what the next journal is called, and what it follows

    Raises
    ------
    TodoFileError : a file of another tool that cannot be migrated
    TryAgainError : the disk is full or gone
    """
    # after all that there are, those that cannot be replayed included
    following = max(find_segments(path), default=generation) + 1 if segments.good else generation
    try:
        return following, replay(conn, segments, todo_id, following)
    except sqlite3.IntegrityError as error:
        if not segments.good:
            raise _cannot_migrate(path, error) from error
        set_aside(path, f"its journal does not fit the file: {error}")
        return generation, replay(conn, Segments([]), todo_id, generation)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == _SQLITE_ERROR:
            raise _cannot_migrate(path, error) from error
        raise TryAgainError(f"{path}: cannot be written ({error})") from error
    except sqlite3.DatabaseError as error:
        raise TodoFileError(f"{path}: damaged ({error})") from error


def _cannot_migrate(path, error):
    return TodoFileError(
        f"{path}: the tables of an older tool cannot be brought up to date ({error}); make it anew"
    )


def replay(conn, segments, todo_id, generation):
    """Migrate, replay, and write the new generation, all or nothing.

    Parameters
    ----------
    conn : sqlite3.Connection
    segments : journal.Segments
    todo_id : str
    generation : int, of the file when this is in it

    Returns
    -------
    crc : int, what the next journal follows
    """
    cursor = conn.cursor()
    cursor.execute("BEGIN")
    try:
        migrate(conn)
        for segment in segments.good:
            for changes in read_changes(segment):
                apply(cursor, changes)
        cursor.execute(schema.WRITE_IDENTITY, (todo_id, str(generation)))
        cursor.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return segments.good[-1].crc if segments.good else 0


def _can_lock(path):
    """False where the file system has no locks, as some network file systems."""
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
