"""Which low-priority queue a configuration asks for: in memory, in a file, or on another host."""

import os

from .queues import SimpleEventQueue
from .sharedqueue import SharedEventQueue


def queue_file_of(config):
    """The file of the shared queue: ``queue_file``, else ``events.sqlite`` in ``output_directory``."""
    return config.queue_file or os.path.join(config.output_directory, "events.sqlite")


def shared_queue(config):
    """The queue in the configuration's file, which is made if it is missing."""
    return SharedEventQueue(queue_file_of(config), lease=config.lease_time, max_attempts=config.max_attempts)


def open_event_queue(framework):
    """The low-priority queue of a Framework."""
    config = framework.config
    if not config.want_multiprocessing and not config.queue_file:
        return SimpleEventQueue()
    return shared_queue(config)
