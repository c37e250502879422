"""A second task source beside TaskManager: a plain list. An engine that is written for the protocol
runs both.
"""

from photometry.scheduler.protocol import Limits


class ListSource:
    """Tasks in a list, results in a dict; notes what was asked of it."""

    def __init__(self, tasks, max_attempts=3, limits=None):
        self.tasks = {task["number"]: task for task in tasks}
        self.todo = dict.fromkeys(self.tasks)
        self.started, self.results, self.released, self.set_aside = set(), {}, [], {}
        self.crashes_by_task, self.run_info, self.summaries = {}, {}, 0
        self.interrupted = set()
        self._max_attempts, self._limits = max_attempts, limits or Limits(None)

    def id(self, task):
        return task["number"]

    def label(self, task):
        return f"number {task['number']}"

    def kind(self, task):
        return task.get("kind")

    def limits(self, task):
        return self._limits

    def get_tasks(self, n, crashed_last=False, **constraints):
        chosen = [
            id_
            for id_ in sorted(self.todo)
            if all(self.tasks[id_][k] == v for k, v in constraints.items())
        ]
        if crashed_last:
            chosen = [id_ for id_ in chosen if not self.crashes(id_)] or chosen
        return [dict(self.tasks[id_]) for id_ in chosen[:n]]

    get_random_tasks = get_tasks

    def get_number_tasks(self, **constraints):
        return len(self.get_tasks(len(self.tasks), **constraints))

    def get_number_failed(self, **constraints):
        failed = [result for result in self.results.values() if result["status"] == 2]
        return len(failed) + len(self.set_aside)

    def next_eligible(self):
        return None

    def start_tasks(self, ids):
        for id_ in ids:
            del self.todo[id_]
            self.started.add(id_)

    def result_packer(self):
        return None

    def save_results(self, results):
        for result in results:
            self.started.remove(result["number"])
            assert result["number"] not in self.results, "a task was finished twice"
            self.results[result["number"]] = result

    def release_tasks(self, ids, why):
        for id_ in ids:
            self.started.remove(id_)
            self.todo[id_] = None
            self.released.append(id_)

    def fail_attempt(self, id_, why, **info):
        self.crashes_by_task[id_] = self.crashes(id_) + 1
        if self.crashes(id_) >= self._max_attempts:
            self.started.remove(id_)
            self.set_aside[id_] = why
            return False
        self.release_tasks([id_], why)
        return True

    def crashes(self, id_):
        return self.crashes_by_task.get(id_, 0)

    def crash_candidates(self):
        return self.interrupted | set(self.crashes_by_task)

    def begin_run(self, **info):
        return 1

    def end_run(self, exit_code=None, reason=None):
        pass

    def write_summary(self):
        self.summaries += 1

    def close(self):
        pass


def make_tasks(n, **columns):
    return [{"number": i, "method": None, **columns} for i in range(1, n + 1)]
