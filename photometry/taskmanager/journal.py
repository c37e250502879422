"""The journal: changes that are not in the TODO-file yet, in files beside it that are only ever
appended to.

In memory mode each change is appended here before the call that makes it returns, so a process that
is killed loses nothing that it acknowledged. One line is one change::

    CRC JSON

with the CRC-32 of the JSON, continued from the line before, so a line that is lost, doubled or
moved is noticed as well as a damaged one. The first line of a file names the TODO-file by its id,
the generation, and which columns the values of the changes belong to.

Generations make the replay safe at every moment. A TODO-file of generation N has everything of the
journals before N in it. `backup()` first begins journal N+1, then writes a TODO-file that calls
itself N+1 and holds at least what the journals up to N hold, then removes those. After a crash the
journals from N on are replayed, in order; a change that the file has already does no harm, because
each change says what is, not what is different. Where a line is damaged, all before it is replayed,
and nothing after it.
"""

import errno
import logging
import math
import os
import re
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import TodoFileError, TryAgainError
from ..files import sync
from .schema import BLOCK, JOURNAL_COLUMNS, to_block

log = logging.getLogger(__name__)

DURABILITIES = ("process", "second", "record")

_FORMAT = 2
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_changes = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]]).decode
_sync_data = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True)
class Segment:
    """One journal file, read as far as it is good.

    Attributes
    ----------
    path : Path
    generation : int
    crc : int, of its last good line
    n_changes : int, up to there
    is_torn : bool; what follows is a last line that was never whole
    """

    path: Path
    generation: int
    crc: int
    n_changes: int
    is_torn: bool = False


@dataclass(frozen=True)
class Segments:
    """The journals of a TODO-file that can be replayed.

    Attributes
    ----------
    good : list of Segment, in the order of replay
    problem : str or None, why the replay ends before the end of the journals
    """

    good: list
    problem: str | None = None


class Journal:
    """The journal file that is being written.

    Parameters
    ----------
    todo_file : Path
    todo_id : str
    generation : int
    follows : int, CRC of the last line of the journal before this one
    durability : 'process', 'second' or 'record'
        What survives the crash of the machine: everything that the operating system had written by
        itself, all but the last second, or everything. All of them survive the crash of the
        process.

    Attributes
    ----------
    size : int, bytes
    """

    def __init__(self, todo_file, todo_id, generation, *, follows=0, durability="process"):
        self.todo_file, self.todo_id = todo_file, todo_id
        self.generation, self.durability = generation, durability
        self.path = todo_file.with_name(f"{todo_file.name}.journal-{generation:06d}")
        self._crc = self.size = 0
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        header = {"journal": _FORMAT, "id": todo_id, "generation": generation, "follows": follows}
        try:
            self.append(header | {"columns": JOURNAL_COLUMNS})
        except BaseException:
            self.close()
            self.path.unlink(missing_ok=True)
            raise
        if durability != "process":
            sync(self.path.parent)

    def append(self, changes):
        """Add ``changes`` (see `schema.apply`); when this returns they survive the death of this
        process.

        Raises
        ------
        TryAgainError : the disk is full or gone; nothing of ``changes`` stays in the journal
        """
        text = _encode(changes)
        crc = zlib.crc32(text, self._crc)
        line = b"%08x %b\n" % (crc, text)
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
            if self.durability == "record":
                _sync_data(self._file)
        except OSError as error:
            self._take_back()
            raise _disk_error(self.path, error) from error
        self._crc = crc
        self.size += len(line)

    def next(self):
        """Close this one and begin the journal of the next generation."""
        after = Journal(
            self.todo_file,
            self.todo_id,
            self.generation + 1,
            follows=self._crc,
            durability=self.durability,
        )
        if self.durability != "process":
            _sync_data(self._file)
        self.close()
        return after

    def close(self):
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take_back(self):
        """Remove the beginning of a line that did not get onto a full disk, so that the next one
        starts afresh.
        """
        try:
            os.ftruncate(self._file, self.size)
        except OSError as error:
            log.error("%s: half a line stays at its end (%s)", self.path, error)


def find_segments(todo_file, *, before=math.inf):
    """``{generation: path}`` of the journals beside a TODO-file, of generations before one, in
    ascending order.
    """
    pattern = re.compile(re.escape(todo_file.name) + r"\.journal-(\d{6,})")
    matches = map(pattern.fullmatch, os.listdir(todo_file.parent))
    paths = {int(match[1]): todo_file.with_name(match[0]) for match in matches if match}
    return {number: path for number, path in sorted(paths.items()) if number < before}


