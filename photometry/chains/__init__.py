"""Task chains: jobs of tasks that depend on one another, from one JSON file.

Definition, expressions and expansion know no database; `states` says what a change means for
others; `expanding`, `claiming`, `preparing` and `finishing` carry it out in the database; `source`
and `queues` bring tasks to the project's scheduler. Names are imported when they are first used.
"""

from .. import lazy_names

_HOMES = {
    "ChainSource": "source",
    "TaskQueueConnector": "queues",
    "TaskScheduler": "queues",
    "TaskType": "tasktype",
    "Setting": "tasktype",
    "read_definition": "definition",
    "parse_definition": "definition",
    "validate": "definition",
    "load_chain_settings": "settings",
    "run_job": "running",
    "submit": "jobs",
    "status": "jobs",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
