"""Task sources of every kind, and the program that drains them.

``python -c "import sources; sources.main()" ENGINE FOLDER``, also under mpiexec. Each case is a
source, its handler, and what to read from it in the end. All are drained one after the other; the
exit codes and rows of all cases are written to FOLDER/cases.json.
"""

import functools
import itertools
import json
import sys
import time
from pathlib import Path

from source_work import pack_squares

from photometry import TaskManager
from photometry.scheduler.limits import is_master
from photometry.scheduler.protocol import Handler, Limits
from photometry.scheduler.run import Plan, run
from photometry.taskmanager import create_todo

WORKERS = {"serial": 0, "processes": 4, "mpi": None}


class Toy:
    """A class with the methods of the contract and nothing else: squares of numbers."""

    def __init__(self, numbers=range(1, 41)):
        self.run_info = {}
        self._todo, self._started, self._rows = list(numbers), set(), {}

    def id(self, task):
        return task["number"]

    def label(self, task):
        return f"number {task['number']}"

    def kind(self, task):
        return None

    def limits(self, task):
        return Limits(60.0)

    def get_tasks(self, n, *, crashed_last=False, **constraints):
        return [{"number": number} for number in self._todo[:n]]

    def get_random_tasks(self, n, **constraints):
        return self.get_tasks(n)

    def get_number_tasks(self, **constraints):
        return len(self._todo)

    def get_number_failed(self, **constraints):
        return 0

    def next_eligible(self):
        return None

    def start_tasks(self, ids):
        self._todo = [number for number in self._todo if number not in set(ids)]
        self._started.update(ids)

    def result_packer(self):
        return None

    def save_results(self, results):
        for result in results:
            self._started.remove(result["number"])
            assert result["number"] not in self._rows, "a task was done twice"
            self._rows[result["number"]] = result["square"]

    def release_tasks(self, ids, why):
        self._started.difference_update(ids)
        self._todo += ids

    def fail_attempt(self, id_, why, **info):
        raise AssertionError(why)

    def crashes(self, id_):
        return 0

    def crash_candidates(self):
        return set()

    def begin_run(self, **info):
        return 1

    def end_run(self, exit_code=None, reason=None):
        pass

    def write_summary(self):
        pass

    def close(self):
        assert not self._started


class Graph(Toy):
    """Numbers that become eligible when those that they wait for are done. ``waits_for``: number ->
    numbers.
    """

    def __init__(self, waits_for):
        super().__init__([number for number, others in waits_for.items() if not others])
        self._waits_for = {number: set(others) for number, others in waits_for.items()}

    def get_number_tasks(self, **constraints):
        return len(self._waits_for) - len(self._rows) - len(self._started)

    def save_results(self, results):
        super().save_results(results)
        done = {result["number"] for result in results}
        for number, others in self._waits_for.items():
            if others & done:
                others -= done
                if not others:
                    self._todo.append(number)


class Doubling(Toy):
    """Each result brings two new tasks, until there were 1,000."""

    def __init__(self):
        super().__init__([1])

    def save_results(self, results):
        super().save_results(results)
        for result in results:
            children = (2 * result["number"], 2 * result["number"] + 1)
            self._todo += [number for number in children if number <= 1000]


class BackOff(Toy):
    """The first attempt of each task fails and is tried again a while later; meanwhile nothing is
    eligible.
    """

    def __init__(self):
        super().__init__([1, 2])
        self._attempts, self._later = {}, []

    def save_results(self, results):
        for result in results:
            number = result["number"]
            self._attempts[number] = self._attempts.get(number, 0) + 1
            if self._attempts[number] == 1:
                self._started.remove(number)
                self._later.append((time.monotonic() + 0.3, number))
            else:
                super().save_results([result])

    def next_eligible(self):
        return min(self._later)[0] - time.monotonic() if self._later else None

    def get_tasks(self, n, **constraints):
        now = time.monotonic()
        self._todo += [number for when, number in self._later if when <= now]
        self._later = [(when, number) for when, number in self._later if when > now]
        return super().get_tasks(n)


class Packing(Toy):
    """Results are packed in the workers."""

    def result_packer(self):
        return pack_squares

    def save_results(self, results):
        for packed in results:
            super().save_results([{"number": n, "square": square} for n, square in packed])


# Stars in each other's masks: what each holds, and how long the work on it takes

MASKS = (
    {"A": "B", "B": "C", "C": ""},  # B done first: C is skipped, and free again when A skips B
    {"A": "B", "B": "AC", "C": ""},
    {"A": "B", "B": "AC", "C": "B"},
)


def todo_file(path, n):
    """A TODO-file of n stars in one image, from bright to faint."""
    image = {"sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "datasource": "ffi"}
    create_todo(path, [{**image, "starid": i, "tmag": 5.0 + i} for i in range(1, n + 1)])
    return path


def todo_rows(path):
    """What is in a TODO-file, but for times."""
    with TaskManager(path, cleanup_constraints=["0"]) as tm:
        status = tm.cursor.execute("SELECT priority, status FROM todolist").fetchall()
        skipped = tm.cursor.execute(
            "SELECT priority, skipped_by FROM photometry_skipped ORDER BY 1, 2"
        ).fetchall()
        methods = tm.cursor.execute("SELECT priority, method_used FROM diagnostics").fetchall()
        hosts = tm.cursor.execute("SELECT DISTINCT host FROM attempts").fetchall()
    return [[list(row) for row in rows] for rows in (status, skipped, methods, hosts)]


# The cases


def toys():
    """{name: callable() -> source} of those that are no TaskManager."""
    return {
        "toy": Toy,
        "chain of 1,000": lambda: Graph({n: [n - 1] if n > 1 else [] for n in range(1, 1001)}),
        "diamond": lambda: Graph({1: [], 2: [1], 3: [1], 4: [1], 5: [1], 6: [2, 3, 4, 5]}),
        "doubling": Doubling,
        "back-off": BackOff,
        "packing": Packing,
    }


def star_cases():
    """{name: options of `measure`}: masks that overlap, the first ones with every order of
    finishing.
    """
    cases = {}
    for number, masks in enumerate(MASKS):
        for order in itertools.permutations("ABC") if number == 0 else ("BCA", "CAB"):
            seconds = {name: 0.1 * number for number, name in enumerate(order)}
            cases[f"masks {number}, {''.join(order)}"] = {"masks": masks, "seconds": seconds}
    return cases


def main():
    """Drain all cases."""
    engine, folder = sys.argv[1], Path(sys.argv[2])
    found = {}
    for name, make in toys().items():
        code, source = drain(engine, folder, make, Handler("source_work:square"))
        if is_master():
            found[name] = code, sorted(source._rows.items())
    cases = {name: (3, Handler("source_work:measure", how)) for name, how in star_cases().items()}
    cases["task manager"] = 500, Handler("noop")
    for name, (n, handler) in cases.items():
        path = folder / f"{name.replace(' ', '-')}.sqlite"
        if is_master():
            todo_file(path, n)
        opened = functools.partial(TaskManager, path, load_into_memory=True)
        code, _ = drain(engine, folder, opened, handler)
        if is_master():
            found[name] = code, todo_rows(path)
    if is_master():
        (folder / "cases.json").write_text(json.dumps(found))


def drain(engine, folder, make, handler):
    """Exit code of a run, and its source; None in ranks that work."""
    sources = []

    def open_source():
        sources.append(make())
        return sources[0]

    plan = Plan(open_source, handler, folder / "out", workers=WORKERS[engine], quiet=True)
    return run(plan), sources[0] if sources else None
