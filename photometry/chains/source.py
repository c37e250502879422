"""The task database as a source of the project's scheduler: it grows while tasks are done.

`ChainSource` takes READY tasks of one job, or of all, directly. `QueueSource`, for workers on many
hosts, takes attempts that `queues.TaskScheduler` has put on a queue. Whoever takes, makes
containers expand, delays end and lost workers' tasks start again.
"""

import logging
import time

import sqlalchemy as sa

from ..status import STATUS
from . import claiming, finishing, preparing, states
from .execution import pack_results
from .expanding import BATCH, Expander
from .filestore import FileStore
from .rows import Registries, select_in
from .schema import ATTEMPTS, TASK_TYPES, TASKS, VERSIONS

log = logging.getLogger(__name__)

T, A = TASKS.c, ATTEMPTS.c
OTHERS_POLL = 0.5  # s between looks at what other processes do of the same job
SHORTEST_POLL, LONGEST_POLL = 0.2, 5.0  # s between looks of a worker that waits for work
MOST_CLAIMED = 500  # tasks in one transaction


class ChainSource:
    """Tasks of chains, for `scheduler.run`.

    Parameters
    ----------
    database : connect.Database
    settings : ChainSettings
    root : id of the root task of the job to do, or None: all jobs
    types : names of the task types to do, or None: all
    """

    def __init__(self, database, settings, *, root=None, types=None):
        self.run_info = {}
        self.database, self.settings, self.root = database, settings, root
        self.registries = Registries()
        self.expander = Expander(database, self.registries)
        self.worker = claiming.Worker(database, self.registries, settings.lease)
        self._preparer = preparing.Preparer(self.registries, settings)
        self._types = None
        if types is not None:
            self._types = list(
                database.change(lambda db: self.registries.types.ids(db, types)).values()
            )
        self._buffer = {}  # id -> task that is claimed and not yet started
        self._attempts = {}  # id -> id of the attempt that is started
        self.worker.register()

    # --- about a task

    def id(self, task):
        """Its id in the database."""
        return task["id"]

    def label(self, task):
        """Job, type, name and number, for people."""
        name = f" {task['name']}" if task.get("name") else ""
        return f"{task['job_name'] or 'chain'}: {task['type']}{name} ({task['id']})"

    def kind(self, task):
        """Its type."""
        return task["type"]

    def limits(self, task):
        """What it may take."""
        return task["limits"]

    # --- what is to do

    def get_tasks(self, n, *, crashed_last=False, **constraints):
        """The next up to ``n`` tasks, claimed for this process until it ends or gives them back."""
        if len(self._buffer) < n:
            self._claim_more(min(max(n, 1), MOST_CLAIMED))
        # A task that was cancelled and retried waits until the worker has given it back.
        free = [task for id_, task in self._buffer.items() if id_ not in self._attempts]
        return free[:n]

    def get_random_tasks(self, n, **constraints):
        """Any up to ``n`` tasks."""
        return self.get_tasks(n)

    def _claim_more(self, n):
        """Claim tasks that can start; containers expand until there are enough."""
        self.worker.recover()
        while len(self._buffer) < n:
            claimed = self._claim(n - len(self._buffer))
            if not claimed and not self.expander.expand(self.root, BATCH):
                return

    def _claim(self, n):
        """Claim up to ``n`` tasks; returns how many attempts were started, those included that
        failed at once."""
        now = time.time()
        if not self.database.read(lambda db: self._is_anything_ready(db, now)):
            return 0

        def change(db):
            claiming.make_due(db, now, self.root)
            claimed = claiming.claim_ready(db, n, self.worker, now, self.root, self._types)
            return self._prepared(db, claimed, now)

        tasks, count = self.database.change(change)
        self._keep(tasks)
        return count

    def _prepared(self, db, claimed, now):
        """(tasks, how many attempts): what cannot start has failed."""
        tasks, failures = self._preparer.prepare(db, claimed)
        if failures:
            results = [
                {
                    "attempt_id": id_,
                    "status": STATUS.ERROR,
                    "details": {"errors": [message]},
                    "retry": False,
                }
                for id_, message in failures.items()
            ]
            finishing.finish(db, self.registries, self.settings, self.worker.id, results, now)
        return tasks, len(claimed)

    def _keep(self, tasks):
        self._buffer.update((task["id"], task) for task in tasks)

    def _is_anything_ready(self, db, now):
        where = [T.rootTask == self.root] if self.root is not None else []
        ready = sa.select(T.taskId).where(T.state == states.READY, *where).limit(1)
        due = (
            sa.select(T.taskId)
            .where(T.state == states.DELAYED, T.notBefore <= now, *where)
            .limit(1)
        )
        return db.execute(ready).first() is not None or db.execute(due).first() is not None

    def get_number_tasks(self, **constraints):
        """How many tasks are to do."""
        return self._count(states.NOT_OVER)

    def get_number_failed(self, **constraints):
        """How many tasks ended without success, those that could never start included."""
        return self._count(states.WITHOUT_SUCCESS)

    def _count(self, some_states):
        where = [T.state.in_(some_states)]
        if self.root is not None:
            where.append(T.rootTask == self.root)
        query = sa.select(sa.func.count()).select_from(TASKS).where(*where)
        return self.database.read(lambda db: db.execute(query).scalar_one())

    def next_eligible(self):
        """Seconds until a delay ends, or until it is worth looking what other processes have done
        of the same job."""
        where = [T.rootTask == self.root] if self.root is not None else []
        delay = sa.select(sa.func.min(T.notBefore)).where(T.state == states.DELAYED, *where)
        active = (states.QUEUED, states.RUNNING, states.EXPANDING, states.READY)
        others = sa.select(T.taskId).where(T.state.in_(active), *where).limit(1)

        def look(db):
            return db.execute(delay).scalar(), db.execute(others).first() is not None

        then, is_under_way = self.database.read(look)
        waits = [OTHERS_POLL] if is_under_way else []
        if then is not None:
            waits.append(max(then - time.time(), 0.01))
        return min(waits) if waits else None

    # --- what becomes of it

    def start_tasks(self, ids):
        """These were assigned to a worker."""
        for id_ in ids:
            self._attempts[id_] = self._buffer.pop(id_)["attempt_id"]

    def withdrawn(self):
        """Started tasks whose results would be dropped, as somebody has cancelled them, or holds
        this worker for lost."""
        buffered = {id_: task["attempt_id"] for id_, task in self._buffer.items()}
        ours = [*buffered.values(), *self._attempts.values()]
        query = sa.select(A.schedulingAttemptId).where(
            states.ATTEMPT_STATE == states.RUNNING, A.workerId == self.worker.id
        )
        rows = self.database.read(lambda db: select_in(db, query, A.schedulingAttemptId, ours))
        wanted = {row.schedulingAttemptId for row in rows}
        for id_, attempt_id in buffered.items():
            if attempt_id not in wanted:
                del self._buffer[id_]
        return {id_ for id_, attempt_id in self._attempts.items() if attempt_id not in wanted}

    def result_packer(self):
        """Keeps what the database knows anyway from travelling back."""
        return pack_results

    def save_results(self, results):
        """Record results, and what they make possible."""
        flat = [result for packed in results for result in packed]
        self._finish(flat)

    def _finish(self, results):
        dropped = self.database.change(
            lambda db: finishing.finish(
                db, self.registries, self.settings, self.worker.id, results, time.time()
            )
        )
        for result in results:
            self._attempts.pop(result.get("id"), None)
        for result in dropped:
            log.warning(
                "task %s: its result is dropped, as the attempt was cancelled or taken for lost",
                result.get("id"),
            )
        self._delete_files(dropped)

    def _delete_files(self, dropped):
        """Files of results that are dropped have no row in the database, unless the results were
        recorded and only the answer of the server was lost."""
        files = {
            product["repository_id"]: product["directory"]
            for result in dropped
            for product in (result.get("products") or {}).values()
        }
        query, column = sa.select(VERSIONS.c.repositoryId), VERSIONS.c.repositoryId
        rows = self.database.read(lambda db: select_in(db, query, column, list(files)))
        store = FileStore(self.settings.file_store)
        for name in files.keys() - {row.repositoryId for row in rows}:
            store.delete(files[name], name)

    def release_tasks(self, ids, why):
        """These will not be done now."""
        attempts = [self._attempts.pop(id_) for id_ in ids if id_ in self._attempts]
        self.database.change(lambda db: claiming.release(db, attempts))

    def fail_attempt(self, id_, why, **info):
        """The task took its process down; True where it will be tried again."""
        attempt_id = self._attempts.get(id_)
        if attempt_id is None:
            return False
        error = f"its process ended: {why}"
        result = {
            "id": id_,
            "attempt_id": attempt_id,
            "status": STATUS.ERROR,
            "details": {"errors": [error]},
            "crashed": True,
            "attempt": {key: info[key] for key in ("start", "end", "seconds") if key in info},
        }
        self._finish([result])
        state = self.database.read(
            lambda db: db.execute(sa.select(T.state).where(T.taskId == id_)).scalar()
        )
        return state in states.NOT_OVER

    def crashes(self, id_):
        """How often this task took its process down."""
        query = sa.select(T.crashes).where(T.taskId == id_)
        return self.database.read(lambda db: db.execute(query).scalar()) or 0

    def crash_candidates(self):
        """Tasks that crashed, or whose worker was lost: they go into child processes."""
        where = [T.rootTask == self.root] if self.root is not None else []
        crashed = sa.select(T.taskId).where(
            T.crashes > 0, T.state.in_((states.READY, states.DELAYED)), *where
        )
        lost = sa.select(A.taskId).where(A.state == states.LOST)

        def look(db):
            ids = set(db.execute(crashed).scalars())
            candidates = set(db.execute(lost).scalars())
            query = sa.select(T.taskId).where(states.STATE.in_((states.READY, states.DELAYED)))
            return ids | {row.taskId for row in select_in(db, query, T.taskId, candidates)}

        return self.database.read(look)

    # --- the run

    def begin_run(self, **info):
        """Nothing to note: attempts name their worker."""
        self.worker.recover()
        return self.worker.id

    def end_run(self, exit_code=None, reason=None):
        """Nothing to note."""

    def write_summary(self):
        """`photometry chain status` reads the database."""

    def close(self):
        """Give back what was not done."""
        self.worker.leave()
        self.database.close()


