"""The event loop: one event after the other, and what becomes of each item.

An *item* is a low-priority event with all the steps that follow from it. It stays in progress in
its queue until the last of its steps is done, so a worker that dies in the middle loses none of
them."""

import contextlib
import errno
import time
from dataclasses import dataclass, field

from ..errors import NothingToDoError, TryAgainError
from .event import OUTCOME, Event

STOPPING = (
    "The workers of this queue have been asked to stop; 'photometry events start' lets them "
    "work again"
)

SHORT_WAIT = 0.1
"""s to wait for an event, besides ``event_timeout``, which may be 0."""

RECONNECT_INTERVAL = 0.5
"""s between attempts to reach a queue that is gone."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of the operating system that may pass: the item is tried again."""

MAX_REASONS = 20
"""Reasons in the report at the end of a run; all of them are in the log, and in the queue if that
is on disk."""

_WORST_LAST = [None, OUTCOME.DONE, OUTCOME.SKIPPED, OUTCOME.FAILED, OUTCOME.RETRY]
_WORDS = {
    OUTCOME.DONE: "completed",
    OUTCOME.SKIPPED: "skipped",
    OUTCOME.RETRY: "put back",
    OUTCOME.FAILED: "failed",
}


@dataclass
class ItemRecord:
    """What has become of an item so far.

    Attributes
    ----------
    event : Event that it began with
    steps : int, events run for it
    skipped_steps : int, of those, steps that were left out since their pre-condition was not met
    outcome : OUTCOME, the worst of its steps; None before the first one is over
    reasons : list of str
    started : s, time.monotonic
    """

    event: Event
    steps: int = 0
    skipped_steps: int = 0
    outcome: OUTCOME | None = None
    reasons: list = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, outcome, reason=None):
        """Take in the outcome of one step; the worst one counts."""
        self.outcome = max(self.outcome, outcome, key=_WORST_LAST.index)
        if reason:
            self.reasons.append(reason)

    @property
    def label(self):
        """The event's name and its arguments' name."""
        return f"{self.event.name}, {getattr(self.event.args, 'name', 'undef')}"


class OutcomeCounts:
    """How many items of a run ended how, and the reasons of those that did not end well.

    Attributes
    ----------
    counts : dict of OUTCOME -> int; RETRY counts attempts after which an item was put back, the
        others items
    skipped_steps : int, steps left out of chains that went on
    reasons : list of str, of the first `MAX_REASONS` items that were skipped or have failed
    """

    def __init__(self):
        self.counts = dict.fromkeys(OUTCOME, 0)
        self.skipped_steps = 0
        self.reasons = []

    @property
    def settled(self):
        """How many times an item was begun and settled, whatever the outcome."""
        return sum(self.counts.values())

    def add(self, item, outcome):
        """Count an item."""
        self.counts[outcome] += 1
        self.skipped_steps += item.skipped_steps
        if outcome in (OUTCOME.SKIPPED, OUTCOME.FAILED) and len(self.reasons) < MAX_REASONS:
            self.reasons.append(f"{outcome}: {item.label}: {'; '.join(item.reasons)}")

    def report(self):
        """Lines: the sum first, then one per item that has failed."""
        final = [OUTCOME.DONE, OUTCOME.SKIPPED, OUTCOME.FAILED]
        line = f"{sum(self.counts[outcome] for outcome in final)} items: "
        line += ", ".join(f"{self.counts[outcome]} {outcome}" for outcome in final)
        if retries := self.counts[OUTCOME.RETRY]:
            line += f"; {retries} attempts were put back to be tried again"
        if self.skipped_steps:
            line += f"; {self.skipped_steps} steps skipped"
        return [line, *(reason for reason in self.reasons if reason.startswith(OUTCOME.FAILED))]


def execute(framework, action, context):
    """Run an action, push its next event and set the state. ``action.outcome`` and ``action.error``
    say how it went.

    An exception sets the state to "stop" and calls the hook `on_error`; in testing mode it is
    raised again.

    Parameters
    ----------
    framework : Framework
    action : Action
    context : ProcessingContext
    """
    try:
        _execute(framework, action, context)
    except (NothingToDoError, TryAgainError) as error:
        action.outcome = OUTCOME.SKIPPED if isinstance(error, NothingToDoError) else OUTCOME.RETRY
        action.error = str(error)
        # the rest of the item is dropped with it
        framework.event_queue_hi.clear()
    except (Exception, SystemExit) as error:
        # SystemExit: what calls sys.exit in an action ends its item, not the run
        action.error = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            action.outcome = OUTCOME.RETRY
            framework.event_queue_hi.clear()
            return
        action.outcome = OUTCOME.FAILED
        context.state = "stop"
        log_exception(framework, f"action {action.name}", error)
        if framework.testing:
            raise
        framework.on_error(action, context, error)


