"""What tasks refer to: descriptions, scopes, products by name, results of other tasks."""

import functools
import json

import sqlalchemy as sa

from . import states
from .expansion import Scope
from .rows import fetch_values, select_in
from .schema import ATTEMPTS, METADATA_INPUTS, PRODUCTS, SCOPES, TASKS, VERSIONS

T = TASKS.c


@functools.lru_cache(2048)
def parsed(text):
    """A JSON text as value; the same object for the same text, not to be changed."""
    return json.loads(text)


def scope_from(text, row):
    """The `Scope` of a task: the text of its scope with its own job, directory and seed."""
    stored = parsed(text)
    return Scope(
        metadata=stored["metadata"],
        constants=stored["constants"],
        job_name=row.jobName,
        directory=row.workingDirectory,
        seed=int(row.seed or 0),
    )


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
        row.scopeId: json.loads(row.scope)["metadata"]
        for row in select_in(db, query, SCOPES.c.scopeId, ids)
    }