class QueueSource(ChainSource):
    """Attempts from a queue, for `photometry chain worker`.

    Parameters
    ----------
    database, settings : as `ChainSource`
    queue : queues.TaskQueue
    types : names of the task types to do
    until_idle : bool, end when no task of any job is to do, rather than wait for more
    """

    def __init__(self, database, settings, queue, *, types, until_idle=False):
        super().__init__(database, settings, types=types)
        self.queue, self.types, self.until_idle = queue, list(types), until_idle
        self._poll = SHORTEST_POLL

    def _claim_more(self, n):
        self.worker.recover()
        while len(self._buffer) < n:
            wanted = n - len(self._buffer)
            if not self._claim(wanted):
                return

    def _claim(self, n):
        """Claim attempts of which the queue brings the ids; returns how many ids it brought."""
        count = self.queue.claim(self.types, n, self._take)
        if count:
            self._poll = SHORTEST_POLL
        return count

    def _take(self, db, attempt_ids):
        """Claim attempts in a transaction of the queue; returns the function to call when it is
        committed."""
        now = time.time()
        claimed = claiming.claim_queued(db, attempt_ids, self.worker, now)
        tasks, _ = self._prepared(db, claimed, now)
        return lambda: self._keep(tasks)

    def next_eligible(self):
        """A worker waits for work: short at first, then longer."""
        if self.until_idle and self.get_number_tasks() == 0:
            return None
        wait, self._poll = self._poll, min(2 * self._poll, LONGEST_POLL)
        return wait

    def close(self):
        self.queue.close()
        super().close()


def type_names(database):
    """Names of the task types that the database knows."""
    query = sa.select(TASK_TYPES.c.taskTypeName)
    return database.read(lambda db: list(db.execute(query).scalars()))
