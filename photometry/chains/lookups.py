"""What tasks refer to: descriptions, scopes, products by name, results of other tasks."""

import functools
import json
import logging

import sqlalchemy as sa

from ..errors import WrongUseError
from . import states
from .expansion import Scope
from .rows import fetch_values, select_in
from .schema import (
    ATTEMPTS,
    METADATA_INPUTS,
    PRODUCTS,
    SCOPES,
    SEMANTIC_TYPES,
    TASKS,
    VERSIONS,
)

log = logging.getLogger(__name__)

T = TASKS.c
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a description raises that was not validated, as programs may write rows of their own."""


def unreadable(error):
    """The message of a task whose description raised one of `UNREADABLE`."""
    return f"its description cannot be used: {type(error).__name__}: {error}"


@functools.lru_cache(2048)
def parsed(text):
    """The JSON object of a text; the same one for the same text, not to be changed.

    Raises
    ------
    WrongUseError : it is something else
    """
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise WrongUseError(f"the task database has {text!r:.60} where a JSON object is expected")
    return value


def texts(db, table, ids):
    """Texts of a table of texts: dict id -> text.

    Parameters
    ----------
    db : connection
    table : `DESCRIPTIONS` or `SCOPES`
    ids : of its rows
    """
    id_column, text = list(table.c)[:2]
    return dict(tuple(row) for row in select_in(db, sa.select(id_column, text), id_column, ids))


def scope_text(scope):
    """The text from which `scope_from` makes it again."""
    return json.dumps({"metadata": scope.metadata, "constants": scope.constants})


def scope_from(text, row):
    """The `Scope` of a task: the text of its scope with its own job, directory and seed."""
    stored = parsed(text)
    if not (row.seed or "0").isdecimal():
        raise WrongUseError(f"the task database has {row.seed!r} where a seed is expected")
    return Scope(
        metadata=stored.get("metadata", {}),
        constants=stored.get("constants", {}),
        job_name=row.jobName,
        directory=row.workingDirectory,
        seed=int(row.seed or 0),
    )


@functools.lru_cache(2048)  # one warning for many tasks
def metadata_of_scope(text):
    """Loop variables and what ancestors set, not to be changed; none where the text cannot be read,
    with a warning."""
    try:
        return parsed(text).get("metadata", {})
    except WrongUseError as error:
        log.warning("metadata of a task are unknown: %s", error)
        return {}


def find_products(db, names):
    """Products by name: (directory, filename) -> (id, whether a version has passed).

    Parameters
    ----------
    db : connection
    names : dict, directory -> set of file names
    """
    has_passed = (
        sa.exists()
        .where(VERSIONS.c.productId == PRODUCTS.c.productId, VERSIONS.c.passedQc)
        .label("passed")
    )
    found = {}
    for directory, filenames in names.items():
        query = sa.select(
            PRODUCTS.c.directoryName, PRODUCTS.c.filename, PRODUCTS.c.productId, has_passed
        ).where(PRODUCTS.c.directoryName == directory)
        for row in select_in(db, query, PRODUCTS.c.filename, sorted(filenames)):
            found[row.directoryName, row.filename] = (row.productId, bool(row.passed))
    return found


def requested_metadata(db, task_ids):
    """Results of the tasks that these require: dict id -> dict name -> dict of values of the newest
    passed attempt."""
    query = sa.select(METADATA_INPUTS.c.taskId, METADATA_INPUTS.c.inputId, T.taskName).join(
        TASKS, T.taskId == METADATA_INPUTS.c.inputId
    )
    links = select_in(db, query, METADATA_INPUTS.c.taskId, task_ids)
    if not links:
        return {}
    newest = newest_passed(db, {row.inputId for row in links})
    values = fetch_values(db, "schedulingAttemptId", newest.values())
    found = {}
    for row in sorted(links, key=lambda row: row.inputId):
        if row.inputId in newest:
            found.setdefault(row.taskId, {})[row.taskName] = values[newest[row.inputId]]
    return found


def newest_passed(db, task_ids):
    """dict task id -> id of its newest attempt that passed."""
    query = sa.select(ATTEMPTS.c.taskId, ATTEMPTS.c.schedulingAttemptId).where(
        states.ATTEMPT_STATE == states.PASSED
    )
    rows = select_in(db, query, ATTEMPTS.c.taskId, task_ids)
    return dict(sorted((tuple(row) for row in rows), key=lambda pair: pair[1]))


def scope_metadata(db, rows):
    """Metadata of the scopes of rows: dict scopeId -> dict."""
    query = sa.select(SCOPES.c.scopeId, SCOPES.c.scope)
    ids = {row.scopeId for row in rows if row.scopeId is not None}
    return {
        row.scopeId: metadata_of_scope(row.scope)
        for row in select_in(db, query, SCOPES.c.scopeId, ids)
    }


def products_of(database, task_ids):
    """Newest versions of the products of tasks: dict task id -> dict role -> dict."""
    query = (
        sa.select(
            *(PRODUCTS.c.generatorTask, SEMANTIC_TYPES.c.name, PRODUCTS.c.directoryName),
            *(PRODUCTS.c.filename, PRODUCTS.c.productId, VERSIONS.c.productVersionId),
            *(
                VERSIONS.c.repositoryId,
                VERSIONS.c.passedQc,
                VERSIONS.c.fileSize,
                VERSIONS.c.fileMD5,
            ),
        )
        .join(SEMANTIC_TYPES, SEMANTIC_TYPES.c.semanticTypeId == PRODUCTS.c.semanticType)
        .join(VERSIONS, VERSIONS.c.productId == PRODUCTS.c.productId, isouter=True)
        .order_by(VERSIONS.c.productVersionId)
    )
    found = {}
    rows = database.read(lambda db: select_in(db, query, PRODUCTS.c.generatorTask, task_ids))
    for row in rows:
        is_made = row.repositoryId is not None
        passed = None if row.passedQc is None else bool(row.passedQc)
        found.setdefault(row.generatorTask, {})[row.name] = {
            "directory": row.directoryName,
            "filename": row.filename,
            "version": row.productVersionId,
            "path": f"{row.directoryName}/{row.repositoryId}".lstrip("/") if is_made else None,
            "passed": passed,
            "size": row.fileSize,
            "md5": row.fileMD5,
        }
    return found
