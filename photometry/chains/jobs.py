"""Jobs: submit a chain, find it again, see how it is, cancel, retry, replace and delete it."""

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ..errors import WrongUseError
from . import states
from .connect import Database
from .definition import validate
from .expanding import Expander
from .filestore import FileStore
from .lookups import newest_passed, parsed, products_of, scope_metadata
from .rows import chunks, fetch_values, select_in
from .schema import (
    ATTEMPTS,
    DESCRIPTIONS,
    LARGEST_ID,
    PRODUCTS,
    TASK_TYPES,
    TASKS,
    VERSIONS,
)

if TYPE_CHECKING:
    from .outline import Outline

T, A = TASKS.c, ATTEMPTS.c


@dataclass
class Submission:
    """What became of a chain that was submitted.

    Attributes
    ----------
    root : id of its root task
    is_new : False where an unfinished job with the same definition is continued
    outline : definition.Outline
    """

    root: int
    is_new: bool
    outline: "Outline" = field(repr=False)


def open_database(settings):
    """The task database of the settings and the folder for products, made where missing."""
    settings.file_store.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url, patience=settings.database_patience)
    database.migrate()
    return database


def existing_database(settings):
    """The task database of the settings, to look at.

    Raises
    ------
    WrongUseError : there is none
    """
    database = Database(settings.database_url, patience=settings.database_patience)
    if not database.exists():
        raise WrongUseError(
            f"{database.shown}: there is no task database; photometry chain run or submit makes one"
        )
    return database


def check(definition, settings, *, allow_unavailable=False):
    """Validate a definition against the files that earlier chains make; changes nothing. See
    `definition.validate`.

    Parameters
    ----------
    definition : ChainDefinition
    settings : ChainSettings
    allow_unavailable : bool
    """
    database = Database(settings.database_url, patience=settings.database_patience)
    if not database.exists():
        return validate(definition, allow_unavailable=allow_unavailable)
    try:
        return validate(
            definition, is_planned=_planned(database), allow_unavailable=allow_unavailable
        )
    finally:
        database.close()


def _planned(database, without_root=None):
    """``is_planned`` of `definition.validate`: what the database plans, one query per directory."""
    known = {}

    def is_planned(directory, filename):
        if directory not in known:
            query = sa.select(PRODUCTS.c.filename).where(PRODUCTS.c.directoryName == directory)
            if without_root is not None:
                query = query.join(TASKS, T.taskId == PRODUCTS.c.generatorTask).where(
                    T.rootTask.not_in(without_root)
                )
            known[directory] = set(database.read(lambda db: list(db.execute(query).scalars())))
        return filename in known[directory]

    return is_planned


def submit(
    definition,
    database,
    settings,
    *,
    replace=False,
    new_run=False,
    seed=None,
    allow_unavailable=False,
):
    """Validate a definition and store its root task; an unfinished job with the same definition is
    continued.

    Parameters
    ----------
    definition : definition.ChainDefinition
    database : connect.Database
    settings : ChainSettings
    replace : bool, delete earlier jobs of the same name, with their files, first
    new_run : bool, use a new folder below the working directory: ``run_0001``, ``run_0002``, ...
    seed : int or None
    allow_unavailable : bool, let tasks pass that only other hosts can run

    Returns
    -------
    Submission

    Raises
    ------
    WrongUseError : what is wrong with the definition, or with the request
    """
    name = definition.job_name
    stored = {key: value for key, value in definition.description.items() if key != "comment"}

    def unfinished(db):
        """The newest unfinished job with this definition, which another process may be starting."""
        roots = roots_of(db, name) if name and not new_run else ()
        return next((root for root in reversed(roots) if _is_unfinished(db, root, stored)), None)

    def continued(root):
        return Submission(root, False, validate(definition, allow_unavailable=True))

    if replace and not name:
        raise WrongUseError("--replace needs a job_name in the chain, which names what it replaces")
    if not replace and (root := database.read(unfinished)) is not None:
        return continued(root)
    earlier = database.read(lambda db: roots_of(db, name)) if replace else []
    if new_run and not replace:
        directory = _new_directory(definition.description, database)
        definition.description = {**definition.description, "working_directory": directory}
    try:
        outline = validate(
            definition,
            is_planned=_planned(database, earlier or None),
            allow_unavailable=allow_unavailable,
        )
    except WrongUseError:
        root = None if replace else database.read(unfinished)
        if root is not None:
            return continued(root)
        raise
    if earlier:
        delete(database, settings, earlier)
    found = []

    def unless(db):
        found[:] = [unfinished(db)]
        return found[0]

    root = Expander(database).submit(definition.description, seed=seed, unless=unless)
    return Submission(root, found[0] is None, outline)


