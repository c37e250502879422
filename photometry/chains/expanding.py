"""Chains into the database: submit a root, and let containers make their children, all of one
container or none."""

import json
import logging
import random
import time
from collections import Counter

import sqlalchemy as sa

from ..errors import WrongUseError
from . import states
from .expansion import chain_scope, children, inner_scope
from .lookups import (
    UNREADABLE,
    find_products,
    parsed,
    requested_metadata,
    scope_from,
    scope_text,
    texts,
    unreadable,
)
from .rows import Registries, allocate, many
from .schema import (
    ATTEMPTS,
    BARRIERS,
    DESCRIPTIONS,
    LOG_MESSAGES,
    METADATA_INPUTS,
    PRODUCTS,
    SCOPES,
    TASK_INPUTS,
    TASKS,
)
from .tasktype import task_type, task_type_names

BATCH = 200  # containers that are expanded in one transaction
T = TASKS.c


class Expander:
    """Stores tasks.

    Parameters
    ----------
    database : connect.Database
    registries : rows.Registries, or None
    """

    def __init__(self, database, registries=None):
        self.database = database
        self.registries = registries or Registries()
        self._description_ids = {}  # id of an object -> (the object, its descriptionId)
        self._containers = None

    def containers(self, db):
        """Ids of the task types that are containers."""
        if self._containers is None or len(self._containers) < 4:
            self._containers = states.container_types(db)
        return self._containers

    # --- submitting

    def submit(self, description, *, seed=None, parent=None, unless=None):
        """Store the root task of a chain.

        Parameters
        ----------
        description : dict, a validated definition
        seed : int, or None: that of the chain, or a random one, which is stored
        parent : id of a task that it belongs to, or None
        unless : callable(db) -> id of a root task that is there already and serves, or None; asked
            in the transaction that would store another

        Returns
        -------
        int, id of the root task
        """
        if seed is None:
            seed = description.get("seed")
        if seed is None:
            seed = random.SystemRandom().getrandbits(62)
        scope = chain_scope(description, seed)
        stored = {key: value for key, value in description.items() if key != "comment"}

        def insert(db):
            if unless is not None and (there := unless(db)) is not None:
                return there
            types = self.registries.types.ids(db, task_type_names())
            description_id = allocate(db, DESCRIPTIONS)
            scope_id = allocate(db, SCOPES)
            task_id = allocate(db, TASKS)
            db.execute(
                DESCRIPTIONS.insert().values(
                    descriptionId=description_id, description=json.dumps(stored)
                )
            )
            db.execute(SCOPES.insert().values(scopeId=scope_id, scope=scope_text(scope)))
            row = task_row(task_id, time.time(), types["execution_chain"])
            row |= {
                "parentTask": parent,
                "rootTask": task_id,
                "jobName": scope.job_name,
                "workingDirectory": scope.directory,
                "descriptionId": description_id,
                "scopeId": scope_id,
                "seed": str(seed),
                "state": states.EXPANDING,
            }
            db.execute(TASKS.insert().values(row))
            return task_id

        return self.database.change(insert)

    # --- expanding

    def expand(self, root=None, limit=BATCH):
        """Let up to ``limit`` containers make their children; returns how many were expanded.

        Parameters
        ----------
        root : id of the root task of a job, or None: of all jobs
        limit : int
        """
        staged = {}
        where = [T.state == states.EXPANDING]
        if root is not None:
            where.append(T.rootTask == root)

        def change(db):
            staged.clear()
            query = sa.select(
                *(T.taskId, T.rootTask, T.taskTypeId, T.jobName, T.workingDirectory),
                *(T.descriptionId, T.scopeId, T.seed, T.priority),
            )
            rows = db.execute(query.where(*where).order_by(T.taskId).limit(limit)).all()
            if rows:
                _Batch(self, db, rows, staged).run()
            return len(rows)

        # Looking first keeps a pass with nothing to do free of a transaction.
        looking = sa.select(T.taskId).where(*where).limit(1)
        if self.database.read(lambda db: db.execute(looking).first()) is None:
            return 0
        count = self.database.change(change)
        self._description_ids.update(staged)
        if len(self._description_ids) > 20_000:
            self._description_ids.clear()
        return count

    def description_ids(self, db, descriptions, staged):
        """Ids of descriptions, stored where they are new: dict id of the object -> descriptionId.

        Parameters
        ----------
        db : connection that holds the lock
        descriptions : list of dict
        staged : dict, what this transaction has stored, by the id of the object
        """
        found, new = {}, {}
        for description in descriptions:
            key = id(description)
            known = staged.get(key) or self._description_ids.get(key)
            if known is not None and known[0] is description:
                found[key] = known[1]
            else:
                new[key] = description
        if new:
            first = allocate(db, DESCRIPTIONS, len(new))
            found.update((key, first + number) for number, key in enumerate(new))
            staged.update((key, (value, found[key])) for key, value in new.items())
            rows = [
                {"descriptionId": found[key], "description": json.dumps(value)}
                for key, value in new.items()
            ]
            db.execute(DESCRIPTIONS.insert(), rows)
        return found


