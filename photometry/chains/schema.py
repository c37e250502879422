"""Tables of the task database, and the recorded changes that bring an older one to them.

Names of tables and columns are those of the EAS pipeline. Ours are ``state`` of tasks and attempts,
the counters that make a scheduling pass cost what changed, `SCOPES` and `DESCRIPTIONS`, which tasks
of one list share. The flags ``isQueued``, ``isRunning`` and ``isFinished`` are computed from the
state by the database, so they cannot contradict it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    case,
    column,
    not_,
)
from sqlalchemy.dialects import mysql

metadata = MetaData()

ID = BigInteger().with_variant(Integer, "sqlite")
LARGEST_ID = 2**63 - 1
LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
# Directory and file name have to fit into one key of MySQL, at most 3072 bytes at 4 bytes a
# character.
DIRECTORY_LENGTH, FILENAME_LENGTH = 512, 255


def _id(name):
    """A primary key whose values come from `LOCK`, so that they are known before rows are inserted,
    on every engine."""
    return Column(name, ID, primary_key=True, autoincrement=False)


def _to(table, column, **options):
    return ForeignKey(f"{table}.{column}", ondelete="CASCADE", **options)


def _table(name, *columns):
    return Table(
        name,
        metadata,
        *columns,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


MIGRATIONS_TABLE = _table(
    "eas_migrations",
    Column("name", String(64), primary_key=True),
    Column("appliedTime", Double),
)

LOCK = _table(
    "eas_lock",
    Column("name", String(32), primary_key=True),
    Column("counter", ID, nullable=False, default=0),
)
"""A row per table with the last id that was used. Who changes the database holds the row
``change``: changes come one after the other, on every engine, so no two of them can disagree on
what is met, over or taken. Each thread that changes the database of a server has a row besides,
with the mark of its last change."""

CONTAINERS = _table(
    "eas_worker_containers",
    _id("containerId"),
    Column("containerName", String(64), nullable=False, unique=True),
    *(
        Column(f"{kind}{resource}", Double)
        for kind in ("requested", "assigned")
        for resource in ("Cpus", "Gpus", "Ram")
    ),
)

TASK_TYPES = _table(
    "eas_task_types",
    _id("taskTypeId"),
    Column("taskTypeName", String(64), nullable=False, unique=True),
)

TASK_CONTAINERS = _table(
    "eas_task_containers",
    Column("taskTypeId", ID, _to("eas_task_types", "taskTypeId"), primary_key=True),
    Column("containerId", ID, _to("eas_worker_containers", "containerId"), primary_key=True),
)

DESCRIPTIONS = _table(
    "eas_task_description", _id("descriptionId"), Column("description", LONG_TEXT, nullable=False)
)

SCOPES = _table(
    "eas_scope",
    _id("scopeId"),
    # JSON: metadata of the tasks of one list (loop variables and what ancestors set), and constants
    Column("scope", LONG_TEXT, nullable=False),
)

TASKS = _table(
    "eas_task",
    _id("taskId"),
    Column("parentTask", ID, _to("eas_task", "taskId")),
    # The root of its tree, itself for a root.
    Column("rootTask", ID),
    Column("createdTime", Double),
    Column("isFullyConfigured", Boolean, nullable=False, default=False),
    Column("taskTypeId", ID, ForeignKey("eas_task_types.taskTypeId")),
    Column("jobName", String(255)),
    Column("taskName", String(255)),
    Column("workingDirectory", String(DIRECTORY_LENGTH), nullable=False, default=""),
    Column("descriptionId", ID, ForeignKey("eas_task_description.descriptionId")),
    Column("scopeId", ID, ForeignKey("eas_scope.scopeId")),
    # Evaluated at the first start and kept, where the description has expressions.
    Column("evaluatedDescription", LONG_TEXT),
    # Text, as SQLite and JSON readers lose the last bits of large whole numbers.
    Column("seed", String(20)),
    Column("state", String(12), nullable=False),
    Column("stateReason", String(1000)),
    Column("priority", Integer, nullable=False, default=0),
    Column("notBefore", Double),
    Column("attemptsUsed", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("maxAttempts", Integer),
    Column("timeLimit", Double),
    Column("memoryLimit", Double),
    # Dependencies that are not met.
    Column("unmet", Integer, nullable=False, default=0),
    # Children whose trees are not over; children in whose trees something failed.
    Column("openChildren", Integer, nullable=False, default=0),
    Column("failedChildren", Integer, nullable=False, default=0),
    Index("eas_task_parent", "parentTask"),
    Index("eas_task_job", "jobName"),
    Index("eas_task_ready", "state", "priority", "taskId"),
    Index("eas_task_root", "rootTask", "state"),
    Index("eas_task_delay", "state", "notBefore"),
)

HOSTS = _table(
    "eas_worker_host", _id("hostId"), Column("hostname", String(255), nullable=False, unique=True)
)

_IS_ACTIVE = column("state").in_(["QUEUED", "RUNNING"])
_PASSES_WITH_ERROR = not_(
    and_(column("allProductsPassedQc", Boolean), column("errorFail", Boolean))
)

ATTEMPTS = _table(
    "eas_scheduling_attempt",
    _id("schedulingAttemptId"),
    Column("taskId", ID, _to("eas_task", "taskId"), nullable=False),
    Column("state", String(12), nullable=False),
    Column("queuedTime", Double),
    Column("isQueued", Boolean, Computed(column("state") == "QUEUED", persisted=True)),
    Column("isRunning", Boolean, Computed(column("state") == "RUNNING", persisted=True)),
    Column("isFinished", Boolean, Computed(not_(_IS_ACTIVE), persisted=True)),
    # The task while this attempt is active, else NULL: a task has one active attempt at most.
    Column(
        "activeTask",
        ID,
        Computed(case((_IS_ACTIVE, column("taskId"))), persisted=True),
        unique=True,
    ),
    Column("hostId", ID, ForeignKey("eas_worker_host.hostId")),
    Column("workerId", String(64)),
    Column("startTime", Double),
    Column("latestHeartbeat", Double),
    Column("endTime", Double),
    Column("allProductsPassedQc", Boolean),
    Column("errorFail", Boolean, nullable=False, default=False),
    Column("errorText", LONG_TEXT),
    Column("runTimeWallClock", Double),
    Column("runTimeCpu", Double),
    Column("runTimeCpuIncChildren", Double),
    Column("peakMemory", Double),
    CheckConstraint(_PASSES_WITH_ERROR, name="an_error_never_passes"),
    Index("eas_attempt_task", "taskId"),
    Index("eas_attempt_state", "state", "schedulingAttemptId"),
    Index("eas_attempt_worker", "workerId", "state"),
)

LOG_MESSAGES = _table(
    "eas_log_messages",
    _id("messageId"),
    Column("generatedByTaskExecution", ID, _to("eas_scheduling_attempt", "schedulingAttemptId")),
    Column("timestamp", Double),
    Column("severity", Integer),
    Column("message", Text),
    Index("eas_log_attempt", "generatedByTaskExecution", "timestamp"),
    Index("eas_log_severity", "severity", "timestamp"),
)

SEMANTIC_TYPES = _table(
    "eas_semantic_type",
    _id("semanticTypeId"),
    Column("name", String(255), nullable=False, unique=True),
)

PRODUCTS = _table(
    "eas_product",
    _id("productId"),
    Column("generatorTask", ID, _to("eas_task", "taskId"), nullable=False),
    Column("plannedTime", Double),
    Column("directoryName", String(DIRECTORY_LENGTH), nullable=False),
    Column("filename", String(FILENAME_LENGTH), nullable=False),
    Column("semanticType", ID, ForeignKey("eas_semantic_type.semanticTypeId"), nullable=False),
    Column("mimeType", String(64)),
    UniqueConstraint("directoryName", "filename"),
    UniqueConstraint("generatorTask", "semanticType"),
)

VERSIONS = _table(
    "eas_product_version",
    _id("productVersionId"),
    Column("productId", ID, _to("eas_product", "productId"), nullable=False),
    Column("generatedByTaskExecution", ID, _to("eas_scheduling_attempt", "schedulingAttemptId")),
    Column("repositoryId", String(64), unique=True),
    Column("createdTime", Double),
    Column("modifiedTime", Double),
    Column("fileMD5", String(32)),
    Column("fileSize", ID),
    Column("passedQc", Boolean),
    UniqueConstraint("productId", "generatedByTaskExecution"),
    Index("eas_version_attempt", "generatedByTaskExecution"),
)

METADATA_KEYS = _table(
    "eas_metadata_keys", _id("keyId"), Column("name", String(255), nullable=False, unique=True)
)

OWNERS = {
    "taskId": ("eas_task", "taskId"),
    "schedulingAttemptId": ("eas_scheduling_attempt", "schedulingAttemptId"),
    "productId": ("eas_product", "productId"),
    "productVersionId": ("eas_product_version", "productVersionId"),
}
"""What an item of metadata can belong to: column -> (table, its id)."""

METADATA_ITEMS = _table(
    "eas_metadata_item",
    _id("itemId"),
    *(Column(column, ID, _to(*target)) for column, target in OWNERS.items()),
    Column("setAtTime", Double),
    Column("metadataKey", ID, ForeignKey("eas_metadata_keys.keyId"), nullable=False),
    # One of: float, int, bool, str, json, null; and nan, inf, -inf, which not every database can
    # hold as a number.
    Column("valueType", String(8), nullable=False),
    Column("valueFloat", Double),
    Column("valueString", LONG_TEXT),
    *(UniqueConstraint(column, "metadataKey") for column in OWNERS),
)

TASK_INPUTS = _table(
    "eas_task_input",
    Column("taskId", ID, _to("eas_task", "taskId"), primary_key=True),
    Column("inputId", ID, _to("eas_product", "productId"), nullable=False),
    Column("semanticType", ID, ForeignKey("eas_semantic_type.semanticTypeId"), primary_key=True),
    Column("met", Boolean, nullable=False, default=False),
    Index("eas_task_input_source", "inputId", "met"),
)

METADATA_INPUTS = _table(
    "eas_task_metadata_input",
    Column("taskId", ID, _to("eas_task", "taskId"), primary_key=True),
    Column("inputId", ID, _to("eas_task", "taskId"), primary_key=True),
    Column("met", Boolean, nullable=False, default=False),
    Index("eas_task_metadata_source", "inputId", "met"),
)

BARRIERS = _table(
    "eas_task_wait",
    Column("taskId", ID, _to("eas_task", "taskId"), primary_key=True),
    Column("inputId", ID, _to("eas_task", "taskId"), primary_key=True),
    Column("met", Boolean, nullable=False, default=False),
    Index("eas_task_wait_source", "inputId", "met"),
)


# Changes of the schema, each a function of the connection, recorded by its name when it was applied


def _first_schema(connection):
    metadata.create_all(connection)
    names = ["change", *(table.name for table in metadata.sorted_tables)]
    connection.execute(LOCK.insert(), [{"name": name, "counter": 0} for name in names])


MIGRATIONS = (("0001_first_schema", _first_schema),)
"""In order. A new one goes to the end and works on databases that hold data; an applied one never
changes.
"""
