"""What became of the items of a run: the present one, and the sum over all."""

from dataclasses import dataclass, field

from .event import OUTCOME

_WORST_LAST = [None, OUTCOME.DONE, OUTCOME.SKIPPED, OUTCOME.FAILED, OUTCOME.RETRY]
# told at the end of a run; all of them are in the log, and in the queue if that is on disk
MOST_REASONS = 20


@dataclass
class Item:
    """An event and all the steps that followed from it, until the high-priority queue is empty."""

    event: object
    steps: int = 0
    outcome: OUTCOME | None = None
    reasons: list = field(default_factory=list)

    def add(self, outcome, reason=None):
        """Take in the outcome of one step; the worst one counts."""
        self.outcome = max(self.outcome, outcome, key=_WORST_LAST.index)
        if reason:
            self.reasons.append(reason)

    @property
    def label(self):
        """The event's name and its arguments' name."""
        return f"{self.event.name}, {getattr(self.event.args, 'name', 'undef')}"


class Tally:
    """How many items ended how, and the reasons of those that did not end well."""

    def __init__(self):
        self.counts = dict.fromkeys(OUTCOME, 0)
        self.reasons = []

    @property
    def settled(self):
        """How many times an item was settled, whatever the outcome."""
        return sum(self.counts.values())

    def add(self, item, outcome):
        """Count an item."""
        self.counts[outcome] += 1
        if outcome is not OUTCOME.DONE and len(self.reasons) < MOST_REASONS:
            self.reasons.append(f"{outcome}: {item.label}: {'; '.join(item.reasons)}")

    def report(self):
        """Sentences: the sum first, then a line per reason."""
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.counts.items())
        return [f"{self.settled} items: {counts}", *self.reasons]