def task_row(task_id, now, type_id):
    """The row of a task that is made now, without what its list gives it.

    Parameters
    ----------
    task_id, type_id : ids
    now : s since 1970
    """
    return {
        "taskId": task_id,
        "createdTime": now,
        "isFullyConfigured": True,
        "taskTypeId": type_id,
        "workingDirectory": "",
        "state": states.WAITING,
        "priority": 0,
        "unmet": 0,
        "openChildren": 0,
        "failedChildren": 0,
        "attemptsUsed": 0,
        "crashes": 0,
    }


class _Batch:
    """The expansion of several containers in one transaction."""

    def __init__(self, expander, db, rows, staged):
        self.expander, self.db, self.rows, self.staged = expander, db, rows, staged
        self.registries = expander.registries
        self.now = time.time()
        self.failures = {}
        self.outside = []  # tasks that wait for inputs

    def run(self):
        """Make the children; containers that cannot are failed, the others are not touched by
        that."""
        made = self._children()
        planned = self._known_products(made)
        new_tasks, new_scopes = [], []
        for row, scope, kids in made:
            if message := self._check_files(kids, planned):
                self.failures[row.taskId] = message
            else:
                new_tasks += [(row, scope, kids, number, kid) for number, kid in enumerate(kids)]
                new_scopes += [(inner_scope(scope, kid), kid) for kid in kids if kid.metadata]
                for kid in kids:
                    planned.update(
                        dict.fromkeys(
                            ((kid.directory, name) for name in kid.outputs.values()), (0, False)
                        )
                    )
        self._insert(new_tasks, self._insert_scopes(new_scopes), planned)
        self._finish(
            [row for row, _, _ in made if row.taskId not in self.failures],
            Counter(row.taskId for row, *_ in new_tasks),
        )

    # --- what is to be made

    def _children(self):
        """(row, scope, children) of each container that can be evaluated."""
        db = self.db
        descriptions = texts(db, DESCRIPTIONS, {row.descriptionId for row in self.rows})
        scopes = texts(db, SCOPES, {row.scopeId for row in self.rows})
        requested = requested_metadata(db, [row.taskId for row in self.rows])
        made = []
        for row in self.rows:
            kind = self.registries.types.name(db, row.taskTypeId)
            results = requested.get(row.taskId, {})
            try:
                scope = scope_from(scopes.get(row.scopeId), row)
                description = parsed(descriptions.get(row.descriptionId))
                if kind != "execution_chain":
                    evaluation = scope.evaluation(scope.seed, results)
                    description = evaluation.evaluate_in_structure(description)
                kids = children(kind, description, scope, results)
                for kid in kids:
                    task_type(kid.type)
                made.append((row, scope, kids))
            except WrongUseError as error:
                self.failures[row.taskId] = str(error)
            except UNREADABLE as error:
                self.failures[row.taskId] = unreadable(error)
        return made

    def _known_products(self, made):
        """Products that the children name and that exist: (directory, filename) -> (id, whether a
        version has passed)."""
        names = {}
        for _, _, kids in made:
            for kid in kids:
                for filename in (*kid.inputs.values(), *kid.outputs.values()):
                    names.setdefault(kid.directory, set()).add(filename)
        return find_products(self.db, names)

    def _check_files(self, kids, planned):
        """What is wrong with the files of the children of one container, or None."""
        own = {}
        for number, kid in enumerate(kids):
            for role, filename in kid.inputs.items():
                key = (kid.directory, filename)
                if key not in planned and own.get(key, number) >= number and not kid.waits:
                    return (
                        f"task {number + 1} of the list: nobody makes the input "
                        f"{role!r}: {filename!r}"
                    )
            for filename in kid.outputs.values():
                key = (kid.directory, filename)
                if key in planned or key in own:
                    return (
                        f"task {number + 1} of the list: the output {filename!r} in "
                        f"{kid.directory or '.'!r} is made by another task, too; give it "
                        "another name or "
                        "directory, or run the chain with --replace or --new-run"
                    )
                own[key] = number
        return None

    # --- rows

    def _insert_scopes(self, new_scopes):
        """Store scopes; returns id of a child object -> scopeId."""
        if not new_scopes:
            return {}
        first = allocate(self.db, SCOPES, len(new_scopes))
        rows = [
            {"scopeId": first + number, "scope": scope_text(scope)}
            for number, (scope, _) in enumerate(new_scopes)
        ]
        self.db.execute(SCOPES.insert(), rows)
        return {id(kid): first + number for number, (_, kid) in enumerate(new_scopes)}

    def _insert(self, new_tasks, scope_ids, planned):
        if not new_tasks:
            return
        db, containers = self.db, self.expander.containers(self.db)
        types = self.registries.types.ids(db, {kid.type for *_, kid in new_tasks})
        roles = {role for *_, kid in new_tasks for role in (*kid.inputs, *kid.outputs)}
        semantics = self.registries.semantics.ids(db, roles)
        first = allocate(db, TASKS, len(new_tasks))
        n_products = sum(len(kid.outputs) for *_, kid in new_tasks)
        next_product = allocate(db, PRODUCTS, n_products) if n_products else 0
        descriptions = self.expander.description_ids(
            db, [kid.description for *_, kid in new_tasks], self.staged
        )
        tasks, products, inputs, requires, waits = [], [], [], [], []
        start = first
        for offset, (row, _, _, number, kid) in enumerate(new_tasks):
            task_id = first + offset
            if number == 0:
                start = task_id
            for role, filename in kid.outputs.items():
                planned[kid.directory, filename] = (next_product, False)
                products.append(
                    {
                        "productId": next_product,
                        "generatorTask": task_id,
                        "plannedTime": self.now,
                        "directoryName": kid.directory,
                        "filename": filename,
                        "semanticType": semantics[role],
                    }
                )
                next_product += 1
            unmet = len(kid.requires) + len(kid.waits)
            for role, filename in kid.inputs.items():
                product, is_there = planned.get((kid.directory, filename), (None, False))
                if product is None:  # made by what it waits for: looked up when that is over
                    continue
                inputs.append(
                    {
                        "taskId": task_id,
                        "inputId": product,
                        "semanticType": semantics[role],
                        "met": is_there,
                    }
                )
                unmet += not is_there
                if not is_there:
                    self.outside.append(task_id)
            for table, positions in ((requires, kid.requires), (waits, kid.waits)):
                table += [
                    {"taskId": task_id, "inputId": start + position, "met": False}
                    for position in positions
                ]
            type_id = types[kid.type]
            free = states.EXPANDING if type_id in containers else states.READY
            task = task_row(task_id, self.now, type_id)
            task.update(
                parentTask=row.taskId,
                rootTask=row.rootTask,
                jobName=kid.job_name,
                taskName=kid.name,
                workingDirectory=kid.directory,
                descriptionId=descriptions[id(kid.description)],
                scopeId=scope_ids.get(id(kid), row.scopeId),
                seed=str(kid.seed),
                priority=kid.priority or row.priority,
                maxAttempts=kid.max_attempts,
                timeLimit=kid.timeout,
                memoryLimit=kid.memory_gb,
                unmet=unmet,
                state=states.WAITING if unmet else free,
            )
            tasks.append(task)
        db.execute(TASKS.insert(), tasks)
        for table, rows in (
            (PRODUCTS, products),
            (TASK_INPUTS, inputs),
            (METADATA_INPUTS, requires),
            (BARRIERS, waits),
        ):
            many(db, table.insert(), rows)

    def _finish(self, passed, counts):
        """Record the attempts of the containers and what their end means for others."""
        db = self.db
        rows = [row for row in self.rows if row.taskId in self.failures] + passed
        first = allocate(db, ATTEMPTS, len(rows))
        attempts = [
            {
                "schedulingAttemptId": first + number,
                "taskId": row.taskId,
                "state": states.FAILED if row.taskId in self.failures else states.PASSED,
                "queuedTime": self.now,
                "startTime": self.now,
                "endTime": self.now,
                "errorFail": row.taskId in self.failures,
                "errorText": self.failures.get(row.taskId),
                "allProductsPassedQc": row.taskId not in self.failures,
            }
            for number, row in enumerate(rows)
        ]
        db.execute(ATTEMPTS.insert(), attempts)
        self._log([attempt for attempt in attempts if attempt["errorFail"]])
        many(
            db,
            sa.update(TASKS)
            .where(T.taskId == sa.bindparam("id"))
            .values(state=states.PASSED, openChildren=sa.bindparam("n"), stateReason=None),
            [{"id": row.taskId, "n": counts[row.taskId]} for row in passed],
        )
        states.passed(db, [row.taskId for row in passed], self.expander.containers(db))
        if self.failures:
            states.failed(db, dict.fromkeys(self.failures, states.FAILED), self.failures)
        if self.outside:
            states.block_hopeless(db, self.outside)

    def _log(self, attempts):
        """Errors of containers stand in the log as those of other tasks do."""
        if not attempts:
            return
        first = allocate(self.db, LOG_MESSAGES, len(attempts))
        self.db.execute(
            LOG_MESSAGES.insert(),
            [
                {
                    "messageId": first + number,
                    "generatedByTaskExecution": attempt["schedulingAttemptId"],
                    "timestamp": self.now,
                    "severity": logging.ERROR,
                    "message": attempt["errorText"],
                }
                for number, attempt in enumerate(attempts)
            ],
        )
