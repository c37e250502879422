"""What a worker gets: tasks as dicts, with settings evaluated, inputs and results of others looked
up."""

import json

import sqlalchemy as sa

from ..errors import WrongUseError
from ..scheduler.protocol import Limits
from . import states
from .expressions import is_expression
from .lookups import (
    find_products,
    newest_passed,
    parsed,
    requested_metadata,
    scope_from,
    scope_metadata,
    texts,
)
from .rows import fetch_values, many, select_in
from .schema import (
    BARRIERS,
    DESCRIPTIONS,
    PRODUCTS,
    SCOPES,
    SEMANTIC_TYPES,
    TASK_INPUTS,
    TASKS,
    VERSIONS,
)
from .tasktype import task_type

T = TASKS.c
GIGABYTE = 1_000_000_000


class Preparer:
    """Makes the dicts that workers get, with settings evaluated and inputs looked up.

    Parameters
    ----------
    registries : rows.Registries
    settings : ChainSettings
    """

    def __init__(self, registries, settings):
        self.registries, self.settings = registries, settings
        self._limits = {}

    def prepare(self, db, claimed):
        """Tasks for workers.

        Parameters
        ----------
        db : connection that holds the lock
        claimed : list of (task row, attempt id)

        Returns
        -------
        tasks : list of dict
        failures : dict attempt id -> message, of those that cannot start
        """
        ids = [row.taskId for row, _ in claimed]
        descriptions = texts(db, DESCRIPTIONS, {row.descriptionId for row, _ in claimed})
        scopes = texts(db, SCOPES, {row.scopeId for row, _ in claimed})
        requested = requested_metadata(db, ids)
        failures = {}
        claimed = self._readable(db, claimed, descriptions, scopes, failures)
        tasks, evaluated = [], []
        inputs = self._inputs(db, claimed, descriptions, scopes, failures)
        outputs = self._outputs(db, ids)
        for row, attempt_id in claimed:
            if attempt_id in failures:
                continue
            scope = scope_from(scopes[row.scopeId], row)
            text = descriptions[row.descriptionId]
            description = parsed(text)
            results = requested.get(row.taskId, {})
            if row.evaluatedDescription is not None:
                description = parsed(row.evaluatedDescription)
            elif _has_expressions(text):
                try:
                    evaluation = scope.evaluation(scope.seed, results)
                    description = evaluation.evaluate_in_structure(description)
                except WrongUseError as error:
                    failures[attempt_id] = str(error)
                    continue
                evaluated.append({"id": row.taskId, "text": json.dumps(description)})
            kind = self.registries.types.name(db, row.taskTypeId)
            task = {
                "id": row.taskId,
                "attempt_id": attempt_id,
                "attempt": row.attemptsUsed + 1,
                "type": kind,
                "name": row.taskName,
                "job_name": row.jobName,
                "directory": row.workingDirectory,
                "description": description,
                "metadata": scope.metadata,
                "requested_metadata": results,
                "inputs": inputs.get(row.taskId, {}),
                "outputs": outputs.get(row.taskId, {}),
                "seed": scope.seed,
                "limits": self.limits(row),
            }
            if task_type(kind).collects:
                task["collected"] = collected_results(db, self.registries, row.taskId)
            if kind == "ingest_external_lcs":
                names = sa.select(PRODUCTS.c.filename).where(
                    PRODUCTS.c.directoryName == row.workingDirectory
                )
                task["existing"] = list(db.execute(names).scalars())
            tasks.append(task)
        many(
            db,
            sa.update(TASKS)
            .where(T.taskId == sa.bindparam("id"))
            .values(evaluatedDescription=sa.bindparam("text")),
            evaluated,
        )
        return tasks, failures

    def _readable(self, db, claimed, descriptions, scopes, failures):
        """Those of the claimed that can be read; one that cannot has failed, the others go on."""
        kept = []
        for row, attempt_id in claimed:
            kind = self.registries.types.name(db, row.taskTypeId)
            try:
                task_type(kind)
                scope_from(scopes.get(row.scopeId), row)
                parsed(descriptions.get(row.descriptionId))
                if row.evaluatedDescription is not None:
                    parsed(row.evaluatedDescription)
                kept.append((row, attempt_id))
            except WrongUseError as error:
                failures[attempt_id] = str(error)
        return kept

    def limits(self, row):
        """`scheduler.protocol.Limits` of a task, the same object for equal ones."""
        seconds = row.timeLimit or self.settings.task_timeout
        gigabytes = row.memoryLimit or self.settings.memory_gb
        key = (seconds, gigabytes)
        if key not in self._limits:
            memory = None if gigabytes is None else int(gigabytes * GIGABYTE)
            self._limits[key] = Limits(seconds=seconds, memory=memory)
        return self._limits[key]

    def _outputs(self, db, ids):
        query = sa.select(
            PRODUCTS.c.generatorTask, SEMANTIC_TYPES.c.name, PRODUCTS.c.filename
        ).join(SEMANTIC_TYPES, SEMANTIC_TYPES.c.semanticTypeId == PRODUCTS.c.semanticType)
        found = {}
        for task_id, role, filename in select_in(db, query, PRODUCTS.c.generatorTask, ids):
            found.setdefault(task_id, {})[role] = filename
        return found

    def _inputs(self, db, claimed, descriptions, scopes, failures):
        """dict task id -> dict role -> newest passed version of the product."""
        self._resolve_late_inputs(db, claimed, descriptions, scopes, failures)
        query = (
            sa.select(
                *(TASK_INPUTS.c.taskId, SEMANTIC_TYPES.c.name, PRODUCTS.c.directoryName),
                *(PRODUCTS.c.filename, VERSIONS.c.productVersionId, VERSIONS.c.repositoryId),
                *(VERSIONS.c.fileSize, VERSIONS.c.fileMD5),
            )
            .join(SEMANTIC_TYPES, SEMANTIC_TYPES.c.semanticTypeId == TASK_INPUTS.c.semanticType)
            .join(PRODUCTS, PRODUCTS.c.productId == TASK_INPUTS.c.inputId)
            .join(VERSIONS, VERSIONS.c.productId == PRODUCTS.c.productId)
            .where(VERSIONS.c.passedQc)
            .order_by(VERSIONS.c.productVersionId)
        )
        rows = select_in(db, query, TASK_INPUTS.c.taskId, [row.taskId for row, _ in claimed])
        if not rows:
            return {}
        newest = {(row.taskId, row.name): row for row in rows}
        values = fetch_values(
            db, "productVersionId", {row.productVersionId for row in newest.values()}
        )
        found = {}
        for (task_id, role), row in newest.items():
            found.setdefault(task_id, {})[role] = {
                "filename": row.filename,
                "directory": row.directoryName,
                "repository_id": row.repositoryId,
                "size": row.fileSize,
                "md5": row.fileMD5,
                "metadata": values[row.productVersionId],
            }
        return found

    def _resolve_late_inputs(self, db, claimed, descriptions, scopes, failures):
        """Inputs that were made inside what a task waited for were not known when it was made."""
        late = []
        for row, attempt_id in claimed:
            description = parsed(descriptions[row.descriptionId])
            if "wait_for" not in description or "inputs" not in description:
                continue
            scope = scope_from(scopes[row.scopeId], row)
            evaluate = scope.evaluation(scope.seed).evaluate_in_structure
            try:
                files = evaluate(description["inputs"], ("inputs",))
            except WrongUseError as error:
                failures[attempt_id] = str(error)
                continue
            known = find_products(db, {row.workingDirectory: set(files.values())})
            for role, filename in files.items():
                product, is_there = known.get((row.workingDirectory, filename), (None, False))
                if not is_there:
                    failures[attempt_id] = f"nobody made the input {role!r}: {filename!r}"
                else:
                    late.append((row.taskId, role, product))
        semantics = self.registries.semantics.ids(db, {role for _, role, _ in late})
        present = {
            (row.taskId, row.semanticType)
            for row in select_in(
                db,
                sa.select(TASK_INPUTS.c.taskId, TASK_INPUTS.c.semanticType),
                TASK_INPUTS.c.taskId,
                {task_id for task_id, _, _ in late},
            )
        }
        many(
            db,
            TASK_INPUTS.insert(),
            [
                {"taskId": id_, "inputId": product, "semanticType": semantics[role], "met": True}
                for id_, role, product in late
                if (id_, semantics[role]) not in present
            ],
        )


