"""Files as they arrive: events, queues and pipelines, with the names of the Keck DRP framework.

A pipeline is a table that says which function an event calls and which event follows.
``docs/events.md`` has a how-to."""

from .. import lazy_names
from .config import ConfigClass, getLogger
from .dataset import DataSet
from .event import OUTCOME, Action, Arguments, Event
from .framework import Framework, ProcessingContext, create_context
from .pipeline import BasePipeline, BasePrimitive, find_pipeline
from .queues import SimpleEventQueue
from .sharedqueue import SharedEventQueue

# these load numpy, or a server
_LAZY = {
    **dict.fromkeys(
        ("BaseImg", "CreateContactSheetHTML", "HistEqual2d", "NoiseRemoval"), "primitives"
    ),
    **dict.fromkeys(("SavePng", "SimpleFitsReader", "open_nowarning"), "primitives"),
    "FrameworkInterface": "interface",
    "RemoteEventQueue": "remotequeue",
    "get_event_queue": "remotequeue",
    **dict.fromkeys(("QueueServer", "start_queue_manager"), "queueserver"),
}
__getattr__, _ = lazy_names(__name__, _LAZY)


def __dir__():
    return sorted({*globals(), *_LAZY})


__all__ = [
    "OUTCOME",
    "Action",
    "Arguments",
    "BaseImg",
    "BasePipeline",
    "BasePrimitive",
    "ConfigClass",
    "CreateContactSheetHTML",
    "DataSet",
    "Event",
    "Framework",
    "FrameworkInterface",
    "HistEqual2d",
    "NoiseRemoval",
    "ProcessingContext",
    "QueueServer",
    "RemoteEventQueue",
    "SavePng",
    "SharedEventQueue",
    "SimpleEventQueue",
    "SimpleFitsReader",
    "create_context",
    "find_pipeline",
    "getLogger",
    "get_event_queue",
    "open_nowarning",
    "start_queue_manager",
]