def _new_directory(description, database):
    base = description.get("working_directory") or ""
    query = sa.select(T.workingDirectory).distinct()
    known = database.read(lambda db: set(db.execute(query).scalars()))
    pattern = re.compile(re.escape(f"{base}/run_" if base else "run_") + r"(\d{4,})(?:/.*)?")
    numbers = [int(match[1]) for folder in known if (match := pattern.fullmatch(folder or ""))]
    name = f"run_{max(numbers, default=0) + 1:04d}"
    return f"{base}/{name}" if base else name


def _is_unfinished(db, root, description):
    query = (
        sa.select(T.state, T.openChildren, DESCRIPTIONS.c.description)
        .join(DESCRIPTIONS, DESCRIPTIONS.c.descriptionId == T.descriptionId)
        .where(T.taskId == root)
    )
    row = db.execute(query).first()
    if row.state in states.OVER and row.openChildren == 0:
        return False
    try:
        return parsed(row.description) == description
    except WrongUseError:  # unreadable, so it is another one
        return False


def roots_of(db, name):
    """Ids of the root tasks of jobs of a name, oldest first."""
    query = sa.select(T.taskId).where(T.parentTask.is_(None), T.jobName == name)
    return list(db.execute(query.order_by(T.taskId)).scalars())


def find_root(database, job=None):
    """The root task of a job: by name (the newest of that name), by number, or the newest of all.

    Raises
    ------
    WrongUseError : there is none, with the names that there are
    """

    def look(db):
        if job is None:
            query = sa.select(sa.func.max(T.taskId)).where(T.parentTask.is_(None))
            return db.execute(query).scalar()
        if found := roots_of(db, str(job)):
            return found[-1]
        if str(job).isdecimal() and int(job) <= LARGEST_ID:
            query = sa.select(T.rootTask).where(T.taskId == int(job), T.parentTask.is_(None))
            return db.execute(query).scalar()
        return None

    root = database.read(look)
    if root is None:
        names = sa.select(T.jobName).where(T.parentTask.is_(None)).distinct().limit(20)
        known = database.read(lambda db: sorted(map(str, db.execute(names).scalars())))
        what = "no job" if job is None else f"no job {job!r}"
        raise WrongUseError(
            f"{database.shown}: there is {what}; known are {', '.join(known) or 'none'}"
        )
    return root


def job_tasks(database, root, extra=()):
    """Ids of the tasks of a job.

    Parameters
    ----------
    database : connect.Database
    root : id of its root task
    extra : conditions on `TASKS`
    """
    query = sa.select(T.taskId).where(T.rootTask == root, *extra)
    return database.read(lambda db: list(db.execute(query).scalars()))


def retry(database, *, root=None, task_type=None, task_ids=None):
    """Start tasks again that ended without success; what is queued, running or passed is left
    alone.

    Parameters
    ----------
    database : connect.Database
    root : id of the root task of a job, or None: all jobs
    task_type : only tasks of this type
    task_ids : only these

    Returns
    -------
    int : how many
    """
    query = sa.select(T.taskId).where(
        T.state.in_((states.FAILED, states.QC_FAILED, states.CANCELLED))
    )
    if root is not None:
        query = query.where(T.rootTask == root)
    if task_type is not None:
        query = query.join(TASK_TYPES, TASK_TYPES.c.taskTypeId == T.taskTypeId).where(
            TASK_TYPES.c.taskTypeName == task_type
        )
    if not database.read(lambda db: db.execute(query.limit(1)).first()):
        return 0

    def change(db):
        ids = list(db.execute(query).scalars())
        if task_ids is not None:
            ids = [id_ for id_ in ids if id_ in set(task_ids)]
        return states.retry(db, ids)

    return database.change(change)


def cancel(database, task_ids):
    """Cancel tasks and all below them that are not over; returns how many that were."""
    return database.change(lambda db: states.cancel(db, task_ids, time.time()))


