"""Failures grouped by cause, so that ten thousand of them read as the three things that are wrong."""

import re
from dataclasses import dataclass

# kept; what comes after goes into one last group, so that a summary stays a summary
MOST_GROUPS = 200


@dataclass
class FailureGroup:
    """Failures with the same error class, message (but for numbers and paths) and place in the code."""

    error_class: str
    message: str
    where: str
    count: int
    example: int  # a starid
    example_text: str

    def as_dict(self):
        return dict(vars(self))


class FailureGroups:
    """Counts failures by cause as results come in."""

    def __init__(self):
        self._groups = {}

    def add(self, result, why=None):
        """Count a result with status ERROR, or, with ``why``, a task that took its process down."""
        attempt = result.get("attempt", {})
        if why is None:
            errors = result.get("details", {}).get("errors") or [""]
            text = attempt.get("error_text") or errors[-1]
            key = (
                attempt.get("error_class") or "",
                without_numbers(text),
                attempt.get("where") or "",
            )
        else:
            text, key = why, ("ProcessDied", without_numbers(why), "")
        if key not in self._groups and len(self._groups) >= MOST_GROUPS:
            key = "", "other causes", ""
        if key not in self._groups:
            self._groups[key] = FailureGroup(
                *key, 0, result.get("starid") or result["priority"], text
            )
        self._groups[key].count += 1

    def as_list(self):
        """Groups as dicts, the most frequent first."""
        return [
            group.as_dict()
            for group in sorted(self._groups.values(), key=lambda group: -group.count)
        ]


def without_numbers(text):
    """The first line of a message with paths and numbers replaced, so that equal causes read the same."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    line = re.sub(r"(?<![\w.])(?:[\w.~-]*/)+[\w.~-]+", "PATH", line)
    return re.sub(r"(?<![A-Za-z_])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", "N", line)
