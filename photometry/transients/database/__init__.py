"""The database of the transients: connect to one, and each step on it as a function of its own.

Every function works on the database of the last `connect`, or on the one given as ``database``, in
one transaction, or within that of its caller.
"""

from . import schema
from .association import associate_extracted_sources
from .catalogue import catalogue
from .connection import (
    Database,
    back_up,
    claim,
    connect,
    current,
    database_url,
    disconnect,
    release,
)
from .extractions import EXTRACT_TYPES, RECORD, flux_scale, insert_extracted_sources
from .forced import associate_ms, associate_nd, get_monitor_requests, get_nulldetections
from .records import (
    fetch_config,
    get_band,
    get_image,
    get_monitor_entries,
    get_skyregion,
    insert_config,
    insert_dataset,
    insert_image,
    insert_imagedata,
    insert_monitor_positions,
    isrejected,
    reject,
    update_config,
    update_dataset_process_end_ts,
    update_image,
)
from .summaries import (
    consistency_check,
    delete_dataset,
    finished_timesteps,
    forget_skipped,
    lightcurve,
    record_skipped,
    record_timestep,
    varmetric,
)

__all__ = [
    "EXTRACT_TYPES",
    "RECORD",
    "Database",
    "associate_extracted_sources",
    "associate_ms",
    "associate_nd",
    "back_up",
    "catalogue",
    "claim",
    "connect",
    "consistency_check",
    "current",
    "database_url",
    "delete_dataset",
    "disconnect",
    "fetch_config",
    "finished_timesteps",
    "flux_scale",
    "forget_skipped",
    "get_band",
    "get_image",
    "get_monitor_entries",
    "get_monitor_requests",
    "get_nulldetections",
    "get_skyregion",
    "insert_config",
    "insert_dataset",
    "insert_extracted_sources",
    "insert_image",
    "insert_imagedata",
    "insert_monitor_positions",
    "isrejected",
    "lightcurve",
    "record_skipped",
    "record_timestep",
    "reject",
    "release",
    "schema",
    "update_config",
    "update_dataset_process_end_ts",
    "update_image",
    "varmetric",
]
