"""Files as they arrive: events, queues and pipelines, with the names of the Keck DRP framework.

A pipeline is a table that says which function an event calls and which event follows. ``docs/events.md`` has a how-to.
"""

from .arguments import Arguments
from .config import ConfigClass
from .context import ProcessingContext, create_context
from .dataset import DataSet
from .event import OUTCOME, Action, Event
from .framework import Framework
from .logger import getLogger
from .pipeline import BasePipeline
from .primitive import BasePrimitive
from .queues import SimpleEventQueue
from .resolve import find_pipeline
from .sharedqueue import SharedEventQueue

__all__ = [
    "OUTCOME",
    "Action",
    "Arguments",
    "BasePipeline",
    "BasePrimitive",
    "ConfigClass",
    "DataSet",
    "Event",
    "Framework",
    "ProcessingContext",
    "SharedEventQueue",
    "SimpleEventQueue",
    "create_context",
    "find_pipeline",
    "getLogger",
]