def _has_expressions(text):
    """Whether the text of a description holds an expression outside of raw lists; remembered by the
    text."""
    known = _has_expressions.known
    if text not in known:
        if len(known) > 5000:
            known.clear()
        known[text] = _find_expression(parsed(text))
    return known[text]


_has_expressions.known = {}


def _find_expression(value):
    if isinstance(value, dict):
        return any(_find_expression(item) or is_expression(key) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_find_expression, value))
    return is_expression(value)


def collected_results(db, registries, task_id):
    """Results of all that a task waited for: list of dict of type, name, passed and metadata, loop
    variables among it.

    Parameters
    ----------
    db : connection
    registries : rows.Registries
    task_id : id
    """
    roots = db.execute(sa.select(BARRIERS.c.inputId).where(BARRIERS.c.taskId == task_id)).scalars()
    roots = list(roots)
    ids = [*roots, *states.descendants(db, roots)]
    query = sa.select(T.taskId, T.taskTypeId, T.taskName, T.state, T.scopeId)
    containers = states.container_types(db)
    rows = [row for row in select_in(db, query, T.taskId, ids) if row.taskTypeId not in containers]
    newest = newest_passed(db, [row.taskId for row in rows])
    values = fetch_values(db, "schedulingAttemptId", newest.values())
    scopes = scope_metadata(db, rows)
    return [
        {
            "id": row.taskId,
            "type": registries.types.name(db, row.taskTypeId),
            "name": row.taskName,
            "passed": row.state == states.PASSED,
            "scope": scopes.get(row.scopeId, {}),
            "metadata": values.get(newest.get(row.taskId), {}),
        }
        for row in rows
    ]
