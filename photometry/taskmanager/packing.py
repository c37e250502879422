"""`Packer`: checks results in the workers, and writes the text of the journal there, so that the
master only appends it.

Plain results are packed: OK, without errors, and of no concern to other tasks. All others travel as
they are.
"""

import math
import socket
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ..status import STATUS
from .result import NULL, Result
from .schema import Attempt, Block, BriefDiagnostics, Diagnostics, to_block

_OK = int(STATUS.OK)
WEIGHT = 0.1
"""Of the newest result in the running means of the summary."""
_encode = msgspec.json.Encoder().encode


class MeanOfMany(NamedTuple):
    """What many values do to a running mean, without the values.

    Attributes
    ----------
    n : how many values are known
    first : the first of them, or NaN
    weighted : the running mean that they would give after a mean of zero
    """

    n: int
    first: float
    weighted: float

    @classmethod
    def of(cls, values):
        """Of a list of float, in which NaN is not known."""
        n, first, weighted = 0, float("nan"), 0.0
        for value in values:
            if value == value:
                first = value if n == 0 else first
                n += 1
                weighted += WEIGHT * (value - weighted)
        return cls(n, first, weighted)

    def after(self, mean):
        """The running mean after these values; ``mean`` is the one before them, or None."""
        if not self.n:
            return mean
        mean = self.first if mean is None else mean
        return mean * (1 - WEIGHT) ** self.n + self.weighted


_UNKNOWN = MeanOfMany(0, math.nan, 0.0)


class Packed(msgspec.Struct, gc=False):
    """Results of one worker in the form in which they are stored.

    Attributes
    ----------
    priorities : list of int, of the plain ones
    content : bytes, the plain ones as JSON, see `schema.Block`; empty where there are none
    elaptime, worker_wait_time : MeanOfMany of the plain ones
    others : list of dict, results that take the way of a single one
    """

    priorities: list
    content: bytes
    elaptime: tuple
    worker_wait_time: tuple
    others: list

    def plain(self):
        """The plain results, as list of `Result`."""
        return _results(to_block(self.content)) if self.content else []


@dataclass(frozen=True)
class Packer:
    """Checks and packs the results of a message; ``packer(results)`` runs in the workers.

    Attributes
    ----------
    run : int or None, number of the run
    """

    run: int | None = None

    def __call__(self, results):
        """Pack results (dicts) of one worker.

        Raises
        ------
        ArgumentError : one of them is not a result; none is packed
        """
        rows, attempts, others, origins = [], [], [], set()
        if len(results) == 1:  # a block of one would only be larger
            Result.of(results[0], run=self.run)
            return Packed([], b"", _UNKNOWN, _UNKNOWN, results)
        for result in results:
            plain = _quick(result) or _plain(Result.of(result, run=self.run), self.run)
            if plain is None:
                others.append(result)
                continue
            row, attempt, origin = plain
            origins.add(origin)
            rows.append(row)
            attempts.append(attempt)
        if len(origins) > 1:  # results of several workers, which a block cannot hold
            rows, others = [], results
        if not rows:
            return Packed([], b"", _UNKNOWN, _UNKNOWN, others)
        ((host, rank),) = origins
        attempts.sort()
        (first, start, *_) = attempts[0]
        brief = [row for row in rows if type(row) is BriefDiagnostics]
        block = Block(
            run=self.run,
            host=host or socket.gethostname(),
            rank=rank,
            status=_OK,
            first=first,
            start=start,
            attempts=_encode(attempts).decode(),
            brief=_encode(brief).decode() if brief else "",
            full=[row for row in rows if type(row) is Diagnostics],
        )
        return Packed(
            [attempt[0] for attempt in attempts],
            _encode(block),
            MeanOfMany.of([row.elaptime for row in rows]),
            MeanOfMany.of([row.worker_wait_time for row in rows]),
            others,
        )


def _quick(result):
    """As `_plain`, at a fifth of the cost, for what the scheduler makes of work that says nothing
    but OK; else None.
    """
    try:
        if result["status"] is not STATUS.OK or result["details"] or len(result["attempt"]) != 6:
            return None
        attempt = result["attempt"]
        row = BriefDiagnostics(
            priority=result["priority"],
            method_used=result["method_used"],
            elaptime=result["time"],
            worker_wait_time=result["worker_wait_time"],
        )
        start, seconds, peak_memory = attempt["start"], attempt["seconds"], attempt["peak_memory"]
        host, rank, _ = attempt["host"], attempt["rank"], attempt["end"]
    except (KeyError, TypeError, AttributeError):
        return None
    if (
        type(row.priority) is int
        and 0 <= row.priority < 2**63
        and type(row.method_used) is str
        and row.method_used.isidentifier()
        and type(row.elaptime)
        is type(row.worker_wait_time)
        is type(start)
        is type(seconds)
        is float
        and math.isfinite(row.elaptime + row.worker_wait_time + start + seconds)
        and type(peak_memory) is type(rank) is int
        and type(host) is str
    ):
        return row, (row.priority, start, seconds, peak_memory), (host, rank)
    return None


def _plain(result, run):
    """(row, [priority, start, seconds, peak memory], (host, rank)) of a plain result; None of any
    other.
    """
    attempt = result.attempt
    if (
        result.status != _OK
        or result.errors
        or result.skip_targets
        or attempt is None
        or attempt.error_class is not NULL
        or attempt.error_text is not NULL
        or attempt.run != run
    ):
        return None
    host, rank = (None if value != value else value for value in (attempt.host, attempt.rank))
    shown = (attempt.priority, attempt.start, attempt.seconds, attempt.peak_memory)
    return result.diagnostics, shown, (host, rank)


def _results(block):
    """The `Result` of each row of a block."""
    attempts = {row[0]: row for row in msgspec.json.decode(block.attempts)}
    rows = [BriefDiagnostics(*row) for row in msgspec.json.decode(block.brief or "[]")]
    rows += [Diagnostics(*row) for row in block.full]
    of_all = {key: getattr(block, key) for key in ("run", "host", "rank", "status")}
    of_all = dict.fromkeys(Attempt._fields, NULL) | of_all | {"died": 0}
    results = []
    for row in rows:
        priority, start, seconds, peak_memory = attempts[row.priority]
        end = None if seconds is None else start + seconds
        own = {"start": start, "end": end, "seconds": seconds, "peak_memory": peak_memory}
        attempt = Attempt(**of_all | own | {"priority": priority})
        results.append(Result(priority, block.status, row, (), (), attempt))
    return results
