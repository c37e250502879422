"""The event loop: one event after the other, and the settling of items with their queue.

An *item* is a low-priority event with all the steps that follow from it. It stays in progress in its queue until the
last of its steps is done, so a worker that dies in the middle loses none of them.
"""

import contextlib
import time

from ..errors import TryAgainError
from .event import OUTCOME
from .tally import Item

SHORT_WAIT = 0.1  # s
STOPPING = "The workers of this queue have been asked to stop; 'photometry events start' lets them work again"
PATIENCE = 0.5  # s between attempts to reach a queue that is gone


class Loop:
    """Runs the events of a Framework until there are none left, or until it is asked to stop."""

    def __init__(self, framework):
        self.framework = framework
        self.queue, self.steps = framework.event_queue, framework.event_queue_hi
        self.config, self.context, self.log = framework.config, framework.context, framework.logger
        self.item = None

    def run(self):
        """Run until the end; whatever ends it, the item in hand is settled or put back."""
        try:
            if self._patiently(lambda: self.queue.stopping):
                self.framework.keep_going = False
                self.log.warning(STOPPING)
            while (self.framework.keep_going or self.item is not None) and self._turn():
                pass
        finally:
            self._leave()

    def _turn(self):
        """Run one event. Returns whether to go on."""
        event = self._patiently(self.framework.get_event)
        if event is None or event.queue is None:  # nothing to do, or the event that stands for it
            return self._idle(event)
        if self.item is None:
            self.item, self.context.item = Item(event), event
        going_on = self._run(event)
        if not going_on and self.steps.qsize() and self.item.outcome is OUTCOME.DONE:
            self._put_back()
        elif not going_on or self.steps.qsize() == 0:
            self._settle()
        return going_on

    def _idle(self, event):
        over = event is None and self._patiently(self.queue.is_over)
        if over or self._patiently(lambda: self.queue.stopping):
            self.framework.keep_going, self.framework.ran_out = False, over
        elif event is None:
            self.log.debug("Waiting for %s", self._patiently(self.queue.waiting_for))
            self._patiently(lambda: self.queue.wait(SHORT_WAIT))  # event_timeout may be 0
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
            self._note(event, OUTCOME.FAILED, f"{type(error).__name__}: {error}")
            if framework.testing:
                raise
            self.log.error("Event %s: %s", event.name, error, exc_info=self.config.print_trace)
            framework.on_error(action, self.context, error)
        finally:
            self._action_completed(event, action)
        return self.context.state != "stop"

    def _action_completed(self, event, action):
        if event.queue is None:
            return
        outcome = getattr(action, "outcome", None)
        word = {
            OUTCOME.DONE: "completed",
            OUTCOME.SKIPPED: "skipped",
            OUTCOME.RETRY: "put back",
        }.get(outcome, "failed")
        names = (
            event.name,
            getattr(action, "name", None),
            getattr(event.args, "name", None),
            event._recurrent,
        )
        self.log.info("Event %s: name %s, action %s, arg name %s, recurrent %s", word, *names)
        if outcome is not None:
            self._note(event, outcome, action.error)
        if event.queue is self.steps:
            self.steps.discard(event.id)
        self._limit_chain()

    def _note(self, event, outcome, reason):
        if event.queue is not None:
            self.item.add(outcome, reason)

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
        """Tell the queue what became of the item, and count it."""
        item, self.item, self.context.item = self.item, None, None
        self.steps.clear()
        outcome = item.outcome or OUTCOME.FAILED
        if outcome is OUTCOME.RETRY and not self._may_retry(item):
            outcome = OUTCOME.FAILED
            item.reasons.append(f"given up after {item.event.attempt} attempts")
        self.framework.tally.add(item, outcome)
        if item.event.queue is self.queue:
            self._tell_queue(item, outcome)
        self._stop_when_enough()

    def _may_retry(self, item):
        return item.event.queue is self.queue and item.event.attempt < self.config.max_attempts

    def _tell_queue(self, item, outcome):
        event, reason = item.event, "; ".join(item.reasons) or None
        if outcome is OUTCOME.RETRY:
            delay = self.config.retry_delay * 2 ** (event.attempt - 1)
            left = self._patiently(
                lambda: self.queue.re_append(event.id, delay, reason, event.worker)
            )
        else:
            successor = self._successor(event)
            left = self._patiently(lambda: self.queue.finish(event.id, outcome, reason, successor))
        if left is None:
            self.log.warning(
                "%s: was taken from this worker, or put back by a hook; that counts", item.label
            )

    def _successor(self, event):
        limit = self.config.max_repeats
        if event._recurrent and limit is not None and event.repeats + 1 >= limit:
            self.log.warning("Event %s has come max_repeats=%s times and ends", event.name, limit)
            return None
        return event.successor() if event._recurrent else None

    def _stop_when_enough(self):
        limit = self.config.max_items_per_worker if self.queue.shared else None
        if self._patiently(lambda: self.queue.stopping) or (
            limit and self.framework.tally.settled >= limit
        ):
            self.framework.keep_going = False

    def _put_back(self):
        """Return the item, which was broken off, to its queue."""
        item, self.item, self.context.item = self.item, None, None
        self.steps.clear()
        if item.event.queue is self.queue:
            with contextlib.suppress(TryAgainError):  # the end of the lease does it otherwise
                self.queue.release(item.event.id, item.event.worker)

    def _leave(self):
        self.framework.keep_going = False
        if self.item is None:
            return
        if self.item.outcome is OUTCOME.FAILED:  # a hook, or testing mode, raised
            self._settle()
        else:
            self._put_back()

    def _patiently(self, call):
        """Call something that needs the queue; while that is gone, try again for ``queue_patience`` s."""
        deadline = time.monotonic() + self.config.queue_patience
        told = False
        while True:
            try:
                return call()
            except TryAgainError as error:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    self.log.warning("%s; waiting for it to come back", error)
                told = True
                time.sleep(PATIENCE)
