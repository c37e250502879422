"""The keys of the framework's configuration: type, range, default and meaning of each."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ..settings import Section, register_section


def _texts(value):
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, (list, tuple)) or not all(isinstance(one, str) for one in several):
        raise ValueError("expected a text, or several")
    return value


def _secret(value):
    if not isinstance(value, (bytes, str, type(None))):
        raise ValueError("expected bytes, text or None")
    return value


def _event(value):
    if not (value is None or isinstance(value, str) or hasattr(value, "name")):
        raise ValueError("expected the name of an event, an Event, or None")
    return value


Texts = Annotated[object, AfterValidator(_texts)]
Secret = Annotated[object, AfterValidator(_secret)]
EventOrName = Annotated[object, AfterValidator(_event)]


class EventSettings(Section):
    """Section ``[DEFAULT]`` of an INI file, ``[events]`` of a TOML file."""

    name: str = Field("DRP-Example", description="label of the run")
    logger_config_file: str | None = Field(
        "logger.cfg", description="logging configuration; without the file: the console"
    )
    print_trace: bool = Field(True, description="tracebacks in the log")
    pipeline_path: Texts = Field(("", "pipelines"), description="packages searched for pipelines")
    primitive_path: Texts = Field(
        ("", "primitives"), description="packages searched for primitives"
    )
    output_directory: str = Field("output", description="where results go")
    temp_directory: str = Field("temp", description="where pipelines may put intermediate files")
    event_timeout: float = Field(
        1, ge=0, description="s to wait for an item before looking whether the run is over"
    )
    no_event_event: EventOrName = Field(
        None, description="event to run while there is none; None: end when the queues are empty"
    )
    no_event_wait_time: float = Field(
        5,
        ge=0,
        description="s that no_event waits at most, forced into 5..30; an arriving event ends it",
    )
    default_ingestion_event: str = Field("next_file", description="event per ingested file")
    pre_condition_failed_stop: bool = Field(
        False, description="stop the run when a pre-condition is not met"
    )
    pre_condition_skips: Literal["step", "item"] = Field(
        "step",
        description="what a class skips whose pre-condition is not met: its step, or the item",
    )
    file_type: Texts = Field("*.fits", description="patterns of the files to ingest")
    recursive: bool = Field(False, description="also look into sub-directories")
    settle_time: float = Field(
        2, ge=0, description="s for which a file must not change before it is ingested"
    )
    monitor_interval: float = Field(
        10, gt=0, description="s between looks at the data directory where it has to be polled"
    )
    monitor_method: Literal["auto", "native", "polling"] = Field(
        "auto", description="auto: the system's notifications, polling on network disks"
    )
    want_multiprocessing: bool = Field(
        False, description="share the low-priority queue between processes"
    )
    queue_file: str | None = Field(
        None,
        description="SQLite file of the queue, or URL of a database; None: in memory, or "
        "events.sqlite in output_directory",
    )
    queue_patience: float = Field(
        60, ge=0, description="s to wait for a shared queue that is gone to come back"
    )
    lease_time: float = Field(
        60, gt=0, description="s after which an item of a silent worker is given to another one"
    )
    max_attempts: int = Field(
        3, ge=1, description="how often an item is begun before it has failed"
    )
    retry_delay: float = Field(
        5, ge=0, description="s before an item is tried again, doubled with every attempt"
    )
    max_chain_length: int = Field(
        1000, ge=1, description="steps of one item, beyond which it has failed"
    )
    max_repeats: int | None = Field(
        None,
        ge=1,
        description="how often a recurrent event may come before it has failed; None: no limit",
    )
    max_items_per_worker: int | None = Field(
        None, ge=1, description="items after which a worker is replaced by a fresh one"
    )
    item_time_limit: float | None = Field(
        None,
        ge=0,
        description="s after which an item of a worker process is stopped and has failed",
    )
    stop_grace: float = Field(
        30, ge=0, description="s that the present item gets to finish after a request to stop"
    )
    queue_manager_hostname: str = Field(
        "localhost", description="host of the queue's network front end"
    )
    queue_manager_portnr: int = Field(50101, ge=1, le=65535, description="its port")
    queue_manager_auth_code: Secret = Field(
        None, description="its secret; there is no default, None: no network"
    )


register_section("events", EventSettings)


def as_file():
    """A configuration file with all keys, each with its meaning and default, for the user to
    change."""
    lines = ["# Every key may be left out; what is here are the defaults.", "[DEFAULT]"]
    for name, key in EventSettings.model_fields.items():
        lines += ["", f"# {key.description}", f"{name} = {key.default!r}"]
    return "\n".join(lines) + "\n"
