"""Signals that ask a run to stop: the first one drains, the second one stops at once."""

import contextlib
import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopNow(BaseException):
    """A second signal, or the end of the grace period: leave the running task as it is.

    Not an Exception, so that no ``except Exception`` of the work can swallow it.
    """


class StopRequests:
    """Counts the stop signals that arrive while it is active.

    Parameters
    ----------
    on_signal : callable(name) or None, called within the signal handler at each of them
    """

    def __init__(self, on_signal=None):
        self.names = []  # of the signals received, in order
        self._on_signal = on_signal

    @contextlib.contextmanager
    def active(self):
        """Handle the stop signals within this block, and give them back to their old handlers after it."""
        old = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _receive(self, number, frame):
        self.names.append(signal.Signals(number).name)
        if self._on_signal:
            self._on_signal(self.names[-1])
