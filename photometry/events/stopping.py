"""Signals while a loop runs: the first one drains, the second one breaks off. Only the main thread can hear them."""

import contextlib
import threading

from ..scheduler.signals import StopRequests


@contextlib.contextmanager
def draining(on_first):
    """Within this block call ``on_first(name)`` at the first signal to stop, and raise KeyboardInterrupt at the second.

    ``on_first`` runs within the signal handler and must take no lock. In another thread than the main one, this block
    changes nothing.
    """
    received = []

    def on_signal(name):
        received.append(name)
        if len(received) > 1:
            raise KeyboardInterrupt(name)
        on_first(name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with StopRequests(on_signal).active():
        yield
