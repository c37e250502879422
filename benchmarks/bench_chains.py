"""What a task chain costs: per task, per idle pass, per submission; beside snakemake for the same
three-level chain.

    python benchmarks/bench_chains.py [--tasks 2000] [--finished 100000] [--jobs 60]

On SQLite. The time of a task is that of the run from the start of its first attempt to the end of
the last one, over the number of tasks, on 2 workers; starting the workers is printed apart. Two
runs, with few and with many finished tasks in the database, alternate, and the best of three rounds
counts, since others may use the machine.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from photometry.chains import jobs, running, states
from photometry.chains.claiming import Worker
from photometry.chains.definition import parse_definition
from photometry.chains.expanding import Expander
from photometry.chains.queues import TaskScheduler
from photometry.chains.rows import allocate
from photometry.chains.schema import ATTEMPTS, TASKS
from photometry.chains.settings import load_chain_settings

ROUNDS = 3
WORKERS = 2
T, A = TASKS.c, ATTEMPTS.c
# 3 x 24 x 24 x 12 rounds of five tasks each, and what makes them: the grid of the EAS pipeline
GRID = (("a", 3), ("b", 24), ("c", 24), ("d", 12))


def settings_of(folder):
    """Settings of a database in a folder."""
    return load_chain_settings({"home": str(folder)}, environ={})


def nulls(n, name):
    """A chain of ``n`` tasks that do nothing."""
    loop = {"task": "execution_for_loop", "parameter": "i", "linear_range": [1, n, n]}
    return {"job_name": name, "task_list": [{**loop, "task_list": [{"task": "null"}]}]}


def grid():
    """The chain with 124,000 tasks and more."""
    name = "'lc_{a_index}_{b_index}_{c_index}_{d_index}.lc'.format(**metadata)"
    search = {"inputs": {"lightcurve": name}, "lc_duration": "(90 * (1 + metadata['a']))"}
    body = [
        {"task": "synthesis_batman", "outputs": {"lightcurve": name}},
        {"task": "verify", "inputs": {"lightcurve": name}},
        {"task": "transit_search_tls", "name": "tls", **search},
        {"task": "transit_search_bls_reference", **search},
        {"task": "null", "requires_metadata_from": ["tls"]},
    ]
    for parameter, n in reversed(GRID):
        loop = {"task": "execution_for_loop", "parameter": parameter, "linear_range": [0, 1, n]}
        body = [{**loop, "task_list": body}]
    return {"job_name": "grid", "working_directory": "grid", "task_list": body}


def submit(settings, chain):
    """Submit a chain; returns the id of its root task."""
    database = jobs.open_database(settings)
    try:
        return jobs.submit(parse_definition(json.dumps(chain)), database, settings).root
    finally:
        database.close()


def fill(settings, n):
    """Make ``n`` tasks and mark them as passed, each with an attempt, as if they had been done."""
    root = submit(settings, nulls(n, "finished"))
    database = jobs.open_database(settings)
    expander = Expander(database)
    while expander.expand(root):
        pass

    def finish(db):
        ids = list(db.execute(sa.select(T.taskId).where(T.state == states.READY)).scalars())
        first = allocate(db, ATTEMPTS, len(ids))
        db.execute(
            ATTEMPTS.insert(),
            [
                {"schedulingAttemptId": first + i, "taskId": id_, "state": states.PASSED, "queuedTime": 1.0,
                 "startTime": 1.0, "endTime": 1.0, "errorFail": False, "allProductsPassedQc": True}
                for i, id_ in enumerate(ids)
            ],
        )  # fmt: skip
        db.execute(sa.update(TASKS).where(T.state == states.READY).values(state=states.PASSED))
        states.settle(db, ids)

    database.change(finish)
    database.close()


def time_tasks(settings, n, name):
    """(s per task, s of starting) of ``n`` null tasks."""
    root = submit(settings, nulls(n, name))
    begin = time.time()
    code = running.run_job(settings, lambda: root, workers=WORKERS, quiet=True)
    assert code == 0, code
    database = jobs.existing_database(settings)
    query = (
        sa.select(sa.func.min(A.startTime), sa.func.max(A.endTime), sa.func.count())
        .join(TASKS, T.taskId == A.taskId)
        .where(T.rootTask == root, A.workerId.is_not(None))
    )
    first, last, count = database.read(lambda db: db.execute(query).one())
    database.close()
    assert count == n, count
    return (last - first) / n, first - begin


def compare_fill(folder, n, finished):
    """Time of a task with few and with many finished ones in the database."""
    homes = {1000: folder / "few", finished: folder / "many"}
    for count, home in homes.items():
        fill(settings_of(home), count)
    best = dict.fromkeys(homes, float("inf"))
    for number in range(ROUNDS):
        for count, home in homes.items():
            seconds, start = time_tasks(settings_of(home), n, f"round_{number}")
            best[count] = min(best[count], seconds)
    for count, seconds in best.items():
        print(
            f"null task, {WORKERS} workers, {count:7,d} finished: {1e3 * seconds:6.2f} ms per task"
        )
    few, many = best.values()
    print(
        f"  ratio {many / few:.2f}; starting the workers took {start:.1f} s; the original: 330 ms"
    )
    return best


def time_idle(home):
    """Passes with nothing to do: of the scheduler, and of a run."""
    settings = settings_of(home)
    with TaskScheduler(settings=settings) as scheduler:
        scheduler.schedule_all_waiting_jobs()
        worker = Worker(scheduler.database, scheduler.registries, settings.lease)
        seconds = []
        for _ in range(50):
            begin = time.perf_counter()
            scheduler._worker._recovered = worker._recovered = float(
                "-inf"
            )  # look for lost workers, too
            scheduler.schedule_all_waiting_jobs()
            seconds.append(time.perf_counter() - begin)
        total = scheduler.database.read(
            lambda db: db.execute(sa.select(sa.func.count()).select_from(TASKS)).scalar()
        )
        worker.leases.close()
    print(
        f"idle pass of the scheduler at {total:,d} tasks: {1e3 * sorted(seconds)[25]:.2f} ms (median of 50)"
    )


SUBMISSION = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from bench_chains import grid, settings_of
from photometry.chains import jobs
from photometry.chains.definition import parse_definition
from photometry.chains.expanding import Expander
begin = time.perf_counter()
settings = settings_of(sys.argv[2])
database = jobs.open_database(settings)
done = jobs.submit(parse_definition(json.dumps(grid())), database, settings)
checked = time.perf_counter()
expander = Expander(database)
while expander.expand(done.root):
    pass
count = len(jobs.job_tasks(database, done.root))
print(json.dumps([count, done.outline.count, checked - begin, time.perf_counter() - begin,
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def time_submission(folder):
    """A chain with 124,000 tasks, checked, stored and expanded, in a process of its own."""
    command = [sys.executable, "-c", SUBMISSION, str(Path(__file__).parent), str(folder / "grid")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, counted, checked, seconds, memory = json.loads(done.stdout)
    print(f"submission of {count:,d} tasks (counted beforehand: {counted:,d}): {seconds:.1f} s, of which {checked:.1f} s "
          f"checking; {memory:.0f} MiB")  # fmt: skip


SNAKEFILE = """
N = {n}
rule all:
    input: expand("c_{{i}}.txt", i=range(N))