def delete(database, settings, roots):
    """Delete jobs with all their files.

    Parameters
    ----------
    database : connect.Database
    settings : ChainSettings
    roots : ids of root tasks

    Raises
    ------
    WrongUseError : a task of them is being done
    """
    store = FileStore(settings.file_store)

    def change(db):
        busy = db.execute(
            sa.select(T.taskId).where(T.rootTask.in_(roots), T.state == states.RUNNING).limit(1)
        ).scalar()
        if busy is not None:
            raise WrongUseError(
                f"task {busy} of the earlier job is running; wait for it, or photometry chain "
                "cancel it first"
            )
        query = (
            sa.select(PRODUCTS.c.directoryName, VERSIONS.c.repositoryId)
            .join(PRODUCTS, PRODUCTS.c.productId == VERSIONS.c.productId)
            .join(TASKS, T.taskId == PRODUCTS.c.generatorTask)
            .where(T.rootTask.in_(roots))
        )
        files = [(row.directoryName, row.repositoryId) for row in db.execute(query)]
        ids = list(
            db.execute(
                sa.select(T.taskId).where(T.rootTask.in_(roots)).order_by(T.taskId.desc())
            ).scalars()
        )
        for some in chunks(ids):
            db.execute(sa.delete(TASKS).where(T.taskId.in_(some)))
        return files

    # The rows go first: a file without a row is litter, a row without its file would be a lie.
    for directory, name in database.change(change):
        store.delete(directory, name)


# --- how a job is


def job_state(database, root):
    """(name, state, how many tasks are in which state) of a job.

    The state is WAITING, RUNNING, or once all is over PASSED, CANCELLED or FAILED.
    """
    query = sa.select(T.jobName, T.state, T.openChildren, T.failedChildren).where(T.taskId == root)
    counting = sa.select(T.state, sa.func.count()).where(T.rootTask == root).group_by(T.state)

    def look(db):
        return db.execute(query).first(), dict(tuple(row) for row in db.execute(counting))

    row, counts = database.read(look)
    if row.state in states.OVER and row.openChildren == 0:
        if row.state == states.PASSED and row.failedChildren == 0:
            state = states.PASSED
        elif counts.get(states.FAILED) or counts.get(states.QC_FAILED):
            state = states.FAILED
        else:
            state = states.CANCELLED if counts.get(states.CANCELLED) else states.FAILED
    else:
        is_active = any(counts.get(name) for name in (states.RUNNING, states.QUEUED))
        state = states.RUNNING if is_active else states.WAITING
    return row.jobName, state, counts


def status(database, root, *, with_tasks=True):
    """A job as one object that JSON can hold.

    Parameters
    ----------
    database : connect.Database
    root : id of its root task
    with_tasks : bool

    Returns
    -------
    dict of ``job``, ``id``, ``state``, ``counts``, ``tasks``; each task has ``id, parent, type,
    name, state, reason, attempts, passed, metadata, products``. ``metadata``: loop variables and
    the results of the newest attempt that passed
    """
    name, state, counts = job_state(database, root)
    found = {"job": name, "id": root, "state": state, "counts": counts}
    if with_tasks:
        found["tasks"] = tasks_of(database, root)
    return found


def tasks_of(database, root):
    """The tasks of a job, see `status`."""
    query = (
        sa.select(
            *(T.taskId, T.parentTask, TASK_TYPES.c.taskTypeName, T.taskName, T.jobName, T.state),
            *(T.stateReason, T.scopeId, T.workingDirectory),
        )
        .join(TASK_TYPES, TASK_TYPES.c.taskTypeId == T.taskTypeId)
        .where(T.rootTask == root)
        .order_by(T.taskId)
    )

    def look(db):
        rows = db.execute(query).all()
        ids = [row.taskId for row in rows]
        newest = newest_passed(db, ids)
        counting = sa.select(A.taskId, sa.func.count().label("n")).group_by(A.taskId)
        attempts = dict(tuple(row) for row in select_in(db, counting, A.taskId, ids))
        values = fetch_values(db, "schedulingAttemptId", newest.values())
        own = fetch_values(db, "taskId", ids)
        return rows, newest, attempts, values, own, scope_metadata(db, rows)

    rows, newest, attempts, values, own, scopes = database.read(look)
    products = products_of(database, [row.taskId for row in rows])
    return [
        {
            "id": row.taskId,
            "parent": row.parentTask,
            "type": row.taskTypeName,
            "name": row.taskName,
            "job": row.jobName,
            "directory": row.workingDirectory,
            "state": row.state,
            "reason": row.stateReason,
            "attempts": attempts.get(row.taskId, 0),
            "passed": row.state == states.PASSED,
            "metadata": {
                **scopes.get(row.scopeId, {}),
                **own[row.taskId],
                **values.get(newest.get(row.taskId), {}),
            },
            "products": products.get(row.taskId, {}),
        }
        for row in rows
    ]