def log_exception(framework, what, error):
    """Log an exception: its traceback where ``print_trace`` asks for it, else only at level DEBUG;
    the item's line has the reason.

    Parameters
    ----------
    framework : Framework
    what : str, what was being done
    error : Exception
    """
    log = framework.logger.error if framework.config.print_trace else framework.logger.debug
    log("%s: %s: %s", what, type(error).__name__, error, exc_info=error)


def _execute(framework, action, context):
    pipeline, config = framework.pipeline, framework.config
    unmet = not pipeline.get_pre_action(action.name)(action, context)
    if not unmet:
        action.output = pipeline.get_action(action.name)(action, context)
        framework.store_arguments = action.args if action.output is None else action.output
    if unmet or action.failed_check == "pre":
        action.error = f"the pre-condition of {action.name} is not met"
        framework.store_arguments = action.args
        if config.pre_condition_failed_stop:
            framework.halt = True
            action.outcome, context.state = OUTCOME.FAILED, "stop"
        elif unmet:
            action.outcome = OUTCOME.SKIPPED
        elif config.pre_condition_skips == "item":
            action.outcome = OUTCOME.SKIPPED
            framework.event_queue_hi.clear()
        else:
            # a class that has nothing to do leaves out its step: its arguments go to the next event
            action.skipped = True
            _succeeded(framework, action, context)
    elif action.failed_check == "post" or not pipeline.get_post_action(action.name)(
        action, context
    ):
        action.error = f"the post-condition of {action.name} is not met"
        action.outcome, context.state = OUTCOME.FAILED, "stop"
    else:
        _succeeded(framework, action, context)


def _succeeded(framework, action, context):
    action.outcome = OUTCOME.DONE
    if action.new_event is not None:
        framework.push_event(action.new_event, framework.store_arguments)
    if action.next_state is not None:
        context.state = action.next_state