rule first:
    output: "a_{{i}}.txt"
    shell: "touch {{output}}"
rule second:
    input: "a_{{i}}.txt"
    output: "b_{{i}}.txt"
    shell: "touch {{output}}"
rule third:
    input: "b_{{i}}.txt"
    output: "c_{{i}}.txt"
    shell: "touch {{output}}"
"""


def three_levels(n):
    """``n`` chains of three tasks, each of which needs the one before."""
    tasks = [
        {"task": "null", "name": "first"},
        {"task": "null", "name": "second", "requires_metadata_from": ["first"]},
        {"task": "null", "requires_metadata_from": ["second"]},
    ]
    loop = {"task": "execution_for_loop", "parameter": "i", "linear_range": [1, n, n]}
    return {"job_name": "levels", "task_list": [{**loop, "task_list": tasks}]}


def compare_snakemake(folder, n):
    """The same three-level chain by snakemake on 2 cores, whole commands."""
    if find_spec("snakemake") is None:
        print("snakemake is not installed: pip install snakemake; no comparison")
        return
    theirs = folder / "snakemake"
    theirs.mkdir()
    (theirs / "Snakefile").write_text(SNAKEFILE.format(n=n))
    chain = folder / "levels.json"
    chain.write_text(json.dumps(three_levels(n)))
    commands = {
        "snakemake": [sys.executable, "-m", "snakemake", "--cores", str(WORKERS), "--quiet", "all", "-d", str(theirs),
                      "-s", str(theirs / "Snakefile")],
        "photometry chain": [sys.executable, "-m", "photometry", "chain", "run", str(chain), "--home",
                             str(folder / "levels"), "--workers", str(WORKERS), "--quiet"],
    }  # fmt: skip
    seconds = {}
    for name, command in commands.items():
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds[name] = time.perf_counter() - begin
        print(f"{3 * n} tasks on three levels, whole command: {name:17s} {seconds[name]:6.1f} s, "
              f"{1e3 * seconds[name] / (3 * n):6.1f} ms per task")  # fmt: skip
    print(f"  ratio {seconds['snakemake'] / seconds['photometry chain']:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=60, help="three-level chains")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        time_submission(folder)
        compare_fill(folder, options.tasks, options.finished)
        time_idle(folder / "many")
        compare_snakemake(folder, options.jobs)
    print(
        f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
