"""The public interface to task types, containers and tasks."""

import json
import shutil
import time
from pathlib import Path

import sqlalchemy as sa

from ..errors import WrongUseError
from . import states
from .expanding import task_row
from .expansion import Scope
from .filestore import check_directory
from .lookups import (
    metadata_of_scope,
    newest_passed,
    parsed,
    requested_metadata,
    scope_from,
    scope_text,
)
from .objects import Task
from .products import ProductMethods
from .rows import allocate
from .schema import (
    ATTEMPTS,
    CONTAINERS,
    DESCRIPTIONS,
    METADATA_INPUTS,
    PRODUCTS,
    SCOPES,
    SEMANTIC_TYPES,
    TASK_CONTAINERS,
    TASK_INPUTS,
    TASK_TYPES,
    TASKS,
)
from .types import TaskTypeList

T, A = TASKS.c, ATTEMPTS.c


class TaskMethods(ProductMethods):
    """What `database.TaskDatabaseConnection` knows of task types, containers and tasks."""

    # --- task types and containers

    def task_type_list_from_db(self):
        """The registry that the database holds, as `TaskTypeList`."""
        registry = TaskTypeList()
        for row in self._rows(sa.select(CONTAINERS).order_by(CONTAINERS.c.containerId)):
            registry.add_container(
                row.containerName, row.requestedCpus, row.requestedGpus, row.requestedRam
            )
        query = (
            sa.select(TASK_TYPES.c.taskTypeName, CONTAINERS.c.containerName)
            .join(
                TASK_CONTAINERS,
                TASK_CONTAINERS.c.taskTypeId == TASK_TYPES.c.taskTypeId,
                isouter=True,
            )
            .join(
                CONTAINERS, CONTAINERS.c.containerId == TASK_CONTAINERS.c.containerId, isouter=True
            )
            .order_by(TASK_TYPES.c.taskTypeId)
        )
        links = {}
        for name, container in self._rows(query):
            links.setdefault(name, set()).update([container] if container else [])
        for name, containers in links.items():
            registry.add_task_type(name, containers)
        return registry

    def task_type_list_to_db(self, task_list):
        """Enter a registry: containers and types are added or changed, the links of each type
        replaced."""
        db = self._changing()
        ids = self.registries.containers.ids(db, task_list.worker_containers)
        for name, resources in task_list.worker_containers.items():
            values = dict(
                zip(
                    ("Cpus", "Gpus", "Ram"),
                    (resources["cpu"], resources["gpu"], resources["memory_gb"]),
                    strict=True,
                )
            )
            requested = {f"requested{key}": value for key, value in values.items()}
            assigned = {
                f"assigned{key}": sa.func.coalesce(CONTAINERS.c[f"assigned{key}"], value)
                for key, value in values.items()
            }
            db.execute(
                sa.update(CONTAINERS)
                .where(CONTAINERS.c.containerId == ids[name])
                .values(**requested, **assigned)
            )
        types = self.registries.types.ids(db, task_list.task_list)
        for name, containers in task_list.task_list.items():
            db.execute(
                sa.delete(TASK_CONTAINERS).where(TASK_CONTAINERS.c.taskTypeId == types[name])
            )
            if containers:
                db.execute(
                    TASK_CONTAINERS.insert(),
                    [
                        {"taskTypeId": types[name], "containerId": ids[c]}
                        for c in sorted(containers)
                    ],
                )

    def task_type_list_fetch_id(self, task_type_name):
        """Id of a task type; AssertionError where there is none."""
        id_ = self.registries.types.find(self._reading(), task_type_name)
        if id_ is None:
            raise AssertionError(f"there is no task type {task_type_name!r}")
        return id_

    def container_set_resource_assignment(self, container_name, cpu, gpu, memory_gb):
        """Set what a container may use.

        Parameters
        ----------
        container_name : str
        cpu, gpu : number
        memory_gb : GB
        """
        self._changing().execute(
            sa.update(CONTAINERS)
            .where(CONTAINERS.c.containerName == container_name)
            .values(assignedCpus=cpu, assignedGpus=gpu, assignedRam=memory_gb)
        )

    def container_get_resource_assignment(self, container_name):
        """dict of ``cpu``, ``gpu``, ``memory_gb`` that a container may use; AssertionError where
        there is none."""
        query = sa.select(CONTAINERS).where(CONTAINERS.c.containerName == container_name)
        row = self._reading().execute(query).first()
        if row is None:
            raise AssertionError(f"there is no container {container_name!r}")
        return {"cpu": row.assignedCpus, "gpu": row.assignedGpus, "memory_gb": row.assignedRam}

    # --- tasks

    def task_exists_in_db(self, task_id):
        """Whether there is such a task."""
        return bool(self._value(sa.select(sa.exists().where(T.taskId == task_id))))

    def task_register(
        self, parent_id=None, created_time=None, fully_configured=True, task_type=None,
        job_name=None, task_name=None, working_directory=None, input_files=None, metadata=None,
    ):  # fmt: skip
        """Make a task.

        Parameters
        ----------
        parent_id : int or None
        created_time : s since 1970, by default now
        fully_configured : bool; False: it does not start before that is set
        task_type, job_name, task_name, working_directory : str
        input_files : dict, role -> FileProduct or id of a product
        metadata : dict; ``task_description`` in it is the description, as JSON

        Returns
        -------
        int, its id
        """
        metadata = {key: getattr(item, "value", item) for key, item in (metadata or {}).items()}
        text = metadata.pop("task_description", None) or json.dumps({"task": task_type})
        db = self._changing()
        parent = None
        if parent_id is not None:
            parent = db.execute(
                sa.select(T.rootTask, T.scopeId, T.jobName, T.workingDirectory).where(
                    T.taskId == parent_id
                )
            ).first()
            if parent is None:
                raise WrongUseError(f"there is no task {parent_id} to be the parent")
            states.reopen(db, [parent_id])
            db.execute(
                sa.update(TASKS)
                .where(T.taskId == parent_id)
                .values(openChildren=T.openChildren + 1)
            )
            scope = db.execute(
                sa.select(SCOPES.c.scope).where(SCOPES.c.scopeId == parent.scopeId)
            ).scalar()
            metadata = {**metadata_of_scope(scope), **metadata} if scope else metadata
        directory = working_directory
        if directory is None:
            directory = parent.workingDirectory if parent is not None else ""
        task_id, scope_id, description_id = (
            allocate(db, table) for table in (TASKS, SCOPES, DESCRIPTIONS)
        )
        db.execute(DESCRIPTIONS.insert().values(descriptionId=description_id, description=text))
        db.execute(SCOPES.insert().values(scopeId=scope_id, scope=scope_text(Scope(metadata))))
        type_id = self.registries.types.id(db, task_type) if task_type else None
        row = task_row(task_id, time.time() if created_time is None else created_time, type_id)
        row |= {
            "parentTask": parent_id,
            "rootTask": parent.rootTask if parent is not None else task_id,
            "jobName": job_name or (parent.jobName if parent is not None else None),
            "taskName": task_name,
            "workingDirectory": check_directory(directory),
            "scopeId": scope_id,
            "descriptionId": description_id,
            "isFullyConfigured": fully_configured,
            "state": states.REGISTERED,
            "seed": "0",
        }
        db.execute(TASKS.insert().values(row))
        for role, product in (input_files or {}).items():
            self._add_input(db, task_id, role, getattr(product, "product_id", product))
        if fully_configured:
            self._configure(db, task_id, type_id)
        return task_id

    def _add_input(self, db, task_id, role, product_id):
        is_met = self.file_product_has_passed_qc(product_id)
        db.execute(
            TASK_INPUTS.insert().values(
                taskId=task_id,
                inputId=product_id,
                semanticType=self.registries.semantics.id(db, role),
                met=is_met,
            )
        )
        if not is_met:
            db.execute(sa.update(TASKS).where(T.taskId == task_id).values(unmet=T.unmet + 1))

    def _configure(self, db, task_id, type_id):
        unmet = db.execute(sa.select(T.unmet).where(T.taskId == task_id)).scalar()
        free = states.EXPANDING if type_id in states.container_types(db) else states.READY
        db.execute(
            sa.update(TASKS)
            .where(T.taskId == task_id)
            .values(state=states.WAITING if unmet else free, isFullyConfigured=True)
        )
        states.block_hopeless(db, [task_id])

    def task_update(self, task_id, metadata=None):
        """Set metadata of a task; a task that was not fully configured is so from now on."""
        self.metadata_register(metadata or {}, task_id=task_id)
        row = (
            self._changing()
            .execute(sa.select(T.state, T.taskTypeId).where(T.taskId == task_id))
            .first()
        )
        if row is not None and row.state == states.REGISTERED:
            self._configure(self._db, task_id, row.taskTypeId)

    def task_delete(self, task_id):
        """Delete a task and all below it, with attempts, products and files."""
        db = self._changing()
        ids = [task_id, *states.descendants(db, [task_id])]
        for id_ in reversed(ids):
            for product in self._products(PRODUCTS.c.generatorTask == id_):
                self.file_product_delete(product.product_id)
        states.cancel(db, [task_id], time.time(), "deleted")
        states.reopen(db, [task_id])
        parent = db.execute(sa.select(T.parentTask).where(T.taskId == task_id)).scalar()
        if parent is not None:
            db.execute(
                sa.update(TASKS).where(T.taskId == parent).values(openChildren=T.openChildren - 1)
            )
        for id_ in reversed(ids):
            db.execute(sa.delete(TASKS).where(T.taskId == id_))
        if parent is not None:
            states.settle(db, [parent])

    def task_lookup(self, task_id):
        """A `Task` with its inputs, outputs and attempts, or None."""
        query = (
            sa.select(TASKS, TASK_TYPES.c.taskTypeName)
            .join(TASK_TYPES, TASK_TYPES.c.taskTypeId == T.taskTypeId, isouter=True)
            .where(T.taskId == task_id)
        )
        row = self._reading().execute(query).first()
        if row is None:
            return None
        attempts = self.task_fetch_execution_attempts(task_id)
        return Task(
            task_id=task_id,
            parent_id=row.parentTask,
            created_time=row.createdTime,
            state=row.state,
            task_type=row.taskTypeName,
            job_name=row.jobName,
            task_name=row.taskName,
            working_directory=row.workingDirectory,
            input_files=self.task_fetch_file_inputs(task_id),
            input_metadata=self.task_fetch_metadata_inputs(task_id),
            execution_attempts_passed={
                id_: item for id_, item in attempts.items() if item.all_products_passed_qc
            },
            execution_attempts_incomplete={
                id_: item for id_, item in attempts.items() if not item.all_products_passed_qc
            },
            metadata=self.metadata_fetch_all(task_id=task_id),
            output_files=self.task_fetch_file_products(task_id),
        )

    def task_fetch_file_products(self, task_id):
        """Planned outputs of a task: dict role -> `FileProduct`."""
        found = self._products(PRODUCTS.c.generatorTask == task_id)
        return {product.semantic_type: product for product in found}

    def task_fetch_file_inputs(self, task_id):
        """Inputs of a task: dict role -> `FileProduct`."""
        query = (
            sa.select(SEMANTIC_TYPES.c.name, TASK_INPUTS.c.inputId)
            .join(SEMANTIC_TYPES, SEMANTIC_TYPES.c.semanticTypeId == TASK_INPUTS.c.semanticType)
            .where(TASK_INPUTS.c.taskId == task_id)
        )
        rows = self._rows(query)
        products = self._products_by_id([row.inputId for row in rows])
        return {role: products[product] for role, product in rows}

    def task_fetch_metadata_inputs(self, task_id):
        """Results of the tasks that a task requires: dict task name -> metadata of the newest
        attempt that passed."""
        query = (
            sa.select(METADATA_INPUTS.c.inputId, T.taskName)
            .join(TASKS, T.taskId == METADATA_INPUTS.c.inputId)
            .where(METADATA_INPUTS.c.taskId == task_id)
            .order_by(METADATA_INPUTS.c.inputId)
        )
        rows = self._rows(query)
        newest = newest_passed(self._reading(), [row.inputId for row in rows])
        metadata = self._metadata_of("schedulingAttemptId", newest.values())
        return {
            row.taskName: metadata[newest[row.inputId]] for row in rows if row.inputId in newest
        }

    def task_fetch_execution_attempts(self, task_id, successful=None):
        """Attempts of a task: dict id -> `TaskExecutionAttempt`.

        Parameters
        ----------
        task_id : int
        successful : True: only those that passed; False: only the others; None: all
        """
        query = sa.select(ATTEMPTS).where(A.taskId == task_id).order_by(A.schedulingAttemptId)
        found = self._attempts(self._rows(query))
        return {
            item.attempt_id: item
            for item in found
            if successful is None or bool(item.all_products_passed_qc) == successful
        }

    def task_open_file_input(
        self, task, input_name, tmp_dir, execution_id=None, must_have_passed_qc=True
    ):
        """A private copy of an input of a task.

        Parameters
        ----------
        task : Task
        input_name : str, role
        tmp_dir : timing.TemporaryDirectory
        execution_id : int, only of this attempt
        must_have_passed_qc : bool

        Returns
        -------
        path : str
        metadata : dict of `MetadataItem` of the version
        """
        product = task.input_files.get(input_name)
        if product is None:
            raise AssertionError(f"task {task.task_id} has no input {input_name!r}")
        versions = self.file_version_by_product(
            product.product_id, execution_id, must_have_passed_qc
        )
        if not versions:
            raise AssertionError(f"{product.directory}/{product.filename}: there is no version")
        source = self.file_version_path_for_id(versions[-1])
        target = Path(tmp_dir.tmp_dir) / Path(source).name
        shutil.copyfile(source, target)
        return str(target), self.metadata_fetch_all(product_version_id=versions[-1])

    def evaluated_description(self, task_id):
        """The description of a task with its expressions evaluated, once: kept for later
        attempts."""
        query = (
            sa.select(
                *(T.taskId, T.jobName, T.workingDirectory, T.seed, T.evaluatedDescription),
                *(DESCRIPTIONS.c.description, SCOPES.c.scope),
            )
            .join(DESCRIPTIONS, DESCRIPTIONS.c.descriptionId == T.descriptionId)
            .join(SCOPES, SCOPES.c.scopeId == T.scopeId)
            .where(T.taskId == task_id)
        )
        row = self._reading().execute(query).first()
        if row.evaluatedDescription is not None:
            return json.loads(row.evaluatedDescription)
        scope = scope_from(row.scope, row)
        requested = requested_metadata(self._db, [task_id]).get(task_id, {})
        evaluation = scope.evaluation(scope.seed, requested)
        value = evaluation.evaluate_in_structure(parsed(row.description))
        self._changing().execute(
            sa.update(TASKS)
            .where(T.taskId == task_id)
            .values(evaluatedDescription=json.dumps(value))
        )
        return value
