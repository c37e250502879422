"""The journal: changes that are not in the TODO-file yet, in files beside it that are only ever appended to.

In memory mode each change is appended here before the call that makes it returns, so a process that is killed loses
nothing that it acknowledged. One line is one change::

    CRC JSON

with the CRC-32 of the JSON, continued from the line before, so a line that is lost, doubled or moved is noticed as well
as a damaged one. The first line of a file names the TODO-file by its id, and the generation.

Generations make the replay safe at every moment. A TODO-file of generation N has everything of the journals before N in
it. `backup()` first begins journal N+1, then writes a TODO-file that calls itself N+1 and holds at least what the
journals up to N hold, then removes those. After a crash the journals from N on are replayed, in order; a change that the
file has already does no harm, because each change says what is, not what is different.
"""

import errno
import logging
import os
import re
import time
import zlib
from dataclasses import dataclass

import msgspec

from ..errors import PhotometryError, TryAgainError
from ..files import sync

log = logging.getLogger(__name__)

DURABILITIES = ("process", "second", "record")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_sync_data = getattr(os, "fdatasync", os.fsync)


class JournalError(PhotometryError):
    """A journal that cannot be replayed; the message says why."""


@dataclass(frozen=True)
class Segment:
    """One journal file that was read to its end."""

    path: object  # Path
    generation: int
    crc: int  # of its last good line
    n_changes: int


class Journal:
    """The journal file that is being written.

    Parameters
    ----------
    todo_file : Path
    todo_id : str
    generation : int
    follows : int, CRC of the last line of the journal before this one
    durability : 'process', 'second' or 'record'
        What survives the crash of the machine: everything that the operating system had written by itself, all but
        the last second, or everything. All of them survive the crash of the process.
    """

    def __init__(self, todo_file, todo_id, generation, *, follows=0, durability="process"):
        self.todo_file, self.todo_id = todo_file, todo_id
        self.generation, self.durability = generation, durability
        self.path = segment_path(todo_file, generation)
        self.n_changes = 0
        self._crc = self._size = 0
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        try:
            self._append(
                {"journal": 1, "id": todo_id, "generation": generation, "follows": follows}
            )
        except BaseException:
            self.close()
            self.path.unlink(missing_ok=True)
            raise
        if durability != "process":
            sync(self.path.parent)

    def append(self, changes):
        """Add ``changes`` (see `changes.apply`); when this returns they survive the death of this process.

        Raises
        ------
        TryAgainError : the disk is full or gone; nothing of ``changes`` stays in the journal
        """
        self._append(changes)
        self.n_changes += 1

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
            self.sync()
        self.close()
        return after

    def sync(self):
        """Flush to the disk."""
        _sync_data(self._file)

    def close(self):
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, content):
        text = _encode(content)
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
        self._size += len(line)

    def _take_back(self):
        """Remove the beginning of a line that did not get onto a full disk, so that the next one starts afresh."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            log.error("%s: half a line stays at its end (%s)", self.path, error)


def segment_path(todo_file, generation):
    """Journal file of a generation, beside the TODO-file."""
    return todo_file.with_name(f"{todo_file.name}.journal-{generation:06d}")


def find_segments(todo_file):
    """``{generation: path}`` of the journals beside a TODO-file, in ascending order."""
    pattern = re.compile(re.escape(todo_file.name) + r"\.journal-(\d{6,})")
    matches = map(pattern.fullmatch, os.listdir(todo_file.parent))
    found = {int(match[1]): todo_file.with_name(match[0]) for match in matches if match}
    return dict(sorted(found.items()))


def check_segments(todo_file, todo_id, generation, before=None):
    """The journals to be replayed into a TODO-file of this id and generation, each read to its end and found whole.

    Parameters
    ----------
    before : int, optional
        Only those of generations before this one.

    Returns
    -------
    segments : list of Segment, in the order of replay

    Raises
    ------
    JournalError : one of them is damaged, belongs to another file, or is missing; none of them may be replayed
    """
    segments = []
    for number, path in find_segments(todo_file).items():
        if number < generation or (before is not None and number >= before):
            continue
        expected = generation + len(segments)
        if number != expected:
            raise JournalError(
                f"{path.name} belongs to another version of the file, number {expected} is missing"
            )
        segments.append(
            _check_segment(path, todo_id, number, segments[-1].crc if segments else None)
        )
    return segments


def read_changes(segment):
    """Yield the changes of a segment that was checked."""
    lines = _lines(segment.path)
    next(lines)
    for (_, changes), _ in zip(lines, range(segment.n_changes), strict=False):
        yield changes


def set_aside(todo_file, why):
    """Rename the journals of a TODO-file so that they are never replayed, and say so."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for path in find_segments(todo_file).values():
        aside = path.with_name(f"{path.name}.set-aside-{stamp}")
        path.rename(aside)
        log.error(
            "%s: its journal cannot be replayed (%s); set aside as %s", todo_file, why, aside.name
        )


def _check_segment(path, todo_id, generation, follows):
    lines = _lines(path)
    crc, header = next(lines, (0, None))
    if header is None:  # killed before its first line was whole: nothing was acknowledged
        return Segment(path, generation, 0, 0)
    if (
        not isinstance(header, dict)
        or header.get("id") != todo_id
        or header.get("generation") != generation
    ):
        raise JournalError(f"{path.name} belongs to another file")
    if follows is not None and header.get("follows") != follows:
        raise JournalError(f"{path.name} does not follow the one before it, which has lost its end")
    n_changes = 0
    for crc, _ in lines:  # noqa: B007
        n_changes += 1
    return Segment(path, generation, crc, n_changes)


def _lines(path):
    """Yield ``(crc, content)`` of each line. A bad last line was torn by a crash and is dropped; any other is damage."""
    crc = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            crc, content = _read_line(line, crc)
            if content is None:
                rest = file.read(1 << 20)
                if rest.strip(b"\0"):
                    raise JournalError(f"{path.name} is damaged in line {number}")
                log.warning("%s: its last line was torn by a crash and is left out", path)
                return
            yield crc, content


def _read_line(line, crc):
    """CRC and content of a line; content None where the line is bad."""
    if line[8:9] != b" " or not line.endswith(b"\n"):
        return crc, None
    text = line[9:-1]
    if b"%08x" % zlib.crc32(text, crc) != line[:8]:
        return crc, None
    return zlib.crc32(text, crc), _decode(text)


def _disk_error(path, error):
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TryAgainError(
            f"{path}: the disk is full; make room and run again, everything saved so far is kept"
        )
    return TryAgainError(
        f"{path}: cannot be written ({error.strerror}); everything saved so far is kept"
    )
