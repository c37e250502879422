"""What the task database hands out: plain objects, each of which goes through JSON and back
unchanged."""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar


class _Record:
    """Base: fields by name, nested records as dicts, metadata as lists of item dicts."""

    _records: ClassVar[dict] = {}  # field -> class of the values of a dict of records
    _lists: ClassVar[
        dict
    ] = {}  # field -> name of the values' id, for dicts that `configure` takes as lists

    def configure(self, **values):
        """Set those fields that are given and not None; dicts are merged into what is there."""
        known = {item.name for item in dataclasses.fields(self)}
        if unknown := set(values) - known:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, value in values.items():
            if value is None:
                continue
            if name in self._lists and not isinstance(value, dict):
                value = {getattr(item, self._lists[name]): item for item in value}
            if name == "metadata":
                value = _items(value)
            if isinstance(value, dict) and isinstance(getattr(self, name), dict):
                value = {**getattr(self, name), **value}
            setattr(self, name, value)
        return self

    def set_metadata(self, keyword, value):
        """Set one item of the metadata."""
        self.metadata[keyword] = MetadataItem(keyword, value)

    def as_dict(self):
        """As a dict that JSON can hold; `from_dict` is its inverse."""
        return {
            item.name: _plain(getattr(self, item.name))
            for item in dataclasses.fields(self)
            if item.metadata.get("stored", True)
        }

    @classmethod
    def from_dict(cls, values):
        """The object that `as_dict` made ``values`` of."""
        values = dict(values)
        for name, value in values.items():
            if name == "metadata":
                values[name] = _metadata_from(value)
            elif name == "input_metadata":
                values[name] = {source: _metadata_from(items) for source, items in value}
            elif name in cls._records:
                kind = cls._records[name]()
                values[name] = (
                    (None if value is None else kind.from_dict(value))
                    if not isinstance(value, list)
                    else {key: kind.from_dict(item) for key, item in value}
                )
        return cls(**values)


def _plain(value):
    if isinstance(value, _Record | MetadataItem):
        return value.as_dict()
    if isinstance(value, dict):
        if value and all(isinstance(item, MetadataItem) for item in value.values()):
            return [item.as_dict() for item in value.values()]
        return [[key, _plain(item)] for key, item in value.items()]
    return value


def _metadata_from(values):
    return {item["keyword"]: MetadataItem.from_dict(item) for item in values}


def _items(metadata):
    return {
        key: value if isinstance(value, MetadataItem) else MetadataItem(key, value)
        for key, value in metadata.items()
    }


@dataclass
class MetadataItem:
    """One value of the metadata of a task, attempt, product or version, and when it was set (s
    since 1970)."""

    keyword: str
    value: Any
    timestamp: float | None = None

    def __post_init__(self):
        if self.timestamp is None:
            self.timestamp = time.time()

    def as_dict(self):
        """As a dict that JSON can hold."""
        return {"keyword": self.keyword, "value": self.value, "timestamp": self.timestamp}

    @classmethod
    def from_dict(cls, values):
        """The item that `as_dict` made ``values`` of."""
        return cls(**values)


@dataclass
class FileProduct(_Record):
    """A file that a task is planned to make: directory and name, whatever attempts have made of
    it."""

    product_id: int | None = None
    generator_task: int | None = None
    planned_time: float | None = None
    directory: str | None = None
    filename: str | None = None
    semantic_type: str | None = None
    mime_type: str | None = None
    metadata: dict = field(default_factory=dict)

    def __post_init__(self):
        self.metadata = _items(self.metadata)


@dataclass
class FileProductVersion(_Record):
    """A file that one attempt made. ``passed_qc`` is None where it was not looked at."""

    product_version_id: int | None = None
    product_id: int | None = None
    generated_by_task_execution: int | None = None
    repository_id: str | None = None
    created_time: float | None = None
    modified_time: float | None = None
    file_md5: str | None = None
    file_size: int | None = None
    passed_qc: bool | None = None
    metadata: dict = field(default_factory=dict)

    def __post_init__(self):
        self.metadata = _items(self.metadata)


@dataclass
class TaskExecutionAttempt(_Record):
    """One execution of a task. Times in s since 1970, run times in s, ``peak_memory`` in bytes."""

    attempt_id: int | None = None
    task_id: int | None = None
    state: str | None = None
    queued_time: float | None = None
    start_time: float | None = None
    latest_heartbeat_time: float | None = None
    end_time: float | None = None
    all_products_passed_qc: bool | None = None
    error_fail: bool | None = None
    error_text: str | None = None
    run_time_wall_clock: float | None = None
    run_time_cpu: float | None = None
    run_time_cpu_inc_children: float | None = None
    peak_memory: int | None = None
    metadata: dict = field(default_factory=dict)
    output_files: dict = field(default_factory=dict)
    task_object: Any = None

    _records: ClassVar[dict] = {
        "output_files": lambda: FileProductVersion,
        "task_object": lambda: Task,
    }

    def __post_init__(self):
        self.metadata = _items(self.metadata)


@dataclass
class Task(_Record):
    """One unit of work. ``task_description``: the evaluated description, set while the task runs,
    not stored here."""

    task_id: int | None = None
    parent_id: int | None = None
    created_time: float | None = None
    state: str | None = None
    task_type: str | None = None
    job_name: str | None = None
    task_name: str | None = None
    working_directory: str | None = None
    input_files: dict = field(default_factory=dict)
    input_metadata: dict = field(default_factory=dict)
    execution_attempts_passed: dict = field(default_factory=dict)
    execution_attempts_incomplete: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    output_files: dict = field(default_factory=dict)
    task_description: dict | None = field(default=None, metadata={"stored": False})

    _records: ClassVar[dict] = {
        "input_files": lambda: FileProduct,
        "output_files": lambda: FileProduct,
        "execution_attempts_passed": lambda: TaskExecutionAttempt,
        "execution_attempts_incomplete": lambda: TaskExecutionAttempt,
    }
    _lists: ClassVar[dict] = {
        "execution_attempts_passed": "attempt_id",
        "execution_attempts_incomplete": "attempt_id",
    }

    def __post_init__(self):
        self.metadata = _items(self.metadata)
        self.input_metadata = {name: _items(items) for name, items in self.input_metadata.items()}
