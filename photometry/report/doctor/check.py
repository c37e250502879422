"""What a check says."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, how it stands, and a message with the way out."""

    name: str
    state: str  # ok; warn: a run works, but not well; fail: a run would end, or bring nothing
    message: str


def size(n_bytes):
    """1.5 GB"""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n_bytes) < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
