"""`ProcessingContext`: what a primitive sees of the run. `create_context`: one for a notebook,
without a Framework."""

import logging

from .arguments import Arguments
from .config import ConfigClass
from .event import Event
from .queues import SimpleEventQueue


class ProcessingContext:
    """The queues, the logger and the configuration; users hang anything else on it.

    Attributes
    ----------
    state : str, free text, set by the event table
    data_set : DataSet or None
    item : the low-priority Event that is being worked on, or None
    """

    def __init__(self, event_queue, event_queue_hi, logger, config):
        self.name = "ProcessingContext"
        self.state = "Undefined"
        self.event_queue = event_queue
        self.event_queue_hi = event_queue_hi
        self.logger = logger
        self.config = config
        self.data_set = None
        self.item = None
        self.debug = False

    def push_hi_event(self, name, args):
        """Add a step to the item being worked on: the end of the high-priority queue of this
        process."""
        self.event_queue_hi.put(Event(name, args))

    push_event = push_hi_event

    def append_event(self, name, args=None, recurrent=False):
        """Add an item: the end of the low-priority queue.

        Parameters
        ----------
        name : str, an event
        args : Arguments, dict or Namespace; None: empty
        recurrent : bool, whether it comes again after it was done
        """
        self.event_queue.put(Event(name, Arguments() if args is None else args, recurrent))


def create_context(event_queue=None, event_queue_hi=None, logger=None, config=None):
    """A context with defaults for what is not given, to run primitives by hand.

    Parameters
    ----------
    event_queue, event_queue_hi : queues; by default in memory
    logger : logging.Logger; by default that named DRPF
    config : ConfigClass; by default that of no file
    """
    return ProcessingContext(
        SimpleEventQueue() if event_queue is None else event_queue,
        SimpleEventQueue() if event_queue_hi is None else event_queue_hi,
        logger or logging.getLogger("DRPF"),
        ConfigClass() if config is None else config,
    )
