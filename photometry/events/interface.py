"""`FrameworkInterface`: a shared queue seen from outside, for tools. A call that fails gives None, the next connects again."""

from ..errors import TryAgainError
from .config import ConfigClass
from .openqueue import find_queue, queue_and_manager


class FrameworkInterface:
    """Look at the shared queue of a configuration, and add events to it.

    Parameters
    ----------
    cfg : ConfigClass, or None for the defaults
    """

    def __init__(self, cfg=None):
        self.config = ConfigClass() if cfg is None else cfg
        self.queue = None
        self._connect()

    def start_event_queue(self):
        """Make the queue, or start its server, if it is missing, and let workers work. Returns whether it is there."""
        if not self._connect():
            self.queue, _ = queue_and_manager(self.config, linger=None)
        return self._call(lambda queue: queue.resume() or True)

    def stop_event_queue(self):
        """Ask all workers to end after their present item, or end the server; what is pending stays. True, or None."""
        return self._call(lambda queue: queue.terminate() or True)

    def next_event(self):
        """The first event, or None."""
        return self._call(lambda queue: queue.head())

    def pending_events(self):
        """The pending events, as a list."""
        return self._call(lambda queue: queue.get_pending())

    def in_progress_events(self):
        """The events in progress, as a dict: id -> event."""
        return self._call(lambda queue: queue.get_in_progress())

    def add_event(self, event):
        """Put an event at the end. Returns whether it was new."""
        return self._call(lambda queue: queue.put(event))

    def info(self, limit=20):
        """Everything a person asks about a queue, as a dict that JSON can hold; None if the queue cannot be reached."""
        return self._call(lambda queue: _info(queue, limit))

    def is_queue_ok(self):
        """Whether the last call reached the queue."""
        return self.queue is not None

    def close(self):
        """Let go of the queue."""
        if self.queue is not None:
            self.queue.close()
            self.queue = None

    def _connect(self):
        if self.queue is None:
            self.queue = find_queue(self.config)
        return self.queue is not None

    def _call(self, question):
        if not self._connect():
            return None
        try:
            return question(self.queue)
        except TryAgainError:
            self.queue = None
            return None


def _info(queue, limit):
    states = {
        "pending": queue.find("pending", limit),
        "running": queue.find("running"),
        "failed": queue.find("failed", limit),
    }
    return {
        "queue": str(queue.path),
        "stopping": queue.stopping,
        "counts": queue.counts(),
        "waiting_for": queue.waiting_for(),
        "workers": queue.workers(),
        **{state: [event.to_dict() for event in events] for state, events in states.items()},
    }
