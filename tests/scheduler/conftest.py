"""A second task source beside TaskManager: a plain list. An engine that is written for the protocol runs both."""

import pytest


class ListSource:
    """Tasks in a list, results in a dict; notes what was asked of it."""

    def __init__(self, tasks, max_attempts=3):
        self.tasks = {task["priority"]: task for task in tasks}
        self.todo = dict.fromkeys(self.tasks)
        self.started, self.results, self.released, self.set_aside = set(), {}, [], {}
        self.deaths_by_task, self.run_info, self.summaries = {}, {}, 0
        self._max_attempts = max_attempts

    def get_tasks(self, n, suspects_last=False, **constraints):
        chosen = [
            id_
            for id_ in sorted(self.todo)
            if all(self.tasks[id_][k] == v for k, v in constraints.items())
        ]
        if suspects_last:
            chosen = [id_ for id_ in chosen if not self.deaths(id_)] or chosen
        return [dict(self.tasks[id_]) for id_ in chosen[:n]]

    get_random_tasks = get_tasks

    def get_number_tasks(self, **constraints):
        return len(self.get_tasks(len(self.tasks), **constraints))

    def start_tasks(self, taskids):
        for id_ in taskids:
            del self.todo[id_]
            self.started.add(id_)

    def save_results(self, results):
        for result in results:
            self.started.remove(result["priority"])
            assert result["priority"] not in self.results, "a task was finished twice"
            self.results[result["priority"]] = result

    def release_tasks(self, taskids, why):
        for id_ in taskids:
            self.started.remove(id_)
            self.todo[id_] = None
            self.released.append(id_)

    def fail_attempt(self, taskid, why, **info):
        self.deaths_by_task[taskid] = self.deaths(taskid) + 1
        if self.deaths(taskid) >= self._max_attempts:
            self.started.remove(taskid)
            self.set_aside[taskid] = why
            return False
        self.release_tasks([taskid], why)
        return True

    def deaths(self, taskid):
        return self.deaths_by_task.get(taskid, 0)

    def overrides(self, taskid):
        return {}

    def write_summary(self):
        self.summaries += 1

    def close(self):
        pass


def make_tasks(n, **columns):
    return [
        {
            "priority": i,
            "starid": 1000 + i,
            "method": None,
            "tmag": 10.0,
            "datasource": "tpf",
            **columns,
        }
        for i in range(1, n + 1)
    ]


@pytest.fixture
def list_source():
    """``list_source(n)``: a source of n tasks; ``list_source(tasks=[...])``: of these."""

    def make(n=0, tasks=None, **kwargs):
        return ListSource(make_tasks(n) if tasks is None else tasks, **kwargs)

    return make
