"""Which low-priority queue a configuration asks for: in memory, in a file, or in a file behind a server.

A configuration with a secret, ``queue_manager_auth_code``, means the server at ``queue_manager_hostname`` and
``queue_manager_portnr``; one without means the file.
"""

import logging
import os

from ..errors import TryAgainError
from ..files import is_network_disk
from .queues import SimpleEventQueue
from .sharedqueue import SharedEventQueue, open_queue

log = logging.getLogger(__name__)

LINGER = 10  # s without clients after which a server that a worker has started ends


def queue_file_of(config):
    """The file of the shared queue: ``queue_file``, else ``events.sqlite`` in ``output_directory``."""
    return config.queue_file or os.path.join(config.output_directory, "events.sqlite")


def queue_name(config):
    """Where the shared queue is, for people."""
    if config.queue_manager_auth_code is None:
        return str(queue_file_of(config))
    return f"{config.queue_manager_hostname}:{config.queue_manager_portnr}"


def find_queue(config):
    """The shared queue of a configuration, or None if it is not there."""
    if config.queue_manager_auth_code is None:
        return open_queue(queue_file_of(config), **_options(config))
    from .remotequeue import get_event_queue

    return get_event_queue(*_server(config), lease=config.lease_time)


def shared_queue(config):
    """The shared queue of a configuration; its file is made, or its server started, if it is not there."""
    queue, _ = queue_and_manager(config)
    return queue


def queue_and_manager(config, linger=LINGER):
    """The shared queue, and the process of its server if that had to be started."""
    if config.queue_manager_auth_code is None:
        queue = SharedEventQueue(queue_file_of(config), **_options(config))
        if is_network_disk(queue.path.parent):
            log.warning(
                "%s: this queue is on a network disk, where its locks cannot be trusted; use a local one",
                queue.path,
            )
        return queue, None
    queue, manager = find_queue(config), None
    if queue is None:
        from .queueserver import start_queue_manager

        file = queue_file_of(config)
        manager = start_queue_manager(
            *_server(config), queue_file=file, linger=linger, **_options(config)
        )
        queue = find_queue(config)
        if queue is None:
            raise TryAgainError(
                f"queue {queue_name(config)}: its server ended as soon as it had started"
            )
    return queue, manager


def open_event_queue(config):
    """The low-priority queue of a Framework, and the process of its server if that had to be started."""
    if config.want_multiprocessing or config.queue_file:
        return queue_and_manager(config)
    return SimpleEventQueue(), None


def _options(config):
    return {"lease": config.lease_time, "max_attempts": config.max_attempts}


def _server(config):
    return (
        config.queue_manager_hostname,
        config.queue_manager_portnr,
        config.queue_manager_auth_code,
    )