class Loop:
    """Runs the events of a Framework until there are none, or until it is asked to stop.

    Parameters
    ----------
    framework : Framework
    """

    def __init__(self, framework):
        self.framework = framework
        self.queue, self.steps = framework.event_queue, framework.event_queue_hi
        self.config, self.context, self.log = framework.config, framework.context, framework.logger
        self.item = None

    def run(self):
        """Run until the end; whatever ends it, the item under way is settled or put back."""
        try:
            if self._patiently(lambda: self.queue.stopping):
                self.framework.keep_going = False
                self.log.warning(STOPPING)
            while (self.framework.keep_going or self._may_finish_item()) and self._turn():
                pass
        finally:
            self._leave()

    def _may_finish_item(self):
        """Whether there is an item under way, and time to finish it after a request to stop."""
        return self.item is not None and time.monotonic() < self.framework.stop_at

    def _turn(self):
        """Run one event. Returns whether to go on."""
        event = self._patiently(self.framework.get_event)
        # nothing to do, or the event that stands for it
        if event is None or event.queue is None:
            return self._idle(event)
        if self.item is None:
            self.item, self.context.item = ItemRecord(event), event
        going_on = self._run(event)
        if not going_on and self.steps.qsize() and self.item.outcome is OUTCOME.DONE:
            self._put_back()
        elif not going_on or self.steps.qsize() == 0:
            self._settle()
        return going_on

    def _idle(self, event):
        if while_idle := getattr(self.framework.pipeline, "while_idle", None):
            while_idle(self.context)
        over = event is None and self._patiently(self.queue.is_over)
        if over or self._patiently(lambda: self.queue.stopping):
            self.framework.keep_going, self.framework.ran_out = False, over
        elif event is None:
            self.log.debug("Waiting for %s", self._patiently(self.queue.waiting_for))
            self._patiently(lambda: self.queue.wait(SHORT_WAIT))
        else:
            return self._run(event)
        return True

    def _run(self, event):
        """Make an event an action and run it. Returns whether to go on."""
        framework, action = self.framework, None
        try:
            action = framework.event_to_action(event, self.context)
            framework.execute(action, self.context)
            framework.on_state(action, self.context)
        except Exception as error:
            if event.queue is not None:
                self.item.add(OUTCOME.FAILED, f"{type(error).__name__}: {error}")
            if framework.testing:
                raise
            log_exception(framework, f"event {event.name}", error)
            framework.on_error(action, self.context, error)
        finally:
            if event.queue is not None:
                self._action_completed(event, action)
        return self.context.state != "stop"

    def _action_completed(self, event, action):
        outcome = getattr(action, "outcome", None)
        skipped = getattr(action, "skipped", False)
        self.log.debug(
            "Event %s: name %s, action %s, arg name %s, recurrent %s",
            "skipped" if skipped else _WORDS.get(outcome, "failed"),
            event.name,
            getattr(action, "name", None),
            getattr(event.args, "name", None),
            event._recurrent,
        )
        self.item.skipped_steps += skipped
        if outcome is not None:
            self.item.add(outcome, None if skipped else action.error)
        if event.queue is self.steps:
            self.steps.discard(event.id)
        self._limit_chain()

    def _limit_chain(self):
        """End a chain of steps that does not end by itself."""
        self.item.steps += 1
        if self.item.steps >= self.config.max_chain_length and self.steps.qsize():
            following = self.steps.head().name
            self.item.add(
                OUTCOME.FAILED,
                f"more than max_chain_length={self.item.steps} steps, the next one {following}",
            )
            self.steps.clear()

    # settling

    def _settle(self):
        """Give the queue what became of the item, count it, and log it in one line."""
        item, self.item, self.context.item = self.item, None, None
        event = item.event
        self.steps.clear()
        outcome = item.outcome or OUTCOME.FAILED
        repeats = event.repeats + 1
        if event._recurrent and outcome is OUTCOME.DONE and repeats == self.config.max_repeats:
            outcome = OUTCOME.FAILED
            item.reasons.append(
                f"it has come max_repeats={repeats} times and does not end by itself"
            )
        if outcome is OUTCOME.RETRY and not (
            event.queue is self.queue and event.attempt < self.config.max_attempts
        ):
            outcome = OUTCOME.FAILED
            item.reasons.append(f"given up after {event.attempt} attempts")
        self.framework.tally.add(item, outcome)
        self._log_item(item, outcome)
        if event.queue is self.queue:
            self._tell_queue(item, outcome)
        limit = self.config.max_items_per_worker if self.queue.shared else None
        enough = limit and self.framework.tally.settled >= limit
        if enough or self._patiently(lambda: self.queue.stopping):
            self.framework.keep_going = False

    def _log_item(self, item, outcome):
        """One line per item."""
        reasons = "".join(f": {reason}" for reason in ["; ".join(item.reasons)] if reason)
        if outcome is OUTCOME.DONE:
            reasons = f": {item.steps} steps, {time.monotonic() - item.started:.2f} s"
            if item.skipped_steps:
                reasons += f", {item.skipped_steps} of the steps skipped"
        log = self.log.error if outcome is OUTCOME.FAILED else self.log.info
        log("%s: %s%s", _WORDS[outcome], item.label, reasons)

    def _tell_queue(self, item, outcome):
        event, reason = item.event, "; ".join(item.reasons) or None
        if outcome is OUTCOME.RETRY:
            delay = self.config.retry_delay * 2 ** (event.attempt - 1)
            accepted = self._patiently(
                lambda: self.queue.re_append(event.id, delay, reason, event.worker)
            )
        else:
            # one that fails recurs no more: it would fail for ever
            recurs = event._recurrent and outcome is not OUTCOME.FAILED
            successor = event.successor() if recurs else None
            accepted = self._patiently(
                lambda: self.queue.finish(event.id, outcome, reason, successor)
            )
        if accepted is None:
            self.log.warning(
                "%s: was taken from this worker, or put back by a hook; that counts", item.label
            )

    def _put_back(self):
        """Return the item, which was broken off, to its queue."""
        item, self.item, self.context.item = self.item, None, None
        self.steps.clear()
        if item.event.queue is self.queue:
            self.log.info("put back unfinished: %s", item.label)
            # the end of the lease does it otherwise
            with contextlib.suppress(TryAgainError):
                self.queue.release(item.event.id, item.event.worker)

    def _leave(self):
        self.framework.keep_going = False
        if self.item is None:
            return
        # failed: a hook, or testing mode, raised
        if self.item.outcome is OUTCOME.FAILED:
            self._settle()
        else:
            self._put_back()

    def _patiently(self, call):
        """Call something that needs the queue; while that is gone, try again for ``queue_patience``
        s."""
        deadline = time.monotonic() + self.config.queue_patience
        reported = False
        while True:
            try:
                return call()
            except TryAgainError as error:
                if time.monotonic() >= deadline:
                    raise
                if not reported:
                    self.log.warning("%s; waiting for it to come back", error)
                reported = True
                time.sleep(RECONNECT_INTERVAL)