def read_segments(todo_file, todo_id, generation, *, before=math.inf):
    """The journals to be replayed into a TODO-file, each read as far as it is good.

    Parameters
    ----------
    todo_file : Path
    todo_id : str, its id
    generation : int, its generation
    before : int, only those of generations before this one

    Returns
    -------
    Segments

    Raises
    ------
    TodoFileError : they were written by a version of the program that this one does not understand
    """
    good = []
    for number, path in find_segments(todo_file, before=before).items():
        if number < generation:
            continue
        if number != generation + len(good):
            missing = generation + len(good)
            why = f"{path.name} belongs to another version of the file, number {missing} is missing"
            return Segments(good, why)
        segment, problem = _read_segment(path, todo_id, number, good[-1].crc if good else None)
        if segment is not None:
            good.append(segment)
        if problem:
            return Segments(good, problem)
    return Segments(good)


def read_changes(segment):
    """Yield the changes of a segment, as far as it is good, with values in the order of our
    columns.
    """
    if not segment.n_changes:
        return
    lines = _lines(segment.path, {})
    _, header = next(lines)
    orders = {
        name: _order(columns, header["columns"][name])
        for name, columns in JOURNAL_COLUMNS.items()
        if list(columns) != header["columns"].get(name)
    }
    for (_, changes), _ in zip(lines, range(segment.n_changes), strict=False):
        if orders:
            changes = [_reordered(name, rows, orders) for name, rows in changes]
        yield changes


def set_aside(todo_file, why, paths=None):
    """Rename journals so that they are never replayed, and say so.

    Parameters
    ----------
    todo_file : Path
    why : str
    paths : list of Path, or None for all
    """
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for path in find_segments(todo_file).values() if paths is None else paths:
        aside = path.with_name(f"{path.name}.set-aside-{stamp}")
        path.rename(aside)
        log.error("%s: %s; the journal is set aside as %s", todo_file, why, aside.name)


def _order(columns, written):
    """Where each of our columns is in a row with the columns ``written``; None where it is not."""
    return [written.index(name) if name in written else None for name in columns]


def _reordered(name, rows, orders):
    """A change with its values where our columns are."""
    if name == BLOCK:
        return name, [_encode(_reordered_block(to_block(content), orders)) for content in rows]
    return name, _in_order(rows, orders[name]) if name in orders else rows


def _reordered_block(block, orders):
    if "diagnostics" in orders:
        block = block._replace(full=_in_order(block.full, orders["diagnostics"]))
    if "brief diagnostics" in orders and block.brief:
        brief = _in_order(_decode(block.brief), orders["brief diagnostics"])
        block = block._replace(brief=_encode(brief).decode())
    return block


def _in_order(rows, order):
    return [[None if i is None else row[i] for i in order] for row in rows]


def _read_segment(path, todo_id, generation, follows):
    """(Segment or None, problem or None)"""
    notes = {}
    lines = _lines(path, notes)
    crc, header = next(lines, (0, None))
    if header is None:  # killed before its first line was whole: nothing was acknowledged
        return Segment(path, generation, 0, 0), notes.get("damage")
    if (
        not isinstance(header, dict)
        or header.get("id") != todo_id
        or header.get("generation") != generation
    ):
        return None, f"{path.name} belongs to another file"
    if header.get("journal") != _FORMAT:
        raise TodoFileError(
            f"{path}: a killed run of another version of photometry wrote this journal (format "
            f"{header.get('journal')}, this version knows {_FORMAT}); finish the run with that "
            "version"
        )
    if follows is not None and header.get("follows") != follows:
        return None, f"{path.name} does not follow the one before it, which has lost its end"
    n_changes = 0
    for crc, _ in lines:  # noqa: B007
        n_changes += 1
    problem = notes.get("damage")
    if problem:
        problem += (
            f"; what it says up to there was replayed (changes: {n_changes}), what follows is lost"
        )
    return Segment(path, generation, crc, n_changes, "torn" in notes), problem


def _lines(path, notes):
    """Yield ``(crc, content)`` of each good line.

    ``notes``, a dict, gets the key ``torn`` where the last line was never whole, which is no
    damage: the call that wrote it never returned; and ``damage`` where any other line is bad.
    """
    crc = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            crc, content = _read_line(line, crc, number)
            if content is None:
                rest = file.read(1 << 20)
                if rest.strip(b"\0"):
                    notes["damage"] = f"{path.name} is damaged in line {number}"
                else:
                    notes["torn"] = True
                return
            yield crc, content


def _read_line(line, crc, number):
    """CRC and content of a line; content None where the line is bad."""
    if line[8:9] != b" " or not line.endswith(b"\n"):
        return crc, None
    text = line[9:-1]
    if b"%08x" % zlib.crc32(text, crc) != line[:8]:
        return crc, None
    try:
        return zlib.crc32(text, crc), _decode(text) if number == 1 else _changes(text)
    except msgspec.DecodeError:
        return crc, None


def _changes(text):
    return [
        (name, _blocks(rows) if name == BLOCK else _decode(rows))
        for name, rows in _decode_changes(text)
    ]


_blocks = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _disk_error(path, error):
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TryAgainError(
            f"{path}: the disk is full; make room and run again, everything saved so far is kept"
        )
    return TryAgainError(
        f"{path}: cannot be written ({error.strerror}); everything saved so far is kept"
    )
