"""The shared queue that a configuration asks for: opening it, and `FrameworkInterface`, which looks
at it from outside.

A configuration with a secret, ``queue_manager_auth_code``, means the server at
``queue_manager_hostname`` and ``queue_manager_portnr``; one without means the file, or the
database."""

import logging
import os
import re

from ..errors import TryAgainError, WrongUseError
from ..files import is_network_disk
from .config import ConfigClass
from .queues import SimpleEventQueue
from .sharedqueue import SharedEventQueue, is_url, open_queue

log = logging.getLogger(__name__)

LINGER = 10
"""s without clients after which a server that a worker has started ends."""


def queue_file_of(config):
    """The file of the shared queue, or the URL of its database: ``queue_file``, else
    ``events.sqlite`` in ``output_directory``."""
    return config.queue_file or os.path.join(config.output_directory, "events.sqlite")


def queue_name(config):
    """Where the shared queue is, for people."""
    if config.queue_manager_auth_code is None:
        path = str(queue_file_of(config))
        # without a password
        return re.sub(r"//[^/@]*@", "//", path) if is_url(path) else path
    return f"{config.queue_manager_hostname}:{config.queue_manager_portnr}"


def find_queue(config):
    """The shared queue of a configuration, or None if it is not there.

    Raises
    ------
    WrongUseError : a server is there, but has another secret, or serves another file than
        ``queue_file``
    """
    if config.queue_manager_auth_code is None:
        return open_queue(queue_file_of(config), **_options(config))
    from .remotequeue import RemoteEventQueue

    try:
        queue = RemoteEventQueue(*_server(config), lease=config.lease_time)
    except TryAgainError as error:
        log.debug("%s", error)
        return None
    if config.queue_file and queue.served != os.path.realpath(config.queue_file):
        queue.close()
        raise WrongUseError(
            f"queue {queue.path}: its server holds {queue.served}, not "
            f"{config.queue_file} (queue_file); name another "
            "port, or leave queue_file out"
        )
    return queue


def shared_queue(config):
    """The shared queue of a configuration; its file is made, or its server started, if it is not
    there."""
    queue, _ = queue_and_manager(config)
    return queue


def queue_and_manager(config, linger=LINGER):
    """The shared queue, and the process of its server if that had to be started."""
    if config.queue_manager_auth_code is None:
        queue = SharedEventQueue(queue_file_of(config), **_options(config))
        if not is_url(queue_file_of(config)) and is_network_disk(queue.path.parent):
            log.warning(
                "%s: this queue is on a network disk, where its locks cannot be trusted; "
                "use a local one",
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
    """The low-priority queue of a Framework, and the process of its server if that had to be
    started."""
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
        """Make the queue, or start its server, if it is missing, and let workers work. Returns
        whether it is there."""
        if not self._connect():
            self.queue, _ = queue_and_manager(self.config, linger=None)
        return self._call(lambda queue: queue.resume() or True)

    def stop_event_queue(self):
        """Ask all workers to end after their present item, or end the server; what is pending
        stays. True, or None."""
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
        """Put an event at the end of a queue that is there. Returns whether it was new; None if
        there is no queue."""
        return self._call(lambda queue: queue.put(event))

    def info(self, limit=20):
        """Everything a person asks about a queue, as a dict that JSON can hold; None if the queue
        cannot be reached."""
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
